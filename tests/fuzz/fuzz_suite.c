/* fuzz_suite.c - any bytes as a benchmark's rows and scores at once, of each suite in turn: refused, or figures
 * whose results.json reads back as it was. */
#include <string.h>

#include "eval/eval.h"
#include "fuzz.h"

/* Writes the result; the text is the caller's. */
static str written(const eval_result *r) {
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  eval_result_json(&w, r);
  jw_end(&w);
  return s;
}

static void read_back(const eval_result *r) {
  str text = written(r), again = {0};
  eval_result copy;
  rw_error err;
  json_doc *d = json_new();
  if (!d || text.oom || json_parse(d, text.p, text.len, &err)) abort();
  if (eval_result_parse(&copy, d, NULL, &err)) abort();
  again = written(&copy);
  if (again.len != text.len || memcmp(again.p, text.p, text.len) != 0) abort();
  eval_result_free(&copy);
  str_free(&text);
  str_free(&again);
  json_free(d);
}

static void one_suite(eval_suite suite, const char *path) {
  eval_data *d;
  eval_scores s;
  eval_result r;
  rw_error err;
  eval_options none = {0, 0};
  if (eval_load(&d, suite, &path, 1, NULL, &err)) return;
  if (!eval_scores_read(&s, d, path, NULL, &err)) {
    if (!eval_measure(&r, d, &s, &none, &err)) {
      read_back(&r);
      eval_result_free(&r);
    }
    eval_scores_free(&s);
  }
  eval_data_free(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_file f = fuzz_file_of(data, size);
  for (int suite = 0; suite < EVAL_SUITES; suite++) one_suite((eval_suite)suite, f.path);
  fuzz_file_close(&f);
  return 0;
}
