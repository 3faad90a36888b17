/* tasks.c - how the CPU's operations run: work shared out among the threads, the first fault kept until the sync,
 * buffers that grow. */
#include "compute/cpu/tasks.h"

bool scratch_need(scratch *s, size_t floats) {
  if (floats <= s->cap) return true;
  mem_free(s->p);
  s->p = mem_aligned(floats, sizeof(float));
  s->cap = s->p ? floats : 0;
  return s->p != NULL;
}

bool cpu_faulty(const cpu_state *s) { return s->fault.code != RW_OK; }

void cpu_fault(cpu_state *s, const char *operation, rw_status status, const rw_error *err) {
  if (!status) return;
  s->fault = *err;
  rw_prefix(&s->fault, status, "%s", operation);
}

void cpu_tasks(cpu_state *s, size_t tasks, void (*task)(void *ctx, size_t task, int thread), void *ctx) {
  if (!cpu_faulty(s)) pool_run(s->threads, tasks, task, ctx);
}

enum { ROWS = 16, COLUMNS = 64 }; /* rows or columns of one task */

typedef struct {
  const void *call;
  size_t n;
  void (*one)(const void *call, size_t row);
  void (*some)(const void *call, size_t at, size_t len);
  size_t step; /* values in a call of `some` */
} sharing;

static void rows_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const sharing *c = ctx;
  size_t end = (task + 1) * ROWS < c->n ? (task + 1) * ROWS : c->n;
  for (size_t r = task * ROWS; r < end; r++) c->one(c->call, r);
}
void cpu_rows(cpu_state *s, size_t m, void (*one)(const void *call, size_t row), const void *call) {
  sharing c = {.call = call, .n = m, .one = one};
  cpu_tasks(s, (m + ROWS - 1) / ROWS, rows_task, &c);
}

static void some_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const sharing *c = ctx;
  size_t at = task * c->step;
  c->some(c->call, at, c->n - at < c->step ? c->n - at : c->step);
}
static void run_some(cpu_state *s, size_t n, size_t step, void (*some)(const void *call, size_t at, size_t len),
                     const void *call) {
  sharing c = {.call = call, .n = n, .some = some, .step = step};
  cpu_tasks(s, (n + step - 1) / step, some_task, &c);
}
void cpu_columns(cpu_state *s, size_t n, void (*some)(const void *call, size_t at, size_t width),
                 const void *call) {
  run_some(s, n, COLUMNS, some, call);
}
void cpu_vector(cpu_state *s, size_t n, void (*some)(const void *call, size_t at, size_t len), const void *call) {
  run_some(s, n, CPU_CHUNK, some, call);
}
