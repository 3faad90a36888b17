/* device.cu - device.h over CUDA's runtime or the emulator's. */
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "compute/cuda/gpu.h"

static void check(cudaError_t e, const char *what) {
  if (e == cudaSuccess) e = cudaGetLastError();
  if (e == cudaSuccess) return;
  fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(e));
  exit(1);
}

const char *device_name(void) {
  static cudaDeviceProp p;
  check(cudaGetDeviceProperties(&p, 0), "cudaGetDeviceProperties");
  return p.name;
}
void *device_alloc(size_t bytes) {
  void *p;
  check(cudaMalloc(&p, bytes), "cudaMalloc");
  check(cudaMemsetAsync(p, 0xff, bytes, 0), "cudaMemset");
  return p;
}
void device_free(void *p) { check(cudaFree(p), "cudaFree"); }
void device_put(void *dst, const void *src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, 0), "copy to the device");
  check(cudaStreamSynchronize(0), "copy to the device");
}
void device_get(void *dst, const void *src, size_t bytes) {
  check(cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, 0), "copy from the device");
  check(cudaStreamSynchronize(0), "copy from the device");
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
double device_seconds(void (*work)(void *), void *ctx, int times) {
  work(ctx);
  check(cudaStreamSynchronize(0), "kernels");
  const double from = now();
  for (int i = 0; i < times; i++) work(ctx);
  check(cudaStreamSynchronize(0), "kernels");
  return (now() - from) / times;
}
