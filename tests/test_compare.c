/* test_compare.c - intervals by resampling, two score sets of the same rows, two groups of them. */
#include "eval_cases.h"

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_interval),
      cmocka_unit_test(test_compare),
      cmocka_unit_test(test_differing),
      cmocka_unit_test(test_compare_groups),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
