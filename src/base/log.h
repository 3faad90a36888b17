/* log.h - what a run says while it works: warnings, notes and one progress line, all on stderr; and
 * the flag that a Ctrl-C sets.
 *
 * On a terminal a progress line is rewritten in place; otherwise a plain line comes every 10 seconds.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

void log_set_quiet(bool quiet);         /* no notes and no progress; warnings still come */
void log_set_command(const char *name); /* static string; messages begin "reward NAME: " */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* total 0: unknown. unit: "rows", "tokens", "steps". extra: appended text or NULL. */
typedef struct {
  const char *what, *unit;
  uint64_t total, done, from; /* from: done before this run, which says nothing about its rate */
  double share;               /* of the work that is done, where total is unknown; 0: unknown too */
  double started, shown;
} progress;
void progress_start(progress *p, const char *what, const char *unit, uint64_t total);
void progress_set(progress *p, uint64_t done, const char *extra);
void progress_end(progress *p); /* clears the line on a terminal */

double log_seconds(void); /* monotonic clock */

/* Set by the program's signal handler; the library's long loops look at it between rows or steps. */
void log_interrupt(void); /* async-signal-safe */
bool log_interrupted(void);

#endif
