/* endpoint.c - `eval --endpoint`: options, the key from the environment, what results.json says of the server. */
#include "cli/endpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

size_t cli_endpoint_options(opt *table, cli_endpoint *e) {
  endpoint_options *o = &e->o;
  const opt rows[CLI_ENDPOINT_ROWS] = {
      {"endpoint", 0, OPT_STRING, &o->url, "URL", "a server instead of a model; .../v1 is enough for chat", false},
      {"endpoint-kind", 0, OPT_STRING, &e->kind, "chat|reward", "a judge, or a reward model", false},
      {"endpoint-model", 0, OPT_STRING, &o->model, "NAME", "the model that requests name (default: none)", false},
      {"endpoint-format", 0, OPT_STRING, &e->format, "auto|nemotron|classify|pooling|score|sglang",
       "how a reward server speaks; auto: by the end of the URL's path", false},
      {"endpoint-params", 0, OPT_STRING, &o->params, "JSON",
       "members of each request, such as {\"max_tokens\": 4096}; null leaves one out (default: of chat, "
       "temperature 0 "
       "and max_tokens 2048)",
       false},
      {"endpoint-tokenizer", 0, OPT_STRING, &o->tokenizer, "DIR",
       "render here, by this model's template, and send token ids (default: the server renders)", false},
      {"api-key-env", 0, OPT_STRING, &e->key_env, "NAME", "the environment variable that holds the key", false},
      {"cache", 0, OPT_STRING, &o->cache, "FILE",
       "answers, kept as they come and not asked again (default: beside -o until the results are written)", false},
      {"concurrency", 0, OPT_INT, &o->concurrency, "N", "requests at a time", false},
      {"rate-limit", 0, OPT_NUMBER, &o->rate, "R", "requests a second (default: no limit)", false},
      {"retries", 0, OPT_INT, &o->retries, "N", "of a request, after 429, 5xx, timeouts and damaged replies",
       false},
      {"retry-wait", 0, OPT_NUMBER, &o->retry_wait, "S",
       "seconds before the first retry, doubled for each, with jitter; Retry-After is honoured", false},
      {"timeout", 0, OPT_NUMBER, &o->timeout, "S", "seconds that one request may take", false},
      {"total-timeout", 0, OPT_NUMBER, &o->total_timeout, "S", "seconds that all may take (default: no limit)",
       false}};
  memcpy(table, rows, sizeof rows);
  return CLI_ENDPOINT_ROWS;
}

/* The key, from the environment; -1 to go on, else the exit status. */
static int find_key(cli_endpoint *e) {
  const char *key = getenv(e->key_env);
  if (!key || !*key) {
    if (cli_given("api-key-env")) return cli_usage("--api-key-env: the variable %s is not set", e->key_env);
    return -1;
  }
  for (const char *c = key; *c; c++)
    if (*c <= 0x20 || *c >= 0x7f) return cli_usage("$%s: a blank or a character that no key has", e->key_env);
  const char *url = e->o.url;
  bool near = strncmp(url, "http://localhost", 16) == 0 || strncmp(url, "http://127.", 11) == 0 ||
              strncmp(url, "http://[::1]", 12) == 0;
  if (!near && strncmp(url, "http://", 7) == 0)
    log_warn(&cli_context, "the key in $%s goes unencrypted over http", e->key_env);
  e->o.key = key;
  return -1;
}

int cli_endpoint_check(cli_endpoint *e, const char *out) {
  endpoint_options *o = &e->o;
  if (!o->url) {
    opt rows[CLI_ENDPOINT_ROWS];
    for (size_t i = 1; i < cli_endpoint_options(rows, e); i++)
      if (cli_given(rows[i].name)) return cli_usage("--%s: expected --endpoint with it", rows[i].name);
    return -1;
  }
  if (!e->kind) return cli_usage("--endpoint: expected --endpoint-kind chat or reward with it");
  o->kind = strcmp(e->kind, "chat") == 0 ? ENDPOINT_CHAT : ENDPOINT_REWARD;
  while (strcmp(endpoint_format_name[o->format], e->format) != 0) o->format++;
  if (o->kind == ENDPOINT_CHAT && (o->format != ENDPOINT_AUTO || o->tokenizer))
    return cli_usage("--endpoint-format, --endpoint-tokenizer: only for --endpoint-kind reward");
  if (o->concurrency < 1 || o->concurrency > 1024) return cli_usage("--concurrency: expected 1 to 1024");
  if (o->retries < 0 || o->retries > 100) return cli_usage("--retries: expected 0 to 100");
  if (o->rate < 0 || o->total_timeout < 0 || o->retry_wait < 0)
    return cli_usage("--rate-limit, --total-timeout, --retry-wait: expected 0 or more");
  if (o->timeout <= 0 || o->timeout > 86400) return cli_usage("--timeout: expected seconds above 0");
  int status = find_key(e);
  if (status >= 0) return status;
  if (!o->cache && out && strcmp(out, "-") != 0 && !(o->cache = e->own_cache = mem_printf("%s.replies.jsonl", out)))
    return cli_usage("memory ran out");
  o->seed = (uint64_t)cli_opts.seed;
  o->context = &cli_context;
  return -1;
}

static void add_text(str *s, const char *before, const char *name, const char *value) {
  str_printf(s, "%s\"%s\": ", before, name);
  if (value)
    str_json(s, value, strlen(value));
  else
    str_addz(s, "null");
}

/* Never the key, nor the URL's query, which may hold one. */
static rw_status add_record(str *s, const cli_endpoint *e, const endpoint_counts *c, rw_error *err) {
  const endpoint_options *o = &e->o;
  char *url;
  endpoint_format format;
  RW_TRY(endpoint_resolve(o, &url, &format, err));
  char *shown = endpoint_shown(url);
  mem_free(url);
  if (!shown) return rw_nomem(err, "results");
  add_text(s, ", ", "model", o->model ? o->model : shown);
  add_text(s, ", \"endpoint\": {", "url", shown);
  mem_free(shown);
  add_text(s, ", ", "kind", e->kind);
  if (o->kind == ENDPOINT_CHAT)
    str_printf(s, ", \"prompt\": %d", JUDGE_PROMPT);
  else
    add_text(s, ", ", "format", endpoint_format_name[format]);
  add_text(s, ", ", "model", o->model);
  add_text(s, ", ", "tokenizer", o->tokenizer);
  str_printf(s, ", \"params\": %s, \"answers\": %zu, \"cached\": %zu, \"requests\": %zu, \"retried\": %zu, ",
             o->params ? o->params : "null", c->answers, c->cached, c->requests, c->retried);
  str_printf(s, "\"rate_limited\": %zu}", c->rate_limited);
  return RW_OK;
}

rw_status cli_endpoint_score(eval_scores *out, const eval_data *d, const cli_endpoint *e, str *record,
                             rw_error *err) {
  endpoint_counts c = {0};
  rw_status s = eval_scores_endpoint(out, &c, d, &e->o, err);
  if (c.retried) log_note(&cli_context, "%zu requests, %zu of them again after a failure", c.requests, c.retried);
  if ((s || out->unscored) && e->o.cache && c.answers + c.cached > 0)
    log_warn(&cli_context, "%zu answers are kept in %s; the same command goes on from there", c.answers + c.cached,
             e->o.cache);
  return s ? s : add_record(record, e, &c, err);
}

void cli_endpoint_done(cli_endpoint *e, bool written) {
  if (written && e->own_cache) unlink(e->own_cache);
  mem_free(e->own_cache);
}
