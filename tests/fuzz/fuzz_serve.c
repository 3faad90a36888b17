/* fuzz_serve.c - any bytes as a request's body, for every route that reads one: it is refused or answered, in JSON
 * both times. The first byte picks the route, the second how it is asked; the model is real, its scores are made
 * up.
 */
#include <string.h>

#include "format/json.h"
#include "fuzz_folder.h"
#include "serve/protocols.h"
#include "serve/server.h"

static serve_options options;
static server *srv;

#define X(name) name##_routes,
static const route *const protocols[] = {SERVE_PROTOCOLS(X)};
#undef X

static const route *route_of(unsigned pick) {
  const route *found[METRIC_ROUTES];
  unsigned n = 0;
  for (size_t p = 0; p < sizeof protocols / sizeof *protocols; p++)
    for (const route *r = protocols[p]; r->path; r++)
      if (r->read) found[n++] = r;
  return found[pick % n];
}

static void begin(void) {
  static rw_context context;
  static serve_model from = {.name = "rm"};
  static fuzz_links f; /* the server keeps its path */
  rw_error err;
  fuzz_links_make(&f, (const char *const[]){"config.json", "tests/data/model/llama/config.json",
                                            "model.safetensors", "tests/data/model/llama/model.safetensors",
                                            "tokenizer.json", "tests/data/tokenizer/digits/tokenizer.json",
                                            "tokenizer_config.json", "tests/data/template/tokenizer_config.json",
                                            "chat_template.jinja", "tests/data/template/chatml.jinja", NULL});
  from.dir = f.path;
  options = (serve_options){.models = &from, .n_models = 1, .max_queue = 1 << 20, .wait_ms = 0};
  options.score.context = &context;
  options.score.device = "cpu";
  context_init(&context, NULL, NULL);
  rw_status s = context_start(&context, 1, &err);
  if (!s) s = server_open(&srv, &context, &options, NULL, 0, &err);
  fuzz_links_remove(&f);
  if (!s) return;
  fprintf(stderr, "%s\n", err.text);
  abort();
}

/* One document, or one a line. */
static void check_json(const str *out, bool lines) {
  json_doc *d = json_new();
  rw_error err;
  if (!d || out->oom) abort();
  for (const char *at = out->p, *end = at + out->len; at < end;) {
    const char *eol = lines ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    if (!eol) eol = end;
    if (json_parse(d, at, (size_t)(eol - at), &err)) {
      fprintf(stderr, "%s: %.*s\n", err.text, (int)out->len, out->p);
      abort();
    }
    at = eol + 1;
  }
  json_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!srv) begin();
  if (size < 2) return 0;
  request q = {.route = route_of(data[0]),
               .doc = json_new(),
               .mem = arena_new(),
               .server = srv,
               .model = server_model(srv, (slice){0})};
  if (!q.doc || !q.mem) abort();
  if (data[1] & 1) q.key_arg = "reward";
  if (data[1] & 2) q.format_header = "number";
  q.lines = data[1] & 4;
  options.sigmoid = data[1] & 8;
  str_add(&q.body, (const char *)data + 2, size - 2);
  str out = {0};
  rw_error err;
  rw_status s = request_read(&q, &err);
  if (!s) s = hosted_render(q.model, &q, &options, &err);
  bool failed = false;
  for (size_t i = 0; !s && i < q.n; i++) {
    serve_item *it = &q.items[i];
    failed |= it->error != NULL;
    if (it->error && (it->status < 400 || it->status > 599)) abort();
    if (!it->error) it->score = (float)i - 1.5f;
  }
  if (!s && (!failed || q.route->partial)) {
    if (q.route->answer(&q, &out, &err)) abort();
    check_json(&out, q.lines);
  } else {
    json_writer w = {.out = &out};
    q.route->refuse(&w, 400, s ? err.text : "an item");
    check_json(&out, false);
  }
  str_free(&out);
  request_free(&q);
  return 0;
}
