/* http.h - many POST requests to one URL: in parallel, paced, retried. */
#ifndef EVAL_HTTP_H
#define EVAL_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/context.h"
#include "base/mem.h"
#include "base/status.h"

typedef struct {
  const char *url, *key; /* key NULL: none */
  int64_t concurrency, retries;
  double rate, timeout, total_timeout, retry_wait; /* as in endpoint.h */
  uint64_t seed;
  rw_context *context;
} http_options;

typedef struct {
  void *ctx;
  /* The next request: its number and its body (empty when called). RW_OK with *more false: there is none. */
  rw_status (*next)(void *ctx, bool *more, size_t *id, str *body, rw_error *err);
  /* A reply with a 2xx status. RW_DATA: it is damaged, ask again; any other failure ends the run. */
  rw_status (*reply)(void *ctx, size_t id, slice body, rw_error *err);
  /* A request that failed for good. */
  rw_status (*failed)(void *ctx, size_t id, const char *why, rw_error *err);
} http_job;

typedef struct {
  size_t requests, retried, rate_limited;
} http_counts;

/* Runs the job. A refusal that every request would meet (401, 404, …) and many failures in a row end it. */
rw_status http_run(const http_options *o, const http_job *job, http_counts *counts, rw_error *err);

#endif
