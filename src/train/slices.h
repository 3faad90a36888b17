/* slices.h - which rows of a batch go to which slice. */
#ifndef TRAIN_SLICES_H
#define TRAIN_SLICES_H

#include "base/status.h"

/* slice_of[i] of n rows: the heaviest row first (of equals the first), each to the lightest slice (of equals the
 * first). Depends on the weights alone. */
rw_status slices_cut(int *slice_of, const size_t *weight, size_t n, int slices, rw_error *err);

#endif
