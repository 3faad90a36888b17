/* product_lt.h - product.h's insides, which the benchmark measures one by one. */
#ifndef COMPUTE_CUDA_PRODUCT_LT_H
#define COMPUTE_CUDA_PRODUCT_LT_H

#include <cublasLt.h>

#include "compute/cuda/product.h"

int product_layouts(const product_shape *s, size_t rows, cublasLtMatrixLayout_t l[3]);
void product_layouts_free(cublasLtMatrixLayout_t l[3]);
int product_candidates(products *p, const product_shape *s, size_t rows, size_t workspace,
                       cublasLtMatmulHeuristicResult_t *out, int most, int *n);
/* A product by a named algorithm (NULL: cuBLASLt's own choice). */
int product_by(products *p, const product_shape *s, size_t rows, void *c, const void *a, const void *b, bool acc,
               const cublasLtMatmulAlgo_t *algo, void *workspace, size_t bytes);

#endif
