/* pairs.c - the engine of pairs of bf16 with f32 sums, by AVX512_BF16's dot product.
 *
 * A chunk is two values of the inner index, rounded to bf16, side by side in one word of memory. One instruction
 * adds to 16 sums: per element first the product of the second values, then that of the first, each by a fused
 * multiply-add (Intel's VDPBF16PS; denormals count as 0). So an element's bits depend on how the inner index is cut
 * into pairs, and on nothing else.
 *
 * Compiled for AVX512_BF16; nothing here runs where detect_avx512bf16 says no.
 */
#include <string.h>

#include "compute/cpu/avx512.h"
#include "compute/cpu/engine.h"

/* A tile's 24 vectors of sums, two of b and one pair of a in all lanes: 27 of the 32 registers. */
enum { VL = 16, MR = 12, NV = 2, NR = VL * NV, INNER = 2 };

/* ---- packing ---- */

/* 16 pairs along the inner index: n values of src from element `at` on, the rest zeros. */
static inline __m512i along(const void *src, size_t at, tensor_type type, size_t n) {
  size_t more = n > 16 ? n - 16 : 0;
  if (type == T_BF16)
    return _mm512_maskz_loadu_epi16((__mmask32)(first(n) | (uint32_t)first(more) << 16),
                                    (const uint16_t *)src + at);
  return (__m512i)_mm512_cvtne2ps_pbh(load_some(src, at + 16, type, first(more)),
                                      load_some(src, at, type, first(n)));
}

/* Panels whose source rows run along the inner index. Rows that are not there are zeros. */
static inline void pack_along(panels to, const size_t r, const void *src, const tensor_type type, size_t si,
                              size_t n, size_t kn) {
  for (size_t i = 0; i < n; i += r, to.p += to.ld)
    for (size_t i0 = 0; i0 < r; i0 += 16)
      for (size_t k = 0; k < kn; k += 32) {
        size_t left = kn - k < 32 ? kn - k : 32;
        __m512 x[16];
#pragma GCC unroll 16
        for (size_t row = 0; row < 16; row++) {
          bool there = i0 + row < r && i + i0 + row < n;
          x[row] =
              there ? _mm512_castsi512_ps(along(src, (i + i0 + row) * si + k, type, left)) : _mm512_setzero_ps();
        }
        transpose16(x);
        float *at = to.p + k / INNER * r + i0;
#pragma GCC unroll 16
        for (size_t c = 0; c < 16; c++)
          if (INNER * c < left) _mm512_mask_storeu_ps(at + c * r, first(r - i0), x[c]);
      }
}

/* Panels whose index runs along the source's rows: two rows give a pair to each, all panels before the next two. */
static inline void pack_across(panels to, const size_t r, const void *src, const tensor_type type, size_t sk,
                               size_t n, size_t kn) {
  const size_t line = 64 / type_size(type);
  for (size_t k = 0; k < kn; k += INNER, to.p += r) {
    const bool two = k + 1 < kn;
    for (size_t i = 0; i < n; i += line) { /* pieces of rows: nobody else fetches them ahead */
      __builtin_prefetch((const char *)src + ((k + 8) * sk + i) * type_size(type));
      __builtin_prefetch((const char *)src + ((k + 9) * sk + i) * type_size(type));
    }
    float *panel = to.p;
    for (size_t i = 0; i < n; i += r, panel += to.ld)
      for (size_t i0 = 0; i0 < r; i0 += 16) {
        size_t left = n - i < r ? n - i : r;
        __mmask16 some = first(left > i0 ? left - i0 : 0);
        __m512 one = load_some(src, k * sk + i + i0, type, some),
               other = two ? load_some(src, (k + 1) * sk + i + i0, type, some) : _mm512_setzero_ps();
        __m512i pairs = woven((__m512i)_mm512_cvtne2ps_pbh(other, one));
        _mm512_mask_storeu_ps(panel + i0, first(r - i0), _mm512_castsi512_ps(pairs));
      }
  }
}

static inline void pack_width(panels to, const size_t r, const void *src, tensor_type type, size_t si, size_t sk,
                              size_t n, size_t kn) {
  if (sk == 1 && type == T_F32) /* constant types and widths, for the loops' sake */
    pack_along(to, r, src, T_F32, si, n, kn);
  else if (sk == 1 && type == T_BF16)
    pack_along(to, r, src, T_BF16, si, n, kn);
  else if (sk == 1)
    pack_along(to, r, src, T_F16, si, n, kn);
  else if (type == T_F32)
    pack_across(to, r, src, T_F32, sk, n, kn);
  else
    pack_across(to, r, src, type, sk, n, kn);
}

static void pack(const engine *e, panels to, factor_id f, const void *src, tensor_type type, size_t si, size_t sk,
                 size_t n, size_t kn) {
  (void)e;
  if (f == FACTOR_A)
    pack_width(to, MR, src, type, si, sk, n, kn);
  else
    pack_width(to, NR, src, type, si, sk, n, kn);
}

/* ---- products ---- */

/* The whole register tile; c has room for MR x NR. */
static inline void full_tile(size_t chunks, const float *a, const float *b, float *c, size_t ldc, bool acc) {
  __m512 s[MR][NV];
#pragma GCC unroll 16
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (size_t j = 0; j < NV; j++) s[i][j] = acc ? _mm512_loadu_ps(c + i * ldc + j * VL) : _mm512_setzero_ps();
  for (size_t k = 0; k < chunks; k++, a += MR, b += NR) {
    __m512i bv[NV];
#pragma GCC unroll 8
    for (size_t j = 0; j < NV; j++) bv[j] = _mm512_castps_si512(_mm512_loadu_ps(b + j * VL));
#pragma GCC unroll 16
    for (size_t i = 0; i < MR; i++) {
      __m512i av = _mm512_castps_si512(_mm512_set1_ps(a[i]));
#pragma GCC unroll 8
      for (size_t j = 0; j < NV; j++) s[i][j] = _mm512_dpbf16_ps(s[i][j], (__m512bh)av, (__m512bh)bv[j]);
    }
  }
#pragma GCC unroll 16
  for (size_t i = 0; i < MR; i++)
#pragma GCC unroll 8
    for (size_t j = 0; j < NV; j++) _mm512_storeu_ps(c + i * ldc + j * VL, s[i][j]);
}

static void tile(size_t chunks, const float *a, const float *b, float *c, size_t ldc, size_t m, size_t n,
                 bool acc) {
  if (m == MR && n == NR) {
    for (size_t i = 0; i < MR; i++) /* the tile below is next */
      for (size_t j = 0; j < NR; j += 16) __builtin_prefetch(c + (MR + i) * ldc + j, 1);
    full_tile(chunks, a, b, c, ldc, acc);
    return;
  }
  float edge[MR * NR]; /* a tile at the matrix's edge is computed beside it */
  if (acc) {
    memset(edge, 0, sizeof edge);
    for (size_t i = 0; i < m; i++) memcpy(edge + i * NR, c + i * ldc, n * sizeof(float));
  }
  full_tile(chunks, a, b, edge, NR, acc);
  for (size_t i = 0; i < m; i++) memcpy(c + i * ldc, edge + i * NR, n * sizeof(float));
}

engine engine_pairs(void) {
  enum { ROWS = 96, COLUMNS = 384, CHUNKS = 192 /* 24 KB of a panel of b, for the first-level cache */ };
  return (engine){.width = {MR, NR},
                  .inner = INNER,
                  .words = 1,
                  .parts = 1,
                  .suits = {ROWS, COLUMNS / NR, CHUNKS, 18},
                  .pack = pack,
                  .multiply = engine_by_tiles,
                  .tile = tile};
}
