/* runs_page.c - draws what runs_read.c has read: evaluations, training, data. */
#include <math.h>
#include <string.h>

#include "pages/runs.h"
#include "pages/runs_int.h"

enum { SMOOTH_PARTS = 40, MANY_RUNS = 4 }; /* curves are means over 1/40 of the longest run */

static double number(const json_doc *d, json_val object, const char *field) {
  double v;
  return json_number(d, json_get(d, object, field), &v) ? v : NAN;
}

/* ---- evaluations ---- */

static rw_status draw_results(rep_page *p, const run_set *s, rw_error *err) {
  const eval_result **list = mem_alloc(s->n_results, sizeof *list);
  const char **names = mem_alloc(s->n_results, sizeof *names);
  rw_status st = list && names ? RW_OK : rw_nomem(err, "results");
  for (int suite = 0; !st && suite < EVAL_SUITES; suite++) {
    size_t n = 0;
    for (size_t i = 0; i < s->n_results; i++)
      if ((int)s->results[i].result.suite == suite) {
        names[n] = s->results[i].name;
        list[n++] = &s->results[i].result;
      }
    if (n == 0) continue;
    rep_section(p, "Evaluation: %s", eval_suite_words[suite].text);
    eval_page(p, list, names, n);
  }
  mem_free(list);
  mem_free(names);
  return st;
}

/* ---- training: facts and arguments ---- */

/* A table with one column a run after a first column of names. */
static rep_table *run_table(const run_set *s, const char *first) {
  const char **columns = mem_alloc(s->n_runs + 1, sizeof *columns);
  if (!columns) return NULL;
  columns[0] = first;
  for (size_t i = 0; i < s->n_runs; i++) columns[i + 1] = s->runs[i].name;
  rep_table *t = rep_table_new(columns, s->n_runs + 1);
  mem_free(columns);
  return t;
}

static void value_cell(rep_table *t, json_doc *d, json_val v) {
  double x;
  slice text = d ? json_string(d, v) : (slice){0};
  if (text.p)
    rep_cell_text(t, text);
  else if (d && json_number(d, v, &x))
    rep_cell_num(t, x, x == floor(x) ? 0 : 2);
  else
    rep_cell(t, "-");
}

/* One row of run.json's member (of its member `group`, if not NULL). */
static void info_row(rep_table *t, const run_set *s, const char *label, const char *group, const char *field) {
  rep_cell(t, "%s", label);
  for (size_t i = 0; i < s->n_runs; i++) {
    json_doc *d = s->runs[i].info.doc;
    json_val at = d && group ? json_get(d, 0, group) : 0;
    value_cell(t, d, d ? json_get(d, at, field) : JSON_NONE);
  }
}

static void draw_facts(rep_page *p, const run_set *s) {
  rep_table *t = run_table(s, "");
  info_row(t, s, "status", NULL, "status");
  info_row(t, s, "model", "model", "path");
  info_row(t, s, "head", NULL, "head");
  info_row(t, s, "loss", NULL, "loss");
  info_row(t, s, "rows used", "rows", "used");
  info_row(t, s, "rows invalid", "rows", "invalid");
  info_row(t, s, "rows dropped as empty", "rows", "empty_dropped");
  info_row(t, s, "rows dropped as too long", "rows", "overlong_dropped");
  info_row(t, s, "rows dropped as identical", "rows", "identical_dropped");
  info_row(t, s, "rows truncated", "rows", "truncated");
  info_row(t, s, "steps done", NULL, "steps_done");
  info_row(t, s, "tokens", NULL, "tokens");
  info_row(t, s, "seconds", NULL, "seconds");
  rep_cell(t, "peak memory, MB");
  for (size_t i = 0; i < s->n_runs; i++) {
    const json_doc *d = s->runs[i].info.doc;
    rep_cell_num(t, d ? number(d, 0, "peak_memory_bytes") / 1e6 : NAN, 0);
  }
  info_row(t, s, "device", NULL, "device");
  info_row(t, s, "dtype", NULL, "dtype");
  info_row(t, s, "seed", NULL, "seed");
  info_row(t, s, "best step", NULL, "best_step");
  rep_put_table(p, t, "Runs");
  rep_table_free(t);
}

/* What took effect in the run for every option; JSON_NONE: run.json does not say. */
static json_val effective_of(const train_run_files *r) {
  json_doc *d = r->info.doc;
  return d ? json_get(d, json_get(d, 0, "arguments"), "effective") : JSON_NONE;
}

static json_val option_of(const train_run_files *r, slice name) {
  json_val all = effective_of(r);
  for (json_val v = all == JSON_NONE ? all : json_first(r->info.doc, all); v != JSON_NONE;
       v = json_next(r->info.doc, v))
    if (slice_eq(json_key(r->info.doc, v), name)) return v;
  return JSON_NONE;
}

static void option_cell(rep_table *t, json_doc *d, json_val v) {
  json_type kind = v == JSON_NONE ? JSON_NULL : json_kind(d, v);
  if (kind == JSON_NULL || (kind == JSON_ARRAY && json_count(d, v) == 0)) {
    rep_cell(t, "-");
  } else if (kind == JSON_ARRAY) {
    str all = {0};
    for (json_val e = json_first(d, v); e != JSON_NONE; e = json_next(d, e)) {
      slice s = json_string(d, e);
      if (all.len) str_addc(&all, ' ');
      if (s.p) str_add(&all, s.p, s.len);
    }
    rep_cell(t, "%s", all.p ? all.p : "");
    str_free(&all);
  } else {
    slice text = json_string(d, v);
    if (kind == JSON_TRUE || kind == JSON_FALSE)
      rep_cell(t, kind == JSON_TRUE ? "yes" : "no");
    else
      rep_cell_text(t, text.p ? text : json_raw(d, v));
  }
}

/* The option's row, where the runs differ in it (or there is one run only). */
static void argument_row(rep_table *t, const run_set *s, slice name, size_t *rows) {
  /* these change nothing in what a run does */
  static const char *const idle[] = {"out", "resume", "force", "quiet"};
  bool differ = s->n_runs == 1;
  slice first = {0};
  for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
    if (s->n_runs > 1 && slice_is(name, idle[i])) return;
  for (size_t i = 0; i < s->n_runs; i++) {
    json_val v = option_of(&s->runs[i], name);
    slice raw = {0};
    if (v != JSON_NONE) raw = json_raw(s->runs[i].info.doc, v);
    if (i == 0) first = raw;
    if (!slice_eq(first, raw)) differ = true;
  }
  if (!differ) return;
  char *label = mem_printf("--%.*s", (int)name.len, name.p);
  rep_cell(t, "%s", label ? label : "");
  mem_free(label);
  for (size_t i = 0; i < s->n_runs; i++) option_cell(t, s->runs[i].info.doc, option_of(&s->runs[i], name));
  ++*rows;
}

static rw_status draw_arguments(rep_page *p, const run_set *s, rw_error *err) {
  rep_table *t = run_table(s, "option");
  map *seen = map_new();
  size_t rows = 0;
  bool oom = !seen;
  for (size_t i = 0; i < s->n_runs && !oom; i++) {
    const train_run_files *r = &s->runs[i];
    json_val all = effective_of(r);
    for (json_val v = all == JSON_NONE ? all : json_first(r->info.doc, all); v != JSON_NONE && !oom;
         v = json_next(r->info.doc, v)) {
      slice name = json_key(r->info.doc, v);
      bool is_new;
      oom = !map_put(seen, name.p, name.len, 0, &is_new);
      if (!oom && is_new) argument_row(t, s, name, &rows);
    }
  }
  if (rows) rep_put_table(p, t, s->n_runs == 1 ? "Arguments" : "Arguments that differ");
  if (!rows && s->n_runs > 1) rep_note(p, "The runs' arguments are the same.");
  rep_table_free(t);
  map_free(seen);
  return oom ? rw_nomem(err, "arguments") : RW_OK;
}

/* ---- training: curves ---- */

static rw_status draw_curves(rep_page *p, const run_set *s, rw_error *err) {
  rep_series *lines = mem_alloc(s->n_runs, sizeof *lines);
  if (!lines) return rw_nomem(err, "curves");
  size_t longest = 0;
  for (size_t i = 0; i < s->n_runs; i++)
    if (s->runs[i].n > longest) longest = s->runs[i].n;
  size_t window = longest / SMOOTH_PARTS;
  char *caption = mem_printf("Mean of the last %zu steps; the steps themselves pale behind.", window);
  for (size_t k = 0; k < RUN_CURVES; k++) {
    bool any = false;
    for (size_t i = 0; i < s->n_runs; i++) {
      const train_run_files *r = &s->runs[i];
      lines[i] = (rep_series){r->name, r->x, r->y[k], r->n};
      for (size_t j = 0; j < r->n && !any; j++) any = isfinite(r->y[k][j]);
    }
    bool smoothed = run_curves[k].noisy && window > 1;
    rep_chart c = {.title = run_curves[k].title,
                   .x_label = "step",
                   .smooth = smoothed ? window : 0,
                   .caption = smoothed ? caption : NULL};
    if (any) rep_lines(p, &c, lines, s->n_runs);
  }
  mem_free(caption);
  mem_free(lines);
  return RW_OK;
}

/* ---- training: evaluations on the way ---- */

static double figure_of(const eval_result *r) {
  return isnan(r->overall.percent) ? r->items.percent : r->overall.percent;
}
static double baseline_of(const eval_result *r) {
  return isnan(r->overall.percent) ? r->items.baseline : r->overall.baseline;
}

/* What one --eval gave in all runs. */
typedef struct {
  const char *eval;
  rep_series *line;           /* n_runs + 1: the runs', then the baseline's */
  const eval_result **result; /* up to 2 a run: before and after */
  const char **name;
  size_t n_lines, n_results;
  double *x, *y; /* all points */
} eval_track;

static bool same_eval(const run_eval *e, const char *eval, const eval_result *like) {
  return strcmp(e->eval, eval) == 0 && e->result.suite == like->suite;
}

static rw_status track_run(eval_track *t, run_set *s, const train_run_files *r, const eval_result *like,
                           size_t *used, rw_error *err) {
  const run_eval *first = NULL, *last = NULL;
  size_t from = *used;
  for (size_t k = 0; k < r->n_evals; k++) {
    const run_eval *e = &r->evals[k];
    if (!same_eval(e, t->eval, like)) continue;
    if (!first) first = e;
    last = e;
    t->x[*used] = e->step;
    t->y[(*used)++] = figure_of(&e->result);
  }
  if (!first) return RW_OK;
  t->line[t->n_lines++] = (rep_series){r->name, t->x + from, t->y + from, *used - from};
  const run_eval *ends[2] = {first, last};
  for (int k = first == last || s->n_runs > MANY_RUNS; k < 2; k++) {
    char *name = mem_printf("%s, step %.0f", r->name, ends[k]->step);
    t->name[t->n_results] = name ? arena_strndup(s->memory, name, strlen(name)) : NULL;
    mem_free(name);
    if (!t->name[t->n_results]) return rw_nomem(err, "evaluations");
    t->result[t->n_results++] = &ends[k]->result;
  }
  return RW_OK;
}

static rw_status draw_eval(rep_page *p, run_set *s, const char *eval, const eval_result *like, rw_error *err) {
  size_t points = 2, used = 0;
  for (size_t i = 0; i < s->n_runs; i++) points += s->runs[i].n_evals;
  eval_track t = {.eval = eval,
                  .line = mem_alloc(s->n_runs + 1, sizeof *t.line),
                  .result = mem_alloc(2 * s->n_runs, sizeof *t.result),
                  .name = mem_alloc(2 * s->n_runs, sizeof *t.name),
                  .x = mem_alloc(points, sizeof *t.x),
                  .y = mem_alloc(points, sizeof *t.y)};
  rw_status st = t.line && t.result && t.name && t.x && t.y ? RW_OK : rw_nomem(err, "evaluations");
  for (size_t i = 0; !st && i < s->n_runs; i++) st = track_run(&t, s, &s->runs[i], like, &used, err);
  if (!st) {
    double lo = INFINITY, hi = -INFINITY;
    for (size_t i = 0; i < used; i++) lo = fmin(lo, t.x[i]), hi = fmax(hi, t.x[i]);
    t.x[used] = lo;
    t.x[used + 1] = hi;
    t.y[used] = t.y[used + 1] = baseline_of(like);
    t.line[t.n_lines++] = (rep_series){"length baseline", t.x + used, t.y + used, 2};
    rep_section(p, "Evaluated while training: %s", eval);
    if (lo < hi) {
      bool overall = !isnan(like->overall.percent);
      rep_lines(p, &(rep_chart){.title = overall ? "Overall, percent" : "All items, percent", .x_label = "step"},
                t.line, t.n_lines);
    }
    eval_page(p, t.result, t.name, t.n_results);
    spreads_draw(p, s, eval);
  }
  mem_free(t.line);
  mem_free(t.result);
  mem_free(t.name);
  mem_free(t.x);
  mem_free(t.y);
  return st;
}

static rw_status draw_evals(rep_page *p, run_set *s, rw_error *err) {
  for (size_t i = 0; i < s->n_runs; i++)
    for (size_t k = 0; k < s->runs[i].n_evals; k++) {
      const run_eval *e = &s->runs[i].evals[k];
      bool drawn = false; /* by an earlier line of this or another run? */
      for (size_t a = 0; a <= i && !drawn; a++)
        for (size_t b = 0; b < (a < i ? s->runs[a].n_evals : k) && !drawn; b++)
          drawn = same_eval(&s->runs[a].evals[b], e->eval, &e->result);
      if (!drawn) RW_TRY(draw_eval(p, s, e->eval, &e->result, err));
    }
  return RW_OK;
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
  RW_TRY(draw_results(p, s, err));
  if (s->n_runs) {
    rep_section(p, "Training");
    draw_facts(p, s);
    RW_TRY(draw_arguments(p, s, err));
    RW_TRY(draw_curves(p, s, err));
    RW_TRY(source_draw(p, s, err));
    RW_TRY(draw_evals(p, s, err));
  }
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
