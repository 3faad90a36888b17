/* cpu.h - what the files of the CPU backend share. */
#ifndef COMPUTE_CPU_CPU_H
#define COMPUTE_CPU_CPU_H

#include "base/mem.h"
#include "compute/cpu/engine.h"

/* A buffer that grows and is never read before it is written. */
typedef struct {
  void *p;
  size_t cap; /* floats */
} scratch;
bool scratch_need(scratch *s, size_t floats);

/* What a level's products are computed by (engine.h). */
typedef enum { CPU_CHAINS, CPU_PAIRS, CPU_TILES } cpu_products;

typedef struct {
  const kernels *k;
  cpu_products products;
  struct {
    engine layers, attention, head;
  } engines; /* of products, by what they are of */
  pool *threads;
  rw_error fault;      /* the first since the last sync; its code RW_OK: none */
  scratch a, b, runs;  /* packed operands of a product; how its inner index is cut */
  scratch *per_thread; /* attention's working rows; a product's rows of a */
} cpu_state;

static inline cpu_state *cpu_of(backend *be) { return be->state; }

struct batch {
  const batch_layout *l; /* host memory is device memory: operations read it there */
};
static inline size_t cpu_batch_rows(const batch *b, row_set rows) {
  return rows == ROWS_ALL ? b->l->f.rows : b->l->n_last;
}
static inline float *cpu_row(mat x, size_t row) { return (float *)x.p + row * x.ld; }

/* tasks.c: how operations run; none of these does anything after a fault. */
bool cpu_faulty(const cpu_state *s);
void cpu_fault(cpu_state *s, const char *operation, rw_status status, const rw_error *err); /* RW_OK: none */
void cpu_tasks(cpu_state *s, size_t tasks, void (*task)(void *ctx, size_t task, int thread), void *ctx);
/* one(call, row) for each of m rows; rows go to the threads some at a time. */
void cpu_rows(cpu_state *s, size_t m, void (*one)(const void *call, size_t row), const void *call);
/* some(call, at, width) for spans of n columns, so that each sum over rows adds them in order. */
void cpu_columns(cpu_state *s, size_t n, void (*some)(const void *call, size_t at, size_t width), const void *call);
/* some(call, at, len) for pieces of a vector of n values, at a multiple of CPU_CHUNK. */
enum { CPU_CHUNK = 1 << 16 };
void cpu_vector(cpu_state *s, size_t n, void (*some)(const void *call, size_t at, size_t len), const void *call);

/* rows.c, vectors.c, optimizer.c: fill in their operations. */
void cpu_rows_ops(backend *be);
void cpu_vectors_ops(backend *be);
void cpu_optimizer_ops(backend *be);

/* operand.c */
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
/* Panels of `width` rows; they never straddle parts along i. */
size_t operand_panels(const operand *o, size_t width);
typedef struct {
  size_t part, at, column, left; /* a panel's part, first element in the part and in all, elements from there on */
} operand_place;
operand_place operand_panel(const operand *o, size_t width, size_t panel);

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
