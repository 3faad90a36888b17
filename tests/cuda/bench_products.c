/* bench_products.c - of the CUDA backend's products at the shapes of Llama-3.1-8B: the pinned algorithm beside
 * cuBLASLt's own choice and the best of its candidates. Each time is the mean of calls one after another, after a
 * warm-up.
 */
#include <cuda_runtime_api.h>

#include "bench.h"
#include "compute/cuda/product_lt.h"

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

int main(void) {
  open_device();
  products_table(8192);
  be->close(be);
  return 0;
}
