/* peak_amx.c - what one core does at most: bf16 tiles from registers, 32 x 32 blocks of sums from packed factors of
 * a given size, and bytes read and written at sizes that fit one cache or the next.
 *
 *     make && gcc -O2 -mavx512f -Isrc -Iinclude -o peak bench/peak_amx.c build/libreward.a -lutf8proc -lm -pthread
 *     ./peak
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "compute/cpu/detect.h"
#include "compute/cpu/engine.h"

typedef long long vec __attribute__((vector_size(64)));
enum { CHUNKS = 16 };

/* Blocks of 32 x 32 sums over `pairs` pairs of panels of each factor. */
static void blocks(size_t pairs) {
  const engine e = engine_tiles(1);
  size_t ld = CHUNKS * engine_chunk(&e, FACTOR_A, 1), side = 32 * pairs, bytes = 2 * pairs * ld * sizeof(float);
  panels a = {mem_aligned(bytes, 1), ld, 1}, b = {mem_aligned(bytes, 1), ld, 1};
  float *c = mem_aligned(side * side, sizeof *c);
  if (!a.p || !b.p || !c) return;
  memset(a.p, 0, bytes);
  memset(b.p, 0, bytes);
  memset(c, 0, side * side * sizeof *c);
  double best = 1e9;
  engine_begin(&e);
  for (int r = 0; r < 20; r++) {
    double t = clock_seconds();
    e.multiply(&e, CHUNKS, a, b, c, side, side, side, false);
    t = clock_seconds() - t;
    if (t < best) best = t;
  }
  engine_end(&e);
  printf("blocks, %5zu KB of factors, %5zu KB of sums   %7.0f GFLOP/s\n", 2 * bytes / 1024,
         side * side * sizeof *c / 1024, 2e-9 * (double)(side * side * CHUNKS * e.inner) / best);
  mem_free(a.p), mem_free(b.p), mem_free(c);
}

static void bytes(size_t kb) {
  size_t n = kb * 1024;
  char *p = mem_aligned(n, 1);
  double best[2] = {1e9, 1e9};
  if (!p) return;
  memset(p, 1, n);
  for (int r = 0; r < 6; r++)
    for (int write = 0; write < 2; write++) {
      double t = clock_seconds();
      size_t times = ((size_t)64 << 20) / n + 1;
      vec s = {0};
      for (size_t k = 0; k < times; k++)
        for (size_t i = 0; i < n; i += 64) {
          if (write)
            *(vec *)(void *)(p + i) = s;
          else
            s |= *(const vec *)(const void *)(p + i);
          __asm__ volatile("" ::: "memory");
        }
      if (s[0] == 42) puts(""); /* keeps the reads */
      t = (clock_seconds() - t) / (double)(times * n);
      if (t < best[write]) best[write] = t;
    }
  printf("%7zu KB   read %6.1f GB/s   written %6.1f GB/s\n", kb, 1e-9 / best[0], 1e-9 / best[1]);
  mem_free(p);
}

int main(void) {
  if (!detect_amx()) return puts("this processor has no AMX"), 1;
  for (size_t panels = 1; panels <= 32; panels *= 2) blocks(panels);
  for (size_t kb = 32; kb <= 262144; kb *= 8) bytes(kb);
  return 0;
}
