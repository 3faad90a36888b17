/* cmd_serve.c - `reward serve`. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/scoring.h"
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

typedef struct {
  serve_options serve;
  option_list models;
  int overlong, sigmoid;
  const char *key_env;
} options;

static const option_word activations[] = {{"none", false}, {"sigmoid", true}, {NULL, 0}};
static const char LISTENING[] = "Listening", LIMITS[] = "Limits", SCORING[] = "Scoring";

static const option table[] = {
    {"model", 'm', .kind = OPTION_LIST, .many = true, .field = offsetof(options, models), .value = "[NAME=]DIR",
     .group = LISTENING, .help = "a reward model; may be repeated; the first is the default"},
    {"listen", .kind = OPTION_TEXT, .field = offsetof(options, serve.listen), .value = "ADDR:PORT|unix:PATH",
     .initial = "127.0.0.1:8000", .group = LISTENING, .help = "where; port 0: a free one"},
    {"api-key-env", .kind = OPTION_TEXT, .field = offsetof(options, key_env), .value = "NAME", .group = LISTENING,
     .help = "environment variable with the key that requests must bear (default: none is asked for)"},
    {"tls-cert", .kind = OPTION_TEXT, .field = offsetof(options, serve.tls_cert), .value = "FILE",
     .group = LISTENING, .help = "certificate, PEM: HTTPS (default: HTTP)"},
    {"tls-key", .kind = OPTION_TEXT, .field = offsetof(options, serve.tls_key), .value = "FILE", .group = LISTENING,
     .help = "its key, PEM (default: none)"},
    {"activation", .kind = OPTION_CHOICE, .field = offsetof(options, sigmoid), .words = activations,
     .initial = "none", .group = SCORING, .help = "where a request leaves it open"},
    {"max-queue", .kind = OPTION_INT, .field = offsetof(options, serve.max_queue), .value = "N",
     .initial = "1048576", .range = OPTION_COUNT_FROM(1), .group = LIMITS,
     .help = "tokens that may wait; beyond: 429 with Retry-After"},
    {"max-body", .kind = OPTION_INT, .field = offsetof(options, serve.max_body), .value = "BYTES",
     .initial = "67108864", .range = OPTION_AT_LEAST(1), .group = LIMITS, .help = "of a request; beyond: 413"},
    {"max-connections", .kind = OPTION_INT, .field = offsetof(options, serve.max_connections), .value = "N",
     .initial = "4096", .range = OPTION_COUNT_FROM(1), .group = LIMITS, .help = "open at once"},
    {"client-timeout", .kind = OPTION_NUMBER, .field = offsetof(options, serve.client_timeout), .value = "S",
     .initial = "30", .range = OPTION_AT_LEAST(0), .group = LIMITS,
     .help = "seconds for a request's headers, and that its body or answer may be behind 16 KiB a second; 0: any"},
    {"deadline", .kind = OPTION_NUMBER, .field = offsetof(options, serve.deadline), .value = "S", .initial = "120",
     .range = OPTION_AT_LEAST(0), .group = LIMITS, .help = "seconds that a request may wait; beyond: 503; 0: any"},
    {"wait-ms", .kind = OPTION_NUMBER, .field = offsetof(options, serve.wait_ms), .value = "MS", .initial = "2",
     .range = OPTION_AT_LEAST(0), .group = LIMITS, .help = "an idle model waits so long for more requests"},
    {"batch-tokens", .kind = OPTION_INT, .field = offsetof(options, serve.score.batch_tokens), .value = "N",
     .range = OPTION_COUNT_FROM(0), .group = SCORING,
     .help = "tokens of one forward pass; no score depends on it (default: 4096)"},
    {"prefix-cache", .kind = OPTION_INT, .field = offsetof(options, serve.prefix_cache_mib), .value = "MIB",
     .initial = "-1", .range = OPTION_COUNT_FROM(0), .group = SCORING,
     .help = "memory for keys and values of what conversations begin with, kept over requests; no score depends on "
             "it; 0: none (default: 256 on the CPU, 0 on a GPU)"},
    {"max-length", .kind = OPTION_INT, .field = offsetof(options, serve.score.max_length), .value = "N",
     .range = OPTION_COUNT_FROM(0), .group = SCORING,
     .help = "tokens a conversation may have (default: the model's limit)"},
    {"overlong", .kind = OPTION_CHOICE, .field = offsetof(options, overlong), .words = cli_overlongs,
     .initial = "error", .group = SCORING, .help = "what to do with a longer conversation"},
    {"query-template", .kind = OPTION_TEXT, .field = offsetof(options, serve.query_template), .value = "DIR",
     .group = SCORING,
     .help = "tokenizer of the policy whose template rendered texts are in: they are read back to messages and "
             "rendered by the model's own (default: texts are scored as they stand)"},
    {"head", .kind = OPTION_TEXT, .field = offsetof(options, serve.score.head), .value = "logit:ID",
     .group = SCORING,
     .help = "read the logit of token ID of the output matrix (Llama-3.1-Nemotron-70B-Reward: logit:0)"},
    {"chat-template", .kind = OPTION_TEXT, .field = offsetof(options, serve.score.chat_template), .value = "FILE",
     .group = SCORING, .help = "instead of the model's own (default: its own)"},
    {"date", .kind = OPTION_TEXT, .field = offsetof(options, serve.score.date), .value = "YYYY-MM-DD",
     .group = SCORING, .help = "what strftime_now returns (default: 2024-07-26)"},
    {"no-golden-check", .kind = OPTION_FLAG, .field = offsetof(options, serve.score.no_golden_check),
     .group = SCORING, .help = "go on although the model does not give the scores recorded in its reward.json"},
    {"access-log", .kind = OPTION_TEXT, .field = offsetof(options, serve.access_log), .value = "FILE",
     .group = LISTENING, .help = "a JSON line a request, without texts; -: stderr (default: none)"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  const options *given = values;
  serve_options o = given->serve;
  const option_list models = given->models;
  const char *key_env = given->key_env;
  if (models.n == 0) return cli_usage(c, "--model is needed");
  if (key_env && !((o.api_key = getenv(key_env)) && *o.api_key))
    return cli_usage(c, "--api-key-env: expected a key in the environment variable %s, got none", key_env);
  o.score.overlong = (overlong)given->overlong;
  o.sigmoid = given->sigmoid;
  o.score.device = c->common.device;
  o.score.dtype = c->common.dtype;
  o.score.base = c->common.base;
  o.score.context = cli_threads(c);
  if (!o.score.context) return 1;
  rw_error err;
  rw_status s = RW_OK;
  serve_model *list = mem_zalloc(models.n, sizeof *list);
  if (!list) s = rw_nomem(&err, "the models");
  for (size_t i = 0; !s && i < models.n; i++) {
    const char *spec = models.items[i], *eq = strchr(spec, '=');
    bool named = eq && !strchr(spec, '/') ? true : eq && eq < strchr(spec, '/');
    if (named && (eq == spec || !eq[1]))
      s = rw_fail(&err, RW_USAGE, FIELD(model) ": expected DIR or NAME=DIR, got '%s'", spec);
    list[i].dir = named ? eq + 1 : spec;
    if (!s && named && !(list[i].name = cli_keep(c, spec, (size_t)(eq - spec)))) s = rw_nomem(&err, "the models");
    if (!s) s = cli_model_dir(c, &list[i].dir, &err);
  }
  o.models = list;
  o.n_models = models.n;
  o.ready = say_ready;
  o.reload = &hangups;
  struct sigaction hangup = {.sa_handler = on_hangup, .sa_flags = SA_RESTART};
  sigaction(SIGHUP, &hangup, NULL);
  signal(SIGPIPE, SIG_IGN);
  if (!s) s = serve_run(c->context, &o, &err);
  mem_free(list);
  return s ? cli_fail(c, &err) : 0;
}

const cli_command cmd_serve = {.name = "serve",
                               .summary = "answer score requests over HTTP",
                               .usage = USAGE,
                               .about = ABOUT,
                               .examples = EXAMPLES,
                               .parts = {{table}},
                               .values = sizeof(options),
                               .common = CLI_MODEL,
                               .run = run_command};
