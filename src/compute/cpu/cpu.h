/* cpu.h - what the files of the CPU backend share. */
#ifndef COMPUTE_CPU_CPU_H
#define COMPUTE_CPU_CPU_H

#include "base/mem.h"
#include "compute/cpu/kernels.h"

/* A buffer that grows and is never read before it is written. */
typedef struct {
  void *p;
  size_t cap; /* floats */
} scratch;
bool scratch_need(scratch *s, size_t floats);

/* What products are computed by; chains: the kernels' tiles (kernels.h), rounding the factors first for bf16;
 * TILES: AMX (amx.h). */
typedef enum { PRODUCTS_F32, PRODUCTS_BF16, PRODUCTS_F32_TILES, PRODUCTS_BF16_TILES } products;

typedef struct {
  const kernels *k;
  products products;
  bool amx;
  pool *threads;
  scratch a, b;        /* packed operands of a product */
  scratch chunks;      /* how AMX cuts the inner index */
  scratch *per_thread; /* attention's working rows */
} cpu_state;

static inline cpu_state *cpu_of(backend *be) { return be->state; }

/* gemm.c */
enum { OPERAND_MAX_PARTS = 4 };
/* One factor of a product: element (i, k) of a part is p[i*si + k*sk]; parts stand one after another along i
 * (or along k). */
typedef struct {
  int parts;
  bool along_k;
  struct {
    const void *p;
    size_t n; /* extent along the stacking direction */
  } part[OPERAND_MAX_PARTS];
  tensor_type type;
  size_t si, sk;
  size_t n, kn; /* extents in all */
} operand;
/* Panels of r rows; they never straddle parts. */
size_t operand_panels(const operand *o, size_t r);
/* Where panel number `panel` begins: its part, its first element in the part and in all, its width. */
void operand_panel(const operand *o, size_t r, size_t panel, int *part, size_t *at, size_t *column, size_t *width);
rw_status cpu_linear(backend *be, float *y, size_t ldy, const float *x, size_t ldx, const weight *w, int nw,
                     size_t m, bool acc, rw_error *err);
rw_status cpu_linear_dx(backend *be, float *dx, size_t lddx, const float *dy, size_t lddy, const weight *w, int nw,
                        size_t m, bool acc, rw_error *err);
rw_status cpu_linear_dw(backend *be, float *dw, const float *dy, size_t lddy, const float *x, size_t ldx, size_t m,
                        const row_pieces *pieces, size_t out, size_t in, rw_error *err);
/* gemm_amx.c: c [a's n, b's n] (+)= a · b by tiles; pieces (NULL: one) cut the inner index of a plain product. */
rw_status gemm_amx(cpu_state *s, float *c, size_t ldc, const operand *a, const operand *b, const row_pieces *pieces,
                   bool acc, rw_error *err);

/* attention.c */
rw_status cpu_attention(backend *be, float *o, size_t ldo, const float *qkv, size_t ld, const forest *f,
                        const attention_shape *a, float *lse, rw_error *err);
rw_status cpu_attention_bwd(backend *be, float *dqkv, size_t ldd, const float *d_o, size_t lddo, const float *o,
                            size_t ldo, const float *qkv, size_t ld, const float *lse, const forest *f,
                            const attention_shape *a, rw_error *err);

#endif
