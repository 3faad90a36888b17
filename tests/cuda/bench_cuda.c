/* bench_cuda.c - the CUDA backend's speed on one GPU, from its operations alone, on random values.
 *
 * usage: bench-cuda limits [SIZE] | layer SHAPE TOKENS…     SHAPE: llama-3.1-8b, gemma-2-27b, tiny
 * limits: the machine's own: a copy, a large product (of SIZE³, 8192). layer: one layer, forward and backward, with
 * adapters of rank 16, in both ways that the model has, and without, and its optimizer's update; what all of the
 * model's layers would give. Each time is the mean of calls one after another, after a warm-up.
 */
#include "bench.h"
#include "compute/cuda/product.h"

/* ---- the machine's limits ---- */

static void limits(size_t k) {
  const size_t m = 64 * k, n = k / 4;
  double s;
  mat x = {filled(m * n, T_F32, 1), n, T_F32}, y = {filled(m * n, T_F32, 1), n, T_F32};
  SECONDS(10, s, be->copy(be, y, x, m, n));
  printf("copy of %.1f GB by our kernel        %8.2f TB/s read and written\n", (double)(m * n) * 4e-9,
         (double)(m * n) * 8e-12 / s);
  drop(x.p), drop(y.p);
  mat a = matrix(k, k, 1), b = matrix(k, k, 1), c = matrix(k, k, 1);
  const weight w = {b.p, T_BF16, k, k, k, NULL};
  SECONDS(10, s, be->linear(be, c, a, &w, 1, k, false));
  printf("product of %zu^3 in bf16           %8.1f TFLOP/s\n", k, 2e-12 * (double)k * (double)k * (double)k / s);
  drop(a.p), drop(b.p), drop(c.p);
}

/* ---- a layer ---- */

typedef struct {
  const char *name;
  size_t hidden, ff, layers;
  attention_shape a;
  activation act;
  bool post_norms;
} shape;
static const shape shapes[] = {
    {"llama-3.1-8b", 4096, 14336, 32, {32, 8, 128, 0.0884f, 0, 0, {0}}, ACT_SILU, false},
    {"gemma-2-27b", 4608, 36864, 46, {32, 16, 128, 0.0833f, 50, 4096, {0}}, ACT_GELU_TANH, true},
    {"tiny", 64, 128, 2, {4, 2, 16, 0.25f, 50, 24, {0}}, ACT_GELU_TANH, true}};

enum { PROMPT = 800, BRANCH = 400, MAX_TREES = 64, RANK = 16 }; /* a pair: a shared prompt, two responses */

/* GRADIENT: the products of the weights' gradients. ADAPTER: what adapters take beside the products, in their
 * columns and rows, as a model has them there; APART: as products of their own. */
typedef enum { PRODUCT, GRADIENT, ATTENTION, ROWS, ADAPTER, APART, OPTIMIZER, KINDS } kind;
static const char *const kind_names[] = {"products", "gradients", "attention", "rows",
                                         "adapters", "apart",     "optimizer"};
typedef enum { FORWARD, BACKWARD, UPDATE, PARTS } part;
static const char *const part_names[] = {"forward", "backward", "update"};
static double seconds[PARTS][KINDS], seconds_up; /* up: of what `--recompute mlp` runs again */

static double record(part p, kind k, const char *name, double s) {
  seconds[p][k] += s;
  printf("  %-9s %-16s %-9s %8.3f ms\n", kind_names[k], name, part_names[p], 1e3 * s);
  return s;
}
static double measured; /* by the last TIMED */
#define TIMED(p, k, name, ...)         \
  do {                                 \
    double s_;                         \
    SECONDS(4, s_, __VA_ARGS__);       \
    measured = record(p, k, name, s_); \
  } while (0)

static void grow(batch_layout *l, size_t rows) {
  static tree trees[MAX_TREES];
  static span branches[2 * MAX_TREES];
  size_t at = 0, n = 0;
  int32_t *pos = calloc(rows, sizeof *pos), *ids = calloc(rows, sizeof *ids);
  rng r = rng_new(3, 3);
  for (; at < rows && n < MAX_TREES; n++) {
    const size_t left = rows - at, prompt = left > PROMPT + 2 * BRANCH ? PROMPT : left / 2,
                 first = (left - prompt) / 2 < BRANCH ? (left - prompt) / 2 : BRANCH,
                 second = left - prompt - first < BRANCH ? left - prompt - first : BRANCH;
    trees[n] = (tree){{at, prompt}, 2 * n, 2, {0, 0}};
    branches[2 * n] = (span){at + prompt, first};
    branches[2 * n + 1] = (span){at + prompt + first, second};
    for (size_t i = 0; i < prompt + first; i++) pos[at + i] = (int32_t)i;
    for (size_t i = 0; i < second; i++) pos[at + prompt + first + i] = (int32_t)(prompt + i);
    at += prompt + first + second;
  }
  for (size_t i = 0; i < rows; i++) ids[i] = (int32_t)rng_below(&r, 128256);
  *l = (batch_layout){.f = {rows, ids, pos, n, 2 * n, trees, branches}};
}

static weight weights(size_t out, size_t in) {
  return (weight){filled(out * in, T_BF16, 0.02), T_BF16, out, in, in, NULL};
}

/* A projection of all rows: x to y forward, the gradient of y to that of x backward. */
typedef struct {
  const char *name;
  mat x, y, dy, dx;
  weight w[3];
  int n;
} projection;

/* What the projection's adapters add in products of their own: u = x·Aᵀ, y += u·Bᵀ, and the way back
 * (model/lora.c). */
static void apart(const projection *p, const batch *b, size_t m) {
  size_t column = 0, in = p->w[0].in;
  for (int i = 0; i < p->n; column += p->w[i++].out) {
    const weight wa = weights(RANK, in), wb = weights(p->w[i].out, RANK);
    const mat y = mat_from(p->y, 0, column), dy = mat_from(p->dy, 0, column);
    mat u = matrix(m, RANK, 1), du = matrix(m, RANK, 1);
    float *da = room(RANK * in * 4), *db = room(RANK * wb.out * 4);
    be->zero(be, da, RANK * in * 4), be->zero(be, db, RANK * wb.out * 4);
    TIMED(FORWARD, APART, p->name, be->linear(be, u, p->x, &wa, 1, m, false); be->scale(be, u, 2, m, RANK);
          be->linear(be, y, u, &wb, 1, m, true));
    TIMED(BACKWARD, APART, p->name, be->linear(be, u, p->x, &wa, 1, m, false); be->scale(be, u, 2, m, RANK);
          be->linear_dw(be, db, dy, u, b, ROWS_ALL, wb.out, RANK); be->linear_dx(be, du, dy, &wb, 1, m, false);
          be->scale(be, du, 2, m, RANK); be->linear_dw(be, da, du, p->x, b, ROWS_ALL, RANK, in);
          be->linear_dx(be, p->dx, du, &wa, 1, m, true));
    void *all[] = {u.p, du.p, da, db, (void *)(uintptr_t)wa.data, (void *)(uintptr_t)wb.data};
    for (size_t j = 0; j < sizeof all / sizeof *all; j++) drop(all[j]);
  }
}

/* A matrix of `out` rows with adapters of so many ranks behind its columns and below its rows. */
static weight widened(size_t out, size_t in, size_t rank) {
  const size_t align = be->traits.join_align, ld = (in + rank + align - 1) / align * align;
  weight w = weights(out + rank, ld);
  w.out = out, w.in = in;
  return w;
}
static weight part_of(weight w, size_t row, size_t column, size_t out, size_t in) {
  w.data = (const char *)w.data + (row * w.ld + column) * type_size(w.type);
  w.out = out, w.in = in;
  return w;
}

/* The same where they stand in the matrices: what it takes beyond `plain`, the products without them. */
static void joined(const projection *p, const batch *b, size_t m, const double plain[2]) {
  const size_t in = p->w[0].in, rank = RANK * (size_t)p->n;
  size_t out = 0, column[3];
  weight wide[3], longer[3], low[3];
  float *db[3], *da = room(rank * in * 4), *own = room(rank * in * 4);
  double s;
  for (int i = 0; i < p->n; i++) {
    const size_t rows = p->w[i].out;
    const weight w = widened(rows, in, rank);
    wide[i] = part_of(w, 0, 0, rows, in + rank);
    longer[i] = part_of(w, 0, 0, rows + (i + 1 == p->n ? rank : 0), in);
    low[i] = part_of(w, 0, in + RANK * (size_t)i, rows, RANK);
    db[i] = room(RANK * rows * 4);
    be->zero(be, db[i], RANK * rows * 4);
    column[i] = out, out += rows;
  }
  be->zero(be, da, rank * in * 4), be->zero(be, own, rank * in * 4);
  const mat x = matrix(m, wide[0].ld, 1), dy = matrix(m, out + wide[0].ld - in, 1), u = mat_from(x, 0, in),
            du = mat_from(dy, 0, out), stacked = {da, in, T_F32}, lying = {own, in, T_F32};
  const weight a = part_of(wide[p->n - 1], wide[p->n - 1].out, 0, rank, in);
  SECONDS(4, s, be->linear(be, u, x, &a, 1, m, false); be->linear(be, p->y, x, wide, p->n, m, false));
  record(FORWARD, ADAPTER, p->name, s - plain[0]);
  SECONDS(
      4, s, be->linear(be, u, x, &a, 1, m, false); for (int i = 0; i < p->n; i++) {
        const mat ui = mat_from(u, 0, RANK * (size_t)i), dyi = mat_from(dy, 0, column[i]);
        be->scale(be, ui, 2, m, RANK);
        be->linear_dw(be, db[i], dyi, ui, b, ROWS_ALL, low[i].out, RANK);
        be->linear_dx(be, mat_from(du, 0, RANK * (size_t)i), dyi, &low[i], 1, m, false);
        if (p->n > 1) be->copy(be, mat_from(stacked, RANK * (size_t)i, 0), lying, RANK, in);
      } be->linear_dw(be, da, du, x, b, ROWS_ALL, rank, in);
      for (int i = 0; p->n > 1 && i < p->n; i++)
          be->copy(be, lying, mat_from(stacked, RANK * (size_t)i, 0), RANK, in);
      be->linear_dx(be, p->dx, dy, longer, p->n, m, false));
  record(BACKWARD, ADAPTER, p->name, s - plain[1]);
  for (int i = 0; i < p->n; i++) drop((void *)(uintptr_t)wide[i].data), drop(db[i]);
  void *all[] = {x.p, dy.p, da, own};
  for (size_t j = 0; j < sizeof all / sizeof *all; j++) drop(all[j]);
}

/* low: the kind that adapters are counted by, or KINDS: there are none. */
static double sum_of(part p, bool gradients, kind low) {
  double s = 0;
  for (int k = 0; k < KINDS; k++)
    if ((gradients || k != GRADIENT) && (k == (int)low || (k != ADAPTER && k != APART))) s += seconds[p][k];
  return s;
}

/* Tokens a second of all layers, and the share of 989 TFLOP/s, of so many passes over the weights. */
static void rate(const shape *s, const char *what, size_t m, size_t values, double passes, double time) {
  printf("  %-44s %9.0f tokens/s", what, (double)m / (double)s->layers / time);
  if (passes > 0) printf(" (%.0f%% of 989 TFLOP/s)", passes * 2 * (double)values * (double)m / time / 9.89e12);
  printf("\n");
}

static void report(const shape *s, size_t m, size_t values) {
  printf(" ms");
  for (int k = 0; k < KINDS; k++) printf(" %10s", kind_names[k]);
  for (int p = 0; p < PARTS; p++) {
    printf("\n ");
    for (int k = 0; k < KINDS; k++) printf(" %10.2f", 1e3 * seconds[p][k]);
    printf("  %s", part_names[p]);
  }
  const double forward = sum_of(FORWARD, true, KINDS), backward = sum_of(BACKWARD, true, KINDS),
               low_forward = sum_of(FORWARD, true, ADAPTER), low_backward = sum_of(BACKWARD, false, ADAPTER),
               apart_forward = sum_of(FORWARD, true, APART), apart_backward = sum_of(BACKWARD, false, APART),
               none_backward = sum_of(BACKWARD, false, KINDS);
  printf("\n %zu tokens a pass, %zu layers of %s:\n", m, s->layers, s->name);
  rate(s, "score", m, values, 1, forward);
  rate(s, "train", m, values, 3, forward + backward);
  rate(s, "train, --recompute mlp", m, values, 0, forward + backward + seconds_up);
  rate(s, "train, --recompute full", m, values, 0, 2 * forward + backward);
  rate(s, "train, with an update every pass", m, values, 0, forward + backward + sum_of(UPDATE, true, KINDS));
  rate(s, "train, --lora-rank 16", m, values, 2, low_forward + low_backward);
  rate(s, " its adapters in products of their own", m, values, 2, apart_forward + apart_backward);
  rate(s, " were there none", m, values, 2, forward + none_backward);
  rate(s, "train, --lora-rank 16 --recompute mlp", m, values, 0, low_forward + low_backward + seconds_up);
  rate(s, "train, --lora-rank 16 --recompute full", m, values, 0, 2 * low_forward + low_backward);
  fflush(stdout);
}

static void layer(const shape *s, size_t m) {
  const attention_shape *a = &s->a;
  const size_t h = s->hidden, f = s->ff, d = a->head_dim, q = a->q_heads * d, g = a->kv_heads * d,
               qkv_width = q + 2 * g;
  batch_layout l;
  batch *b = NULL;
  rw_error err;
  static size_t ends[64];
  grow(&l, m);
  for (l.pieces.n = 0; l.pieces.n * PRODUCT_ROWS < m; l.pieces.n++)
    ends[l.pieces.n] = (l.pieces.n + 1) * PRODUCT_ROWS < m ? (l.pieces.n + 1) * PRODUCT_ROWS : m;
  l.pieces.end = ends;
  if (be->batch_make(be, &b, &l, &err)) printf("FAIL %s\n", err.text), exit(1);
  memset(seconds, 0, sizeof seconds);
  asked = 0;
  uint64_t free0, free1, total;
  be->memory(be, &free0, &total);
  mat x = matrix(m, h, 1), normed = matrix(m, h, 1), qkv = matrix(m, qkv_width, 1), o = matrix(m, q, 1),
      t = matrix(m, h, 1), gate_up = matrix(m, 2 * f, 1), gated = matrix(m, f, 1), dqkv = matrix(m, qkv_width, 1),
      dx = matrix(m, h, 1), dt = matrix(m, h, 1), d_o = matrix(m, q, 1);
  float *norm = filled(h, T_F32, 1), *rstd = room(m * sizeof *rstd), *lse = room(m * a->q_heads * sizeof *lse),
        *cos = filled(4096 * d / 2, T_F32, 0.5), *sin = filled(4096 * d / 2, T_F32, 0.5),
        *dnorm = room(h * sizeof *dnorm);
  const projection p[] = {{"q k v", normed, qkv, dqkv, dt, {weights(q, h), weights(g, h), weights(g, h)}, 3},
                          {"o", o, t, dx, d_o, {weights(h, q)}, 1},
                          {"gate up", normed, gate_up, gate_up, dt, {weights(f, h), weights(f, h)}, 2},
                          {"down", gated, t, dx, gated, {weights(h, f)}, 1}};
  enum { QKV, O, UP, DOWN, PROJECTIONS };
  double plain[PROJECTIONS][2];
  const size_t values = qkv_width * h + h * q + 3 * f * h;
  float *dw = room(values * sizeof *dw), *at = dw;
  be->zero(be, dw, values * sizeof *dw), be->zero(be, dnorm, h * sizeof *dnorm);

#define LINEAR(i)                                                                                 \
  do {                                                                                            \
    TIMED(FORWARD, PRODUCT, p[i].name, be->linear(be, p[i].y, p[i].x, p[i].w, p[i].n, m, false)); \
    plain[i][0] = measured;                                                                       \
  } while (0)
#define NORM(name, y, x) TIMED(FORWARD, ROWS, name, be->rmsnorm(be, y, x, norm, 0, 1e-5f, m, 1, h, rstd))
  printf("a layer of %s, %zu tokens in %zu pairs\n", s->name, m, l.f.n_trees);
  NORM("rmsnorm", normed, x);
  LINEAR(QKV);
  TIMED(FORWARD, ROWS, "rope", be->rope(be, qkv, b, a->q_heads + a->kv_heads, d, cos, sin, d / 2, 1));
  TIMED(FORWARD, ATTENTION, "attention", be->attention(be, o, qkv, b, a, lse));
  LINEAR(O);
  if (s->post_norms) NORM("rmsnorm after", dt, t);
  TIMED(FORWARD, ROWS, "add", be->add(be, x, t, m, h));
  NORM("rmsnorm", normed, x);
  seconds_up = measured;
  LINEAR(UP);
  seconds_up += measured;
  TIMED(FORWARD, ROWS, "gated", be->gated(be, gated, gate_up, m, f, s->act));
  LINEAR(DOWN);
  if (s->post_norms) NORM("rmsnorm after", dt, t);
  TIMED(FORWARD, ROWS, "add", be->add(be, x, t, m, h));

#define LINEAR_BWD(i)                                                                                     \
  do {                                                                                                    \
    const size_t out_ = p[i].dy.ld, in_ = p[i].w[0].in;                                                   \
    TIMED(BACKWARD, GRADIENT, p[i].name, be->linear_dw(be, at, p[i].dy, p[i].x, b, ROWS_ALL, out_, in_)); \
    at += out_ * in_;                                                                                     \
    TIMED(BACKWARD, PRODUCT, p[i].name, be->linear_dx(be, p[i].dx, p[i].dy, p[i].w, p[i].n, m, false));   \
    plain[i][1] = measured;                                                                               \
  } while (0)
#define NORM_BWD(name, acc)   \
  TIMED(BACKWARD, ROWS, name, \
        be->rmsnorm_bwd(be, (acc) ? dx : dt, dnorm, (acc) ? dt : dx, x, norm, 0, rstd, b, ROWS_ALL, 1, h, acc))
  if (s->post_norms) NORM_BWD("rmsnorm after", false);
  LINEAR_BWD(DOWN);
  TIMED(BACKWARD, ROWS, "gated", be->gated_bwd(be, gate_up, gated, gate_up, m, f, s->act));
  LINEAR_BWD(UP);
  NORM_BWD("rmsnorm", true);
  if (s->post_norms) NORM_BWD("rmsnorm after", false);
  LINEAR_BWD(O);
  TIMED(BACKWARD, ATTENTION, "attention", be->attention_bwd(be, dqkv, d_o, o, qkv, lse, b, a));
  TIMED(BACKWARD, ROWS, "rope", be->rope(be, dqkv, b, a->q_heads + a->kv_heads, d, cos, sin, d / 2, -1));
  LINEAR_BWD(QKV);
  NORM_BWD("rmsnorm", true);
  for (int i = 0; i < PROJECTIONS; i++) joined(&p[i], b, m, plain[i]), apart(&p[i], b, m);

  const size_t scales = (values + ADAMW8_BLOCK - 1) / ADAMW8_BLOCK * sizeof(float);
  const master w = {room(values * 2), NULL, T_BF16};
  const adamw8_state q8[2] = {{room(values), room(scales)}, {room(values), room(scales)}};
  const adamw_step step = {1e-5, 0.9, 0.95, 1e-8, 0, 0.1, 0.05, 1, 0};
  be->zero(be, w.value, values * 2);
  for (int i = 0; i < 2; i++) be->zero(be, q8[i].code, values), be->zero(be, q8[i].scale, scales);
  TIMED(UPDATE, OPTIMIZER, "sum of squares", be->sum_squares(be, dw, values, NULL));
  TIMED(UPDATE, OPTIMIZER, "adamw8, rounded", be->adamw8(be, w, dw, q8[0], q8[1], values, &step, 1));
  be->memory(be, &free1, &total);
  printf(" device memory: predicted at most %.3f GB, taken %.3f of %.1f\n",
         (double)(asked + be->scratch_bytes(be, m, 2 * f, h * f)) * 1e-9, (double)(free0 - free1) * 1e-9,
         (double)total * 1e-9);
  report(s, m, values);

  void *all[] = {x.p,   normed.p, qkv.p,   o.p,        t.p,         gate_up.p,  gated.p,    dqkv.p,
                 dx.p,  dt.p,     d_o.p,   norm,       rstd,        lse,        cos,        sin,
                 dnorm, dw,       w.value, q8[0].code, q8[0].scale, q8[1].code, q8[1].scale};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
  for (int i = 0; i < PROJECTIONS; i++)
    for (int j = 0; j < p[i].n; j++) drop((void *)(uintptr_t)p[i].w[j].data);
  be->batch_free(be, b);
  free((void *)(uintptr_t)l.f.ids), free((void *)(uintptr_t)l.f.pos);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "", *name = argc > 2 ? argv[2] : "";
  const shape *s = NULL;
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
    if (strcmp(name, shapes[i].name) == 0) s = &shapes[i];
  if (strcmp(what, "limits") != 0 && !(strcmp(what, "layer") == 0 && s && argc > 3)) {
    printf("usage: bench-cuda limits [SIZE] | layer llama-3.1-8b|gemma-2-27b|tiny TOKENS…\n");
    return 2;
  }
  open_device();
  if (!s) limits(argc > 2 ? (size_t)atol(name) : 8192);
  for (int i = 3; s && i < argc; i++) layer(s, (size_t)atol(argv[i]));
  be->close(be);
  return 0;
}
