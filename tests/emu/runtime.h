/* runtime.h - the few calls of CUDA's runtime that the backend makes, over the host's memory: for the emulator.
 * Fresh device memory is NaN, and exactly as long as asked for.
 *
 * What a machine may lack, by the environment: EMU_DRIVER (the CUDA version that the driver knows, 13000; 0: none),
 * EMU_DEVICES (1), EMU_CAPABILITY (90), EMU_TOTAL (the device's bytes, 8 GiB, of which what is in use is not free),
 * EMU_MEMORY (the most bytes of one piece). EMU_EMPTY=1: nothing is copied to the device, no kernel runs, and its
 * memory takes no room of the host's: to open a model of any size and ask what it would take. */
#ifndef EMU_RUNTIME_H
#define EMU_RUNTIME_H

#include <malloc.h>
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

static size_t emu_used; /* bytes of device memory, of those who allocate it in this file */
static inline size_t emu_setting(const char *name, size_t usual) {
  const char *set = getenv(name);
  return set ? (size_t)strtoull(set, NULL, 10) : usual;
}

static inline cudaError_t cudaMalloc(void **p, size_t bytes) {
  if (bytes > emu_setting("EMU_MEMORY", SIZE_MAX) || posix_memalign(p, 256, bytes ? bytes : 1))
    return cudaErrorMemoryAllocation;
  if (!emu_setting("EMU_EMPTY", 0)) memset(*p, 0xff, bytes);
  emu_used += malloc_usable_size(*p);
  return cudaSuccess;
}
static inline cudaError_t cudaFree(void *p) {
  emu_used -= malloc_usable_size(p);
  return free(p), cudaSuccess;
}
static inline cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned) {
  return posix_memalign(p, 256, bytes) ? cudaErrorMemoryAllocation : cudaSuccess;
}
static inline cudaError_t cudaFreeHost(void *p) { return free(p), cudaSuccess; }
static inline cudaError_t cudaMemcpyAsync(void *dst, const void *src, size_t bytes, int way, cudaStream_t) {
  if (way != cudaMemcpyHostToDevice || !emu_setting("EMU_EMPTY", 0)) memcpy(dst, src, bytes);
  return cudaSuccess;
}
static inline cudaError_t cudaMemsetAsync(void *p, int value, size_t bytes, cudaStream_t) {
  if (!emu_setting("EMU_EMPTY", 0)) memset(p, value, bytes);
  return cudaSuccess;
}
static inline cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned) { return *s = 0, cudaSuccess; }
static inline cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
static inline cudaError_t cudaGetLastError(void) { return cudaSuccess; }
static inline const char *cudaGetErrorString(cudaError_t e) {
  return e == cudaSuccess ? "no error" : "out of memory";
}
static inline cudaError_t cudaGetDeviceCount(int *n) {
  return *n = (int)emu_setting("EMU_DEVICES", 1), cudaSuccess;
}
static inline cudaError_t cudaSetDevice(int) { return cudaSuccess; }
static inline cudaError_t cudaDriverGetVersion(int *v) {
  return *v = (int)emu_setting("EMU_DRIVER", 13000), cudaSuccess;
}
static inline cudaError_t cudaRuntimeGetVersion(int *v) { return *v = 13000, cudaSuccess; }
static inline cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total) {
  *total = emu_setting("EMU_TOTAL", (size_t)8 << 30);
  return *free_bytes = *total > emu_used ? *total - emu_used : 0, cudaSuccess;
}
static inline cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int) {
  const int capability = (int)emu_setting("EMU_CAPABILITY", 90);
  *p = {"the emulator", capability / 10, capability % 10, 1, emu_setting("EMU_TOTAL", (size_t)8 << 30)};
  return cudaSuccess;
}

#endif
