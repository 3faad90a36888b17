/* test_eval_results.c - results as JSON and back, as a table and a page, as the public tools' files; what becomes
 * of each where an item has no score.
 */
#include "eval_cases.h"

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
    assert_non_null(strstr(u->path, eval_suite_words[i].text));
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
    json_writer w = {.out = &json};
    jw_object(&w, NULL);
    eval_result_json(&w, &b);
    jw_end(&w);
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
    eval_page(p, both, names, NULL, 2);
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
  eval_page(p, results, names, NULL, 1);
  assert_int_equal(rep_page_write(p, html, NULL), RW_OK);
  remove(html);
  rep_page_free(p);
  eval_result_free(&r);
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
    char *path = mem_printf("tests/data/eval/%s.jsonl", eval_suite_words[i].text);
    eval_data *d;
    eval_scores s;
    eval_result r, back;
    assert_int_equal(eval_load(&d, (eval_suite)i, (const char *const *)&path, 1, NULL, &err), RW_OK);
    assert_int_equal(eval_scores_read(&s, d, path, NULL, &err), RW_OK);
    assert_int_equal(eval_measure(&r, d, &s, &(eval_options){3, 50}, &err), RW_OK);
    str json = {0};
    json_writer w = {.out = &json};
    jw_object(&w, NULL);
    if (i % 2) jw_int(&w, "step", 1); /* after other members too */
    eval_result_json(&w, &r);
    jw_raw(&w, "model", SLICE("\"m\\u00fc\""));
    jw_end(&w);
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
    if (i == EVAL_REWARDBENCH) r.n_items = 2985; /* the other one: 59 items, so it does not stand beside Table 2 */
    const eval_result *both[2] = {&r, &back};
    const char *names[2] = {"before", "after <b>"};
    eval_page(p, both, names, NULL, 2);
    const char *html = put("");
    assert_int_equal(rep_page_write(p, html, &err), RW_OK);
    str page = {0};
    assert_int_equal(file_read(html, 1 << 24, &page, &err), RW_OK);
    for (size_t k = 0; k < r.n_sections; k++) assert_non_null(strstr(page.p, r.sections[k].name));
    assert_non_null(strstr(page.p, "after &lt;b&gt;"));
    assert_true((i == EVAL_REWARDBENCH) == (strstr(page.p, "Nemotron-4-340B-Reward") != NULL));
    assert_true((i == EVAL_REWARDBENCH) ==
                (strstr(page.p, "published 2,985 items; not of others (after &lt;b&gt;: 59)") != NULL));
    assert_true((i == EVAL_REWARDBENCH) == (strstr(page.p, "<td>before (this page)</td>") != NULL));
    assert_null(strstr(page.p, "after &lt;b&gt; (this page)"));
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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_unscored_figures),
      cmocka_unit_test(test_results_file),
      cmocka_unit_test(test_public_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
