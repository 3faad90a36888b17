/* adapters.h - low-rank adapters of a training: new ones, or those that the model has. */
#ifndef TRAIN_ADAPTERS_H
#define TRAIN_ADAPTERS_H

#include "model/model.h"
#include "train/train.h"

/* Adds them, or takes those of the model. RW_USAGE: an option is given that would have no effect. */
rw_status adapters_prepare(const train_options *o, model *m, rw_error *err);

#endif
