/* result.c - results.json: writing and reading; and the public rewardbench tools' files. */
#include <stddef.h>
#include <string.h>

#include "eval/eval_int.h"

static void interval(json_writer *w, const char *name, const eval_figure *f) {
  if (isnan(f->lo)) {
    jw_null(w, name);
    return;
  }
  jw_array(w, name);
  jw_num(w, NULL, f->lo);
  jw_num(w, NULL, f->hi);
  jw_end(w);
}

static const char *const level_name[LEVELS] = {"easy", "normal", "hard"};
static const char *const ties_name[5] = {"ref_accuracy", "tied_accuracy", "margin_above_spread",
                                         "margin_above_spread_hard", "margin_score"};
static const char baseline_score[] = "length of the response in characters (of already tokenized rows: in tokens)";

static void subset_json(json_writer *w, const eval_result *r, const eval_subset *u) {
  jw_object(w, u->name);
  if (u->section) jw_string(w, "section", u->section);
  jw_uint(w, "n", u->n);
  jw_uint(w, "unscored", u->unscored);
  if (u->pairs) jw_uint(w, "pairs", u->pairs);
  jw_num(w, "correct", u->correct);
  jw_num(w, "accuracy", u->accuracy);
  for (int l = 0; r->suite == EVAL_RM_BENCH && l < LEVELS; l++) jw_num(w, level_name[l], u->level[l]);
  if (r->suite == EVAL_REWARDBENCH2 && strcmp(u->name, "Ties") == 0)
    for (int i = 0; i < 5; i++) jw_num(w, ties_name[i], r->ties_part[i]);
  jw_num(w, "length_baseline", u->baseline);
  jw_end(w);
}

/* The judge's counts by their names in results.json. */
static const struct {
  const char *name;
  size_t at;
} judge_counts[] = {{"comparisons", offsetof(eval_judge, comparisons)},
                    {"won", offsetof(eval_judge, won)},
                    {"lost", offsetof(eval_judge, lost)},
                    {"tied", offsetof(eval_judge, tied)},
                    {"swapped", offsetof(eval_judge, swapped)},
                    {"refused", offsetof(eval_judge, refused)},
                    {"unparsable", offsetof(eval_judge, unparsable)}},
  judge_answers[] = {{"first", offsetof(eval_judge, said_first)},
                     {"second", offsetof(eval_judge, said_second)},
                     {"tie", offsetof(eval_judge, said_tie)},
                     {"refused", offsetof(eval_judge, said_no)},
                     {"unparsable", offsetof(eval_judge, said_unparsable)},
                     {"cut_off", offsetof(eval_judge, said_cut)},
                     {"ratings", offsetof(eval_judge, ratings)}};
enum {
  JUDGE_COUNTS = sizeof judge_counts / sizeof *judge_counts,
  JUDGE_ANSWERS = sizeof judge_answers / sizeof *judge_answers
};

static void judge_json(json_writer *w, const eval_judge *j) {
  jw_object(w, "judge");
  for (int i = 0; i < JUDGE_COUNTS; i++)
    jw_uint(w, judge_counts[i].name, *(const size_t *)((const char *)j + judge_counts[i].at));
  jw_object(w, "answers");
  for (int i = 0; i < JUDGE_ANSWERS; i++)
    jw_uint(w, judge_answers[i].name, *(const size_t *)((const char *)j + judge_answers[i].at));
  jw_end(w);
  jw_end(w);
}

static void unscored_json(json_writer *w, const eval_result *r) {
  jw_uint(w, "unscored", r->n_unscored);
  jw_array(w, "unscored_items");
  for (size_t i = 0; i < r->n_unscored; i++) {
    const eval_unscored *u = &r->unscored[i];
    jw_object(w, NULL);
    if (u->id) jw_string(w, "id", u->id);
    jw_string(w, "file", u->path);
    jw_uint(w, "line", u->line);
    jw_string(w, "subset", u->subset);
    jw_string(w, "why", u->why);
    jw_end(w);
  }
  jw_end(w);
}

const eval_figure *eval_main_figure(const eval_result *r) {
  return isnan(r->overall.percent) ? &r->items : &r->overall;
}

double eval_macro(const eval_result *r) {
  double sum = isnan(r->overall.percent) || r->n_sections < suite_section_count(r->suite) ? NAN : 0;
  for (size_t i = 0; i < r->n_sections; i++) sum += r->sections[i].percent / (double)r->n_sections;
  return sum;
}

void eval_result_json(json_writer *w, const eval_result *r) {
  bool rm_bench = r->suite == EVAL_RM_BENCH;
  jw_string(w, "suite", eval_suite_words[r->suite].text);
  jw_string(w, "unit", "percent");
  jw_num(w, "overall", r->overall.percent);
  interval(w, "interval", &r->overall);
  if (r->suite == EVAL_JUDGEBENCH) {
    jw_num(w, "micro", r->overall.percent);
    jw_num(w, "macro", eval_macro(r));
  }
  jw_object(w, "sections");
  for (size_t i = 0; i < r->n_sections; i++) jw_num(w, r->sections[i].name, r->sections[i].percent);
  for (int l = 0; rm_bench && l < LEVELS; l++) jw_num(w, level_name[l], r->level[l].percent);
  jw_end(w);
  jw_object(w, "section_intervals");
  for (size_t i = 0; i < r->n_sections; i++) interval(w, r->sections[i].name, &r->sections[i]);
  for (int l = 0; rm_bench && l < LEVELS; l++) interval(w, level_name[l], &r->level[l]);
  jw_end(w);
  for (int l = 0; rm_bench && l < LEVELS; l++) jw_num(w, level_name[l], r->level[l].percent);
  jw_object(w, "subsets");
  for (size_t i = 0; i < r->n_subsets; i++) subset_json(w, r, &r->subsets[i]);
  jw_end(w);
  jw_array(w, "missing");
  for (size_t i = 0; i < r->n_missing; i++) jw_string(w, NULL, r->missing[i]);
  jw_end(w);
  jw_object(w, "items");
  jw_uint(w, "n", r->n_items);
  jw_num(w, "accuracy", r->items.percent);
  interval(w, "interval", &r->items);
  jw_num(w, "length_baseline", r->items.baseline);
  jw_end(w);
  jw_uint(w, "comparisons", r->comparisons);
  jw_uint(w, "ties", r->ties);
  jw_uint(w, "truncated", r->truncated);
  jw_uint(w, "dropped", r->dropped);
  if (r->suite == EVAL_PPE_PREFERENCE) jw_uint(w, "without_preference", r->aside);
  best_of_json(w, r);
  unscored_json(w, r);
  if (r->judge.comparisons + r->judge.ratings > 0) judge_json(w, &r->judge);
  jw_object(w, "bootstrap");
  jw_num(w, "level", 95);
  jw_num(w, "resamples", r->resamples);
  jw_uint(w, "seed", r->seed);
  jw_end(w);
  jw_object(w, "length_baseline");
  jw_string(w, "score", baseline_score);
  jw_num(w, "overall", r->overall.baseline);
  jw_object(w, "sections");
  for (size_t i = 0; i < r->n_sections; i++) jw_num(w, r->sections[i].name, r->sections[i].baseline);
  for (int l = 0; rm_bench && l < LEVELS; l++) jw_num(w, level_name[l], r->level[l].baseline);
  jw_end(w);
  jw_end(w);
}

/* ---- reading ---- */

/* The number under name in an object; NaN: null or absent. */
static double number(const json_doc *d, json_val object, const char *name) {
  double v;
  return json_number(d, json_get(d, object, name), &v) ? v : NAN;
}

static size_t whole(const json_doc *d, json_val object, const char *name) {
  double v = number(d, object, name);
  return v >= 0 && v < 9e15 ? (size_t)v : 0;
}

static void read_interval(const json_doc *d, json_val object, const char *name, eval_figure *f) {
  json_val v = json_get(d, object, name);
  if (json_kind(d, v) != JSON_ARRAY || json_count(d, v) != 2 || !json_number(d, json_at(d, v, 0), &f->lo) ||
      !json_number(d, json_at(d, v, 1), &f->hi))
    f->lo = f->hi = NAN;
}

static eval_figure read_figure(const json_doc *d, const char *name, json_val values, json_val ends, json_val base) {
  eval_figure f = {name, number(d, values, name), NAN, NAN, number(d, base, name)};
  read_interval(d, ends, name, &f);
  return f;
}

static const char *own(eval_result *r, slice s) { return s.p ? arena_strndup(r->memory, s.p, s.len) : NULL; }

static bool is_level(const char *name) {
  for (int l = 0; l < LEVELS; l++)
    if (strcmp(name, level_name[l]) == 0) return true;
  return false;
}

static rw_status read_unscored(eval_result *r, json_doc *d, rw_error *err) {
  json_val list = json_get(d, 0, "unscored_items");
  r->unscored = arena_alloc(r->memory, json_count(d, list), sizeof *r->unscored);
  if (!r->unscored) return rw_nomem(err, "results");
  for (json_val v = json_first(d, list); v != JSON_NONE; v = json_next(d, v)) {
    eval_unscored u = {own(r, json_string(d, json_get(d, v, "id"))), own(r, json_string(d, json_get(d, v, "file"))),
                       own(r, json_string(d, json_get(d, v, "subset"))),
                       own(r, json_string(d, json_get(d, v, "why"))), whole(d, v, "line")};
    if (u.path && u.subset && u.why) r->unscored[r->n_unscored++] = u;
  }
  return RW_OK;
}

static rw_status read_members(eval_result *r, json_doc *d, const char **model, rw_error *err) {
  json_val sections = json_get(d, 0, "sections"), ends = json_get(d, 0, "section_intervals"),
           subsets = json_get(d, 0, "subsets"), base = json_get(d, 0, "length_baseline"),
           items = json_get(d, 0, "items"), name = json_get(d, 0, "model"), missing = json_get(d, 0, "missing");
  slice suite = json_string(d, json_get(d, 0, "suite"));
  if (!suite.p || !eval_suite_of(suite, &r->suite) || json_kind(d, sections) != JSON_OBJECT ||
      json_kind(d, subsets) != JSON_OBJECT)
    return rw_fail(err, RW_DATA,
                   "expected suite, sections and subsets of a `reward eval` result, got something else");
  json_val base_sections = json_get(d, base, "sections");
  r->overall = read_figure(d, "overall", 0, JSON_NONE, base);
  read_interval(d, 0, "interval", &r->overall);
  r->items = (eval_figure){"items", number(d, items, "accuracy"), NAN, NAN, number(d, items, "length_baseline")};
  read_interval(d, items, "interval", &r->items);
  for (int l = 0; l < LEVELS; l++) r->level[l] = read_figure(d, level_name[l], sections, ends, base_sections);
  r->sections = arena_alloc(r->memory, json_count(d, sections), sizeof *r->sections);
  r->subsets = arena_alloc(r->memory, json_count(d, subsets), sizeof *r->subsets);
  r->missing = arena_alloc(r->memory, json_count(d, missing), sizeof *r->missing);
  if (!r->sections || !r->subsets || !r->missing) return rw_nomem(err, "results");
  for (json_val v = json_first(d, sections); v != JSON_NONE; v = json_next(d, v)) {
    const char *n = own(r, json_key(d, v));
    if (!n) return rw_nomem(err, "results");
    if (r->suite != EVAL_RM_BENCH || !is_level(n))
      r->sections[r->n_sections++] = read_figure(d, n, sections, ends, base_sections);
  }
  for (json_val v = json_first(d, subsets); v != JSON_NONE; v = json_next(d, v)) {
    eval_subset *u = &r->subsets[r->n_subsets++];
    *u = (eval_subset){own(r, json_key(d, v)),
                       own(r, json_string(d, json_get(d, v, "section"))),
                       whole(d, v, "n"),
                       whole(d, v, "unscored"),
                       number(d, v, "correct"),
                       number(d, v, "accuracy"),
                       number(d, v, "length_baseline"),
                       {0},
                       whole(d, v, "pairs")};
    if (!u->name) return rw_nomem(err, "results");
    for (int l = 0; l < LEVELS; l++) u->level[l] = number(d, v, level_name[l]);
    for (int i = 0; i < 5 && json_get(d, v, ties_name[0]) != JSON_NONE; i++)
      r->ties_part[i] = number(d, v, ties_name[i]);
  }
  for (json_val v = json_first(d, missing); v != JSON_NONE; v = json_next(d, v))
    if ((r->missing[r->n_missing] = own(r, json_string(d, v)))) r->n_missing++;
  RW_TRY(read_unscored(r, d, err));
  RW_TRY(best_of_parse(r, d, err));
  r->aside = whole(d, 0, "without_preference");
  r->n_items = whole(d, items, "n");
  r->comparisons = whole(d, 0, "comparisons");
  r->ties = whole(d, 0, "ties");
  r->truncated = whole(d, 0, "truncated");
  r->dropped = whole(d, 0, "dropped");
  r->resamples = (int)whole(d, json_get(d, 0, "bootstrap"), "resamples");
  r->seed = whole(d, json_get(d, 0, "bootstrap"), "seed");
  json_val judge = json_get(d, 0, "judge"), answers = json_get(d, judge, "answers");
  for (int i = 0; i < JUDGE_COUNTS; i++)
    *(size_t *)((char *)&r->judge + judge_counts[i].at) = whole(d, judge, judge_counts[i].name);
  for (int i = 0; i < JUDGE_ANSWERS; i++)
    *(size_t *)((char *)&r->judge + judge_answers[i].at) = whole(d, answers, judge_answers[i].name);
  if (json_kind(d, name) != JSON_STRING) name = json_get(d, 0, "scores");
  if (model) *model = own(r, json_string(d, name));
  return RW_OK;
}

rw_status eval_result_parse(eval_result *r, json_doc *d, const char **model, rw_error *err) {
  *r = (eval_result){.memory = arena_new()};
  if (model) *model = NULL;
  rw_status s = r->memory ? read_members(r, d, model, err) : rw_nomem(err, "results");
  if (s) eval_result_free(r);
  return s;
}

rw_status eval_result_read(eval_result *r, const char *path, const char **model, rw_error *err) {
  json_file f;
  *r = (eval_result){0};
  RW_TRY(json_file_open_large(&f, path, err));
  rw_status s = eval_result_parse(r, f.doc, model, err);
  if (s) rw_prefix(err, s, "%s", path);
  json_file_close(&f);
  return s;
}

/* ---- the public tools' files ---- */

static void public_subsets(json_writer *w, const eval_result *r) {
  for (size_t i = 0; i < r->n_subsets; i++) jw_num(w, r->subsets[i].name, r->subsets[i].accuracy / 100);
}

/* One object with what the leaderboard's scripts write (a share for each subset) and what the rewardbench program
 * writes (accuracy, num_prompts, extra_results). */
void eval_public_summary(str *out, const eval_result *r, const char *model) {
  json_writer writer = {.out = out}, *w = &writer;
  jw_object(w, NULL);
  jw_string(w, "model", model);
  jw_string(w, "model_type", r->judge.comparisons ? "Generative" : "Seq. Classifier");
  jw_string(w, "chat_template", "tokenizer");
  public_subsets(w, r);
  jw_num(w, "accuracy", r->items.percent / 100);
  jw_uint(w, "num_prompts", r->n_items);
  if (r->n_unscored) jw_uint(w, "unscored", r->n_unscored);
  jw_null(w, "ref_model");
  jw_string(w, "tokenizer", model);
  jw_object(w, "extra_results");
  public_subsets(w, r);
  jw_end(w);
  jw_end(w);
  str_addc(out, '\n');
}

static void score_list(json_writer *w, const char *name, const double *v, size_t n) {
  if (n > 1) jw_array(w, name);
  for (size_t i = 0; i < n; i++) jw_f32(w, n > 1 ? NULL : name, (float)v[i]);
  if (n > 1) jw_end(w);
}

void eval_public_item(str *out, const eval_data *d, const eval_scores *s, size_t i) {
  const item *it = &d->items[i];
  const double *score = s->score + it->first;
  static const conversation none = {0};
  const conversation *c = is_aside(it) ? &none : &d->rows[i].branch[0];
  json_writer writer = {.out = out}, *w = &writer;
  jw_object(w, NULL);
  if (it->id.p) jw_slice(w, "id", it->id);
  jw_string(w, "subset", d->subsets[it->subset].name);
  if (c->messages && c->n_messages == 2)
    jw_slice(w, "prompt", c->messages[0].content);
  else if (c->messages)
    conv_write(jw_value(w, "prompt"), c->messages, c->n_messages - 1);
  if (it->n_branches == 2) {
    if (isnan(score[0]))
      jw_null(w, "results");
    else
      jw_int(w, "results", score[0] > score[1]);
  }
  score_list(w, "scores_chosen", score, it->n_chosen);
  score_list(w, "scores_rejected", score + it->n_chosen, it->n_branches - it->n_chosen);
  jw_end(w);
}
