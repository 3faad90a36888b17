/* disk.h - a run and its disk: room is asked for before the first step and before each save, and what cannot be
 * written ends no run while steps would be lost.
 */
#ifndef TRAIN_DISK_H
#define TRAIN_DISK_H

#include "train/run.h"

/* Predicts what OUT will take at its fullest (t->disk: beside what checkpoints take there already). RW_IO: there is
 * less room than that, or a file may not be as large. */
rw_status disk_forecast(run *t, rw_error *err);

/* Saves a checkpoint. One that cannot be written is a warning, and training goes on to the next; where the run is
 * to stop (`stop`), it is tried again for a minute first, and then a failure. */
rw_status disk_save(run *t, rw_status (*save)(run *t, rw_error *err), bool stop, rw_error *err);

/* All ranks together: calls `again` until it gives something else than RW_IO: from time to time, saying so, until
 * the context is interrupted; one that was already, for a minute. */
rw_status disk_wait(rw_context *context, rw_status (*again)(void *ctx, rw_error *err), void *ctx, rw_error *err);
/* The same at the end of a run, with what stays in the message. */
rw_status disk_finish(run *t, rw_status (*publish)(void *ctx, rw_error *err), void *ctx, rw_error *err);

#endif
