/* test_eval.c - the benchmarks' figures: against files recorded from the public package (tests/reference/
 * check_rewardbench.py), against hand-made suites, and what must be refused. The scorer is a stand-in. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "reward/eval.h"
#include "reward/file.h"
#include "reward/json.h"

static const eval_options no_intervals = {0, 0}, usual = {1, EVAL_RESAMPLES};

/* ---- a stand-in for the model: the score is the response's first number ---- */

static const char *last_content(const conv_row *r, size_t b) {
  const conversation *c = &r->branch[b];
  return c->messages[c->n_messages - 1].content.p;
}

rw_status score_items(scorer *s, score_item *items, size_t n, rw_error *err) {
  (void)s;
  (void)err;
  for (size_t i = 0; i < n; i++)
    for (size_t b = 0; b < items[i].row->n_branches; b++) {
      const char *text = last_content(items[i].row, b);
      items[i].score[b] = strtof(text, NULL);
      if (strchr(text, 'T')) items[i].truncated = true;
      if (strchr(text, 'D')) items[i].dropped = true;
      if (strchr(text, 'E')) snprintf(items[i].error, sizeof items[i].error, "too long by far");
      if (strpbrk(text, "DE")) items[i].score[b] = NAN;
    }
  return RW_OK;
}

/* ---- helpers ---- */

static const char *put(const char *text) {
  static char path[4][64];
  static int k;
  char *p = path[k = (k + 1) % 4];
  snprintf(p, sizeof path[0], "/tmp/reward-eval-%ld-%d.jsonl", (long)getpid(), k);
  rw_error err;
  assert_int_equal(file_put(p, text, strlen(text), &err), RW_OK);
  return p;
}

static eval_data *load(eval_suite suite, const char *text) {
  eval_data *d;
  rw_error err;
  const char *path = put(text);
  if (eval_load(&d, suite, &path, 1, &err)) fail_msg("%s", err.text);
  remove(path);
  return d;
}

/* The rows must be refused with all of these words (NULL ends). */
static void refuse_rows(eval_suite suite, const char *text, ...) {
  eval_data *d;
  rw_error err;
  const char *path = put(text);
  assert_int_equal(eval_load(&d, suite, &path, 1, &err), RW_DATA);
  assert_null(d);
  va_list ap;
  va_start(ap, text);
  for (const char *word; (word = va_arg(ap, const char *));)
    if (!strstr(err.text, word)) fail_msg("'%s' not in: %s", word, err.text);
  va_end(ap);
  assert_non_null(strstr(err.text, path));
  remove(path);
}

static eval_scores scores(const eval_data *d, const char *text) {
  eval_scores s;
  rw_error err;
  const char *path = put(text);
  if (eval_scores_read(&s, d, path, &err)) fail_msg("%s", err.text);
  remove(path);
  return s;
}

static void refuse_scores(const eval_data *d, const char *text, ...) {
  eval_scores s;
  rw_error err;
  const char *path = put(text);
  assert_int_equal(eval_scores_read(&s, d, path, &err), RW_DATA);
  assert_null(s.score);
  va_list ap;
  va_start(ap, text);
  for (const char *word; (word = va_arg(ap, const char *));)
    if (!strstr(err.text, word)) fail_msg("'%s' not in: %s", word, err.text);
  va_end(ap);
  remove(path);
}

static eval_result measure(const eval_data *d, const char *score_rows, const eval_options *o) {
  eval_scores s = scores(d, score_rows);
  eval_result r;
  rw_error err;
  if (eval_measure(&r, d, &s, o, &err)) fail_msg("%s", err.text);
  eval_scores_free(&s);
  return r;
}

static const eval_figure *section(const eval_result *r, const char *name) {
  for (size_t i = 0; i < r->n_sections; i++)
    if (strcmp(r->sections[i].name, name) == 0) return &r->sections[i];
  fail_msg("no section %s", name);
  return NULL;
}

static const eval_subset *subset(const eval_result *r, const char *name) {
  for (size_t i = 0; i < r->n_subsets; i++)
    if (strcmp(r->subsets[i].name, name) == 0) return &r->subsets[i];
  fail_msg("no subset %s", name);
  return NULL;
}

static bool is_missing(const eval_result *r, const char *name) {
  for (size_t i = 0; i < r->n_missing; i++)
    if (strcmp(r->missing[i], name) == 0) return true;
  return false;
}

static void near(double got, double want) {
  if (!(fabs(got - want) <= 1e-9)) fail_msg("expected %.12g, got %.12g", want, got);
}

/* ---- recorded from the public package ---- */

static double recorded(json_doc *d, const char *suite, const char *which, const char *group, const char *name) {
  double v;
  json_val at = json_get(d, json_get(d, 0, suite), which);
  if (group) at = json_get(d, at, group);
  assert_true(json_number(d, json_get(d, at, name), &v));
  return 100 * v;
}

static void test_recorded(void **state) {
  (void)state;
  json_file f;
  rw_error err;
  if (json_file_open(&f, "tests/data/eval/expected.json", &err)) fail_msg("%s", err.text);
  for (int i = 0; i < 4; i++) {
    const char *name = eval_suite_name[i];
    char *path = mem_printf("tests/data/eval/%s.jsonl", name);
    eval_data *d;
    eval_scores s;
    eval_result r;
    if (eval_load(&d, (eval_suite)i, (const char *const *)&path, 1, &err)) fail_msg("%s", err.text);
    if (eval_scores_read(&s, d, path, &err)) fail_msg("%s", err.text);
    assert_int_equal(eval_measure(&r, d, &s, &no_intervals, &err), RW_OK);
    near(r.overall.percent, recorded(f.doc, name, "figures", NULL, "overall"));
    near(r.overall.baseline, recorded(f.doc, name, "length_baseline", NULL, "overall"));
    for (size_t k = 0; k < r.n_sections; k++) {
      near(r.sections[k].percent, recorded(f.doc, name, "figures", "sections", r.sections[k].name));
      near(r.sections[k].baseline, recorded(f.doc, name, "length_baseline", "sections", r.sections[k].name));
    }
    for (int l = 0; i == EVAL_RM_BENCH && l < 3; l++)
      near(r.level[l].percent, recorded(f.doc, name, "figures", "sections", r.level[l].name));
    json_val subsets = json_get(f.doc, json_get(f.doc, json_get(f.doc, 0, name), "figures"), "subsets");
    assert_int_equal(r.n_subsets, json_count(f.doc, subsets));
    for (size_t k = 0; k < r.n_subsets; k++) {
      near(r.subsets[k].accuracy, recorded(f.doc, name, "figures", "subsets", r.subsets[k].name));
      near(r.subsets[k].baseline, recorded(f.doc, name, "length_baseline", "subsets", r.subsets[k].name));
    }
    assert_int_equal(r.n_missing, 0);
    assert_true(r.ties > 0);
    eval_result_free(&r);
    eval_scores_free(&s);
    eval_data_free(d);
    mem_free(path);
  }
  json_file_close(&f);
}

/* ---- by hand ---- */

static const char pairs[] =
    "{\"prompt\": \"q\", \"chosen\": \"long answer\", \"rejected\": \"short\", \"source\": \"x\", \"id\": 1}\n"
    "{\"prompt\": \"q\", \"chosen\": \"\xC3\xA9\xC3\xA9\", \"rejected\": \"ab\", \"source\": \"x\", \"id\": 2}\n"
    "\n"
    "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"bcd\", \"source\": \"y\", \"id\": \"2\"}\n"
    "{\"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"abcd\"}], "
    "\"rejected\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"abc\"}]}\n";
static const char pair_scores[] =
    "{\"chosen_score\": 1.5, \"rejected_score\": 1, \"id\": 1}\n"
    "{\"chosen_score\": 1, \"rejected_score\": 1}\n"
    "{\"chosen_scores\": [-2], \"rejected_scores\": [3]}\n"
    "{\"scores\": [2, 1]}\n";

static void test_pairs(void **state) {
  (void)state;
  eval_data *d = load(EVAL_PAIRS, pairs);
  assert_int_equal(eval_items(d), 4);
  eval_result r = measure(d, pair_scores, &no_intervals);
  near(r.overall.percent, 50);
  near(r.items.percent, 50);
  near(r.overall.baseline, 50); /* 11 > 5; 2 characters each, a tie; 1 < 3; 4 > 3 */
  assert_int_equal(r.ties, 1);
  assert_int_equal(r.comparisons, 4);
  assert_int_equal(r.n_sections, 0);
  assert_int_equal(r.n_missing, 0);
  assert_int_equal(r.n_subsets, 3);
  assert_int_equal(subset(&r, "x")->n, 2);
  near(subset(&r, "x")->correct, 1);
  near(subset(&r, "x")->accuracy, 50);
  near(subset(&r, "y")->accuracy, 0);
  near(subset(&r, "all")->accuracy, 100);
  assert_true(isnan(r.overall.lo));
  eval_result_free(&r);
  eval_data_free(d);
}

static void test_judgebench_ties(void **state) {
  (void)state;
  /* the public code reads equal scores as B>A, so the second is right and the first is not */
  eval_data *d =
      load(EVAL_JUDGEBENCH,
           "{\"pair_id\": \"a\", \"source\": \"mmlu-pro-law\", \"question\": \"q\", \"response_A\": \"1\", "
           "\"response_B\": \"2\", \"label\": \"A>B\"}\n"
           "{\"pair_id\": \"b\", \"source\": \"livecodebench\", \"question\": \"q\", \"response_A\": \"1\", "
           "\"response_B\": \"2\", \"label\": \"B>A\"}\n"
           "{\"pair_id\": \"c\", \"source\": \"other\", \"question\": \"q\", \"response_A\": \"1\", "
           "\"response_B\": \"2\", \"label\": \"B>A\"}\n");
  /* scores: A, then B; chosen_score: the better one */
  eval_result r = measure(d,
                          "{\"scores\": [1, 1]}\n{\"scores\": [1, 1], \"pair_id\": \"b\"}\n"
                          "{\"chosen_score\": 1, \"rejected_score\": 2}\n",
                          &no_intervals);
  near(r.overall.percent, 100.0 / 3);
  near(section(&r, "knowledge")->percent, 0);
  near(section(&r, "coding")->percent, 100);
  assert_int_equal(r.n_sections, 2); /* nothing is averaged over sections, so none can be missing */
  assert_int_equal(r.ties, 2);
  eval_result_free(&r);
  r = measure(d, "{\"scores\": [2, 1]}\n{\"scores\": [1, 2]}\n{\"scores\": [2, 1]}\n", &no_intervals);
  near(r.overall.percent, 200.0 / 3);
  eval_result_free(&r);
  eval_data_free(d);
}

static void test_ties_by_hand(void **state) {
  (void)state;
#define TIES(id, n) \
  "{\"id\": \"" id "\", \"subset\": \"Ties\", \"prompt\": \"q\", \"chosen\": " n ", \"rejected\": [\"x\"]}\n"
  eval_data *d = load(EVAL_REWARDBENCH2, TIES("ref:1", "[\"a\"]") TIES("tied:1", "[\"a\", \"b\"]")
                                             TIES("tied:2", "[\"a\", \"b\"]") TIES("ref:2", "[\"a\"]"));
  /* group 1: margins 2 and 1, spread 1: nothing is above the spread, tanh(1/1 - 1) = 0;
   * group 2: margins 0 and 1, spread 0: the tied margin is above it, the smaller margin is not, no ratio */
  eval_result r = measure(d,
                          "{\"scores\": [3, 1]}\n{\"scores\": [3, 2, 1]}\n{\"scores\": [1, 1, 0]}\n"
                          "{\"scores\": [0, 0]}\n",
                          &usual);
  const double part[5] = {50, 100, 50, 0, 0};
  for (int i = 0; i < 5; i++) near(r.ties_part[i], part[i]);
  near(section(&r, "Ties")->percent, 30 * 0.5 + 30 * 1 + 20 * 0.5);
  near(subset(&r, "Ties")->correct, 3);
  assert_int_equal(r.ties, 1);
  /* drawn: group 1 twice 60, both 55, group 2 twice 50 */
  near(section(&r, "Ties")->lo, 50);
  near(section(&r, "Ties")->hi, 60);
  eval_result_free(&r);
  eval_data_free(d);
}

static void test_missing(void **state) {
  (void)state;
  static const char *const chat[] = {"alpacaeval-easy", "alpacaeval-length", "alpacaeval-hard",
                                     "mt-bench-easy",   "mt-bench-med",      "mt-bench-hard"};
  str rows = {0}, points = {0};
  for (int i = 0; i < 6; i++) {
    str_printf(&rows,
               "{\"id\": 7, \"subset\": \"%s\", \"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n",
               chat[i]); /* the same id in several subsets is several items */
    str_printf(&points, "{\"chosen_score\": %d, \"rejected_score\": 0}\n", i != 3);
  }
  eval_data *d = load(EVAL_REWARDBENCH, rows.p);
  eval_result r = measure(d, points.p, &usual);
  near(section(&r, "Chat")->percent, 100.0 * (100 + 95 + 95 + 40) / 358);
  near(section(&r, "Chat")->lo, section(&r, "Chat")->percent); /* one item a subset: nothing to draw */
  assert_true(isnan(section(&r, "Chat Hard")->percent));       /* one of its six is there */
  assert_true(isnan(section(&r, "Safety")->percent) && isnan(section(&r, "Reasoning")->percent));
  assert_true(isnan(r.overall.percent) && isnan(r.overall.lo) && isnan(r.overall.baseline));
  near(r.items.percent, 500.0 / 6);
  assert_true(is_missing(&r, "Safety") && is_missing(&r, "Reasoning") && is_missing(&r, "llmbar-natural"));
  assert_true(is_missing(&r, "hep-rust") && !is_missing(&r, "Chat Hard") && !is_missing(&r, "mt-bench-hard"));
  assert_int_equal(r.n_missing, 2 + 17);
  str json = {0}, table = {0};
  eval_result_json(&json, &r);
  assert_non_null(strstr(json.p, "\"overall\": null, \"interval\": null"));
  assert_non_null(strstr(json.p, "\"Safety\": null"));
  assert_int_equal(eval_print(&table, &r, NULL), RW_OK);
  assert_non_null(strstr(table.p, "Without rows: Safety, Reasoning, llmbar-natural"));
  str_free(&json);
  str_free(&table);
  str_free(&rows);
  str_free(&points);
  eval_result_free(&r);
  eval_data_free(d);

  d = load(EVAL_RM_BENCH,
           "{\"id\": 1, \"domain\": \"safety-refuse\", \"prompt\": \"q\", \"chosen\": [\"a\", \"b\", \"c\"], "
           "\"rejected\": [\"d\", \"e\", \"f\"]}\n");
  /* rows chosen, columns rejected: 1 > 0,1,2: only below 0; 5 > all; -1 > none */
  r = measure(d, "{\"chosen_scores\": [1, 5, -1], \"rejected_scores\": [0, 1, 2]}\n", &no_intervals);
  near(section(&r, "safety")->percent, 400.0 / 9);
  near(subset(&r, "safety-refuse")->level[0], 100.0 / 3); /* easy: (5 > 0), not (-1 > 0), not (-1 > 1) */
  near(subset(&r, "safety-refuse")->level[1], 200.0 / 3); /* normal: (1 > 0), (5 > 1) */
  near(subset(&r, "safety-refuse")->level[2], 100.0 / 3); /* hard: (5 > 2) */
  assert_true(isnan(r.overall.percent) && isnan(r.level[0].percent));
  assert_int_equal(r.ties, 1);
  assert_int_equal(r.comparisons, 9);
  assert_true(is_missing(&r, "chat") && is_missing(&r, "math") && is_missing(&r, "code") && r.n_missing == 3);
  eval_result_free(&r);
  eval_data_free(d);
}

#define ITEM "\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"

static void test_rows_refused(void **state) {
  (void)state;
  refuse_rows(EVAL_REWARDBENCH,
              "{\"id\": 1, \"subset\": \"alpacaeval-easy\", " ITEM "{\"subset\": \"chatty\", " ITEM, ":2: subset",
              "chatty", "rewardbench", NULL);
  refuse_rows(EVAL_REWARDBENCH, "{\"id\": 1, " ITEM, ":1: subset: expected a string, got nothing", NULL);
  refuse_rows(EVAL_REWARDBENCH,
              "{\"id\": 1, \"subset\": \"hep-go\", " ITEM "{\"id\": 2, \"subset\": \"hep-go\", " ITEM
              "{\"id\": 1, \"subset\": \"hep-go\", " ITEM,
              ":3: id: \"1\" stands already at", ":1 in subset hep-go", NULL);
  refuse_rows(EVAL_RM_BENCH,
              "{\"id\": 1, \"domain\": \"poetry\", \"prompt\": \"q\", \"chosen\": [\"a\", \"b\", \"c\"], "
              "\"rejected\": [\"a\", \"b\", \"c\"]}\n",
              ":1: domain", "poetry", NULL);
  refuse_rows(EVAL_RM_BENCH,
              "{\"id\": 1, \"domain\": \"chat\", \"prompt\": \"q\", \"chosen\": [\"a\", \"b\"], "
              "\"rejected\": [\"a\", \"b\", \"c\"]}\n",
              "three responses each, got 2 and 3", NULL);
  refuse_rows(EVAL_REWARDBENCH2,
              "{\"id\": \"x:1\", \"subset\": \"Ties\", \"prompt\": \"q\", \"chosen\": [\"a\"], "
              "\"rejected\": [\"b\"]}\n",
              "id: expected ref:N or tied:N", "x:1", NULL);
  refuse_rows(EVAL_REWARDBENCH2,
              "{\"id\": \"ref:1\", \"subset\": \"Ties\", \"prompt\": \"q\", \"chosen\": [\"a\"], "
              "\"rejected\": [\"b\"], \"num_correct\": 3}\n",
              "num_correct: expected 1 to 2, got 3", NULL);
  refuse_rows(EVAL_JUDGEBENCH,
              "{\"pair_id\": 1, \"source\": \"s\", \"question\": \"q\", \"response_A\": \"a\", "
              "\"response_B\": \"b\", \"label\": \"A=B\"}\n",
              "label", "A=B", NULL);
  refuse_rows(EVAL_JUDGEBENCH, "{\"pair_id\": 1, \"source\": \"s\", \"question\": 4}\n",
              "question: expected a string, got number", NULL);
  refuse_rows(EVAL_PAIRS, "{\"text\": \"t\"}\n", ":1:", NULL);
  refuse_rows(EVAL_PAIRS, "[1]\n", ":1:", "object", NULL);
  refuse_rows(EVAL_PAIRS, "{\"prompt\": \"q\"\n", ":1:", NULL);
  refuse_rows(EVAL_PAIRS, "\n", "no rows", NULL);
  /* plain pairs may repeat ids */
  eval_data_free(load(EVAL_PAIRS, "{\"id\": 1, " ITEM "{\"id\": 1, " ITEM));
}

static void test_scores_refused(void **state) {
  (void)state;
  eval_data *d = load(EVAL_PAIRS, pairs);
#define GOOD "{\"chosen_score\": 1, \"rejected_score\": 0}\n"
  refuse_scores(d, GOOD GOOD GOOD, "expected 4 rows, one for each item, got 3", NULL);
  refuse_scores(d, GOOD GOOD GOOD GOOD GOOD, ":5: expected 4 rows", "got more", NULL);
  refuse_scores(d, GOOD "{\"id\": 1, \"chosen_score\": 1, \"rejected_score\": 0}\n" GOOD GOOD,
                ":2: id: expected \"2\" as at", "got \"1\"", "order", NULL);
  eval_data_free(d);
}

/* Of four pairs the k-th row of scores is not to be used, for that reason; the other three are. */
static void one_unscored(const eval_data *d, size_t k, const char *row, const char *why) {
  str rows = {0};
  for (size_t i = 0; i < 4; i++) str_addz(&rows, i == k ? row : GOOD);
  eval_scores s = scores(d, rows.p);
  assert_int_equal(s.unscored, 1);
  for (size_t i = 0; i < 4; i++) {
    assert_true((s.why[i] != NULL) == (i == k));
    for (size_t b = 2 * i; b < 2 * i + 2; b++) assert_true(isnan(s.score[b]) == (i == k));
  }
  if (!strstr(s.why[k], why)) fail_msg("'%s' not in: %s", why, s.why[k]);
  rw_error err;
  assert_int_equal(eval_scores_fail(&s, d, &err), RW_DATA);
  assert_non_null(strstr(err.text, "1 of 4 items have no score"));
  assert_non_null(strstr(err.text, why));
  str_free(&rows);
  eval_scores_free(&s);
}

static void test_unscored_rows(void **state) {
  (void)state;
  eval_data *d = load(EVAL_PAIRS, pairs);
  one_unscored(d, 2, "{\"chosen_score\": null, \"rejected_score\": 0}\n",
               ":3: chosen_score: expected a finite number, got null");
  one_unscored(d, 3, "{\"chosen_score\": NaN, \"rejected_score\": 0}\n", ":4:");
  one_unscored(d, 3, "{\"chosen_score\": 1e999, \"rejected_score\": 0}\n", ":4:");
  one_unscored(d, 0, "{\"chosen_score\": 1}\n", ":1: rejected_score: expected scores");
  one_unscored(d, 0, "{\"chosen_score\": 1, \"rejected_score\": 0\n", ":1:"); /* torn */
  one_unscored(d, 0, "{}\n", ":1: chosen_score: expected scores");
  one_unscored(d, 0, "{\"scores\": [1, 2, 3]}\n", ":1: scores: expected 2 numbers, got array of 3");
  one_unscored(d, 0, "{\"score\": 1}\n", ":1: chosen_score");
  one_unscored(d, 0, "7\n", ":1: expected an object");
  one_unscored(d, 1, "{\"id\": 2, \"error\": \"too long\"}\n", ":2: too long");
  one_unscored(d, 1, "{\"error\": \"bad\", \"chosen_score\": 1, \"rejected_score\": 0}\n", ":2: bad");
  char long_error[500];
  snprintf(long_error, sizeof long_error, "{\"error\": \"%0399d\xC3\xA9\"}\n", 0);
  str rows = {0};
  str_printf(&rows, "%s" GOOD GOOD GOOD, long_error);
  eval_scores s = scores(d, rows.p);
  assert_non_null(strstr(s.why[0], "000?")); /* cut, but not within a character */
  eval_scores_free(&s);
  str_free(&rows);
  /* an error of null is none: Parquet's column is null where a row has none */
  s = scores(d, GOOD "{\"error\": null, \"chosen_score\": 1, \"rejected_score\": 0}\n" GOOD GOOD);
  assert_int_equal(s.unscored, 0);
  eval_scores_free(&s);
  /* without any score there is nothing to write; the first few are named */
#define NONE "{\"error\": \"bad\"}\n"
  s = scores(d, NONE NONE NONE NONE);
  eval_result r;
  rw_error err;
  assert_int_equal(eval_measure(&r, d, &s, &no_intervals, &err), RW_DATA);
  assert_non_null(strstr(err.text, "4 of 4 items have no score"));
  assert_non_null(strstr(err.text, "(id 1): "));
  assert_non_null(strstr(err.text, "; …"));
  eval_scores_free(&s);
  eval_data_free(d);
}

/* A suite's recorded rows, read once more with the last item's scores replaced by an error. */
static void without_last(eval_suite suite, eval_data **d, eval_scores *whole, eval_scores *part) {
  char *path = mem_printf("tests/data/eval/%s.jsonl", eval_suite_name[suite]);
  rw_error err;
  str rows = {0};
  if (eval_load(d, suite, (const char *const *)&path, 1, &err)) fail_msg("%s", err.text);
  if (eval_scores_read(whole, *d, path, &err)) fail_msg("%s", err.text);
  if (file_read(path, 1 << 24, &rows, &err)) fail_msg("%s", err.text);
  rows.p[--rows.len] = 0;
  rows.len = (size_t)(strrchr(rows.p, '\n') + 1 - rows.p);
  str_addz(&rows, "{\"error\": \"the \xC3\xA9nd\"}\n");
  *part = scores(*d, rows.p);
  assert_int_equal(part->unscored, 1);
  str_free(&rows);
  mem_free(path);
}

/* What the unscored item is part of has no figure, all else has the figure that it has without the failure. */
static void test_unscored_figures(void **state) {
  (void)state;
  for (int i = 0; i < 4; i++) {
    eval_data *d;
    eval_scores whole, part;
    eval_result a, b, back;
    rw_error err;
    without_last((eval_suite)i, &d, &whole, &part);
    assert_int_equal(eval_measure(&a, d, &whole, &(eval_options){1, 20}, &err), RW_OK);
    assert_int_equal(eval_measure(&b, d, &part, &(eval_options){1, 20}, &err), RW_OK);
    assert_int_equal(b.n_unscored, 1);
    const eval_unscored *u = &b.unscored[0];
    assert_int_equal(u->line, eval_items(d));
    assert_non_null(strstr(u->path, eval_suite_name[i]));
    assert_non_null(strstr(u->why, ": the \xC3\xA9nd"));
    const eval_subset *hit = subset(&b, u->subset);
    assert_int_equal(hit->unscored, 1);
    assert_int_equal(hit->n + 1, subset(&a, u->subset)->n);
    assert_true(isnan(hit->accuracy) && isnan(hit->baseline));
    assert_int_equal(b.n_items + 1, a.n_items);
    assert_true(isnan(b.overall.percent) && isnan(b.overall.lo) && isnan(b.overall.baseline));
    assert_true(isnan(b.items.percent) && isnan(b.items.lo));
    assert_int_equal(b.n_missing, 0); /* it is not that the data lack something */
    assert_int_equal(a.n_sections, b.n_sections);
    for (size_t k = 0; k < b.n_sections; k++) {
      bool affected = hit->section && strcmp(hit->section, b.sections[k].name) == 0;
      assert_true(isnan(b.sections[k].percent) == affected);
      if (!affected) near(b.sections[k].percent, a.sections[k].percent);
      if (!affected) near(b.sections[k].baseline, a.sections[k].baseline);
    }
    for (int l = 0; l < 3; l++) assert_true(i != EVAL_RM_BENCH || isnan(b.level[l].percent));
    assert_int_equal(a.n_subsets, b.n_subsets);
    for (size_t k = 0; k < b.n_subsets; k++) {
      if (&b.subsets[k] == hit) continue;
      near(b.subsets[k].accuracy, a.subsets[k].accuracy);
      assert_int_equal(b.subsets[k].unscored, 0);
    }
    /* and each form of the results says so */
    str json = {0}, table = {0}, public = {0};
    str_addc(&json, '{');
    eval_result_json(&json, &b);
    str_addc(&json, '}');
    assert_non_null(strstr(json.p, "\"overall\": null"));
    assert_non_null(strstr(json.p, "\"unscored\": 1, \"unscored_items\": [{\"id\": "));
    const char *file = put(json.p);
    if (eval_result_read(&back, file, NULL, &err)) fail_msg("%s", err.text);
    remove(file);
    assert_int_equal(back.n_unscored, 1);
    assert_string_equal(back.unscored[0].why, u->why);
    assert_string_equal(back.unscored[0].id, u->id);
    assert_int_equal(subset(&back, u->subset)->unscored, 1);
    assert_int_equal(eval_print(&table, &back, &err), RW_OK);
    assert_non_null(strstr(table.p, "Without a score: 1 of "));
    assert_non_null(strstr(table.p, "the \xC3\xA9nd); so no figure that needs them is given."));
    char items[40];
    snprintf(items, sizeof items, "%zu of %zu", hit->n, hit->n + 1);
    assert_non_null(strstr(table.p, items));
    eval_public_summary(&public, &b, "m");
    assert_non_null(strstr(public.p, "\"accuracy\": null"));
    assert_non_null(strstr(public.p, "\"unscored\": 1"));
    str_clear(&public);
    eval_public_item(&public, d, &part, eval_items(d) - 1);
    assert_non_null(strstr(public.p, "null"));
    rep_page *p = rep_page_new("t", NULL);
    const eval_result *both[2] = {&b, &a};
    const char *names[2] = {"part", "whole"};
    eval_page(p, both, names, 2);
    const char *html = put("");
    assert_int_equal(rep_page_write(p, html, &err), RW_OK);
    str page = {0};
    assert_int_equal(file_read(html, 1 << 24, &page, &err), RW_OK);
    assert_non_null(strstr(page.p, "part: Without a score: 1 of "));
    assert_non_null(strstr(page.p, items));
    remove(html);
    rep_page_free(p);
    str_free(&page);
    str_free(&json);
    str_free(&table);
    str_free(&public);
    /* a comparison gives the same figures up, and compares the rest */
    eval_comparison c;
    assert_int_equal(eval_compare(&c, d, &whole, &part, &no_intervals, &err), RW_OK);
    assert_true(isnan(c.overall.a) && isnan(c.overall.b) && isnan(c.overall.difference));
    assert_int_equal(c.unscored, 1);
    assert_int_equal(c.n_items, b.n_items);
    assert_int_equal(c.equal, c.n_items);
    eval_comparison_free(&c);
    const eval_scores *const one[] = {&whole}, *const other[] = {&part};
    eval_group_difference g;
    assert_int_equal(eval_compare_groups(&g, d, one, other, 1, &no_intervals, &err), RW_OK);
    assert_true(isnan(g.difference));
    eval_result_free(&back);
    eval_result_free(&b);
    eval_result_free(&a);
    eval_scores_free(&part);
    eval_scores_free(&whole);
    eval_data_free(d);
  }
  /* a section of which nothing is left is not missing: its figure is null for want of scores */
  eval_data *d = load(EVAL_RM_BENCH,
                      "{\"id\": 1, \"domain\": \"chat\", \"prompt\": \"q\", \"chosen\": [\"a\", \"b\", \"c\"], "
                      "\"rejected\": [\"d\", \"e\", \"f\"]}\n"
                      "{\"id\": 1, \"domain\": \"math\", \"prompt\": \"q\", \"chosen\": [\"a\", \"b\", \"c\"], "
                      "\"rejected\": [\"d\", \"e\", \"f\"]}\n");
  eval_result r = measure(d, "{\"scores\": [1, 1, 1, 0, 0, 0]}\n" NONE, &no_intervals);
  near(section(&r, "chat")->percent, 100);
  assert_true(isnan(section(&r, "math")->percent));
  assert_true(is_missing(&r, "code") && is_missing(&r, "safety") && r.n_missing == 2);
  assert_true(subset(&r, "math")->n == 0 && subset(&r, "math")->unscored == 1);
  eval_result_free(&r);
  eval_data_free(d);
  /* pairs, of which only the source that lacks a score has no figure: bars of it, too */
  d = load(EVAL_PAIRS, pairs);
  r = measure(d, GOOD GOOD NONE GOOD, &usual);
  near(subset(&r, "x")->accuracy, 100);
  assert_true(isnan(subset(&r, "y")->accuracy) && isnan(r.overall.percent));
  rep_page *p = rep_page_new("t", NULL);
  const eval_result *results[1] = {&r};
  const char *names[1] = {"m"}, *html = put("");
  eval_page(p, results, names, 1);
  assert_int_equal(rep_page_write(p, html, NULL), RW_OK);
  remove(html);
  rep_page_free(p);
  eval_result_free(&r);
  eval_data_free(d);
}

static void test_dropped(void **state) {
  (void)state;
  eval_data *d = load(EVAL_PAIRS, pairs);
  eval_result r = measure(d,
                          GOOD "{\"dropped\": true}\n" GOOD
                               "{\"chosen_score\": 0, \"rejected_score\": 1, "
                               "\"truncated\": true}\n",
                          &usual);
  assert_int_equal(r.n_items, 3);
  assert_int_equal(r.dropped, 1);
  assert_int_equal(r.truncated, 1);
  assert_int_equal(subset(&r, "x")->n, 1);
  near(r.overall.percent, 200.0 / 3);
  near(r.overall.baseline, 200.0 / 3); /* of the same items */
  eval_result_free(&r);
  eval_scores s = scores(d, "{\"dropped\": true}\n{\"dropped\": true}\n{\"dropped\": true}\n{\"dropped\": true}\n");
  rw_error err;
  assert_int_equal(eval_measure(&r, d, &s, &usual, &err), RW_DATA);
  eval_scores_free(&s);
  eval_data_free(d);
}

static void test_model(void **state) {
  (void)state;
#define PAIR(c, r) "{\"prompt\": \"q\", \"chosen\": \"" c "\", \"rejected\": \"" r "\"}\n"
  rw_error err;
  eval_result r;
  eval_data *d = load(EVAL_PAIRS, PAIR("2", "1.5") PAIR("1 T", "1") PAIR("D", "1") PAIR("-3", "-4"));
  if (eval_run(&r, d, NULL, &no_intervals, &err)) fail_msg("%s", err.text);
  near(r.overall.percent, 200.0 / 3);
  assert_int_equal(r.ties, 1);
  assert_int_equal(r.truncated, 1);
  assert_int_equal(r.dropped, 1);
  eval_result_free(&r);
  eval_data_free(d);
  d = load(EVAL_PAIRS, PAIR("2", "1") PAIR("1", "E"));
  if (eval_run(&r, d, NULL, &no_intervals, &err)) fail_msg("%s", err.text);
  assert_true(r.n_unscored == 1 && r.n_items == 1 && r.unscored[0].line == 2 && r.unscored[0].id == NULL);
  assert_string_equal(r.unscored[0].why, "too long by far");
  assert_true(isnan(r.overall.percent));
  eval_result_free(&r);
  eval_data_free(d);
}

/* ---- intervals and comparison ---- */

/* n pairs of one source; of every `of`, the first `right` are right. */
static eval_data *many(size_t n, size_t right, size_t of, str *points) {
  str rows = {0};
  for (size_t i = 0; i < n; i++) {
    str_addz(&rows, "{" ITEM);
    str_printf(points, "{\"chosen_score\": %d, \"rejected_score\": 0}\n", i % of < right);
  }
  eval_data *d = load(EVAL_PAIRS, rows.p);
  str_free(&rows);
  return d;
}

static void test_interval(void **state) {
  (void)state;
  str points = {0};
  eval_data *d = many(400, 3, 4, &points);
  eval_result r = measure(d, points.p, &usual), again = measure(d, points.p, &usual);
  near(r.overall.percent, 75);
  /* the binomial's standard error is 2.165: 1.96 of it to each side */
  assert_true(fabs(r.overall.lo - (75 - 4.24)) < 0.5 && fabs(r.overall.hi - (75 + 4.24)) < 0.5);
  assert_true(r.overall.lo == again.overall.lo && r.overall.hi == again.overall.hi);
  eval_result other = measure(d, points.p, &(eval_options){2, 999});
  assert_true(other.overall.lo != r.overall.lo || other.overall.hi != r.overall.hi);
  eval_result_free(&r);
  eval_result_free(&again);
  eval_result_free(&other);
  eval_data_free(d);
  str_free(&points);
}

static void test_compare(void **state) {
  (void)state;
  str half = {0}, more = {0};
  eval_data *d = many(200, 2, 4, &half);
  eval_data_free(many(200, 3, 4, &more));
  eval_scores a = scores(d, half.p), b = scores(d, more.p);
  eval_comparison c;
  rw_error err;
  assert_int_equal(eval_compare(&c, d, &a, &b, &usual, &err), RW_OK);
  near(c.overall.a, 50);
  near(c.overall.b, 75);
  near(c.overall.difference, 25);
  /* paired: b differs from a on a quarter of the items, standard error sqrt(.25*.75/200) = 3.06 */
  assert_true(fabs(c.overall.lo - (25 - 6.0)) < 0.8 && fabs(c.overall.hi - (25 + 6.0)) < 0.8);
  assert_int_equal(c.n_items, 200);
  assert_int_equal(c.b_better, 50);
  assert_int_equal(c.a_better, 0);
  assert_int_equal(c.equal, 150);
  near(c.agreement, 75);
  near(c.margin_mean[0], 0.5);
  near(c.margin_sd[0], 0.5);
  near(c.margin_mean[1], 0.75);
  near(c.margin_sd[1], sqrt(0.1875));
  near(c.correlation, (0.5 - 0.5 * 0.75) / (0.5 * sqrt(0.1875)));
  assert_int_equal(c.n_differing, 50);
  for (size_t i = 0; i < 50; i++) { /* all as far apart: in the data's order */
    assert_int_equal(c.differing[i].item, 4 * i + 2);
    assert_int_equal(c.differing[i].line, 4 * i + 3);
  }
  eval_comparison_free(&c);
  assert_int_equal(eval_compare(&c, d, &a, &a, &usual, &err), RW_OK);
  assert_true(c.overall.difference == 0 && c.overall.lo == 0 && c.overall.hi == 0);
  assert_true(c.agreement == 100 && c.correlation == 1 && c.n_differing == 0);
  eval_comparison_free(&c);
  a.score[0] = NAN; /* dropped in one is left out of both */
  assert_int_equal(eval_compare(&c, d, &a, &b, &no_intervals, &err), RW_OK);
  assert_int_equal(c.n_items, 199);
  near(c.overall.b, 100.0 * 149 / 199);
  assert_true(isnan(c.overall.lo));
  eval_comparison_free(&c);
  eval_scores_free(&a);
  eval_scores_free(&b);
  eval_data_free(d);
  str_free(&half);
  str_free(&more);
}

/* One differing item of a comparison: which, who is better (1: b), both margins. */
static void differs(const eval_comparison *c, size_t k, size_t item, int better, double a, double b) {
  assert_true(k < c->n_differing);
  const eval_differing *f = &c->differing[k];
  assert_int_equal(f->item, item);
  assert_int_equal(f->credit[0] < f->credit[1], better);
  near(f->margin[0], a);
  near(f->margin[1], b);
}

static eval_comparison compare(const eval_data *d, const char *score_rows_a, const char *score_rows_b) {
  eval_scores a = scores(d, score_rows_a), b = scores(d, score_rows_b);
  eval_comparison c;
  rw_error err;
  if (eval_compare(&c, d, &a, &b, &no_intervals, &err)) fail_msg("%s", err.text);
  eval_scores_free(&a);
  eval_scores_free(&b);
  return c;
}

#define POINTS(c, r) "{\"chosen_score\": " c ", \"rejected_score\": " r "}\n"

static void test_differing(void **state) {
  (void)state;
  eval_data *d = load(EVAL_PAIRS, pairs);
  /* margins 3, -1, 1, 1 (standard deviation sqrt 2) and 100, 300, -100, -300 (sqrt 50000): items 1 and 3 are 2.05
   * apart, item 2 is 1.15; item 0 is 1.67, but both call it right */
  eval_comparison c = compare(d, POINTS("4", "1") POINTS("0", "1") POINTS("1", "0") POINTS("2", "1"),
                              POINTS("100", "0") POINTS("300", "0") POINTS("0", "100") POINTS("0", "300"));
  near(c.agreement, 25);
  assert_int_equal(c.n_differing, 3);
  assert_true(c.a_better == 2 && c.b_better == 1 && c.equal == 1);
  near(c.margin_sd[0], sqrt(2));
  near(c.margin_sd[1], sqrt(50000));
  near(c.correlation, -400.0 / 4 / (sqrt(2) * sqrt(50000)));
  differs(&c, 0, 1, 1, -1, 300);
  differs(&c, 1, 3, 0, 1, -300);
  differs(&c, 2, 2, 0, 1, -100);
  near(c.differing[0].distance, 1 / sqrt(2) + 300 / sqrt(50000));
  near(c.differing[2].distance, 1 / sqrt(2) + 100 / sqrt(50000));
  assert_true(slice_is(c.differing[0].id, "2") && c.differing[1].id.p == NULL);
  assert_int_equal(c.differing[2].line, 4); /* the third item, after an empty line */
  assert_string_equal(c.differing[2].subset, "y");
  eval_comparison_free(&c);
  /* margins that are all alike: no correlation, and only the other set's tell the items apart */
  c = compare(d, POINTS("0.1", "0") POINTS("0.1", "0") POINTS("0.1", "0") POINTS("0.1", "0"),
              POINTS("0", "1") POINTS("5", "1") POINTS("0", "3") POINTS("1", "1"));
  assert_true(isnan(c.correlation) && c.margin_sd[0] == 0);
  differs(&c, 0, 2, 0, 0.1, -3);
  differs(&c, 1, 0, 0, 0.1, -1);
  differs(&c, 2, 3, 0, 0.1, 0); /* a tie is wrong */
  eval_comparison_free(&c);
  eval_data_free(d);
  /* the margin of each suite follows its credit */
  d = load(EVAL_REWARDBENCH2,
           "{\"id\": \"k\", \"subset\": \"Focus\", \"prompt\": \"q\", \"chosen\": [\"a\"], \"rejected\": "
           "[\"b\", \"c\"], \"num_correct\": 1}\n" TIES("tied:1", "[\"a\", \"b\"]"));
  c = compare(d, "{\"scores\": [2, -1, 2]}\n{\"scores\": [3, 2, 1]}\n",
              "{\"scores\": [2, 1.5, -4]}\n{\"scores\": [1, 5, 3]}\n");
  differs(&c, 0, 1, 0, 1, -2);  /* the worst correct one against the incorrect one */
  differs(&c, 1, 0, 1, 0, 0.5); /* half a credit against a whole one */
  eval_comparison_free(&c);
  eval_data_free(d);
  d = load(EVAL_RM_BENCH,
           "{\"id\": 1, \"domain\": \"chat\", \"prompt\": \"q\", \"chosen\": [\"a\", \"b\", \"c\"], "
           "\"rejected\": [\"d\", \"e\", \"f\"]}\n");
  c = compare(d, "{\"chosen_scores\": [1, 5, -1], \"rejected_scores\": [0, 1, 2]}\n",
              "{\"chosen_scores\": [9, 9, 9], \"rejected_scores\": [0, 1, 2]}\n");
  differs(&c, 0, 0, 1, 2.0 / 3, 8);
  near(c.differing[0].credit[0], 4.0 / 9);
  assert_true(c.differing[0].credit[1] == 1);
  eval_comparison_free(&c);
  eval_data_free(d);
}

/* ---- files ---- */

static bool same(double a, double b) { return isnan(a) ? isnan(b) : fabs(a - b) < 1e-12; }

static void assert_same_figure(const eval_figure *a, const eval_figure *b) {
  assert_string_equal(a->name, b->name);
  assert_true(same(a->percent, b->percent) && same(a->lo, b->lo) && same(a->hi, b->hi));
  assert_true(same(a->baseline, b->baseline));
}

static void test_results_file(void **state) {
  (void)state;
  rw_error err;
  for (int i = 0; i < 4; i++) {
    char *path = mem_printf("tests/data/eval/%s.jsonl", eval_suite_name[i]);
    eval_data *d;
    eval_scores s;
    eval_result r, back;
    assert_int_equal(eval_load(&d, (eval_suite)i, (const char *const *)&path, 1, &err), RW_OK);
    assert_int_equal(eval_scores_read(&s, d, path, &err), RW_OK);
    assert_int_equal(eval_measure(&r, d, &s, &(eval_options){3, 50}, &err), RW_OK);
    str json = {0};
    str_addz(&json, i % 2 ? "{" : "{\"step\": 1, "); /* after other members too */
    eval_result_json(&json, &r);
    str_addz(&json, ", \"model\": \"m\\u00fc\"}");
    const char *model, *file = put(json.p);
    if (eval_result_read(&back, file, &model, &err)) fail_msg("%s", err.text);
    remove(file);
    assert_string_equal(model, "m\xC3\xBC");
    assert_int_equal(back.suite, i);
    assert_same_figure(&r.overall, &back.overall);
    assert_same_figure(&r.items, &back.items);
    assert_int_equal(r.n_sections, back.n_sections);
    for (size_t k = 0; k < r.n_sections; k++) assert_same_figure(&r.sections[k], &back.sections[k]);
    for (int l = 0; i == EVAL_RM_BENCH && l < 3; l++) assert_same_figure(&r.level[l], &back.level[l]);
    assert_int_equal(r.n_subsets, back.n_subsets);
    for (size_t k = 0; k < r.n_subsets; k++) {
      assert_string_equal(r.subsets[k].name, back.subsets[k].name);
      assert_true(r.subsets[k].n == back.subsets[k].n && same(r.subsets[k].correct, back.subsets[k].correct));
      assert_true(same(r.subsets[k].accuracy, back.subsets[k].accuracy));
    }
    for (int k = 0; k < 5; k++) assert_true(same(r.ties_part[k], back.ties_part[k]));
    assert_int_equal(r.ties, back.ties);
    assert_int_equal(r.n_items, back.n_items);
    assert_int_equal(back.resamples, 50);
    assert_int_equal(back.seed, 3);
    /* the page names each section and does not fail */
    rep_page *p = rep_page_new("t", NULL);
    if (i == EVAL_REWARDBENCH) r.n_items = 2985; /* the other one: 59 items, so the page cautions against it */
    const eval_result *both[2] = {&r, &back};
    const char *names[2] = {"before", "after <b>"};
    eval_page(p, both, names, 2);
    const char *html = put("");
    assert_int_equal(rep_page_write(p, html, &err), RW_OK);
    str page = {0};
    assert_int_equal(file_read(html, 1 << 24, &page, &err), RW_OK);
    for (size_t k = 0; k < r.n_sections; k++) assert_non_null(strstr(page.p, r.sections[k].name));
    assert_non_null(strstr(page.p, "after &lt;b&gt;"));
    assert_true((i == EVAL_REWARDBENCH) == (strstr(page.p, "Nemotron-4-340B-Reward") != NULL));
    assert_true((i == EVAL_REWARDBENCH) ==
                (strstr(page.p, "not the published 2,985 items (after &lt;b&gt;: 59)") != NULL));
    remove(html);
    str_free(&page);
    rep_page_free(p);
    str_free(&json);
    eval_result_free(&back);
    eval_result_free(&r);
    eval_scores_free(&s);
    eval_data_free(d);
    mem_free(path);
  }
  const char *bad = put("{\"suite\": \"rewardbench\"}");
  eval_result r;
  assert_int_equal(eval_result_read(&r, bad, NULL, &err), RW_DATA);
  remove(bad);
}

static void test_public_files(void **state) {
  (void)state;
  eval_data *d =
      load(EVAL_REWARDBENCH2,
           "{\"id\": \"k\", \"subset\": \"Focus\", \"prompt\": \"q\", \"chosen\": [\"a\"], \"rejected\": "
           "[\"b\", \"c\"], \"num_correct\": 1}\n");
  eval_scores s = scores(d, "{\"chosen_scores\": [2], \"rejected_scores\": [1, 2]}\n");
  eval_result r;
  assert_int_equal(eval_measure(&r, d, &s, &no_intervals, NULL), RW_OK);
  str out = {0};
  eval_public_item(&out, d, &s, 0);
  assert_string_equal(out.p,
                      "{\"id\": \"k\", \"subset\": \"Focus\", \"prompt\": \"q\", \"scores_chosen\": 2, "
                      "\"scores_rejected\": [1, 2]}");
  str_clear(&out);
  eval_public_summary(&out, &r, "m");
  assert_string_equal(out.p,
                      "{\"model\": \"m\", \"model_type\": \"Seq. Classifier\", \"chat_template\": \"tokenizer\", "
                      "\"Focus\": 0.5, \"accuracy\": 0.5, \"num_prompts\": 1, \"ref_model\": null, "
                      "\"tokenizer\": \"m\", \"extra_results\": {\"Focus\": 0.5}}\n");
  str_free(&out);
  eval_result_free(&r);
  eval_scores_free(&s);
  eval_data_free(d);
}

/* Two seeds a side. Training noise enters the interval through the seeds, items through the paired draws. */
static void test_compare_groups(void **state) {
  (void)state;
  str half = {0}, more = {0};
  eval_data *d = many(200, 2, 4, &half);
  eval_data_free(many(200, 3, 4, &more));
  eval_scores a = scores(d, half.p), b = scores(d, more.p);
  const eval_scores *const aa[] = {&a, &a}, *const bb[] = {&b, &b}, *const ba[] = {&b, &a};
  eval_comparison c;
  eval_group_difference g;
  rw_error err;
  assert_int_equal(eval_compare(&c, d, &a, &b, &usual, &err), RW_OK);
  assert_int_equal(eval_compare_groups(&g, d, aa, bb, 1, &usual, &err), RW_OK);
  assert_true(g.difference == c.overall.difference && g.lo == c.overall.lo && g.hi == c.overall.hi);
  assert_int_equal(eval_compare_groups(&g, d, aa, bb, 2, &usual, &err), RW_OK); /* seeds alike add nothing */
  assert_true(fabs(g.lo - c.overall.lo) < 1e-9 && fabs(g.hi - c.overall.hi) < 1e-9);
  /* one seed gains 25, the other nothing: both seeds, one of them twice, in a quarter of the draws each */
  assert_int_equal(eval_compare_groups(&g, d, aa, ba, 2, &usual, &err), RW_OK);
  near(g.difference, 12.5);
  assert_true(fabs(g.lo) < 1e-9 && g.hi > 25 && g.hi < 32);
  a.score[0] = NAN;
  assert_int_equal(eval_compare_groups(&g, d, aa, ba, 2, &no_intervals, &err), RW_OK);
  assert_int_equal(g.n_items, 199);
  assert_true(isnan(g.lo));
  for (size_t i = 0; i < 400; i++) a.score[i] = NAN;
  assert_int_equal(eval_compare_groups(&g, d, aa, bb, 2, &usual, &err), RW_DATA);
  eval_comparison_free(&c);
  eval_scores_free(&a);
  eval_scores_free(&b);
  eval_data_free(d);
  str_free(&half);
  str_free(&more);
}

/* What eval_scores_write wrote reads back the same, for every suite, dropped and unscored items too. */
static void test_scores_written(void **state) {
  (void)state;
  for (int suite = 0; suite < EVAL_SUITES; suite++) {
    if (suite == EVAL_PAIRS) continue; /* no file of its own */
    char copy[96];
    snprintf(copy, sizeof copy, "/tmp/reward-scores-%ld.jsonl", (long)getpid());
    eval_data *d;
    eval_scores all, s, again;
    rw_error err;
    without_last((eval_suite)suite, &d, &all, &s);
    s.score[0] = NAN; /* the first item is dropped */
    s.dropped++;
    assert_int_equal(eval_scores_write(&s, d, copy, &err), RW_OK);
    rw_status st = eval_scores_read(&again, d, copy, &err);
    if (st) fail_msg("%s", err.text);
    assert_int_equal(again.dropped, s.dropped);
    size_t last = eval_items(d) - 1;
    assert_true(again.unscored == 1 && strstr(again.why[last], s.why[last]));
    again.why[last] = s.why[last]; /* without the place in the file that was read */
    eval_result before, after;
    assert_int_equal(eval_measure(&before, d, &s, &usual, &err), RW_OK);
    assert_int_equal(eval_measure(&after, d, &again, &usual, &err), RW_OK);
    str x = {0}, y = {0};
    eval_result_json(&x, &before);
    eval_result_json(&y, &after);
    assert_string_equal(x.p, y.p);
    str_free(&x);
    str_free(&y);
    eval_result_free(&before);
    eval_result_free(&after);
    eval_scores_free(&all);
    eval_scores_free(&s);
    eval_scores_free(&again);
    eval_data_free(d);
    unlink(copy);
  }
}

static void test_out_of_memory(void **state) {
  (void)state;
  rw_error err;
  const char *path = "tests/data/eval/rewardbench2.jsonl";
  bool done = false;
  for (long n = 0; !done; n += n < 300 ? 1 : 37) {
    eval_data *d = NULL;
    eval_scores s = {0};
    eval_result r = {0};
    eval_comparison c = {0};
    mem_fail_after(n);
    rw_status st = eval_load(&d, EVAL_REWARDBENCH2, &path, 1, &err);
    if (!st) st = eval_scores_read(&s, d, path, &err);
    if (!st) st = eval_measure(&r, d, &s, &(eval_options){0, 3}, &err);
    if (!st) st = eval_compare(&c, d, &s, &s, &(eval_options){0, 3}, &err);
    const eval_scores *const both[] = {&s, &s};
    eval_group_difference g;
    if (!st) st = eval_compare_groups(&g, d, both, both, 2, &(eval_options){0, 3}, &err);
    str json = {0};
    if (!st) st = eval_rewards_json(&json, d, &s, &err);
    if (!st && json.oom) st = RW_NOMEM;
    str_free(&json);
    mem_fail_after(-1);
    assert_true(st == RW_OK || st == RW_NOMEM);
    done = st == RW_OK;
    eval_comparison_free(&c);
    eval_result_free(&r);
    eval_scores_free(&s);
    eval_data_free(d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_compare_groups),  cmocka_unit_test(test_scores_written),
      cmocka_unit_test(test_recorded),        cmocka_unit_test(test_pairs),
      cmocka_unit_test(test_judgebench_ties), cmocka_unit_test(test_ties_by_hand),
      cmocka_unit_test(test_missing),         cmocka_unit_test(test_rows_refused),
      cmocka_unit_test(test_scores_refused),  cmocka_unit_test(test_dropped),
      cmocka_unit_test(test_unscored_rows),   cmocka_unit_test(test_unscored_figures),
      cmocka_unit_test(test_model),           cmocka_unit_test(test_interval),
      cmocka_unit_test(test_compare),         cmocka_unit_test(test_results_file),
      cmocka_unit_test(test_differing),       cmocka_unit_test(test_public_files),
      cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
