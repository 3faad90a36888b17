/* sglang.c - SGLang's /classify and /encode, and /v1/embeddings as verl reads a reward from it. */
#include <string.h>

#include "serve/protocols.h"

/* text or input_ids, one or a list. */
rw_status sglang_read(request *q, rw_error *err) {
  json_val text = request_get(q, "text"), tokens = request_get(q, "input_ids");
  static const char *const others[] = {"image_data", "video_data", "audio_data", NULL};
  RW_TRY(request_model(q, err));
  RW_TRY(request_without(q, others, err));
  if ((text == JSON_NONE) == (tokens == JSON_NONE))
    return rw_fail(err, RW_DATA, "text, input_ids: expected one of them in the body, got %s",
                   text == JSON_NONE ? "neither" : "both");
  return request_inputs(q, text != JSON_NONE ? text : tokens, text != JSON_NONE ? "text" : "input_ids", true,
                        &q->many, err);
}

static void write_meta(json_writer *w, const serve_item *it) {
  jw_object(w, "meta_info");
  jw_uint(w, "prompt_tokens", it->ids.len);
  jw_end(w);
}

rw_status sglang_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  if (q->many) jw_array(&w, NULL);
  for (size_t i = 0; i < q->n; i++) {
    jw_object(&w, NULL);
    jw_array(&w, "embedding");
    request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
    write_meta(&w, &q->items[i]);
    jw_end(&w);
  }
  if (q->many) jw_end(&w);
  return RW_OK;
}

/* query and items: each item behind the query, or before it, as they stand. */
static rw_status add_joined(request *q, json_val a, json_val b, rw_error *err) {
  slice first = json_string(q->doc, a), second = json_string(q->doc, b);
  if (!first.p || !second.p)
    return rw_fail(err, RW_DATA, "query, items: expected a text, and a text or a list of texts");
  char *text = arena_alloc(q->mem, first.len + second.len + 1, 1);
  if (!text) return rw_nomem(err, "a request");
  memcpy(text, first.p, first.len);
  memcpy(text + first.len, second.p, second.len);
  return request_text(q, (slice){text, first.len + second.len}, true, err);
}

rw_status sglang_score_read(request *q, rw_error *err) {
  static const char *const others[] = {
      "label_token_ids",       "apply_softmax",         "score_extraction_token", "return_pooled_hidden_states",
      "return_token_logprobs", "query_embed_overrides", "item_embed_overrides",   NULL};
  bool given, item_first;
  json_val query = request_get(q, "query"), items = request_get(q, "items");
  RW_TRY(request_model(q, err));
  RW_TRY(request_without(q, others, err));
  RW_TRY(request_bool(q, "item_first", &given, &item_first, err));
  bool one = json_kind(q->doc, items) != JSON_ARRAY;
  if (!one && json_count(q->doc, items) == 0)
    return request_wrong(q, "items", items, "a text or a list of texts", err);
  for (json_val v = one ? items : json_first(q->doc, items); v != JSON_NONE;
       v = one ? JSON_NONE : json_next(q->doc, v))
    RW_TRY(add_joined(q, item_first ? v : query, item_first ? query : v, err));
  return RW_OK;
}

rw_status sglang_score_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  jw_object(&w, NULL);
  jw_array(&w, "scores");
  for (size_t i = 0; i < q->n; i++) {
    jw_array(&w, NULL);
    request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
  }
  jw_end(&w);
  jw_string(&w, "model", request_model_name(q));
  request_usage(&w, q);
  jw_string(&w, "object", "scoring");
  jw_end(&w);
  return RW_OK;
}

void sglang_rerank_answer(const request *q, json_writer *w, const size_t *order, size_t n, bool documents) {
  jw_array(w, NULL);
  for (size_t i = 0; i < n; i++) {
    const serve_item *it = &q->items[order[i]];
    jw_object(w, NULL);
    request_number(w, "score", q, it);
    if (documents) jw_slice(w, "document", it->conv.messages[1].content);
    jw_uint(w, "index", order[i]);
    write_meta(w, it);
    jw_end(w);
  }
  jw_end(w);
}

static rw_status embeddings_read(request *q, rw_error *err) {
  json_val v;
  RW_TRY(request_model(q, err));
  RW_TRY(request_need(q, "input", &v, err));
  return request_inputs(q, v, "input", true, &q->many, err);
}

static rw_status embeddings_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  jw_object(&w, NULL);
  jw_string(&w, "object", "list");
  jw_array(&w, "data");
  for (size_t i = 0; i < q->n; i++) {
    jw_object(&w, NULL);
    jw_string(&w, "object", "embedding");
    jw_uint(&w, "index", i);
    jw_array(&w, "embedding");
    request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
    jw_end(&w);
  }
  jw_end(&w);
  jw_string(&w, "model", request_model_name(q));
  request_usage(&w, q);
  jw_end(&w);
  return RW_OK;
}

const route sglang_routes[] = {{.method = "POST|PUT",
                                .path = "/encode",
                                .read = sglang_read,
                                .answer = sglang_answer,
                                .refuse = refuse_as_openai},
                               {.method = "POST",
                                .path = "/v1/embeddings",
                                .read = embeddings_read,
                                .answer = embeddings_answer,
                                .refuse = refuse_as_openai},
                               {0}};
