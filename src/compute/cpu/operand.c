/* operand.c - the panels that a factor of a product is packed in. */
#include "compute/cpu/cpu.h"

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

size_t operand_panels(const operand *o, size_t r) {
  if (o->along_k) return ceil_div(o->n, r);
  size_t n = 0;
  for (int i = 0; i < o->parts; i++) n += ceil_div(o->part[i].n, r);
  return n;
}

void operand_panel(const operand *o, size_t r, size_t panel, int *part, size_t *at, size_t *column, size_t *width) {
  int i = 0;
  size_t base = 0;
  if (!o->along_k)
    for (; panel >= ceil_div(o->part[i].n, r); i++) {
      panel -= ceil_div(o->part[i].n, r);
      base += o->part[i].n;
    }
  size_t n = o->along_k ? o->n : o->part[i].n;
  *part = i;
  *at = panel * r;
  *column = base + *at;
  *width = n - *at < r ? n - *at : r;
}
