/* load_ppe.c - what PPE's rows (lmarena-ai/PPE-…) have beside their conversations.
 *
 * Human preference: `winner` model_a or model_b; rows with a tie have no preference and are set aside, as the
 * public code does for its accuracy. Correctness: `scores`, one boolean a response; `conflict_pairs` and
 * `sampled_conflict_pairs`, lists of two places of which one response is right and the other wrong; `model_name`,
 * who wrote the responses. Which of the five sets a row is of stands in no field: the folder or the file is named
 * for it.
 */
#include <string.h>
#include <strings.h>

#include "eval/eval_int.h"

/* ---- human preference ---- */

static void read_tags(json_doc *doc, item *it) {
  slice language = json_string(doc, json_get(doc, 0, "language"));
  for (int k = 0; suite_tags[k]; k++) {
    const char *tag = suite_tags[k];
    bool on = json_kind(doc, json_get(doc, 0, tag)) == JSON_TRUE;
    if (strcmp(tag, "english_prompt") == 0) on = slice_is(language, "English");
    if (strcmp(tag, "non_english_prompt") == 0) on = language.p && !slice_is(language, "English");
    if (strcmp(tag, "chinese_prompt") == 0) on = slice_is(language, "Chinese");
    if (strcmp(tag, "russian_prompt") == 0) on = slice_is(language, "Russian");
    if (on) it->tags |= (uint16_t)(1u << k);
  }
}

rw_status ppe_preference_read(json_doc *doc, conv_row *row, item *it, rw_error *err) {
  slice winner = json_string(doc, json_get(doc, 0, "winner"));
  read_tags(doc, it);
  if (row->kind == ROW_PAIR) return RW_OK; /* converted */
  if (row->kind != ROW_RESPONSES || row->n_branches != 2)
    return rw_fail(err, RW_DATA, "expected prompt, response_1 and response_2, got a row with %zu response%s",
                   row->n_branches, row->n_branches == 1 ? "" : "s");
  bool b = slice_is(winner, "model_b");
  if (!b && !slice_is(winner, "model_a")) {
    if (winner.len >= 3 && memcmp(winner.p, "tie", 3) == 0) {
      row->n_branches = row->n_chosen = 0;
      row->kind = ROW_PAIR;
      return RW_OK;
    }
    return rw_fail(err, RW_DATA, "winner: expected model_a, model_b or a tie, got \"%.*s\"",
                   (int)(winner.len > 60 ? 60 : winner.len), winner.p ? winner.p : "");
  }
  it->label_b = b;
  row->kind = ROW_PAIR;
  row->n_chosen = 1;
  row->scores = NULL;
  if (b) {
    conversation first = row->branch[0];
    row->branch[0] = row->branch[1];
    row->branch[1] = first;
  }
  return RW_OK;
}

/* ---- correctness ---- */

/* How the sets are called in the names of folders and files, in the order of the suite's sections. */
static const char *const set_names[] = {"mmlu", "math", "gpqa", "mbpp", "ifeval"};
enum { SETS = sizeof set_names / sizeof *set_names };

/* The set whose name stands last in the text; -1: none. */
static int set_in(const char *text, size_t len) {
  int found = -1;
  for (size_t i = 0; i < len; i++)
    for (int k = 0; k < SETS; k++) {
      size_t n = strlen(set_names[k]);
      if (i + n <= len && strncasecmp(text + i, set_names[k], n) == 0) found = k;
    }
  return found;
}

static rw_status which_set(json_doc *doc, const char *path, int *set, rw_error *err) {
  slice name = json_string(doc, json_get(doc, 0, "benchmark"));
  *set = name.p ? set_in(name.p, name.len) : set_in(path, strlen(path));
  if (*set >= 0) return RW_OK;
  return rw_fail(err, RW_DATA,
                 "expected the set's name (mmlu_pro, math, gpqa, mbpp_plus or ifeval) in the name of the folder or "
                 "file, as in PPE-MATH-Best-of-K, or in a field `benchmark`; got neither");
}

static rw_status read_labels(eval_data *d, json_doc *doc, const conv_row *row, rw_error *err) {
  if (!row->scores)
    return rw_fail(err, RW_DATA, "scores: expected a list of %zu booleans, got %s", row->n_branches,
                   json_kind_name(json_kind(doc, json_get(doc, 0, "scores"))));
  for (size_t b = 0; b < row->n_branches; b++) {
    double v = row->scores[b];
    if (v != 0 && v != 1)
      return rw_fail(err, RW_DATA,
                     "scores[%zu]: expected true or false, got %g; are these rewards? Give the published rows as "
                     "data, and the rewards by " FIELD(scores),
                     b, v);
    if (!vec_push(d->right, d->n_right, d->cap_right, v == 1)) return rw_nomem(err, "benchmark rows");
  }
  return RW_OK;
}

static rw_status add_pair(eval_data *d, size_t a, size_t b, bool a_right, rw_error *err) {
  conflict c = {(uint16_t)(a_right ? a : b), (uint16_t)(a_right ? b : a)};
  return vec_push(d->pairs, d->n_pairs, d->cap_pairs, c) ? RW_OK : rw_nomem(err, "benchmark rows");
}

/* Without the field all pairs of a right and a wrong response. */
static rw_status every_pair(eval_data *d, const bool *right, size_t n, uint32_t *count, rw_error *err) {
  for (size_t a = 0; a < n; a++)
    for (size_t b = a + 1; b < n; b++) {
      if (right[a] == right[b]) continue;
      RW_TRY(add_pair(d, a, b, right[a], err));
      ++*count;
    }
  return RW_OK;
}

static rw_status read_pairs(eval_data *d, json_doc *doc, const char *field, const bool *right, size_t n,
                            uint32_t *count, rw_error *err) {
  json_val list = json_get(doc, 0, field);
  size_t k = 0;
  if (json_kind(doc, list) != JSON_ARRAY) return json_wrong(doc, list, field, "a list of pairs of places", err);
  for (json_val e = json_first(doc, list); e != JSON_NONE; e = json_next(doc, e), k++) {
    int64_t at[2] = {-1, -1};
    bool two = json_kind(doc, e) == JSON_ARRAY && json_count(doc, e) == 2;
    for (size_t i = 0; two && i < 2; i++)
      two = json_int(doc, json_at(doc, e, i), &at[i]) && at[i] >= 0 && (size_t)at[i] < n;
    if (!two || right[at[0]] == right[at[1]])
      return rw_fail(err, RW_DATA,
                     "%s[%zu]: expected the places (from 0) of a right and a wrong one of %zu responses, got %.*s",
                     field, k, n, (int)(json_raw(doc, e).len > 40 ? 40 : json_raw(doc, e).len), json_raw(doc, e).p);
    RW_TRY(add_pair(d, (size_t)at[0], (size_t)at[1], right[at[0]], err));
  }
  *count = (uint32_t)k;
  return RW_OK;
}

static bool has(json_doc *doc, const char *field) { return json_kind(doc, json_get(doc, 0, field)) != JSON_NULL; }

rw_status ppe_correctness_read(eval_data *d, json_doc *doc, const char *path, const conv_row *row, item *it,
                               slice *name, arena *a, rw_error *err) {
  enum { MOST_RESPONSES = 1024 };
  int set;
  size_t n = row->n_branches, first = d->n_right;
  if (row->kind != ROW_RESPONSES || n < 2 || n > MOST_RESPONSES)
    return rw_fail(err, RW_DATA, "expected prompt and 2 to %d responses (response_1, response_2, …), got %zu",
                   MOST_RESPONSES, n);
  RW_TRY(which_set(doc, path, &set, err));
  RW_TRY(read_labels(d, doc, row, err));
  const bool *right = d->right + first;
  it->first_pair = d->n_pairs;
  RW_TRY(has(doc, "conflict_pairs") ? read_pairs(d, doc, "conflict_pairs", right, n, &it->n_pairs, err)
                                    : every_pair(d, right, n, &it->n_pairs, err));
  if (has(doc, "sampled_conflict_pairs"))
    RW_TRY(read_pairs(d, doc, "sampled_conflict_pairs", right, n, &it->n_sampled, err));
  slice model = json_string(doc, json_get(doc, 0, "model_name"));
  const char *section = suite_specs[EVAL_PPE_CORRECTNESS].sections[set];
  size_t len = strlen(section) + (model.p ? 1 + model.len : 0);
  char *text = arena_alloc(a, len + 1, 1);
  if (!text) return rw_nomem(err, "subsets");
  strcpy(text, section);
  if (model.p) {
    text[strlen(section)] = '/';
    memcpy(text + strlen(section) + 1, model.p, model.len);
  }
  text[len] = 0;
  *name = (slice){text, len};
  return RW_OK;
}
