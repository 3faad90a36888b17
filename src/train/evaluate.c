/* evaluate.c - evaluations of a model in training. */
#include "train/evaluate.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "eval/eval.h"
#include "model/scorer.h"
#include "train/disk.h"
#include "train/identity.h"
#include "train/record.h"

struct trainer_eval {
  const train_options *o;
  model *m;
  scorer *s;
  eval_data **data;          /* [n_eval] */
  char first[IDENTITY_EVAL]; /* what the best is measured on */
  lines *lines;
  tensorboard *board; /* the caller's */
};

static rw_status load(trainer_eval *e, const char *spec, eval_data **out, rw_error *err) {
  const char *colon = strchr(spec, ':'), *path = spec;
  eval_suite suite = EVAL_PAIRS;
  if (colon && eval_suite_of((slice){spec, (size_t)(colon - spec)}, &suite)) path = colon + 1;
  (void)e;
  return eval_load(out, suite, &path, 1, e->o->context, err);
}

rw_status trainer_eval_open(trainer_eval **out, const train_options *o, model *m, renderer *r, rw_error *err) {
  *out = NULL;
  if (o->eval.n == 0) return RW_OK;
  trainer_eval *e = mem_zalloc(1, sizeof *e);
  if (!e) return rw_nomem(err, "evaluation");
  *out = e;
  *e = (trainer_eval){.o = o, .m = m, .data = mem_zalloc(o->eval.n, sizeof(eval_data *))};
  if (!e->data) return rw_nomem(err, "evaluation");
  RW_TRY(identity_eval(o->eval.items[0], e->first, err));
  score_options so = {.context = o->context, .max_length = o->max_length, .overlong = OVERLONG_TRUNCATE};
  RW_TRY(scorer_wrap(&e->s, m, r, &so, err));
  for (size_t i = 0; i < o->eval.n; i++) RW_TRY(load(e, o->eval.items[i], &e->data[i], err));
  return RW_OK;
}

static comm *ranks_of(const trainer_eval *e) { return e->o->context->ranks; }

static bool keeps_best(const trainer_eval *e) { return strcmp(e->o->keep, "best") == 0; }

rw_status trainer_eval_resume(trainer_eval *e, train_state *s, rw_error *err) {
  if (!e || !keeps_best(e)) return RW_OK;
  bool there;
  RW_TRY(best_read(e->o->out, e->first, s, &there, err));
  if (there) return RW_OK;
  if (!isnan(s->best))
    log_warn(e->o->context, "the best so far (step %lld: %.1f%%) has no weights: the best from here on counts",
             (long long)s->best_step, s->best);
  s->best = NAN;
  s->best_step = 0;
  s->eval_due = true;
  return RW_OK;
}

rw_status trainer_eval_begin(trainer_eval *e, const train_state *s, tensorboard *board, rw_error *err) {
  if (!e) return RW_OK;
  e->board = board;
  if (ranks_of(e)->rank > 0) return RW_OK;
  return lines_open(&e->lines, e->o->out, "evals.jsonl",
                    s->eval_due   ? s->step - 1
                    : s->step > 0 ? s->step
                                  : -1,
                    e->o->context, err);
}

rw_status trainer_eval_none(const trainer_eval *e, const char *out, rw_error *err) {
  char *path = e ? NULL : file_join(out, "evals.jsonl");
  rw_status s = e ? RW_OK : path ? file_remove_tree(path, err) : rw_nomem(err, out);
  mem_free(path);
  return s;
}

rw_status trainer_eval_flush(trainer_eval *e, rw_error *err) { return e ? lines_flush(e->lines, err) : RW_OK; }

void trainer_eval_close(trainer_eval *e) {
  if (!e) return;
  for (size_t i = 0; e->data && i < e->o->eval.n; i++) eval_data_free(e->data[i]);
  mem_free(e->data);
  scorer_free(e->s);
  lines_close(e->lines, NULL);
  mem_free(e);
}

static rw_status evaluate(trainer_eval *e, size_t i, int64_t step, double *figure, rw_error *err) {
  eval_result r = {0};
  eval_scores scores;
  eval_options eo = {.seed = 0, .resamples = EVAL_RESAMPLES};
  str s = {0};
  bool bf16 = model_is_bf16(e->m);
  model_set_bf16(e->m, false); /* as `reward eval` will score the result */
  rw_status st = eval_scores_ranks(&scores, e->data[i], e->s, err);
  model_set_bf16(e->m, bf16);
  RW_TRY(st);
  /* the best step would be chosen by a figure that lacks items, or by none: refused, at the latest at step 0 */
  if (scores.unscored)
    st = rw_prefix(err, eval_scores_fail(&scores, e->data[i], err), FIELD(eval) " %s", e->o->eval.items[i]);
  if (!st) st = eval_measure(&r, e->data[i], &scores, &eo, err);
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_int(&w, "step", step);
  jw_string(&w, "eval", e->o->eval.items[i]);
  if (!st) eval_result_json(&w, &r);
  if (!st) st = eval_rewards_json(&w, e->data[i], &scores, err);
  if (!st) st = tensorboard_eval(e->board, step, e->o->eval.items[i], &r, err);
  eval_scores_free(&scores);
  if (st) {
    str_free(&s);
    eval_result_free(&r);
    return st;
  }
  jw_end(&w);
  str_addc(&s, '\n');
  const eval_figure *f = eval_main_figure(&r);
  *figure = f->percent;
  log_note(e->o->context, "step %lld: %s: %.1f%% right (95%%: %.1f to %.1f; by length alone %.1f%%)",
           (long long)step, e->o->eval.items[i], f->percent, f->lo, f->hi, f->baseline);
  if (r.truncated && step == 0)
    log_warn(
        e->o->context,
        FIELD(eval) " %s: %zu of %zu items are longer than %lld tokens and were truncated; `reward eval` refuses them "
        "without " FIELD(overlong) " truncate",
        e->o->eval.items[i], r.truncated, r.n_items, (long long)scorer_max_length(e->s));
  st = s.oom ? rw_nomem(err, "evaluation") : lines_add(e->lines, (slice){s.p, s.len}, err);
  str_free(&s);
  eval_result_free(&r);
  return st;
}

/* Training on would lose them: it waits for room. */
typedef struct {
  const trainer_eval *e;
  const train_state *state;
} keeping;
static rw_status keep_best(void *ctx, rw_error *err) {
  const keeping *k = ctx;
  return best_save(k->e->m, ranks_of(k->e), k->e->o->out, k->state, k->e->first, err);
}

rw_status trainer_eval_step(trainer_eval *e, train_state *state, int64_t steps, rw_error *err) {
  if (!e) return RW_OK;
  int64_t k = state->step, every = e->o->eval_every;
  if (k != 0 && k != steps && !(every > 0 && k % every == 0)) return RW_OK;
  for (size_t i = 0; i < e->o->eval.n; i++) {
    double figure = NAN;
    RW_TRY(comm_agree(ranks_of(e), evaluate(e, i, k, &figure, err), err));
    if (i > 0 || !(isnan(state->best) || figure > state->best)) continue;
    state->best = figure;
    state->best_step = k;
    if (keeps_best(e)) RW_TRY(disk_wait(e->o->context, keep_best, &(keeping){e, state}, err));
  }
  return RW_OK;
}

bool trainer_eval_stop(const train_options *o, const train_state *state) {
  if (o->eval.n == 0 || o->early_stop == 0 || o->eval_every == 0 || isnan(state->best)) return false;
  return state->step / o->eval_every - state->best_step / o->eval_every >= o->early_stop;
}

rw_status trainer_eval_best(trainer_eval *e, rw_error *err) {
  if (!e || !keeps_best(e)) return RW_OK;
  return best_load(e->m, e->o->out, err);
}
