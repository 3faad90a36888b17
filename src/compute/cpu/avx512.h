/* avx512.h - what the AVX-512 kernels share. */
#ifndef COMPUTE_CPU_AVX512_H
#define COMPUTE_CPU_AVX512_H

#include <immintrin.h>

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

#endif
