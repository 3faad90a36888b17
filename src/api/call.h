/* call.h - what every call of the public library begins and ends with: a context to work in, numbers read and
 * written as in the C locale whatever locale the program has, and an error that names fields.
 */
#ifndef API_CALL_H
#define API_CALL_H

#include <locale.h>

#include "base/context.h"

typedef struct {
  rw_context *context, *own; /* own: made for this call, ended with it */
  rw_error *err, unwanted;   /* err: to fill; unwanted where the caller has none */
  locale_t before;
} call;

/* given NULL: a context of the call's own. Where this fails the call is over: call_end must not follow. */
rw_status call_begin(call *c, rw_context *given, rw_error *err);
rw_status call_end(call *c, rw_status status); /* returns status */

#endif
