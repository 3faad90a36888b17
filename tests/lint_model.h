/* lint_model.h - tells the analyzer of tests/lint.sh what it cannot see across files: a failure is never RW_OK. */
#include "base/status.h"
#define rw_fail(err, code, ...)   (rw_fail(err, code, __VA_ARGS__), (code))
#define rw_prefix(err, code, ...) (rw_prefix(err, code, __VA_ARGS__), (code))
#define rw_nomem(err, what)       (rw_nomem(err, what), RW_NOMEM)
