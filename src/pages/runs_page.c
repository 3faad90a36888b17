/* runs_page.c - draws what runs_read.c has read: evaluations and data; training is runs_train.c's. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "pages/runs.h"
#include "pages/runs_int.h"

static double number(const json_doc *d, json_val object, const char *field) {
  double v;
  return json_number(d, json_get(d, object, field), &v) ? v : NAN;
}

/* ---- evaluations ---- */

static rw_status draw_results(rep_page *p, const run_set *s, rw_error *err) {
  const eval_result **list = mem_alloc(s->n_results, sizeof *list);
  const char **names = mem_alloc(s->n_results, sizeof *names);
  rep_ink *ink = mem_zalloc(s->n_results, sizeof *ink);
  slice *data = mem_alloc(s->n_results, sizeof *data);
  rw_status st = list && names && ink && data ? RW_OK : rw_nomem(err, "results");
  for (int suite = 0; !st && suite < EVAL_SUITES; suite++) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_results; i++)
      if ((int)s->results[i].result.suite == suite) {
        names[n] = s->results[i].name;
        ink[n].colour = (int)(s->n_runs + i) + 1; /* after the runs' */
        data[n] = s->results[i].data ? slice_of(s->results[i].data) : (slice){0};
        list[n++] = &s->results[i].result;
      }
    if (n == 0) continue;
    rep_section(p, "Evaluation: %s", eval_suite_words[suite].text);
    note_rows(p, names, data, n);
    eval_page(p, list, names, ink, n);
  }
  mem_free(data);
  mem_free(list);
  mem_free(names);
  mem_free(ink);
  return st;
}

/* ---- data ---- */

/* A table of the members of an object: name, then whole numbers of these fields. */
static void members_table(rep_page *p, json_doc *d, json_val object, const char *first, const char *const *fields,
                          const char *const *columns, size_t n, const char *caption) {
  if (json_count(d, object) == 0) return;
  const char *heads[8] = {first};
  for (size_t i = 0; i < n; i++) heads[i + 1] = columns[i];
  rep_table *t = rep_table_new(heads, n + 1);
  for (json_val v = json_first(d, object); v != JSON_NONE; v = json_next(d, v)) {
    rep_cell_text(t, json_key(d, v));
    for (size_t i = 0; i < n; i++) rep_cell_num(t, number(d, v, fields[i]), 0);
  }
  rep_put_table(p, t, caption);
  rep_table_free(t);
}

static rw_status composition(rep_page *p, json_doc *d, json_val sources, const char *before, const char *after,
                             bool removed, const char *title, arena *memory, rw_error *err) {
  size_t n = json_count(d, sources), i = 0;
  const char **names = mem_alloc(n, sizeof *names);
  double *v = mem_alloc(2 * n, sizeof *v);
  rw_status st = names && v ? RW_OK : rw_nomem(err, "composition");
  for (json_val s = json_first(d, sources); !st && s != JSON_NONE; s = json_next(d, s), i++) {
    slice key = json_key(d, s);
    if (!(names[i] = arena_strndup(memory, key.p, key.len))) st = rw_nomem(err, "composition");
    v[i] = number(d, s, before);
    v[n + i] = removed ? v[i] - number(d, s, after) : number(d, s, after);
  }
  if (!st && n) rep_stacked(p, &(rep_chart){.title = title}, (const char *[]){"before", "after"}, 2, names, n, v);
  mem_free(names);
  mem_free(v);
  return st;
}

static rw_status draw_curation(rep_page *p, const data_report *r, arena *memory, rw_error *err) {
  json_doc *d = r->file.doc;
  slice recipe = json_string(d, json_get(d, 0, "recipe"));
  json_val sources = json_get(d, 0, "sources");
  rep_section(p, "Data: %s (recipe %.*s)", r->name, (int)recipe.len, recipe.p ? recipe.p : "");
  RW_TRY(composition(p, d, sources, "pairs", "kept", false, "Composition by source", memory, err));
  members_table(p, d, sources, "source", (const char *[]){"rows", "rows_in_no_pair", "pairs", "kept"},
                (const char *[]){">rows", ">in no pair", ">pairs", ">kept"}, 4, NULL);
  members_table(p, d, json_get(d, 0, "task_categories"), "task category", (const char *[]){"pairs", "kept"},
                (const char *[]){">pairs", ">kept"}, 2, "Magpie pairs by task category");
  return RW_OK;
}

static rw_status draw_contamination(rep_page *p, const data_report *r, arena *memory, rw_error *err) {
  json_doc *d = r->file.doc;
  json_val sources = json_get(d, 0, "sources");
  rep_section(p, "Contamination: %s", r->name);
  static const char *const facts[][2] = {{"bench_prompts_matched", "benchmark prompts matched"},
                                         {"bench_rows", "of benchmark rows"},
                                         {"train_prompts_contaminated", "training prompts contaminated"},
                                         {"train_rows", "of training rows"},
                                         {"ngram", "consecutive words shared"}};
  for (size_t i = 0; i < sizeof facts / sizeof *facts; i++) {
    str v = {0};
    rep_num(&v, number(d, 0, facts[i][0]), 0);
    rep_fact(p, facts[i][1], "%s", v.p ? v.p : "");
    str_free(&v);
  }
  RW_TRY(composition(p, d, sources, "train_rows", "contaminated", true, "Training rows by source", memory, err));
  members_table(p, d, sources, "source", (const char *[]){"train_rows", "contaminated"},
                (const char *[]){">training rows", ">contaminated"}, 2, NULL);
  members_table(p, d, json_get(d, 0, "subsets"), "benchmark subset", (const char *[]){"bench_rows", "matched"},
                (const char *[]){">rows", ">matched"}, 2, NULL);
  return RW_OK;
}

static rw_status draw(rep_page *p, run_set *s, rw_error *err) {
  if (s->n_runs) RW_TRY(training_draw(p, s, err));
  RW_TRY(draw_results(p, s, err));
  for (size_t i = 0; i < s->n_reports; i++) {
    const data_report *r = &s->reports[i];
    bool curation = json_get(r->file.doc, 0, "recipe") != JSON_NONE;
    RW_TRY(curation ? draw_curation(p, r, s->memory, err) : draw_contamination(p, r, s->memory, err));
  }
  return RW_OK;
}

rw_status runs_page(rep_page *p, const char *const *paths, size_t n, rw_context *context, size_t *unread,
                    rw_error *err) {
  run_set s;
  RW_TRY(run_set_read(&s, paths, n, context, unread, err));
  rw_status st = draw(p, &s, err);
  run_set_free(&s);
  return st;
}

rw_status run_page_write(const char *out, rw_context *context, rw_error *err) {
  size_t unread;
  rep_page *p = rep_page_new(out, "One training run, made by reward.c; several compare with `reward report`.");
  char *path = file_join(out, RUN_PAGE);
  rw_status s = path ? runs_page(p, &out, 1, context, &unread, err) : rw_nomem(err, out);
  if (!s) s = rep_page_write(p, path, err);
  mem_free(path);
  rep_page_free(p);
  return s;
}
