/* test_eval.c - the benchmarks' figures: against files recorded from the public package (tests/reference/
 * check_rewardbench.py), and against hand-made suites; the rows that must be refused.
 */
#include "eval_cases.h"

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
  for (int i = 0; i < EVAL_SUITES; i++) {
    if (i == EVAL_PAIRS) continue; /* below, by hand */
    const char *name = eval_suite_words[i].text;
    char *path = mem_printf("tests/data/eval/%s.jsonl", name);
    eval_data *d;
    eval_scores s;
    eval_result r;
    if (eval_load(&d, (eval_suite)i, (const char *const *)&path, 1, NULL, &err)) fail_msg("%s", err.text);
    if (eval_scores_read(&s, d, path, NULL, &err)) fail_msg("%s", err.text);
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

/* micro over all pairs, macro over the four sections */
static void test_judgebench_macro(void **state) {
  (void)state;
#define ROW(id, source)                              \
  "{\"pair_id\": \"" id "\", \"source\": \"" source  \
  "\", \"question\": \"q\", \"response_A\": \"1\", " \
  "\"response_B\": \"2\", \"label\": \"A>B\"}\n"
  eval_data *d =
      load(EVAL_JUDGEBENCH, ROW("a", "mmlu-pro-law") ROW("b", "mmlu-pro-law") ROW("c", "livebench-reasoning")
                                ROW("d", "livebench-math") ROW("e", "livecodebench"));
  eval_result r = measure(d,
                          "{\"scores\": [2, 1]}\n{\"scores\": [1, 2]}\n{\"scores\": [2, 1]}\n"
                          "{\"scores\": [2, 1]}\n{\"scores\": [1, 2]}\n",
                          &no_intervals);
  near(r.overall.percent, 60);
  near(eval_macro(&r), (50 + 100 + 100 + 0) / 4.0);
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
  assert_true(isnan(eval_macro(&r))); /* two sections are missing */
  eval_result_free(&r);
  r = measure(d, "{\"scores\": [2, 1]}\n{\"scores\": [1, 2]}\n{\"scores\": [2, 1]}\n", &no_intervals);
  near(r.overall.percent, 200.0 / 3);
  eval_result_free(&r);
  eval_data_free(d);
}

static void test_ties_by_hand(void **state) {
  (void)state;
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
  json_writer w = jw_inside(&json);
  eval_result_json(&w, &r);
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

/* ---- rows that are none ---- */

/* The rows must be refused with all of these words (NULL ends). */
static void refuse_rows(eval_suite suite, const char *text, ...) {
  eval_data *d;
  rw_error err;
  const char *path = put(text);
  assert_int_equal(eval_load(&d, suite, &path, 1, NULL, &err), RW_DATA);
  assert_null(d);
  va_list ap;
  va_start(ap, text);
  for (const char *word; (word = va_arg(ap, const char *));)
    if (!strstr(err.text, word)) fail_msg("'%s' not in: %s", word, err.text);
  va_end(ap);
  assert_non_null(strstr(err.text, path));
  remove(path);
}

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
    rw_status st = eval_load(&d, EVAL_REWARDBENCH2, &path, 1, NULL, &err);
    if (!st) st = eval_scores_read(&s, d, path, NULL, &err);
    if (!st) st = eval_measure(&r, d, &s, &(eval_options){0, 3}, &err);
    if (!st) st = eval_compare(&c, d, &s, &s, &(eval_options){0, 3}, &err);
    const eval_scores *const both[] = {&s, &s};
    eval_group_difference g;
    if (!st) st = eval_compare_groups(&g, d, both, both, 2, &(eval_options){0, 3}, &err);
    str json = {0};
    json_writer w = {.out = &json};
    if (!st) st = eval_rewards_json(&w, d, &s, &err);
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
      cmocka_unit_test(test_recorded),        cmocka_unit_test(test_pairs),
      cmocka_unit_test(test_judgebench_ties), cmocka_unit_test(test_judgebench_macro),
      cmocka_unit_test(test_ties_by_hand),    cmocka_unit_test(test_missing),
      cmocka_unit_test(test_rows_refused),    cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
