/* runs_source.c - training by source: what metrics.jsonl and evals.jsonl say of each source's rows.
 *
 * One batch holds few rows of a source, so the table pools the last quarter of a run's steps.
 */
#include <math.h>
#include <string.h>

#include "pages/runs_int.h"

enum { SMOOTH_PARTS = 20 };

rw_status source_steps_read(run_set *s, train_run_files *r, json_doc *d, double step, rw_error *err) {
  json_val all = json_get(d, 0, "sources");
  for (json_val v = json_first(d, all); v != JSON_NONE; v = json_next(d, v)) {
    slice name = json_key(d, v);
    size_t k = 0;
    while (k < r->n_sources && !slice_is(name, r->sources[k])) k++;
    if (k == r->n_sources) {
      const char *copy = arena_strndup(s->memory, name.p, name.len);
      if (!copy || !vec_push(r->sources, r->n_sources, r->cap_sources, copy)) return rw_nomem(err, "sources");
    }
    source_step x = {.step = step, .source = k};
    const char *const fields[] = {"n", "accuracy", "margin", "mean_reward", "reward_sd"};
    double *const out[] = {&x.n, &x.accuracy, &x.margin, &x.mean, &x.sd};
    x.accuracy = x.margin = NAN; /* null where no response is better than another */
    for (int i = 0; i < 5; i++)
      if (json_kind(d, json_get(d, v, fields[i])) == JSON_NULL && json_get(d, v, fields[i]) != JSON_NONE && i > 0 &&
          i < 3)
        continue;
      else if (!json_number(d, json_get(d, v, fields[i]), out[i]))
        return rw_fail(err, RW_DATA, "sources: %s: expected a number, got %s", fields[i],
                       json_kind_name(json_kind(d, json_get(d, v, fields[i]))));
    if (!vec_push(r->by_source, r->n_by_source, r->cap_by_source, x)) return rw_nomem(err, "sources");
  }
  return RW_OK;
}

static void pool_cells(rep_table *t, const train_run_files *r, size_t source) {
  double last = r->n ? r->x[r->n - 1] : 0, from = last - floor(last / 4), n = 0, sums[4] = {0};
  for (size_t i = 0; i < r->n_by_source; i++) {
    const source_step *x = &r->by_source[i];
    if (x->source != source || x->step < from) continue;
    n += x->n;
    sums[0] += x->n * x->accuracy;
    sums[1] += x->n * x->margin;
    sums[2] += x->n * x->mean;
    sums[3] += x->n * (x->sd * x->sd + x->mean * x->mean);
  }
  double mean = sums[2] / n, square = sums[3] / n - mean * mean;
  rep_cell_num(t, n, 0);
  rep_cell_num(t, 100 * sums[0] / n, 1);
  rep_cell_num(t, sums[1] / n, 3);
  rep_cell_num(t, mean, 3);
  rep_cell_num(t, sqrt(square > 0 ? square : 0), 3);
}

static bool has_source(const train_run_files *r, const char *name, size_t *index) {
  for (*index = 0; *index < r->n_sources; ++*index)
    if (strcmp(r->sources[*index], name) == 0) return true;
  return false;
}

/* The runs' rows of one source stand together. */
static void draw_table(rep_page *p, const run_set *s) {
  const char *columns[] = {"source", "run", ">rows", ">accuracy, percent", ">margin", ">reward, mean", ">sd"};
  rep_table *t = rep_table_new(columns, 7);
  for (size_t i = 0; i < s->n_runs; i++)
    for (size_t k = 0; k < s->runs[i].n_sources; k++) {
      const char *name = s->runs[i].sources[k];
      size_t at;
      bool drawn = false;
      for (size_t j = 0; j < i && !drawn; j++) drawn = has_source(&s->runs[j], name, &at);
      for (size_t j = i; j < s->n_runs && !drawn; j++) {
        if (!has_source(&s->runs[j], name, &at)) continue;
        rep_cell(t, "%s", *name ? name : "(none)");
        rep_cell(t, "%s", s->runs[j].name);
        pool_cells(t, &s->runs[j], at);
      }
    }
  rep_put_table(p, t, "By source, training rows of the last quarter of the steps");
  rep_table_free(t);
}

/* One run: the accuracy of each source along the steps. */
static rw_status draw_lines(rep_page *p, const train_run_files *r, rw_error *err) {
  rep_series *lines = mem_zalloc(r->n_sources, sizeof *lines);
  double *x = mem_alloc(r->n_by_source, sizeof *x), *y = mem_alloc(r->n_by_source, sizeof *y),
         *rows = mem_alloc(r->n_by_source, sizeof *rows);
  rw_status st = lines && x && y && rows ? RW_OK : rw_nomem(err, "sources");
  size_t used = 0, longest = 0;
  for (size_t k = 0; !st && k < r->n_sources; k++) {
    lines[k] = (rep_series){.name = *r->sources[k] ? r->sources[k] : "(none)",
                            .x = x + used,
                            .y = y + used,
                            .weight = rows + used,
                            .colour = (int)k + 2}; /* not the run's */
    for (size_t i = 0; i < r->n_by_source; i++)
      if (r->by_source[i].source == k) {
        x[used] = r->by_source[i].step;
        rows[used] = r->by_source[i].n;
        y[used++] = 100 * r->by_source[i].accuracy;
        lines[k].n++;
      }
    if (lines[k].n > longest) longest = lines[k].n;
  }
  rep_chart c = {.title = "Right by source", .x_label = "step", .smooth = longest / SMOOTH_PARTS, .percent = true};
  if (!st) rep_lines(p, &c, lines, r->n_sources);
  mem_free(lines);
  mem_free(x);
  mem_free(y);
  mem_free(rows);
  return st;
}

rw_status source_draw(rep_page *p, const run_set *s, rw_error *err) {
  bool any = false;
  for (size_t i = 0; i < s->n_runs; i++) any |= s->runs[i].n_sources > 0;
  if (!any) return RW_OK;
  if (s->n_runs == 1) RW_TRY(draw_lines(p, &s->runs[0], err));
  draw_table(p, s);
  return RW_OK;
}

/* ---- rewards of the evaluations ---- */

rw_status reward_spreads_read(run_set *s, run_eval *e, json_doc *d, rw_error *err) {
  json_val subsets = json_get(d, json_get(d, 0, "rewards"), "subsets");
  size_t n = json_count(d, subsets);
  e->spreads = arena_alloc(s->memory, n, sizeof *e->spreads);
  if (!e->spreads) return rw_nomem(err, "rewards");
  for (json_val v = json_first(d, subsets); v != JSON_NONE; v = json_next(d, v)) {
    reward_spread *x = &e->spreads[e->n_spreads];
    slice name = json_key(d, v);
    x->subset = arena_strndup(s->memory, name.p, name.len);
    if (!x->subset) return rw_nomem(err, "rewards");
    if (json_number(d, json_get(d, v, "n"), &x->n) && json_number(d, json_get(d, v, "mean"), &x->mean) &&
        json_number(d, json_get(d, v, "sd"), &x->sd) && json_number(d, json_get(d, v, "margin"), &x->margin))
      e->n_spreads++;
  }
  return RW_OK;
}

static const run_eval *last_of(const train_run_files *r, const char *eval) {
  for (size_t k = r->n_evals; k-- > 0;)
    if (strcmp(r->evals[k].eval, eval) == 0) return &r->evals[k];
  return NULL;
}

void spreads_draw(rep_page *p, const run_set *s, const char *eval) {
  const char *columns[] = {"subset", "run", ">items", ">accuracy, percent", ">margin", ">reward, mean", ">sd"};
  rep_table *t = rep_table_new(columns, 7);
  size_t rows = 0;
  const run_eval *first = NULL;
  for (size_t i = 0; i < s->n_runs && !first; i++) first = last_of(&s->runs[i], eval);
  for (size_t k = 0; first && k < first->n_spreads; k++)
    for (size_t i = 0; i < s->n_runs; i++) {
      const run_eval *e = last_of(&s->runs[i], eval);
      for (size_t q = 0; e && q < e->n_spreads; q++) {
        const reward_spread *x = &e->spreads[q];
        if (strcmp(x->subset, first->spreads[k].subset) != 0) continue;
        double accuracy = NAN;
        for (size_t u = 0; u < e->result.n_subsets; u++)
          if (strcmp(e->result.subsets[u].name, x->subset) == 0) accuracy = e->result.subsets[u].accuracy;
        rep_cell(t, "%s", x->subset);
        rep_cell(t, "%s", s->runs[i].name);
        rep_cell_num(t, x->n, 0);
        rep_cell_num(t, accuracy, 1);
        rep_cell_num(t, x->margin, 3);
        rep_cell_num(t, x->mean, 3);
        rep_cell_num(t, x->sd, 3);
        rows++;
      }
    }
  if (rows) rep_put_table(p, t, "Rewards by subset, last evaluation");
  rep_table_free(t);
}
