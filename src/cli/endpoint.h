/* endpoint.h - options and steps of `eval --endpoint`. */
#ifndef CLI_ENDPOINT_H
#define CLI_ENDPOINT_H

#include "cli/cli.h"
#include "eval/endpoint.h"

typedef struct {
  endpoint_options o; /* url NULL: no endpoint */
  int kind, format;   /* kind -1: not said */
  const char *key_env;
  bool secret_params; /* the parameters hold a key: they are not recorded */
  char *own_cache;    /* beside -o when the user named none: removed when the results are written */
} cli_endpoint;
extern const option cli_endpoint_table[]; /* fills a cli_endpoint; the first row is --endpoint itself */

/* Checks and completes the options; out: -o, or NULL. -1 to go on, else the exit status. */
int cli_endpoint_check(const cli *c, cli_endpoint *e, const char *out);
/* Asks the server. *record gets members for results.json: what was asked. */
rw_status cli_endpoint_score(const cli *c, eval_scores *out, const eval_data *d, const cli_endpoint *e,
                             json_writer *record, rw_error *err);
/* Ends what check began. written: the results are, so the answers kept beside them go. */
void cli_endpoint_done(cli_endpoint *e, bool written);

#endif
