/* ops_measure.h - random arguments for check-ops, and how far a result is from what it should be. */
#ifndef TESTS_OPS_MEASURE_H
#define TESTS_OPS_MEASURE_H

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/half.h"
#include "base/mem.h"
#include "base/rng.h"

static rng R;

static float *random_f(size_t n, double scale) {
  float *p = mem_aligned(n, sizeof *p);
  for (size_t i = 0; i < n; i++) p[i] = (float)(rng_normal(&R) * scale);
  return p;
}
static double *widen(const float *x, size_t n) {
  double *p = malloc(n * sizeof *p);
  for (size_t i = 0; i < n; i++) p[i] = x[i];
  return p;
}
static void round_all(float *x, size_t n) {
  for (size_t i = 0; i < n; i++) x[i] = half_from_bf16(half_to_bf16(x[i]));
}
/* Largest |a - b| over the largest |b|. */
static double distance(const float *a, const double *b, size_t n) {
  double e = 0, top = 1e-30;
  for (size_t i = 0; i < n; i++) {
    double d = fabs(a[i] - b[i]);
    if (!(d <= e)) e = d;
    if (fabs(b[i]) > top) top = fabs(b[i]);
  }
  return e / top;
}
static double bits_differ(const void *a, const void *b, size_t bytes) { return memcmp(a, b, bytes) ? 1 : 0; }

/* d(sum dy·f(x))/dx by central differences, at `probes` places of x, compared with dx. */
typedef void (*map_fn)(double *y, const double *x, const void *ctx);
static double gradient_error(const float *dx, const double *x, size_t n, const float *dy, size_t ny, map_fn f,
                             const void *ctx, size_t probes) {
  double *at = malloc(n * sizeof *at), *y = malloc(ny * sizeof *y), worst = 0, top = 1e-30;
  memcpy(at, x, n * sizeof *at);
  for (size_t p = 0; p < probes; p++) {
    size_t i = (size_t)rng_below(&R, n);
    double h = 1e-5, s[2];
    for (int k = 0; k < 2; k++) {
      at[i] = x[i] + (k ? h : -h);
      f(y, at, ctx);
      s[k] = 0;
      for (size_t j = 0; j < ny; j++) s[k] += dy[j] * y[j];
    }
    at[i] = x[i];
    double want = (s[1] - s[0]) / (2 * h), e = fabs(want - dx[i]);
    if (!(e <= worst)) worst = e;
    if (fabs(want) > top) top = fabs(want);
  }
  free(at);
  free(y);
  return worst / top;
}

#endif
