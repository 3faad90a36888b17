/* vllm.c - vLLM's pooling API: /classify, /pooling, /score, /rerank. */

#include "serve/protocols.h"

typedef struct {
  int64_t top_n;
  bool sglang, tei; /* the body is another protocol's */
  bool bare;        /* without the documents' texts */
} vllm;

static rw_status vllm_new(request *q, vllm **out, rw_error *err) {
  q->own = *out = arena_alloc(q->mem, 1, sizeof **out);
  return *out ? RW_OK : rw_nomem(err, "a request");
}

/* use_activation, or as older clients call it. */
static rw_status read_activation(request *q, rw_error *err) {
  static const char *const names[] = {"use_activation", "activation", "softmax"};
  for (int i = 0; i < 3 && q->output == OUTPUT_OPEN; i++) {
    bool given, on;
    RW_TRY(request_bool(q, names[i], &given, &on, err));
    if (given) q->output = on ? OUTPUT_SIGMOID : OUTPUT_RAW;
  }
  return RW_OK;
}

/* truncate_prompt_tokens: null: as the server is set; -1: to what the model takes. The end of a conversation is
 * what is kept. */
static rw_status read_limit(request *q, rw_error *err) {
  json_val v = request_get(q, "truncate_prompt_tokens"), side = request_get(q, "truncation_side");
  int64_t n;
  if (side != JSON_NONE && json_kind(q->doc, side) != JSON_NULL && !slice_is(json_string(q->doc, side), "left"))
    return request_wrong(q, "truncation_side", side, "\"left\": a reward is read at the end, which stays", err);
  if (v == JSON_NONE || json_kind(q->doc, v) == JSON_NULL) return RW_OK;
  if (!json_int(q->doc, v, &n) || n < -1 || n == 0)
    return request_wrong(q, "truncate_prompt_tokens", v, "a whole number above 0, or -1", err);
  if (n > 0) q->most_tokens = n;
  q->cut = true;
  return RW_OK;
}

/* input, or messages. */
static rw_status read_input(request *q, rw_error *err) {
  bool given, special, many, generation;
  RW_TRY(request_model(q, err));
  RW_TRY(read_activation(q, err));
  RW_TRY(read_limit(q, err));
  RW_TRY(request_bool(q, "add_special_tokens", &given, &special, err));
  json_val messages = request_get(q, "messages"), input;
  if (messages != JSON_NONE) {
    bool asked;
    RW_TRY(request_bool(q, "add_generation_prompt", &asked, &generation, err));
    if (asked && generation)
      return rw_fail(err, RW_DATA, "add_generation_prompt: expected false: a reward is read at the response's end");
    return request_messages(q, messages, "messages", err);
  }
  RW_TRY(request_need(q, "input", &input, err));
  return request_inputs(q, input, "input", !given || special, &many, err);
}

static rw_status classify_read(request *q, rw_error *err) {
  vllm *o;
  RW_TRY(vllm_new(q, &o, err));
  o->sglang = request_get(q, "input") == JSON_NONE && request_get(q, "messages") == JSON_NONE;
  return o->sglang ? sglang_read(q, err) : read_input(q, err);
}

static rw_status pooling_read(request *q, rw_error *err) {
  static const char *const others[] = {"dimensions", "normalize", NULL};
  json_val task = request_get(q, "task"), as = request_get(q, "encoding_format");
  RW_TRY(request_without(q, others, err));
  if (task != JSON_NONE && json_kind(q->doc, task) != JSON_NULL && !slice_is(json_string(q->doc, task), "classify"))
    return request_wrong(q, "task", task, "\"classify\": a number a text", err);
  if (slice_is(json_string(q->doc, as), "bytes") || slice_is(json_string(q->doc, as), "bytes_only"))
    return rw_fail(err, RW_DATA, "encoding_format: expected \"float\": the answer is JSON");
  return read_input(q, err);
}

static void begin(json_writer *w, const request *q, const char *prefix) {
  char id[64];
  request_id(q, prefix, id);
  jw_object(w, NULL);
  jw_string(w, "id", id);
  jw_string(w, "object", "list");
  jw_int(w, "created", request_time());
  jw_string(w, "model", request_model_name(q));
}

static rw_status classify_answer(request *q, str *out, rw_error *err) {
  if (((vllm *)q->own)->sglang) return sglang_answer(q, out, err);
  json_writer w = {.out = out};
  begin(&w, q, "classify");
  jw_array(&w, "data");
  for (size_t i = 0; i < q->n; i++) {
    jw_object(&w, NULL);
    jw_uint(&w, "index", i);
    jw_string(&w, "label", "LABEL_0");
    jw_array(&w, "probs");
    request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
    jw_int(&w, "num_classes", 1);
    jw_end(&w);
  }
  jw_end(&w);
  request_usage(&w, q);
  jw_end(&w);
  return RW_OK;
}

static rw_status pooling_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  begin(&w, q, "pool");
  jw_array(&w, "data");
  for (size_t i = 0; i < q->n; i++) {
    jw_object(&w, NULL);
    jw_uint(&w, "index", i);
    jw_string(&w, "object", "pooling");
    jw_array(&w, "data");
    request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
    jw_end(&w);
  }
  jw_end(&w);
  request_usage(&w, q);
  jw_end(&w);
  return RW_OK;
}

/* ---- pairs of texts: the first is the user's message, the second the response ---- */

/* A text, or a list of them. */
static rw_status read_texts(request *q, const char *const *names, size_t n_names, const char **name, slice **texts,
                            size_t *n, rw_error *err) {
  json_val v = JSON_NONE;
  *name = names[0];
  for (size_t i = 0; i < n_names && v == JSON_NONE; i++)
    if ((v = request_get(q, names[i])) != JSON_NONE) *name = names[i];
  slice one = json_string(q->doc, v);
  *n = one.p ? 1 : json_kind(q->doc, v) == JSON_ARRAY ? json_count(q->doc, v) : 0;
  if (*n == 0) return request_wrong(q, *name, v, "a text or a list of texts", err);
  *texts = arena_alloc(q->mem, *n, sizeof **texts);
  if (!*texts) return rw_nomem(err, "a request");
  if (one.p) {
    **texts = one;
    return RW_OK;
  }
  size_t i = 0;
  for (json_val e = json_first(q->doc, v); e != JSON_NONE; e = json_next(q->doc, e)) {
    slice text = json_string(q->doc, e);
    json_val inner = json_get(q->doc, e, "text"); /* a document may be an object */
    if (!text.p && inner != JSON_NONE) text = json_string(q->doc, inner);
    if (!text.p)
      return rw_fail(err, RW_DATA, "%s[%zu]: expected a text, got %s", *name, i,
                     json_kind_name(json_kind(q->doc, e)));
    (*texts)[i++] = text;
  }
  return RW_OK;
}

/* What /score and /rerank have in common. */
static rw_status read_pairs(request *q, rw_error *err) {
  static const char *const others[] = {
      "max_tokens_per_query", "max_tokens_per_doc", "instruction", "instruct", "chat_template_kwargs", NULL};
  RW_TRY(request_without(q, others, err));
  RW_TRY(request_model(q, err));
  RW_TRY(read_activation(q, err));
  return read_limit(q, err);
}

static rw_status score_read(request *q, rw_error *err) {
  static const char *const firsts[] = {"queries", "text_1", "data_1", "query"};
  static const char *const seconds[] = {"documents", "text_2", "data_2", "items"};
  vllm *o;
  RW_TRY(vllm_new(q, &o, err));
  o->sglang = request_get(q, "query") != JSON_NONE && request_get(q, "items") != JSON_NONE;
  if (o->sglang) return sglang_score_read(q, err);
  const char *first, *second;
  slice *a, *b;
  size_t na, nb;
  RW_TRY(read_pairs(q, err));
  RW_TRY(read_texts(q, firsts, 4, &first, &a, &na, err));
  RW_TRY(read_texts(q, seconds, 4, &second, &b, &nb, err));
  if (na != 1 && na != nb)
    return rw_fail(err, RW_DATA, "%s: expected one text, or as many as %s has (%zu), got %zu", first, second, nb,
                   na);
  for (size_t i = 0; i < nb; i++) RW_TRY(request_exchange(q, a[na == 1 ? 0 : i], b[i], err));
  return RW_OK;
}

static rw_status score_answer(request *q, str *out, rw_error *err) {
  if (((vllm *)q->own)->sglang) return sglang_score_answer(q, out, err);
  json_writer w = {.out = out};
  (void)err;
  begin(&w, q, "score");
  jw_array(&w, "data");
  for (size_t i = 0; i < q->n; i++) {
    jw_object(&w, NULL);
    jw_uint(&w, "index", i);
    jw_string(&w, "object", "score");
    request_number(&w, "score", q, &q->items[i]);
    jw_end(&w);
  }
  jw_end(&w);
  request_usage(&w, q);
  jw_end(&w);
  return RW_OK;
}

static rw_status rerank_read(request *q, rw_error *err) {
  static const char *const names[] = {"documents"};
  const char *name;
  slice *documents;
  size_t n;
  vllm *o;
  RW_TRY(vllm_new(q, &o, err));
  o->tei = request_get(q, "texts") != JSON_NONE;
  if (o->tei) {
    q->refuse = refuse_as_tei;
    return tei_rerank_read(q, err);
  }
  json_val v, top = request_get(q, "top_n");
  bool given, documents_too;
  o->sglang = request_get(q, "rid") != JSON_NONE; /* as the routers of SGLang and vLLM ask */
  RW_TRY(request_bool(q, "return_documents", &given, &documents_too, err));
  o->bare = given && !documents_too;
  RW_TRY(read_pairs(q, err));
  RW_TRY(request_need(q, "query", &v, err));
  slice query = json_string(q->doc, v);
  if (!query.p) return request_wrong(q, "query", v, "a text", err);
  if (top != JSON_NONE && json_kind(q->doc, top) != JSON_NULL &&
      (!json_int(q->doc, top, &o->top_n) || o->top_n < 0))
    return request_wrong(q, "top_n", top, "a whole number from 0", err);
  RW_TRY(read_texts(q, names, 1, &name, &documents, &n, err));
  for (size_t i = 0; i < n; i++) RW_TRY(request_exchange(q, query, documents[i], err));
  return RW_OK;
}

static rw_status rerank_answer(request *q, str *out, rw_error *err) {
  const vllm *o = q->own;
  if (o->tei) return tei_rerank_answer(q, out, err);
  json_writer w = {.out = out};
  char id[64];
  size_t *order = request_ranked(q), n = o->top_n > 0 && (size_t)o->top_n < q->n ? (size_t)o->top_n : q->n;
  if (!order) return rw_nomem(err, "an answer");
  if (o->sglang) return sglang_rerank_answer(q, &w, order, n, !o->bare), RW_OK;
  request_id(q, "rerank", id);
  jw_object(&w, NULL);
  jw_string(&w, "id", id);
  jw_string(&w, "model", request_model_name(q));
  jw_array(&w, "results");
  for (size_t i = 0; i < n; i++) {
    const serve_item *it = &q->items[order[i]];
    jw_object(&w, NULL);
    jw_uint(&w, "index", order[i]);
    if (!o->bare) {
      jw_object(&w, "document");
      jw_slice(&w, "text", it->conv.messages[1].content);
      jw_end(&w);
    }
    request_number(&w, "relevance_score", q, it);
    jw_end(&w);
  }
  jw_end(&w);
  request_usage(&w, q);
  jw_end(&w);
  return RW_OK;
}

#define VLLM(at, reads, answers) \
  { .method = "POST", .path = at, .read = reads, .answer = answers, .refuse = refuse_as_openai }
const route vllm_routes[] = {{.method = "POST|PUT",
                              .path = "/classify",
                              .read = classify_read,
                              .answer = classify_answer,
                              .refuse = refuse_as_openai},
                             VLLM("/pooling", pooling_read, pooling_answer),
                             VLLM("/score", score_read, score_answer),
                             VLLM("/v1/score", score_read, score_answer),
                             VLLM("/rerank", rerank_read, rerank_answer),
                             VLLM("/v1/rerank", rerank_read, rerank_answer),
                             VLLM("/v2/rerank", rerank_read, rerank_answer),
                             VLLM("/v1/classify", classify_read, classify_answer),
                             {0}};
