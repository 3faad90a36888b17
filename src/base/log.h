/* log.h - what a run says while it works, through its context: warnings, notes, lines of progress; and whether it
 * was interrupted. A NULL context says nothing and is never interrupted.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/context.h"

void log_warn(rw_context *context, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void log_note(rw_context *context, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* total 0: unknown. unit: "rows", "tokens", "steps". extra: appended text or NULL. */
typedef struct {
  rw_context *context;
  const char *what, *unit;
  uint64_t total, done, from; /* from: done before this run, which says nothing about its rate */
  double share;               /* share of the work that is done, where total is unknown; 0: unknown too */
  double started, shown;
} progress;
void progress_start(progress *p, rw_context *context, const char *what, const char *unit, uint64_t total);
void progress_set(progress *p, uint64_t done, const char *extra);
void progress_end(progress *p);

/* Long loops look at the flag between rows or steps. */
void log_interrupt(rw_context *context); /* async-signal-safe */
bool log_interrupted(const rw_context *context);

#endif
