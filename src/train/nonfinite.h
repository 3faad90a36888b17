/* nonfinite.h - after a number that is not finite: which rows, which tensor. */
#ifndef TRAIN_NONFINITE_H
#define TRAIN_NONFINITE_H

#include "train/dataset.h"

typedef struct {
  model *m;
  const train_loss *loss;
  bool share;
  int64_t step; /* from 1 */
  float *rewards, *d_rewards;
  double *d_row; /* room for the widest row */
} nonfinite_probe;

/* Runs the rows one by one, forward and, when backward, backward too, and fails with RW_NUMERIC: step, the rows
 * that give the fault alone (the first few named, all counted), layer and tensor. `why`: what was seen in the whole
 * batch, said where no row alone gives it. Gradients are lost. */
rw_status nonfinite_rows(const nonfinite_probe *p, const example *const *rows, size_t n, bool backward,
                         const char *why, rw_error *err);

#endif
