/* check_cuda.c - the CUDA backend's operations against their plain definitions, on a GPU or on the emulator.
 *
 * usage: check-cuda [quick | once | big]. Values against f64, in bf16 and in f32; a row's bits alone, moved and
 * among others; sums over rows by pieces; nothing written beside a result; memory that nobody wrote is NaN. quick:
 * small shapes; once: each kernel about once, for slow tools; big: also a model's shapes, for a real GPU.
 */
#include "check_mix.h"
#include "check_optimizer.h"
#include "compute/cuda/open.h"
#include "tensors.h"

static bool quick, once, big; /* once: quick too */

/* Of the rows whose bits are compared alone, each so-manieth; with once the first. */
static size_t apart(size_t usual) { return once ? 10000 : usual; }

/* ---- products ---- */

static void ref_dx(double *dx, const double *dy, const double *w, size_t m, size_t out, size_t in) {
  memset(dx, 0, m * in * sizeof *dx);
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < out; j++)
      for (size_t k = 0; k < in; k++) dx[i * in + k] += dy[i * out + j] * w[j * in + k];
}
static void ref_dw(double *dw, const double *dy, const double *x, size_t m, size_t out, size_t in) {
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < out; j++)
      for (size_t k = 0; k < in; k++) dw[j * in + k] += dy[i * out + j] * x[i * in + k];
}

/* out_type: of y and dy. Two weights side by side where out allows it, the second with a bias. */
static void check_product(size_t m, size_t in, size_t out, size_t pad, tensor_type w_type, tensor_type out_type) {
  const size_t half = out >= 32 ? out / 16 * 8 : out;
  const int nw = half < out ? 2 : 1;
  tens x = tens_new(m, in, in + pad, act, 1), w = tens_new(out, in, in + pad, w_type, 1),
       bias = tens_new(1, out, out, T_F32, 1), y = tens_new(m, out, out + pad, out_type, 0),
       dy = tens_new(m, out, out + pad, out_type, 1), dx = tens_new(m, in, in + pad, act, 1),
       dw = tens_new(out, in, in, T_F32, 1);
  const size_t ws = type_size(w_type);
  weight both[2] = {
      {w.m.p, w_type, half, in, in + pad, nw == 1 ? floats(&bias) : NULL},
      {(char *)w.m.p + half * (in + pad) * ws, w_type, out - half, in, in + pad, floats(&bias) + half}};
  double *want = need(calloc(1, (m + out) * (in + out) * sizeof *want)), *bd = need(calloc(1, out * sizeof *bd));
  char shape[80];
  snprintf(shape, sizeof shape, "%zux%zux%zu%s%s", m, in, out, w_type != act ? ", other weights" : "",
           out_type != act ? ", f32 side" : "");
  /* where f32 weights meet bf16, they are rounded too */
  const bool rounds = act == T_BF16 && out_type == T_BF16;
  for (size_t i = 0; rounds && i < out * in; i++) w.v[i] = half_from_bf16(half_to_bf16((float)w.v[i]));
  for (size_t j = 0; j < out; j++) {
    bd[j] = nw == 2 && j < half ? 0 : bias.v[j];
    if (rounds) bd[j] = half_from_bf16(half_to_bf16((float)bd[j]));
  }
  be->linear(be, y.m, x.m, both, nw, m, false);
  ref_linear(want, x.v, w.v, bd, m, out, in);
  /* f32: a chain of `in` roundings; bf16: what a bias or y is added to is rounded before, where cuBLASLt does so */
  const double chain = in > 1000 ? 5e-6 : 2e-6, bound = act == T_BF16 && out_type == T_BF16 ? 8e-3 : chain;
  compare_to(&y, want, bound, "linear %s", shape);
  /* a row alone, at the beginning of another buffer */
  double differ = 0;
  tens one = tens_new(1, out, out + pad, out_type, 0);
  for (size_t i = 0; i < m; i += apart(quick ? 13 : 1)) {
    be->linear(be, one.m, mat_from(x.m, i, 0), both, nw, 1, false);
    tens_get(&one, "linear, a row");
    differ += rows_differ(&y, i, &one, 0, 1);
  }
  report(differ, 0, "linear %s, rows alone, bits", shape);
  be->linear(be, y.m, x.m, both, nw, m, true);
  for (size_t i = 0; i < m * out; i++) want[i] += y.v[i];
  compare_to(&y, want, bound, "linear %s, added", shape);

  ref_dx(want, dy.v, w.v, m, out, in);
  be->linear_dx(be, dx.m, dy.m, both, nw, m, false);
  compare_to(&dx, want, act == T_BF16 ? 4e-3 * nw : 4e-6, "linear_dx %s", shape); /* rounded after each weight */
  tens dx1 = tens_new(1, in, in + pad, act, 0);
  differ = 0;
  for (size_t i = 0; i < m; i += apart(11)) {
    be->linear_dx(be, dx1.m, mat_from(dy.m, i, 0), both, nw, 1, false);
    tens_get(&dx1, "linear_dx, a row");
    differ += rows_differ(&dx, i, &dx1, 0, 1);
  }
  report(differ, 0, "linear_dx %s, rows alone, bits", shape);

  /* in pieces of 40 rows; the same by calls for each piece */
  size_t ends[64], n_ends = 0;
  for (size_t i = 40; i < m + 40; i += 40) ends[n_ends++] = i < m ? i : m;
  rows_batch rows = rows_make(m, ends, n_ends);
  tens dw1 = tens_new(out, in, in, T_F32, 1);
  memcpy(dw1.v, dw.v, out * in * sizeof *dw.v);
  tens_put(&dw1);
  memcpy(want, dw.v, out * in * sizeof *want);
  ref_dw(want, dy.v, x.v, m, out, in);
  be->linear_dw(be, floats(&dw), dy.m, x.m, rows_done(&rows), ROWS_ALL, out, in);
  compare(&dw, want, 4e-6, "linear_dw %s", shape);
  for (size_t i = 0; i < m; i += 40) {
    rows.l = rows_make(m - i < 40 ? m - i : 40, NULL, 0).l;
    be->linear_dw(be, floats(&dw1), mat_from(dy.m, i, 0), mat_from(x.m, i, 0), rows_done(&rows), ROWS_ALL, out, in);
  }
  tens_get(&dw1, "linear_dw");
  report(rows_differ(&dw, 0, &dw1, 0, out), 0, "linear_dw %s, a call a piece, bits", shape);
  be->batch_free(be, rows.b);
  settle();
  tens *all[] = {&x, &w, &bias, &y, &dy, &dx, &dw, &one, &dx1, &dw1};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tens_free(all[i]);
  free(want), free(bd);
}

/* A model's shape: the bits of some rows at many numbers of rows and places, among rows
 * of NaN; without a plain definition. */
static void check_product_bits(size_t in, size_t out, size_t rank) {
  enum { PROBE = 16, MOST = 5000 };
  static const size_t counts[] = {4096, 16, 64, 129, 1000, 2048, MOST};
  const size_t room = rank ? 64 : 0, ld = in + room;
  tens x = tens_new(MOST, in + rank, ld, act, 0), w = tens_new(out + rank, in + rank, ld, act, 0.02),
       y = tens_new(MOST, out, out, act, 0), dy = tens_new(MOST, out + rank, out + room, act, 0),
       dx = tens_new(MOST, in, in, act, 0), x0 = tens_new(PROBE, in, in, act, 1),
       dy0 = tens_new(PROBE, out, out, act, 1);
  const weight wide = {w.m.p, act, out, in + rank, ld, NULL}, tall = {w.m.p, act, out + rank, in, ld, NULL},
               a = {mat_from(w.m, out, 0).p, act, rank, in, ld, NULL},
               b = {mat_from(w.m, 0, in).p, act, out, rank, ld, NULL};
  const size_t ny = PROBE * out * type_size(act), nx = PROBE * in * type_size(act);
  unsigned char *want = need(calloc(1, ny + nx)), *got = need(calloc(1, ny + nx));
  double differ = 0;
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
    for (int moved = 0; moved < 2; moved++) {
      const size_t m = counts[c], at = moved ? m - PROBE : 0;
      be->copy(be, mat_from(x.m, at, 0), x0.m, PROBE, in);
      be->copy(be, mat_from(dy.m, at, 0), dy0.m, PROBE, out);
      if (rank) be->linear(be, mat_from(x.m, 0, in), x.m, &a, 1, m, false);
      be->linear(be, y.m, x.m, &wide, 1, m, false);
      if (rank) be->linear_dx(be, mat_from(dy.m, 0, out), dy.m, &b, 1, m, false);
      be->linear_dx(be, dx.m, dy.m, &tall, 1, m, false);
      be->get(be, got, mat_from(y.m, at, 0).p, ny);
      be->get(be, got + ny, mat_from(dx.m, at, 0).p, nx);
      if (c + (size_t)moved == 0) memcpy(want, got, ny + nx);
      differ += memcmp(got, want, ny) != 0;
      differ += memcmp(got + ny, want + ny, nx) != 0;
    }
  settle();
  report(differ, 0, "products %zux%zu, adapters of %zu: rows at any place and number, bits", in, out, rank);
  tens *all[] = {&x, &w, &y, &dy, &dx, &x0, &dy0};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tens_free(all[i]);
  free(want), free(got);
}

/* ---- norms: the plain gradients by hand, checked by finite differences in check-ops ---- */

static void ref_norm_bwd(double *dx, double *dw, double *db, const double *dy, const double *x, const double *w,
                         double offset, bool layer, size_t count, size_t n) {
  for (size_t v = 0; v < count; v++, dx += n, dy += n, x += n) {
    double mean = 0, squares = 0, sum = 0, dot = 0;
    for (size_t j = 0; layer && j < n; j++) mean += x[j] / (double)n;
    for (size_t j = 0; j < n; j++) squares += (x[j] - mean) * (x[j] - mean);
    const double r = 1 / sqrt(squares / (double)n + 1e-5);
    for (size_t j = 0; j < n; j++) {
      const double g = dy[j] * (w[j] + offset), h = (x[j] - mean) * r;
      sum += layer ? g / (double)n : 0;
      dot += g * h / (double)n;
      dw[j] += dy[j] * h;
      if (db) db[j] += dy[j];
    }
    for (size_t j = 0; j < n; j++) dx[j] = r * (dy[j] * (w[j] + offset) - sum - (x[j] - mean) * r * dot);
  }
}

static void check_norm(bool layer, size_t m, size_t groups, size_t n, size_t pad) {
  const size_t all_n = groups * n, ld = all_n + pad;
  const char *name = layer ? "layernorm" : "rmsnorm";
  const float offset = 1, eps = 1e-5f;
  tens x = tens_new(m, all_n, ld, act, 2), y = tens_new(m, all_n, ld, act, 0), dy = tens_new(m, all_n, ld, act, 1),
       dx = tens_new(m, all_n, ld, act, 0), w = tens_new(1, n, n, T_F32, 1), b = tens_new(1, n, n, T_F32, 1),
       dw = tens_new(1, n, n, T_F32, 1), db = tens_new(1, n, n, T_F32, 1), one = tens_new(1, all_n, ld, act, 0),
       stats = tens_new(m, 2 * groups, 2 * groups, T_F32, 0);
  double *want = need(calloc(1, m * all_n * 8)), *wdw = need(calloc(1, n * 8)), *wdb = need(calloc(1, n * 8));
  char shape[64];
  snprintf(shape, sizeof shape, "%s %zux%zux%zu", name, m, groups, n);
  if (layer) {
    be->layernorm(be, y.m, x.m, floats(&w), floats(&b), offset, eps, m, n, floats(&stats));
    ref_layernorm(want, x.v, w.v, b.v, offset, 1e-5, m, n);
  } else {
    be->rmsnorm(be, y.m, x.m, floats(&w), offset, eps, m, groups, n, floats(&stats));
    ref_rmsnorm(want, x.v, w.v, offset, 1e-5, m, groups, n);
  }
  compare(&y, want, 2e-6, "%s", shape);
  double differ = 0;
  for (size_t i = 0; i < m; i += apart(5)) {
    if (layer)
      be->layernorm(be, one.m, mat_from(x.m, i, 0), floats(&w), floats(&b), offset, eps, 1, n, NULL);
    else
      be->rmsnorm(be, one.m, mat_from(x.m, i, 0), floats(&w), offset, eps, 1, groups, n, NULL);
    tens_get(&one, shape);
    differ += rows_differ(&y, i, &one, 0, 1);
  }
  report(differ, 0, "%s, rows alone, bits", shape);

  memcpy(wdw, dw.v, n * 8), memcpy(wdb, db.v, n * 8);
  ref_norm_bwd(want, wdw, wdb, dy.v, x.v, w.v, offset, layer, m * groups, n);
  const size_t ends[2] = {m / 3, m};
  rows_batch rows = rows_make(m, ends, 2);
  const batch *bat = rows_done(&rows);
  if (layer)
    be->layernorm_bwd(be, dx.m, floats(&dw), floats(&db), dy.m, x.m, floats(&w), offset, floats(&stats), bat,
                      ROWS_ALL, n, false);
  else
    be->rmsnorm_bwd(be, dx.m, floats(&dw), dy.m, x.m, floats(&w), offset, floats(&stats), bat, ROWS_ALL, groups, n,
                    false);
  compare(&dx, want, 1e-5, "%s dx", shape);
  compare(&dw, wdw, 1e-5, "%s dw", shape);
  if (layer) compare(&db, wdb, 1e-5, "%s db", shape);
  if (layer)
    be->layernorm_bwd(be, dx.m, NULL, NULL, dy.m, x.m, floats(&w), offset, floats(&stats), bat, ROWS_ALL, n, true);
  else
    be->rmsnorm_bwd(be, dx.m, NULL, dy.m, x.m, floats(&w), offset, floats(&stats), bat, ROWS_ALL, groups, n, true);
  for (size_t i = 0; i < m * all_n; i++) want[i] += dx.v[i];
  compare(&dx, want, 1e-5, "%s dx, added", shape);
  if (groups == 1) {
    double *sums = need(calloc(n, 8));
    for (size_t j = 0; j < n; j++) sums[j] = db.v[j];
    for (size_t i = 0; i < m; i++)
      for (size_t j = 0; j < n; j++) sums[j] += dy.v[i * n + j];
    be->bias_grad(be, floats(&db), dy.m, bat, ROWS_ALL, n);
    compare(&db, sums, 1e-5, "bias_grad %zux%zu", m, n);
    free(sums);
  }
  /* dw is the two pieces' in order: by two calls the same */
  tens dw1 = tens_new(1, n, n, T_F32, 1);
  memcpy(dw1.v, dw.v, n * 8);
  tens_put(&dw1);
  for (int pass = 0; pass < 2; pass++)
    for (size_t k = 0; k < (pass ? 2 : 1); k++) {
      const size_t at = pass && k ? ends[0] : 0;
      rows.l = pass ? rows_make(ends[k] - at, NULL, 0).l : rows_make(m, ends, 2).l;
      bat = rows_done(&rows);
      float *to = pass ? floats(&dw1) : floats(&dw), *st = floats(&stats) + at * (layer ? 2 : groups);
      const mat pdx = mat_from(dx.m, at, 0), pdy = mat_from(dy.m, at, 0), px = mat_from(x.m, at, 0);
      if (layer)
        be->layernorm_bwd(be, pdx, to, NULL, pdy, px, floats(&w), offset, st, bat, ROWS_ALL, n, false);
      else
        be->rmsnorm_bwd(be, pdx, to, pdy, px, floats(&w), offset, st, bat, ROWS_ALL, groups, n, false);
    }
  tens_get(&dw, shape), tens_get(&dw1, shape);
  report(rows_differ(&dw, 0, &dw1, 0, 1), 0, "%s dw, a call a piece, bits", shape);
  be->batch_free(be, rows.b);
  settle();
  tens *all[] = {&x, &y, &dy, &dx, &w, &b, &dw, &db, &one, &stats, &dw1};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tens_free(all[i]);
  free(want), free(wdw), free(wdb);
}

/* ---- activations ---- */

static double act_slope(double x, activation a) {
  if (a == ACT_SILU) {
    const double s = 1 / (1 + exp(-x));
    return s * (1 + x * (1 - s));
  }
  const double c = sqrt(2 / M_PI), t = tanh(c * (x + 0.044715 * x * x * x));
  return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x);
}
static void check_gated(activation a, size_t m, size_t n, size_t pad) {
  static const char *const names[] = {"gated silu", "gated gelu", "squared relu", "relu"};
  const size_t wide = act_is_gated(a) ? 2 * n : n;
  tens gu = tens_new(m, wide, wide + pad, act, 2), y = tens_new(m, n, n + pad, act, 0),
       dy = tens_new(m, n, n + pad, act, 1), dgu = tens_new(m, wide, wide + pad, act, 0);
  double *want = need(calloc(1, m * wide * 8));
  be->gated(be, y.m, gu.m, m, n, a);
  ref_gated(want, gu.v, m, n, a);
  compare(&y, want, 2e-6, "%s %zux%zu", names[a], m, n);
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      const double g = gu.v[i * wide + j], d = dy.v[i * n + j];
      if (!act_is_gated(a)) {
        want[i * wide + j] = g <= 0 ? 0 : a == ACT_RELU2 ? 2 * d * g : d;
      } else {
        want[i * wide + j] = d * gu.v[i * wide + n + j] * act_slope(g, a);
        want[i * wide + n + j] = d * ref_act(g, a);
      }
    }
  be->gated_bwd(be, dgu.m, dy.m, gu.m, m, n, a);
  compare(&dgu, want, 4e-6, "%s dx %zux%zu", names[a], m, n);
  be->gated_bwd(be, gu.m, dy.m, gu.m, m, n, a);
  tens_get(&gu, names[a]);
  report(rows_differ(&gu, 0, &dgu, 0, m), 0, "%s dx in place, bits", names[a]);
  settle();
  tens *all[] = {&gu, &y, &dy, &dgu};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tens_free(all[i]);
  free(want);
}

/* ---- positions, rows by index, copies, embeddings ---- */

static void check_rope(size_t heads, size_t d, size_t half, size_t pad) {
  enum { M = 23, POSITIONS = 40 };
  int32_t pos[M];
  for (size_t i = 0; i < M; i++) pos[i] = (int32_t)rng_below(&R, POSITIONS);
  tens x = tens_new(M, heads * d, heads * d + pad, act, 1), c = tens_new(POSITIONS, half, half, T_F32, 1),
       s = tens_new(POSITIONS, half, half, T_F32, 1);
  rows_batch rows = rows_make(M, NULL, 0);
  rows.l.f.pos = pos;
  double *want = need(calloc(1, M * heads * d * 8));
  for (int sign = 1; sign >= -1; sign -= 2) {
    memcpy(want, x.v, M * heads * d * 8);
    for (size_t i = 0; i < M; i++)
      for (size_t h = 0; h < heads; h++)
        for (size_t k = 0; k < half; k++) {
          double *a = want + i * heads * d + h * d + k, u = *a, v = a[half];
          const double co = c.v[(size_t)pos[i] * half + k], si = sign * s.v[(size_t)pos[i] * half + k];
          *a = u * co - v * si;
          a[half] = v * co + u * si;
        }
    be->rope(be, x.m, rows_done(&rows), heads, d, floats(&c), floats(&s), half, (float)sign);
    compare(&x, want, 2e-6, "rope %zux%zu of %zu, sign %d", heads, half, d, sign);
  }
  be->batch_free(be, rows.b);
  tens_free(&x), tens_free(&c), tens_free(&s);
  free(want);
}

static void check_moves(size_t m, size_t n, size_t pad) {
  const size_t n_last = m / 2;
  size_t *last = need(calloc(1, n_last * sizeof *last));
  int32_t *ids = need(calloc(1, m * sizeof *ids));
  enum { VOCAB = 9 };
  for (size_t i = 0; i < n_last; i++) last[i] = 2 * (n_last - 1 - i) + 1;
  for (size_t i = 0; i < m; i++) ids[i] = (int32_t)rng_below(&R, VOCAB);
  rows_batch rows = rows_make(m, NULL, 0);
  rows.l.f.ids = ids, rows.l.last = last, rows.l.n_last = n_last;
  const batch *b = rows_done(&rows);
  tens x = tens_new(m, n, n + pad, act, 1), y = tens_new(m, n, n + 2 * pad, act, 1),
       few = tens_new(n_last, n, n + pad, act, 0), wide = tens_new(m, n, n + pad, T_F32, 0),
       table = tens_new(VOCAB, n, n, T_BF16, 1), dt = tens_new(VOCAB, n, n, T_F32, 1),
       dt1 = tens_new(VOCAB, n, n, T_F32, 1);
  double *want = need(calloc(1, (m + VOCAB) * n * 8));
  for (size_t i = 0; i < m * n; i++) want[i] = x.v[i] + y.v[i];
  be->add(be, y.m, x.m, m, n);
  compare(&y, want, 1e-7, "add %zux%zu", m, n);
  be->copy(be, wide.m, x.m, m, n);
  compare(&wide, x.v, 0, "copy %zux%zu to f32", m, n);
  be->copy(be, y.m, wide.m, m, n);
  compare(&y, x.v, 0, "copy %zux%zu from f32", m, n);
  for (size_t i = 0; i < m * n; i++) want[i] = y.v[i] * 0.375;
  be->scale(be, y.m, 0.375f, m, n);
  compare(&y, want, 1e-7, "scale %zux%zu", m, n);
  for (size_t i = 0; i < n_last; i++) memcpy(want + i * n, x.v + last[i] * n, n * 8);
  be->gather(be, few.m, x.m, b, n);
  compare(&few, want, 0, "gather %zux%zu", n_last, n);
  for (int acc = 0; acc < 2; acc++) {
    memcpy(want, y.v, m * n * 8);
    for (size_t i = 0; i < n_last; i++)
      for (size_t j = 0; j < n; j++) want[last[i] * n + j] = few.v[i * n + j] + (acc ? y.v[last[i] * n + j] : 0);
    be->scatter(be, y.m, few.m, b, n, acc);
    compare(&y, want, 1e-7, "scatter %zux%zu%s", n_last, n, acc ? ", added" : "");
  }
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) want[i * n + j] = table.v[(size_t)ids[i] * n + j] * 3;
  const weight t = {table.m.p, T_BF16, VOCAB, n, n, NULL};
  be->embed(be, y.m, &t, b, 3);
  compare(&y, want, 1e-7, "embed %zux%zu", m, n);
  memcpy(dt1.v, dt.v, VOCAB * n * 8);
  tens_put(&dt1);
  memcpy(want, dt.v, VOCAB * n * 8);
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) want[(size_t)ids[i] * n + j] += x.v[i * n + j] * 3;
  be->embed_bwd(be, floats(&dt), x.m, b, n, 3);
  compare(&dt, want, 1e-5, "embed_bwd %zux%zu", m, n);
  for (size_t i = 0; !once && i < m; i++) { /* row after row: one chain for each id */
    rows.l = rows_make(1, NULL, 0).l;
    rows.l.f.ids = ids + i;
    be->embed_bwd(be, floats(&dt1), mat_from(x.m, i, 0), rows_done(&rows), n, 3);
  }
  tens_get(&dt1, "embed_bwd");
  if (!once) report(rows_differ(&dt, 0, &dt1, 0, VOCAB), 0, "embed_bwd %zux%zu, a call a row, bits", m, n);
  /* the first bad value, and sums of squares */
  double squares = 0;
  for (size_t i = 0; i < VOCAB * n; i++) squares += dt.v[i] * dt.v[i];
  report(fabs(be->sum_squares(be, floats(&dt), VOCAB * n, NULL) / squares - 1), 1e-12, "sum_squares of %zu",
         VOCAB * n);
  report(be->first_bad(be, x.m, m, n) != m * n, 0, "first_bad: none");
  x.v[(m - 1) * n + n - 1] = INFINITY;
  tens_put(&x);
  report(be->first_bad(be, x.m, m, n) != m * n - 1, 0, "first_bad: the last value");
  x.v[n] = NAN;
  tens_put(&x);
  report(be->first_bad(be, x.m, m, n) != n, 0, "first_bad: the first of two");
  be->batch_free(be, rows.b);
  settle();
  tens *all[] = {&x, &y, &few, &wide, &table, &dt, &dt1};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tens_free(all[i]);
  free(last), free(ids), free(want);
}

/* ---- attention through the backend: plans made at first use, batches used again (check_attention.c has the rest)
 * ---- */

static void check_attention(void) {
  enum { Q = 4, G = 2, D = 16, PROMPT = 9, BRANCH = 14, ROWS = PROMPT + 2 * BRANCH };
  const span branches[2] = {{PROMPT, BRANCH}, {PROMPT + BRANCH, BRANCH}}, alone[1] = {{0, PROMPT + BRANCH}};
  const tree trees[1] = {{{0, PROMPT}, 0, 2}}, single[1] = {{{0, 0}, 0, 1}};
  const size_t ld = (Q + 2 * G) * D, ldo = Q * D;
  const attention_shape a = {Q, G, D, 0.25f, 0, 0};
  tens x = tens_new(ROWS, ld, ld, act, 1), o = tens_new(ROWS, ldo, ldo, act, 0),
       o1 = tens_new(ROWS, ldo, ldo, act, 0), lse = tens_new(ROWS, Q, Q, T_F32, 0),
       dy = tens_new(ROWS, ldo, ldo, act, 1), dx = tens_new(ROWS, ld, ld, act, 0);
  rows_batch rows = rows_make(ROWS, NULL, 0);
  rows.l.f = (forest){ROWS, NULL, NULL, 1, 2, trees, branches};
  double *want = need(calloc(1, ROWS * ld * 8));
  const batch *b = rows_done(&rows);
  be->attention(be, o.m, x.m, b, &a, floats(&lse));
  ref_attention(want, x.v, &rows.l.f, &a);
  compare(&o, want, 2e-6, "attention, a tree of two branches");
  be->attention_bwd(be, dx.m, dy.m, o.m, x.m, floats(&lse), b, &a);
  tens_get(&dx, "attention_bwd");
  double worst = 0, top = 1e-30, *at = need(calloc(1, ROWS * ld * 8)), *y = need(calloc(1, ROWS * ldo * 8));
  memcpy(at, x.v, ROWS * ld * 8);
  for (int probe = 0; probe < 60; probe++) {
    const size_t i = rng_below(&R, ROWS * ld);
    double s[2] = {0, 0};
    for (int k = 0; k < 2; k++) {
      at[i] = x.v[i] + (k ? 1e-5 : -1e-5);
      ref_attention(y, at, &rows.l.f, &a);
      for (size_t j = 0; j < ROWS * ldo; j++) s[k] += dy.v[j] * y[j];
    }
    at[i] = x.v[i];
    const double slope = (s[1] - s[0]) / 2e-5, d = fabs(slope - dx.v[i]);
    if (!(d <= worst)) worst = d;
    if (fabs(slope) > top) top = fabs(slope);
  }
  report(worst / top, act == T_BF16 ? 2e-2 : 1e-5, "attention dx");
  /* the same batch with another forest: the first branch alone */
  rows.l.f = (forest){PROMPT + BRANCH, NULL, NULL, 1, 1, single, alone};
  be->attention(be, o1.m, x.m, rows_done(&rows), &a, NULL);
  tens_get(&o1, "attention");
  report(rows_differ(&o, 0, &o1, 0, PROMPT + BRANCH), 0, "attention, a branch alone, bits");
  be->batch_free(be, rows.b);
  settle();
  tens *all[] = {&x, &o, &o1, &lse, &dy, &dx};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) tens_free(all[i]);
  free(want), free(at), free(y);
}

/* ---- faults ---- */

static void check_faults(void) {
  tens x = tens_new(4, 8, 8, act, 1), y = tens_new(4, 8, 8, act, 1);
  rows_batch rows = rows_make(4, NULL, 0);
  rw_error err = {RW_OK, ""};
  be->dropout(be, y.m, x.m, rows_done(&rows), ROWS_ALL, 1, 0.5, 8, false); /* a batch without keys */
  be->add(be, y.m, x.m, 4, 8);                                             /* does nothing */
  report(be->sync(be, &err) != RW_USAGE || !strstr(err.text, "dropout"), 0,
         "sync names the operation of the fault");
  double *before = need(calloc(1, 32 * 8));
  memcpy(before, y.v, 32 * 8);
  compare(&y, before, 0, "after a fault nothing is done");
  report(be->sync(be, &err), 0, "after sync the fault is gone");
  report(be->alloc(be, MEM_DEVICE, (size_t)1 << 50) != NULL, 0, "no memory is NULL");
  report(be->sync(be, &err), 0, "and no fault");
  be->batch_free(be, rows.b);
  tens_free(&x), tens_free(&y);
  free(before);
}

static void check_all(void) {
  const tensor_type other = act == T_BF16 ? T_F32 : T_BF16;
  const struct {
    size_t m, in, out, pad;
  } shapes[] = {{1, 8, 16, 0}, {70, 64, 48, 8}, {41, 7, 5, 0}, {97, 256, 136, 0}, {130, 200, 80, 3}};
  for (size_t i = once ? 1 : 0; i < (once ? 2 : quick ? 3 : 5); i++)
    check_product(shapes[i].m, shapes[i].in, shapes[i].out, shapes[i].pad, act, act);
  check_product(40, 64, 48, 0, other, act);
  check_product(45, 96, 1, 0, T_F32, T_F32); /* a head */
  if (big) check_product(200, 4096, 1024, 0, act, act);
  for (int layer = 0; layer < 2; layer++) {
    if (!once) check_norm(layer, 37, 1, 75, 0);
    check_norm(layer, once ? 10 : 70, 1, 64, 8);
    if (!once) check_norm(layer, quick ? 3 : 9, 1, 2056, 0);
    check_norm(layer, once ? 2 : 4, 1, 1027, 5);
    if (!layer && !once) check_norm(layer, 70, 3, 72, 0);
    if (big) check_norm(layer, 700, 1, 4096, 0);
  }
  for (int a = ACT_SILU; a <= ACT_RELU; a++) {
    check_gated((activation)a, once ? 3 : 19, 88, 0);
    if (!once) check_gated((activation)a, 19, 51, 1);
  }
  check_rope(3, 32, 16, 8);
  check_rope(2, 24, 7, 0);
  check_moves(once ? 6 : 31, 64, 8);
  if (!once) check_moves(30, 35, 1);
  check_mix(once ? 4 : 29, 64, 8);
  if (!once) check_mix(29, 75, 0), check_mix(3, 1032, 0);
  if (!quick) check_squares();
  check_dropout();
  for (int k = 0; k < KINDS; k++) {
    check_adamw((master_kind)k, 1000);
    if (!once) check_adamw((master_kind)k, quick ? 2048 : 70144);
  }
  check_attention();
  check_faults();
  if (!quick && act == T_BF16) check_product_bits(64, 48, 16);
  if (big && act == T_BF16) {
    check_product_bits(4096, 4096, 0);
    check_product_bits(4096, 1024, 0);
    check_product_bits(4096, 14336, 0);
    check_product_bits(14336, 4096, 0);
    check_product_bits(576, 1536, 0);
    check_product_bits(4096, 4096, 16);
    check_product_bits(4096, 1024, 48);
    check_product_bits(14336, 4096, 16);
  }
}

int main(int argc, char **argv) {
  rw_error err;
  once = argc > 1 && strcmp(argv[1], "once") == 0;
  quick = once || (argc > 1 && strcmp(argv[1], "quick") == 0);
  big = argc > 1 && strcmp(argv[1], "big") == 0;
  for (int f32 = 0; f32 < 2; f32++) {
    const reward_cuda_options o = {0, f32, f32};
    if (reward_cuda_open(&be, REWARD_CUDA_VERSION, &o, &err)) {
      printf("%s\n", err.text);
      return 1;
    }
    act = be->traits.act;
    suffix = act == T_BF16 ? "bf16" : "f32";
    R = rng_new(1, 1);
    printf("     %s, %s\n", be->traits.name, suffix);
    check_all();
    be->close(be);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
