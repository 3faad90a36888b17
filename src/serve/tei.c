/* tei.c - Text Embeddings Inference: /predict, and /rerank with `texts`. One label, so its number is the sigmoid
 * unless raw_scores asks for the logit. */
#include "serve/protocols.h"

static rw_status read_flags(request *q, bool *return_text, rw_error *err) {
  bool given, raw, cut;
  RW_TRY(request_bool(q, "raw_scores", &given, &raw, err));
  /* what Hugging Face's client calls it */
  json_val apply = json_get(q->doc, request_get(q, "parameters"), "function_to_apply");
  bool none = slice_is(json_string(q->doc, apply), "none");
  q->output = (given && raw) || none ? OUTPUT_RAW : OUTPUT_SIGMOID;
  RW_TRY(request_bool(q, "truncate", &given, &cut, err));
  if (given) q->cut = cut;
  json_val side = request_get(q, "truncation_direction");
  if (q->cut && side != JSON_NONE && !slice_is(json_string(q->doc, side), "Left") &&
      !slice_is(json_string(q->doc, side), "left"))
    return request_wrong(q, "truncation_direction", side, "\"Left\": a reward is read at the end, which stays",
                         err);
  RW_TRY(request_bool(q, "return_text", &given, return_text, err));
  return RW_OK;
}

/* s: a text; [a, b]: a user's message and a response. */
static rw_status add_input(request *q, json_val v, rw_error *err) {
  slice text = json_string(q->doc, v);
  if (text.p) return request_text(q, text, true, err);
  size_t n = json_count(q->doc, v);
  json_val a = json_first(q->doc, v), b = n == 2 ? json_next(q->doc, a) : JSON_NONE;
  slice first = json_string(q->doc, a), second = json_string(q->doc, b);
  if (json_kind(q->doc, v) == JSON_ARRAY && n == 1 && first.p) return request_text(q, first, true, err);
  if (json_kind(q->doc, v) == JSON_ARRAY && n == 2 && first.p && second.p)
    return request_exchange(q, first, second, err);
  return request_wrong(q, "inputs", v, "a text, a pair of texts, or a batch [[text], [text, text], ...]", err);
}

static rw_status predict_read(request *q, rw_error *err) {
  json_val v;
  bool text;
  RW_TRY(read_flags(q, &text, err));
  RW_TRY(request_need(q, "inputs", &v, err));
  json_val first = json_first(q->doc, v);
  q->many = json_kind(q->doc, v) == JSON_ARRAY && json_kind(q->doc, first) == JSON_ARRAY;
  if (!q->many) return add_input(q, v, err);
  for (json_val e = first; e != JSON_NONE; e = json_next(q->doc, e)) RW_TRY(add_input(q, e, err));
  return RW_OK;
}

static rw_status predict_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  if (q->many) jw_array(&w, NULL);
  for (size_t i = 0; i < q->n; i++) {
    jw_array(&w, NULL);
    jw_object(&w, NULL);
    request_number(&w, "score", q, &q->items[i]);
    jw_string(&w, "label", "LABEL_0");
    jw_end(&w);
    jw_end(&w);
  }
  if (q->many) jw_end(&w);
  return RW_OK;
}

rw_status tei_rerank_read(request *q, rw_error *err) {
  json_val query, texts;
  RW_TRY(read_flags(q, &q->many, err)); /* many: the texts come back */
  RW_TRY(request_need(q, "query", &query, err));
  RW_TRY(request_need(q, "texts", &texts, err));
  slice prompt = json_string(q->doc, query);
  if (!prompt.p) return request_wrong(q, "query", query, "a text", err);
  if (json_kind(q->doc, texts) != JSON_ARRAY || json_count(q->doc, texts) == 0)
    return request_wrong(q, "texts", texts, "a list of texts", err);
  for (json_val e = json_first(q->doc, texts); e != JSON_NONE; e = json_next(q->doc, e)) {
    slice text = json_string(q->doc, e);
    if (!text.p) return request_wrong(q, "texts", e, "a list of texts", err);
    RW_TRY(request_exchange(q, prompt, text, err));
  }
  return RW_OK;
}

rw_status tei_rerank_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  size_t *order = request_ranked(q);
  if (!order) return rw_nomem(err, "an answer");
  jw_array(&w, NULL);
  for (size_t i = 0; i < q->n; i++) {
    const serve_item *it = &q->items[order[i]];
    jw_object(&w, NULL);
    jw_uint(&w, "index", order[i]);
    request_number(&w, "score", q, it);
    if (q->many) jw_slice(&w, "text", it->conv.messages[1].content);
    jw_end(&w);
  }
  jw_end(&w);
  return RW_OK;
}

/* "/": where Hugging Face's inference client posts, as to its own endpoints. */
const route tei_routes[] = {
    {.method = "POST", .path = "/predict", .read = predict_read, .answer = predict_answer, .refuse = refuse_as_tei},
    {.method = "POST", .path = "/", .read = predict_read, .answer = predict_answer, .refuse = refuse_as_tei},
    {0}};
