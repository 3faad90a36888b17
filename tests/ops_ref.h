/* ops_ref.h - the plain definition of every backend operation: naive loops in double precision.
 *
 * What a backend computes is compared with these, and its gradients with finite differences of these. Shapes and
 * arguments as in src/compute/backend.h.
 */
#ifndef TESTS_OPS_REF_H
#define TESTS_OPS_REF_H

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compute/backend.h"

static inline void ref_linear(double *y, const double *x, const double *w, const double *bias, size_t m, size_t out,
                              size_t in) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < out; j++) {
      double s = bias ? bias[j] : 0;
      for (size_t k = 0; k < in; k++) s += x[i * in + k] * w[j * in + k];
      y[i * out + j] = s;
    }
}

static inline void ref_rmsnorm(double *y, const double *x, const double *w, double offset, double eps, size_t m,
                               size_t groups, size_t n) {
  for (size_t i = 0; i < m * groups; i++) {
    double s = 0;
    for (size_t j = 0; j < n; j++) s += x[i * n + j] * x[i * n + j];
    for (size_t j = 0; j < n; j++) y[i * n + j] = x[i * n + j] / sqrt(s / (double)n + eps) * (w[j] + offset);
  }
}

static inline void ref_layernorm(double *y, const double *x, const double *w, const double *b, double offset,
                                 double eps, size_t m, size_t n) {
  for (size_t i = 0; i < m; i++) {
    double mean = 0, s = 0;
    for (size_t j = 0; j < n; j++) mean += x[i * n + j] / (double)n;
    for (size_t j = 0; j < n; j++) s += (x[i * n + j] - mean) * (x[i * n + j] - mean);
    for (size_t j = 0; j < n; j++)
      y[i * n + j] = (x[i * n + j] - mean) / sqrt(s / (double)n + eps) * (w[j] + offset) + b[j];
  }
}

static inline double ref_act(double x, activation a) {
  return a == ACT_SILU ? x / (1 + exp(-x)) : 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}

static inline void ref_gated(double *y, const double *gu, size_t m, size_t n, activation a) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++)
      y[i * n + j] = act_is_gated(a) ? ref_act(gu[i * 2 * n + j], a) * gu[i * 2 * n + n + j]
                                     : pow(fmax(gu[i * n + j], 0), a == ACT_RELU2 ? 2 : 1);
}

/* Row of the conversation's position p in branch b of tree t. */
static inline size_t ref_row(const forest *f, const tree *t, size_t b, size_t p) {
  return p < t->prompt.len ? t->prompt.first + p : f->branches[t->first_branch + b].first + p - t->prompt.len;
}

static inline void ref_attention(double *o, const double *qkv, const forest *f, const attention_shape *a) {
  size_t d = a->head_dim, ld = (a->q_heads + 2 * a->kv_heads) * d, ldo = a->q_heads * d;
  for (size_t t = 0; t < f->n_trees; t++)
    for (size_t b = 0; b < f->trees[t].n_branches; b++) {
      const tree *tr = &f->trees[t];
      size_t n = tr->prompt.len + f->branches[tr->first_branch + b].len;
      double *p = malloc(n * sizeof *p);
      for (size_t i = 0; i < n; i++)
        for (size_t h = 0; h < a->q_heads; h++) {
          size_t g = h / (a->q_heads / a->kv_heads), row = ref_row(f, tr, b, i);
          size_t from = a->window > 0 && i + 1 > (size_t)a->window ? i + 1 - (size_t)a->window : 0;
          double max = -INFINITY, sum = 0;
          for (size_t j = from; j <= i; j++) {
            p[j] = 0;
            for (size_t c = 0; c < d; c++)
              p[j] += qkv[row * ld + h * d + c] * qkv[ref_row(f, tr, b, j) * ld + (a->q_heads + g) * d + c];
            p[j] *= a->scale;
            if (a->softcap > 0) p[j] = a->softcap * tanh(p[j] / a->softcap);
            if (p[j] > max) max = p[j];
          }
          for (size_t j = from; j <= i; j++) sum += p[j] = exp(p[j] - max);
          for (size_t c = 0; c < d; c++) {
            double s = 0;
            for (size_t j = from; j <= i; j++)
              s += p[j] / sum * qkv[ref_row(f, tr, b, j) * ld + (a->q_heads + a->kv_heads + g) * d + c];
            o[row * ldo + h * d + c] = s;
          }
        }
      free(p);
    }
}

/* Sums of products of bf16 values to the last bit, as Intel's manual has VDPBF16PS and TDPBF16PS: denormals are 0
 * on the way in and out. */
static float flushed(float x) { return fabsf(x) < FLT_MIN ? 0.0f : x; }
static float fma_flushed(float a, float b, float sum) { return flushed(fmaf(flushed(a), flushed(b), sum)); }
/* Pair by pair, its second product first. */
static inline float ref_pairs(const float *x, const float *w, size_t n) {
  float sum = 0;
  for (size_t k = 0; k < n; k += 2) {
    if (k + 1 < n) sum = fma_flushed(x[k + 1], w[k + 1], sum);
    sum = fma_flushed(x[k], w[k], sum);
  }
  return sum;
}
/* Of 32 at a time those at even and at odd places each by themselves, then their sum. */
static inline float ref_tiles(const float *x, const float *w, size_t n) {
  float sum = 0;
  for (size_t k = 0; k < n;) {
    float half[2] = {0, 0};
    for (size_t i = 0; i < 32 && k < n; i++, k++) half[i % 2] = fma_flushed(x[k], w[k], half[i % 2]);
    sum = flushed(sum + flushed(half[0] + half[1]));
  }
  return sum;
}

#endif
