/* slices.h - which rows of a batch go to which slice, and which rows of a slice are one piece of its sums. */
#ifndef TRAIN_SLICES_H
#define TRAIN_SLICES_H

#include "base/status.h"

/* slice_of[i] of n rows: the heaviest row first (of equals the first), each to the lightest slice (of equals the
 * first). Depends on the weights alone. */
rw_status slices_cut(int *slice_of, const size_t *weight, size_t n, int slices, rw_error *err);

/* order[0..n), numbers of rows, becomes their order in passes, and piece[i] the piece of weight gradients, from 1,
 * that row i is in: the heaviest row first, each into the first piece that it does not bring above `most`. A
 * heavier row is a piece by itself. Within a piece rows keep their order. Depends on the weights and `most` alone.
 */
rw_status pieces_cut(size_t *order, size_t *piece, const size_t *weight, size_t n, size_t most, rw_error *err);

#endif
