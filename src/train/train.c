/* train.c - the training loop.
 *
 * A step takes the next batch-size rows of the epoch's order, in forward passes of at most batch-tokens tokens. The
 * gradient of a row goes to the same sums in the same order however the passes are cut, so neither --batch-tokens
 * nor --threads nor an interruption changes a bit of the result.
 */
#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "model/golden.h"
#include "train/calibration.h"
#include "train/evaluate.h"
#include "train/fingerprint.h"
#include "train/loss.h"
#include "train/memory.h"
#include "train/nonfinite.h"
#include "train/record.h"

double train_lr(const train_options *o, int64_t k, int64_t steps) {
  int64_t w = (int64_t)ceil(o->warmup * (double)steps);
  if (k < w) return o->lr * (double)k / (double)w;
  double rest = steps > w ? (double)(steps - w) : 1, done = (double)(k - w) / rest, f = 1;
  if (o->schedule == SCHEDULE_COSINE) f = 0.5 * (1 + cos(M_PI * done));
  if (o->schedule == SCHEDULE_LINEAR) f = 1 - done;
  if (o->schedule != SCHEDULE_CONSTANT) f = o->min_lr + (1 - o->min_lr) * f;
  return o->lr * (f > 0 ? f : 0);
}

typedef struct {
  const train_options *o;
  model *m;
  renderer *r;
  dataset *d;
  trainer_eval *eval;
  train_state state;
  int64_t steps, per_epoch;
  uint64_t shared_tokens; /* tokens of an epoch, shared prompts once */
  uint64_t predicted;     /* peak bytes */
  model_train_options how;
  size_t *order; /* rows of the epoch `order_epoch` */
  int64_t order_epoch;
  id_group *groups;
  const example **pass; /* the rows of one forward pass */
  float *rewards, *d_rewards;
  double *d_row;
  reward_sums sums, *source_sums; /* sums of the step; by source [dataset_sources] */
  size_t widest;                  /* branches of the widest row */
  char (*hashes)[33];             /* hashes of the data files, then of the model */
  const char **hash_list;
  FILE *metrics;
  tensorboard *board;
  double peak;                                        /* bytes; 0: not known yet */
  char frozen_why_not[sizeof(((rw_error *)0)->text)]; /* see run_record */
  int lock;                                           /* the file that locks OUT; -1: none */
} run;

/* ---- one step ---- */

/* Losses of the rows in the pass; fills d_rewards scaled by 1/batch, adds to the step's figures. */
static rw_status pass_losses(run *t, size_t n, double batch, step_metrics *s, rw_error *err) {
  const train_loss *l = &t->o->loss;
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    const example *x = t->pass[i];
    float *r = t->rewards + at;
    double loss =
        x->scores ? loss_ranking(l, r, x->scores, x->n, t->d_row) : loss_pair(l, r[0], r[1], x->margin, t->d_row);
    double center = loss_center(l, r, x->n, t->d_row);
    if (!isfinite(loss + center))
      return rw_fail(err, RW_NUMERIC,
                     "step %lld: %s: the loss is not finite (rewards %g, %g); a lower " FIELD(lr) " may help",
                     (long long)s->step, x->where, r[0], r[1]);
    s->loss += (loss + center) / batch;
    s->loss_center += center / batch;
    reward_sums_add(&t->sums, x, r);
    reward_sums_add(&t->source_sums[x->source], x, r);
    for (size_t a = 0; a < x->n; a++) {
      s->mean_reward += r[a] / (batch * (double)x->n);
      if (r[a] < s->min_reward) s->min_reward = r[a];
      if (r[a] > s->max_reward) s->max_reward = r[a];
      t->d_rewards[at + a] = (float)(t->d_row[a] / batch);
    }
    at += x->n;
  }
  return RW_OK;
}

/* A number was not finite: names the rows and the place. err holds what was seen. */
static rw_status blame(run *t, const example *const *rows, size_t n, bool backward, int64_t at, rw_error *err) {
  nonfinite_probe p = {t->m, &t->o->loss, t->o->share, at, t->rewards, t->d_rewards, t->d_row};
  rw_error seen = *err;
  return nonfinite_rows(&p, rows, n, backward, seen.text, err);
}

static rw_status run_pass(run *t, size_t n, double batch, step_metrics *s, rw_error *err) {
  if (n == 0) return RW_OK;
  rw_status st = model_forward(t->m, t->groups, n, t->o->share, t->rewards, err);
  if (st == RW_NUMERIC) return blame(t, t->pass, n, false, s->step, err);
  if (st)
    return rw_prefix(err, st, "step %lld, rows %s to %s", (long long)s->step, t->pass[0]->where,
                     t->pass[n - 1]->where);
  RW_TRY(pass_losses(t, n, batch, s, err));
  return model_backward(t->m, t->d_rewards, err);
}

static const example *row_of(run *t, int64_t k, size_t i, bool *end) {
  int64_t epoch = k / t->per_epoch;
  size_t at = (size_t)(k % t->per_epoch * t->o->batch_size) + i, n = dataset_size(t->d);
  if (epoch != t->order_epoch) dataset_order(t->d, t->o, t->order_epoch = epoch, t->order);
  *end = i >= (size_t)t->o->batch_size || at >= n;
  return *end ? NULL : dataset_at(t->d, t->order[at]);
}

static rw_status step(run *t, int64_t k, step_metrics *s, rw_error *err) {
  const train_options *o = t->o;
  size_t batch = 0, n = 0, tokens = 0;
  bool end;
  while (row_of(t, k, batch, &end)) batch++;
  *s = (step_metrics){.step = k + 1,
                      .learning_rate = train_lr(o, k, t->steps),
                      .centered = o->loss.center != 0,
                      .epoch = (double)(k + 1) / (double)t->per_epoch,
                      .min_reward = INFINITY,
                      .max_reward = -INFINITY,
                      .sources = t->source_sums};
  const char *const *names;
  memset(t->source_sums, 0, dataset_sources(t->d, &names) * sizeof *t->source_sums);
  t->sums = (reward_sums){0};
  model_zero_grad(t->m);
  model_drop_by(t->m, o->seed, (uint64_t)k);
  for (size_t i = 0; i < batch; i++) {
    const example *x = row_of(t, k, i, &end);
    id_group g = {x->ids, x->len, x->n};
    size_t cost = model_group_tokens(&g, o->share);
    if (n > 0 && tokens + cost > (size_t)t->o->batch_tokens) {
      RW_TRY(run_pass(t, n, (double)batch, s, err));
      n = tokens = 0;
    }
    t->pass[n] = x;
    t->groups[n++] = g;
    tokens += cost;
    for (size_t b = 0; b < x->n; b++) t->state.tokens += x->len[b];
  }
  RW_TRY(run_pass(t, n, (double)batch, s, err));
  s->accuracy = t->sums.right / (double)batch;
  s->margin = t->sums.margin / (double)batch;
  s->reward_sd = reward_sd(&t->sums);
  s->grad_norm = model_grad_norm(t->m);
  if (!isfinite(s->grad_norm)) {
    const char *bad = model_bad_gradient(t->m);
    rw_fail(err, RW_NUMERIC, "the gradient of %s is not finite; a lower " FIELD(lr) " may help",
            bad ? bad : "the sum of squares");
    for (size_t i = 0; i < batch; i++) t->pass[i] = row_of(t, k, i, &end);
    return blame(t, t->pass, batch, true, k + 1, err);
  }
  double clip =
      o->max_grad_norm > 0 ? o->max_grad_norm / (s->grad_norm + 1e-6) : 1; /* as torch's clip_grad_norm_ */
  model_adamw a = {s->learning_rate,
                   o->betas[0],
                   o->betas[1],
                   o->eps,
                   o->weight_decay,
                   !(o->no_decay & NO_DECAY_NORM),
                   !(o->no_decay & NO_DECAY_BIAS),
                   (uint64_t)k + 1};
  model_update(t->m, &a, clip < 1 ? clip : 1);
  return RW_OK;
}

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

static void gigabytes(char out[32], uint64_t bytes) { snprintf(out, 32, "%.3g GB", (double)bytes / 1e9); }

/* --keep N: N; 0 for best and last. */
static int64_t kept_checkpoints(const train_options *o) { return strtoll(o->keep, NULL, 10); }

typedef struct {
  uint64_t need, room;
  uint64_t host;  /* the part of the need that is in the host's memory */
  const char *of; /* "", or whose memory it is */
} memory_need;

/* What training takes of the memory that is scarcer: the host's, or the device's where that is another. */
static memory_need most_pressing(const run *t, size_t rows, uint64_t available) {
  model_bytes b = model_train_bytes(t->m, &t->how, rows);
  uint64_t room, total;
  model_device_memory(t->m, &room, &total);
  if (total == 0) return (memory_need){b.host + b.device, available, b.host + b.device, ""};
  if (b.device > room) return (memory_need){b.device, room, b.host, " of the device"};
  return (memory_need){b.host, available, b.host, ""};
}

/* Predicts the peak, chooses recomputation, and refuses a run that cannot fit before it starts. */
static rw_status plan_memory(run *t, rw_error *err) {
  const train_options *o = t->o;
  size_t rows = 0;
  for (size_t i = 0; i < dataset_size(t->d); i++) {
    const example *x = dataset_at(t->d, i);
    size_t n = model_group_tokens(&(id_group){x->ids, x->len, x->n}, o->share);
    t->shared_tokens += n;
    if (n > rows) rows = n;
  }
  uint64_t most = t->shared_tokens < (uint64_t)t->o->batch_tokens ? t->shared_tokens : (uint64_t)t->o->batch_tokens;
  uint64_t batch = rows * (uint64_t)o->batch_size; /* the most that one holds */
  if (most > batch) most = batch;
  if (most > rows) rows = most;
  t->how = (model_train_options){.freeze_layers = (size_t)o->freeze_layers,
                                 .recompute = strcmp(o->recompute, "full") == 0,
                                 .states_8bit = o->states_8bit != 0,
                                 .most_rows = rows,
                                 .reopened = kept_checkpoints(o) > 0,
                                 .save_dtype = o->save_dtype};
  uint64_t used = memory_used(), available = memory_available();
  memory_need n = most_pressing(t, rows, available);
  char a[32], b[32];
  if (n.need > n.room && strcmp(o->recompute, "auto") == 0) {
    t->how.recompute = true;
    n = most_pressing(t, rows, available);
    gigabytes(a, n.need);
    gigabytes(b, n.room);
    if (n.need <= n.room) log_note(o->context, "recomputing activations to fit: %s of %s available", a, b);
  }
  t->predicted = used + n.host;
  if (n.need <= n.room) return RW_OK;
  gigabytes(a, n.need);
  gigabytes(b, n.room);
  return rw_fail(
      err, RW_NOMEM,
      "training takes %s more memory%s and %s are available; use " FIELD(optimizer_states) " 8bit, " FIELD(recompute) " full, "
      "a smaller " FIELD(batch_tokens) " or " FIELD(max_length) ", or " FIELD(freeze_layers),
      a, n.of, b);
}

/* With frozen layers: keeps their states on disk where rows or evaluations come again and the room is there. */
static rw_status keep_frozen(run *t, const char *dir, rw_error *err) {
  const train_options *o = t->o;
  const model_config *c = model_info(t->m);
  bool again = t->steps > t->per_epoch, evals = o->eval.n > 0;
  char *why = t->frozen_why_not;
  if (o->freeze_layers == 0) return RW_OK;
  uint64_t need = t->shared_tokens * c->hidden * sizeof(float), room = file_room(dir) / 2;
  char a[32], b[32];
  gigabytes(a, need);
  gigabytes(b, room);
  if (!again) {
    snprintf(why, sizeof t->frozen_why_not, "no training row comes again");
  } else if (need > room) {
    snprintf(why, sizeof t->frozen_why_not, "%s: no room for the frozen layers' states: %s of %s", dir, a, b);
    log_note(o->context, "%s", why);
    again = false;
  } else if (!o->dry_run) {
    log_note(o->context, "the frozen layers' states are kept on disk after their first pass: %s", a);
  }
  if (!again && !evals) return RW_OK;
  rw_status s = model_keep_frozen(t->m, dir, room, again, evals, err);
  if (s != RW_IO) return s;
  snprintf(why, sizeof t->frozen_why_not, "%s", err->text);
  log_warn(o->context, "the frozen layers' states are computed each time: %s", why);
  return RW_OK;
}

/* *each: seconds a token, measured over passes of the first step, at most PASSES. */
static rw_status time_passes(run *t, double *each, rw_error *err) {
  enum { PASSES = 4 };
  const train_options *o = t->o;
  step_metrics s = {0};
  double seconds = 0;
  size_t tokens = 0, i = 0;
  bool end = false;
  for (int r = 0; r <= PASSES && !(end && r > 1); r++) { /* the first touches new memory and does not count */
    size_t n = 0, cost = 0, sum = 0, start_row = i;
    for (const example *x; (x = row_of(t, 0, i, &end)); i++) {
      id_group g = {x->ids, x->len, x->n};
      cost = model_group_tokens(&g, o->share);
      if (n > 0 && sum + cost > (size_t)t->o->batch_tokens) break;
      t->pass[n] = x;
      t->groups[n++] = g;
      sum += cost;
    }
    double start = clock_seconds();
    RW_TRY(run_pass(t, n, (double)n, &s, err));
    if (r == 0) {
      i = start_row;
      end = false;
      continue;
    }
    seconds += clock_seconds() - start;
    tokens += sum;
  }
  *each = seconds / (double)tokens;
  return RW_OK;
}

/* --dry-run: some passes and one update are run to see the speed. */
static rw_status dry_run(run *t, rw_error *err) {
  const train_options *o = t->o;
  const dataset_counts *c = dataset_stats(t->d);
  RW_TRY(model_train(t->m, &t->how, err));
  double each, later;
  RW_TRY(time_passes(t, &each, err));
  later = each;
  char *dir = file_nearest_dir(o->out ? o->out : "."); /* on whose disk the run will lie */
  rw_status kept = dir ? keep_frozen(t, dir, err) : rw_nomem(err, "dry run");
  mem_free(dir);
  RW_TRY(kept);
  for (int i = 0; i < 2 && o->freeze_layers > 0 && t->steps > t->per_epoch; i++)
    RW_TRY(time_passes(t, &later, err));
  double start = clock_seconds();
  model_grad_norm(t->m);
  model_update(t->m, &(model_adamw){.t = 1, .beta1 = o->betas[0], .beta2 = o->betas[1], .eps = o->eps}, 1);
  model_zero_grad(t->m);
  double update = clock_seconds() - start, epochs = (double)t->steps / (double)t->per_epoch,
         computed = (double)t->shared_tokens * epochs, first = epochs < 1 ? epochs : 1;
  printf(
      "rows_used           %zu\ntokens_per_epoch    %llu\ntokens_computed     %.0f\nsteps               %lld\n"
      "recompute           %s\npeak_memory_bytes   %llu\nseconds             %.2f\n",
      c->used, (unsigned long long)c->tokens, computed, (long long)t->steps, t->how.recompute ? "full" : "no",
      (unsigned long long)t->predicted,
      (double)t->shared_tokens * (first * each + (epochs - first) * later) + (double)t->steps * update);
  return RW_OK;
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
  checkpoint_policy p = {kept_checkpoints(t->o), publish, t};
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
    RW_TRY(step(t, t->state.step, &s, err));
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
  return checkpoint_clear(o->out, kept_checkpoints(o), err);
}

static rw_status whole_run(run *t, train_result *result, rw_error *err) {
  const train_options *o = t->o;
  bool found = false;
  RW_TRY(option_check(train_option_table, o, err));
  RW_TRY(prepare(t, err));
  say_data(t);
  RW_TRY(plan_memory(t, err));
  if (o->dry_run) return dry_run(t, err);
  bool finished = false;
  RW_TRY(trainer_eval_open(&t->eval, o, t->m, t->r, err));
  if (o->resume) RW_TRY(run_finished(o->out, t->state.fingerprint, &finished, err));
  if (finished) {
    log_note(o->context, "%s holds a finished run; nothing to do", o->out);
    return checkpoint_clear(o->out, kept_checkpoints(o), err); /* a kill may have come before this */
  }
  RW_TRY(file_out_dir(o->out, o->force || o->resume, err));
  RW_TRY(file_lock_dir(o->out, &t->lock, err));
  RW_TRY(model_train(t->m, &t->how, err));
  RW_TRY(keep_frozen(t, o->out, err));
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
