/* vectors.c - operations on single values: sums, copies, scaling, and what a whole vector comes to. Matrices
 * without gaps between their rows are taken as one vector. */
#include <math.h>
#include <string.h>

#include "compute/cpu/ops.h"
#include "compute/cpu/tasks.h"

typedef struct {
  const kernels *k;
  mat y, x;
  size_t n;
  float factor;
  void (*one)(const kernels *k, float *y, const float *x, size_t n, float factor);
} elements_call;

static void elements_row(const void *call, size_t r) {
  const elements_call *c = call;
  c->one(c->k, cpu_row(c->y, r), cpu_row(c->x, r), c->n, c->factor);
}
static void elements_piece(const void *call, size_t at, size_t len) {
  const elements_call *c = call;
  c->one(c->k, (float *)c->y.p + at, (const float *)c->x.p + at, len, c->factor);
}
static void elements(backend *be, elements_call c, size_t m) {
  cpu_state *s = cpu_of(be);
  c.k = s->k;
  if (m == 1 || (c.y.ld == c.n && c.x.ld == c.n))
    cpu_vector(s, m * c.n, elements_piece, &c);
  else
    cpu_rows(s, m, elements_row, &c);
}

static void add_some(const kernels *k, float *y, const float *x, size_t n, float factor) {
  (void)factor;
  k->add(y, x, n);
}
static void copy_some(const kernels *k, float *y, const float *x, size_t n, float factor) {
  (void)k;
  (void)factor;
  memcpy(y, x, n * sizeof *y);
}
static void scale_some(const kernels *k, float *y, const float *x, size_t n, float factor) {
  (void)x;
  k->scale(y, n, factor);
}
static void be_add(backend *be, mat y, mat x, size_t m, size_t n) {
  elements(be, (elements_call){.y = y, .x = x, .n = n, .one = add_some}, m);
}
static void be_copy(backend *be, mat y, mat x, size_t m, size_t n) {
  elements(be, (elements_call){.y = y, .x = x, .n = n, .one = copy_some}, m);
}
static void be_scale(backend *be, mat x, float factor, size_t m, size_t n) {
  elements(be, (elements_call){.y = x, .x = x, .n = n, .factor = factor, .one = scale_some}, m);
}

typedef struct {
  const kernels *k;
  const float *x;
  double *sums; /* one a chunk */
} squares_call;
static void squares_piece(const void *call, size_t at, size_t len) {
  const squares_call *c = call;
  c->sums[at / CPU_CHUNK] = c->k->sum_squares(c->x + at, len);
}
_Static_assert((int)SQUARES_BLOCK == (int)CPU_CHUNK, "a chunk is a block");
static double be_sum_squares(backend *be, const float *x, size_t n, double *blocks) {
  enum { BLOCK = 256 }; /* chunks; their sums are added in order */
  double sum = 0, sums[BLOCK] = {0};
  for (size_t at = 0; at < n; at += (size_t)BLOCK * CPU_CHUNK) {
    size_t len = n - at < (size_t)BLOCK * CPU_CHUNK ? n - at : (size_t)BLOCK * CPU_CHUNK;
    squares_call c = {cpu_of(be)->k, x + at, sums};
    cpu_vector(cpu_of(be), len, squares_piece, &c);
    for (size_t i = 0; i * CPU_CHUNK < len; i++) {
      sum += sums[i];
      if (blocks) *blocks++ = sums[i];
    }
  }
  return sum;
}

static size_t be_first_bad(backend *be, mat x, size_t m, size_t n) {
  (void)be;
  for (size_t r = 0; r < m; r++)
    for (size_t i = 0; i < n; i++)
      if (!isfinite(cpu_row(x, r)[i])) return r * n + i;
  return m * n;
}

void cpu_vectors_ops(backend *be) {
  be->add = be_add;
  be->copy = be_copy;
  be->scale = be_scale;
  be->sum_squares = be_sum_squares;
  be->first_bad = be_first_bad;
}
