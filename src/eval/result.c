/* result.c - results.json: writing and reading; and the public rewardbench tools' files. */
#include <stddef.h>
#include <string.h>

#include "eval/eval_int.h"

static void member(str *out, const char *name, double v) {
  str_json_key(out, name);
  str_json_num(out, v);
}

static void count(str *out, const char *name, size_t n) {
  str_json_key(out, name);
  str_printf(out, "%zu", n);
}

static void text(str *out, const char *name, const char *value) {
  str_json_key(out, name);
  str_json(out, value, strlen(value));
}

static void open_object(str *out, const char *name) {
  str_json_key(out, name);
  str_addc(out, '{');
}

static void interval(str *out, const char *name, const eval_figure *f) {
  str_json_key(out, name);
  if (isnan(f->lo)) {
    str_addz(out, "null");
    return;
  }
  str_addc(out, '[');
  str_json_num(out, f->lo);
  str_addz(out, ", ");
  str_json_num(out, f->hi);
  str_addc(out, ']');
}

static const char *const level_name[LEVELS] = {"easy", "normal", "hard"};
static const char *const ties_name[5] = {"ref_accuracy", "tied_accuracy", "margin_above_spread",
                                         "margin_above_spread_hard", "margin_score"};
static const char baseline_score[] = "length of the response in characters (of already tokenized rows: in tokens)";

static void subset_json(str *out, const eval_result *r, const eval_subset *u) {
  open_object(out, u->name);
  if (u->section) text(out, "section", u->section);
  count(out, "n", u->n);
  count(out, "unscored", u->unscored);
  member(out, "correct", u->correct);
  member(out, "accuracy", u->accuracy);
  for (int l = 0; r->suite == EVAL_RM_BENCH && l < LEVELS; l++) member(out, level_name[l], u->level[l]);
  if (r->suite == EVAL_REWARDBENCH2 && strcmp(u->name, "Ties") == 0)
    for (int i = 0; i < 5; i++) member(out, ties_name[i], r->ties_part[i]);
  member(out, "length_baseline", u->baseline);
  str_addc(out, '}');
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

static void judge_json(str *out, const eval_judge *j) {
  open_object(out, "judge");
  for (int i = 0; i < JUDGE_COUNTS; i++)
    count(out, judge_counts[i].name, *(const size_t *)((const char *)j + judge_counts[i].at));
  open_object(out, "answers");
  for (int i = 0; i < JUDGE_ANSWERS; i++)
    count(out, judge_answers[i].name, *(const size_t *)((const char *)j + judge_answers[i].at));
  str_addz(out, "}}");
}

static void unscored_json(str *out, const eval_result *r) {
  count(out, "unscored", r->n_unscored);
  str_json_key(out, "unscored_items");
  str_addc(out, '[');
  for (size_t i = 0; i < r->n_unscored; i++) {
    const eval_unscored *u = &r->unscored[i];
    str_addz(out, i ? ", {" : "{");
    if (u->id) text(out, "id", u->id);
    text(out, "file", u->path);
    str_json_key(out, "line");
    str_printf(out, "%llu", (unsigned long long)u->line);
    text(out, "subset", u->subset);
    text(out, "why", u->why);
    str_addc(out, '}');
  }
  str_addc(out, ']');
}

void eval_result_json(str *out, const eval_result *r) {
  bool rm_bench = r->suite == EVAL_RM_BENCH;
  text(out, "suite", eval_suite_name[r->suite]);
  text(out, "unit", "percent");
  member(out, "overall", r->overall.percent);
  interval(out, "interval", &r->overall);
  open_object(out, "sections");
  for (size_t i = 0; i < r->n_sections; i++) member(out, r->sections[i].name, r->sections[i].percent);
  for (int l = 0; rm_bench && l < LEVELS; l++) member(out, level_name[l], r->level[l].percent);
  str_addc(out, '}');
  open_object(out, "section_intervals");
  for (size_t i = 0; i < r->n_sections; i++) interval(out, r->sections[i].name, &r->sections[i]);
  for (int l = 0; rm_bench && l < LEVELS; l++) interval(out, level_name[l], &r->level[l]);
  str_addc(out, '}');
  for (int l = 0; rm_bench && l < LEVELS; l++) member(out, level_name[l], r->level[l].percent);
  open_object(out, "subsets");
  for (size_t i = 0; i < r->n_subsets; i++) subset_json(out, r, &r->subsets[i]);
  str_addc(out, '}');
  str_json_key(out, "missing");
  str_addc(out, '[');
  for (size_t i = 0; i < r->n_missing; i++) {
    if (i) str_addz(out, ", ");
    str_json(out, r->missing[i], strlen(r->missing[i]));
  }
  str_addc(out, ']');
  open_object(out, "items");
  count(out, "n", r->n_items);
  member(out, "accuracy", r->items.percent);
  interval(out, "interval", &r->items);
  member(out, "length_baseline", r->items.baseline);
  str_addc(out, '}');
  count(out, "comparisons", r->comparisons);
  count(out, "ties", r->ties);
  count(out, "truncated", r->truncated);
  count(out, "dropped", r->dropped);
  unscored_json(out, r);
  if (r->judge.comparisons + r->judge.ratings > 0) judge_json(out, &r->judge);
  open_object(out, "bootstrap");
  member(out, "level", 95);
  member(out, "resamples", r->resamples);
  str_json_key(out, "seed");
  str_printf(out, "%llu", (unsigned long long)r->seed);
  str_addc(out, '}');
  open_object(out, "length_baseline");
  text(out, "score", baseline_score);
  member(out, "overall", r->overall.baseline);
  open_object(out, "sections");
  for (size_t i = 0; i < r->n_sections; i++) member(out, r->sections[i].name, r->sections[i].baseline);
  for (int l = 0; rm_bench && l < LEVELS; l++) member(out, level_name[l], r->level[l].baseline);
  str_addz(out, "}}");
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
                       {0}};
    if (!u->name) return rw_nomem(err, "results");
    for (int l = 0; l < LEVELS; l++) u->level[l] = number(d, v, level_name[l]);
    for (int i = 0; i < 5 && json_get(d, v, ties_name[0]) != JSON_NONE; i++)
      r->ties_part[i] = number(d, v, ties_name[i]);
  }
  for (json_val v = json_first(d, missing); v != JSON_NONE; v = json_next(d, v))
    if ((r->missing[r->n_missing] = own(r, json_string(d, v)))) r->n_missing++;
  RW_TRY(read_unscored(r, d, err));
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
  RW_TRY(json_file_open(&f, path, err));
  rw_status s = eval_result_parse(r, f.doc, model, err);
  if (s) rw_prefix(err, s, "%s", path);
  json_file_close(&f);
  return s;
}

/* ---- the public tools' files ---- */

static void public_subsets(str *out, const eval_result *r) {
  for (size_t i = 0; i < r->n_subsets; i++) member(out, r->subsets[i].name, r->subsets[i].accuracy / 100);
}

/* One object with what the leaderboard's scripts write (a share for each subset) and what the rewardbench program
 * writes (accuracy, num_prompts, extra_results). */
void eval_public_summary(str *out, const eval_result *r, const char *model) {
  str_addc(out, '{');
  text(out, "model", model);
  text(out, "model_type", r->judge.comparisons ? "Generative" : "Seq. Classifier");
  text(out, "chat_template", "tokenizer");
  public_subsets(out, r);
  member(out, "accuracy", r->items.percent / 100);
  count(out, "num_prompts", r->n_items);
  if (r->n_unscored) count(out, "unscored", r->n_unscored);
  str_json_key(out, "ref_model");
  str_addz(out, "null");
  text(out, "tokenizer", model);
  open_object(out, "extra_results");
  public_subsets(out, r);
  str_addz(out, "}}\n");
}

static void score_list(str *out, const char *name, const double *v, size_t n) {
  str_json_key(out, name);
  if (n > 1) str_addc(out, '[');
  for (size_t i = 0; i < n; i++) {
    if (i) str_addz(out, ", ");
    str_json_f32(out, (float)v[i]);
  }
  if (n > 1) str_addc(out, ']');
}

void eval_public_item(str *out, const eval_data *d, const eval_scores *s, size_t i) {
  const item *it = &d->items[i];
  const double *score = s->score + it->first;
  const conversation *c = &d->rows[i].branch[0];
  str_addc(out, '{');
  if (it->id.p) {
    str_json_key(out, "id");
    str_json(out, it->id.p, it->id.len);
  }
  text(out, "subset", d->subsets[it->subset].name);
  if (c->messages) {
    str_json_key(out, "prompt");
    if (c->n_messages == 2)
      str_json(out, c->messages[0].content.p, c->messages[0].content.len);
    else
      conv_write(out, c->messages, c->n_messages - 1);
  }
  if (it->n_branches == 2) {
    str_json_key(out, "results");
    str_addz(out, isnan(score[0]) ? "null" : score[0] > score[1] ? "1" : "0");
  }
  score_list(out, "scores_chosen", score, it->n_chosen);
  score_list(out, "scores_rejected", score + it->n_chosen, it->n_branches - it->n_chosen);
  str_addc(out, '}');
}
