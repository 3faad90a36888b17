/* step.c - one step of training: its rows in slices, a slice's in forward passes of at most batch_tokens tokens
 * (one pass where no rank has all weights), and one update.
 *
 * The gradient of a row goes to the same sums in the same order however the passes are cut, and whichever rank has
 * its slice. One slice is the whole batch.
 */
#include <math.h>
#include <string.h>

#include "train/loss.h"
#include "train/nonfinite.h"
#include "train/run.h"
#include "train/slices.h"

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
  double loss, center;
} row_loss;

/* Also t->d_row, its slopes. */
static row_loss loss_of(run *t, const example *x, const float *r) {
  const train_loss *l = &t->o->loss;
  double loss =
      x->scores ? loss_ranking(l, r, x->scores, x->n, t->d_row) : loss_pair(l, r[0], r[1], x->margin, t->d_row);
  return (row_loss){loss, loss_center(l, r, x->n, t->d_row)};
}

/* The slopes of the rows' losses at their rewards, scaled by 1/batch. */
static rw_status pass_slopes(run *t, size_t n, double batch, int64_t step, rw_error *err) {
  size_t at = 0;
  for (size_t i = 0; i < n; i++) {
    const example *x = t->pass[i];
    const float *r = t->rewards + at;
    row_loss l = loss_of(t, x, r);
    if (!isfinite(l.loss + l.center))
      return rw_fail(err, RW_NUMERIC,
                     "step %lld: %s: the loss is not finite (rewards %g, %g); a lower " FIELD(lr) " may help",
                     (long long)step, x->where, r[0], r[1]);
    for (size_t a = 0; a < x->n; a++) t->d_rewards[at + a] = (float)(t->d_row[a] / batch);
    at += x->n;
  }
  return RW_OK;
}

/* The step's figures, by all rows' rewards in the batch's order. */
static void add_figures(run *t, int64_t k, size_t rows, step_metrics *s) {
  double batch = (double)rows;
  bool end;
  for (size_t i = 0; i < rows; i++) {
    const example *x = step_row(t, k, i, &end);
    const float *r = t->all_rewards + t->branch[i];
    row_loss l = loss_of(t, x, r);
    s->loss += (l.loss + l.center) / batch;
    s->loss_center += l.center / batch;
    reward_sums_add(&t->sums, x, r);
    reward_sums_add(&t->source_sums[x->source], x, r);
    for (size_t a = 0; a < x->n; a++) {
      s->mean_reward += r[a] / (batch * (double)x->n);
      if (r[a] < s->min_reward) s->min_reward = r[a];
      if (r[a] > s->max_reward) s->max_reward = r[a];
    }
  }
  s->accuracy = reward_accuracy(&t->sums);
  s->margin = reward_margin(&t->sums);
  s->reward_sd = reward_sd(&t->sums);
}

/* A number was not finite: names the rows and the place. err holds what was seen. */
static rw_status blame(run *t, const example *const *rows, size_t n, bool backward, int64_t at, rw_error *err) {
  nonfinite_probe p = {t->m, &t->o->loss, t->o->share, at, t->rewards, t->d_rewards, t->d_row};
  rw_error seen = *err;
  return nonfinite_rows(&p, rows, n, backward, seen.text, err);
}

rw_status step_pass(run *t, size_t n, double batch, int64_t step, rw_error *err) {
  if (n == 0) return RW_OK;
  model_piece_by(t->m, t->pass_piece);
  rw_status st = model_forward(t->m, t->groups, n, t->o->share, t->rewards, err);
  if (st == RW_NUMERIC) return blame(t, t->pass, n, false, step, err);
  if (st)
    return rw_prefix(err, st, "step %lld, rows %s to %s", (long long)step, t->pass[0]->where,
                     t->pass[n - 1]->where);
  RW_TRY(pass_slopes(t, n, batch, step, err));
  return model_backward(t->m, t->d_rewards, err);
}

const example *step_row(run *t, int64_t k, size_t i, bool *end) {
  int64_t epoch = k / t->per_epoch;
  size_t at = (size_t)(k % t->per_epoch * t->o->batch_size) + i, n = dataset_size(t->d);
  if (epoch != t->order_epoch) dataset_order(t->d, t->o, t->order_epoch = epoch, t->order);
  *end = i >= (size_t)t->o->batch_size || at >= n;
  return *end ? NULL : dataset_at(t->d, t->order[at]);
}

/* The rows of step k: their number, what each costs, where its rewards stand, and its slice. */
static rw_status lay_out(run *t, int64_t k, size_t *rows, rw_error *err) {
  size_t n = 0;
  bool end;
  t->branch[0] = 0;
  for (const example *x; (x = step_row(t, k, n, &end)); n++) {
    t->cost[n] = model_group_tokens(&(id_group){x->ids, x->len, x->n}, t->o->share);
    t->branch[n + 1] = t->branch[n] + x->n;
  }
  *rows = n;
  return slices_cut(t->slice_of, t->cost, n, (int)t->o->slices, err);
}

rw_status step_widest(run *t, size_t *tokens, rw_error *err) {
  size_t *of = mem_alloc((size_t)t->o->slices, sizeof *of), rows;
  rw_status s = of ? RW_OK : rw_nomem(err, "slices");
  *tokens = 0;
  for (int64_t k = 0; !s && k < t->steps; k++) {
    memset(of, 0, (size_t)t->o->slices * sizeof *of);
    s = lay_out(t, k, &rows, err);
    for (size_t i = 0; !s && i < rows; i++) {
      size_t *load = &of[t->slice_of[i]];
      *load += t->cost[i];
      if (*load > *tokens) *tokens = *load;
    }
  }
  mem_free(of);
  return s;
}

/* The pass that is laid out in t->pass, and what its rows' rewards are. */
static rw_status end_pass(run *t, size_t n, size_t rows, int64_t k, rw_error *err) {
  const float *r = t->rewards;
  RW_TRY(step_pass(t, n, (double)rows, k + 1, err));
  for (size_t j = 0; j < n; r += t->pass[j++]->n)
    memcpy(t->all_rewards + t->branch[t->row[j]], r, t->pass[j]->n * sizeof *r);
  return RW_OK;
}

/* The rows of a slice as passes take them, in the batch's order or in pieces; their number. */
static rw_status order_slice(run *t, size_t rows, int which, size_t *n, rw_error *err) {
  *n = 0;
  for (size_t i = 0; i < rows; i++)
    if (t->slice_of[i] == which) t->order_of_slice[(*n)++] = i;
  if (t->piece_tokens <= 1) return RW_OK;
  return pieces_cut(t->order_of_slice, t->piece, t->cost, *n, (size_t)t->piece_tokens, err);
}

/* The tokens of the rows from place i on that one pass must have: a row, or all of a piece. */
static size_t together(const run *t, size_t i, size_t n) {
  const size_t *row = t->order_of_slice + i, *end = t->order_of_slice + n, *first = row;
  size_t tokens = 0;
  do tokens += t->cost[*row++];
  while (row < end && t->piece[*row] > 0 && t->piece[*row] == t->piece[*first]);
  return tokens;
}

/* The gradient of one slice alone, in passes of at most batch_tokens tokens or in one. */
static rw_status run_slice(run *t, int64_t k, size_t rows, int which, rw_error *err) {
  size_t n = 0, tokens = 0, all, piece = 0;
  bool end;
  model_zero_grad(t->m);
  RW_TRY(order_slice(t, rows, which, &all, err));
  for (size_t at = 0; at < all; at++) {
    size_t i = t->order_of_slice[at];
    bool begins = t->piece[i] == 0 || t->piece[i] != piece;
    if (n > 0 && begins && !t->how.apart && tokens + together(t, at, all) > (size_t)t->batch_tokens) {
      RW_TRY(end_pass(t, n, rows, k, err));
      n = tokens = 0;
    }
    const example *x = step_row(t, k, i, &end);
    piece = t->piece[i];
    t->row[n] = i;
    t->pass[n] = x;
    t->pass_piece[n] = piece;
    t->groups[n++] = (id_group){x->ids, x->len, x->n};
    tokens += t->cost[i];
  }
  model_close_slice(t->m);
  return end_pass(t, n, rows, k, err);
}

/* The rewards of all rows, each computed by the rank that had its slice. */
static rw_status gather_rewards(run *t, size_t rows, rw_error *err) {
  size_t n = (size_t)t->ranks->size, at = 0;
  size_t *ends = n > 1 ? mem_zalloc(n + 1, sizeof *ends) : NULL;
  if (n == 1) return RW_OK;
  if (!ends) return rw_nomem(err, "rewards");
  rw_status s = RW_OK;
  for (int gathered = 0; !s && gathered < 2; gathered++) { /* into t->packed by ranks, and out of it again */
    at = 0;
    for (size_t r = 0; r < n; r++) {
      for (size_t i = 0; i < rows; i++) {
        size_t some = t->branch[i + 1] - t->branch[i];
        float *row = t->all_rewards + t->branch[i];
        if ((size_t)t->slice_of[i] % n != r) continue;
        memcpy(gathered ? row : t->packed + at, gathered ? t->packed + at : row, some * sizeof *row);
        at += some;
      }
      ends[r + 1] = at * sizeof *t->packed;
    }
    if (!gathered) s = t->ranks->gather(t->ranks, t->packed, ends, err);
  }
  mem_free(ends);
  return s;
}

/* Slice j is rank j's, then of those that are left again, round after round; the batch's gradient is the sum of the
 * slices' in their order, whoever has computed them. */
static rw_status run_slices(run *t, int64_t k, size_t rows, rw_error *err) {
  comm *c = t->ranks;
  int slices = (int)t->o->slices;
  for (int base = 0; base < slices; base += c->size) {
    int here = slices - base < c->size ? slices - base : c->size;
    model_begin_round(t->m, here, base == 0, base + here == slices);
    rw_status s = c->rank < here ? run_slice(t, k, rows, base + c->rank, err) : RW_OK;
    rw_error late;
    rw_status end = model_end_round(t->m, s ? &late : err);
    RW_TRY(comm_agree(c, s ? s : end, err));
  }
  return gather_rewards(t, rows, err);
}

rw_status step_take(run *t, int64_t k, step_metrics *s, rw_error *err) {
  const train_options *o = t->o;
  size_t rows;
  bool end;
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
  model_drop_by(t->m, o->seed, (uint64_t)k);
  RW_TRY(comm_agree(t->ranks, lay_out(t, k, &rows, err), err));
  for (size_t i = 0; i < rows; i++) {
    const example *x = step_row(t, k, i, &end);
    for (size_t b = 0; b < x->n; b++) t->state.tokens += x->len[b];
  }
  RW_TRY(run_slices(t, k, rows, err));
  add_figures(t, k, rows, s);
  RW_TRY(model_grad_norm(t->m, &s->grad_norm, err));
  if (!isfinite(s->grad_norm)) {
    const char *bad = model_bad_gradient(t->m);
    rw_fail(err, RW_NUMERIC, "the gradient of %s is not finite; a lower " FIELD(lr) " may help",
            bad ? bad : "the sum of squares");
    for (size_t i = 0; i < rows; i++) t->pass[i] = step_row(t, k, i, &end);
    return model_agree(t->m, blame(t, t->pass, rows, true, k + 1, err), err);
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
  return model_share_values(t->m, err);
}
