/* context.c - the life of a context. */
#include "base/context.h"

enum { PROGRESS_SECONDS = 10 };

void context_init(rw_context *context, rw_log_fn log, void *user) {
  context->threads = NULL;
  context->log = log;
  context->user = user;
  context->progress_seconds = PROGRESS_SECONDS;
  pthread_mutex_init(&context->saying, NULL);
  atomic_init(&context->interrupted, false);
  context->max_row_bytes = 0;
  context->map = NULL;
  context->options = false;
  context->alone = comm_alone();
  context->ranks = &context->alone;
}

rw_status context_start(rw_context *context, int threads, rw_error *err) {
  return context->threads ? RW_OK : pool_new(&context->threads, threads > 0 ? threads : context->ranks->cores, err);
}

void context_end(rw_context *context) {
  pool_free(context->threads);
  context->threads = NULL;
  pthread_mutex_destroy(&context->saying);
}

size_t context_spell(const rw_context *context, char *text) {
  return field_spell(text, context && context->options);
}
