/* cmd_serve.c - `reward serve`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "serve/serve.h"

static const char USAGE[] = "serve --model [NAME=]DIR [options]";
static const char ABOUT[] =
    "Serves reward models over HTTP, in the protocols of RL trainers and model servers on one address\n"
    "(docs/serving.md). The scores are those of `reward score`, bit for bit, whatever else is on its way. The\n"
    "first line on stdout is the URL, once requests are answered. SIGTERM and Ctrl-C: no new requests, those\n"
    "begun are answered, exit status 0. SIGHUP opens the models anew.";
static const char EXAMPLES[] =
    "  reward serve --model rm\n"
    "  reward serve --model rm --listen 127.0.0.1:0 --wait-ms 0\n"
    "  reward serve --model a=rm-8b --model b=rm-27b --listen unix:/run/reward.sock\n"
    "  REWARD_KEY=secret reward serve --model rm --listen 0.0.0.0:8000 --api-key-env REWARD_KEY\n";

static volatile int hangups;
static void on_hangup(int number) {
  (void)number;
  hangups++;
}

static void say_ready(void *ctx, const char *url) {
  (void)ctx;
  puts(url);
  fflush(stdout);
}

int cmd_serve_run(int argc, char **argv) {
  serve_options o;
  serve_defaults(&o);
  cli_list words = {0}, models = {0};
  const char *over = "error", *activation = "none", *key_env = NULL;
  const opt table[] = {
      {"model", 'm', OPT_LIST, &models, "[NAME=]DIR", "a reward model; may be repeated; the first is the default",
       true},
      {"listen", 0, OPT_STRING, &o.listen, "ADDR:PORT|unix:PATH", "where; port 0: a free one", false},
      {"api-key-env", 0, OPT_STRING, &key_env, "NAME",
       "environment variable with the key that requests must bear (default: none is asked for)", false},
      {"tls-cert", 0, OPT_STRING, &o.tls_cert, "FILE", "certificate, PEM: HTTPS (default: HTTP)", false},
      {"tls-key", 0, OPT_STRING, &o.tls_key, "FILE", "its key, PEM (default: none)", false},
      {"activation", 0, OPT_STRING, &activation, "none|sigmoid", "where a request leaves it open", false},
      {"max-queue", 0, OPT_INT, &o.max_queue, "N", "tokens that may wait; beyond: 429 with Retry-After", false},
      {"max-body", 0, OPT_INT, &o.max_body, "BYTES", "of a request; beyond: 413", false},
      {"max-connections", 0, OPT_INT, &o.max_connections, "N", "open at once", false},
      {"deadline", 0, OPT_NUMBER, &o.deadline, "S", "seconds that a request may wait; beyond: 503; 0: any", false},
      {"wait-ms", 0, OPT_NUMBER, &o.wait_ms, "MS", "an idle model waits so long for more requests", false},
      {"batch-tokens", 0, OPT_INT, &o.score.batch_tokens, "N",
       "tokens of one forward pass; no score depends on it (default: 4096)", false},
      {"max-length", 0, OPT_INT, &o.score.max_length, "N",
       "tokens a conversation may have (default: the model's limit)", false},
      {"overlong", 0, OPT_STRING, &over, "error|truncate|drop", "what to do with a longer conversation", false},
      {"query-template", 0, OPT_STRING, &o.query_template, "DIR",
       "tokenizer of the policy whose template rendered texts are in: they are read back to messages and rendered "
       "by the model's own (default: texts are scored as they stand)",
       false},
      {"chat-template", 0, OPT_STRING, &o.score.chat_template, "FILE",
       "instead of the model's own (default: its own)", false},
      {"date", 0, OPT_STRING, &o.score.date, "YYYY-MM-DD", "what strftime_now returns (default: 2024-07-26)",
       false},
      {"no-golden-check", 0, OPT_FLAG, &o.score.no_golden_check, NULL,
       "go on although the model does not give the scores recorded in its reward.json", false},
      {"access-log", 0, OPT_STRING, &o.access_log, "FILE",
       "a JSON line a request, without texts; -: stderr (default: none)", false},
      {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status = cli_parse(argc, argv, table, &words, 0, USAGE, ABOUT, EXAMPLES);
  if (status >= 0) return status;
  if (models.n == 0) return cli_usage("--model is needed");
  if (o.max_queue < 1 || o.max_body < 1 || o.max_connections < 1)
    return cli_usage("--max-queue, --max-body, --max-connections: expected 1 or more");
  if (o.deadline < 0 || o.wait_ms < 0) return cli_usage("--deadline, --wait-ms: expected 0 or more");
  if (o.score.batch_tokens < 0 || o.score.max_length < 0)
    return cli_usage("--batch-tokens, --max-length: expected 0 or more");
  if (key_env && !((o.api_key = getenv(key_env)) && *o.api_key))
    return cli_usage("--api-key-env: expected a key in the environment variable %s, got none", key_env);
  o.score.overlong = strcmp(over, "truncate") == 0 ? OVERLONG_TRUNCATE
                     : strcmp(over, "drop") == 0   ? OVERLONG_DROP
                                                   : OVERLONG_ERROR;
  o.sigmoid = strcmp(activation, "sigmoid") == 0;
  o.score.device = cli_opts.device;
  o.score.dtype = cli_opts.dtype;
  o.score.base = cli_opts.base;
  o.score.context = cli_threads();
  if (!o.score.context) return 1;
  rw_error err;
  rw_status s = RW_OK;
  serve_model *list = mem_zalloc(models.n, sizeof *list);
  if (!list) s = rw_nomem(&err, "the models");
  for (size_t i = 0; !s && i < models.n; i++) {
    const char *spec = models.items[i], *eq = strchr(spec, '=');
    bool named = eq && !strchr(spec, '/') ? true : eq && eq < strchr(spec, '/');
    list[i].dir = named ? eq + 1 : spec;
    if (named && !(list[i].name = cli_keep(spec, (size_t)(eq - spec)))) s = rw_nomem(&err, "the models");
    if (!s) s = cli_model_dir(&list[i].dir, &err);
  }
  o.models = list;
  o.n_models = models.n;
  o.ready = say_ready;
  o.reload = &hangups;
  struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
  sigaction(SIGHUP, &hangup, NULL);
  signal(SIGPIPE, SIG_IGN);
  if (!s) s = serve_run(&cli_context, &o, &err);
  mem_free(list);
  return s ? cli_fail(&err) : 0;
}
