/* runtime.h - the few calls of CUDA's runtime that the backend makes, over the host's memory: for the emulator.
 * Fresh device memory is NaN, and exactly as long as asked for. EMU_MEMORY limits it (bytes). */
#ifndef EMU_RUNTIME_H
#define EMU_RUNTIME_H

#include <stdlib.h>
#include <string.h>

typedef int cudaStream_t;
typedef enum { cudaSuccess = 0, cudaErrorMemoryAllocation = 2 } cudaError_t;
enum { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum { cudaHostAllocMapped = 2, cudaStreamNonBlocking = 1 };
struct cudaDeviceProp {
  char name[256];
  int major, minor, multiProcessorCount;
  size_t totalGlobalMem;
};

static inline cudaError_t cudaMalloc(void **p, size_t bytes) {
  const char *limit = getenv("EMU_MEMORY");
  if ((limit && bytes > strtoull(limit, NULL, 10)) || posix_memalign(p, 256, bytes ? bytes : 1))
    return cudaErrorMemoryAllocation;
  memset(*p, 0xff, bytes);
  return cudaSuccess;
}
static inline cudaError_t cudaFree(void *p) { return free(p), cudaSuccess; }
static inline cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) { return cudaMalloc(p, bytes); }
static inline cudaError_t cudaFreeHost(void *p) { return free(p), cudaSuccess; }
static inline cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, int, cudaStream_t) {
  return memcpy(dst, src, bytes), cudaSuccess;
}
static inline cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t) {
  return memset(p, value, bytes), cudaSuccess;
}
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return *s = 0, cudaSuccess; }
static inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaGetLastError(void) { return cudaSuccess; }
static inline const char *cudaGetErrorString(cudaError_t e) {
  return e == cudaSuccess ? "no error" : "out of memory";
}
static inline cudaError_t cudaGetDeviceCount(int *n) { return *n = 1, cudaSuccess; }
static inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
static inline cudaError_t cudaDriverGetVersion(int *v) { return *v = 13000, cudaSuccess; }
static inline cudaError_t cudaRuntimeGetVersion(int *v) { return *v = 13000, cudaSuccess; }
static inline cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  return *free_bytes = *total = (size_t)8 << 30, cudaSuccess;
}
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
  *p = {"the emulator", 9, 0, 1, (size_t)8 << 30};
  return cudaSuccess;
}

#endif
