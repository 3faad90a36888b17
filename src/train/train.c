/* train.c - the training loop, around step.c.
 *
 * A step takes the next batch-size rows of the epoch's order, in forward passes of at most batch-tokens tokens. The
 * gradient of a row goes to the same sums in the same order however the passes are cut, so neither --batch-tokens
 * nor --threads nor an interruption changes a bit of the result.
 */
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/golden.h"
#include "train/calibration.h"
#include "train/fingerprint.h"
#include "train/loss.h"
#include "train/run.h"

/* ---- before and after ---- */

static double peak_bytes(void) {
  struct rusage u;
  return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss * 1024 : 0;
}

/* The options as they took effect: defaults that leave a choice to the data, the model or the machine are filled
 * in. What has no effect at all in this run is NULL, NAN or 0. */
static train_options effective_options(const run *t) {
  train_options e = *t->o;
  bool lora = model_has_lora(t->m);
  if (strcmp(model_dir(t->m), e.model) != 0) e.base = model_dir(t->m);
  e.device = model_device(t->m);
  e.dtype = model_dtype(t->m);
  if (e.steps > 0) e.epochs = 0;
  e.steps = t->steps;
  e.batch_tokens = t->batch_tokens;
  e.loss.ranking = loss_ranking_kind(&e.loss);
  e.max_length = dataset_limit(t->o, model_info(t->m));
  e.recompute = t->how.recompute ? "full" : "no";
  if (e.lora_rank == 0) e.lora_targets = NULL; /* those of trained adapters stand in adapter_config.json */
  e.lora_rank = (int64_t)model_lora_rank(t->m);
  e.lora_alpha = lora ? model_lora_alpha(t->m) : NAN;
  e.lora_dropout = lora ? model_dropout(t->m) : NAN;
  if (e.save_dtype < 0) e.save_dtype = (int)model_saved_dtype(t->m);
  return e;
}

static rw_status write_run(run *t, bool finished, rw_error *err) {
  train_options effective = effective_options(t);
  run_record r = {.o = t->o,
                  .effective = &effective,
                  .m = t->m,
                  .d = t->d,
                  .state = &t->state,
                  .steps = t->steps,
                  .data_hashes = t->hash_list,
                  .model_hash = t->hashes[t->o->data.n],
                  .finished = finished,
                  .peak_bytes = t->peak > 0 ? t->peak : peak_bytes(),
                  .frozen_why_not = t->frozen_why_not};
  return run_write(&r, err);
}

static rw_status prepare_lora(run *t, rw_error *err) {
  const train_options *o = t->o;
  double alpha = o->lora_alpha > 0 ? o->lora_alpha : 2 * (double)o->lora_rank;
  lora_options lo = {o->lora_rank, alpha, o->lora_targets, (size_t)o->freeze_layers, o->seed};
  if (o->lora_rank > 0) RW_TRY(model_add_lora(t->m, &lo, err));
  if (!model_has_lora(t->m))
    return o->lora_dropout < 0 && o->lora_alpha == 0
               ? RW_OK
               : rw_fail(err, RW_USAGE,
                         FIELD(lora_alpha) ", " FIELD(lora_dropout) ": expected " FIELD(lora_rank) " with them");
  if (o->lora_dropout >= 0) model_set_dropout(t->m, o->lora_dropout);
  log_note(o->context, "training adapters and the head");
  return RW_OK;
}

static rw_status prepare(run *t, rw_error *err) {
  const train_options *o = t->o;
  model_options mo = {.device = o->device,
                      .context = o->context,
                      .base = o->base,
                      .new_head = true,
                      .seed = o->seed,
                      .dtype = o->dtype,
                      .auto_bf16 = true};
  RW_TRY(model_open(&t->m, o->model, &mo, err));
  if (model_head_is_new(t->m))
    log_note(o->context, "%s has no score head: a new one is drawn from N(0, %g), seed %llu", o->model,
             model_info(t->m)->initializer_range, (unsigned long long)o->seed);
  else if (!o->no_golden_check)
    RW_TRY(golden_check(t->m, o->model, err));
  RW_TRY(text_check(o, model_dir(t->m), err));
  RW_TRY(prepare_lora(t, err));
  RW_TRY(model_train_check(t->m, &(model_train_options){.freeze_layers = (size_t)o->freeze_layers}, err));
  file_map template; /* it is copied when the model is written: from a pipe it could not be */
  if (o->chat_template) {
    RW_TRY(file_map_open(&template, o->chat_template, err));
    file_map_close(&template);
  }
  RW_TRY(renderer_open(&t->r, text_dir(o->model, model_dir(t->m)), o->chat_template, o->date, err));
  renderer_append(t->r, model_info(t->m)->reward_token_id);
  RW_TRY(dataset_load(&t->d, o, t->r, model_info(t->m), err));
  size_t n = dataset_size(t->d);
  t->per_epoch = ((int64_t)n + o->batch_size - 1) / o->batch_size;
  t->steps = o->steps > 0 ? o->steps : o->epochs * t->per_epoch;
  t->order_epoch = -1;
  t->batch_tokens = o->batch_tokens > 0 ? o->batch_tokens : model_train_tokens(t->m);
  t->state.best = t->state.recent_loss = t->state.recent_accuracy = NAN;
  size_t branches = 0;
  for (size_t i = 0; i < n; i++) {
    branches += dataset_at(t->d, i)->n;
    if (dataset_at(t->d, i)->n > t->widest) t->widest = dataset_at(t->d, i)->n;
  }
  size_t most = (size_t)o->batch_size * t->widest < branches ? (size_t)o->batch_size * t->widest : branches;
  t->order = mem_alloc(n, sizeof *t->order);
  t->groups = mem_alloc((size_t)o->batch_size, sizeof *t->groups);
  t->pass = mem_alloc((size_t)o->batch_size, sizeof *t->pass);
  t->rewards = mem_alloc(most, sizeof *t->rewards);
  t->d_rewards = mem_alloc(most, sizeof *t->d_rewards);
  const char *const *names;
  t->source_sums = mem_zalloc(dataset_sources(t->d, &names), sizeof *t->source_sums);
  t->d_row = mem_alloc(t->widest, sizeof *t->d_row);
  if (!t->order || !t->groups || !t->pass || !t->rewards || !t->d_rewards || !t->d_row || !t->source_sums)
    return rw_nomem(err, "training");
  fingerprint_source of = {o, t->steps, t->m, t->d};
  t->hashes = mem_zalloc(o->data.n + 1, sizeof *t->hashes);
  t->hash_list = mem_zalloc(o->data.n, sizeof *t->hash_list);
  if (!t->hashes || !t->hash_list) return rw_nomem(err, "training");
  for (size_t i = 0; i < o->data.n; i++) t->hash_list[i] = t->hashes[i];
  return fingerprint_make(t->state.fingerprint, t->hashes, &of, err);
}

static void say_data(const run *t) {
  rw_context *context = t->o->context;
  const dataset_counts *c = dataset_stats(t->d);
  log_note(context,
           "%zu rows: %zu used, %zu invalid, %zu empty, %zu over-long dropped, %zu truncated, %zu with equal sides "
           "dropped; %.4g "
           "tokens an epoch",
           c->rows, c->used, c->invalid, c->empty, c->overlong, c->truncated, c->identical, (double)c->tokens);
  if (c->escaped)
    log_warn(context, "%zu control tokens spelled in contents were encoded as plain text", c->escaped);
  if (c->changed) log_warn(context, "the template changed the contents of %zu conversations", c->changed);
  model_warn_length(context, model_info(t->m), t->o->max_length);
  log_note(context, "%lld steps of %lld rows, loss %s, on %s in %s", (long long)t->steps,
           (long long)t->o->batch_size, loss_words[t->o->loss.kind].text, model_device(t->m), model_dtype(t->m));
}

/* A model directory: text files, weights and reward.json. */
static rw_status publish(void *ctx, const char *dir, rw_error *err) {
  run *t = ctx;
  int32_t pad = pad_choose(model_info(t->m), t->r, t->d);
  train_options o = *t->o;
  o.out = dir;
  o.base = model_dir(t->m);
  RW_TRY(text_copy(&o, t->r, pad, err));
  RW_TRY(model_save(t->m, dir, o.save_dtype, pad, err));
  return calibration_write(t->o, dir, t->d, &t->state, err);
}

static rw_status save(run *t, rw_error *err) {
  checkpoint_policy p = {train_kept_checkpoints(t->o), publish, t};
  return checkpoint_save(t->m, t->o->out, &t->state, &p, err);
}

static void recent(double *mean, double now) { *mean = isnan(*mean) ? now : 0.9 * *mean + 0.1 * now; }

static rw_status loop(run *t, train_result *result, rw_error *err) {
  const train_options *o = t->o;
  progress p;
  double began = clock_seconds(), saved = began, spent = t->state.seconds;
  progress_start(&p, o->context, "training", "steps", (uint64_t)t->steps);
  p.from = (uint64_t)t->state.step;
  if (t->state.step == 0 || t->state.eval_due) RW_TRY(trainer_eval_step(t->eval, &t->state, t->steps, err));
  t->state.eval_due = false;
  while (t->state.step < t->steps && !trainer_eval_stop(o, &t->state)) {
    step_metrics s;
    double start = clock_seconds();
    uint64_t before = t->state.tokens;
    RW_TRY(step_take(t, t->state.step, &s, err));
    s.num_tokens = t->state.tokens;
    s.tokens_per_s = (double)(t->state.tokens - before) / (clock_seconds() - start);
    t->state.step++;
    t->state.seconds = spent + clock_seconds() - began;
    RW_TRY(metrics_write(t->metrics, o->out, &s, t->d, err));
    RW_TRY(tensorboard_step(t->board, &s, t->d, err));
    recent(&t->state.recent_loss, s.loss);
    recent(&t->state.recent_accuracy, s.accuracy);
    char extra[96];
    snprintf(extra, sizeof extra, "loss %.4f, accuracy %.3f, %.0f tokens/s", t->state.recent_loss,
             t->state.recent_accuracy, s.tokens_per_s);
    progress_set(&p, (uint64_t)t->state.step, extra);
    rw_status evaluated = trainer_eval_step(t->eval, &t->state, t->steps, err);
    if (evaluated) {
      rw_error other; /* the steps are not lost, and going on begins with the evaluation */
      progress_end(&p);
      t->state.eval_due = true;
      if (save(t, &other)) log_warn(o->context, "%s", other.text);
      return rw_prefix(err, evaluated, "the evaluation after step %lld of %lld; the training was saved",
                       (long long)t->state.step, (long long)t->steps);
    }
    bool more = t->state.step < t->steps && !trainer_eval_stop(o, &t->state),
         stop = log_interrupted(o->context) && more;
    bool due =
        clock_seconds() - saved > 60 * o->save_minutes || (o->save_every > 0 && t->state.step % o->save_every == 0);
    if (stop || (due && more)) {
      RW_TRY(save(t, err));
      saved = clock_seconds();
    }
    if (stop) {
      progress_end(&p);
      return rw_fail(err, RW_INTERRUPTED,
                     "stopped after step %lld of %lld and saved; the same command with " FIELD(resume) " goes on",
                     (long long)t->state.step, (long long)t->steps);
    }
  }
  progress_end(&p);
  if (t->state.step < t->steps)
    log_note(o->context, "stopped after step %lld of %lld: %lld evaluations brought nothing better than step %lld",
             (long long)t->state.step, (long long)t->steps, (long long)o->early_stop,
             (long long)t->state.best_step);
  *result = (train_result){t->state.step, t->state.recent_loss, t->state.recent_accuracy};
  return RW_OK;
}

/* The finished checkpoint takes its final names; the state of the run is no longer needed. */
static rw_status finish(run *t, rw_error *err) {
  const train_options *o = t->o;
  int32_t pad = pad_choose(model_info(t->m), t->r, t->d);
  if (pad < 0)
    log_warn(o->context,
             "no token can serve as the pad token: batches in transformers may pool at the wrong place");
  RW_TRY(trainer_eval_best(t->eval, &t->state, err));
  t->peak = peak_bytes(); /* the peak of training: what follows opens the result as a second model */
  RW_TRY(calibration_drop(o->out, err));
  model_end_training(t->m); /* room for what is saved, then for the result as a second model */
  RW_TRY(publish(t, o->out, err));
  RW_TRY(write_run(t, true, err));
  return checkpoint_clear(o->out, train_kept_checkpoints(o), err);
}

static rw_status whole_run(run *t, train_result *result, rw_error *err) {
  const train_options *o = t->o;
  bool found = false;
  RW_TRY(option_check(train_option_table, o, err));
  RW_TRY(prepare(t, err));
  say_data(t);
  RW_TRY(forecast_memory(t, err));
  if (o->dry_run) return forecast_print(t, err);
  bool finished = false;
  RW_TRY(trainer_eval_open(&t->eval, o, t->m, t->r, err));
  if (o->resume) RW_TRY(run_finished(o->out, t->state.fingerprint, &finished, err));
  if (finished) {
    log_note(o->context, "%s holds a finished run; nothing to do", o->out);
    return checkpoint_clear(o->out, train_kept_checkpoints(o), err); /* a kill may have come before this */
  }
  RW_TRY(file_out_dir(o->out, o->force || o->resume, err));
  RW_TRY(file_lock_dir(o->out, &t->lock, err));
  RW_TRY(model_train(t->m, &t->how, err));
  RW_TRY(forecast_frozen(t, o->out, err));
  if (o->resume) {
    RW_TRY(checkpoint_load(t->m, o->out, &t->state, &found, err));
    if (found)
      log_note(o->context, "going on after step %lld of %lld", (long long)t->state.step, (long long)t->steps);
    else
      log_note(o->context, "%s has no checkpoint; starting at the beginning", o->out);
  } else {
    RW_TRY(checkpoint_clear(o->out, 0, err));
  }
  RW_TRY(lines_open(&t->metrics, o->out, "metrics.jsonl", t->state.step, err));
  if (o->tensorboard) RW_TRY(tensorboard_open(&t->board, o->out, t->state.step, err));
  RW_TRY(trainer_eval_begin(t->eval, &t->state, t->board, err));
  RW_TRY(dropped_write(o->out, t->d, o->context, err));
  RW_TRY(write_run(t, false, err));
  RW_TRY(loop(t, result, err));
  return finish(t, err);
}

rw_status train_run(const train_options *o, train_result *result, rw_error *err) {
  run t = {.o = o, .lock = -1};
  *result = (train_result){0};
  rw_status s = whole_run(&t, result, err);
  if (t.metrics && fclose(t.metrics) != 0 && !s) s = rw_fail(err, RW_IO, "%s/metrics.jsonl: cannot close", o->out);
  rw_status closed = tensorboard_close(t.board, s ? NULL : err);
  if (!s) s = closed;
  trainer_eval_close(t.eval);
  void *p[] = {t.order, t.groups, t.pass, t.rewards, t.d_rewards, t.d_row, t.source_sums, t.hashes, t.hash_list};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  dataset_free(t.d);
  renderer_free(t.r);
  model_free(t.m);
  if (t.lock >= 0) close(t.lock);
  return s;
}
