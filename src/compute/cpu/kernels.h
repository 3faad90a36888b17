/* kernels.h - the inner loops of the CPU backend, one table for each CPU level.
 *
 * kernels_impl.h is compiled once for each level (baseline, AVX2+FMA, AVX-512); cpu.c chooses at run time.
 * The rule that makes bits independent of batching and threads lives here: every element of a product is ONE
 * chain of fused multiply-adds in the order of the inner index, started from the element's old value (or 0).
 * So it does not matter how rows, columns or the inner index are cut into blocks, and every level computes the
 * same bits. Sums along a row are 16 interleaved lanes, folded in halves.
 */
#ifndef COMPUTE_CPU_KERNELS_H
#define COMPUTE_CPU_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"

typedef struct {
  int mr, nr; /* the register tile of the product kernel: mr rows by nr columns */

  /* Packs element (i, k) = src[i*si + k*sk], i < n, k < kn, into panels of r: dst[(i/r)*ld + k*r + i%r], short
   * last panels filled with zeros. One of si, sk is 1. ld: floats between panels. */
  void (*pack)(float *dst, size_t ld, int r, const void *src, tensor_type type, size_t si, size_t sk, size_t n,
               size_t kn);
  /* c[i*ldc + j] (+)= sum_k a[k*mr + i] * b[k*nr + j] for i < m <= mr, j < n <= nr. acc: start from c. */
  void (*tile)(size_t kn, const float *a, const float *b, float *c, size_t ldc, size_t m, size_t n, bool acc);

  /* sums[j*nr + i] += sum_k x[k*nr + i] * w[j*ldw + k] for i < nr, of which only i < m need be, and j < n. */
  void (*thin)(size_t kn, const float *x, size_t m, const float *w, size_t ldw, size_t n, float *sums);

  void (*transpose)(float *dst, size_t r, const float *src, size_t ld, size_t n,
                    size_t kn);                                           /* dst[k*r + i] = src[i*ld + k] */
  void (*widen)(float *dst, const void *src, tensor_type type, size_t n); /* to f32; exact */
  void (*round_bf16)(float *x, size_t n);                                 /* to the nearest bf16, ties to even */

  /* Rows of n values. */
  float (*dot)(const float *a, const float *b, size_t n);
  float (*row_max)(const float *x, size_t n);
  float (*exp_sum)(float *x, size_t n, float max); /* x = exp(x - max), returns the sum */
  void (*softcap)(float *x, size_t n, float cap);  /* x = cap*tanh(x/cap) */
  void (*scale)(float *x, size_t n, float s);
  void (*add)(float *y, const float *x, size_t n);
  void (*axpy)(float *y, float s, const float *x, size_t n); /* y = fma(s, x, y) */
  /* y (+)= 0 where a hash of the column and `row` is below `below`, else x*s */
  void (*dropout)(float *y, const float *x, uint64_t row, uint32_t below, float s, size_t n, bool acc);
  /* A row of attention's backward pass, in place over dp: p*(dp - delta)*scale; with cap > 0 s holds the capped
   * scores, whose slope is 1 - (s/cap)². */
  void (*softmax_dx)(float *dp, const float *p, const float *s, float delta, float scale, float cap, size_t n);
  void (*rmsnorm)(float *y, const float *x, const float *w, float offset, float eps, size_t n, float *rstd);
  void (*rmsnorm_dx)(float *dx, const float *dy, const float *x, const float *w, float offset, float rstd, size_t n,
                     bool acc);
  /* dw[j] += dy[j]*x[j]*rstd */
  void (*rmsnorm_dw)(float *dw, const float *dy, const float *x, float rstd, size_t n);
  void (*layernorm)(float *y, const float *x, const float *w, const float *b, float offset, float eps, size_t n,
                    float stats[2]);
  void (*layernorm_dx)(float *dx, const float *dy, const float *x, const float *w, float offset,
                       const float stats[2], size_t n, bool acc);
  /* dw[j] += dy[j]*(x[j] - mean)*rstd */
  void (*layernorm_dw)(float *dw, const float *dy, const float *x, const float stats[2], size_t n);
  void (*gated)(float *y, const float *gate, const float *up, size_t n, activation act);
  void (*gated_bwd)(
      float *dgate, float *dup, const float *dy, const float *gate, const float *up, size_t n,
      activation act); /* dgate may be gate, dup may be up; without a gate dup and up are not looked at */
  void (*rope)(float *x, const float *cos_row, const float *sin_row, size_t half, float sign);
  void (*adamw)(float *w, float *g, float *m, float *v, const adamw_step *o, float clip, size_t n);
  /* One block of at most ADAMW8_BLOCK values; `seed` decides the roundings. */
  void (*adamw8)(float *w, float *g, uint8_t *mq, float *m_scale, uint8_t *vq, float *v_scale, const adamw_step *o,
                 float clip, uint32_t seed, size_t n);
  double (*sum_squares)(const float *x, size_t n);
} kernels;

extern const kernels kernels_baseline, kernels_avx2, kernels_avx512;

#endif
