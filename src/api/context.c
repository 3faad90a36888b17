/* context.c - rw_context of reward.h, errors, and what calls begin and end with. */
#include <stdlib.h>

#include "api/call.h"
#include "base/log.h"
#include "base/mem.h"

const char *rw_error_text(const rw_error *err) { return err ? err->text : ""; }
const char *rw_version(void) { return REWARD_VERSION; }
void rw_free(void *p) { mem_free(p); }

rw_status rw_context_new(rw_context **out, int threads, rw_log_fn log, void *user, rw_error *err) {
  *out = NULL;
  if (threads < 0 || threads > 1024)
    return rw_fail(err, RW_USAGE, "threads: expected 0 (all cores) to 1024, got %d", threads);
  rw_context *context = mem_zalloc(1, sizeof *context);
  if (!context) return rw_nomem(err, "context");
  context_init(context, log, user);
  rw_status s = context_start(context, threads, err);
  if (s) {
    if (err) field_spell(err->text, false);
    rw_context_free(context);
  } else {
    *out = context;
  }
  return s;
}

void rw_context_free(rw_context *context) {
  if (!context) return;
  context_end(context);
  mem_free(context);
}

void rw_context_interrupt(rw_context *context) { log_interrupt(context); }
void rw_context_resume(rw_context *context) { atomic_store(&context->interrupted, false); }

rw_status rw_context_set_max_row_bytes(rw_context *context, size_t bytes, rw_error *err) {
  if (bytes > (size_t)1 << 30)
    return rw_fail(err, RW_USAGE, "max_row_bytes: expected 0 to 1073741824, got %zu", bytes);
  context->max_row_bytes = bytes;
  return RW_OK;
}

rw_status call_begin(call *c, rw_context *given, rw_error *err) {
  *c = (call){.context = given, .err = err ? err : &c->unwanted};
  if (given && log_interrupted(given)) return rw_fail(c->err, RW_INTERRUPTED, "interrupted");
  if (!given) RW_TRY(rw_context_new(&c->own, 0, NULL, NULL, c->err));
  if (!given) c->context = c->own;
  c->err->code = RW_OK;
  c->err->text[0] = 0;
  c->before = uselocale(pool_locale(c->context->threads));
  return RW_OK;
}

rw_status call_end(call *c, rw_status status) {
  if (status) field_spell(c->err->text, false);
  uselocale(c->before);
  rw_context_free(c->own);
  return status;
}
