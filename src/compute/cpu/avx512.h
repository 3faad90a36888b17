/* avx512.h - what the AVX-512 kernels and engines share. */
#ifndef COMPUTE_CPU_AVX512_H
#define COMPUTE_CPU_AVX512_H

#include <immintrin.h>

#include "compute/backend.h"

/* Transposes 16 x 16 values of 32 bits in place. */
static inline void transpose16(__m512 x[16]) {
  __m512 y[16];
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 2) {
    y[i] = _mm512_unpacklo_ps(x[i], x[i + 1]);
    y[i + 1] = _mm512_unpackhi_ps(x[i], x[i + 1]);
  }
#pragma GCC unroll 16
  for (int i = 0; i < 16; i += 4) { /* x[i + c]: in each 128-bit lane L column 4L + c of rows i to i + 3 */
    x[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(y[i]), _mm512_castps_pd(y[i + 2])));
    x[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(y[i]), _mm512_castps_pd(y[i + 2])));
    x[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(y[i + 1]), _mm512_castps_pd(y[i + 3])));
    x[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(y[i + 1]), _mm512_castps_pd(y[i + 3])));
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; c++) {
    y[c] = _mm512_shuffle_f32x4(x[c], x[4 + c], 0x88);     /* lanes 0, 2 of rows 0-3, 4-7 */
    y[4 + c] = _mm512_shuffle_f32x4(x[c], x[4 + c], 0xdd); /* lanes 1, 3 */
    y[8 + c] = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0x88);
    y[12 + c] = _mm512_shuffle_f32x4(x[8 + c], x[12 + c], 0xdd);
  }
#pragma GCC unroll 16
  for (int c = 0; c < 4; c++) {
    x[c] = _mm512_shuffle_f32x4(y[c], y[8 + c], 0x88);
    x[8 + c] = _mm512_shuffle_f32x4(y[c], y[8 + c], 0xdd);
    x[4 + c] = _mm512_shuffle_f32x4(y[4 + c], y[12 + c], 0x88);
    x[12 + c] = _mm512_shuffle_f32x4(y[4 + c], y[12 + c], 0xdd);
  }
}

/* A mask of the first n. */
static inline __mmask16 first(size_t n) { return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1); }

static inline __m512 widen_bf16(__m256i h) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* Some of 16 values of src from element `at` on, the rest zeros. */
static inline __m512 load_some(const void *src, size_t at, tensor_type type, __mmask16 some) {
  if (type == T_F32) return _mm512_maskz_loadu_ps(some, (const float *)src + at);
  __m256i h = _mm256_maskz_loadu_epi16(some, (const uint16_t *)src + at);
  return type == T_F16 ? _mm512_cvtph_ps(h) : widen_bf16(h);
}

/* 16 values of 16 bits and 16 more as 16 pairs of one and one. */
static inline __m512i woven(__m512i x) {
  static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_loadu_si512(order), x);
}

#endif
