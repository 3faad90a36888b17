/* chat.c - /v1/chat/completions for clients that know chat models alone: the messages end with the assistant's, and
 * the reply's text holds the reward: "reward:-3.25", or of a model with attributes
 * "helpfulness:1.6,correctness:1.5" (as Nemotron's rewards are served). With the header or field reward_format
 * "number": the number alone. */
#include <stdio.h>
#include <string.h>

#include "serve/protocols.h"
#include "serve/server.h"

static rw_status chat_read(request *q, rw_error *err) {
  json_val v, format = request_get(q, "reward_format");
  bool given, on;
  RW_TRY(request_model(q, err));
  RW_TRY(request_bool(q, "stream", &given, &on, err));
  if (given && on) return rw_fail(err, RW_DATA, "stream: expected false: a reward is one number");
  slice name = q->format_header ? slice_of(q->format_header) : SLICE("");
  if (format != JSON_NONE && json_kind(q->doc, format) != JSON_NULL) {
    name = json_string(q->doc, format);
    if (!name.p) return request_wrong(q, "reward_format", format, "\"number\" or \"text\"", err);
  }
  q->many = slice_is(name, "number"); /* many: the number alone */
  if (name.len && !q->many && !slice_is(name, "text"))
    return rw_fail(err, RW_DATA, "reward_format: expected \"number\" or \"text\", got '%.*s'",
                   name.len > 50 ? 50 : (int)name.len, name.p);
  RW_TRY(request_need(q, "messages", &v, err));
  return request_messages(q, v, "messages", err);
}

static rw_status chat_answer(request *q, str *out, rw_error *err) {
  const serve_item *it = &q->items[0];
  const char *const *names;
  size_t n = scorer_attributes(hosted_scorer(q->model), &names);
  str text = {0};
  json_writer number = {.out = &text}, w = {.out = out};
  if (n && !q->many) {
    for (size_t i = 0; i < n; i++) {
      str_printf(&text, "%s%s:", i ? "," : "", names[i]);
      str_json_f32(&text, it->attributes[i]);
    }
  } else {
    if (!q->many) str_addz(&text, "reward:");
    request_number(&number, NULL, q, it);
  }
  char id[64];
  request_id(q, "chatcmpl", id);
  jw_object(&w, NULL);
  jw_string(&w, "id", id);
  jw_string(&w, "object", "chat.completion");
  jw_int(&w, "created", request_time());
  jw_string(&w, "model", request_model_name(q));
  jw_array(&w, "choices");
  jw_object(&w, NULL);
  jw_int(&w, "index", 0);
  jw_object(&w, "message");
  jw_string(&w, "role", "assistant");
  jw_slice(&w, "content", (slice){text.p ? text.p : "", text.len});
  jw_end(&w);
  jw_null(&w, "logprobs");
  jw_string(&w, "finish_reason", "stop");
  jw_end(&w);
  jw_end(&w);
  request_usage(&w, q);
  jw_end(&w);
  bool oom = text.oom;
  str_free(&text);
  return oom ? rw_nomem(err, "an answer") : RW_OK;
}

const route chat_routes[] = {{.method = "POST",
                              .path = "/v1/chat/completions",
                              .read = chat_read,
                              .answer = chat_answer,
                              .refuse = refuse_as_openai},
                             {0}};
