/* magpie_rows.c - what the Magpie sets of 100K (DPO) share: five responses a prompt, scored by ArmoRM. */
#include "curate/sources/magpie_rows.h"

#include <math.h>

enum { MOST_RESPONSES = 64 };

static rw_status read_responses(json_doc *d, json_val *text, double *score, size_t *n, rw_error *err) {
  json_val list = json_get(d, 0, "responses"), rewards = json_get(d, 0, "rewards_armorm");
  if (json_kind(d, list) != JSON_ARRAY) return json_wrong(d, list, "responses", "a list of strings", err);
  if (json_kind(d, rewards) != JSON_ARRAY)
    return json_wrong(d, rewards, "rewards_armorm", "a list of {score}", err);
  *n = json_count(d, list);
  if (*n > MOST_RESPONSES)
    return rw_fail(err, RW_DATA, "responses: expected at most %d, got %zu", MOST_RESPONSES, *n);
  if (json_count(d, rewards) != *n)
    return rw_fail(err, RW_DATA, "rewards_armorm: expected %zu scores, one a response, got %zu", *n,
                   json_count(d, rewards));
  size_t i = 0;
  json_val r = json_first(d, rewards);
  for (json_val v = json_first(d, list); v != JSON_NONE; v = json_next(d, v), r = json_next(d, r), i++) {
    text[i] = v;
    if (json_kind(d, v) != JSON_STRING) return json_wrong(d, v, "responses", "strings", err);
    if (json_kind(d, r) != JSON_OBJECT) return json_wrong(d, r, "rewards_armorm", "objects with a score", err);
    json_val s = json_get(d, r, "score");
    score[i] = NAN;
    if (s != JSON_NONE && json_kind(d, s) != JSON_NULL && (!json_number(d, s, &score[i]) || !isfinite(score[i])))
      return json_wrong(d, s, "rewards_armorm.score", "a number", err);
  }
  return RW_OK;
}

rw_status magpie_rows_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  (void)a;
  slice prompt, chosen, rejected;
  json_val text[MOST_RESPONSES];
  double score[MOST_RESPONSES];
  size_t n = 0;
  RW_TRY(src_text(d, 0, "instruction", &prompt, err));
  RW_TRY(read_responses(d, text, score, &n, err));
  if (!src_null(d, 0, "task_category")) RW_TRY(src_text(d, 0, "task_category", &s->category, err));
  src_hash(prompt, s->prompt);
  if (!src_pick(s, score, n)) return RW_OK;
  RW_TRY(json_text(d, text[s->chosen], "responses", &chosen, err)); /* the others are not unescaped */
  RW_TRY(json_text(d, text[s->rejected], "responses", &rejected, err));
  src_picked(s, chosen, rejected);
  return RW_OK;
}

rw_status magpie_rows_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  slice prompt;
  RW_TRY(src_text(d, 0, "instruction", &prompt, err));
  json_val list = json_get(d, 0, "responses");
  return src_pair(out, a, prompt, json_string(d, json_at(d, list, s->chosen)),
                  json_string(d, json_at(d, list, s->rejected)), err);
}
