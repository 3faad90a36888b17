/* ops.h - the operations of the CPU backend, as cpu.c puts them into its struct; each file says what it holds. */
#ifndef COMPUTE_CPU_OPS_H
#define COMPUTE_CPU_OPS_H

#include "compute/backend.h"

/* rows.c, vectors.c, optimizer.c: fill in their operations. */
void cpu_rows_ops(backend *be);
void cpu_vectors_ops(backend *be);
void cpu_optimizer_ops(backend *be);

/* gemm.c */
void cpu_linear(backend *be, mat y, mat x, const weight *w, int nw, size_t m, bool acc);
void cpu_linear_dx(backend *be, mat dx, mat dy, const weight *w, int nw, size_t m, bool acc);
void cpu_linear_dw(backend *be, float *dw, mat dy, mat x, const batch *b, row_set rows, size_t out, size_t in);
void cpu_linear_dw_pieces(backend *be, float *dw, mat dy, mat x, const row_pieces *pieces, size_t out, size_t in);

/* attention.c */
void cpu_attention(backend *be, mat o, mat qkv, const batch *b, const attention_shape *a, float *lse);
void cpu_attention_bwd(backend *be, mat dqkv, mat d_o, mat o, mat qkv, const float *lse, const batch *b,
                       const attention_shape *a);

#endif
