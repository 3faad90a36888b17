/* test_runs.c - the page of finished work: what it shows of runs, evaluations and data, and what it refuses. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "pages/runs.h"

static char root[64];

static void put(const char *name, const char *text) {
  char path[256];
  rw_error err;
  snprintf(path, sizeof path, "%s/%s", root, name);
  char *slash = strrchr(path, '/');
  *slash = 0;
  assert_int_equal(file_mkdirs(path, &err), RW_OK);
  *slash = '/';
  assert_int_equal(file_put(path, text, strlen(text), &err), RW_OK);
}

/* The page of these things (NULL ends), or the error that refuses them. */
static str page(rw_status want, ...) {
  const char *paths[8];
  char text[8][160];
  size_t n = 0;
  va_list ap;
  va_start(ap, want);
  for (const char *name; (name = va_arg(ap, const char *)); n++) {
    snprintf(text[n], sizeof text[n], "%s/%s", root, name);
    paths[n] = text[n];
  }
  va_end(ap);
  rw_error err = {0};
  rep_page *p = rep_page_new("t", NULL);
  size_t unread;
  rw_status st = runs_page(p, paths, n, NULL, &unread, &err);
  str out = {0};
  if (st != want) fail_msg("status %d: %s", st, err.text);
  if (st) {
    str_addz(&out, err.text);
  } else {
    char file[96];
    snprintf(file, sizeof file, "%s/page.html", root);
    assert_int_equal(rep_page_write(p, file, &err), RW_OK);
    assert_int_equal(file_read(file, 1 << 24, &out, &err), RW_OK);
  }
  rep_page_free(p);
  return out;
}

static void has(const str *s, const char *what) {
  if (!strstr(s->p, what)) fail_msg("not there: %s", what);
}
static void lacks(const str *s, const char *what) {
  if (strstr(s->p, what)) fail_msg("there: %s", what);
}

#define METRICS(step, loss) \
  "{\"step\": " #step ", \"loss\": " #loss ", \"accuracy\": 0.5, \"learning_rate\": 1e-5, \"grad_norm\": 2}\n"
#define EVAL(step, spec, percent, x)                                                                 \
  "{\"step\": " #step ", \"eval\": \"" spec                                                          \
  "\", \"suite\": \"pairs\", \"unit\": \"percent\", \"overall\": " #percent                          \
  ", \"interval\": [40, 70], \"sections\": {}, \"subsets\": {\"src-x\": {\"n\": 4, \"correct\": 2, " \
  "\"accuracy\": " #x                                                                                \
  "}, \"src-y\": {\"n\": 4, \"correct\": 3, \"accuracy\": 75}}, \"length_baseline\": {\"overall\": 33.5}}\n"
#define RUN(args)                                                                                              \
  "{\"status\": \"finished\", \"arguments\": {\"command\": [\"reward\", \"train\", \"--data\", \"a\", \"b\", " \
  "\"--lr=1\", \"--eps\", "                                                                                    \
  "\"1e-8\", \"--resume\"], \"effective\": {\"data\": [\"a\", \"b\"], \"eps\": 1e-08, \"warmup\": 0.5, " args  \
  ", \"config\": null, \"eval\": []}}, \"rows\": {\"used\": 1234567}, \"model\": {\"path\": \"base\"}, "       \
  "\"peak_memory_bytes\": 2500000000, \"steps_done\": 2}"

static int make(void **state) {
  (void)state;
  snprintf(root, sizeof root, "/tmp/reward-runs-%ld", (long)getpid());
  put("one/metrics.jsonl", METRICS(1, 0.7) METRICS(2, 0.25));
  put("one/run.json", RUN("\"lr\": 1e-05, \"out\": \"one\", \"resume\": true"));
  put("one/evals.jsonl", EVAL(0, "held.jsonl", 50, 25) EVAL(2, "held.jsonl", 62.5, 50));
  put("two/metrics.jsonl", METRICS(1, 0.69));
  put("two/run.json", RUN("\"lr\": 2e-05, \"out\": \"two\", \"resume\": false, \"keep\": \"best\""));
  put("two/evals.jsonl", EVAL(0, "held.jsonl", 51, 25));
  put("bare/metrics.jsonl", METRICS(1, 0.5));
  put("bad/metrics.jsonl", METRICS(1, 0.5) "{\"loss\": 1}\n");
  put("cut/metrics.jsonl", METRICS(1, 0.5) "{\"step\": 2, \"lo");
  put("sources/metrics.jsonl",
      "{\"step\": 1, \"sources\": {\"a\": {\"n\": 2, \"accuracy\": 1, \"margin\": \"x\"}}}\n");
  put("set/report.json",
      "{\"recipe\": \"my <recipe>\", \"sources\": {\"s1\": {\"rows\": 10, \"rows_in_no_pair\": 1, \"pairs\": 9, "
      "\"kept\": 3}, \"s2\": {\"rows\": 5, \"rows_in_no_pair\": 0, \"pairs\": 3, \"kept\": 1}}, "
      "\"task_categories\": "
      "{\"Math\": {\"pairs\": 4, \"kept\": 2}}}");
  put("clean/report.json",
      "{\"ngram\": 8, \"train_rows\": 4000, \"bench_rows\": 96, \"bench_prompts_matched\": 16, "
      "\"train_prompts_contaminated\": 19, \"sources\": {\"s1\": {\"train_rows\": 4000, \"contaminated\": 19}}, "
      "\"subsets\": {\"hep-go\": {\"bench_rows\": 4, \"matched\": 2}}}");
  put("a/results.json", EVAL(0, "", 50, 25));
  put("b/results.json", EVAL(0, "", 60, 25));
  put("judge.json",
      "{\"suite\": \"judgebench\", \"overall\": 61, \"sections\": {\"math\": 61}, \"subsets\": "
      "{\"livebench-math\": "
      "{\"section\": \"math\", \"n\": 5, \"correct\": 3, \"accuracy\": 61}}}");
  put("other.json", "{\"a\": 1}");
  put("empty/x", "");
  return 0;
}

static int clean(void **state) {
  (void)state;
  return file_remove_tree(root, NULL);
}

static void test_one_run(void **state) {
  (void)state;
  str s = page(RW_OK, "one", NULL);
  has(&s, "<h2>Training</h2>");
  has(&s, "<td class=\"n\">"); /* of the evaluation's tables */
  has(&s, "1,234,567");
  has(&s, "2,500");
  /* the answer first: of the published step, its interval, the length rule, the start */
  has(&s, "<dt>held out, right (95% interval)</dt><dd>62.5% (40.0–70.0)</dd>");
  has(&s, "<dt>before training</dt><dd>50.0%</dd>");
  has(&s, "<dt>by length alone</dt><dd>33.5%</dd>");
  has(&s, "<dt>best, published</dt><dd>62.5%, step 2</dd>");
  has(&s, "class=\"fill s1\""); /* the interval, in the run's colour, and the best step's ring */
  has(&s, "class=\"ring s1\"");
  has(&s, "class=\"line s0\""); /* the length rule is grey */
  has(&s, "50%</span>");
  /* then what was chosen: not what was given as it is by default, nor what came by itself */
  const char *changed = strstr(s.p, "<caption>Arguments that are not the defaults</caption>"),
             *all = strstr(s.p, "<details>");
  assert_true(changed && all && changed < all && changed < strstr(s.p, "<td>--lr</td>") &&
              strstr(s.p, "<td>--lr</td>") < all);
  assert_true(strstr(s.p, "<td>--eps</td>") > all && strstr(s.p, "<td>--warmup</td>") > all);
  has(&s, "<td>--data</td><td>a b</td>");
  has(&s, "<td>--resume</td><td>yes</td>");
  has(&s, "<td>--config</td><td>-</td>");
  has(&s, "<td>--eval</td><td>-</td>");
  has(&s, "Loss</figcaption>");
  has(&s, "last 0.25<");
  lacks(&s, "Mean margin"); /* no step has a margin */
  has(&s, "Held out, right: held.jsonl");
  has(&s, "Evaluated while training: held.jsonl");
  has(&s, "one, step 0");
  has(&s, "one, step 2");
  has(&s, "By source</figcaption>");
  has(&s, "src-y");
  has(&s, "length baseline <span>last 33.5%");
  str_free(&s);
}

static void test_runs_differ(void **state) {
  (void)state;
  str s = page(RW_OK, "one/", "two", "bare", NULL);
  char *all = strstr(s.p, "<details>");
  has(&s, "<tr><td>--lr</td><td>1e-05</td><td>2e-05</td><td>-</td></tr>");
  has(&s, "<tr><td>--keep</td><td>-</td><td>best</td><td>-</td></tr>");
  has(&s, "<th scope=\"col\">one</th>"); /* the slash at its end is no part of the name */
  has(&s, "two, step 0");
  has(&s, "<td>one</td><td>held.jsonl</td>");
  has(&s, "62.5% (40.0–70.0)");
  assert_non_null(all);
  *all = 0;
  lacks(&s, "--resume"); /* how a run was begun, and where it lies, is no difference */
  lacks(&s, "--out");
  str_free(&s);
}

static void test_results_by_suite(void **state) {
  (void)state;
  str s = page(RW_OK, "a/results.json", "judge.json", "b", NULL);
  has(&s, "<h2>Evaluation: judgebench</h2>");
  has(&s, "<h2>Evaluation: pairs</h2>");
  has(&s, ">judge</th>");
  has(&s, ">b</th>");
  str_free(&s);
  s = page(RW_OK, "a/results.json", "b/results.json", NULL);
  has(&s, "/a/results</th>"); /* names that would be the same are given whole */
  has(&s, "/b/results</th>");
  str_free(&s);
}

static void test_data(void **state) {
  (void)state;
  str s = page(RW_OK, "set", "clean", NULL);
  has(&s, "(recipe my &lt;recipe&gt;)");
  has(&s, "s1: 9 (75.0%)");
  has(&s, "s2: 1 (25.0%)");
  has(&s, "<td>Math</td><td class=\"n\">4</td><td class=\"n\">2</td>");
  has(&s, "<dt>training prompts contaminated</dt><dd>19</dd>");
  has(&s, "s1: 3,981 (100.0%)"); /* what is left */
  has(&s, "<td>hep-go</td><td class=\"n\">4</td><td class=\"n\">2</td>");
  str_free(&s);
}

static void test_refused(void **state) {
  (void)state;
  const char *const cases[][2] = {{"bad", "metrics.jsonl:2: step: expected a number"},
                                  {"cut", "metrics.jsonl:2"},
                                  {"sources", "metrics.jsonl:1: sources: margin: expected a number, got string"},
                                  {"empty", "expected metrics.jsonl, report.json or results.json"},
                                  {"other.json", "other.json: expected results of `reward eval`"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    str s = page(RW_DATA, cases[i][0], NULL);
    has(&s, cases[i][1]);
    str_free(&s);
    s = page(RW_OK, "one", cases[i][0], NULL); /* beside another it is left out, and the other drawn */
    has(&s, "By source</figcaption>");
    str_free(&s);
  }
  str s = page(RW_IO, "nothing.json", NULL);
  str_free(&s);
}

static void test_out_of_memory(void **state) {
  (void)state;
  char text[4][96];
  const char *paths[4];
  const char *const names[4] = {"one", "two", "set", "judge.json"};
  for (int i = 0; i < 4; i++) {
    snprintf(text[i], sizeof text[i], "%s/%s", root, names[i]);
    paths[i] = text[i];
  }
  rw_error err;
  bool done = false;
  for (long n = 0; !done; n += n < 600 ? 1 : 13) {
    rep_page *p = rep_page_new("t", NULL);
    mem_fail_after(n);
    size_t unread;
    rw_status st = runs_page(p, paths, 4, NULL, &unread, &err);
    if (!st) st = rep_page_write(p, "/dev/null/none", &err);
    mem_fail_after(-1);
    assert_true(st == RW_IO || st == RW_NOMEM);
    done = st == RW_IO; /* all was drawn; the file cannot be made */
    rep_page_free(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_run), cmocka_unit_test(test_runs_differ), cmocka_unit_test(test_results_by_suite),
      cmocka_unit_test(test_data),    cmocka_unit_test(test_refused),     cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, make, clean);
}
