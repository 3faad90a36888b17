/* thin.c - products of few rows with a weight, by the kernels of the CPU's level: the weight is read where it lies.
 *
 * To pack a weight takes as long as to multiply it with some twenty rows. So with few rows these are packed, into
 * panels as a factor b is, and the weight's values are broadcast from its own rows; a task has some outputs, whose
 * sums stay in the caches beside a piece of the panels. An element is the same chain as in gemm.c, so it has the
 * same bits.
 */
#include <string.h>

#include "compute/cpu/ops.h"
#include "compute/cpu/tasks.h"

enum {
  OUTPUTS = 48, /* of a task */
  INNER = 256,  /* values of a panel at a time, for the first-level cache */
  MOST_NR = 32
};

typedef struct {
  const kernels *k;
  const float *x; /* packed */
  mat y;
  const weight *w;
  size_t m;
  bool acc;
} job;

/* One task's outputs: n rows of a weight from w on, which are columns of y from `column` on. */
typedef struct {
  const float *w;
  size_t n, column;
} share;

static share share_of(const job *j, size_t task) {
  const weight *w = j->w;
  size_t column = 0;
  for (; task >= ceil_div(w->out, OUTPUTS); w++) {
    task -= ceil_div(w->out, OUTPUTS);
    column += w->out;
  }
  size_t first = task * OUTPUTS, left = w->out - first;
  return (share){(const float *)w->data + first * w->ld, left < OUTPUTS ? left : OUTPUTS, column + first};
}

/* Sums [n, nr] of a panel's rows to or from y, whose rows they are columns of. */
static void move(const job *j, const share *s, size_t panel, float *sums, bool back) {
  size_t nr = (size_t)j->k->nr, rows = j->m - panel * nr;
  for (size_t i = 0; i < rows && i < nr; i++) {
    float *y = cpu_row(j->y, panel * nr + i) + s->column;
    for (size_t o = 0; o < s->n; o++) {
      if (back)
        y[o] = sums[o * nr + i];
      else
        sums[o * nr + i] = y[o];
    }
  }
}

static void thin_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  const share s = share_of(j, task);
  size_t nr = (size_t)j->k->nr, in = j->w->in, n_panels = ceil_div(j->m, nr);
  float sums[THIN_PANELS * OUTPUTS * MOST_NR];
  memset(sums, 0, n_panels * OUTPUTS * nr * sizeof *sums);
  for (size_t p = 0; j->acc && p < n_panels; p++) move(j, &s, p, sums + p * OUTPUTS * nr, false);
  for (size_t k = 0; k < in; k += INNER)
    for (size_t p = 0; p < n_panels; p++)
      j->k->thin(in - k < INNER ? in - k : INNER, j->x + (p * in + k) * nr, j->m - p * nr, s.w + k, j->w->ld, s.n,
                 sums + p * OUTPUTS * nr);
  for (size_t p = 0; p < n_panels; p++) move(j, &s, p, sums + p * OUTPUTS * nr, true);
}

bool cpu_thin(cpu_state *s, mat y, mat x, const weight *w, int nw, size_t m, bool acc) {
  const kernels *k = s->k;
  size_t nr = (size_t)k->nr, in = w->in, tasks = 0;
  if (m > THIN_PANELS * nr || w->type != T_F32 || cpu_faulty(s)) return false;
  if (!scratch_need(&s->a, ceil_div(m, nr) * nr * in)) return false;
  k->pack(s->a.p, nr * in, k->nr, x.p, T_F32, x.ld, 1, m, in);
  job j = {.k = k, .x = s->a.p, .y = y, .w = w, .m = m, .acc = acc};
  for (int i = 0; i < nw; i++) tasks += ceil_div(w[i].out, OUTPUTS);
  cpu_tasks(s, tasks, thin_task, &j);
  return true;
}
