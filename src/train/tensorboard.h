/* tensorboard.h - the run's scalars as TensorBoard event files, in OUT/tensorboard/.
 *
 * An event file is a sequence of TFRecords (length, masked CRC-32C of it, bytes, masked CRC-32C of them), each an
 * Event message of tensorflow/core/util/event.proto. Of that we write wall_time, step, file_version,
 * session_log.status and summary.value{tag, simple_value}. Each sitting of a run writes a file of its own, which
 * begins with a session start: TensorBoard then drops what an earlier sitting wrote of later steps.
 */
#ifndef TRAIN_TENSORBOARD_H
#define TRAIN_TENSORBOARD_H

#include "eval/eval.h"
#include "train/record.h"

typedef struct tensorboard tensorboard; /* NULL: off; every function then does nothing */

/* step: updates done already; 0: earlier files of the folder are removed. */
rw_status tensorboard_open(tensorboard **out, const char *run_dir, int64_t step, rw_context *context,
                           rw_error *err);
/* Reports a failed last write; NULL is fine. */
rw_status tensorboard_close(tensorboard *t, rw_error *err);
rw_status tensorboard_flush(tensorboard *t, rw_error *err); /* as lines_flush */
/* One update: train/..., and sources/NAME/... where rows have sources. */
rw_status tensorboard_step(tensorboard *t, const step_metrics *m, const dataset *d, rw_error *err);
/* One evaluation: eval/SPEC/overall, .../section/..., .../subset/... */
rw_status tensorboard_eval(tensorboard *t, int64_t step, const char *spec, const eval_result *r, rw_error *err);

#endif
