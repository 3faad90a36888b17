/* calibration.h - reward.json of a finished run and of the checkpoints that it keeps. */
#ifndef TRAIN_CALIBRATION_H
#define TRAIN_CALIBRATION_H

#include "train/checkpoint.h"
#include "train/dataset.h"

/* Removes an earlier reward.json of OUT, before other weights come beside it. */
rw_status calibration_drop(const char *out, rw_error *err);
/* Opens the checkpoint that was just written to dir (OUT, or one below it) and records the scores of a few training
 * rows by it, and the mean and standard deviation of the rewards: on the first --eval at the step whose weights
 * were kept; where none was made there, on the training batches of the last quarter of the steps so far. */
rw_status calibration_write(const train_options *o, const char *dir, const dataset *d, const train_state *state,
                            rw_error *err);

#endif
