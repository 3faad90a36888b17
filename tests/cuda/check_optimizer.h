/* check_optimizer.h - a part of check_cuda.c: dropout, the optimizer's updates, sums of squares. */
#ifndef TESTS_CUDA_CHECK_OPTIMIZER_H
#define TESTS_CUDA_CHECK_OPTIMIZER_H

#include "tensors.h"

static void check_dropout(void) {
  enum { M = 67, N = 333 };
  static uint64_t keys[M];
  const double p = 0.2, kept = (float)(1 / (1 - p));
  for (size_t i = 0; i < M; i++) keys[i] = 1000 + i; /* keys that hardly differ */
  tens x = tens_new(M, N, N + 3, act, 1), y = tens_new(M, N, N, act, 0), one = tens_new(1, N, N, act, 0);
  rows_batch rows = rows_make(M, NULL, 0);
  rows.l.drop_keys = keys;
  be->dropout(be, y.m, x.m, rows_done(&rows), ROWS_ALL, 9, p, N, false);
  tens_get(&y, "dropout");
  double dropped = 0, wrong = 0, differ = 0;
  for (size_t i = 0; i < M * N; i++) {
    dropped += y.v[i] == 0;
    const float f = (float)(x.v[i] * kept), want = act == T_BF16 ? half_from_bf16(half_to_bf16(f)) : f;
    wrong += y.v[i] != 0 && y.v[i] != want;
  }
  report(wrong, 0, "dropout: what is kept, values off");
  report(fabs(dropped / (M * N) - p), 0.011, "dropout: share dropped"); /* standard deviation 0.0027 */
  for (size_t i = 0; i < M; i += 9) {
    rows.l = rows_make(1, NULL, 0).l;
    rows.l.drop_keys = keys + i;
    be->dropout(be, one.m, mat_from(x.m, i, 0), rows_done(&rows), ROWS_ALL, 9, p, N, false);
    tens_get(&one, "dropout, a row");
    differ += rows_differ(&y, i, &one, 0, 1);
  }
  report(differ, 0, "dropout, rows one by one, bits");
  be->batch_free(be, rows.b);
  settle();
  tens_free(&x), tens_free(&y), tens_free(&one);
}

/* ---- trained values ---- */

static float f32_random(double scale) { return (float)(rng_normal(&R) * scale); }

/* What the codes of trained.h stand for: steps of 1/8 of a power of two below the scale. */
static double decode8(int code, bool with_sign) {
  int size = with_sign ? code & 127 : code, down = (with_sign ? 127 : 255) - size;
  double v = size == 0 ? 0 : ldexp(1 + ((1024 - down) % 8) / 8.0, -((down + 7) / 8));
  return with_sign && code & 128 ? -v : v;
}

typedef enum { KIND_F32, KIND_SPLIT, KIND_RANDOM, KINDS } master_kind;
static const char *const kind_names[] = {"f32", "bf16 and low", "bf16 alone"};
static master master_new(master_kind k, size_t n) {
  const tensor_type t = k == KIND_F32 ? T_F32 : T_BF16;
  return (master){need(be->alloc(be, MEM_DEVICE, n * type_size(t))),
                  k == KIND_SPLIT ? need(be->alloc(be, MEM_DEVICE, n * 2)) : NULL, t};
}
static void master_free(master w) {
  be->release(be, MEM_DEVICE, w.value);
  be->release(be, MEM_DEVICE, w.low);
}
static void *device_copy(const void *p, size_t bytes) {
  void *d = need(be->alloc(be, MEM_STATES, bytes));
  be->put(be, d, p, bytes);
  return d;
}

static void check_adamw(master_kind kind, size_t n) {
  const size_t blocks = (n + ADAMW8_BLOCK - 1) / ADAMW8_BLOCK;
  float *w = need(calloc(1, n * 4)), *g = need(calloc(1, n * 4)), *m = need(calloc(1, n * 4)),
        *v = need(calloc(1, n * 4)), *got = need(calloc(1, n * 4)), *got8 = need(calloc(1, n * 4)),
        *scales = need(calloc(1, blocks * 4));
  uint8_t *codes = need(calloc(1, n));
  for (size_t i = 0; i < n; i++) w[i] = f32_random(1), g[i] = f32_random(1), m[i] = 0, v[i] = 0;
  master a = master_new(kind, n), b = master_new(kind, n);
  be->put_master(be, a, 0, w, n);
  be->put_master(be, b, 0, w, n / 2); /* in two runs */
  be->put_master(be, b, n / 2, w + n / 2, n - n / 2);
  be->get_master(be, got, a, 0, n);
  be->get_master(be, got8, b, 0, n);
  double off = 0, apart = 0;
  for (size_t i = 0; i < n; i++) {
    const float want = kind == KIND_RANDOM ? half_from_bf16(half_to_bf16(w[i])) : w[i];
    off += got[i] != want;
    apart += got8[i] != want;
    w[i] = want;
  }
  report(off + apart, 0, "put_master, get_master, %s, %zu: values off", kind_names[kind], n);
  uint16_t *high = need(calloc(1, n * 2));
  be->get(be, high, a.value, kind == KIND_F32 ? 0 : n * 2);
  off = 0;
  for (size_t i = 0; kind == KIND_SPLIT && i < n; i++)
    off += fabs(half_from_bf16(high[i]) - w[i]) > fabs(half_from_bf16(half_to_bf16(w[i])) - w[i]);
  report(off, 0, "%s: values that are not the nearest", kind_names[kind]);

  const adamw_step o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1, 0};
  float *dg = device_copy(g, n * 4), *dm = device_copy(m, n * 4), *dv = device_copy(v, n * 4);
  void *zero[4] = {device_copy(m, n), device_copy(m, n), device_copy(m, blocks * 4), device_copy(m, blocks * 4)};
  const adamw8_state q[2] = {{zero[0], zero[2]}, {zero[1], zero[3]}};
  be->adamw(be, a, dg, dm, dv, n, &o, 0.5f);
  be->adamw8(be, b, dg, q[0], q[1], n, &o, 0.5f);
  be->get_master(be, got, a, 0, n);
  be->get_master(be, got8, b, 0, n);
  be->get(be, m, dm, n * 4);
  be->get(be, v, dv, n * 4);
  double worst = 0, mean = 0, step = 0;
  for (size_t i = 0; i < n; i++) { /* Loshchilov & Hutter 2019, algorithm 2 with PyTorch's placement of eps */
    const double gi = 0.5 * g[i], mi = 0.1 * gi, vi = 0.05 * gi * gi;
    const double want = w[i] * (1 - 1e-2 * 0.1) - 1e-2 / o.bias1 * mi / (sqrt(vi / o.bias2) + 1e-8);
    const double d = got[i] - want,
                 one = kind == KIND_RANDOM ? fabs(want) / 128 + 4e-7 : 4e-7 * fmax(1, fabs(want));
    if (!(fabs(d) / one <= worst)) worst = fabs(d) / one;
    mean += d / (double)n;
    step += fabs(want) / (double)n;
  }
  report(worst, 1, "adamw, %s, %zu: steps off", kind_names[kind], n);
  if (n >= 10000) report(fabs(mean) / step, 1e-4, "adamw, %s: mean error", kind_names[kind]);
  report(memcmp(got, got8, n * 4) != 0, 0, "adamw8, %s, first update, bits", kind_names[kind]);
  for (int k = 0; k < 2; k++) {
    be->get(be, codes, q[k].code, n);
    be->get(be, scales, q[k].scale, blocks * 4);
    worst = mean = 0;
    for (size_t i = 0; i < n; i++) {
      const double x = k ? v[i] : m[i], top = scales[i / ADAMW8_BLOCK], floor = top * (k ? 3e-10 : 2e-5);
      const double d = (decode8(codes[i], k == 0) * top - x) / fmax(fabs(x), 8 * floor);
      if (!(fabs(d) <= worst)) worst = fabs(d);
      mean += d / (double)n;
    }
    report(worst, 0.125, "adamw8, moment %d, within a step", k + 1);
    if (n >= 10000) report(fabs(mean), 3e-3, "adamw8, moment %d, mean", k + 1);
  }
  /* a second update, from stored moments: the same bits twice */
  be->adamw8(be, b, dg, q[0], q[1], n, &o, 0.5f);
  be->get_master(be, got8, b, 0, n);
  off = 0;
  for (size_t i = 0; i < n; i++) off += !isfinite(got8[i]) || fabs(got8[i] - got[i]) > 0.05 + fabs(got[i]) / 64;
  report(off, 0, "adamw8, %s, second update: values off", kind_names[kind]);
  settle();
  master_free(a), master_free(b);
  void *states[] = {dg, dm, dv, zero[0], zero[1], zero[2], zero[3]};
  for (size_t i = 0; i < sizeof states / sizeof *states; i++) be->release(be, MEM_STATES, states[i]);
  void *host[] = {w, g, m, v, got, got8, scales, codes, high};
  for (size_t i = 0; i < sizeof host / sizeof *host; i++) free(host[i]);
}

/* Blocks by two calls, as two ranks make them, and by one: the same sum when they are added in order. */
static void check_squares(void) {
  enum { N = 3 * SQUARES_BLOCK + 777, CUT = 2 * SQUARES_BLOCK };
  tens x = tens_new(1, N, N, T_F32, 1);
  double blocks[2][4] = {{0}}, sum = 0, whole = be->sum_squares(be, floats(&x), N, blocks[0]), want = 0;
  be->sum_squares(be, floats(&x), CUT, blocks[1]);
  be->sum_squares(be, floats(&x) + CUT, N - CUT, blocks[1] + 2);
  for (int i = 0; i < 4; i++) sum += blocks[1][i];
  for (size_t i = 0; i < N; i++) want += x.v[i] * x.v[i];
  report(fabs(whole / want - 1), 1e-12, "sum_squares of %d", N);
  report(memcmp(blocks[0], blocks[1], sizeof blocks[0]) != 0 || sum != whole, 0, "sum_squares by blocks, bits");
  report(be->sum_squares(be, floats(&x), N, NULL) != whole, 0, "sum_squares without blocks, bits");
  settle();
  tens_free(&x);
}

#endif
