/* eval_cases.h - what the tests of evaluation share: rows and scores from texts, figures by name.
 *
 * Texts are put into files of a process' own, which are removed once read.
 */
#ifndef TESTS_EVAL_CASES_H
#define TESTS_EVAL_CASES_H

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

#include "base/file.h"
#include "eval/eval.h"
#include "format/json.h"

#define CASE static __attribute__((unused)) /* not every test needs each */

static const eval_options no_intervals = {0, 0}, usual = {1, EVAL_RESAMPLES};

/* ---- texts ---- */

/* One pair without its first brace; a Ties item; rows of scores: right, and without any. */
#define ITEM "\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"b\"}\n"
#define TIES(id, n) \
  "{\"id\": \"" id "\", \"subset\": \"Ties\", \"prompt\": \"q\", \"chosen\": " n ", \"rejected\": [\"x\"]}\n"
#define GOOD "{\"chosen_score\": 1, \"rejected_score\": 0}\n"
#define NONE "{\"error\": \"bad\"}\n"

/* Four pairs of three sources, one after an empty line. */
CASE const char pairs[] =
    "{\"prompt\": \"q\", \"chosen\": \"long answer\", \"rejected\": \"short\", \"source\": \"x\", \"id\": 1}\n"
    "{\"prompt\": \"q\", \"chosen\": \"\xC3\xA9\xC3\xA9\", \"rejected\": \"ab\", \"source\": \"x\", \"id\": 2}\n"
    "\n"
    "{\"prompt\": \"q\", \"chosen\": \"a\", \"rejected\": \"bcd\", \"source\": \"y\", \"id\": \"2\"}\n"
    "{\"chosen\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"abcd\"}], "
    "\"rejected\": [{\"role\": \"user\", \"content\": \"q\"}, {\"role\": \"assistant\", \"content\": \"abc\"}]}\n";

/* ---- files of them ---- */

CASE const char *put(const char *text) {
  static char path[4][64];
  static int k;
  char *p = path[k = (k + 1) % 4];
  snprintf(p, sizeof path[0], "/tmp/reward-eval-%ld-%d.jsonl", (long)getpid(), k);
  rw_error err;
  assert_int_equal(file_put(p, text, strlen(text), &err), RW_OK);
  return p;
}

CASE eval_data *load(eval_suite suite, const char *text) {
  eval_data *d;
  rw_error err;
  const char *path = put(text);
  if (eval_load(&d, suite, &path, 1, NULL, &err)) fail_msg("%s", err.text);
  remove(path);
  return d;
}

CASE eval_scores scores(const eval_data *d, const char *text) {
  eval_scores s;
  rw_error err;
  const char *path = put(text);
  if (eval_scores_read(&s, d, path, NULL, &err)) fail_msg("%s", err.text);
  remove(path);
  return s;
}

CASE eval_result measure(const eval_data *d, const char *score_rows, const eval_options *o) {
  eval_scores s = scores(d, score_rows);
  eval_result r;
  rw_error err;
  if (eval_measure(&r, d, &s, o, &err)) fail_msg("%s", err.text);
  eval_scores_free(&s);
  return r;
}

CASE const eval_figure *section(const eval_result *r, const char *name) {
  for (size_t i = 0; i < r->n_sections; i++)
    if (strcmp(r->sections[i].name, name) == 0) return &r->sections[i];
  fail_msg("no section %s", name);
  return NULL;
}

CASE const eval_subset *subset(const eval_result *r, const char *name) {
  for (size_t i = 0; i < r->n_subsets; i++)
    if (strcmp(r->subsets[i].name, name) == 0) return &r->subsets[i];
  fail_msg("no subset %s", name);
  return NULL;
}

CASE bool is_missing(const eval_result *r, const char *name) {
  for (size_t i = 0; i < r->n_missing; i++)
    if (strcmp(r->missing[i], name) == 0) return true;
  return false;
}

CASE void near(double got, double want) {
  if (!(fabs(got - want) <= 1e-9)) fail_msg("expected %.12g, got %.12g", want, got);
}

/* A suite's recorded rows, read once more with the last item's scores replaced by an error. */
CASE void without_last(eval_suite suite, eval_data **d, eval_scores *whole, eval_scores *part) {
  char *path = mem_printf("tests/data/eval/%s.jsonl", eval_suite_words[suite].text);
  rw_error err;
  str rows = {0};
  if (eval_load(d, suite, (const char *const *)&path, 1, NULL, &err)) fail_msg("%s", err.text);
  if (eval_scores_read(whole, *d, path, NULL, &err)) fail_msg("%s", err.text);
  if (file_read(path, 1 << 24, &rows, &err)) fail_msg("%s", err.text);
  rows.p[--rows.len] = 0;
  rows.len = (size_t)(strrchr(rows.p, '\n') + 1 - rows.p);
  str_addz(&rows, "{\"error\": \"the \xC3\xA9nd\"}\n");
  *part = scores(*d, rows.p);
  assert_int_equal(part->unscored, 1);
  str_free(&rows);
  mem_free(path);
}

#endif
