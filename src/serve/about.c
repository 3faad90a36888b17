/* about.c - what a server tells of itself: models, health, versions, figures. */
#include "serve/protocols.h"
#include "serve/server.h"

enum { MOST = 32 };

static void write_model(json_writer *w, const request *q, hosted *m) {
  const scorer *s = hosted_scorer(m);
  const char *const *names;
  size_t n = scorer_attributes(s, &names);
  jw_object(w, NULL);
  jw_string(w, "id", hosted_name(m));
  jw_string(w, "object", "model");
  jw_int(w, "created", (int64_t)server_started(q->server));
  jw_string(w, "owned_by", "reward.c");
  jw_int(w, "max_model_len", scorer_max_length(s));
  jw_string(w, "device", scorer_device(s));
  jw_string(w, "dtype", scorer_dtype(s));
  if (n) {
    jw_array(w, "attributes");
    for (size_t i = 0; i < n; i++) jw_string(w, NULL, names[i]);
    jw_end(w);
  }
  jw_end(w);
}

static rw_status models_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  hosted *m[MOST];
  size_t n = server_models(q->server, m, MOST);
  (void)err;
  jw_object(&w, NULL);
  jw_string(&w, "object", "list");
  jw_array(&w, "data");
  for (size_t i = 0; i < n; i++) {
    write_model(&w, q, m[i]);
    hosted_release(m[i]);
  }
  jw_end(&w);
  jw_end(&w);
  return RW_OK;
}

static rw_status model_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  if (!q->rest) return rw_nomem(err, "an answer");
  hosted *m = server_model(q->server, slice_of(q->rest));
  if (!m)
    return request_refuse(q, 404, err, "model: '%.200s' is not served here; GET /v1/models names what is", q->rest);
  write_model(&w, q, m);
  hosted_release(m);
  return RW_OK;
}

/* TEI's fields, those that there are. */
static rw_status info_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  const serve_options *o = server_options(q->server);
  const scorer *s = hosted_scorer(q->model);
  (void)err;
  jw_object(&w, NULL);
  jw_string(&w, "model_id", request_model_name(q));
  jw_null(&w, "model_sha");
  jw_string(&w, "model_dtype", scorer_dtype(s));
  jw_string(&w, "served_model_name", request_model_name(q));
  jw_object(&w, "model_type");
  jw_object(&w, "classifier");
  jw_object(&w, "id2label");
  jw_string(&w, "0", "LABEL_0");
  jw_end(&w);
  jw_object(&w, "label2id");
  jw_int(&w, "LABEL_0", 0);
  jw_end(&w);
  jw_end(&w);
  jw_end(&w);
  jw_int(&w, "max_input_length", scorer_max_length(s));
  jw_int(&w, "max_batch_tokens", scorer_batch_tokens(s));
  jw_int(&w, "max_concurrent_requests", o->max_connections);
  jw_int(&w, "max_client_batch_size", REQUEST_MOST_ITEMS);
  jw_bool(&w, "auto_truncate", o->score.overlong == OVERLONG_TRUNCATE);
  jw_string(&w, "version", REWARD_VERSION);
  jw_string(&w, "program", "reward.c");
  jw_end(&w);
  return RW_OK;
}

/* SGLang's of a model and of a server: what routers before its and vLLM's servers ask for when they start. */
static rw_status sglang_info_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  jw_object(&w, NULL);
  jw_string(&w, "model_path", request_model_name(q));
  jw_string(&w, "served_model_name", request_model_name(q));
  jw_string(&w, "tokenizer_path", request_model_name(q));
  jw_bool(&w, "is_generation", false);
  jw_bool(&w, "is_embedding", true);
  jw_string(&w, "version", REWARD_VERSION);
  jw_end(&w);
  return RW_OK;
}

/* By which routers choose the server with the least to do: /load is vLLM's, /get_load SGLang's. */
static rw_status load_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  jw_object(&w, NULL);
  jw_int(&w, "server_load", server_meter(q->server)->requests - 1); /* beside this one */
  jw_end(&w);
  return RW_OK;
}

static rw_status sglang_load_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  hosted *m[MOST];
  queue_figures f, all = {0};
  (void)err;
  for (size_t i = server_models(q->server, m, MOST); i-- > 0; hosted_release(m[i])) {
    queue_look(hosted_queue(m[i]), &f);
    all.waiting_items += f.waiting_items;
    all.waiting_tokens += f.waiting_tokens;
  }
  jw_array(&w, NULL);
  jw_object(&w, NULL);
  jw_int(&w, "dp_rank", 0);
  jw_int(&w, "num_reqs", server_meter(q->server)->requests - 1);
  jw_uint(&w, "num_waiting_reqs", all.waiting_items);
  jw_uint(&w, "num_tokens", all.waiting_tokens);
  jw_end(&w);
  jw_end(&w);
  return RW_OK;
}

static rw_status health_answer(request *q, str *out, rw_error *err) {
  if (server_draining(q->server)) return request_refuse(q, 503, err, "the server is ending");
  str_addz(out, "{\"status\": \"ready\"}");
  return RW_OK;
}

static rw_status version_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)q;
  (void)err;
  jw_object(&w, NULL);
  jw_string(&w, "version", REWARD_VERSION);
  jw_string(&w, "program", "reward.c");
  jw_end(&w);
  return RW_OK;
}

static rw_status metrics_answer_text(request *q, str *out, rw_error *err) {
  static const struct {
    const char *name, *type, *help;
  } heads[] = {{"reward_scored_items_total", "counter", "Conversations scored."},
               {"reward_scored_tokens_total", "counter", "Tokens of conversations scored, each counted whole."},
               {"reward_computed_tokens_total", "counter",
                "Tokens of passes: what conversations of a pass share counts once."},
               {"reward_prefix_asked_tokens_total", "counter", "Tokens looked up in the prefix cache."},
               {"reward_prefix_found_tokens_total", "counter", "Tokens found there, and so not computed."},
               {"reward_prefix_evicted_blocks_total", "counter", "Blocks that made room for others."},
               {"reward_prefix_bytes", "gauge", "Memory that the prefix cache takes."},
               {"reward_passes_total", "counter", "Passes through the model."},
               {"reward_busy_seconds_total", "counter", "Seconds of passes."},
               {"reward_waiting_items", "gauge", "Conversations that wait."},
               {"reward_waiting_tokens", "gauge", "Tokens that wait."}};
  hosted *m[MOST];
  queue_figures f[MOST];
  size_t n = server_models(q->server, m, MOST);
  (void)err;
  for (size_t i = 0; i < n; i++) queue_look(hosted_queue(m[i]), &f[i]);
  meter_write(server_meter(q->server), out);
  for (size_t k = 0; k < sizeof heads / sizeof *heads; k++) {
    meter_head(out, heads[k].name, heads[k].type, heads[k].help);
    for (size_t i = 0; i < n; i++) {
      const prefix_figures *p = &f[i].prefixes;
      const double v[] = {(double)f[i].items,         (double)f[i].tokens,        (double)f[i].computed_tokens,
                          (double)p->asked_tokens,    (double)p->found_tokens,    (double)p->evicted_blocks,
                          (double)p->bytes,           (double)f[i].passes,        f[i].busy,
                          (double)f[i].waiting_items, (double)f[i].waiting_tokens};
      meter_value(out, heads[k].name, "model", hosted_name(m[i]), v[k]);
    }
  }
  for (size_t i = 0; i < n; i++) hosted_release(m[i]);
  return RW_OK;
}

#define GET(at, answers) \
  { .method = "GET", .path = at, .answer = answers, .refuse = refuse_as_openai }
#define HEALTH(methods, at) \
  { .method = methods, .path = at, .answer = health_answer, .refuse = refuse_as_openai, .open = true }
const route about_routes[] = {
    GET("/v1/models", models_answer),
    {.method = "GET", .path = "/v1/models/", .answer = model_answer, .refuse = refuse_as_openai, .rest = true},
    GET("/info", info_answer),
    GET("/get_model_info", sglang_info_answer),
    GET("/model_info", sglang_info_answer),
    GET("/get_server_info", sglang_info_answer),
    GET("/server_info", sglang_info_answer),
    GET("/load", load_answer),
    GET("/get_load", sglang_load_answer),
    HEALTH("GET", "/health"),
    HEALTH("GET", "/health_generate"),
    HEALTH("GET", "/ready"),
    HEALTH("GET|POST", "/ping"),
    {.method = "GET",
     .path = "/metrics",
     .answer = metrics_answer_text,
     .refuse = refuse_as_openai,
     .type = "text/plain; version=0.0.4; charset=utf-8"},
    GET("/version", version_answer),
    {0}};
