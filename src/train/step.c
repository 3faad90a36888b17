/* step.c - one step of training: its rows in forward passes of at most batch_tokens tokens, and one update.
 *
 * The gradient of a row goes to the same sums in the same order however the passes are cut.
 */
#include <math.h>
#include <string.h>

#include "train/loss.h"
#include "train/nonfinite.h"
#include "train/run.h"

double train_lr(const train_options *o, int64_t k, int64_t steps) {
  int64_t w = (int64_t)ceil(o->warmup * (double)steps);
  if (k < w) return o->lr * (double)k / (double)w;
  double rest = steps > w ? (double)(steps - w) : 1, done = (double)(k - w) / rest, f = 1;
  if (o->schedule == SCHEDULE_COSINE) f = 0.5 * (1 + cos(M_PI * done));
  if (o->schedule == SCHEDULE_LINEAR) f = 1 - done;
  if (o->schedule != SCHEDULE_CONSTANT) f = o->min_lr + (1 - o->min_lr) * f;
  return o->lr * (f > 0 ? f : 0);
}

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

rw_status step_pass(run *t, size_t n, double batch, step_metrics *s, rw_error *err) {
  if (n == 0) return RW_OK;
  rw_status st = model_forward(t->m, t->groups, n, t->o->share, t->rewards, err);
  if (st == RW_NUMERIC) return blame(t, t->pass, n, false, s->step, err);
  if (st)
    return rw_prefix(err, st, "step %lld, rows %s to %s", (long long)s->step, t->pass[0]->where,
                     t->pass[n - 1]->where);
  RW_TRY(pass_losses(t, n, batch, s, err));
  return model_backward(t->m, t->d_rewards, err);
}

const example *step_row(run *t, int64_t k, size_t i, bool *end) {
  int64_t epoch = k / t->per_epoch;
  size_t at = (size_t)(k % t->per_epoch * t->o->batch_size) + i, n = dataset_size(t->d);
  if (epoch != t->order_epoch) dataset_order(t->d, t->o, t->order_epoch = epoch, t->order);
  *end = i >= (size_t)t->o->batch_size || at >= n;
  return *end ? NULL : dataset_at(t->d, t->order[at]);
}

rw_status step_take(run *t, int64_t k, step_metrics *s, rw_error *err) {
  const train_options *o = t->o;
  size_t batch = 0, n = 0, tokens = 0;
  bool end;
  while (step_row(t, k, batch, &end)) batch++;
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
    const example *x = step_row(t, k, i, &end);
    id_group g = {x->ids, x->len, x->n};
    size_t cost = model_group_tokens(&g, o->share);
    if (n > 0 && tokens + cost > (size_t)t->batch_tokens) {
      RW_TRY(step_pass(t, n, (double)batch, s, err));
      n = tokens = 0;
    }
    t->pass[n] = x;
    t->groups[n++] = g;
    tokens += cost;
    for (size_t b = 0; b < x->n; b++) t->state.tokens += x->len[b];
  }
  RW_TRY(step_pass(t, n, (double)batch, s, err));
  s->accuracy = t->sums.right / (double)batch;
  s->margin = t->sums.margin / (double)batch;
  s->reward_sd = reward_sd(&t->sums);
  s->grad_norm = model_grad_norm(t->m);
  if (!isfinite(s->grad_norm)) {
    const char *bad = model_bad_gradient(t->m);
    rw_fail(err, RW_NUMERIC, "the gradient of %s is not finite; a lower " FIELD(lr) " may help",
            bad ? bad : "the sum of squares");
    for (size_t i = 0; i < batch; i++) t->pass[i] = step_row(t, k, i, &end);
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
