/* amx.h - products of bf16 tiles with f32 sums, by the AMX unit of recent Xeons.
 *
 * A tile is 16 x 16 pairs of bf16: of factor a 16 rows by 32 of the inner index, of factor b 32 of the inner index
 * by 16 columns. One instruction adds to 16 x 16 sums: per element the 16 even and the 16 odd products in two
 * chains of fused multiply-adds from 0, then their sum to the element (Intel's TDPBF16PS; denormals count as 0). So
 * an element's bits depend on how the inner index is cut into chunks of 32, and on nothing else.
 *
 * An f32 factor is taken whole as three bf16 parts, x = x0 + x1 + x2 to 24 bits, and a product as the six partial
 * ones down to 2^-24 of it (as in Henry, Tang & Heinecke 2019): f32 products at f32's accuracy, three times as
 * fast.
 */
#ifndef COMPUTE_CPU_AMX_H
#define COMPUTE_CPU_AMX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"

enum {
  AMX_ROWS = 16,  /* rows of a, or columns of b, in a tile */
  AMX_INNER = 32, /* values of the inner index in a tile */
  AMX_TILE = 512, /* bf16 values of a tile */
  AMX_MAX_PARTS = 3
};

/* A packed factor: panels of 16 rows of a, or columns of b, `ld` values apart; a panel is chunk after chunk of the
 * inner index, a chunk its parts. */
typedef struct {
  const uint16_t *p;
  size_t ld, parts;
} amx_factor;

#if defined(__x86_64__)
/* Around a thread's calls of amx_tiles. */
void amx_begin(void);
void amx_end(void);

/* Packs element (i, k) = src[i*si + k*sk], i < n <= 16, k < kn <= 32, into `parts` tiles one after another, the
 * rest zeros. One of si, sk is 1. factor_b: as b's tile. parts 1 rounds to the nearest bf16, ties to even. */
void amx_pack(uint16_t *dst, size_t parts, bool factor_b, const void *src, tensor_type type, size_t si, size_t sk,
              size_t n, size_t kn);

/* c[m, n] (+)= sum over `chunks` of a·b. */
void amx_tiles(size_t chunks, amx_factor a, amx_factor b, float *c, size_t ldc, size_t m, size_t n, bool acc);

#else /* no such unit, and nothing calls the rest where detect_amx says no */
static inline void amx_begin(void) { __builtin_trap(); }
static inline void amx_end(void) { __builtin_trap(); }
static inline void amx_pack(uint16_t *dst, size_t parts, bool factor_b, const void *src, tensor_type type,
                            size_t si, size_t sk, size_t n, size_t kn) {
  (void)dst, (void)parts, (void)factor_b, (void)src, (void)type, (void)si, (void)sk, (void)n, (void)kn;
  __builtin_trap();
}
static inline void amx_tiles(size_t chunks, amx_factor a, amx_factor b, float *c, size_t ldc, size_t m, size_t n,
                             bool acc) {
  (void)chunks, (void)a, (void)b, (void)c, (void)ldc, (void)m, (void)n, (void)acc;
  __builtin_trap();
}
#endif

#endif
