/* lines.h - files that a run appends to: metrics.jsonl, evals.jsonl, event files.
 *
 * What a full disk does not take waits in memory, in its order and to the byte, and goes out with what comes next:
 * a run does not end, and loses nothing, for a line. A checkpoint is saved only when nothing waits (lines_flush).
 */
#ifndef TRAIN_LINES_H
#define TRAIN_LINES_H

#include "base/file.h"
#include "base/log.h"

typedef struct lines lines; /* NULL: none; every function then does nothing */

/* Opens OUT/name (JSONL) for appending, after dropping the lines of steps above `step` (-1: all). */
rw_status lines_open(lines **l, const char *out, const char *name, int64_t step, rw_context *context,
                     rw_error *err);
/* The same of a new file, whatever it holds. */
rw_status lines_create(lines **l, const char *path, rw_context *context, rw_error *err);
/* Appends the bytes. What cannot be written waits, which is said once: RW_NOMEM alone is a failure. */
rw_status lines_add(lines *l, slice bytes, rw_error *err);
rw_status lines_flush(lines *l, rw_error *err); /* RW_IO: something still waits */
rw_status lines_close(lines *l, rw_error *err); /* as lines_flush; frees l in either case */

#endif
