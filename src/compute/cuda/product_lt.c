/* product_lt.c - product() by cuBLASLt (product.h). Column-major to cuBLASLt, so it computes the transposed
 * products: what it calls A is our b, its B our a. */
#include "compute/cuda/product_lt.h"

#include <string.h>

#include "base/mem.h"

typedef struct {
  product_shape shape;
  bool none; /* cuBLASLt has no algorithm that keeps the promise */
  cublasLtMatmulAlgo_t algo;
} pinned;

struct products {
  cublasLtHandle_t lt;
  cudaStream_t stream;
  cublasLtMatmulDesc_t desc[3]; /* by product_kind */
  pinned *all;
  size_t n, cap;
};

static int transposes(products *p, product_kind kind, bool a, bool b) {
  const cublasOperation_t ta = a ? CUBLAS_OP_T : CUBLAS_OP_N, tb = b ? CUBLAS_OP_T : CUBLAS_OP_N;
  int s = cublasLtMatmulDescCreate(&p->desc[kind], CUBLAS_COMPUTE_32F, CUDA_R_32F);
  if (!s) s = cublasLtMatmulDescSetAttribute(p->desc[kind], CUBLASLT_MATMUL_DESC_TRANSA, &ta, sizeof ta);
  if (!s) s = cublasLtMatmulDescSetAttribute(p->desc[kind], CUBLASLT_MATMUL_DESC_TRANSB, &tb, sizeof tb);
  return s;
}

products *products_new(void *stream, int *status) {
  products *p = mem_zalloc(1, sizeof *p);
  *status = CUBLAS_STATUS_ALLOC_FAILED;
  if (!p) return NULL;
  p->stream = stream;
  *status = cublasLtCreate(&p->lt);
  if (!*status) *status = transposes(p, PRODUCT_Y, true, false);
  if (!*status) *status = transposes(p, PRODUCT_DX, false, false);
  if (!*status) *status = transposes(p, PRODUCT_DW, false, true);
  if (!*status) return p;
  products_free(p);
  return NULL;
}

void products_free(products *p) {
  if (!p) return;
  for (int i = 0; i < 3; i++)
    if (p->desc[i]) cublasLtMatmulDescDestroy(p->desc[i]);
  if (p->lt) cublasLtDestroy(p->lt);
  mem_free(p->all);
  mem_free(p);
}

/* The layouts of b, a and c as cuBLASLt has them. */
int product_layouts(const product_shape *s, size_t rows, cublasLtMatrixLayout_t l[3]) {
  const cudaDataType_t out = s->out == T_F32 ? CUDA_R_32F : CUDA_R_16BF;
  const size_t n = s->n, k = s->k;
  int e = 0;
  l[0] = l[1] = l[2] = NULL;
  switch (s->kind) {
    case PRODUCT_Y:
      e = cublasLtMatrixLayoutCreate(&l[0], CUDA_R_16BF, k, n, (int64_t)s->ldb);
      if (!e) e = cublasLtMatrixLayoutCreate(&l[1], CUDA_R_16BF, k, rows, (int64_t)s->lda);
      if (!e) e = cublasLtMatrixLayoutCreate(&l[2], out, n, rows, (int64_t)s->ldc);
      break;
    case PRODUCT_DX:
      e = cublasLtMatrixLayoutCreate(&l[0], CUDA_R_16BF, n, k, (int64_t)s->ldb);
      if (!e) e = cublasLtMatrixLayoutCreate(&l[1], CUDA_R_16BF, k, rows, (int64_t)s->lda);
      if (!e) e = cublasLtMatrixLayoutCreate(&l[2], out, n, rows, (int64_t)s->ldc);
      break;
    case PRODUCT_DW:
      e = cublasLtMatrixLayoutCreate(&l[0], CUDA_R_16BF, k, rows, (int64_t)s->ldb);
      if (!e) e = cublasLtMatrixLayoutCreate(&l[1], CUDA_R_16BF, n, rows, (int64_t)s->lda);
      if (!e) e = cublasLtMatrixLayoutCreate(&l[2], out, k, n, (int64_t)s->ldc);
      break;
  }
  return e;
}
void product_layouts_free(cublasLtMatrixLayout_t l[3]) {
  for (int i = 0; i < 3; i++)
    if (l[i]) cublasLtMatrixLayoutDestroy(l[i]);
}

/* cuBLASLt takes matrices to begin at 256 bytes; those with other rows may begin at any 16, as adapters' columns
 * do. */
static int alignment(cublasLtMatmulPreference_t pref, cublasLtMatmulPreferenceAttributes_t of, size_t row_bytes) {
  const uint32_t bytes = row_bytes % 256 ? 16 : 256;
  return cublasLtMatmulPreferenceSetAttribute(pref, of, &bytes, sizeof bytes);
}

/* cuBLASLt's candidates for `rows` rows, best first. workspace 0: only those that keep the promise. */
int product_candidates(products *p, const product_shape *s, size_t rows, size_t workspace,
                       cublasLtMatmulHeuristicResult_t *out, int most, int *n) {
  const uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE;
  cublasLtMatmulPreference_t pref = NULL;
  cublasLtMatrixLayout_t l[3];
  *n = 0;
  int e = product_layouts(s, rows, l);
  if (!e) e = cublasLtMatmulPreferenceCreate(&pref);
  if (!e)
    e = cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                             sizeof workspace);
  if (!e && workspace == 0)
    e = cublasLtMatmulPreferenceSetAttribute(pref, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none);
  const size_t out_bytes = s->ldc * type_size(s->out);
  if (!e) e = alignment(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, s->ldb * sizeof(uint16_t));
  if (!e) e = alignment(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, s->lda * sizeof(uint16_t));
  if (!e) e = alignment(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, out_bytes);
  if (!e) e = alignment(pref, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, out_bytes);
  if (!e) e = cublasLtMatmulAlgoGetHeuristic(p->lt, p->desc[s->kind], l[0], l[1], l[2], l[2], pref, most, out, n);
  if (pref) cublasLtMatmulPreferenceDestroy(pref);
  product_layouts_free(l);
  return e == CUBLAS_STATUS_NOT_SUPPORTED || e == CUBLAS_STATUS_INVALID_VALUE ? 0 : e; /* n stays 0 */
}

static bool splits(const cublasLtMatmulAlgo_t *a) {
  int32_t parts = 0;
  uint32_t scheme = 0;
  size_t written;
  cublasLtMatmulAlgoConfigGetAttribute(a, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &parts, sizeof parts, &written);
  cublasLtMatmulAlgoConfigGetAttribute(a, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme, sizeof scheme, &written);
  return parts > 1 || parts < 0 || scheme != CUBLASLT_REDUCTION_SCHEME_NONE;
}

static pinned *pin(products *p, const product_shape *s, int *status) {
  for (size_t i = 0; i < p->n; i++)
    if (memcmp(&p->all[i].shape, s, sizeof *s) == 0) return &p->all[i];
  cublasLtMatmulHeuristicResult_t found[16];
  int n;
  *status = product_candidates(p, s, PRODUCT_ROWS, 0, found, 16, &n);
  if (*status) return NULL;
  pinned new = {*s, true, {{0}}};
  for (int i = 0; i < n && new.none; i++)
    if (found[i].state == CUBLAS_STATUS_SUCCESS && !splits(&found[i].algo))
      new.none = false, new.algo = found[i].algo;
  if (!vec_push(p->all, p->n, p->cap, new)) {
    *status = CUBLAS_STATUS_ALLOC_FAILED;
    return NULL;
  }
  return &p->all[p->n - 1];
}

int product_by(products *p, const product_shape *s, size_t rows, void *c, const void *a, const void *b, bool acc,
               const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes) {
  const float one = 1, beta = acc ? 1 : 0;
  cublasLtMatrixLayout_t l[3];
  int e = product_layouts(s, rows, l);
  if (!e)
    e = cublasLtMatmul(p->lt, p->desc[s->kind], &one, b, l[0], a, l[1], &beta, c, l[2], c, l[2], algo, workspace,
                       bytes, p->stream);
  product_layouts_free(l);
  return e;
}

bool product(products *p, const product_shape *given, size_t rows, void *c, const void *a, const void *b, bool acc,
             int *status) {
  product_shape s;
  memset(&s, 0, sizeof s); /* compared as bytes */
  s.kind = given->kind, s.n = given->n, s.k = given->k, s.out = given->out;
  s.lda = given->lda, s.ldb = given->ldb, s.ldc = given->ldc;
  *status = 0;
  if ((s.lda | s.ldb | s.ldc) % 8) return false; /* rows that are not 16-byte aligned: slow there too */
  const pinned *found = pin(p, &s, status);
  if (!found || found->none) return false;
  *status = product_by(p, &s, rows, c, a, b, acc, &found->algo, NULL, 0);
  return *status == 0;
}
