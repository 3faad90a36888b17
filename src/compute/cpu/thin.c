/* thin.c - products of few rows with a weight, by the kernels of the CPU's level: the weight is read where it lies.
 *
 * To pack a weight takes as long as to multiply it with some twenty rows. So with few rows these are packed, into
 * panels as a factor b is, and the weight's values are broadcast from its own rows; a task has some outputs, whose
 * sums stay in the caches beside a piece of the panels. 16-bit values are widened first, a piece of each output's
 * at a time. An element is the same chain as in gemm.c, so it has the same bits.
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
  const char *w;
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
  return (share){(const char *)w->data + first * w->ld * type_size(w->type), left < OUTPUTS ? left : OUTPUTS,
                 column + first};
}

/* The rows of y that a panel's sums [n, nr] are columns of. */
static size_t rows_of(const job *j, size_t panel) {
  size_t nr = (size_t)j->k->nr, left = j->m - panel * nr;
  return left < nr ? left : nr;
}
static float *place_of(const job *j, const share *s, size_t panel) {
  return cpu_row(j->y, panel * (size_t)j->k->nr) + s->column;
}

static void thin_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  const share s = share_of(j, task);
  size_t nr = (size_t)j->k->nr, in = j->w->in, n_panels = ceil_div(j->m, nr), unit = type_size(j->w->type);
  float sums[(FEW_ROWS + MOST_NR) * OUTPUTS], wide[OUTPUTS * INNER];
  memset(sums, 0, n_panels * OUTPUTS * nr * sizeof *sums);
  for (size_t p = 0; j->acc && p < n_panels; p++)
    j->k->transpose(sums + p * OUTPUTS * nr, nr, place_of(j, &s, p), j->y.ld, rows_of(j, p), s.n);
  for (size_t k = 0; k < in; k += INNER) {
    size_t len = in - k < INNER ? in - k : INNER, ld = j->w->ld;
    const char *from = s.w + k * unit;
    const float *w = (const void *)from;
    if (j->w->type != T_F32) {
      for (size_t o = 0; o < s.n; o++) j->k->widen(wide + o * INNER, from + o * ld * unit, j->w->type, len);
      w = wide;
      ld = INNER;
    }
    for (size_t p = 0; p < n_panels; p++)
      j->k->thin(len, j->x + (p * in + k) * nr, j->m - p * nr, w, ld, s.n, sums + p * OUTPUTS * nr);
  }
  for (size_t p = 0; p < n_panels; p++)
    j->k->transpose(place_of(j, &s, p), j->y.ld, sums + p * OUTPUTS * nr, nr, s.n, rows_of(j, p));
}

bool cpu_thin(cpu_state *s, mat y, mat x, const weight *w, int nw, size_t m, bool acc) {
  const kernels *k = s->k;
  size_t nr = (size_t)k->nr, in = w->in, tasks = 0;
  if (m > FEW_ROWS || cpu_faulty(s)) return false;
  if (!scratch_need(&s->a, ceil_div(m, nr) * nr * in)) return false;
  k->pack(s->a.p, nr * in, k->nr, x.p, T_F32, x.ld, 1, m, in);
  job j = {.k = k, .x = s->a.p, .y = y, .w = w, .m = m, .acc = acc};
  for (int i = 0; i < nw; i++) tasks += ceil_div(w[i].out, OUTPUTS);
  cpu_tasks(s, tasks, thin_task, &j);
  return true;
}
