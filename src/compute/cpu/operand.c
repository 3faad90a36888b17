/* operand.c - the panels that a factor of a product is packed in. */
#include "compute/cpu/operand.h"

size_t operand_panels(const operand *o, size_t width) {
  if (o->along_k) return ceil_div(o->n, width);
  size_t n = 0;
  for (int i = 0; i < o->parts; i++) n += ceil_div(o->part[i].n, width);
  return n;
}

operand_place operand_panel(const operand *o, size_t width, size_t panel) {
  if (o->along_k) return (operand_place){0, panel * width, panel * width, o->n - panel * width};
  size_t part = 0, base = 0;
  for (; panel >= ceil_div(o->part[part].n, width); part++) {
    panel -= ceil_div(o->part[part].n, width);
    base += o->part[part].n;
  }
  size_t at = panel * width;
  return (operand_place){part, at, base + at, o->part[part].n - at};
}
