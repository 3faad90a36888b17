/* status.h - how every function of the library reports failure.
 *
 * A function that can fail returns rw_status (0 is success) and takes an rw_error * as its last
 * parameter; on failure it fills that error once, at the place that knows file, line or tensor.
 * The caller passes the status up unchanged. Nothing in the library prints or exits.
 * err may be NULL: the status alone is then returned. Both types are of the public header.
 */
#ifndef BASE_STATUS_H
#define BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

#include "reward.h"

/* An option's field within a message: rw_fail(err, RW_USAGE, FIELD(max_length) ": expected …"). Whoever shows the
 * message first spells its fields: as max_length, or with `options` as --max-length, which the program's user
 * knows. Returns the text's new length, which is never more than the old. */
#define FIELD(name) "\1" #name "\2"
size_t field_spell(char *text, bool options);

/* Fills *err (when not NULL) and returns code, so that `return rw_fail(...)` is the usual form. */
rw_status rw_fail(rw_error *err, rw_status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "prefix: " before the text already in *err; for callers that know the file or row. */
rw_status rw_prefix(rw_error *err, rw_status code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The failure of an allocation of `what`. */
rw_status rw_nomem(rw_error *err, const char *what);

#define RW_TRY(expr)                         \
  do {                                       \
    rw_status rw_try_status = (expr);        \
    if (rw_try_status) return rw_try_status; \
  } while (0)

#endif
