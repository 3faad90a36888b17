/* slices.c - parts the rows of a batch among slices of about equal weight, and those of a slice into pieces of at
 * most some weight (see slices.h). */
#include "train/slices.h"

#include <stdlib.h>

#include "base/mem.h"

typedef struct {
  size_t row, weight;
} weighed;

static int heaviest(const void *a, const void *b) {
  const weighed *x = a, *y = b;
  if (x->weight != y->weight) return x->weight > y->weight ? -1 : 1;
  return x->row < y->row ? -1 : 1;
}

rw_status slices_cut(int *slice_of, const size_t *weight, size_t n, int slices, rw_error *err) {
  weighed *rows = mem_alloc(n, sizeof *rows);
  size_t *load = mem_zalloc((size_t)slices, sizeof *load);
  rw_status s = rows && load ? RW_OK : rw_nomem(err, "slices");
  for (size_t i = 0; !s && i < n; i++) rows[i] = (weighed){i, weight[i]};
  if (!s) qsort(rows, n, sizeof *rows, heaviest);
  for (size_t i = 0; !s && i < n; i++) {
    int least = 0;
    for (int k = 1; k < slices; k++)
      if (load[k] < load[least]) least = k;
    slice_of[rows[i].row] = least;
    load[least] += rows[i].weight;
  }
  mem_free(rows);
  mem_free(load);
  return s;
}

static int lightest(const void *a, const void *b) {
  const weighed *x = a, *y = b;
  if (x->weight != y->weight) return x->weight < y->weight ? -1 : 1;
  return x->row < y->row ? -1 : 1;
}

rw_status pieces_cut(size_t *order, size_t *piece, const size_t *weight, size_t n, size_t most, rw_error *err) {
  weighed *rows = mem_alloc(n, sizeof *rows);
  size_t *load = mem_alloc(n, sizeof *load), pieces = 0;
  rw_status s = rows && load ? RW_OK : rw_nomem(err, "pieces");
  for (size_t i = 0; !s && i < n; i++) rows[i] = (weighed){order[i], weight[order[i]]};
  if (!s) qsort(rows, n, sizeof *rows, heaviest);
  for (size_t i = 0; !s && i < n; i++) {
    size_t p = 0;
    while (p < pieces && load[p] + rows[i].weight > most) p++;
    if (p == pieces) load[pieces++] = 0;
    load[p] += rows[i].weight;
    piece[rows[i].row] = p + 1;
    rows[i].weight = p + 1;
  }
  if (!s) qsort(rows, n, sizeof *rows, lightest);
  for (size_t i = 0; !s && i < n; i++) order[i] = rows[i].row;
  mem_free(rows);
  mem_free(load);
  return s;
}
