/* runs_train.c - the runs of a page: what they reached, how, and with what arguments.
 *
 * A run has one colour in all plots, that of its place; what it is compared with is grey. What answers a question
 * comes first, and what a run only consists of (every argument, the machine's curves) is folded away at the end.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pages/runs.h"
#include "pages/runs_int.h"
#include "train/train.h"

enum { SMOOTH_PARTS = 40, MANY_RUNS = 4 }; /* curves are means over 1/40 of the longest run */

static double number(const json_doc *d, json_val object, const char *field) {
  double v;
  return json_number(d, json_get(d, object, field), &v) ? v : NAN;
}

/* ---- what run.json says ---- */

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

static json_val effective_named(const train_run_files *r, const char *name) { return option_of(r, slice_of(name)); }

double run_published_step(const train_run_files *r) {
  json_doc *d = r->info.doc;
  if (!d || !slice_is(json_string(d, json_get(d, 0, "status")), "finished")) return NAN;
  json_val keep = effective_named(r, "keep");
  bool best = keep != JSON_NONE && slice_is(json_string(d, keep), "best");
  return number(d, 0, best ? "best_step" : "steps_done");
}

/* ---- headline ---- */

static const run_eval *eval_at(const train_run_files *r, const char *eval, double step) {
  for (size_t k = 0; k < r->n_evals; k++)
    if (strcmp(r->evals[k].eval, eval) == 0 && r->evals[k].step == step) return &r->evals[k];
  return NULL;
}

typedef struct {
  const run_eval *first, *last, *best, *published; /* by one --eval; published NULL: not known */
} run_ends;

static run_ends ends_of(const train_run_files *r, const char *eval) {
  run_ends e = {0};
  for (size_t k = 0; k < r->n_evals; k++) {
    const run_eval *v = &r->evals[k];
    if (strcmp(v->eval, eval) != 0) continue;
    if (!e.first) e.first = v;
    if (!e.best || eval_main_figure(&v->result)->percent > eval_main_figure(&e.best->result)->percent) e.best = v;
    e.last = v;
  }
  e.published = eval_at(r, eval, run_published_step(r));
  return e;
}

static void interval_text(char out[64], const eval_figure *f) {
  if (f->lo < f->hi)
    snprintf(out, 64, "%.1f%% (%.1f–%.1f)", f->percent, f->lo, f->hi);
  else
    snprintf(out, 64, "%.1f%%", f->percent);
}

/* One run: large figures. */
static void headline_facts(rep_page *p, const train_run_files *r) {
  run_ends e = ends_of(r, r->evals[0].eval);
  const run_eval *now = e.published ? e.published : e.last;
  char text[64];
  interval_text(text, eval_main_figure(&now->result));
  rep_fact(p, e.published ? "held out, right (95% interval)" : "held out at the last evaluation (95% interval)",
           "%s", text);
  rep_fact(p, "before training", "%.1f%%", eval_main_figure(&e.first->result)->percent);
  rep_fact(p, "by length alone", "%.1f%%", eval_main_figure(&now->result)->baseline);
  snprintf(text, sizeof text, "%.1f%%, step %.0f", eval_main_figure(&e.best->result)->percent, e.best->step);
  rep_fact(p,
           !e.published            ? "best"
           : e.best == e.published ? "best, published"
                                   : "best, not published",
           "%s", text);
  if (e.published && e.best != e.published)
    rep_note(
        p,
        "On %s, %zu items. Published: the weights after step %.0f; with the option keep best, the best ones are.",
        now->eval, now->result.n_items, e.published->step);
  else
    rep_note(p, "On %s, %zu items.", now->eval, now->result.n_items);
}

/* Several runs: a row each. */
static void headline_table(rep_page *p, const run_set *s) {
  rep_table *t =
      rep_table_new((const char *[]){"run", "held out on", ">items", ">right (95% interval)", ">before training",
                                     ">by length alone", ">best", ">best step", "published"},
                    9);
  for (size_t i = 0; i < s->n_runs; i++) {
    const train_run_files *r = &s->runs[i];
    rep_cell(t, "%s", r->name);
    if (r->n_evals == 0) {
      for (int k = 1; k < 9; k++) rep_cell(t, "-");
      continue;
    }
    run_ends e = ends_of(r, r->evals[0].eval);
    const run_eval *now = e.published ? e.published : e.last;
    char text[64];
    interval_text(text, eval_main_figure(&now->result));
    rep_cell(t, "%s", now->eval);
    rep_cell_num(t, (double)now->result.n_items, 0);
    rep_cell(t, "%s", text);
    rep_cell(t, "%.1f%%", eval_main_figure(&e.first->result)->percent);
    rep_cell(t, "%.1f%%", eval_main_figure(&now->result)->baseline);
    rep_cell(t, "%.1f%%", eval_main_figure(&e.best->result)->percent);
    rep_cell_num(t, e.best->step, 0);
    if (e.published)
      rep_cell(t, "step %.0f%s", e.published->step, e.published == e.best ? ", the best" : "");
    else
      rep_cell(t, "not finished");
  }
  rep_put_table(p, t, NULL);
  rep_table_free(t);
}

static void draw_headline(rep_page *p, const run_set *s) {
  bool any = false;
  for (size_t i = 0; i < s->n_runs; i++) any |= s->runs[i].n_evals > 0;
  if (!any)
    rep_note(p,
             "No run was evaluated on held-out rows: training figures alone do not say what a model has learned.");
  else if (s->n_runs == 1)
    headline_facts(p, &s->runs[0]);
  else
    headline_table(p, s);
}

/* ---- curves ---- */

/* Rows of each step, as far as run.json tells: the last batch of an epoch may be short. NULL: no memory. */
static double *step_rows(run_set *s, const train_run_files *r) {
  double *w = arena_alloc(s->memory, r->n + 1, sizeof *w), used = NAN, batch = NAN;
  if (!w) return NULL;
  if (r->info.doc) {
    used = number(r->info.doc, json_get(r->info.doc, 0, "rows"), "used");
    json_val v = effective_named(r, "batch-size");
    if (v == JSON_NONE || !json_number(r->info.doc, v, &batch)) batch = NAN;
  }
  double each = ceil(used / batch), left = used - (each - 1) * batch;
  for (size_t i = 0; i < r->n; i++) w[i] = each > 0 ? fmod(r->x[i], each) == 0 ? left : batch : 1;
  return w;
}

static rw_status draw_curves(rep_page *p, run_set *s, bool aside, rw_error *err) {
  rep_series *lines = mem_zalloc(s->n_runs, sizeof *lines);
  const double **rows = mem_zalloc(s->n_runs, sizeof *rows);
  bool oom = !lines || !rows;
  size_t longest = 0;
  for (size_t i = 0; !oom && i < s->n_runs; i++) {
    if (s->runs[i].n > longest) longest = s->runs[i].n;
    oom = !(rows[i] = step_rows(s, &s->runs[i]));
  }
  size_t window = longest / SMOOTH_PARTS > 3 || longest < 8 ? longest / SMOOTH_PARTS : 3;
  char *caption = mem_printf("Mean over the rows of the last %zu steps; the steps themselves pale behind.", window);
  for (size_t k = 0; !oom && k < RUN_CURVES; k++) {
    bool any = false;
    if (run_curves[k].aside != aside) continue;
    for (size_t i = 0; i < s->n_runs; i++) {
      const train_run_files *r = &s->runs[i];
      lines[i] = (rep_series){
          .name = r->name, .x = r->x, .y = r->y[k], .n = r->n, .weight = run_curves[k].noisy ? rows[i] : NULL};
      for (size_t j = 0; j < r->n && !any; j++) any = isfinite(r->y[k][j]);
    }
    bool smoothed = run_curves[k].noisy && window > 1;
    rep_chart c = {.title = run_curves[k].title,
                   .x_label = "step",
                   .smooth = smoothed ? window : 0,
                   .percent = run_curves[k].percent,
                   .caption = smoothed ? caption : NULL};
    if (any) rep_lines(p, &c, lines, s->n_runs);
  }
  mem_free(caption);
  mem_free(lines);
  mem_free(rows);
  return oom ? rw_nomem(err, "curves") : RW_OK;
}

/* ---- evaluations on the way ---- */

/* What one --eval gave in all runs. */
typedef struct {
  const char *eval;
  rep_series *line;           /* n_runs + 1: the runs', then the baseline's */
  const eval_result **result; /* up to 2 a run: before, and of what is published, or last */
  const char **name;
  rep_ink *ink;
  size_t n_lines, n_results;
  double *x, *y, *lo, *hi; /* all points */
} eval_track;

static bool same_eval(const run_eval *e, const char *eval, const eval_result *like) {
  return strcmp(e->eval, eval) == 0 && e->result.suite == like->suite;
}

static rw_status track_run(eval_track *t, run_set *s, size_t run, const eval_result *like, size_t *used,
                           rw_error *err) {
  const train_run_files *r = &s->runs[run];
  run_ends e = ends_of(r, t->eval);
  size_t from = *used;
  for (size_t k = 0; k < r->n_evals; k++) {
    const run_eval *v = &r->evals[k];
    if (!same_eval(v, t->eval, like)) continue;
    const eval_figure *f = eval_main_figure(&v->result);
    t->x[*used] = v->step;
    t->lo[*used] = f->lo;
    t->hi[*used] = f->hi;
    t->y[(*used)++] = f->percent;
  }
  if (*used == from) return RW_OK;
  t->line[t->n_lines++] = (rep_series){.name = r->name,
                                       .x = t->x + from,
                                       .y = t->y + from,
                                       .n = *used - from,
                                       .lo = t->lo + from,
                                       .hi = t->hi + from,
                                       .mark = &e.best->step,
                                       .colour = (int)run + 1};
  const run_eval *ends[2] = {e.first, e.published ? e.published : e.last};
  for (int k = ends[0] == ends[1] || s->n_runs > MANY_RUNS; k < 2; k++) {
    char *name = mem_printf("%s, step %.0f", r->name, ends[k]->step);
    t->name[t->n_results] = name ? arena_strndup(s->memory, name, strlen(name)) : NULL;
    mem_free(name);
    if (!t->name[t->n_results]) return rw_nomem(err, "evaluations");
    t->ink[t->n_results] = (rep_ink){.colour = (int)run + 1, .pale = k == 0};
    t->result[t->n_results++] = &ends[k]->result;
  }
  return RW_OK;
}

static void draw_track(rep_page *p, eval_track *t, const eval_result *like, size_t used) {
  double lo = INFINITY, hi = -INFINITY;
  for (size_t i = 0; i < used; i++) lo = fmin(lo, t->x[i]), hi = fmax(hi, t->x[i]);
  t->x[used] = lo;
  t->x[used + 1] = hi;
  t->y[used] = t->y[used + 1] = eval_main_figure(like)->baseline;
  t->line[t->n_lines++] =
      (rep_series){.name = "length baseline", .x = t->x + used, .y = t->y + used, .n = 2, .colour = REP_GREY};
  const char *slash = strrchr(t->eval, '/');
  char *title = mem_printf("Held out, right: %s", slash ? slash + 1 : t->eval);
  rep_chart c = {.title = title ? title : "Held out",
                 .x_label = "step",
                 .percent = true,
                 .caption =
                     "Bands: 95% intervals, items drawn again within subsets. Ringed: each run's best step. "
                     "Grey: the longer response taken."};
  if (lo < hi) rep_lines(p, &c, t->line, t->n_lines);
  mem_free(title);
}

/* whole: the result's own tables too; else the curve alone. */
void note_rows(rep_page *p, const char *const *names, const slice *data, size_t n) {
  for (size_t i = 0, first = n; i < n; i++) {
    if (!data[i].p) continue;
    if (first == n) first = i;
    if (slice_eq(data[i], data[first])) continue;
    rep_note(p, "%s and %s were measured on different rows: their figures do not compare.", names[first], names[i]);
    return;
  }
}

/* The content of that evaluation as the run's record has it, in the order in which evals.jsonl first names them. */
static slice content_of(const train_run_files *r, const char *eval) {
  json_doc *d = r->info.doc;
  json_val v = d ? json_first(d, json_get(d, json_get(d, 0, "identity"), "eval")) : JSON_NONE;
  for (size_t k = 0; k < r->n_evals && v != JSON_NONE; k++) {
    bool again = false;
    for (size_t b = 0; b < k && !again; b++) again = strcmp(r->evals[b].eval, r->evals[k].eval) == 0;
    if (again) continue;
    if (strcmp(r->evals[k].eval, eval) == 0) return json_string(d, v);
    v = json_next(d, v);
  }
  return (slice){0};
}

static rw_status note_contents(rep_page *p, const run_set *s, const char *eval, rw_error *err) {
  slice *data = mem_alloc(s->n_runs, sizeof *data);
  const char **names = mem_alloc(s->n_runs, sizeof *names);
  for (size_t i = 0; data && names && i < s->n_runs; i++) {
    data[i] = content_of(&s->runs[i], eval);
    names[i] = s->runs[i].name;
  }
  if (data && names) note_rows(p, names, data, s->n_runs);
  rw_status st = data && names ? RW_OK : rw_nomem(err, "evaluations");
  mem_free(data);
  mem_free(names);
  return st;
}

static rw_status draw_eval(rep_page *p, run_set *s, const char *eval, const eval_result *like, bool whole,
                           rw_error *err) {
  size_t points = 2, used = 0;
  for (size_t i = 0; i < s->n_runs; i++) points += s->runs[i].n_evals;
  eval_track t = {.eval = eval,
                  .line = mem_zalloc(s->n_runs + 1, sizeof *t.line),
                  .result = mem_alloc(2 * s->n_runs, sizeof *t.result),
                  .name = mem_alloc(2 * s->n_runs, sizeof *t.name),
                  .ink = mem_zalloc(2 * s->n_runs, sizeof *t.ink),
                  .x = mem_alloc(points, sizeof *t.x),
                  .y = mem_alloc(points, sizeof *t.y),
                  .lo = mem_alloc(points, sizeof *t.lo),
                  .hi = mem_alloc(points, sizeof *t.hi)};
  bool there = t.line && t.result && t.name && t.ink && t.x && t.y && t.lo && t.hi;
  rw_status st = there ? RW_OK : rw_nomem(err, "evaluations");
  for (size_t i = 0; !st && i < s->n_runs; i++) st = track_run(&t, s, i, like, &used, err);
  if (!st && !whole) draw_track(p, &t, like, used);
  if (!st && whole) {
    rep_section(p, "Evaluated while training: %s", eval);
    st = note_contents(p, s, eval, err);
    eval_page(p, t.result, t.name, t.ink, t.n_results);
    spreads_draw(p, s, eval);
  }
  void *all[] = {t.line, t.result, t.name, t.ink, t.x, t.y, t.lo, t.hi};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  return st;
}

static rw_status draw_evals(rep_page *p, run_set *s, bool whole, rw_error *err) {
  for (size_t i = 0; i < s->n_runs; i++)
    for (size_t k = 0; k < s->runs[i].n_evals; k++) {
      const run_eval *e = &s->runs[i].evals[k];
      bool drawn = false; /* by an earlier line of this or another run? */
      for (size_t a = 0; a <= i && !drawn; a++)
        for (size_t b = 0; b < (a < i ? s->runs[a].n_evals : k) && !drawn; b++)
          drawn = same_eval(&s->runs[a].evals[b], e->eval, &e->result);
      if (!drawn) RW_TRY(draw_eval(p, s, e->eval, &e->result, whole, err));
    }
  return RW_OK;
}

/* ---- arguments ---- */

/* Was the option given to the run, on its command line or by a file of options? */
static bool is_given(const train_run_files *r, slice name) {
  json_doc *d = r->info.doc;
  json_val command = d ? json_get(d, json_get(d, 0, "arguments"), "command") : JSON_NONE;
  for (json_val v = command == JSON_NONE ? command : json_first(d, command); v != JSON_NONE; v = json_next(d, v)) {
    slice w = json_string(d, v);
    bool long_name = w.len >= name.len + 2 && memcmp(w.p, "--", 2) == 0 && memcmp(w.p + 2, name.p, name.len) == 0;
    if (long_name && (w.len == name.len + 2 || w.p[name.len + 2] == '=')) return true;
  }
  return false;
}

bool run_argument_changed(const train_run_files *r, slice name, json_val v) {
  const option *o = option_named(train_option_table, name.p, name.len);
  if (v == JSON_NONE || !is_given(r, name)) return false;
  const char *initial = o ? option_initial(o) : NULL;
  slice text = json_string(r->info.doc, v);
  double a, b;
  char *end;
  if (!initial) return true;
  if (text.p) return !slice_is(text, initial);
  b = strtod(initial, &end);
  return !(json_number(r->info.doc, v, &a) && *end == 0 && a == b);
}

typedef enum { ARGUMENTS_CHANGED, ARGUMENTS_ALL } which_arguments;

/* The option's row, where it is one that is asked for. */
static void argument_row(rep_table *t, const run_set *s, slice name, which_arguments which, size_t *rows) {
  /* these change nothing in what a run does */
  static const char *const idle[] = {"out", "resume", "force", "quiet", "dry-run", "config"};
  bool shown = which == ARGUMENTS_ALL, differ = false;
  slice first = {0};
  for (size_t i = 0; !shown && i < sizeof idle / sizeof *idle; i++)
    if (slice_is(name, idle[i])) return;
  for (size_t i = 0; i < s->n_runs; i++) {
    json_val v = option_of(&s->runs[i], name);
    slice raw = {0};
    if (v != JSON_NONE) raw = json_raw(s->runs[i].info.doc, v);
    if (i == 0) first = raw;
    differ |= !slice_eq(first, raw);
    shown |= run_argument_changed(&s->runs[i], name, v);
  }
  if (!shown && !differ) return;
  char *label = mem_printf("--%.*s", (int)name.len, name.p);
  rep_cell(t, "%s", label ? label : "");
  mem_free(label);
  for (size_t i = 0; i < s->n_runs; i++) option_cell(t, s->runs[i].info.doc, option_of(&s->runs[i], name));
  ++*rows;
}

static rw_status draw_arguments(rep_page *p, const run_set *s, which_arguments which, rw_error *err) {
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
      if (!oom && is_new) argument_row(t, s, name, which, &rows);
    }
  }
  if (rows)
    rep_put_table(
        p, t,
        which == ARGUMENTS_ALL ? "All arguments, as they took effect" : "Arguments that are not the defaults");
  rep_table_free(t);
  map_free(seen);
  return oom ? rw_nomem(err, "arguments") : RW_OK;
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

rw_status training_draw(rep_page *p, run_set *s, rw_error *err) {
  rep_section(p, "Training");
  draw_headline(p, s);
  RW_TRY(draw_evals(p, s, false, err));
  RW_TRY(draw_curves(p, s, false, err));
  RW_TRY(draw_arguments(p, s, ARGUMENTS_CHANGED, err));
  RW_TRY(source_draw(p, s, err));
  RW_TRY(draw_evals(p, s, true, err));
  rep_section(p, s->n_runs == 1 ? "The run in full" : "The runs in full");
  rep_fold(p, "Counts, machine, every argument");
  draw_facts(p, s);
  RW_TRY(draw_curves(p, s, true, err));
  RW_TRY(draw_arguments(p, s, ARGUMENTS_ALL, err));
  rep_unfold(p);
  return RW_OK;
}
