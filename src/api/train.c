/* train.c - training, evaluation and curation of reward.h: options into the library's own, defaults, results. */
#include <math.h>
#include <string.h>

#include "api/model.h"
#include "curate/curate.h"
#include "eval/eval.h"
#include "model/model_dir.h"
#include "train/train.h"

/* ---- training ---- */

void rw_train_defaults(rw_train_options *o) { *o = (rw_train_options){.device = "auto", .dtype = "auto"}; }

/* The option that the setting names is found as the program finds it. */
static rw_status set(train_options *t, const rw_setting *s, rw_error *err) {
  static const char *const members[] = {"model", "data", "out", "eval", "resume", "force", "config", "dry-run"};
  char name[64];
  size_t n = s->name ? strlen(s->name) : 0;
  if (n == 0 || n >= sizeof name || !s->value)
    return rw_fail(err, RW_USAGE, "settings: expected an option's name and a value, got none");
  for (size_t i = 0; i <= n; i++) name[i] = (char)(s->name[i] == '_' ? '-' : s->name[i]);
  for (size_t i = 0; i < sizeof members / sizeof *members; i++)
    if (strcmp(name, members[i]) == 0)
      return rw_fail(err, RW_USAGE, "settings: %s is no setting here; see rw_train_options", s->name);
  const option *o = option_named(train_option_table, name, n);
  if (!o) return rw_fail(err, RW_USAGE, "settings: '%s': unknown option", s->name);
  if (o->kind == OPTION_FLAG) {
    bool yes = strcmp(s->value, "yes") == 0;
    if (!yes && strcmp(s->value, "no") != 0)
      return rw_fail(err, RW_USAGE, "%s: expected yes or no, got '%s'", s->name, s->value);
    if (!yes) return RW_OK;
  }
  rw_status st = option_set(o, t, s->value, NULL, err);
  return st ? rw_prefix(err, st, "%s", s->name) : RW_OK;
}

static rw_status train(const rw_train_options *o, rw_context *context, rw_train_result *result, rw_error *err) {
  train_options t;
  train_defaults(&t);
  RW_TRY(api_check_dtype(o->dtype, err));
  t.base = o->base;
  t.data = (option_list){o->data, o->n_data};
  t.out = o->out;
  t.eval = (option_list){o->eval, o->n_eval};
  if (o->device) t.device = o->device;
  if (o->dtype) t.dtype = o->dtype;
  t.seed = o->seed;
  t.resume = o->resume;
  t.force = o->force;
  t.context = context;
  for (size_t i = 0; i < o->n_settings; i++) RW_TRY(set(&t, &o->settings[i], err));
  RW_TRY(train_check(&t, err));
  train_result r = {0};
  char *dir;
  RW_TRY(model_dir_find(&dir, o->model, context, err));
  t.model = dir;
  rw_status s = train_run(&t, &r, err);
  mem_free(dir);
  if (!s && result) *result = (rw_train_result){r.steps, r.loss, r.accuracy};
  return s;
}

rw_status rw_train(const rw_train_options *o, rw_train_result *result, rw_error *err) {
  call c;
  if (result) *result = (rw_train_result){0, NAN, NAN};
  if (!o->model || !o->out || !o->n_data) return rw_fail(err, RW_USAGE, "model, data, out: expected all of them");
  RW_TRY(call_begin(&c, o->context, err));
  return call_end(&c, train(o, c.context, result, c.err));
}

/* ---- evaluation ---- */

void rw_eval_defaults(rw_eval_options *o) { *o = (rw_eval_options){.resamples = EVAL_RESAMPLES}; }

static rw_status score(const rw_eval_options *o, const eval_data *d, eval_scores *scores, rw_context *context,
                       rw_error *err) {
  if (!o->model) return eval_scores_read(scores, d, o->scores, context, err);
  pthread_mutex_lock(&o->model->turn);
  rw_status s = eval_scores_model(scores, d, o->model->s, err);
  pthread_mutex_unlock(&o->model->turn);
  return s;
}

static rw_status evaluate(const rw_eval_options *o, eval_suite suite, rw_context *context, rw_eval_result *result,
                          char **json, rw_error *err) {
  eval_data *d;
  eval_scores scores = {0};
  eval_result r = {0};
  str text = {0};
  RW_TRY(eval_load(&d, suite, o->data, o->n_data, context, err));
  rw_status s = score(o, d, &scores, context, err);
  if (!s) s = eval_measure(&r, d, &scores, &(eval_options){o->seed, o->resamples}, err);
  if (!s && json) {
    json_writer w = {.out = &text};
    jw_object(&w, NULL);
    eval_result_json(&w, &r);
    s = eval_rewards_json(&w, d, &scores, err);
    jw_end(&w);
    if (!s && text.oom) s = rw_nomem(err, "results");
  }
  if (!s && result)
    *result = (rw_eval_result){r.overall.percent, r.overall.lo, r.overall.hi,
                               r.items.percent,   r.n_items,    scores.unscored};
  if (!s && json)
    *json = text.p;
  else
    str_free(&text);
  eval_result_free(&r);
  eval_scores_free(&scores);
  eval_data_free(d);
  return s;
}

rw_status rw_eval(const rw_eval_options *o, rw_eval_result *result, char **json, rw_error *err) {
  call c;
  eval_suite suite;
  if (result) *result = (rw_eval_result){.overall = NAN, .lo = NAN, .hi = NAN, .items_percent = NAN};
  if (json) *json = NULL;
  if (!o->suite || !eval_suite_of((slice){o->suite, strlen(o->suite)}, &suite) || !o->n_data)
    return rw_fail(err, RW_USAGE, "suite, data: expected a suite's name and its files");
  if (!o->model == !o->scores) return rw_fail(err, RW_USAGE, "model, scores: expected one of them");
  if (o->resamples < 0) return rw_fail(err, RW_USAGE, "resamples: expected 0 or more, got %d", o->resamples);
  RW_TRY(call_begin(&c, o->model ? scorer_context(o->model->s) : o->context, err));
  return call_end(&c, evaluate(o, suite, c.context, result, json, c.err));
}

/* ---- curation ---- */

void rw_curate_defaults(rw_curate_options *o) { *o = (rw_curate_options){.device = "auto", .dtype = "auto"}; }

static rw_status curate(const rw_curate_options *o, rw_context *context, rw_curate_result *result, char **table,
                        rw_error *err) {
  char *dir = NULL;
  RW_TRY(api_check_dtype(o->dtype, err));
  if (o->model) RW_TRY(model_dir_find(&dir, o->model, context, err));
  curate_options co = {.recipe = o->recipe,
                       .inputs = o->inputs,
                       .n_inputs = o->n_inputs,
                       .only = o->only,
                       .n_only = o->n_only,
                       .bench = o->bench,
                       .n_bench = o->n_bench,
                       .out = o->out,
                       .scores = o->scores,
                       .seed = o->seed,
                       .model = {.model = dir,
                                 .base = o->base,
                                 .device = o->device ? o->device : "auto",
                                 .dtype = o->dtype ? o->dtype : "auto",
                                 .context = context},
                       .parquet = o->parquet,
                       .lenient = o->lenient,
                       .force = o->force,
                       .context = context};
  curate_counts counts = {0};
  str text = {0};
  rw_status s = curate_run(&co, &counts, &text, err);
  mem_free(dir);
  if (!s && result) *result = (rw_curate_result){counts.rows, counts.pairs};
  if (!s && table)
    *table = text.p;
  else
    str_free(&text);
  return s;
}

rw_status rw_curate(const rw_curate_options *o, rw_curate_result *result, char **table, rw_error *err) {
  call c;
  if (result) *result = (rw_curate_result){0};
  if (table) *table = NULL;
  if (!o->recipe || !o->out) return rw_fail(err, RW_USAGE, "recipe, out: expected both of them");
  RW_TRY(call_begin(&c, o->context, err));
  return call_end(&c, curate(o, c.context, result, table, c.err));
}
