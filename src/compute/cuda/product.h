/* product.h - the three matrix products by cuBLASLt, with pinned algorithms; plain C under the emulator.
 *
 * One algorithm for each product (operation, columns, strides, types), chosen once at PRODUCT_ROWS rows among those
 * without a split inner dimension, a reduction scheme or a workspace, and used for every number of rows: so a row's
 * bits do not depend on what else is in the call.
 */
#ifndef COMPUTE_CUDA_PRODUCT_H
#define COMPUTE_CUDA_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>

#include "compute/backend.h"

enum { PRODUCT_ROWS = 4096 };

/* Y: c[rows, n] = a[rows, k] · b[n, k]^T. DX: c[rows, n] = a[rows, k] · b[k, n]. DW: c[n, k] = a[rows, n]^T ·
 * b[rows, k]. */
typedef enum { PRODUCT_Y, PRODUCT_DX, PRODUCT_DW } product_kind;
typedef struct {
  product_kind kind;
  size_t n, k, lda, ldb, ldc;
  tensor_type out; /* c's type; a and b are bf16 */
} product_shape;

typedef struct products products;
products *products_new(void *stream, int *status); /* NULL: *status is cuBLASLt's, as below */
void products_free(products *p);                   /* NULL is fine */
/* c (+)= a · b. False: cuBLASLt has no such algorithm for this shape, or *status says what went wrong. */
bool product(products *p, const product_shape *s, size_t rows, void *c, const void *a, const void *b, bool acc,
             int *status);

#endif
