/* tasks.h - the state of a CPU backend, and how its operations run: work shared out among the threads, the first
 * fault kept until the sync. */
#ifndef COMPUTE_CPU_TASKS_H
#define COMPUTE_CPU_TASKS_H

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
  } engines; /* the engine of each kind of product */
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

/* thin.c: linear without its bias, of at most FEW_ROWS rows; false: not done. */
enum { FEW_ROWS = 144 };
bool cpu_thin(cpu_state *s, mat y, mat x, const weight *w, int nw, size_t m, bool acc);

/* None of these does anything after a fault. */
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

#endif
