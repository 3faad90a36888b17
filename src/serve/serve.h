/* serve.h - `reward serve`: reward models behind HTTP, in the protocols that RL frameworks and tools already speak.
 *
 * A request's conversations are rendered on the connection's thread, wait in their model's queue together with all
 * others, and are scored as one forest (queue.c). Scores are those of `reward score`, bit for bit, whatever else is
 * on its way. protocols.h lists the protocols, a file each.
 */
#ifndef SERVE_SERVE_H
#define SERVE_SERVE_H

#include "model/score.h"

typedef struct {
  const char *name; /* in requests; NULL: the directory's own name */
  const char *dir;
} serve_model;

typedef struct {
  const serve_model *models;
  size_t n_models;
  score_options score;            /* for every model: device, dtype, max_length, overlong, chat_template, ... */
  const char *listen;             /* "ADDR:PORT", "[V6]:PORT", "unix:PATH" */
  const char *api_key;            /* NULL: none is asked for */
  const char *tls_cert, *tls_key; /* PEM files; both or none */
  const char *access_log;         /* a file that lines are added to; "-": stderr; NULL: none */
  const char *query_template;     /* directory of the policy's tokenizer (policy.h); NULL: none */
  bool sigmoid;                   /* the activation of a request that names none */
  int64_t max_queue;              /* tokens that may wait */
  int64_t max_body;               /* bytes of a request */
  int64_t max_connections;
  double client_timeout;    /* seconds that a client may be late (client.h); 0: any */
  double deadline;          /* seconds from a request's end to its answer; 0: none */
  double wait_ms;           /* an idle model waits so long for more */
  int64_t prefix_cache_mib; /* 0: none; less: the default (model_keep_prefixes) */
  /* Once requests are answered: the URL, on one line. */
  void (*ready)(void *ctx, const char *url);
  void *ready_ctx;
  /* Set by the caller's handler of SIGHUP: the models are to be opened anew. */
  const volatile int *reload;
} serve_options;

/* Serves until the context is interrupted; then answers what has begun and returns RW_OK. */
rw_status serve_run(rw_context *context, const serve_options *o, rw_error *err);

#endif
