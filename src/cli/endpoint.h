/* endpoint.h - options and steps of `eval --endpoint`. */
#ifndef CLI_ENDPOINT_H
#define CLI_ENDPOINT_H

#include "cli/cli.h"
#include "eval/endpoint.h"

typedef struct {
  endpoint_options o; /* url NULL: no endpoint */
  const char *kind, *format, *key_env;
  char *own_cache; /* beside -o when the user named none: removed when the results are written */
} cli_endpoint;
#define CLI_ENDPOINT_DEFAULT                                                                  \
  {                                                                                           \
    .o = {.concurrency = 8, .retries = 6, .retry_wait = 1, .timeout = 300}, .format = "auto", \
    .key_env = "OPENAI_API_KEY"                                                               \
  }

/* Adds this part's rows to a table of options; returns how many. */
enum { CLI_ENDPOINT_ROWS = 14 };
size_t cli_endpoint_options(opt *table, cli_endpoint *e);
/* Checks and completes the options; out: -o, or NULL. -1 to go on, else the exit status. */
int cli_endpoint_check(cli_endpoint *e, const char *out);
/* Asks the server. *record gets members for results.json: what was asked. */
rw_status cli_endpoint_score(eval_scores *out, const eval_data *d, const cli_endpoint *e, str *record,
                             rw_error *err);
/* Ends what check began. written: the results are, so the answers kept beside them go. */
void cli_endpoint_done(cli_endpoint *e, bool written);

#endif
