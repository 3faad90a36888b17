/* peak_avx512.c - what one core does at most: f32's fused multiply-add beside vdpbf16ps, twelve accumulators in
 * registers.
 *
 *     gcc -O2 -mavx512f -mavx512bf16 bench/peak_avx512.c -o peak && ./peak
 */
#include <stdio.h>
#include <time.h>

typedef float vec __attribute__((vector_size(64)));

static double seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#define ONE(op, i)  __asm__ volatile(op " %1, %1, %0" : "+v"(s[i]) : "v"(x));
#define FOUR(op, i) ONE(op, i) ONE(op, i + 1) ONE(op, i + 2) ONE(op, i + 3)
#define RATE(op, flops)                                                                     \
  do {                                                                                      \
    double from = seconds();                                                                \
    for (long k = 0; k < n; k++) {                                                          \
      FOUR(op, 0) FOUR(op, 4) FOUR(op, 8)                                                   \
    }                                                                                       \
    printf("%-12s %6.1f GFLOP/s\n", op, (double)n * 12 * flops / (seconds() - from) / 1e9); \
  } while (0)

int main(void) {
  const long n = 50000000;
  vec x = {0}, s[12] = {0};
  x += 1e-3f;
  RATE("vfmadd231ps", 32);
  RATE("vdpbf16ps", 64);
  return 0;
}
