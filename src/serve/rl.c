/* rl.c - what RL trainers send to a reward model: OpenRLHF's remote reward (--reward.remote_url) and the one that
 * slime and miles have in common (--rm-type remote_rm). */
#include "serve/protocols.h"

/* {"query": [rendered text], "prompts": [...], "labels": [...]}; with several servers some get no samples. A label
 * is what its data set has as the right answer. */
static rw_status openrlhf_read(request *q, rw_error *err) {
  json_val list, label = json_first(q->doc, request_get(q, "labels"));
  RW_TRY(request_need(q, "query", &list, err));
  if (json_kind(q->doc, list) != JSON_ARRAY) return request_wrong(q, "query", list, "a list of texts", err);
  for (json_val v = json_first(q->doc, list); v != JSON_NONE; v = json_next(q->doc, v)) {
    slice text = json_string(q->doc, v);
    if (!text.p) return request_wrong(q, "query", v, "a list of texts", err);
    RW_TRY(request_text(q, text, false, err)); /* its own server, too, adds no special tokens */
    slice right = json_string(q->doc, label);
    if (right.len) q->items[q->n - 1].conv.reference = right;
    label = label == JSON_NONE ? label : json_next(q->doc, label);
  }
  return RW_OK;
}

static rw_status openrlhf_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  static const char *const lists[] = {"rewards", "scores"};
  (void)err;
  jw_object(&w, NULL);
  for (int k = 0; k < 2; k++) {
    jw_array(&w, lists[k]);
    for (size_t i = 0; i < q->n; i++) request_number(&w, NULL, q, &q->items[i]);
    jw_end(&w);
  }
  jw_object(&w, "extra_logs");
  jw_end(&w);
  jw_end(&w);
  return RW_OK;
}

/* {"prompt": text or messages, "response": text, "label": the right answer}: the number alone, or under the name
 * that ?key= gives. */
static rw_status slime_read(request *q, rw_error *err) {
  json_val p, r;
  RW_TRY(request_need(q, "prompt", &p, err));
  RW_TRY(request_need(q, "response", &r, err));
  slice response = json_string(q->doc, r), prompt = json_string(q->doc, p);
  if (!response.p) return request_wrong(q, "response", r, "a text", err);
  slice right = json_string(q->doc, request_get(q, "label"));
  if (!q->reference.p && right.len) q->reference = right;
  if (prompt.p) return request_exchange(q, prompt, response, err);
  message *m, *whole;
  size_t n;
  RW_TRY(conv_messages(&m, &n, q->doc, p, "prompt", q->mem, err));
  whole = arena_alloc(q->mem, n + 1, sizeof *whole);
  if (!whole) return rw_nomem(err, "a request");
  for (size_t i = 0; i < n; i++) whole[i] = m[i];
  whole[n] = conv_message(ROLE_ASSISTANT, response);
  return request_conversation(q, &(conversation){.messages = whole, .n_messages = n + 1}, err);
}

static rw_status slime_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  (void)err;
  if (q->key_arg) jw_object(&w, NULL);
  request_number(&w, q->key_arg, q, &q->items[0]);
  if (q->key_arg) jw_end(&w);
  return RW_OK;
}

const route rl_routes[] = {
    {.method = "POST",
     .path = "/get_reward",
     .read = openrlhf_read,
     .answer = openrlhf_answer,
     .refuse = refuse_as_openai},
    {.method = "POST", .path = "/reward", .read = slime_read, .answer = slime_answer, .refuse = refuse_as_openai},
    {0}};
