/* check_mix.h - a part of check_cuda.c: what mixtures of experts need. */
#ifndef TESTS_CUDA_CHECK_MIX_H
#define TESTS_CUDA_CHECK_MIX_H

#include "tensors.h"

static void check_mix(size_t m, size_t n, size_t pad) {
  enum { K = 3, OUT = 24 };
  const size_t slots = m * K;
  int32_t *index = need(calloc(slots, sizeof *index));
  for (size_t i = 0; i < slots; i++) index[i] = (int32_t)((i * 37 + 11) % slots);
  tens x = tens_new(slots, n, n + pad, act, 1), z = tens_new(slots, n, n + pad, act, 0),
       y = tens_new(m, n, n + pad, act, 1), one = tens_new(1, n, n + pad, act, 1),
       s = tens_new(1, slots, slots, T_F32, 1), d = tens_new(slots, 1, 1, T_F32, 0),
       dot = tens_new(1, 1, 1, T_F32, 0), dy = tens_new(slots, OUT, OUT, act, 1),
       dw = tens_new(OUT, n, n, T_F32, 1), dw1 = tens_new(OUT, n, n, T_F32, 1);
  int32_t *at = need(be->alloc(be, MEM_DEVICE, slots * sizeof *at));
  double *want = need(calloc(slots * n + OUT * n, sizeof *want)), differ = 0;
  be->put(be, at, index, slots * sizeof *at);

  be->pick(be, z.m, x.m, at, slots, n);
  for (size_t i = 0; i < slots * n; i++) want[i] = x.v[(size_t)index[i / n] * n + i % n];
  compare(&z, want, 0, "pick %zux%zu", slots, n);
  for (int how = 0; how < 3; how++) { /* 1: added; 2: without factors */
    for (size_t i = 0; i < m * n; i++) want[i] = how == 1 ? y.v[i] : 0;
    for (size_t j = 0; j < slots; j++)
      for (size_t c = 0; c < n; c++) want[j / K * n + c] += (how < 2 ? s.v[j] : 1) * x.v[(size_t)index[j] * n + c];
    be->mix(be, y.m, x.m, at, how < 2 ? floats(&s) : NULL, m, K, n, how == 1);
    compare(&y, want, 1e-6, "mix %zux%zu%s", m, n, how == 1 ? ", added" : how ? " without factors" : "");
  }
  for (size_t i = 0; i < m; i += 5) {
    be->mix(be, one.m, x.m, at + i * K, NULL, 1, K, n, false);
    tens_get(&one, "mix, a row");
    differ += rows_differ(&y, i, &one, 0, 1);
  }
  report(differ, 0, "mix %zux%zu, rows alone, bits", m, n);

  be->row_dots(be, floats(&d), x.m, z.m, slots, n);
  for (size_t i = 0; i < slots; i++) {
    want[i] = 0;
    for (size_t c = 0; c < n; c++) want[i] += x.v[i * n + c] * z.v[i * n + c];
  }
  compare(&d, want, 2e-6, "row_dots %zux%zu", slots, n);
  differ = 0;
  for (size_t i = 0; i < slots; i += 5) {
    be->row_dots(be, floats(&dot), mat_from(x.m, i, 0), mat_from(z.m, i, 0), 1, n);
    tens_get(&dot, "row_dots, a row");
    differ += rows_differ(&d, i, &dot, 0, 1);
  }
  report(differ, 0, "row_dots %zux%zu, rows alone, bits", slots, n);
  for (size_t i = 0; i < slots * n; i++) want[i] = z.v[i] * s.v[i / n];
  be->row_scale(be, z.m, floats(&s), slots, n);
  compare(&z, want, 1e-7, "row_scale %zux%zu", slots, n);

  /* a weight gradient by pieces, and the same by a batch that lists them */
  const size_t ends[] = {7, 8, slots};
  const row_pieces pieces = {ends, 3};
  rows_batch rows = rows_make(slots, ends, 3);
  memcpy(dw1.v, dw.v, OUT * n * sizeof *dw.v);
  tens_put(&dw1);
  be->linear_dw(be, floats(&dw), dy.m, x.m, rows_done(&rows), ROWS_ALL, OUT, n);
  be->linear_dw_pieces(be, floats(&dw1), dy.m, x.m, &pieces, OUT, n);
  tens_get(&dw, "linear_dw"), tens_get(&dw1, "linear_dw_pieces");
  report(rows_differ(&dw, 0, &dw1, 0, OUT), 0, "linear_dw_pieces of %zux%zu, bits", OUT, n);
  be->batch_free(be, rows.b);
  settle();
  be->release(be, MEM_DEVICE, at);
  tens *all[] = {&x, &z, &y, &one, &s, &d, &dot, &dy, &dw, &dw1};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tens_free(all[i]);
  free(index), free(want);
}

#endif
