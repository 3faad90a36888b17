/* reply.c - what servers answer: chat completions, "name:value" attributes, one-number routes.
 *
 * An incomplete reply is RW_DATA, and is asked for again: servers under load cut replies.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "eval/remote.h"

const option_word endpoint_format_words[] = {{"auto", ENDPOINT_AUTO},
                                             {"nemotron", ENDPOINT_NEMOTRON},
                                             {"classify", ENDPOINT_CLASSIFY},
                                             {"pooling", ENDPOINT_POOLING},
                                             {"score", ENDPOINT_SCORE},
                                             {"sglang", ENDPOINT_SGLANG},
                                             {NULL, 0}};

static rw_status expected(const json_doc *d, json_val v, const char *field, const char *what, rw_error *err) {
  slice raw = json_raw(d, v);
  return rw_fail(err, RW_DATA, "the reply's %s: expected %s, got %.*s", field, what,
                 v == JSON_NONE ? 7 : (int)(raw.len > 60 ? 60 : raw.len), v == JSON_NONE ? "nothing" : raw.p);
}

/* choices[0] of a chat completion. */
static rw_status first_choice(json_val *choice, json_doc *d, rw_error *err) {
  json_val choices = json_get(d, 0, "choices");
  if (json_kind(d, choices) != JSON_ARRAY || json_count(d, choices) == 0)
    return expected(d, choices, "choices", "a list of at least one", err);
  *choice = json_first(d, choices);
  return json_kind(d, *choice) == JSON_OBJECT ? RW_OK : expected(d, *choice, "choices[0]", "an object", err);
}

/* A message's text: a string, null, or a list of parts with texts. */
static rw_status content_text(str *out, json_doc *d, json_val m, rw_error *err) {
  json_val content = json_get(d, m, "content");
  slice s = json_string(d, content);
  if (s.p) str_add(out, s.p, s.len);
  for (json_val p = json_kind(d, content) == JSON_ARRAY ? json_first(d, content) : JSON_NONE; p != JSON_NONE;
       p = json_next(d, p)) {
    s = json_string(d, json_get(d, p, "text"));
    if (s.p) str_add(out, s.p, s.len);
  }
  if (out->oom) return rw_nomem(err, "a reply");
  bool text = json_kind(d, content) == JSON_STRING || json_kind(d, content) == JSON_ARRAY;
  if (text || (content != JSON_NONE && json_kind(d, content) == JSON_NULL)) return RW_OK;
  return expected(d, content, "choices[0].message.content", "a text", err);
}

/* The message, which some servers put into a list of one. */
static json_val message_of(json_doc *d, json_val choice) {
  json_val m = json_get(d, choice, "message");
  return json_kind(d, m) == JSON_ARRAY ? json_first(d, m) : m;
}

rw_status reply_chat(answer *out, json_doc *d, ask_kind kind, rw_error *err) {
  json_val choice;
  RW_TRY(first_choice(&choice, d, err));
  json_val m = message_of(d, choice);
  if (json_kind(d, m) != JSON_OBJECT) return expected(d, m, "choices[0].message", "an object", err);
  slice finish = json_string(d, json_get(d, choice, "finish_reason"));
  slice refusal = json_string(d, json_get(d, m, "refusal"));
  str text = {0};
  bool filtered = finish.p && slice_is(finish, "content_filter");
  rw_status st = filtered ? RW_OK : content_text(&text, d, m, err);
  if (!st) *out = judge_read(kind, (slice){text.p ? text.p : "", text.len});
  str_free(&text);
  if (filtered || (refusal.p && refusal.len)) *out = (answer){ANSWER_REFUSED, 0};
  if (!st && out->kind == ANSWER_UNPARSABLE && finish.p && slice_is(finish, "length")) out->kind = ANSWER_CUT;
  return st;
}

/* ---- attributes ---- */

/* In the order of its five outputs; weights as in RewardBench's script for this model. */
static const struct {
  const char *name;
  double weight;
} attributes[] = {
    {"helpfulness", 0.3}, {"correctness", 0.74}, {"coherence", 0.46}, {"complexity", 0.47}, {"verbosity", -0.33}};
enum { ATTRIBUTES = 5 };

typedef struct {
  double value[ATTRIBUTES], reward;
  bool have[ATTRIBUTES], have_reward;
} attribute_set;

static void take_attribute(attribute_set *s, slice name, double v) {
  if (slice_is(name, "reward")) s->reward = v, s->have_reward = true;
  for (int i = 0; i < ATTRIBUTES; i++)
    if (slice_is(name, attributes[i].name)) s->value[i] = v, s->have[i] = true;
}

static rw_status attribute_sum(double *value, const attribute_set *s, rw_error *err) {
  if (s->have_reward) {
    *value = s->reward;
    return RW_OK;
  }
  *value = 0;
  for (int i = 0; i < ATTRIBUTES; i++) {
    if (!s->have[i])
      return rw_fail(err, RW_DATA, "the reply's attributes: expected \"%s:number\" among them, got none",
                     attributes[i].name);
    *value += attributes[i].weight * s->value[i];
  }
  if (!isfinite(*value))
    return rw_fail(err, RW_DATA, "the reply's attributes: expected values of a reward, got some too large");
  return RW_OK;
}

static slice trim(slice s) {
  while (s.len && strchr(" \t\r\n", s.p[0])) s.p++, s.len--;
  while (s.len && strchr(" \t\r\n", s.p[s.len - 1])) s.len--;
  return s;
}

static bool number_of(slice s, double *out) {
  char b[64], *end;
  if (s.len == 0 || s.len >= sizeof b) return false;
  memcpy(b, s.p, s.len);
  b[s.len] = 0;
  *out = strtod(b, &end);
  return *end == 0 && isfinite(*out) && strspn(b, "+-.0123456789eE") == s.len;
}

static rw_status read_pairs(attribute_set *set, slice text, rw_error *err) {
  for (slice rest = trim(text); rest.len;) {
    const char *comma = memchr(rest.p, ',', rest.len);
    slice part = {rest.p, comma ? (size_t)(comma - rest.p) : rest.len};
    rest = comma ? (slice){comma + 1, rest.len - part.len - 1} : (slice){0};
    const char *colon = memchr(part.p, ':', part.len);
    double v;
    if (!colon || !number_of(trim((slice){colon + 1, part.len - (size_t)(colon + 1 - part.p)}), &v))
      return rw_fail(err, RW_DATA, "the reply's text: expected \"name:number,…\", got \"%.*s\"",
                     (int)(text.len > 60 ? 60 : text.len), text.p);
    take_attribute(set, trim((slice){part.p, (size_t)(colon - part.p)}), v);
  }
  return RW_OK;
}

rw_status reply_attributes(double *value, slice text, rw_error *err) {
  attribute_set set = {0};
  RW_TRY(read_pairs(&set, text, err));
  return attribute_sum(value, &set, err);
}

/* The text holds "name:value,…"; where it is empty, logprobs.content holds {"token": name, "logprob": value}. */
static rw_status reply_nemotron(double *value, json_doc *d, rw_error *err) {
  json_val choice;
  RW_TRY(first_choice(&choice, d, err));
  json_val m = message_of(d, choice), tokens = json_get(d, json_get(d, choice, "logprobs"), "content");
  attribute_set set = {0};
  str text = {0};
  rw_status st = m == JSON_NONE ? RW_OK : content_text(&text, d, m, err);
  if (!st && text.len) st = read_pairs(&set, (slice){text.p, text.len}, err);
  if (!st && !text.len && json_kind(d, tokens) == JSON_ARRAY)
    for (json_val t = json_first(d, tokens); t != JSON_NONE; t = json_next(d, t)) {
      double v;
      slice name = json_string(d, json_get(d, t, "token"));
      if (name.p && json_number(d, json_get(d, t, "logprob"), &v)) take_attribute(&set, name, v);
    }
  str_free(&text);
  return st ? st : attribute_sum(value, &set, err);
}

/* ---- one number ---- */

/* A number, or lists of one around it. */
static rw_status one_number(double *value, json_doc *d, json_val v, const char *field, rw_error *err) {
  json_val at = v;
  while (json_kind(d, at) == JSON_ARRAY && json_count(d, at) == 1) at = json_first(d, at);
  if (json_number(d, at, value) && isfinite(*value)) return RW_OK;
  return expected(d, v, field, "one number (is it a reward model with one output?)", err);
}

rw_status reply_reward(double *value, json_doc *d, endpoint_format format, rw_error *err) {
  if (format == ENDPOINT_NEMOTRON) return reply_nemotron(value, d, err);
  if (format == ENDPOINT_SGLANG) {
    json_val one = json_kind(d, 0) == JSON_ARRAY && json_count(d, 0) == 1 ? json_first(d, 0) : 0;
    return one_number(value, d, json_get(d, one, "embedding"), "embedding", err);
  }
  json_val data = json_get(d, 0, "data");
  if (json_kind(d, data) != JSON_ARRAY || json_count(d, data) != 1)
    return expected(d, data, "data", "a list of one", err);
  const char *field = format == ENDPOINT_CLASSIFY ? "probs" : format == ENDPOINT_POOLING ? "data" : "score";
  return one_number(value, d, json_get(d, json_first(d, data), field), field, err);
}
