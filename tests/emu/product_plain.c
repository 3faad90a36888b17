/* product_plain.c - product() of the CUDA backend in plain C, in cuBLASLt's place, for the emulator. */
#include "base/half.h"
#include "base/mem.h"
#include "compute/cuda/product.h"

struct products {
  int nothing;
};
products *products_new(void *stream, int *status) {
  (void)stream;
  products *p = mem_zalloc(1, sizeof *p);
  *status = p ? 0 : 3;
  return p;
}
void products_free(products *p) { mem_free(p); }

static float at(const void *p, size_t i, size_t si, size_t k, size_t sk) {
  return half_from_bf16(((const uint16_t *)p)[i * si + k * sk]);
}

bool product(products *p, const product_shape *s, size_t rows, void *c, const void *a, const void *b, bool acc,
             int *status) {
  (void)p;
  *status = 0;
  if ((s->lda | s->ldb | s->ldc) % 8) return false; /* as product_lt.c */
  const bool dw = s->kind == PRODUCT_DW;
  const size_t m = dw ? s->n : rows, n = dw ? s->k : s->n, inner = dw ? rows : s->k;
  for (size_t i = 0; i < m; i++)
    for (size_t j = 0; j < n; j++) {
      float sum = 0;
      for (size_t k = 0; k < inner; k++)
        sum += at(a, i, dw ? 1 : s->lda, k, dw ? s->lda : 1) *
               at(b, j, s->kind == PRODUCT_Y ? s->ldb : 1, k, s->kind == PRODUCT_Y ? 1 : s->ldb);
      if (s->out == T_F32) {
        float *to = (float *)c + i * s->ldc + j;
        *to = acc ? *to + sum : sum;
      } else {
        uint16_t *to = (uint16_t *)c + i * s->ldc + j;
        *to = half_to_bf16(acc ? half_from_bf16(*to) + sum : sum);
      }
    }
  return true;
}
