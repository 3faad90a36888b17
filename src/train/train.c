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
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "data/glance.h"
#include "model/golden.h"
#include "train/adapters.h"
#include "train/calibration.h"
#include "train/disk.h"
#include "train/figures.h"
#include "train/identity.h"
#include "train/loss.h"
#include "train/memory.h"
#include "train/run.h"

/* ---- before and after ---- */

static bool writes(const run *t) { return t->ranks->rank == 0; }

/* What only the first rank does, and what all make of what one or each of them did. */
#define FIRST_ALONE(t, call) comm_agree((t)->ranks, writes(t) ? (call) : RW_OK, err)
#define TOGETHER(t, call)    comm_agree((t)->ranks, call, err)

static rw_status write_run(run *t, bool finished, rw_error *err) {
  run_record r = {.o = t->o,
                  .m = t->m,
                  .d = t->d,
                  .state = &t->state,
                  .steps = t->steps,
                  .data_hashes = t->hash_list,
                  .model_hash = t->hashes[t->o->data.n],
                  .finished = finished,
                  .recompute = t->how.recompute,
                  .batch_tokens = t->batch_tokens,
                  .sent_bytes = t->taken > 0 ? t->sent / (uint64_t)t->taken : 0,
                  .peak_bytes = t->peak > 0 ? t->peak : memory_peak(),
                  .frozen_why_not = t->frozen_why_not};
  return run_write(&r, err);
}

/* What would be the end of the run in any case, before a model is opened and rows are read. */
static rw_status look_ahead(const train_options *o, bool *text, rw_error *err) {
  if (o->out && !o->dry_run) RW_TRY(file_check_dir(o->out, o->force || o->resume, err));
  for (size_t i = 0; i < o->data.n; i++) RW_TRY(rows_glance(o->data.items[i], o->context, text, err));
  return RW_OK;
}

static rw_status prepare(run *t, rw_error *err) {
  const train_options *o = t->o;
  bool text = false;
  RW_TRY(look_ahead(o, &text, err));
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
  RW_TRY(adapters_prepare(o, t->m, err));
  model_train_options how = {.freeze_layers = (size_t)o->freeze_layers, .apart = o->shard && t->ranks->size > 1};
  RW_TRY(model_train_check(t->m, &how, err));
  file_map template; /* it is copied when the model is written: from a pipe it could not be */
  if (o->chat_template) {
    RW_TRY(file_map_open(&template, o->chat_template, err));
    file_map_close(&template);
  }
  RW_TRY(renderer_open(&t->r, text_dir(o->model, model_dir(t->m)), o->chat_template, o->date, err));
  renderer_append(t->r, model_info(t->m)->reward_token_id);
  if (text) RW_TRY(renderer_need_text(t->r, err));
  RW_TRY(dataset_load(&t->d, o, t->r, model_info(t->m), err));
  row_map_warn(o->context->map, o->context); /* before hours of work */
  size_t n = dataset_size(t->d);
  t->per_epoch = ((int64_t)n + o->batch_size - 1) / o->batch_size;
  t->steps = o->steps > 0 ? o->steps : o->epochs * t->per_epoch;
  t->order_epoch = -1;
  t->batch_tokens = o->batch_tokens > 0 ? o->batch_tokens : model_train_tokens(t->m);
  t->piece_tokens = model_piece_tokens(t->m);
  if (t->piece_tokens > t->batch_tokens) t->piece_tokens = t->batch_tokens;
  t->state.best = t->state.recent_loss = t->state.recent_accuracy = NAN;
  size_t branches = 0;
  for (size_t i = 0; i < n; i++) {
    branches += dataset_at(t->d, i)->n;
    if (dataset_at(t->d, i)->n > t->widest) t->widest = dataset_at(t->d, i)->n;
  }
  size_t most = (size_t)o->batch_size * t->widest < branches ? (size_t)o->batch_size * t->widest : branches;
  t->order = mem_alloc(n, sizeof *t->order);
  t->slice_of = mem_alloc(n, sizeof *t->slice_of);
  t->cost = mem_alloc(n, sizeof *t->cost);
  t->row = mem_alloc(n, sizeof *t->row);
  t->order_of_slice = mem_alloc(n, sizeof *t->order_of_slice);
  t->piece = mem_zalloc(n, sizeof *t->piece);
  t->pass_piece = mem_alloc(n, sizeof *t->pass_piece);
  t->branch = mem_alloc(n + 1, sizeof *t->branch);
  t->all_rewards = mem_alloc(most, sizeof *t->all_rewards);
  t->packed = mem_alloc(t->ranks->size > 1 ? most : 0, sizeof *t->packed);
  size_t widest_pass =
      (uint64_t)o->batch_size < n ? (size_t)o->batch_size : n; /* a batch may be longer than the data */
  t->groups = mem_alloc(widest_pass, sizeof *t->groups);
  t->pass = mem_alloc(widest_pass, sizeof *t->pass);
  t->rewards = mem_alloc(most, sizeof *t->rewards);
  t->d_rewards = mem_alloc(most, sizeof *t->d_rewards);
  const char *const *names;
  t->source_sums = mem_zalloc(dataset_sources(t->d, &names), sizeof *t->source_sums);
  t->d_row = mem_alloc(t->widest, sizeof *t->d_row);
  if (!t->order_of_slice || !t->piece || !t->pass_piece) return rw_nomem(err, "training");
  if (!t->slice_of || !t->cost || !t->row || !t->branch || !t->all_rewards || !t->packed)
    return rw_nomem(err, "training");
  if (!t->order || !t->groups || !t->pass || !t->rewards || !t->d_rewards || !t->d_row || !t->source_sums)
    return rw_nomem(err, "training");
  fingerprint_source of = {o, t->steps, t->m, t->d, t->piece_tokens};
  t->hashes = mem_zalloc(o->data.n + 1, sizeof *t->hashes);
  t->hash_list = mem_zalloc(o->data.n, sizeof *t->hash_list);
  if (!t->hashes || !t->hash_list) return rw_nomem(err, "training");
  for (size_t i = 0; i < o->data.n; i++) t->hash_list[i] = t->hashes[i];
  RW_TRY(fingerprint_make(t->state.fingerprint, t->hashes, &of, err));
  RW_TRY(identity_make(&t->identity, &of, err));
  t->state.identity = t->identity.p;
  return RW_OK;
}

static void say_data(const run *t) {
  rw_context *context = t->o->context;
  const dataset_counts *c = dataset_stats(t->d);
  log_note(context,
           "%zu rows: %zu used, %zu invalid, %zu empty, %zu over-long dropped, %zu truncated, %zu with equal sides "
           "dropped; %.4g "
           "tokens an epoch",
           c->rows, c->used, c->invalid, c->empty, c->overlong, c->truncated, c->identical, (double)c->tokens);
  render_notes_warn(context, &c->notes);
  model_warn_length(context, model_info(t->m), t->o->max_length);
  if ((uint64_t)t->o->batch_size > c->used)
    log_warn(context,
             FIELD(batch_size) " %lld is more than the %zu rows: every step takes all of them (steps: %lld)",
             (long long)t->o->batch_size, c->used, (long long)t->steps);
  log_note(context, "%lld steps of %lld rows, loss %s, on %s in %s", (long long)t->steps,
           (long long)t->o->batch_size, loss_words[t->o->loss.kind].text, model_device(t->m), model_dtype(t->m));
  const comm *ranks = t->ranks;
  if (ranks->size > t->o->slices)
    log_warn(context, "%d of %d ranks will only wait: a batch has " FIELD(slices) " %lld",
             ranks->size - (int)t->o->slices, ranks->size, (long long)t->o->slices);
  if (ranks->size > 1)
    log_note(context, "%d ranks by %s, %d on this machine, %d threads each", ranks->size, ranks->name,
             ranks->node_size, pool_threads(context->threads));
}

/* A model directory: text files and weights. */
static rw_status publish_model(const run *t, const char *dir, rw_error *err) {
  int32_t pad = pad_choose(model_info(t->m), t->r, t->d);
  train_options o = *t->o;
  o.out = dir;
  o.base = model_dir(t->m);
  RW_TRY(text_copy(&o, t->r, pad, err));
  return model_save(t->m, dir, o.save_dtype, pad, err);
}

/* And reward.json. */
static rw_status publish(void *ctx, const char *dir, rw_error *err) {
  const run *t = ctx;
  RW_TRY(publish_model(t, dir, err));
  return calibration_write(t->o, dir, t->d, &t->state, err);
}

static rw_status flush_lines(run *t, rw_error *err) {
  RW_TRY(lines_flush(t->metrics, err));
  RW_TRY(tensorboard_flush(t->board, err));
  return trainer_eval_flush(t->eval, err);
}

static rw_status save(run *t, rw_error *err) {
  RW_TRY(FIRST_ALONE(t, flush_lines(t, err)));
  checkpoint_policy p = {train_kept_checkpoints(t->o), publish, t};
  return checkpoint_save(t->m, t->ranks, t->o->out, &t->state, &p, err);
}

/* Of the ranks' machines, models and data nothing may differ that decides bits. */
static rw_status compare_ranks(const run *t, rw_error *err) {
  comm *c = t->ranks;
  RW_TRY(comm_same_text(c, model_device(t->m), "CPU level or device", err));
  RW_TRY(comm_same_text(c, model_dtype(t->m), "dtype", err));
  RW_TRY(comm_same_text(c, t->hashes[t->o->data.n], "weights of the model, as a hash", err));
  for (size_t i = 0; i < t->o->data.n; i++) RW_TRY(comm_same_text(c, t->hashes[i], t->o->data.items[i], err));
  RW_TRY(comm_same_text(c, t->state.fingerprint, "options, data and model, as a hash", err));
  return comm_same_text(c, REWARD_VERSION, "version", err);
}

static void recent(double *mean, double now) {
  if (!isnan(now)) *mean = isnan(*mean) ? now : 0.9 * *mean + 0.1 * now;
}

static rw_status record_step(run *t, const step_metrics *s, rw_error *err) {
  RW_TRY(metrics_write(t->metrics, s, t->d, err));
  return tensorboard_step(t->board, s, t->d, err);
}

static rw_status loop(run *t, rw_error *err) {
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
    uint64_t sent = model_sent(t->m);
    RW_TRY(step_take(t, t->state.step, &s, err));
    t->sent += model_sent(t->m) - sent;
    t->taken++;
    s.num_tokens = t->state.tokens;
    s.tokens_per_s = (double)(t->state.tokens - before) / (clock_seconds() - start);
    t->state.step++;
    t->state.seconds = spent + clock_seconds() - began;
    RW_TRY(FIRST_ALONE(t, record_step(t, &s, err)));
    recent(&t->state.recent_loss, s.loss);
    recent(&t->state.recent_accuracy, s.accuracy);
    char extra[96], right[32] = "";
    if (!isnan(t->state.recent_accuracy))
      snprintf(right, sizeof right, " %.1f%% right,", 100 * t->state.recent_accuracy);
    snprintf(extra, sizeof extra, "loss %.4f,%s %.0f tokens/s", t->state.recent_loss, right, s.tokens_per_s);
    progress_set(&p, (uint64_t)t->state.step, extra);
    rw_status evaluated = trainer_eval_step(t->eval, &t->state, t->steps, err);
    if (evaluated) {
      rw_error other; /* the steps are not lost, and going on begins with the evaluation */
      progress_end(&p);
      t->state.eval_due = true;
      if (save(t, &other)) log_warn(o->context, "%s", other.text);
      return TOGETHER(t, rw_prefix(err, evaluated, "the evaluation after step %lld of %lld; the training was saved",
                                   (long long)t->state.step, (long long)t->steps));
    }
    bool more = t->state.step < t->steps && !trainer_eval_stop(o, &t->state);
    /* a signal and a clock are a rank's own: what any of them wants is done by all */
    int64_t wants[2] = {log_interrupted(o->context), clock_seconds() - saved > 60 * o->save_minutes};
    RW_TRY(t->ranks->most(t->ranks, wants, 2, err));
    bool stop = wants[0] && more, due = wants[1] || (o->save_every > 0 && t->state.step % o->save_every == 0);
    if (stop || (due && more)) {
      RW_TRY(disk_save(t, save, stop, err));
      saved = clock_seconds();
    }
    if (stop) {
      progress_end(&p);
      return TOGETHER(
          t, rw_fail(err, RW_INTERRUPTED,
                     "stopped after step %lld of %lld and saved; the same command with " FIELD(resume) " goes on",
                     (long long)t->state.step, (long long)t->steps));
    }
  }
  progress_end(&p);
  if (t->state.step < t->steps)
    log_note(o->context, "stopped after step %lld of %lld: %lld evaluations brought nothing better than step %lld",
             (long long)t->state.step, (long long)t->steps, (long long)o->early_stop,
             (long long)t->state.best_step);
  return RW_OK;
}

/* The result, or where that cannot be written a checkpoint: then the steps are not lost, and going on publishes
 * them. */
typedef struct {
  run *t;
  rw_error published; /* RW_OK, or why not: a checkpoint was saved */
} ending;
static rw_status publish_or_save(void *ctx, rw_error *err) {
  ending *e = ctx;
  run *t = e->t;
  rw_error *published = &e->published;
  published->code = model_agree(t->m, writes(t) ? publish_model(t, t->o->out, published) : RW_OK, published);
  if (!e->published.code || !save(t, NULL)) return RW_OK;
  *err = e->published;
  return err->code;
}

static rw_status seal(void *ctx, rw_error *err) {
  run *t = ctx;
  if (!writes(t)) return RW_OK;
  RW_TRY(flush_lines(t, err));
  RW_TRY(calibration_write(t->o, t->o->out, t->d, &t->state, err));
  return write_run(t, true, err);
}

/* The finished checkpoint takes its final names; the state of the run is no longer needed. */
static rw_status finish(run *t, rw_error *err) {
  const train_options *o = t->o;
  int32_t pad = pad_choose(model_info(t->m), t->r, t->d);
  if (pad < 0)
    log_warn(o->context,
             "no token can serve as the pad token: batches in transformers may pool at the wrong place");
  RW_TRY(TOGETHER(t, trainer_eval_best(t->eval, err)));
  t->peak = memory_peak(); /* the peak of training: what follows opens the result as a second model */
  RW_TRY(FIRST_ALONE(t, calibration_drop(o->out, err)));
  t->state.best_only = t->eval && strcmp(o->keep, "best") == 0 && t->state.best_step != t->state.step;
  ending e = {.t = t};
  RW_TRY(disk_finish(t, publish_or_save, &e, err));
  if (e.published.code) {
    *err = e.published;
    return TOGETHER(t, err->code);
  }
  model_end_training(t->m); /* room for the result as a second model */
  RW_TRY(disk_finish(t, seal, t, err));
  return FIRST_ALONE(t, checkpoint_clear(o->out, train_kept_checkpoints(o), err));
}

static rw_status sum_up(const run *t, train_result *r, rw_error *err) {
  const train_options *o = t->o;
  const train_state *s = &t->state;
  int64_t published = t->eval && strcmp(o->keep, "best") == 0 ? s->best_step : s->step;
  size_t texts = !o->golden ? 0 : dataset_size(t->d) < GOLDEN_ROWS ? dataset_size(t->d) : GOLDEN_ROWS;
  *r = (train_result){.steps = s->step,
                      .published = published,
                      .loss = s->recent_loss,
                      .accuracy = s->recent_accuracy,
                      .seconds = s->seconds,
                      .texts = texts};
  return o->eval.n ? figures_read(&r->held_out, o->out, o->eval.items[0], published, err) : RW_OK;
}

/* OUT as this run finds it; RUN_OTHER is an error. */
static rw_status look_at_out(run *t, run_state *before, rw_error *err) {
  const train_options *o = t->o;
  rw_status there = o->resume ? run_found(o->out, &t->state, false, before, err) : RW_OK;
  if (there && *before == RUN_OTHER)
    rw_prefix(err, there,
              "%s: holds a finished run with other arguments, data or model; repeat them exactly, or start anew "
              "with " FIELD(force),
              o->out);
  if (!there && *before != RUN_FINISHED && (file_same(o->out, o->model) || file_same(o->out, model_dir(t->m))))
    return rw_fail(err, RW_USAGE,
                   FIELD(out) " %s: holds the model that the training begins from; name another folder", o->out);
  return there;
}

static rw_status take_out(run *t, rw_error *err) {
  const train_options *o = t->o;
  RW_TRY(file_out_dir(o->out, o->force || o->resume, err));
  return file_lock_dir(o->out, &t->lock, err);
}

/* What OUT has of this run, on all ranks. */
static rw_status go_on(run *t, rw_error *err) {
  const train_options *o = t->o;
  bool found = false;
  char at[32];
  if (!o->resume) return FIRST_ALONE(t, checkpoint_clear(o->out, 0, err));
  RW_TRY(TOGETHER(t, checkpoint_load(t->m, o->out, &t->state, &found, err)));
  snprintf(at, sizeof at, found ? "step %lld" : "none", (long long)t->state.step);
  RW_TRY(comm_same_text(t->ranks, at, "the checkpoint to go on from", err));
  RW_TRY(found ? TOGETHER(t, trainer_eval_resume(t->eval, &t->state, err))
               : FIRST_ALONE(t, checkpoint_clear(o->out, 0, err)));
  if (t->state.best_only && strcmp(o->keep, "best") != 0)
    return TOGETHER(
        t,
        rw_fail(err, RW_USAGE,
                "%s: only the best weights are left, all steps are done; expected " FIELD(keep) " best", o->out));
  t->saved = t->state.step;
  if (found)
    log_note(o->context, "going on after step %lld of %lld", (long long)t->state.step, (long long)t->steps);
  else
    log_note(o->context, "%s has no checkpoint; starting at the beginning", o->out);
  return RW_OK;
}

static rw_status open_records(run *t, rw_error *err) {
  const train_options *o = t->o;
  RW_TRY(lines_open(&t->metrics, o->out, "metrics.jsonl", t->state.step, o->context, err));
  if (o->tensorboard) RW_TRY(tensorboard_open(&t->board, o->out, t->state.step, o->context, err));
  RW_TRY(trainer_eval_begin(t->eval, &t->state, t->board, err));
  if (t->state.step == 0) RW_TRY(trainer_eval_none(t->eval, o->out, err));
  RW_TRY(dropped_write(o->out, t->d, o->context, err));
  return write_run(t, false, err);
}

static rw_status whole_run(run *t, train_result *result, rw_error *err) {
  const train_options *o = t->o;
  run_state before = RUN_NONE;
  RW_TRY(TOGETHER(t, prepare(t, err)));
  RW_TRY(compare_ranks(t, err));
  say_data(t);
  RW_TRY(TOGETHER(t, forecast_memory(t, err)));
  if (o->dry_run) return forecast_print(t, err);
  RW_TRY(TOGETHER(t, trainer_eval_open(&t->eval, o, t->m, t->r, err)));
  RW_TRY(FIRST_ALONE(t, look_at_out(t, &before, err)));
  int64_t finished = before == RUN_FINISHED;
  RW_TRY(t->ranks->most(t->ranks, &finished, 1, err));
  if (finished) {
    log_note(o->context, "%s holds a finished run; nothing to do", o->out);
    /* a kill may have come before this */
    return FIRST_ALONE(t, checkpoint_clear(o->out, train_kept_checkpoints(o), err));
  }
  RW_TRY(TOGETHER(t, disk_forecast(t, err)));
  RW_TRY(FIRST_ALONE(t, take_out(t, err)));
  RW_TRY(TOGETHER(t, model_train(t->m, &t->how, err)));
  RW_TRY(TOGETHER(t, forecast_frozen(t, o->out, err)));
  RW_TRY(go_on(t, err));
  RW_TRY(FIRST_ALONE(t, open_records(t, err)));
  RW_TRY(loop(t, err));
  RW_TRY(finish(t, err));
  return FIRST_ALONE(t, sum_up(t, result, err));
}

static void run_free(run *t) {
  trainer_eval_close(t->eval);
  void *p[] = {t->order_of_slice, t->piece,       t->pass_piece, t->slice_of,    t->cost,   t->row,
               t->branch,         t->all_rewards, t->packed,     t->order,       t->groups, t->pass,
               t->rewards,        t->d_rewards,   t->d_row,      t->source_sums, t->hashes, t->hash_list};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  str_free(&t->identity);
  dataset_free(t->d);
  renderer_free(t->r);
  model_free(t->m);
  if (t->lock >= 0) close(t->lock);
}

rw_status train_found(const train_options *o, run_state *found, rw_error *err) {
  *found = RUN_NONE;
  RW_TRY(option_check(train_option_table, o, err));
  run t = {.o = o, .ranks = o->context->ranks, .lock = -1};
  rw_status s = prepare(&t, err);
  if (!s) s = run_found(o->out, &t.state, true, found, err);
  run_free(&t);
  return *found == RUN_OTHER ? RW_OK : s;
}

rw_status train_run(const train_options *o, train_result *result, rw_error *err) {
  *result = (train_result){0};
  RW_TRY(option_check(train_option_table, o, err));
  run t = {.o = o, .ranks = o->context->ranks, .lock = -1};
  rw_status s = whole_run(&t, result, err);
  rw_status closed = lines_close(t.metrics, s ? NULL : err);
  if (!s) s = closed;
  closed = tensorboard_close(t.board, s ? NULL : err);
  if (!s) s = closed;
  if (!s || t.ranks->agreed) s = comm_agree(t.ranks, s, err);
  run_free(&t);
  return s;
}
