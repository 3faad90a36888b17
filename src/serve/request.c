/* request.c - what protocols use to read a body and to write numbers. */
#include "serve/request.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "serve/server.h"

/* ---- reading ---- */

rw_status request_read(request *q, rw_error *err) {
  rw_status s = q->lines ? RW_OK : json_parse(q->doc, q->body.p ? q->body.p : "", q->body.len, err);
  if (!s && !q->lines && json_kind(q->doc, 0) != JSON_OBJECT)
    s = rw_fail(err, RW_DATA, "the body: expected a JSON object, got %s", json_kind_name(json_kind(q->doc, 0)));
  if (s) return rw_prefix(err, s, "the body is not JSON that can be read");
  if (!q->lines) RW_TRY(conv_reference(&q->reference, q->doc, request_get(q, "reference"), q->mem, err));
  return q->route->read(q, err);
}

void request_free(request *q) {
  if (q->end && q->own) q->end(q->own);
  for (size_t i = 0; i < q->n; i++) mem_free(q->items[i].ids.p);
  mem_free(q->items);
  str_free(&q->body);
  json_free(q->doc);
  arena_free(q->mem);
  hosted_release(q->model);
}

json_val request_get(request *q, const char *field) { return json_get(q->doc, 0, field); }

rw_status request_wrong(request *q, const char *field, json_val v, const char *expected, rw_error *err) {
  if (v == JSON_NONE) return rw_fail(err, RW_DATA, "%s: expected %s, got nothing", field, expected);
  return rw_fail(err, RW_DATA, "%s: expected %s, got %s", field, expected, json_kind_name(json_kind(q->doc, v)));
}

rw_status request_need(request *q, const char *field, json_val *v, rw_error *err) {
  *v = request_get(q, field);
  if (*v == JSON_NONE || json_kind(q->doc, *v) == JSON_NULL)
    return rw_fail(err, RW_DATA, "%s: expected in the body, got nothing", field);
  return RW_OK;
}

rw_status request_refuse(request *q, int status, rw_error *err, const char *fmt, ...) {
  q->refused = status;
  char text[500];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(text, sizeof text, fmt, ap);
  va_end(ap);
  return rw_fail(err, RW_DATA, "%s", text);
}

rw_status request_model(request *q, rw_error *err) {
  json_val v = request_get(q, "model");
  if (v == JSON_NONE || json_kind(q->doc, v) == JSON_NULL) return RW_OK;
  slice name = json_string(q->doc, v);
  if (!name.p) return request_wrong(q, "model", v, "a string", err);
  if (name.len == 0) return RW_OK;
  hosted *m = server_model(q->server, name);
  /* what SGLang's clients and the routers before its servers send where they were told no name */
  bool none = slice_is(name, "default") || (slice_is(name, "unknown") && request_get(q, "rid") != JSON_NONE);
  if (!m && none) return RW_OK;
  if (!m)
    return request_refuse(q, 404, err, "model: '%.*s' is not served here; GET /v1/models names what is",
                          name.len > 200 ? 200 : (int)name.len, name.p);
  hosted_release(q->model);
  q->model = m;
  return RW_OK;
}

rw_status request_bool(request *q, const char *field, bool *given, bool *value, rw_error *err) {
  json_val v = request_get(q, field);
  json_type t = json_kind(q->doc, v);
  *given = t == JSON_TRUE || t == JSON_FALSE;
  *value = t == JSON_TRUE;
  if (*given || v == JSON_NONE || t == JSON_NULL) return RW_OK;
  return request_wrong(q, field, v, "true, false or null", err);
}

rw_status request_without(request *q, const char *const *fields, rw_error *err) {
  for (; *fields; fields++) {
    json_val v = request_get(q, *fields);
    json_type t = json_kind(q->doc, v);
    double number;
    bool empty = v == JSON_NONE || t == JSON_NULL || t == JSON_FALSE ||
                 (json_number(q->doc, v, &number) && number == 0) ||
                 ((t == JSON_OBJECT || t == JSON_ARRAY) && json_count(q->doc, v) == 0);
    if (!empty)
      return rw_fail(err, RW_DATA, "%s: not supported here, and without it the score would be another's", *fields);
  }
  return RW_OK;
}

rw_status request_add(request *q, const conversation *c, bool add_bos, rw_error *err) {
  if (q->n >= REQUEST_MOST_ITEMS)
    return request_refuse(q, 413, err, "expected at most %d conversations in a request", REQUEST_MOST_ITEMS);
  serve_item it = {.conv = *c, .add_bos = add_bos, .score = NAN};
  return vec_push(q->items, q->n, q->cap, it) ? RW_OK : rw_nomem(err, "a request");
}

rw_status request_conversation(request *q, conversation *c, rw_error *err) {
  c->n_prompt = c->n_messages - 1;
  c->reference = q->reference;
  return request_add(q, c, false, err);
}

rw_status request_messages(request *q, json_val list, const char *field, rw_error *err) {
  static const char *const others[] = {"chat_template", "chat_template_kwargs", "continue_final_message", NULL};
  conversation c = {0};
  RW_TRY(request_without(q, others, err));
  RW_TRY(conv_messages(&c.messages, &c.n_messages, q->doc, list, field, q->mem, err));
  slice last = c.n_messages ? conv_role_name(&c.messages[c.n_messages - 1]) : SLICE("an empty list");
  if (c.n_messages == 0 || c.messages[c.n_messages - 1].role != ROLE_ASSISTANT)
    return rw_fail(err, RW_DATA, "%s: expected a conversation that ends with an assistant message, got %.*s", field,
                   (int)last.len, last.p);
  RW_TRY(conv_tools(&c.tools, q->doc, 0, NULL, err));
  return request_conversation(q, &c, err);
}

rw_status request_text(request *q, slice text, bool add_bos, rw_error *err) {
  return request_add(q, &(conversation){.text = text, .reference = q->reference}, add_bos, err);
}

rw_status request_ids(request *q, json_val list, const char *field, rw_error *err) {
  conversation c = {0};
  size_t n = json_count(q->doc, list);
  if (json_kind(q->doc, list) != JSON_ARRAY || n == 0)
    return request_wrong(q, field, list, "a list of token ids", err);
  c.ids = arena_alloc(q->mem, n, sizeof *c.ids);
  if (!c.ids) return rw_nomem(err, "a request");
  for (json_val v = json_first(q->doc, list); v != JSON_NONE; v = json_next(q->doc, v)) {
    int64_t id;
    if (!json_int(q->doc, v, &id) || id < 0 || id > INT32_MAX)
      return rw_fail(err, RW_DATA, "%s[%zu]: expected a token id, got %s", field, c.n_ids,
                     json_kind_name(json_kind(q->doc, v)));
    c.ids[c.n_ids++] = (int32_t)id;
  }
  return request_add(q, &c, false, err);
}

rw_status request_inputs(request *q, json_val v, const char *field, bool add_bos, bool *many, rw_error *err) {
  slice text = json_string(q->doc, v);
  *many = false;
  if (text.p) return request_text(q, text, add_bos, err);
  json_val first = json_first(q->doc, v);
  if (json_kind(q->doc, v) != JSON_ARRAY || first == JSON_NONE)
    return request_wrong(q, field, v, "a text, a list of texts, token ids or lists of token ids", err);
  if (json_kind(q->doc, first) == JSON_NUMBER) return request_ids(q, v, field, err);
  *many = true;
  for (json_val e = first; e != JSON_NONE; e = json_next(q->doc, e)) {
    text = json_string(q->doc, e);
    if (text.p)
      RW_TRY(request_text(q, text, add_bos, err));
    else
      RW_TRY(request_ids(q, e, field, err));
  }
  return RW_OK;
}

rw_status request_exchange(request *q, slice prompt, slice response, rw_error *err) {
  message *m = arena_alloc(q->mem, 2, sizeof *m);
  if (!m) return rw_nomem(err, "a request");
  m[0] = conv_message(ROLE_USER, prompt);
  m[1] = conv_message(ROLE_ASSISTANT, response);
  return request_conversation(q, &(conversation){.messages = m, .n_messages = 2}, err);
}

/* ---- writing ---- */

typedef struct {
  float score;
  size_t index;
} ranked;

static int by_score(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->index < y->index ? -1 : 1;
}

size_t *request_ranked(request *q) {
  ranked *r = arena_alloc(q->mem, q->n, sizeof *r);
  size_t *order = arena_alloc(q->mem, q->n, sizeof *order);
  if (!r || !order) return NULL;
  for (size_t i = 0; i < q->n; i++) r[i] = (ranked){q->items[i].score, i};
  qsort(r, q->n, sizeof *r, by_score);
  for (size_t i = 0; i < q->n; i++) order[i] = r[i].index;
  return order;
}

static bool sigmoid_of(const request *q) {
  return q->output == OUTPUT_SIGMOID || (q->output == OUTPUT_OPEN && q->sigmoid);
}

void request_number(json_writer *w, const char *name, const request *q, const serve_item *it) {
  if (sigmoid_of(q))
    jw_num(w, name, 1 / (1 + exp(-(double)it->score)));
  else
    jw_f32(w, name, it->score);
}

const char *request_model_name(const request *q) { return hosted_name(q->model); }
int64_t request_time(void) { return (int64_t)time(NULL); }

void request_id(const request *q, const char *prefix, char out[64]) {
  snprintf(out, 64, "%.20s-%016llx", prefix, (unsigned long long)q->number);
}

void request_usage(json_writer *w, const request *q) {
  jw_object(w, "usage");
  jw_uint(w, "prompt_tokens", q->tokens);
  jw_uint(w, "total_tokens", q->tokens);
  jw_uint(w, "completion_tokens", 0);
  jw_end(w);
}
