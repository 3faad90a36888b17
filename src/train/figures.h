/* figures.h - what a run's evals.jsonl says of its beginning, its best and the weights that it publishes. */
#ifndef TRAIN_FIGURES_H
#define TRAIN_FIGURES_H

#include "train/train.h"

/* eval: as given to --eval. published: the step whose weights are the result. Where the file has no such line, the
 * figure's step is -1. */
rw_status figures_read(train_figures *f, const char *out, const char *eval, int64_t published, rw_error *err);

#endif
