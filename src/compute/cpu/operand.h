/* operand.h - a factor of a product: several matrices that stand one after another. */
#ifndef COMPUTE_CPU_OPERAND_H
#define COMPUTE_CPU_OPERAND_H

#include "compute/cpu/engine.h"

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

#endif
