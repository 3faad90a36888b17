/* model_values.h - values of a model's device memory, for tests to look at. */
#ifndef TESTS_MODEL_VALUES_H
#define TESTS_MODEL_VALUES_H

#include <stdlib.h>

#include "model/model.h"

/* n floats of the device's memory; stays valid until the next call but one. */
static const float *host_copy(const model *m, const float *device, size_t n) {
  static float *copy[2];
  static int turn;
  turn = !turn;
  copy[turn] = realloc(copy[turn], n * sizeof(float));
  model_get(m, copy[turn], device, n * sizeof(float));
  return copy[turn];
}
static inline const float *host_grad(const model *m, const model_param *p) {
  return host_copy(m, p->grad, p->count);
}
static inline double norm_of(model *m) {
  double norm;
  rw_error err;
  return model_grad_norm(m, &norm, &err) ? -1 : norm;
}

#endif
