/* sweep.c - state, scores and figures of a sweep's runs (see sweep.h). */
#include "train/sweep.h"

#include <math.h>
#include <string.h>

#include "format/rows.h"
#include "train/identity.h"

/* ---- scores ---- */

static rw_status load_eval(const char *spec, eval_data **out, rw_context *context, rw_error *err) {
  const char *colon = strchr(spec, ':'), *path = spec;
  eval_suite suite = EVAL_PAIRS;
  if (colon && eval_suite_of((slice){spec, (size_t)(colon - spec)}, &suite)) path = colon + 1;
  return eval_load(out, suite, &path, 1, context, err);
}

rw_status sweep_check_evals(const sweep *s, rw_error *err) {
  for (size_t e = 0; e < s->n_evals; e++) {
    eval_data *d;
    RW_TRY(load_eval(s->evals[e], &d, s->context, err));
    eval_data_free(d);
  }
  return RW_OK;
}

/* DIR/scores-HASH.jsonl; the hash is of the evaluation, by its rows' content, of the run, by its record, and of
 * what else the scores depend on: whatever of these changes is scored anew. */
static char *scores_path(const sweep *s, size_t e, const char *dir, rw_error *err) {
  char eval[IDENTITY_EVAL], hash[SHA256_HEX], *record = file_join(dir, "run.json"), *out = NULL;
  rw_status st = record ? identity_eval(s->evals[e], eval, err) : rw_nomem(err, dir);
  if (!st && file_exists(record))
    st = sha256_file(record, hash, err);
  else if (!st)
    hash[0] = 0;
  char *all = st ? NULL : mem_printf("%s %s %lld %s", eval, hash, (long long)s->max_length, s->date ? s->date : "");
  if (all) {
    sha256 sum;
    sha256_begin(&sum);
    sha256_add(&sum, all, strlen(all));
    sha256_end_hex(&sum, hash);
    out = mem_printf("%s/scores-%.32s.jsonl", dir, hash);
  }
  if (!st && !out) rw_nomem(err, dir);
  mem_free(record);
  mem_free(all);
  return out;
}

static rw_status score_one(scorer *m, const char *spec, const char *path, rw_error *err) {
  eval_data *d;
  eval_scores scores;
  RW_TRY(load_eval(spec, &d, scorer_context(m), err));
  rw_status st = eval_scores_model(&scores, d, m, err);
  if (!st) {
    /* sweeps compare whole figures; and a failure that is kept would never be tried again */
    st = scores.unscored ? eval_scores_fail(&scores, d, err) : eval_scores_write(&scores, d, path, err);
    eval_scores_free(&scores);
  }
  eval_data_free(d);
  return st;
}

rw_status sweep_score(const sweep *s, const sweep_run *r, rw_error *err) {
  scorer *m = NULL;
  rw_status st = RW_OK;
  for (size_t e = 0; !st && e < s->n_evals; e++) {
    char *path = scores_path(s, e, r->dir, err);
    if (!path) {
      st = RW_IO;
      break;
    }
    if (!file_exists(path)) {
      score_options o = {.model = r->dir,
                         .device = s->device,
                         .date = s->date,
                         .context = s->context,
                         .max_length = s->max_length,
                         .overlong = OVERLONG_TRUNCATE,
                         .own = true};
      if (!m) st = scorer_open(&m, &o, err);
      if (!st) st = score_one(m, s->evals[e], path, err);
    }
    mem_free(path);
  }
  scorer_free(m);
  return st;
}

/* ---- figures ---- */

double sweep_figure_of(const eval_result *r) {
  return isnan(r->overall.percent) ? r->items.percent : r->overall.percent;
}

const sweep_cell *sweep_cell_of(const sweep_results *r, size_t group, size_t seed, size_t eval) {
  return &r->cells[(group * r->s->n_seeds + seed) * r->s->n_evals + eval];
}

static rw_status read_cell(const sweep_results *r, const sweep_run *run, size_t e, sweep_cell *c, rw_error *err) {
  char *path = scores_path(r->s, e, run->dir, err);
  if (!path) return RW_IO;
  rw_status st = RW_OK;
  if (file_exists(path)) {
    eval_options o = {0, 0};
    st = eval_scores_read(&c->scores, r->data[e], path, NULL, err);
    if (!st) st = eval_measure(&c->result, r->data[e], &c->scores, &o, err);
    c->there = !st;
  }
  mem_free(path);
  return st;
}

static rw_status read_run(const sweep_results *r, size_t i, rw_error *err) {
  char *path = file_join(r->s->runs[i].dir, "run.json");
  json_file f;
  if (!path) return rw_nomem(err, "runs");
  r->steps[i] = r->tokens[i] = r->seconds[i] = NAN;
  rw_status st = RW_OK;
  if (file_exists(path) && !(st = json_file_open_large(&f, path, err))) {
    json_number(f.doc, json_get(f.doc, 0, "steps_done"), &r->steps[i]);
    json_number(f.doc, json_get(f.doc, 0, "tokens"), &r->tokens[i]);
    json_number(f.doc, json_get(f.doc, 0, "seconds"), &r->seconds[i]);
    json_file_close(&f);
  }
  mem_free(path);
  return st;
}

static rw_status compare(sweep_results *r, size_t g, size_t e, rw_error *err) {
  const sweep *s = r->s;
  sweep_figure *f = &r->figure[g * s->n_evals + e];
  const eval_scores **a = mem_alloc(s->n_seeds, sizeof *a), **b = mem_alloc(s->n_seeds, sizeof *b);
  rw_status st = a && b ? RW_OK : rw_nomem(err, "comparison");
  double sum = 0, squares = 0;
  *f = (sweep_figure){.mean = NAN, .sd = NAN, .difference = {NAN, NAN, NAN, 0}};
  for (size_t i = 0; !st && i < s->n_seeds; i++) {
    const sweep_cell *base = sweep_cell_of(r, s->baseline, i, e), *c = sweep_cell_of(r, g, i, e);
    if (!c->there) continue;
    f->n++;
    sum += sweep_figure_of(&c->result);
    if (!base->there) continue;
    a[f->n_pairs] = &base->scores;
    b[f->n_pairs++] = &c->scores;
  }
  if (f->n) f->mean = sum / (double)f->n;
  for (size_t i = 0; !st && i < s->n_seeds; i++) {
    const sweep_cell *c = sweep_cell_of(r, g, i, e);
    if (c->there) squares += pow(sweep_figure_of(&c->result) - f->mean, 2);
  }
  if (f->n > 1) f->sd = sqrt(squares / (double)(f->n - 1));
  eval_options o = {0, EVAL_RESAMPLES};
  if (!st && f->n_pairs && g != s->baseline)
    st = eval_compare_groups(&f->difference, r->data[e], a, b, f->n_pairs, &o, err);
  mem_free(a);
  mem_free(b);
  return st;
}

rw_status sweep_gather(sweep_results *r, const sweep *s, size_t *missing, rw_error *err) {
  *r = (sweep_results){.s = s};
  size_t n = s->n_groups * s->n_seeds;
  r->data = mem_zalloc(s->n_evals, sizeof *r->data);
  r->cells = mem_zalloc(n * s->n_evals, sizeof *r->cells);
  r->figure = mem_zalloc(s->n_groups * s->n_evals, sizeof *r->figure);
  r->steps = mem_zalloc(n, sizeof *r->steps);
  r->tokens = mem_zalloc(n, sizeof *r->tokens);
  r->seconds = mem_zalloc(n, sizeof *r->seconds);
  if (!r->data || !r->cells || !r->figure || !r->steps || !r->tokens || !r->seconds) return rw_nomem(err, "sweep");
  for (size_t e = 0; e < s->n_evals; e++) RW_TRY(load_eval(s->evals[e], &r->data[e], s->context, err));
  *missing = 0;
  for (size_t i = 0; i < n; i++) {
    RW_TRY(read_run(r, i, err));
    for (size_t e = 0; e < s->n_evals; e++)
      RW_TRY(read_cell(r, &s->runs[i], e, &r->cells[i * s->n_evals + e], err));
    *missing += !r->cells[i * s->n_evals].there;
  }
  for (size_t g = 0; g < s->n_groups; g++)
    for (size_t e = 0; e < s->n_evals; e++) RW_TRY(compare(r, g, e, err));
  return RW_OK;
}

void sweep_results_free(sweep_results *r) {
  const sweep *s = r->s;
  for (size_t i = 0; r->cells && i < s->n_groups * s->n_seeds * s->n_evals; i++) {
    eval_scores_free(&r->cells[i].scores);
    eval_result_free(&r->cells[i].result);
  }
  for (size_t e = 0; r->data && e < s->n_evals; e++) eval_data_free(r->data[e]);
  void *p[] = {r->data, r->cells, r->figure, r->steps, r->tokens, r->seconds};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  *r = (sweep_results){.s = s};
}
