/* bench.h - what the programs that measure the CUDA backend share: a device, random values in its memory, the time
 * of calls one after another. They end the program when a call fails.
 */
#ifndef TESTS_CUDA_BENCH_H
#define TESTS_CUDA_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/half.h"
#include "base/rng.h"
#include "compute/cuda/open.h"

static backend *be;
static size_t asked; /* bytes of device memory, since a caller set it to 0 */

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static inline void settle(void) {
  rw_error err;
  if (be->sync(be, &err)) printf("FAIL %s\n", err.text), exit(1);
}
static void *room(size_t bytes) {
  void *p = be->alloc(be, MEM_DEVICE, bytes);
  asked += bytes;
  if (!p) printf("FAIL no device memory for %zu bytes\n", bytes), exit(1);
  return p;
}
/* bf16 (or f32) values of a normal distribution: random ones in a block, the block again and again. */
static inline void *filled(size_t n, tensor_type type, double scale) {
  enum { BLOCK = 1 << 20 };
  static float normal[BLOCK];
  static uint32_t block[BLOCK];
  static bool made;
  rng r = rng_new(5, 5);
  for (size_t i = 0; !made && i < BLOCK; i++) normal[i] = (float)rng_normal(&r);
  made = true;
  for (size_t i = 0; i < BLOCK; i++) {
    const float f = normal[i] * (float)scale;
    if (type == T_F32)
      memcpy(&block[i], &f, 4);
    else
      ((uint16_t *)block)[i] = half_to_bf16(f);
  }
  char *p = room(n * type_size(type));
  for (size_t at = 0; at < n; at += BLOCK)
    be->put(be, p + at * type_size(type), block, (n - at < BLOCK ? n - at : BLOCK) * type_size(type));
  return p;
}
static inline mat matrix(size_t rows, size_t n, double scale) {
  return (mat){filled(rows * n, T_BF16, scale), n, T_BF16};
}
static void drop(void *p) { be->release(be, MEM_DEVICE, p); }

#define SECONDS(times, result, ...)        \
  do {                                     \
    __VA_ARGS__;                           \
    settle();                              \
    const double from_ = now();            \
    for (int i_ = 0; i_ < (times); i_++) { \
      __VA_ARGS__;                         \
    }                                      \
    settle();                              \
    (result) = (now() - from_) / (times);  \
  } while (0)

static void open_device(void) {
  const reward_cuda_options o = {0, false, false};
  rw_error err;
  if (reward_cuda_open(&be, REWARD_CUDA_VERSION, &o, &err)) printf("FAIL %s\n", err.text), exit(1);
}

#endif
