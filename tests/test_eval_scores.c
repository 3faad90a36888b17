/* test_eval_scores.c - a score for each response of each item: from a file, from a model (a stand-in here), written
 * and read back; items that have none.
 */
#include "eval_cases.h"

/* ---- a stand-in for the model: the score is the response's first number ---- */

static const char *last_content(const conv_row *r, size_t b) {
  const conversation *c = &r->branch[b];
  return c->messages[c->n_messages - 1].content.p;
}

rw_context *scorer_context(const scorer *s) {
  (void)s;
  return NULL;
}
int64_t scorer_max_length(const scorer *s) {
  (void)s;
  return 0;
}
overlong scorer_overlong(const scorer *s, const conv_row *rows, size_t n, size_t *n_long, size_t *longest) {
  (void)s;
  (void)rows;
  (void)n;
  *n_long = *longest = 0;
  return OVERLONG_ERROR;
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

/* ---- from a file ---- */

static void refuse_scores(const eval_data *d, const char *text, ...) {
  eval_scores s;
  rw_error err;
  const char *path = put(text);
  assert_int_equal(eval_scores_read(&s, d, path, NULL, &err), RW_DATA);
  assert_null(s.score);
  va_list ap;
  va_start(ap, text);
  for (const char *word; (word = va_arg(ap, const char *));)
    if (!strstr(err.text, word)) fail_msg("'%s' not in: %s", word, err.text);
  va_end(ap);
  remove(path);
}

static void test_scores_refused(void **state) {
  (void)state;
  eval_data *d = load(EVAL_PAIRS, pairs);
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
    rw_status st = eval_scores_read(&again, d, copy, NULL, &err);
    if (st) fail_msg("%s", err.text);
    assert_int_equal(again.dropped, s.dropped);
    size_t last = eval_items(d) - 1;
    assert_true(again.unscored == 1 && strstr(again.why[last], s.why[last]));
    again.why[last] = s.why[last]; /* without the place in the file that was read */
    eval_result before, after;
    assert_int_equal(eval_measure(&before, d, &s, &usual, &err), RW_OK);
    assert_int_equal(eval_measure(&after, d, &again, &usual, &err), RW_OK);
    str x = {0}, y = {0};
    json_writer wx = jw_inside(&x), wy = jw_inside(&y);
    eval_result_json(&wx, &before);
    eval_result_json(&wy, &after);
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_scores_refused), cmocka_unit_test(test_unscored_rows),  cmocka_unit_test(test_dropped),
      cmocka_unit_test(test_model),          cmocka_unit_test(test_scores_written),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
