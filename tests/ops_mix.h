/* ops_mix.h - check-ops: what mixtures of experts need. */
#ifndef OPS_MIX_H
#define OPS_MIX_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/backend.h"
#include "ops_measure.h"
#include "ops_report.h"

/* Rows by index, mixed, and what their gradients need; and a weight gradient by pieces against that of a batch. */
static void check_mix(backend *be, const char *level) {
  enum { M = 29, N = 75, K = 3, S = M * K, OUT = 20 };
  float *x = random_f(S * N, 1), *y = random_f(M * N, 1), *z = random_f(S * N, 1), *s = random_f(S, 1),
        *d = random_f(S, 1), *dw = mem_zalloc(OUT * N, 4), *want_dw = mem_zalloc(OUT * N, 4);
  double *want = malloc(S * N * 8);
  int32_t *index = malloc(S * sizeof *index);
  for (size_t i = 0; i < S; i++) index[i] = (int32_t)((i * 37 + 11) % S);
  mat mx = mat_f32(x, N), my = mat_f32(y, N), mz = mat_f32(z, N);
  for (int acc = 0; acc < 3; acc++) { /* 2: without factors */
    for (size_t i = 0; i < M * N; i++) want[i] = acc == 1 ? (double)y[i] : 0;
    for (size_t i = 0; i < M; i++)
      for (size_t j = i * K; j < (i + 1) * K; j++)
        for (size_t c = 0; c < N; c++)
          want[i * N + c] += (acc < 2 ? (double)s[j] : 1) * x[(size_t)index[j] * N + c];
    be->mix(be, my, mx, index, acc < 2 ? s : NULL, M, K, N, acc == 1);
    report(level, acc == 1 ? "mix, added" : acc ? "mix without factors" : "mix", distance(y, want, M * N), 2e-7);
  }
  be->pick(be, mz, mx, index, S, N);
  for (size_t i = 0; i < S * N; i++) want[i] = x[(size_t)index[i / N] * N + i % N];
  report(level, "pick", distance(z, want, S * N), 0);
  be->row_dots(be, d, mx, mz, S, N);
  for (size_t i = 0; i < S; i++) {
    want[i] = 0;
    for (size_t c = 0; c < N; c++) want[i] += (double)x[i * N + c] * z[i * N + c];
  }
  report(level, "row_dots", distance(d, want, S), 2e-7);
  for (size_t i = 0; i < S * N; i++) want[i] = (double)z[i] * s[i / N];
  be->row_scale(be, mz, s, S, N);
  report(level, "row_scale", distance(z, want, S * N), 1e-7);
  const size_t ends[] = {7, 8, M};
  row_pieces pieces = {ends, 3};
  batch_layout layout = {.f = {.rows = M}, .pieces = pieces};
  batch *rows = NULL;
  rw_error err;
  if (be->batch_make(be, &rows, &layout, &err)) printf("%s\n", err.text);
  be->linear_dw(be, want_dw, mat_f32(z, N), mx, rows, ROWS_ALL, OUT, N);
  be->linear_dw_pieces(be, dw, mat_f32(z, N), mx, &pieces, OUT, N);
  report(level, "no fault", be->sync(be, &err), 0);
  report(level, "linear_dw_pieces, bits", memcmp(dw, want_dw, OUT * N * 4) != 0, 0);
  be->batch_free(be, rows);
  void *p[] = {x, y, z, s, d, dw, want_dw, want, index};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
}

#endif
