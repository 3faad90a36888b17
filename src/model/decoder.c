/* decoder.c - the decoder, forward and backward, over a forest of conversations.
 *
 * One code path for all families; what differs is in model_config. Only the last token of each conversation goes
 * (and a gated head's token) goes through the last layer's output projection, its MLP and the head. Scoring keeps
 * nothing; training keeps, for each trained layer, what `acts` lists, and recomputes norms and gated activations.
 */
#include <math.h>
#include <string.h>

#include "model/model_impl.h"

rw_status buffer_need(model *m, buffer *b, size_t floats, const char *what, rw_error *err) {
  if (floats <= b->cap) return RW_OK;
  /* at once for the largest pass: each growth would have all pages made anew; those not touched take no memory */
  size_t each = m->f.rows ? floats / m->f.rows + 1 : 0;
  if (m->most_rows > m->f.rows) floats += (m->most_rows - m->f.rows) * each;
  m->be->release(m->be, b->p);
  b->p = m->be->alloc(m->be, floats * sizeof(float));
  b->cap = b->p ? floats : 0;
  return b->p ? RW_OK : rw_nomem(err, what);
}

static size_t q_width(const model_config *c) { return c->q_heads * c->head_dim; }
static size_t qk_width(const model_config *c) { return (c->q_heads + c->kv_heads) * c->head_dim; }
static size_t qkv_width(const model_config *c) { return (c->q_heads + 2 * c->kv_heads) * c->head_dim; }

static const float *vec(const model *m, int i) {
  const tensor *t = &m->t[i];
  return t->pub.value ? t->pub.value : t->data;
}
weight model_matrix(const model *m, int i, int bias) {
  const tensor *t = &m->t[i];
  return (weight){.data = t->pub.value ? t->pub.value : t->data,
                  .type = t->pub.value ? T_F32 : t->type,
                  .out = t->pub.rows,
                  .in = t->cols,
                  .bias = bias >= 0 ? vec(m, bias) : NULL};
}

static size_t up_width(const model_config *c) { return c->relu2 ? c->ff : 2 * c->ff; }
static activation act_of(const model_config *c) {
  return c->relu2 ? ACT_RELU2 : c->gelu ? ACT_GELU_TANH : ACT_SILU;
}

void model_norm(model *m, float *y, const float *x, int w, int bias, size_t rows, float *kept) {
  const model_config *c = &m->cfg;
  size_t h = c->hidden;
  if (c->layer_norm)
    m->be->layernorm(m->be, y, x, vec(m, w), vec(m, bias), c->norm_offset, c->norm_eps, rows, h, kept);
  else
    m->be->rmsnorm(m->be, y, h, x, h, vec(m, w), c->norm_offset, c->norm_eps, rows, 1, h, kept);
}

/* ---- rotary tables ---- */

/* Frequencies as Hugging Face's modeling_rope_utils computes them, in f32; llama3: Llama 3.1's smoothing; yarn: a
 * ramp between a frequency and its interpolation. */
static void rope_frequencies(const rope_config *r, size_t dim, float *inv) {
  for (size_t i = 0; i < dim / 2; i++) {
    double f = 1.0 / pow(r->theta, (double)(2 * i) / (double)dim);
    if (r->kind == ROPE_LINEAR) f /= r->factor;
    if (r->kind == ROPE_LLAMA3) {
      double length = 2 * M_PI / f, old = (double)r->original_max_positions;
      if (length > old / r->low_freq_factor) {
        f /= r->factor;
      } else if (length >= old / r->high_freq_factor) {
        double smooth = (old / length - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        f = (1 - smooth) * f / r->factor + smooth * f;
      }
    }
    if (r->kind == ROPE_YARN) {
      double ramp = fmin(fmax(((double)i - r->low) / (r->high - r->low), 0), 1);
      f = ramp * f / r->factor + (1 - ramp) * f;
    }
    inv[i] = (float)f;
  }
}

static rw_status rope_tables(model *m, size_t which, size_t positions, rw_error *err) {
  if (positions <= m->rope_positions[which]) return RW_OK;
  positions = (positions + 511) / 512 * 512;
  size_t half = m->cfg.rotary_dim / 2;
  double scale = m->cfg.ropes[which].attention_factor;
  float *inv = mem_alloc(half, sizeof *inv), *t = mem_alloc(2 * positions * half, sizeof *t);
  rw_status s = inv && t ? RW_OK : rw_nomem(err, "rotary tables");
  if (!s) s = buffer_need(m, &m->cos[which], positions * half, "rotary tables", err);
  if (!s) s = buffer_need(m, &m->sin[which], positions * half, "rotary tables", err);
  if (!s) {
    rope_frequencies(&m->cfg.ropes[which], m->cfg.rotary_dim, inv);
    for (size_t p = 0; p < positions; p++)
      for (size_t i = 0; i < half; i++) {
        float angle = (float)p * inv[i];
        t[p * half + i] = (float)(cos((double)angle) * scale);
        t[(positions + p) * half + i] = (float)(sin((double)angle) * scale);
      }
    m->be->upload(m->be, m->cos[which].p, t, positions * half * sizeof(float));
    m->be->upload(m->be, m->sin[which].p, t + positions * half, positions * half * sizeof(float));
    m->rope_positions[which] = positions;
  }
  mem_free(inv);
  mem_free(t);
  return s;
}

/* ---- working memory ---- */

static size_t cut(float **out, float *base, size_t *used, size_t floats) {
  *out = base ? base + *used : NULL;
  return *used += (floats + 15) & ~(size_t)15;
}

/* One layer's activations cut out of base; returns the floats needed. Scoring works in place: x_mid is x. */
static size_t cut_acts(const model *m, acts *s, float *base, size_t rows, bool keep) {
  const model_config *c = &m->cfg;
  size_t used = 0;
  memset(s, 0, sizeof *s);
  cut(&s->x, base, &used, rows * c->hidden);
  cut(&s->qkv, base, &used, rows * qkv_width(c));
  cut(&s->o, base, &used, rows * q_width(c));
  cut(&s->gate_up, base, &used, rows * up_width(c));
  if (c->post_norms) {
    cut(&s->attn_out, base, &used, rows * c->hidden);
    cut(&s->mlp_out, base, &used, keep ? rows * c->hidden : 0);
    if (!keep) s->mlp_out = s->attn_out;
  }
  if (!keep) {
    s->x_mid = s->x;
    return used;
  }
  cut(&s->x_mid, base, &used, rows * c->hidden);
  cut(&s->lse, base, &used, rows * c->q_heads);
  cut(&s->rstd_in, base, &used, rows * (c->layer_norm ? 2 : 1));
  cut(&s->rstd_mid, base, &used, rows * (c->layer_norm ? 2 : 1));
  if (c->post_norms) {
    cut(&s->rstd_attn, base, &used, rows);
    cut(&s->rstd_mlp, base, &used, rows);
  }
  if (c->qk_norm) {
    cut(&s->qk, base, &used, rows * qk_width(c));
    cut(&s->rstd_qk, base, &used, rows * (c->q_heads + c->kv_heads));
  }
  return used;
}

/* ---- forward ---- */

static attention_shape shape_of(const model_config *c, size_t l) {
  return (attention_shape){c->q_heads, c->kv_heads, c->head_dim, c->attn_scale, c->attn_softcap, c->window[l]};
}

/* y = x + f(x) ends here: out = base + branch·w, or with post norms base + norm(branch·w). out may be base, or
 * NULL with post norms when only kept and rstd are wanted. */
static rw_status add_branch(model *m, float *out, const float *base, const float *branch, projection w, size_t rows,
                            int post_norm, float *kept, float *rstd, rw_error *err) {
  backend *be = m->be;
  size_t h = m->cfg.hidden, in = m->t[w.w[0]].cols;
  if (post_norm < 0) {
    if (out != base) be->copy(be, out, base, rows * h);
    return model_linear(m, out, h, branch, in, &w, rows, true, err);
  }
  RW_TRY(model_linear(m, kept, h, branch, in, &w, rows, false, err));
  model_norm(m, m->h.p, kept, post_norm, -1, rows, rstd);
  if (!out) return RW_OK;
  if (out != base) be->copy(be, out, base, rows * h);
  be->add(be, out, m->h.p, rows * h);
  return RW_OK;
}

/* Columns between the checkpoint's order of a grouped projection (see model_config) and ours: all queries, all
 * keys, all values. */
static void regroup(model *m, float *ours, float *theirs, size_t rows, bool to_ours) {
  const model_config *c = &m->cfg;
  size_t ld = qkv_width(c), d = c->head_dim, per = c->q_heads / c->kv_heads;
  for (size_t g = 0; g < c->kv_heads; g++) {
    float *group = theirs + g * (per + 2) * d;
    const struct {
      float *a, *b;
      size_t n;
    } part[3] = {{ours + g * per * d, group, per * d},
                 {ours + (c->q_heads + g) * d, group + per * d, d},
                 {ours + (c->q_heads + c->kv_heads + g) * d, group + (per + 1) * d, d}};
    for (int i = 0; i < 3; i++)
      m->be->copy_columns(m->be, to_ours ? part[i].a : part[i].b, ld, to_ours ? part[i].b : part[i].a, ld, rows,
                          part[i].n);
  }
}

static projection one(int w, int bias) { return (projection){1, {w}, {bias}}; }
static projection qkv_of(const model *m, const layer *y) {
  if (m->cfg.grouped_qkv) return one(y->q, y->q_bias);
  return (projection){3, {y->q, y->k, y->v}, {y->q_bias, y->k_bias, y->v_bias}};
}
static projection up_of(const model *m, const layer *y) {
  if (m->cfg.relu2) return one(y->up, y->up_bias);
  return (projection){2, {y->gate, y->up}, {y->gate_bias, y->up_bias}};
}

/* Normalises the layer's input and projects it; then per-head norms and rotation. */
static rw_status project_qkv(model *m, size_t l, acts *s, rw_error *err) {
  const model_config *c = &m->cfg;
  const layer *y = &m->layers[l];
  backend *be = m->be;
  size_t rows = m->f.rows, h = c->hidden, d = c->head_dim, ld = qkv_width(c);
  model_norm(m, m->h.p, s->x, y->norm_in, y->norm_in_bias, rows, s->rstd_in);
  projection qkv = qkv_of(m, y);
  RW_TRY(model_linear(m, c->grouped_qkv ? m->a.p : s->qkv, ld, m->h.p, h, &qkv, rows, false, err));
  if (c->grouped_qkv) regroup(m, s->qkv, m->a.p, rows, true);
  if (c->qk_norm) {
    size_t heads = c->q_heads + c->kv_heads, qw = q_width(c);
    /* with nothing to keep, normalise in place; else from the kept copy */
    const float *from = s->qk ? s->qk : s->qkv;
    size_t lf = s->qk ? heads * d : ld;
    if (s->qk) be->copy_columns(be, s->qk, heads * d, s->qkv, ld, rows, heads * d);
    be->rmsnorm(be, s->qkv, ld, from, lf, vec(m, y->q_norm), c->norm_offset, c->norm_eps, rows, c->q_heads, d,
                s->rstd_qk);
    be->rmsnorm(be, s->qkv + qw, ld, from + qw, lf, vec(m, y->k_norm), c->norm_offset, c->norm_eps, rows,
                c->kv_heads, d, s->rstd_qk ? s->rstd_qk + rows * c->q_heads : NULL);
  }
  size_t r = c->rope_of[l];
  be->rope(be, s->qkv, ld, &m->f, c->q_heads + c->kv_heads, d, m->cos[r].p, m->sin[r].p, c->rotary_dim / 2, 1.0f);
  return RW_OK;
}

/* out: [rows, H], or [n_last, H] when last; may be s->x when nothing is kept. NULL: only fills s again. */
static rw_status forward_layer(model *m, size_t l, acts *s, float *out, bool last, rw_error *err) {
  const model_config *c = &m->cfg;
  const layer *y = &m->layers[l];
  backend *be = m->be;
  size_t rows = m->f.rows, h = c->hidden, q = q_width(c);
  RW_TRY(project_qkv(m, l, s, err));
  attention_shape a = shape_of(c, l);
  RW_TRY(be->attention(be, s->o, q, s->qkv, qkv_width(c), &m->f, &a, s->lse, err));
  const float *o = s->o, *x = s->x;
  float *mid = s->x_mid;
  if (last) {
    be->gather(be, m->last_o.p, s->o, m->last, m->n_last, q);
    be->gather(be, m->last_x.p, s->x, m->last, m->n_last, h);
    rows = m->n_last;
    o = m->last_o.p;
    x = m->last_x.p;
  }
  RW_TRY(add_branch(m, mid, x, o, one(y->o, y->o_bias), rows, y->norm_post_attn, s->attn_out, s->rstd_attn, err));
  model_norm(m, m->h.p, mid, y->norm_mid, y->norm_mid_bias, rows, s->rstd_mid);
  projection gu = up_of(m, y);
  RW_TRY(model_linear(m, s->gate_up, up_width(c), m->h.p, h, &gu, rows, false, err));
  if (!out && !c->post_norms) return RW_OK;
  be->gated(be, m->a.p, s->gate_up, rows, c->ff, act_of(c));
  return add_branch(m, out, mid, m->a.p, one(y->down, y->down_bias), rows, y->norm_post_mlp, s->mlp_out,
                    s->rstd_mlp, err);
}

static rw_status prepare(model *m, rw_error *err) {
  const model_config *c = &m->cfg;
  size_t rows = m->f.rows, nl = m->n_last, positions = 0;
  for (size_t i = 0; i < rows; i++)
    if ((size_t)m->pos[i] >= positions) positions = (size_t)m->pos[i] + 1;
  for (size_t i = 0; i < c->layers; i++) RW_TRY(rope_tables(m, c->rope_of[i], positions, err));
  RW_TRY(buffer_need(m, &m->h, rows * c->hidden, "activations", err));
  size_t wide = c->grouped_qkv && qkv_width(c) > c->ff ? qkv_width(c) : c->ff;
  RW_TRY(buffer_need(m, &m->a, rows * wide, "activations", err));
  RW_TRY(buffer_need(m, &m->last_x, nl * c->hidden, "activations", err));
  RW_TRY(buffer_need(m, &m->last_o, nl * q_width(c), "activations", err));
  RW_TRY(buffer_need(m, &m->last_h, nl * c->hidden, "activations", err));
  RW_TRY(buffer_need(m, &m->rstd_final, 2 * nl, "activations", err));
  return buffer_need(m, &m->rewards, m->f.n_branches * c->n_outputs, "activations", err);
}

/* Runs layers [from, end) with nothing kept; the state is in s->x. */
static rw_status run_layers(model *m, acts *s, size_t from, size_t end, rw_error *err) {
  for (size_t l = from; l < end; l++) RW_TRY(forward_layer(m, l, s, s->x, l + 1 == m->cfg.layers, err));
  return RW_OK;
}

/* Runs layers [0, end) with nothing kept and leaves the state in s->x. */
static rw_status run_frozen(model *m, acts *s, size_t end, rw_error *err) {
  weight e = model_matrix(m, m->embed, -1);
  m->be->embed(m->be, s->x, &e, m->ids, m->f.rows, m->cfg.embed_scale);
  return run_layers(m, s, 0, end, err);
}

/* The state before the first trained layer, computed or as it was the last time. */
static rw_status run_below(model *m, const id_group *groups, size_t n, bool share, bool forward, acts *s,
                           rw_error *err) {
  if (frozen_fetch(m, groups, n, share, forward, s->x)) return RW_OK;
  RW_TRY(run_frozen(m, s, m->freeze, err));
  frozen_store(m, groups, n, share, forward, s->x);
  return RW_OK;
}

/* Which step of layer l first gave a number that is not finite; s as forward_layer left it, keeping nothing. */
static rw_status blame_layer(const model *m, const acts *s, size_t l, bool last, size_t row, rw_error *err) {
  const layer *y = &m->layers[l];
  size_t rows = m->f.rows, nb = last ? m->n_last : rows, q = q_width(&m->cfg), wide = up_width(&m->cfg);
  size_t n_qkv = rows * qkv_width(&m->cfg), token = last ? m->last[row] : row;
  const char *what = "the input or output of", *name = m->t[y->down].pub.name;
  if (m->be->first_bad(m->be, s->qkv, n_qkv) < n_qkv)
    name = m->t[y->q].pub.name, what = "the projections to query, key and value, from";
  else if (m->be->first_bad(m->be, s->o, rows * q) < rows * q)
    name = m->t[y->o].pub.name, what = "the attention before";
  else if (m->be->first_bad(m->be, s->gate_up, nb * wide) < nb * wide)
    name = m->t[y->up].pub.name, what = "the projections from the normalised state, with";
  return rw_fail(err, RW_NUMERIC,
                 "layer %zu: %s %s is not finite at token %d of its conversation; a lower learning rate or another "
                 "--dtype may help",
                 l, what, name, m->pos[token]);
}

/* A reward is not finite: runs the batch again, layer by layer, to say where it began. */
static rw_status blame(model *m, rw_error *err) {
  acts s;
  size_t rows = m->f.rows, h = m->cfg.hidden, at;
  const char *weight_name = model_bad_weight(m, &at);
  if (weight_name)
    return rw_fail(err, RW_NUMERIC, "tensor %s: the weight at index %zu is not finite", weight_name, at);
  RW_TRY(buffer_need(m, &m->work, cut_acts(m, &s, NULL, rows, false), "activations", err));
  cut_acts(m, &s, m->work.p, rows, false);
  for (size_t l = 0; l <= m->cfg.layers; l++) {
    if (l == 0)
      RW_TRY(run_frozen(m, &s, 0, err));
    else
      RW_TRY(forward_layer(m, l - 1, &s, s.x, l == m->cfg.layers, err));
    size_t n = (l == m->cfg.layers ? m->n_last : rows) * h, bad = m->be->first_bad(m->be, s.x, n);
    if (bad == n) continue;
    if (l == 0)
      return rw_fail(err, RW_NUMERIC, "the embedding of token %d is not finite; the checkpoint is damaged",
                     m->ids[bad / h]);
    return blame_layer(m, &s, l - 1, l == m->cfg.layers, bad / h, err);
  }
  return rw_fail(err, RW_NUMERIC, "the reward head's output is not finite; a lower learning rate may help");
}

static rw_status check(model *m, const float *rewards, rw_error *err) {
  for (size_t i = 0; i < m->f.n_branches; i++)
    if (!isfinite(rewards[i])) return blame(m, err);
  return RW_OK;
}

rw_status model_score(model *m, const id_group *groups, size_t n, bool share, float *rewards, rw_error *err) {
  RW_TRY(batch_build(m, groups, n, share, err));
  if (m->f.n_branches == 0) return RW_OK;
  acts s;
  RW_TRY(prepare(m, err));
  RW_TRY(buffer_need(m, &m->work, cut_acts(m, &s, NULL, m->f.rows, false), "activations", err));
  cut_acts(m, &s, m->work.p, m->f.rows, false);
  RW_TRY(run_below(m, groups, n, share, false, &s, err));
  RW_TRY(run_layers(m, &s, m->freeze, m->cfg.layers, err));
  RW_TRY(head_run(m, s.x, rewards, err));
  return check(m, rewards, err);
}

rw_status model_hidden(model *m, const int32_t *ids, size_t len, size_t l, float *out, rw_error *err) {
  id_group g = {&ids, &len, 1};
  acts s;
  RW_TRY(batch_build(m, &g, 1, false, err));
  RW_TRY(prepare(m, err));
  RW_TRY(buffer_need(m, &m->work, cut_acts(m, &s, NULL, len, false), "activations", err));
  cut_acts(m, &s, m->work.p, len, false);
  RW_TRY(run_frozen(m, &s, 0, err));
  for (size_t i = 0; i < l; i++) RW_TRY(forward_layer(m, i, &s, s.x, false, err));
  m->be->download(m->be, out, s.x, len * m->cfg.hidden * sizeof(float));
  return RW_OK;
}

/* ---- training ---- */

/* Tensors stand in the order embedding, layers, final norm, head; those from here on are trained. */
static size_t first_trained(const model *m, size_t freeze) {
  if (m->lora_rank > 0) return (size_t)m->head; /* the adapters follow it */
  if (freeze == 0) return 0;
  return (size_t)(freeze < m->cfg.layers ? m->layers[freeze].norm_in : m->norm_final);
}

/* Layers below run without a backward pass. */
static size_t frozen_layers(const model *m, const model_train_options *o) {
  size_t from = m->lora_rank > 0 ? model_lora_from(m) : 0;
  return from > o->freeze_layers ? from : o->freeze_layers;
}

static size_t blocks_of(size_t n) { return (n + ADAMW8_BLOCK - 1) / ADAMW8_BLOCK; }

rw_status model_train_check(const model *m, const model_train_options *o, rw_error *err) {
  if (o->freeze_layers > m->cfg.layers)
    return rw_fail(err, RW_USAGE, "--freeze-layers: expected 0 to %zu (the model's layers), got %zu", m->cfg.layers,
                   o->freeze_layers);
  if (m->cfg.head != HEAD_SCALAR)
    return rw_fail(err, RW_UNSUPPORTED, "%s: a model with attributes can be scored with, not trained", m->dir);
  if (m->lora_rank > 0 && o->freeze_layers > model_lora_from(m))
    return rw_fail(err, RW_USAGE, "--freeze-layers: expected at most %zu, the first layer with adapters, got %zu",
                   model_lora_from(m), o->freeze_layers);
  return RW_OK;
}

rw_status model_train(model *m, const model_train_options *o, rw_error *err) {
  RW_TRY(model_train_check(m, o, err));
  m->freeze = frozen_layers(m, o);
  m->recompute = o->recompute;
  m->most_rows = o->most_rows;
  m->n_trained = 0;
  size_t first = first_trained(m, m->freeze), scales = 0;
  for (size_t i = first; i < m->n_tensors; i++) {
    m->n_trained += m->t[i].pub.count;
    scales += blocks_of(m->t[i].pub.count);
  }
  m->values = m->be->alloc(m->be, m->n_trained * sizeof(float));
  if (!m->values) return rw_nomem(err, "trained tensors");
  float *at = m->values;
  for (size_t i = first; i < m->n_tensors; at += m->t[i++].pub.count) {
    tensor *t = &m->t[i];
    t->pub.value = at;
    st_to_f32(at, t->data, t->type == T_F32 ? DT_F32 : t->type == T_F16 ? DT_F16 : DT_BF16, t->pub.count);
  }
  st_forget(m->file); /* the copies are what counts now; before the rest, for the peak's sake */
  size_t n = m->n_trained * sizeof(float), states = o->states_8bit ? scales * sizeof(float) : n;
  const struct {
    void **p;
    size_t bytes;
  } block[] = {{(void **)&m->grads, n},
               {(void **)&m->m1, states},
               {(void **)&m->m2, states},
               {(void **)&m->codes, 2 * m->n_trained}};
  for (size_t b = 0; b < (o->states_8bit ? 4 : 3); b++) {
    *block[b].p = m->be->alloc(m->be, block[b].bytes);
    if (!*block[b].p) return rw_nomem(err, "gradients and optimizer states");
    m->be->zero(m->be, *block[b].p, block[b].bytes);
  }
  size_t scale = 0;
  for (size_t i = first; i < m->n_tensors; i++) {
    model_param *p = &m->t[i].pub;
    size_t from = (size_t)(p->value - m->values);
    p->grad = m->grads + from;
    if (o->states_8bit) {
      p->q1 = (adamw8_state){m->codes + from, m->m1 + scale};
      p->q2 = (adamw8_state){m->codes + m->n_trained + from, m->m2 + scale};
    } else {
      p->m1 = m->m1 + from;
      p->m2 = m->m2 + from;
    }
    scale += blocks_of(p->count);
  }
  m->params = mem_alloc(m->n_tensors, sizeof *m->params);
  if (!m->params) return rw_nomem(err, "trained tensors");
  for (size_t i = 0; i < m->n_tensors; i++) m->params[i] = m->t[i].pub;
  m->training = true;
  return RW_OK;
}

/* Floats kept for the trained layers: of each what cut_acts lists or, when recomputing, its input, and the rest of
 * one layer. */
static size_t kept_floats(const model *m, size_t rows, size_t trained, bool recompute) {
  acts s;
  size_t all = cut_acts(m, &s, NULL, rows, true);
  return recompute ? all + trained * rows * m->cfg.hidden : all * (trained ? trained : 1);
}

uint64_t model_train_bytes(const model *m, const model_train_options *o, size_t n_tokens) {
  acts s;
  const model_config *c = &m->cfg;
  size_t freeze = frozen_layers(m, o);
  uint64_t trained = 0, frozen = 0, widest = 0, largest = 0, reopened = 0;
  for (size_t i = 0; i < m->n_tensors; i++) {
    const tensor *t = &m->t[i];
    bool is_trained = i >= first_trained(m, freeze);
    if (is_trained) trained += t->pub.count;
    if (is_trained && t->pub.count > largest) largest = t->pub.count;
    if (is_trained && i != (size_t)m->embed && o->reopened) /* of the embedding few rows are read */
      reopened += t->pub.count * st_dtype_size(o->save_dtype >= 0 ? (st_dtype)o->save_dtype : t->file_type);
    if (!is_trained) frozen += t->pub.count * (t->type == T_F32 ? 4 : 2); /* all pages of the mapping, in time */
    if (i != (size_t)m->embed && t->pub.count > widest) widest = t->pub.count;
  }
  uint64_t most = c->ff * 2 > qkv_width(c) ? c->ff * 2 : qkv_width(c), floats = 0;
  floats += kept_floats(m, n_tokens, c->layers - freeze, o->recompute) + lora_floats(m, n_tokens);
  if (freeze) floats += cut_acts(m, &s, NULL, n_tokens, false);
  /* m->h, m->a, m->dx, m->dh, m->dqkv, m->d_o; the packed factors of the widest product */
  floats += n_tokens * (uint64_t)(3 * c->hidden + c->ff + qkv_width(c) + q_width(c));
  floats += n_tokens * most + 2 * widest;
  if (largest > floats) floats = largest; /* saving, when the activations are given back */
  if (reopened / 4 > floats) floats = reopened / 4;
  return 4 * (2 * trained + floats) + frozen + (o->states_8bit ? 2 * trained + trained / 32 : 8 * trained);
}

/* The activations of trained layer l. When recomputing, all but x are those of the layer run last. */
static acts kept(const model *m, size_t l) {
  acts s;
  size_t rows = m->f.rows, each = cut_acts(m, &s, NULL, rows, true);
  cut_acts(m, &s, m->saved.p + (m->recompute ? 0 : each * (l - m->freeze)), rows, true);
  if (m->recompute) s.x = m->saved.p + each + (l - m->freeze) * rows * m->cfg.hidden;
  return s;
}

rw_status model_forward(model *m, const id_group *groups, size_t n, bool share, float *rewards, rw_error *err) {
  RW_TRY(batch_build(m, groups, n, share, err));
  if (m->f.n_branches == 0) return rw_fail(err, RW_DATA, "an empty batch");
  if (m->lora_dropout > 0) RW_TRY(lora_drop_keys(m, groups, n, err));
  const model_config *c = &m->cfg;
  size_t rows = m->f.rows, top = c->layers - m->freeze;
  acts s, low = {0};
  RW_TRY(prepare(m, err));
  RW_TRY(buffer_need(m, &m->saved, kept_floats(m, rows, top, m->recompute), "activations kept for training", err));
  RW_TRY(buffer_need(m, &m->dx, rows * c->hidden, "activations", err));
  if (m->freeze > 0) {
    RW_TRY(buffer_need(m, &m->work, cut_acts(m, &low, NULL, rows, false), "activations", err));
    cut_acts(m, &low, m->work.p, rows, false);
    RW_TRY(run_below(m, groups, n, share, true, &low, err));
    if (top > 0) m->be->copy(m->be, kept(m, m->freeze).x, low.x, rows * c->hidden);
  } else {
    s = kept(m, 0);
    RW_TRY(run_frozen(m, &s, 0, err));
  }
  /* the state after the last layer, [branches, H], stays in m->dx until the backward pass has used it */
  float *x = m->dx.p;
  for (size_t l = m->freeze; l < c->layers; l++) {
    s = kept(m, l);
    bool last = l + 1 == c->layers;
    RW_TRY(forward_layer(m, l, &s, last ? x : kept(m, l + 1).x, last, err));
  }
  if (top == 0) m->be->copy(m->be, x, low.x, m->f.n_branches * c->hidden);
  RW_TRY(head_run(m, x, rewards, err));
  RW_TRY(check(m, rewards, err));
  m->have_forward = true;
  return RW_OK;
}

/* Where a tensor's gradient goes; NULL when it is frozen. */
static float *grad_of(const model *m, int i) { return i >= 0 ? m->t[i].pub.grad : NULL; }

static void norm_bwd(model *m, float *dx, int norm, int bias, const float *dy, const float *x, const float *kept,
                     size_t rows, bool acc) {
  const model_config *c = &m->cfg;
  size_t h = c->hidden;
  if (c->layer_norm)
    m->be->layernorm_bwd(m->be, dx, grad_of(m, norm), grad_of(m, bias), dy, x, vec(m, norm), c->norm_offset, kept,
                         rows, h, acc);
  else
    m->be->rmsnorm_bwd(m->be, dx, h, grad_of(m, norm), dy, h, x, h, vec(m, norm), c->norm_offset, kept, rows, 1, h,
                       acc);
}

/* dx: in the gradient of the layer's output ([branches, H] when last), out that of its input ([rows, H]). */
static rw_status backward_layer(model *m, size_t l, bool last, rw_error *err) {
  const model_config *c = &m->cfg;
  const layer *y = &m->layers[l];
  backend *be = m->be;
  acts s = kept(m, l);
  if (m->recompute && !last) RW_TRY(forward_layer(m, l, &s, NULL, false, err)); /* the last one's are still there */
  size_t rows = last ? m->f.n_branches : m->f.rows, all = m->f.rows, h = c->hidden, q = q_width(c), ff = c->ff;
  float *dx = m->dx.p, *dh = m->dh.p;

  /* the MLP; da goes to d_a, dgate|dup over the kept gate|up */
  const float *dy = dx;
  if (c->post_norms) {
    norm_bwd(m, dh, y->norm_post_mlp, -1, dx, s.mlp_out, s.rstd_mlp, rows, false);
    dy = dh;
  }
  be->gated(be, m->a.p, s.gate_up, rows, ff, act_of(c));
  projection down = one(y->down, y->down_bias), gu = up_of(m, y), wo = one(y->o, y->o_bias), qkv = qkv_of(m, y);
  RW_TRY(model_linear_bwd(m, m->a.p, ff, dy, h, m->a.p, ff, &down, rows, err));
  be->gated_bwd(be, s.gate_up, m->a.p, s.gate_up, rows, ff, act_of(c));
  model_norm(m, m->h.p, s.x_mid, y->norm_mid, y->norm_mid_bias, rows, NULL);
  RW_TRY(model_linear_bwd(m, dh, h, s.gate_up, up_width(c), m->h.p, h, &gu, rows, err));
  norm_bwd(m, dx, y->norm_mid, y->norm_mid_bias, dh, s.x_mid, s.rstd_mid, rows, true);

  /* attention */
  dy = dx;
  if (c->post_norms) {
    norm_bwd(m, dh, y->norm_post_attn, -1, dx, s.attn_out, s.rstd_attn, rows, false);
    dy = dh;
  }
  const float *o = s.o;
  if (last) {
    be->gather(be, m->last_o.p, s.o, m->last, rows, q);
    o = m->last_o.p;
  }
  RW_TRY(model_linear_bwd(m, last ? m->last_o.p : m->d_o.p, q, dy, h, o, q, &wo, rows, err));
  if (last) { /* only the last tokens had a gradient so far */
    be->zero(be, m->d_o.p, all * q * sizeof(float));
    be->scatter(be, m->d_o.p, m->last_o.p, m->last, rows, q, false);
    be->copy(be, m->last_x.p, dx, rows * h);
    be->zero(be, dx, all * h * sizeof(float));
    be->scatter(be, dx, m->last_x.p, m->last, rows, h, false);
  }
  attention_shape a = shape_of(c, l);
  size_t ld = qkv_width(c), heads = c->q_heads + c->kv_heads, d = c->head_dim, r = c->rope_of[l];
  RW_TRY(be->attention_bwd(be, m->dqkv.p, ld, m->d_o.p, q, s.o, q, s.qkv, ld, s.lse, &m->f, &a, err));
  be->rope(be, m->dqkv.p, ld, &m->f, heads, d, m->cos[r].p, m->sin[r].p, c->rotary_dim / 2, -1.0f);
  if (c->qk_norm) {
    be->rmsnorm_bwd(be, m->dqkv.p, ld, grad_of(m, y->q_norm), m->dqkv.p, ld, s.qk, heads * d, vec(m, y->q_norm),
                    c->norm_offset, s.rstd_qk, all, c->q_heads, d, false);
    be->rmsnorm_bwd(be, m->dqkv.p + q, ld, grad_of(m, y->k_norm), m->dqkv.p + q, ld, s.qk + q, heads * d,
                    vec(m, y->k_norm), c->norm_offset, s.rstd_qk + all * c->q_heads, all, c->kv_heads, d, false);
  }
  model_norm(m, m->h.p, s.x, y->norm_in, y->norm_in_bias, all, NULL);
  float *dqkv = c->grouped_qkv ? m->a.p : m->dqkv.p;
  if (c->grouped_qkv) regroup(m, m->dqkv.p, dqkv, all, false);
  RW_TRY(model_linear_bwd(m, dh, h, dqkv, ld, m->h.p, h, &qkv, all, err));
  norm_bwd(m, dx, y->norm_in, y->norm_in_bias, dh, s.x, s.rstd_in, all, true);
  return RW_OK;
}

rw_status model_backward(model *m, const float *d_rewards, rw_error *err) {
  if (!m->have_forward) return rw_fail(err, RW_USAGE, "model_backward needs a model_forward before it");
  m->have_forward = false;
  const model_config *c = &m->cfg;
  backend *be = m->be;
  size_t rows = m->f.rows, nb = m->f.n_branches, h = c->hidden;
  RW_TRY(buffer_need(m, &m->dh, rows * h, "gradients", err));
  RW_TRY(buffer_need(m, &m->dqkv, rows * qkv_width(c), "gradients", err));
  RW_TRY(buffer_need(m, &m->d_o, rows * q_width(c), "gradients", err));
  RW_TRY(buffer_need(m, &m->d_rewards, nb, "gradients", err));
  be->upload(be, m->d_rewards.p, d_rewards, nb * sizeof(float));
  weight w = model_matrix(m, m->head, -1);
  RW_TRY(be->linear_dw(be, grad_of(m, m->head), m->d_rewards.p, 1, m->last_h.p, h, nb, NULL, 1, h, err));
  RW_TRY(be->linear_dx(be, m->dh.p, h, m->d_rewards.p, 1, &w, 1, nb, false, err));
  be->copy(be, m->last_x.p, m->dx.p, nb * h); /* the forward pass left the final state in dx */
  norm_bwd(m, m->dx.p, m->norm_final, m->norm_final_bias, m->dh.p, m->last_x.p, m->rstd_final.p, nb, false);
  for (size_t l = c->layers; l-- > m->freeze;) RW_TRY(backward_layer(m, l, l + 1 == c->layers, err));
  if (grad_of(m, m->embed)) be->embed_bwd(be, grad_of(m, m->embed), m->dx.p, m->ids, rows, h, c->embed_scale);
  return RW_OK;
}

void model_rest(model *m) {
  buffer *b[] = {&m->lora_u, &m->lora_du, &m->lora_x, &m->h,    &m->a,  &m->work,
                 &m->saved,  &m->dx,      &m->dh,     &m->dqkv, &m->d_o};
  for (size_t i = 0; i < sizeof b / sizeof *b; i++) {
    m->be->release(m->be, b[i]->p);
    *b[i] = (buffer){0};
  }
  st_forget(m->file); /* what is frozen is read from the file again */
  m->have_forward = false;
}

void model_end_training(model *m) {
  model_rest(m);
  void *block[] = {m->grads, m->m1, m->m2, m->codes};
  for (size_t i = 0; i < sizeof block / sizeof *block; i++)
    if (block[i]) m->be->release(m->be, block[i]);
  m->grads = m->m1 = m->m2 = NULL;
  m->codes = NULL;
  for (size_t i = 0; i < m->n_tensors; i++) {
    model_param *p = &m->t[i].pub;
    p->grad = p->m1 = p->m2 = NULL;
    p->q1 = p->q2 = (adamw8_state){NULL, NULL};
    m->params[i] = *p;
  }
}

void model_zero_grad(model *m) { m->be->zero(m->be, m->grads, m->n_trained * sizeof(float)); }

double model_grad_norm(model *m) { return sqrt(m->be->sum_squares(m->be, m->grads, m->n_trained)); }

void model_update(model *m, const model_adamw *o, double clip) {
  adamw_step s = {o->lr,
                  o->beta1,
                  o->beta2,
                  o->eps,
                  o->weight_decay,
                  1 - pow(o->beta1, (double)o->t),
                  1 - pow(o->beta2, (double)o->t),
                  o->t};
  for (size_t i = 0; i < m->n_tensors; i++) {
    const model_param *p = &m->t[i].pub;
    if (!p->value) continue;
    s.weight_decay = (p->is_norm && !o->decay_norm) || (p->is_bias && !o->decay_bias) ? 0 : o->weight_decay;
    if (p->q1.code)
      m->be->adamw8(m->be, p->value, p->grad, p->q1, p->q2, p->count, &s, (float)clip);
    else
      m->be->adamw(m->be, p->value, p->grad, p->m1, p->m2, p->count, &s, (float)clip);
  }
}
