/* sweep_page.c - a sweep's results as tables, sweep.json and report.html, with the report's own figures beside.
 *
 * The report's figures (arXiv 2410.18451) are RewardBench's of models of 8 and 27 billion parameters on its own
 * data: a sweep on other data or models is compared with them in its differences, not in its level.
 */
#include "pages/sweep_page.h"

#include <math.h>
#include <string.h>

#include "base/file.h"
#include "format/json_write.h"
#include "pages/runs.h"

/* Average, chat, chat hard, safety, reasoning. */
enum { REPORTED = 5 };
typedef struct {
  const char *name;
  double percent[REPORTED];
} reported;

/* The loss ablation of Gemma-2-27B, by our names of the losses. */
static const reported loss_rows[] = {{"bt", {93.8, 95.8, 91.4, 92.0, 96.1}},
                                     {"focal", {93.6, 94.3, 91.8, 92.0, 96.5}},
                                     {"focal-penalty", {93.4, 93.9, 91.5, 92.0, 96.5}},
                                     {"hinge", {93.3, 94.1, 90.2, 92.6, 96.3}},
                                     {"margin-mse", {92.3, 90.2, 89.0, 93.3, 96.7}},
                                     {"ce", {87.6, 74.9, 87.3, 94.0, 94.5}},
                                     {"tempered-log", {92.9, 96.4, 87.4, 91.8, 96.2}},
                                     {"temperature-bt", {93.7, 94.3, 91.7, 92.7, 96.3}}};
enum { LOSS_ROWS = sizeof loss_rows / sizeof *loss_rows };

static const reported data_rows[] = {{"Llama-3.1-8B + Preference 700K", {86.9, 98.0, 67.3, 89.4, 93.0}},
                                     {"Llama-3.1-8B + 378K", {91.8, 94.6, 84.5, 91.5, 96.5}},
                                     {"Llama-3.1-8B + 80K", {92.5, 95.8, 87.3, 90.6, 96.2}},
                                     {"Llama-3.1-8B + 80K v0.2", {93.1, 94.7, 88.4, 92.7, 96.7}},
                                     {"Gemma-2-27B + Preference 700K", {88.1, 97.5, 71.7, 90.0, 93.4}},
                                     {"Gemma-2-27B + 378K", {92.6, 94.4, 87.5, 91.9, 96.7}},
                                     {"Gemma-2-27B + 80K", {93.8, 95.8, 91.4, 92.0, 96.1}},
                                     {"Gemma-2-27B + 80K v0.2", {94.3, 96.1, 89.9, 93.0, 98.1}}};
enum { DATA_ROWS = sizeof data_rows / sizeof *data_rows };

static double reported_of(const char *loss) {
  for (int i = 0; i < LOSS_ROWS; i++)
    if (strcmp(loss_rows[i].name, loss) == 0) return loss_rows[i].percent[0];
  return NAN;
}

static bool vary(const sweep *s, bool loss) {
  const sweep_group *first = &s->groups[0];
  for (const sweep_group *g = first + 1; g < first + s->n_groups; g++)
    if (strcmp(loss ? g->loss : g->data, loss ? first->loss : first->data) != 0) return true;
  return false;
}

/* ---- tables ---- */

static void signed_cell(rep_table *t, double v, int decimals) {
  if (isnan(v))
    rep_cell(t, "-");
  else
    rep_cell(t, "%+.*f", decimals, v);
}

static rep_table *figures_table(const sweep_results *r, size_t e) {
  const sweep *s = r->s;
  bool losses = vary(s, true);
  const char *columns[] = {"run",         ">seeds",        ">mean, percent", ">sd",
                           ">- baseline", ">95% interval", ">report",        ">report - baseline"};
  rep_table *t = rep_table_new(columns, losses ? 8 : 6);
  double base = reported_of(s->groups[s->baseline].loss);
  for (size_t g = 0; g < s->n_groups; g++) {
    const sweep_figure *f = &r->figure[g * s->n_evals + e];
    rep_cell(t, "%s%s", s->groups[g].name, g == s->baseline ? " (baseline)" : "");
    rep_cell(t, "%zu of %zu", f->n, s->n_seeds);
    rep_cell_num(t, f->mean, 2);
    rep_cell_num(t, f->sd, 2);
    signed_cell(t, f->difference.difference, 2);
    if (isnan(f->difference.lo))
      rep_cell(t, "-");
    else
      rep_cell(t, "%+.2f to %+.2f", f->difference.lo, f->difference.hi);
    if (!losses) continue;
    double v = reported_of(s->groups[g].loss);
    rep_cell_num(t, v, 1);
    signed_cell(t, g == s->baseline ? NAN : v - base, 1);
  }
  return t;
}

/* The subset's accuracy, mean over the group's seeds; NaN: not there. */
static double subset_mean(const sweep_results *r, size_t g, size_t e, const char *name) {
  double sum = 0, n = 0;
  for (size_t i = 0; i < r->s->n_seeds; i++) {
    const sweep_cell *c = sweep_cell_of(r, g, i, e);
    for (size_t k = 0; c->there && k < c->result.n_subsets; k++)
      if (strcmp(c->result.subsets[k].name, name) == 0) sum += c->result.subsets[k].accuracy, n++;
  }
  return n > 0 ? sum / n : NAN;
}

/* Any result of the evaluation, for what all of them share; NULL: none. */
static const eval_result *any_result(const sweep_results *r, size_t e) {
  for (size_t i = 0; i < r->s->n_groups * r->s->n_seeds; i++)
    if (r->cells[i * r->s->n_evals + e].there) return &r->cells[i * r->s->n_evals + e].result;
  return NULL;
}

static rep_table *subsets_table(const sweep_results *r, size_t e, const eval_result *like) {
  const sweep *s = r->s;
  const char **columns = mem_alloc(s->n_groups + 2, sizeof *columns);
  if (!columns) return NULL;
  char **names = mem_zalloc(s->n_groups, sizeof *names);
  columns[0] = "subset";
  columns[1] = ">items";
  bool ok = names != NULL;
  for (size_t g = 0; ok && g < s->n_groups; g++) {
    columns[g + 2] = names[g] = mem_printf(">%s", s->groups[g].name);
    ok = names[g] != NULL;
  }
  rep_table *t = ok ? rep_table_new(columns, s->n_groups + 2) : NULL;
  for (size_t k = 0; k < like->n_subsets; k++) {
    rep_cell(t, "%s", like->subsets[k].name);
    rep_cell_int(t, (int64_t)like->subsets[k].n);
    for (size_t g = 0; g < s->n_groups; g++) rep_cell_num(t, subset_mean(r, g, e, like->subsets[k].name), 1);
  }
  for (size_t g = 0; names && g < s->n_groups; g++) mem_free(names[g]);
  mem_free(names);
  mem_free(columns);
  return t;
}

static rep_table *reported_table(const char *first, const reported *rows, int n) {
  const char *columns[] = {first, ">average", ">chat", ">chat hard", ">safety", ">reasoning"};
  rep_table *t = rep_table_new(columns, 1 + REPORTED);
  for (int i = 0; i < n; i++) {
    rep_cell(t, "%s", rows[i].name);
    for (int k = 0; k < REPORTED; k++) rep_cell_num(t, rows[i].percent[k], 1);
  }
  return t;
}

static rw_status print(rep_table *t, str *text, rw_error *err) {
  rw_status st = rep_table_print(t, text, err);
  rep_table_free(t);
  return st;
}

static rw_status tables(const sweep_results *r, str *text, rw_error *err) {
  const sweep *s = r->s;
  for (size_t e = 0; e < s->n_evals; e++) {
    const eval_result *like = any_result(r, e);
    str_printf(text, "%s%s", e ? "\n" : "", s->evals[e]);
    if (like)
      str_printf(text, ": %zu items, by length alone %.2f", like->n_items,
                 isnan(like->overall.percent) ? like->items.baseline : like->overall.baseline);
    str_addz(text, "\n");
    RW_TRY(print(figures_table(r, e), text, err));
  }
  if (vary(s, true)) {
    str_addz(text, "\nThe report: RewardBench of Gemma-2-27B by loss\n");
    RW_TRY(print(reported_table("loss", loss_rows, LOSS_ROWS), text, err));
  }
  if (vary(s, false)) {
    str_addz(text, "\nThe report: RewardBench by training data\n");
    RW_TRY(print(reported_table("model and data", data_rows, DATA_ROWS), text, err));
  }
  return RW_OK;
}

/* ---- the page ---- */

static void draw_bars(rep_page *p, const sweep_results *r, size_t e) {
  const sweep *s = r->s;
  const char **labels = mem_alloc(s->n_groups, sizeof *labels);
  rep_bar *bars = mem_alloc(s->n_groups, sizeof *bars);
  for (size_t g = 0; labels && bars && g < s->n_groups; g++) {
    const sweep_figure *f = &r->figure[g * s->n_evals + e];
    labels[g] = s->groups[g].name;
    bars[g] = (rep_bar){.value = f->mean, .lo = f->mean - f->sd, .hi = f->mean + f->sd, .muted = g == s->baseline};
  }
  rep_chart c = {
      .title = "Mean over seeds, percent", .caption = "Lines: one standard deviation over seeds.", .decimals = 1};
  if (labels && bars) rep_bars(p, &c, labels, s->n_groups, NULL, 1, bars);
  mem_free(labels);
  mem_free(bars);
}

static void put(rep_page *p, rep_table *t, const char *caption) {
  rep_put_table(p, t, caption);
  rep_table_free(t);
}

static rw_status draw_runs(rep_page *p, const sweep_results *r, rw_error *err) {
  size_t all = r->s->n_groups * r->s->n_seeds, n = 0;
  const char **dirs = mem_alloc(all, sizeof *dirs);
  if (!dirs) return rw_nomem(err, "runs");
  for (size_t i = 0; i < all; i++) {
    char *path = file_join(r->s->runs[i].dir, "metrics.jsonl");
    if (path && file_exists(path)) dirs[n++] = r->s->runs[i].dir;
    mem_free(path);
  }
  size_t unread = 0;
  rw_status st = n ? runs_page(p, dirs, n, r->s->context, &unread, err) : RW_OK;
  if (!st && unread) st = rw_fail(err, RW_DATA, "%zu of %zu runs could not be read", unread, n);
  mem_free(dirs);
  return st;
}

static rw_status write_page(const sweep_results *r, rw_error *err) {
  const sweep *s = r->s;
  rep_page *p = rep_page_new("reward.c sweep", "One model trained in several ways, made by `reward sweep`.");
  for (size_t e = 0; e < s->n_evals; e++) {
    rep_section(p, "%s", s->evals[e]);
    const eval_result *like = any_result(r, e);
    if (like) {
      rep_fact_int(p, "items", (int64_t)like->n_items);
      rep_fact(p, "by length alone, percent", "%.1f",
               isnan(like->overall.percent) ? like->items.baseline : like->overall.baseline);
      rep_fact(p, "trained for", "%s", s->equal_steps ? "equal steps" : "equal epochs");
    }
    draw_bars(p, r, e);
    put(p, figures_table(r, e),
        "Differences to the baseline with 95% intervals over paired resamples of items and seeds");
    if (like && like->n_subsets > 1) put(p, subsets_table(r, e, like), "By subset, percent, mean over seeds");
  }
  rep_section(p, "The report's own");
  rep_text(p,
           "RewardBench as printed in the Skywork-Reward report (arXiv 2410.18451): other data, models of 8 and 27 "
           "billion "
           "parameters.");
  put(p, reported_table("loss", loss_rows, LOSS_ROWS), "By loss, Gemma-2-27B");
  put(p, reported_table("model and data", data_rows, DATA_ROWS), "By training data");
  rw_status st = draw_runs(p, r, err);
  char *path = file_join(s->out, "report.html");
  if (!st) st = path ? rep_page_write(p, path, err) : rw_nomem(err, s->out);
  mem_free(path);
  rep_page_free(p);
  return st;
}

/* ---- sweep.json ---- */

static void interval_json(json_writer *w, double lo, double hi) {
  if (isnan(lo)) {
    jw_null(w, "interval");
    return;
  }
  jw_array(w, "interval");
  jw_num(w, NULL, lo);
  jw_num(w, NULL, hi);
  jw_end(w);
}

static void run_json(json_writer *w, const sweep_results *r, size_t i) {
  const sweep_run *run = &r->s->runs[i];
  jw_object(w, NULL);
  jw_uint(w, "seed", run->seed);
  jw_string(w, "dir", run->dir);
  jw_num(w, "steps", r->steps[i]);
  jw_num(w, "tokens", r->tokens[i]);
  jw_num(w, "seconds", r->seconds[i]);
  jw_array(w, "figures");
  for (size_t e = 0; e < r->s->n_evals; e++) {
    const sweep_cell *c = &r->cells[i * r->s->n_evals + e];
    jw_num(w, NULL, c->there ? sweep_figure_of(&c->result) : NAN);
  }
  jw_end(w);
  jw_end(w);
}

static void figure_json(json_writer *w, const sweep_results *r, size_t g, size_t e) {
  const sweep_figure *f = &r->figure[g * r->s->n_evals + e];
  const eval_result *like = any_result(r, e);
  jw_object(w, NULL);
  jw_string(w, "eval", r->s->evals[e]);
  jw_uint(w, "seeds", f->n);
  jw_num(w, "mean", f->mean);
  jw_num(w, "sd", f->sd);
  if (g != r->s->baseline) {
    jw_num(w, "difference", f->difference.difference);
    interval_json(w, f->difference.lo, f->difference.hi);
  }
  jw_object(w, "subsets");
  for (size_t k = 0; like && k < like->n_subsets; k++) {
    const char *name = like->subsets[k].name;
    jw_key(w, slice_of(name));
    jw_num(w, NULL, subset_mean(r, g, e, name));
  }
  jw_end(w);
  jw_end(w);
}

static void group_json(json_writer *w, const sweep_results *r, size_t g) {
  const sweep *s = r->s;
  jw_object(w, NULL);
  jw_string(w, "name", s->groups[g].name);
  jw_string(w, "data", s->groups[g].data);
  jw_string(w, "loss", s->groups[g].loss);
  jw_num(w, "report", reported_of(s->groups[g].loss));
  jw_array_lines(w, "runs");
  for (size_t i = 0; i < s->n_seeds; i++) run_json(w, r, g * s->n_seeds + i);
  jw_end(w);
  jw_array_lines(w, "evals");
  for (size_t e = 0; e < s->n_evals; e++) figure_json(w, r, g, e);
  jw_end(w);
  jw_end(w);
}

static rw_status write_json(const sweep_results *r, rw_error *err) {
  const sweep *s = r->s;
  str o = {0};
  json_writer w = {.out = &o};
  jw_object_lines(&w, NULL);
  jw_string(&w, "program", "reward.c " REWARD_VERSION);
  jw_string(&w, "unit", "percent");
  jw_string(&w, "model", s->model);
  jw_string(&w, "equal", s->equal_steps ? "steps" : "epochs");
  jw_string(&w, "baseline", s->groups[s->baseline].name);
  jw_object(&w, "bootstrap");
  jw_int(&w, "level", 95);
  jw_int(&w, "resamples", EVAL_RESAMPLES);
  jw_int(&w, "seed", 0);
  jw_string(&w, "over", "items and seeds");
  jw_end(&w);
  jw_array_lines(&w, "groups");
  for (size_t g = 0; g < s->n_groups; g++) group_json(&w, r, g);
  jw_end(&w);
  jw_end(&w);
  str_addc(&o, '\n');
  char *path = file_join(s->out, "sweep.json");
  rw_status st = path && !o.oom ? file_put(path, o.p, o.len, err) : rw_nomem(err, s->out);
  mem_free(path);
  str_free(&o);
  return st;
}

rw_status sweep_report(const sweep *s, str *text, size_t *missing, rw_error *err) {
  sweep_results r;
  rw_status st = sweep_gather(&r, s, missing, err);
  if (!st) st = tables(&r, text, err);
  if (!st) st = write_json(&r, err);
  if (!st) st = write_page(&r, err);
  sweep_results_free(&r);
  return st;
}
