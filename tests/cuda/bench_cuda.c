/* bench_cuda.c - the CUDA backend's speed on one GPU, from its operations alone, on random values.
 *
 * usage: bench-cuda limits | products | layer [TOKENS…]
 * limits: the machine's own: a copy, a large product. products: the pinned algorithm beside cuBLASLt's own choice
 * and the best of its candidates, at the shapes of Llama-3.1-8B. layer: one of its layers, forward and backward,
 * and its optimizer's update; what 32 of them would give. Each time is the mean of calls one after another, after a
 * warm-up.
 */
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/half.h"
#include "base/rng.h"
#include "compute/cuda/open.h"
#include "compute/cuda/product_lt.h"

static backend *be;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static void settle(void) {
  rw_error err;
  if (be->sync(be, &err)) printf("FAIL %s\n", err.text), exit(1);
}
static void *room(size_t bytes) {
  void *p = be->alloc(be, MEM_DEVICE, bytes);
  if (!p) printf("FAIL no device memory for %zu bytes\n", bytes), exit(1);
  return p;
}
/* bf16 (or f32) values of a normal distribution: random ones in a block, the block again and again. */
static void *filled(size_t n, tensor_type type, double scale) {
  enum { BLOCK = 1 << 20 };
  static float normal[BLOCK];
  static uint32_t block[BLOCK];
  static bool made;
  rng r = rng_new(5, 5);
  for (size_t i = 0; !made && i < BLOCK; i++) normal[i] = (float)rng_normal(&r);
  made = true;
  for (size_t i = 0; i < BLOCK; i++) {
    const float f = normal[i] * (float)scale;
    if (type == T_F32)
      memcpy(&block[i], &f, 4);
    else
      ((uint16_t *)block)[i] = half_to_bf16(f);
  }
  char *p = room(n * type_size(type));
  for (size_t at = 0; at < n; at += BLOCK)
    be->put(be, p + at * type_size(type), block, (n - at < BLOCK ? n - at : BLOCK) * type_size(type));
  return p;
}
static mat matrix(size_t rows, size_t n, double scale) { return (mat){filled(rows * n, T_BF16, scale), n, T_BF16}; }
static void drop(void *p) { be->release(be, MEM_DEVICE, p); }

#define SECONDS(times, result, ...)        \
  do {                                     \
    __VA_ARGS__;                           \
    settle();                              \
    const double from_ = now();            \
    for (int i_ = 0; i_ < (times); i_++) { \
      __VA_ARGS__;                         \
    }                                      \
    settle();                              \
    (result) = (now() - from_) / (times);  \
  } while (0)

/* ---- the machine's limits ---- */

static void limits(void) {
  const size_t m = 1 << 19, n = 2048, k = 8192;
  double s;
  mat x = {filled(m * n, T_F32, 1), n, T_F32}, y = {filled(m * n, T_F32, 1), n, T_F32};
  SECONDS(10, s, be->copy(be, y, x, m, n));
  printf("copy of %.1f GB by our kernel        %8.2f TB/s read and written\n", (double)(m * n) * 4e-9,
         (double)(m * n) * 8e-12 / s);
  drop(x.p), drop(y.p);
  mat a = matrix(k, k, 1), b = matrix(k, k, 1), c = matrix(k, k, 1);
  const weight w = {b.p, T_BF16, k, k, k, NULL};
  SECONDS(10, s, be->linear(be, c, a, &w, 1, k, false));
  printf("product of 8192^3 in bf16           %8.1f TFLOP/s\n", 2e-12 * (double)k * (double)k * (double)k / s);
  drop(a.p), drop(b.p), drop(c.p);
}

/* ---- products ---- */

static double product_seconds(products *p, const product_shape *s, size_t rows, void *c, void *a, void *b, bool acc,
                              const cublasLtMatmulAlgo_t *algo, void *ws, size_t bytes) {
  int e = product_by(p, s, rows, c, a, b, acc, algo, ws, bytes);
  cudaDeviceSynchronize();
  if (e) return 1e9;
  const double from = now();
  for (int i = 0; i < 5; i++) product_by(p, s, rows, c, a, b, acc, algo, ws, bytes);
  return cudaDeviceSynchronize() == cudaSuccess ? (now() - from) / 5 : 1e9;
}
static int config(const cublasLtMatmulAlgo_t *a, cublasLtMatmulAlgoConfigAttributes_t what) {
  int32_t v = -1;
  size_t n;
  cublasLtMatmulAlgoConfigGetAttribute(a, what, &v, sizeof v, &n);
  return v;
}

static void products_table(size_t rows) {
  static const struct {
    const char *name;
    product_kind kind;
    size_t out, in;
  } list[] = {
      {"q", PRODUCT_Y, 4096, 4096},      {"k", PRODUCT_Y, 1024, 4096},      {"gate", PRODUCT_Y, 14336, 4096},
      {"down", PRODUCT_Y, 4096, 14336},  {"q", PRODUCT_DX, 4096, 4096},     {"k", PRODUCT_DX, 1024, 4096},
      {"gate", PRODUCT_DX, 14336, 4096}, {"down", PRODUCT_DX, 4096, 14336}, {"q", PRODUCT_DW, 4096, 4096},
      {"k", PRODUCT_DW, 1024, 4096},     {"gate", PRODUCT_DW, 14336, 4096}, {"down", PRODUCT_DW, 4096, 14336}};
  static const char *const kinds[] = {"y ", "dx", "dw"};
  enum { MOST = 12 };
  const size_t ws_bytes = 64 << 20;
  int status;
  products *p = products_new(NULL, &status);
  void *ws = room(ws_bytes), *a = filled(rows * 14336, T_BF16, 1), *b = filled(14336 * 14336, T_BF16, 0.02),
       *c = room(rows * 14336 * 4);
  printf("products at %zu rows, TFLOP/s   pinned  best of none-split  cuBLASLt's own choice  ratio\n", rows);
  double pinned_all = 0, own_all = 0;
  for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
    const product_kind kind = list[i].kind;
    const size_t out = list[i].out, in = list[i].in;
    product_shape s;
    memset(&s, 0, sizeof s);
    s.kind = kind;
    s.n = kind == PRODUCT_DX ? in : out, s.k = kind == PRODUCT_DX ? out : in;
    s.lda = kind == PRODUCT_Y ? in : out;
    s.ldb = in;
    s.ldc = kind == PRODUCT_Y ? out : in;
    s.out = kind == PRODUCT_DW ? T_F32 : T_BF16;
    const bool acc = kind == PRODUCT_DW;
    const double flop = 2e-12 * (double)rows * (double)out * (double)in;
    cublasLtMatmulHeuristicResult_t r[MOST], own;
    int n = 0, n_own = 0;
    status = product_candidates(p, &s, PRODUCT_ROWS, 0, r, MOST, &n);
    if (!status) status = product_candidates(p, &s, rows, ws_bytes, &own, 1, &n_own);
    if (status || n == 0 || n_own == 0) {
      printf("%s %-5s status %d, %d candidates, %d of its own\n", kinds[kind], list[i].name, status, n, n_own);
      continue;
    }
    double best = 1e9, first = 1e9;
    int at = 0;
    for (int j = 0; j < n; j++) {
      const double t = product_seconds(p, &s, rows, c, a, b, acc, &r[j].algo, NULL, 0);
      if (j == 0) first = t;
      if (t < best) best = t, at = j;
    }
    const double mine = product_seconds(p, &s, rows, c, a, b, acc, &own.algo, ws, ws_bytes);
    pinned_all += first, own_all += mine;
    printf("%s %-5s %6zu %6zu          %8.1f %8.1f (no. %2d: %3d/%2d/%2d) %8.1f (%3d/%2d/%2d split %d)  %.3f\n",
           kinds[kind], list[i].name, out, in, flop / first, flop / best, at,
           config(&r[at].algo, CUBLASLT_ALGO_CONFIG_ID), config(&r[at].algo, CUBLASLT_ALGO_CONFIG_TILE_ID),
           config(&r[at].algo, CUBLASLT_ALGO_CONFIG_STAGES_ID), flop / mine,
           config(&own.algo, CUBLASLT_ALGO_CONFIG_ID), config(&own.algo, CUBLASLT_ALGO_CONFIG_TILE_ID),
           config(&own.algo, CUBLASLT_ALGO_CONFIG_STAGES_ID), config(&own.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM),
           mine / first);
    fflush(stdout);
  }
  printf("all: the pinned algorithms are at %.3f of cuBLASLt's own choice\n", own_all / pinned_all);
  products_free(p);
  drop(ws), drop(a), drop(b), drop(c);
}

/* ---- a layer of Llama-3.1-8B ---- */

enum { H = 4096, Q = 32, G = 8, D = 128, F = 14336, LAYERS = 32, QKV = (Q + 2 * G) * D };
enum { PROMPT = 800, BRANCH = 400, MAX_TREES = 64 }; /* a pair: a shared prompt, two responses */

typedef enum { PRODUCT, ATTENTION, ROWS, OPTIMIZER, KINDS } kind;
static const char *const kind_names[] = {"products", "attention", "rows", "optimizer"};
static double forward[KINDS], backward[KINDS], update[KINDS];

#define TIMED(into, kind, name, ...)                                     \
  do {                                                                   \
    double s_;                                                           \
    SECONDS(4, s_, __VA_ARGS__);                                         \
    (into)[kind] += s_;                                                  \
    printf("  %-9s %-22s %8.3f ms\n", kind_names[kind], name, 1e3 * s_); \
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
    trees[n] = (tree){{at, prompt}, 2 * n, 2};
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

static void layer(size_t m) {
  batch_layout l;
  batch *b = NULL;
  rw_error err;
  static size_t ends[64];
  grow(&l, m);
  for (l.pieces.n = 0; l.pieces.n * PRODUCT_ROWS < m; l.pieces.n++)
    ends[l.pieces.n] = (l.pieces.n + 1) * PRODUCT_ROWS < m ? (l.pieces.n + 1) * PRODUCT_ROWS : m;
  l.pieces.end = ends;
  if (be->batch_make(be, &b, &l, &err)) printf("FAIL %s\n", err.text), exit(1);
  memset(forward, 0, sizeof forward), memset(backward, 0, sizeof backward), memset(update, 0, sizeof update);
  uint64_t free0, free1, total;
  be->memory(be, &free0, &total);
  mat x = matrix(m, H, 1), n1 = matrix(m, H, 1), qkv = matrix(m, QKV, 1), o = matrix(m, H, 1), t = matrix(m, H, 1),
      gu = matrix(m, 2 * F, 1), y = matrix(m, F, 1);
  const weight wq[3] = {weights(Q * D, H), weights(G * D, H), weights(G * D, H)}, wo = weights(H, Q * D),
               wg[2] = {weights(F, H), weights(F, H)}, wd = weights(H, F);
  float *norm = filled(H, T_F32, 1), *rstd = room(m * sizeof *rstd), *lse = room(m * Q * sizeof *lse),
        *cos = filled(4096 * D / 2, T_F32, 0.5), *sin = filled(4096 * D / 2, T_F32, 0.5);
  const attention_shape a = {Q, G, D, 0.0884f, 0, 0};
  printf("a layer of Llama-3.1-8B, %zu tokens in %zu pairs\n forward\n", m, l.f.n_trees);
  double *f = forward;
  TIMED(f, ROWS, "rmsnorm", be->rmsnorm(be, n1, x, norm, 0, 1e-5f, m, 1, H, rstd));
  TIMED(f, PRODUCT, "q k v", be->linear(be, qkv, n1, wq, 3, m, false));
  TIMED(f, ROWS, "rope", be->rope(be, qkv, b, Q + G, D, cos, sin, D / 2, 1));
  TIMED(f, ATTENTION, "attention", be->attention(be, o, qkv, b, &a, lse));
  TIMED(f, PRODUCT, "o", be->linear(be, t, o, &wo, 1, m, false));
  TIMED(f, ROWS, "add", be->add(be, x, t, m, H));
  TIMED(f, ROWS, "rmsnorm", be->rmsnorm(be, n1, x, norm, 0, 1e-5f, m, 1, H, rstd));
  TIMED(f, PRODUCT, "gate up", be->linear(be, gu, n1, wg, 2, m, false));
  TIMED(f, ROWS, "gated silu", be->gated(be, y, gu, m, F, ACT_SILU));
  TIMED(f, PRODUCT, "down", be->linear(be, t, y, &wd, 1, m, false));
  TIMED(f, ROWS, "add", be->add(be, x, t, m, H));
  printf(" backward\n");
  mat dqkv = matrix(m, QKV, 1), dx = matrix(m, H, 1), dt = matrix(m, H, 1);
  const size_t values = (size_t)(Q + G + G) * D * H + (size_t)H * Q * D + 3 * (size_t)F * H;
  float *dw = room(values * sizeof *dw), *dnorm = room(H * sizeof *dnorm), *at = dw;
  be->zero(be, dw, values * sizeof *dw), be->zero(be, dnorm, H * sizeof *dnorm);
  f = backward;
  TIMED(f, PRODUCT, "down dw", be->linear_dw(be, at, dx, y, b, ROWS_ALL, H, F));
  TIMED(f, PRODUCT, "down dx", be->linear_dx(be, y, dx, &wd, 1, m, false));
  TIMED(f, ROWS, "gated silu bwd", be->gated_bwd(be, gu, y, gu, m, F, ACT_SILU));
  at += (size_t)H * F;
  for (int i = 0; i < 2; i++, at += (size_t)H * F)
    TIMED(f, PRODUCT, i ? "up dw" : "gate dw",
          be->linear_dw(be, at, mat_from(gu, 0, (size_t)i * F), n1, b, ROWS_ALL, F, H));
  TIMED(f, PRODUCT, "gate up dx", be->linear_dx(be, dt, gu, wg, 2, m, false));
  TIMED(f, ROWS, "rmsnorm bwd", be->rmsnorm_bwd(be, dx, dnorm, dt, x, norm, 0, rstd, b, ROWS_ALL, 1, H, true));
  TIMED(f, PRODUCT, "o dw", be->linear_dw(be, at, dx, o, b, ROWS_ALL, H, Q * D));
  TIMED(f, PRODUCT, "o dx", be->linear_dx(be, dt, dx, &wo, 1, m, false));
  TIMED(f, ATTENTION, "attention bwd", be->attention_bwd(be, dqkv, dt, o, qkv, lse, b, &a));
  TIMED(f, ROWS, "rope bwd", be->rope(be, dqkv, b, Q + G, D, cos, sin, D / 2, -1));
  at += (size_t)H * Q * D;
  for (int i = 0; i < 3; i++) {
    const size_t from = i == 0 ? 0 : (size_t)(Q + (i - 1) * G) * D;
    TIMED(f, PRODUCT,
          i == 0   ? "q dw"
          : i == 1 ? "k dw"
                   : "v dw",
          be->linear_dw(be, at, mat_from(dqkv, 0, from), n1, b, ROWS_ALL, wq[i].out, H));
    at += wq[i].out * H;
  }
  TIMED(f, PRODUCT, "q k v dx", be->linear_dx(be, dt, dqkv, wq, 3, m, false));
  TIMED(f, ROWS, "rmsnorm bwd", be->rmsnorm_bwd(be, dx, dnorm, dt, x, norm, 0, rstd, b, ROWS_ALL, 1, H, true));
  printf(" update of %zu values\n", values);
  const master w = {room(values * 2), NULL, T_BF16};
  const adamw8_state q8[2] = {{room(values), room(values / ADAMW8_BLOCK * 4)},
                              {room(values), room(values / ADAMW8_BLOCK * 4)}};
  const adamw_step step = {1e-5, 0.9, 0.95, 1e-8, 0, 0.1, 0.05, 1, 0};
  be->zero(be, w.value, values * 2);
  for (int i = 0; i < 2; i++)
    be->zero(be, q8[i].code, values), be->zero(be, q8[i].scale, values / ADAMW8_BLOCK * 4);
  TIMED(update, OPTIMIZER, "sum of squares", be->sum_squares(be, dw, values, NULL));
  TIMED(update, OPTIMIZER, "adamw8, rounded", be->adamw8(be, w, dw, q8[0], q8[1], values, &step, 1));
  be->memory(be, &free1, &total);
  printf(" device memory taken %.2f GB of %.1f\n", (double)(free0 - free1) * 1e-9, (double)total * 1e-9);

  double sums[3] = {0, 0, 0};
  printf(" ms        forward backward\n");
  for (int k = 0; k < KINDS; k++) {
    if (k != OPTIMIZER) printf(" %-9s %7.2f %8.2f\n", kind_names[k], 1e3 * forward[k], 1e3 * backward[k]);
    sums[0] += forward[k], sums[1] += backward[k], sums[2] += update[k];
  }
  const double flops = 6.0 * (double)values * (double)m; /* of the products, forward and backward */
  printf(
      "%zu tokens, %d such layers: score %.0f tok/s (%.0f%% of 989 TFLOP/s); train %.0f tok/s (%.0f%%), with "
      "recompute %.0f, with an update every pass %.0f\n",
      m, LAYERS, (double)m / LAYERS / sums[0], flops / 3 / sums[0] / 9.89e12,
      (double)m / LAYERS / (sums[0] + sums[1]), flops / (sums[0] + sums[1]) / 9.89e12,
      (double)m / LAYERS / (2 * sums[0] + sums[1]), (double)m / LAYERS / (sums[0] + sums[1] + sums[2]));
  fflush(stdout);
  void *all[] = {x.p, n1.p,   qkv.p, o.p,  t.p, gu.p,  y.p,     norm,       rstd,        lse,        cos,
                 sin, dqkv.p, dx.p,  dt.p, dw,  dnorm, w.value, q8[0].code, q8[0].scale, q8[1].code, q8[1].scale};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) drop(all[i]);
  const weight *ws[] = {&wq[0], &wq[1], &wq[2], &wo, &wg[0], &wg[1], &wd};
  for (size_t i = 0; i < sizeof ws / sizeof *ws; i++) drop((void *)(uintptr_t)ws[i]->data);
  be->batch_free(be, b);
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  const reward_cuda_options o = {0, false, false};
  rw_error err;
  if (reward_cuda_open(&be, REWARD_CUDA_VERSION, &o, &err)) {
    printf("%s\n", err.text);
    return 1;
  }
  if (strcmp(what, "limits") == 0)
    limits();
  else if (strcmp(what, "products") == 0)
    products_table(8192);
  else if (strcmp(what, "layer") == 0)
    for (int i = 2; i < argc; i++) layer((size_t)atol(argv[i]));
  else
    printf("usage: bench-cuda limits | products | layer TOKENS…\n");
  be->close(be);
  return 0;
}
