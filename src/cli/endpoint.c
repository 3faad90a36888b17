/* endpoint.c - `eval --endpoint`: options, the key from the environment, what results.json says of the server. */
#include "cli/endpoint.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const option_word kinds[] = {{"chat", ENDPOINT_CHAT}, {"reward", ENDPOINT_REWARD}, {NULL, 0}};
static const char SERVER[] = "Scoring by a server";

const option cli_endpoint_table[] = {
    {"endpoint", .kind = OPTION_TEXT, .field = offsetof(cli_endpoint, o.url), .value = "URL", .group = SERVER,
     .help = "a server instead of a model; .../v1 is enough for chat"},
    {"endpoint-kind", .kind = OPTION_CHOICE, .field = offsetof(cli_endpoint, kind), .words = kinds, .group = SERVER,
     .help = "a judge, or a reward model"},
    {"endpoint-model", .kind = OPTION_TEXT, .field = offsetof(cli_endpoint, o.model), .value = "NAME",
     .group = SERVER, .help = "the model that requests name (default: none)"},
    {"endpoint-format", .kind = OPTION_CHOICE, .field = offsetof(cli_endpoint, format),
     .words = endpoint_format_words, .initial = "auto", .group = SERVER,
     .help = "how a reward server speaks; auto: by the end of the URL's path"},
    {"endpoint-params", .kind = OPTION_TEXT, .field = offsetof(cli_endpoint, o.params), .value = "JSON",
     .group = SERVER,
     .help = "members of each request, such as {\"max_tokens\": 4096}; null leaves one out (default: of chat, "
             "temperature 0 and max_tokens 2048)"},
    {"endpoint-tokenizer", .kind = OPTION_TEXT, .field = offsetof(cli_endpoint, o.tokenizer), .value = "DIR",
     .group = SERVER,
     .help = "render here, by this model's template, and send token ids (default: the server renders)"},
    {"api-key-env", .kind = OPTION_TEXT, .field = offsetof(cli_endpoint, key_env), .value = "NAME",
     .initial = "OPENAI_API_KEY", .group = SERVER, .help = "the environment variable that holds the key"},
    {"cache", .kind = OPTION_TEXT, .field = offsetof(cli_endpoint, o.cache), .value = "FILE", .group = SERVER,
     .help = "answers, kept as they come and not asked again (default: beside -o until the results are written)"},
    {"concurrency", .kind = OPTION_INT, .field = offsetof(cli_endpoint, o.concurrency), .value = "N",
     .initial = "8", .range = OPTION_BETWEEN(1, 1024), .group = SERVER, .help = "requests at a time"},
    {"rate-limit", .kind = OPTION_NUMBER, .field = offsetof(cli_endpoint, o.rate), .value = "R",
     .range = OPTION_AT_LEAST(0), .group = SERVER, .help = "requests a second (default: no limit)"},
    {"retries", .kind = OPTION_INT, .field = offsetof(cli_endpoint, o.retries), .value = "N", .initial = "6",
     .range = OPTION_BETWEEN(0, 100), .group = SERVER,
     .help = "of a request, after 429, 5xx, timeouts and damaged replies"},
    {"retry-wait", .kind = OPTION_NUMBER, .field = offsetof(cli_endpoint, o.retry_wait), .value = "S",
     .initial = "1", .range = OPTION_AT_LEAST(0), .group = SERVER,
     .help = "seconds before the first retry, doubled for each, with jitter; Retry-After is honoured"},
    {"timeout", .kind = OPTION_NUMBER, .field = offsetof(cli_endpoint, o.timeout), .value = "S", .initial = "300",
     .range = {"seconds above 0, at most 86400", 0, 86400, true, false}, .group = SERVER,
     .help = "seconds that one request may take"},
    {"total-timeout", .kind = OPTION_NUMBER, .field = offsetof(cli_endpoint, o.total_timeout), .value = "S",
     .range = OPTION_AT_LEAST(0), .group = SERVER, .help = "seconds that all may take (default: no limit)"},
    {.name = NULL}};

/* The proxy that libcurl would send a plain request to the host through; NULL: none. */
static const char *plain_proxy(const char *url) {
  static const char *const names[] = {"http_proxy", "all_proxy", "ALL_PROXY"}, *const except[] = {"no_proxy",
                                                                                                  "NO_PROXY"};
  size_t host = strcspn(url + 7, ":/?#"); /* behind http:// */
  for (size_t i = 0; i < 2; i++) {
    const char *list = getenv(except[i]);
    if (list && (strcmp(list, "*") == 0 || (host && memmem(list, strlen(list), url + 7, host)))) return NULL;
  }
  for (size_t i = 0; i < 3; i++) {
    const char *proxy = getenv(names[i]);
    if (proxy && *proxy) return proxy;
  }
  return NULL;
}

/* Does the name of a member say that it holds a key? */
static bool names_secret(slice name) {
  static const char *const parts[] = {"key",           "secret",     "password", "passwd",
                                      "authorization", "credential", "cookie"};
  str low = {0};
  str_add_lower(&low, name.p, name.len);
  bool is = low.oom || (low.len >= 5 && strcmp(low.p + low.len - 5, "token") == 0);
  for (size_t i = 0; low.p && !is && i < sizeof parts / sizeof *parts; i++) is = strstr(low.p, parts[i]) != NULL;
  str_free(&low);
  return is;
}

/* The first member of the parameters, at any depth, that holds a key, by its name or as the value `key` (NULL:
 * none); p NULL: none does. */
static slice find_secret(json_doc *d, json_val v, const char *key) {
  slice found = {0};
  for (json_val m = json_first(d, v); m != JSON_NONE && !found.p; m = json_next(d, m)) {
    slice name = json_kind(d, v) == JSON_OBJECT ? json_key(d, m) : SLICE("a list's item"), text = json_string(d, m);
    bool holds = key && text.p && memmem(text.p, text.len, key, strlen(key));
    if (holds || (text.len && json_kind(d, v) == JSON_OBJECT && names_secret(name)))
      found = name;
    else
      found = find_secret(d, m, key);
  }
  return found;
}

/* Parameters that are no JSON are refused later. */
static int check_params(const cli *c, cli_endpoint *e) {
  json_doc *d = e->o.params ? json_new() : NULL;
  if (e->o.params && !d) return cli_nomem(c);
  if (d && !json_parse(d, e->o.params, strlen(e->o.params), NULL)) {
    slice name = find_secret(d, 0, e->o.key);
    e->secret_params = name.p != NULL;
    if (name.p)
      log_warn(
          c->context,
          "--endpoint-params: \"%.*s\" looks like a key: the results will not record the parameters; a key belongs "
          "into a variable (--api-key-env), where no list of processes shows it",
          (int)name.len, name.p);
  }
  json_free(d);
  return -1;
}

/* The key, from the environment; -1 to go on, else the exit status. */
static int find_key(const cli *c, cli_endpoint *e) {
  const char *key = getenv(e->key_env);
  if (!key || !*key) {
    if (cli_given(c, "api-key-env")) return cli_usage(c, "--api-key-env: the variable %s is not set", e->key_env);
    return -1;
  }
  for (const char *k = key; *k; k++)
    if (*k <= 0x20 || *k >= 0x7f) return cli_usage(c, "$%s: a blank or a character that no key has", e->key_env);
  const char *url = e->o.url;
  bool near = strncmp(url, "http://localhost", 16) == 0 || strncmp(url, "http://127.", 11) == 0 ||
              strncmp(url, "http://[::1]", 12) == 0;
  const char *proxy = strncmp(url, "http://", 7) == 0 ? plain_proxy(url) : NULL;
  const char *at = proxy ? strrchr(proxy, '@') : NULL; /* the proxy's own user and password are not shown */
  if (proxy)
    log_warn(c->context, "the key in $%s goes unencrypted over http to the proxy %s; no_proxy keeps a host from it",
             e->key_env, at ? at + 1 : proxy);
  else if (!near && strncmp(url, "http://", 7) == 0)
    log_warn(c->context, "the key in $%s goes unencrypted over http", e->key_env);
  e->o.key = key;
  return -1;
}

int cli_endpoint_check(const cli *c, cli_endpoint *e, const char *out) {
  endpoint_options *o = &e->o;
  if (!o->url) {
    for (const option *row = cli_endpoint_table + 1; row->name; row++)
      if (cli_given(c, row->name)) return cli_usage(c, "--%s: expected --endpoint with it", row->name);
    return -1;
  }
  if (e->kind < 0) return cli_usage(c, "--endpoint: expected --endpoint-kind chat or reward with it");
  o->kind = (endpoint_kind)e->kind;
  o->format = (endpoint_format)e->format;
  if (o->kind == ENDPOINT_CHAT && (o->format != ENDPOINT_AUTO || o->tokenizer))
    return cli_usage(c, "--endpoint-format, --endpoint-tokenizer: only for --endpoint-kind reward");
  int status = find_key(c, e);
  if (status < 0) status = check_params(c, e);
  if (status >= 0) return status;
  if (!o->cache && out && strcmp(out, "-") != 0 && !(o->cache = e->own_cache = mem_printf("%s.replies.jsonl", out)))
    return cli_nomem(c);
  o->seed = (uint64_t)c->common.seed;
  o->context = c->context;
  return -1;
}

/* Never the key, nor the URL's query, which may hold one. */
static rw_status add_record(json_writer *w, const cli_endpoint *e, const endpoint_counts *c, rw_error *err) {
  const endpoint_options *o = &e->o;
  char *url;
  endpoint_format format;
  RW_TRY(endpoint_resolve(o, &url, &format, err));
  char *shown = endpoint_shown(url);
  mem_free(url);
  if (!shown) return rw_nomem(err, "results");
  jw_string(w, "model", o->model ? o->model : shown);
  jw_object(w, "endpoint");
  jw_string(w, "url", shown);
  mem_free(shown);
  jw_string(w, "kind", kinds[o->kind].text);
  if (o->kind == ENDPOINT_CHAT)
    jw_int(w, "prompt", JUDGE_PROMPT);
  else
    jw_string(w, "format", endpoint_format_words[format].text);
  jw_string(w, "model", o->model);
  jw_string(w, "tokenizer", o->tokenizer);
  jw_raw(w, "params", slice_of(e->secret_params ? "\"not recorded\"" : o->params ? o->params : "null"));
  jw_uint(w, "answers", c->answers);
  jw_uint(w, "cached", c->cached);
  jw_uint(w, "requests", c->requests);
  jw_uint(w, "retried", c->retried);
  jw_uint(w, "rate_limited", c->rate_limited);
  jw_end(w);
  return RW_OK;
}

rw_status cli_endpoint_score(const cli *c, eval_scores *out, const eval_data *d, const cli_endpoint *e,
                             json_writer *record, rw_error *err) {
  endpoint_counts n = {0};
  rw_status s = eval_scores_endpoint(out, &n, d, &e->o, err);
  if (n.retried) log_note(c->context, "%zu requests, %zu of them again after a failure", n.requests, n.retried);
  if ((s || out->unscored) && e->o.cache && n.answers + n.cached > 0)
    log_warn(c->context, "%zu answers are kept in %s; the same command goes on from there", n.answers + n.cached,
             e->o.cache);
  return s ? s : add_record(record, e, &n, err);
}

void cli_endpoint_done(cli_endpoint *e, bool written) {
  if (written && e->own_cache) unlink(e->own_cache);
  mem_free(e->own_cache);
}
