/* tensors.h - matrices on a device for its checks: random values as the device holds them, and beside them the same
 * as f64; all memory around them is NaN, which must stay as it is. */
#ifndef TESTS_CUDA_TENSORS_H
#define TESTS_CUDA_TENSORS_H

#include <stdarg.h>
#include <stdio.h>

#include "base/half.h"
#include "base/rng.h"
#include "ops_ref.h"

static int passed, failed;
static rng R;
static backend *be;
static tensor_type act;    /* of the backend that is checked */
static const char *suffix; /* "bf16" or "f32" */

static void report(double error, double bound, const char *fmt, ...) {
  char what[160];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(what, sizeof what, fmt, ap);
  va_end(ap);
  const bool ok = error <= bound;
  ok ? passed++ : failed++;
  printf("%s %-4s %-58s error %.1e (bound %.0e)\n", ok ? "ok  " : "FAIL", suffix, what, error, bound);
  fflush(stdout);
}
/* bf16 keeps 8 bits: what is compared with f64 is rounded once, by up to 2^-9 of itself. */
static double bound_of(tensor_type t, double f32) { return t == T_BF16 ? 4e-3 : f32; }

static void *need(void *p) {
  if (!p) printf("no memory\n"), exit(1);
  return p;
}
static void settle(void) {
  rw_error err;
  if (be->sync(be, &err)) printf("FAIL %s\n", err.text), failed++;
}

typedef struct {
  mat m;
  size_t rows, n, bytes;
  unsigned char *copy; /* what it held when last looked at */
  double *v;           /* [rows, n] */
} tens;

static double tens_value(const tens *t, size_t i, size_t j) {
  const unsigned char *p = t->copy + (i * t->m.ld + j) * type_size(t->m.type);
  uint16_t h;
  float f;
  if (t->m.type == T_F32) return memcpy(&f, p, 4), f;
  return memcpy(&h, p, 2), half_from_bf16(h);
}
static void tens_set(tens *t, size_t i, size_t j, double x) {
  unsigned char *p = t->copy + (i * t->m.ld + j) * type_size(t->m.type);
  const float f = (float)x;
  const uint16_t h = half_to_bf16(f);
  if (t->m.type == T_F32)
    memcpy(p, &f, 4);
  else
    memcpy(p, &h, 2);
  t->v[i * t->n + j] = tens_value(t, i, j);
}
/* Puts v, rounded, on the device. */
static void tens_put(tens *t) {
  for (size_t i = 0; i < t->rows; i++)
    for (size_t j = 0; j < t->n; j++) tens_set(t, i, j, t->v[i * t->n + j]);
  be->put(be, t->m.p, t->copy, t->bytes);
}
/* rows x n values of the given scale, ld apart; scale 0: left NaN, for results. Buffers end where 128 rows do. */
static tens tens_new(size_t rows, size_t n, size_t ld, tensor_type type, double scale) {
  const size_t room = (rows + 127) / 128 * 128;
  tens t = {{NULL, ld, type}, rows, n, room * ld * type_size(type), NULL, NULL};
  t.m.p = need(be->alloc(be, MEM_DEVICE, t.bytes));
  t.copy = need(malloc(t.bytes));
  t.v = need(malloc(rows * n * sizeof *t.v + 1));
  memset(t.copy, 0xff, t.bytes);
  if (scale == 0) {
    be->put(be, t.m.p, t.copy, t.bytes);
    return t;
  }
  for (size_t i = 0; i < rows * n; i++) t.v[i] = rng_normal(&R) * scale;
  tens_put(&t);
  return t;
}
/* Looks at the device's values; counts as a failure what changed around them. */
static void tens_get(tens *t, const char *what) {
  be->get(be, t->copy, t->m.p, t->bytes);
  const size_t size = type_size(t->m.type);
  size_t strays = 0;
  for (size_t at = 0, last = t->rows * t->m.ld * size; at < t->bytes; at++)
    if (at >= last || at % (t->m.ld * size) >= t->n * size) strays += t->copy[at] != 0xff;
  if (strays) report((double)strays, 0, "%s: bytes written beside its result", what);
  for (size_t i = 0; i < t->rows; i++)
    for (size_t j = 0; j < t->n; j++) t->v[i * t->n + j] = tens_value(t, i, j);
}
static void tens_free(tens *t) {
  be->release(be, MEM_DEVICE, t->m.p);
  free(t->copy), free(t->v);
}
static float *floats(const tens *t) { return t->m.p; }

/* Largest |a - b| over the largest |b|; NaN counts as far. */
static double distance(const double *a, const double *b, size_t n) {
  double e = 0, top = 1e-30;
  for (size_t i = 0; i < n; i++) {
    const double d = fabs(a[i] - b[i]);
    if (!(d <= e)) e = isnan(d) ? INFINITY : d;
    if (fabs(b[i]) > top) top = fabs(b[i]);
  }
  return e / top;
}
static void compare_to(tens *got, const double *want, double bound, const char *fmt, ...) {
  char what[160];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(what, sizeof what, fmt, ap);
  va_end(ap);
  tens_get(got, what);
  report(distance(got->v, want, got->rows * got->n), bound, "%s", what);
}
#define compare(got, want, f32_bound, ...) compare_to(got, want, bound_of((got)->m.type, f32_bound), __VA_ARGS__)
/* Rows of a (from row a0 on) and b whose bits differ. */
static double rows_differ(const tens *a, size_t a0, const tens *b, size_t b0, size_t rows) {
  const size_t size = type_size(a->m.type);
  double n = 0;
  for (size_t i = 0; i < rows; i++)
    n += memcmp(a->copy + (a0 + i) * a->m.ld * size, b->copy + (b0 + i) * b->m.ld * size, a->n * size) != 0;
  return n;
}

/* ---- batches without trees ---- */

typedef struct {
  batch_layout l;
  batch *b;
} rows_batch;
static rows_batch rows_make(size_t rows, const size_t *ends, size_t n_ends) {
  rows_batch r = {{.f = {.rows = rows}, .pieces = {ends, n_ends}}, NULL};
  return r;
}
static const batch *rows_done(rows_batch *r) {
  rw_error err;
  if (be->batch_make(be, &r->b, &r->l, &err)) printf("FAIL %s\n", err.text), exit(1);
  return r->b;
}

#endif
