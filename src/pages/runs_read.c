/* runs_read.c - reads what finished work left behind. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "format/rows.h"
#include "pages/runs_int.h"

const run_curve run_curves[RUN_CURVES] = {{"loss", "Loss", true, false, false},
                                          {"accuracy", "Right on the batch", true, true, false},
                                          {"margin", "Mean margin on the batch", true, false, false},
                                          {"learning_rate", "Learning rate", false, false, true},
                                          {"grad_norm", "Gradient norm before clipping", true, false, true},
                                          {"tokens_per_s", "Tokens a second", true, false, true}};

/* Calls take() with each row parsed. */
static rw_status each_row(const char *path, rw_status (*take)(void *ctx, json_doc *d, rw_error *err), void *ctx,
                          rw_error *err) {
  rows_in *in;
  RW_TRY(rows_open(&in, path, NULL, err));
  json_doc *d = json_new();
  rw_status s = d ? RW_OK : rw_nomem(err, path);
  slice row;
  uint64_t line;
  while (!s && !(s = rows_next(in, &row, &line, err)) && row.p) {
    s = json_parse(d, row.p, row.len, err);
    if (!s) s = take(ctx, d, err);
    if (s) rw_prefix(err, s, "%s:%llu", path, (unsigned long long)line);
  }
  json_free(d);
  rows_close(in);
  return s;
}

static rw_status want_step(const json_doc *d, double *step, rw_error *err) {
  return json_number(d, json_get(d, 0, "step"), step)
             ? RW_OK
             : rw_fail(err, RW_DATA, "step: expected a number, got %s",
                       json_kind_name(json_kind(d, json_get(d, 0, "step"))));
}

/* Where a reader puts its rows. */
typedef struct {
  run_set *s;
  train_run_files *run;
} run_reader;

static rw_status take_metrics(void *ctx, json_doc *d, rw_error *err) {
  run_reader *to = ctx;
  train_run_files *r = to->run;
  double v;
  RW_TRY(want_step(d, &v, err));
  RW_TRY(source_steps_read(to->s, r, d, v, err));
  size_t n = r->n;
  if (!vec_push(r->x, n, r->cap_x, v)) return rw_nomem(err, "metrics");
  for (size_t k = 0; k < RUN_CURVES; k++) {
    n = r->n;
    if (!json_number(d, json_get(d, 0, run_curves[k].field), &v)) v = NAN;
    if (run_curves[k].percent) v *= 100;
    if (!vec_push(r->y[k], n, r->cap_y[k], v)) return rw_nomem(err, "metrics");
  }
  r->n++;
  return RW_OK;
}

static rw_status take_eval(void *ctx, json_doc *d, rw_error *err) {
  run_reader *e = ctx;
  run_eval v = {0};
  slice name = json_string(d, json_get(d, 0, "eval"));
  RW_TRY(want_step(d, &v.step, err));
  if (!name.p) return rw_fail(err, RW_DATA, "eval: expected a string, got nothing");
  v.eval = arena_strndup(e->s->memory, name.p, name.len);
  if (!v.eval) return rw_nomem(err, "evaluations");
  RW_TRY(reward_spreads_read(e->s, &v, d, err));
  RW_TRY(eval_result_parse(&v.result, d, NULL, err));
  if (vec_push(e->run->evals, e->run->n_evals, e->run->cap_evals, v)) return RW_OK;
  eval_result_free(&v.result);
  return rw_nomem(err, "evaluations");
}

/* The last part of the path without ".json"; all of it where another thing has that name. */
static const char *name_of(run_set *s, const char *path, const char *const *paths, size_t n) {
  size_t len = strlen(path);
  while (len > 1 && path[len - 1] == '/') len--;
  size_t from = len;
  while (from > 0 && path[from - 1] != '/') from--;
  slice base = {path + from, len - from};
  size_t same = 0;
  for (size_t i = 0; i < n; i++) {
    size_t l = strlen(paths[i]);
    while (l > 1 && paths[i][l - 1] == '/') l--;
    same += l >= base.len && memcmp(paths[i] + l - base.len, base.p, base.len) == 0 &&
            (l == base.len || paths[i][l - base.len - 1] == '/');
  }
  if (same > 1) base = (slice){path, len};
  if (base.len > 5 && memcmp(base.p + base.len - 5, ".json", 5) == 0) base.len -= 5;
  return arena_strndup(s->memory, base.p, base.len);
}

static rw_status read_run(run_set *s, const char *name, const char *metrics, const char *info, const char *evals,
                          rw_error *err) {
  train_run_files empty = {.name = name};
  if (!vec_push(s->runs, s->n_runs, s->cap_runs, empty)) return rw_nomem(err, "runs");
  train_run_files *r = &s->runs[s->n_runs - 1];
  RW_TRY(each_row(metrics, take_metrics, &(run_reader){s, r}, err));
  if (file_exists(info)) RW_TRY(json_file_open(&r->info, info, err));
  return file_exists(evals) ? each_row(evals, take_eval, &(run_reader){s, r}, err) : RW_OK;
}

/* What the results are of: the digests of their files, one after another. NULL: they do not say. */
static const char *data_of(run_set *s, json_doc *d) {
  str all = {0};
  json_val list = json_get(d, 0, "data");
  for (json_val v = json_kind(d, list) == JSON_ARRAY ? json_first(d, list) : JSON_NONE; v != JSON_NONE;
       v = json_next(d, v)) {
    slice sum = json_string(d, json_get(d, v, "sha256"));
    if (sum.p) str_add(&all, sum.p, sum.len);
  }
  const char *kept = all.len && !all.oom ? arena_strndup(s->memory, all.p, all.len) : NULL;
  str_free(&all);
  return kept;
}

static rw_status add_result(run_set *s, const char *name, json_doc *d, const char *path, rw_error *err) {
  named_result r = {.name = name};
  rw_status st = eval_result_parse(&r.result, d, NULL, err);
  r.data = data_of(s, d);
  if (st == RW_DATA)
    return rw_fail(err, RW_DATA,
                   "%s: expected results of `reward eval` or a report.json of curate or decontaminate, "
                   "got another file",
                   path);
  if (st) return st;
  if (vec_push(s->results, s->n_results, s->cap_results, r)) return RW_OK;
  eval_result_free(&r.result);
  return rw_nomem(err, path);
}

/* `eval --suite all`: the result of each benchmark that it has one of. */
static rw_status add_each_result(run_set *s, const char *name, json_doc *d, const char *path, rw_error *err) {
  json_val list = json_get(d, 0, "benchmarks");
  json_doc *one = json_new();
  rw_status st = one ? RW_OK : rw_nomem(err, path);
  for (json_val v = json_first(d, list); !st && v != JSON_NONE; v = json_next(d, v)) {
    json_val result = json_get(d, v, "result");
    if (json_kind(d, result) != JSON_OBJECT) continue;
    slice text = json_raw(d, result);
    st = json_parse(one, text.p, text.len, err);
    if (!st) st = add_result(s, name, one, path, err);
  }
  json_free(one);
  return st;
}

static rw_status read_file(run_set *s, const char *name, const char *path, rw_error *err) {
  json_file f;
  RW_TRY(json_file_open_large(&f, path, err));
  bool data = json_get(f.doc, 0, "recipe") != JSON_NONE || json_get(f.doc, 0, "ngram") != JSON_NONE;
  if (data && json_kind(f.doc, json_get(f.doc, 0, "sources")) == JSON_OBJECT) {
    data_report d = {name, f};
    if (vec_push(s->reports, s->n_reports, s->cap_reports, d)) return RW_OK;
    json_file_close(&f);
    return rw_nomem(err, path);
  }
  slice suite = json_string(f.doc, json_get(f.doc, 0, "suite"));
  rw_status st = suite.p && slice_is(suite, "all") ? add_each_result(s, name, f.doc, path, err)
                                                   : add_result(s, name, f.doc, path, err);
  json_file_close(&f);
  return st;
}

static rw_status read_folder(run_set *s, const char *name, const char *path, rw_error *err) {
  enum { METRICS, INFO, EVALS, REPORT, RESULTS, FILES };
  static const char *const names[FILES] = {"metrics.jsonl", "run.json", "evals.jsonl", "report.json",
                                           "results.json"};
  char *file[FILES];
  bool oom = false;
  for (int i = 0; i < FILES; i++) oom |= !(file[i] = file_join(path, names[i]));
  rw_status st;
  if (oom)
    st = rw_nomem(err, path);
  else if (file_exists(file[METRICS]))
    st = read_run(s, name, file[METRICS], file[INFO], file[EVALS], err);
  else if (file_exists(file[REPORT]))
    st = read_file(s, name, file[REPORT], err);
  else if (file_exists(file[RESULTS]))
    st = read_file(s, name, file[RESULTS], err);
  else
    st = rw_fail(err, RW_DATA, "%s: expected metrics.jsonl, report.json or results.json in it, found none", path);
  for (int i = 0; i < FILES; i++) mem_free(file[i]);
  return st;
}

static void run_free(train_run_files *r) {
  mem_free(r->x);
  mem_free(r->sources);
  mem_free(r->by_source);
  for (size_t k = 0; k < RUN_CURVES; k++) mem_free(r->y[k]);
  if (r->info.doc) json_file_close(&r->info);
  for (size_t k = 0; k < r->n_evals; k++) eval_result_free(&r->evals[k].result);
  mem_free(r->evals);
}

/* On failure the set is as it was. */
static rw_status read_one(run_set *s, const char *path, const char *const *paths, size_t n, rw_error *err) {
  size_t runs = s->n_runs, results = s->n_results;
  const char *name = name_of(s, path, paths, n);
  if (!name) return rw_nomem(err, path);
  rw_status st = file_is_dir(path) ? read_folder(s, name, path, err) : read_file(s, name, path, err);
  if (st && s->n_runs > runs) run_free(&s->runs[--s->n_runs]);
  while (st && s->n_results > results) eval_result_free(&s->results[--s->n_results].result);
  return st;
}

rw_status run_set_read(run_set *s, const char *const *paths, size_t n, rw_context *context, size_t *unread,
                       rw_error *err) {
  *s = (run_set){.memory = arena_new()};
  *unread = 0;
  rw_status st = s->memory ? RW_OK : rw_nomem(err, "runs");
  for (size_t i = 0; !st && i < n; i++) {
    rw_error why;
    st = read_one(s, paths[i], paths, n, &why);
    if (st && (n == 1 || st == RW_NOMEM || st == RW_INTERRUPTED)) {
      if (err) *err = why;
    } else if (st) {
      log_warn(context, "%s", why.text);
      ++*unread;
      st = RW_OK;
    }
  }
  if (!st && *unread == n) st = rw_fail(err, RW_DATA, "none of the %zu could be read", n);
  if (st) run_set_free(s);
  return st;
}

void run_set_free(run_set *s) {
  for (size_t i = 0; i < s->n_runs; i++) run_free(&s->runs[i]);
  for (size_t i = 0; i < s->n_results; i++) eval_result_free(&s->results[i].result);
  for (size_t i = 0; i < s->n_reports; i++) json_file_close(&s->reports[i].file);
  mem_free(s->runs);
  mem_free(s->results);
  mem_free(s->reports);
  arena_free(s->memory);
  *s = (run_set){0};
}
