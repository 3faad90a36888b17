/* forward.c - the decoder's forward pass over a forest of conversations, and what is asked of it: rewards, states.
 *
 * One code path for all families; what differs is in model_config. Only the last token of each conversation (and a
 * gated head's token) goes through the last layer's output projection, its MLP and the head. Scoring keeps nothing;
 * training keeps, for each trained layer, what `acts` lists.
 */
#include <math.h>
#include <string.h>

#include "model/decoder.h"

/* y = x + f(x) ends here: out = base + branch·w, or with post norms base + norm(branch·w). out may be base, or
 * NULL with post norms when only kept and rstd are wanted. */
static void add_branch(model *m, const mat *out, mat base, mat branch, projection w, row_set rows, int post_norm,
                       mat kept, float *rstd) {
  backend *be = m->be;
  size_t h = m->w->cfg.hidden, n = model_rows(m, rows);
  mat normed = model_mat(m, &m->h, h);
  if (post_norm >= 0) {
    model_linear(m, kept, branch, w, rows, false);
    model_norm(m, normed, kept, post_norm, -1, rows, rstd);
  }
  if (!out) return;
  if (out->p != base.p) be->copy(be, *out, base, n, h);
  if (post_norm >= 0)
    be->add(be, *out, normed, n, h);
  else
    model_linear(m, *out, branch, w, rows, true);
}

/* Normalises the layer's input and projects it; then per-head norms and rotation: s->qkv from s->x. */
static void project_qkv(model *m, size_t l, acts *s) {
  const model_config *c = &m->w->cfg;
  const layer *y = &m->w->layers[l];
  backend *be = m->be;
  size_t rows = m->rows.f.rows, q = q_width(c);
  mat normed = model_input(m, s->x, y->norm_in, y->norm_in_bias, ROWS_ALL, s->rstd_in),
      theirs = model_wide(m, &m->a, qkv_width(c));
  model_linear(m, c->grouped_qkv ? theirs : s->qkv, normed, qkv_of(y), ROWS_ALL, false);
  if (c->grouped_qkv) regroup(m, s->qkv, theirs, true);
  if (c->qk_norm) { /* with nothing to keep, in place; else from the kept copy */
    mat from = s->qk.p ? s->qk : s->qkv;
    if (s->qk.p) be->copy(be, s->qk, s->qkv, rows, qk_width(c));
    size_t groups = qk_groups(c, c->q_heads);
    be->rmsnorm(be, s->qkv, from, vec(m, y->q_norm), c->norm_offset, c->norm_eps, rows, groups,
                qk_norm_width(c, c->q_heads), s->rstd_qk);
    be->rmsnorm(be, mat_from(s->qkv, 0, q), mat_from(from, 0, q), vec(m, y->k_norm), c->norm_offset, c->norm_eps,
                rows, qk_groups(c, c->kv_heads), qk_norm_width(c, c->kv_heads),
                s->rstd_qk ? s->rstd_qk + rows * groups : NULL);
  }
  model_rope(m, s->qkv, l, 1);
}

/* Keeps the keys and values of rows that fill blocks of the prefix cache, and fetches those that are known. Kept
 * first: a tree may know what another of this pass computes. */
static mat exchange_known(model *m, size_t l, mat qkv) {
  const model_config *c = &m->w->cfg;
  backend *be = m->be;
  size_t width = 2 * c->kv_heads * c->head_dim;
  mat known = model_mat(m, &m->known, width);
  for (size_t i = 0; i < m->n_new_blocks; i++)
    be->copy(be, prefix_block_at(m->prefixes, m->new_blocks[i].block, l),
             mat_from(qkv, m->new_blocks[i].row, q_width(c)), PREFIX_BLOCK, width);
  for (size_t i = 0; i < m->n_known_blocks; i++)
    be->copy(be, mat_from(known, i * PREFIX_BLOCK, 0), prefix_block_at(m->prefixes, m->known_blocks[i], l),
             PREFIX_BLOCK, width);
  return known;
}

/* The MLP's first half, from s->x_mid: s->gate_up; all of a mixture, which gives out where that is wanted. */
static void forward_up(model *m, size_t l, acts *s, const mat *out, row_set rows) {
  const layer *y = &m->w->layers[l];
  mat normed = model_input(m, s->x_mid, y->norm_mid, y->norm_mid_bias, rows, s->rstd_mid);
  if (m->w->cfg.mixture[l])
    experts_forward(m, l, s, normed, out, rows);
  else
    model_linear(m, s->gate_up, normed, up_of(y), rows, false);
}

void forward_layer(model *m, size_t l, acts *s, const mat *out, bool last) {
  const model_config *c = &m->w->cfg;
  const layer *y = &m->w->layers[l];
  backend *be = m->be;
  attention_shape a = shape_of(c, l);
  row_set rows = last ? ROWS_LAST : ROWS_ALL;
  mat gated = model_wide(m, &m->a, c->ff), o = s->o, x = s->x;
  project_qkv(m, l, s); /* [R, H] -> [R, (Q+2G)D] */
  if (m->n_new_blocks || m->n_known_blocks) a.known = exchange_known(m, l, s->qkv);
  be->attention(be, s->o, s->qkv, m->batch, &a, s->lse); /* -> [R, QD] */
  if (last) {
    o = model_wide(m, &m->last_o, q_width(c));
    x = model_mat(m, &m->last_x, c->hidden);
    be->gather(be, o, s->o, m->batch, q_width(c));
    be->gather(be, x, s->x, m->batch, c->hidden);
  }
  add_branch(m, &s->x_mid, x, o, o_of(y), rows, y->norm_post_attn, s->attn_out, s->rstd_attn); /* -> [R, H] */
  forward_up(m, l, s, out, rows);                                                              /* -> [R, 2F] */
  if (c->mixture[l] || (!out && !c->post_norms)) return;
  be->gated(be, gated, s->gate_up, model_rows(m, rows), c->ff, act_of(c));                          /* -> [R, F] */
  add_branch(m, out, s->x_mid, gated, down_of(y), rows, y->norm_post_mlp, s->mlp_out, s->rstd_mlp); /* -> [R, H] */
}

void forward_again(model *m, size_t l, acts *s) {
  if (m->tr.recompute == RECOMPUTE_FULL) forward_layer(m, l, s, NULL, false);
  if (m->tr.recompute == RECOMPUTE_MLP) forward_up(m, l, s, NULL, ROWS_ALL);
}

/* Lays the groups out as this pass's batch, with its rotary tables and buffers. */
static rw_status prepare(model *m, const id_group *groups, size_t n, bool share, bool drop, rw_error *err) {
  const model_config *c = &m->w->cfg;
  RW_TRY(batch_build(m, groups, n, share, err));
  if (m->rows.f.n_branches == 0) return RW_OK;
  if (drop) RW_TRY(lora_drop_keys(m, groups, n, err));
  size_t rows = m->rows.f.rows, last = m->rows.n_last, positions = 0, room = lora_room(m);
  tensor_type act = m->be->traits.act;
  for (size_t i = 0; i < rows; i++)
    if ((size_t)m->pos[i] >= positions) positions = (size_t)m->pos[i] + 1;
  for (size_t i = 0; i < c->layers; i++) RW_TRY(rope_tables(m, c->rope_of[i], positions, err));
  if (c->ropes[0].kind == ROPE_LONG) batch_long_rows(m, m->rope_positions[0]);
  RW_TRY(m->be->batch_make(m->be, &m->batch, &m->rows, err));
  size_t wide = c->grouped_qkv && qkv_width(c) > c->ff ? qkv_width(c) : c->ff;
  RW_TRY(buffer_need(m, &m->h, rows, c->hidden + room, act, err));
  RW_TRY(buffer_need(m, &m->a, rows, wide + room, act, err));
  RW_TRY(buffer_need(m, &m->last_x, last, c->hidden, act, err));
  RW_TRY(buffer_need(m, &m->last_o, last, q_width(c) + room, act, err));
  RW_TRY(buffer_need(m, &m->last_h, last, c->hidden, act, err));
  RW_TRY(buffer_need(m, &m->rstd_final, last, 2, T_F32, err));
  RW_TRY(lora_need(m, err));
  RW_TRY(experts_need(m, err));
  RW_TRY(buffer_need_bytes(m, &m->known, m->known_rows * 2 * c->kv_heads * c->head_dim * type_size(act), err));
  return head_need(m, err);
}

/* Working memory of layers that keep nothing. */
static rw_status scoring_acts(model *m, acts *s, rw_error *err) {
  size_t rows = m->rows.f.rows;
  RW_TRY(buffer_need_bytes(m, &m->work, cut_acts(m, s, NULL, rows, false), err));
  cut_acts(m, s, m->work.p, rows, false);
  return RW_OK;
}

static void embed(model *m, mat x) {
  gathered_need_up(m, shards_embed(m));
  weight e = model_matrix(m, m->w->embed, -1);
  m->be->embed(m->be, x, &e, m->batch, m->w->cfg.embed_scale);
}

static void run_layer(model *m, size_t l, acts *s, mat out) {
  gathered_need_up(m, shards_layer(m, l));
  forward_layer(m, l, s, &out, l + 1 == m->w->cfg.layers);
}

/* Runs layers [from, end) with nothing kept; the state is in s->x. */
static void run_layers(model *m, acts *s, size_t from, size_t end) {
  for (size_t l = from; l < end; l++) run_layer(m, l, s, s->x);
}

static rw_status run_head(model *m, mat x, float *rewards, rw_error *err) {
  gathered_need_up(m, shards_rest(m));
  return head_run(m, x, rewards, err);
}

/* The embedding and layers [0, end) with nothing kept; the state is in s->x. */
static void run_below(model *m, acts *s, size_t end) {
  embed(m, s->x);
  run_layers(m, s, 0, end);
}

/* The state before the first trained layer, computed or as it was the last time. */
static rw_status run_frozen(model *m, const id_group *groups, size_t n, bool share, bool forward, acts *s,
                            rw_error *err) {
  if (frozen_fetch(m, groups, n, share, forward, s->x)) return RW_OK;
  run_below(m, s, m->tr.freeze);
  return frozen_store(m, groups, n, share, forward, s->x, err);
}

static bool has_bad(const model *m, mat x, size_t rows, size_t columns) {
  return m->be->first_bad(m->be, x, rows, columns) < rows * columns;
}

/* Which step of layer l first gave a number that is not finite; s as forward_layer left it, keeping nothing. */
static rw_status blame_layer(const model *m, const acts *s, size_t l, bool last, size_t row, const char *advice,
                             rw_error *err) {
  const layer *y = &m->w->layers[l];
  size_t rows = m->rows.f.rows, end = last ? m->rows.n_last : rows, token = last ? m->last[row] : row;
  const model_config *c = &m->w->cfg;
  bool mixed = c->mixture[l];
  int up = mixed ? y->experts : y->up, down = mixed ? y->experts + 2 : y->down;
  const char *what = "the input or output of", *name = m->w->t[down].pub.name;
  if (has_bad(m, s->qkv, rows, qkv_width(c)))
    name = m->w->t[y->q].pub.name, what = "the projections to query, key and value, from";
  else if (has_bad(m, s->o, rows, q_width(c)))
    name = m->w->t[y->o].pub.name, what = "the attention before";
  else if (mixed ? has_bad(m, mat_f32(s->router, c->n_experts), end, c->n_experts)
                 : has_bad(m, s->gate_up, end, up_width(c)))
    name = m->w->t[up].pub.name, what = "the projections from the normalised state, with";
  return rw_fail(err, RW_NUMERIC, "layer %zu: %s %s is not finite at token %d of its conversation; %s", l, what,
                 name, m->pos[token], advice);
}

/* Runs the batch layer by layer, to say where it first was not finite. */
static rw_status blame_layers(model *m, bool training, rw_error *err) {
  acts s;
  size_t h = m->w->cfg.hidden;
  RW_TRY(scoring_acts(m, &s, err));
  for (size_t l = 0; l <= m->w->cfg.layers; l++) {
    if (l == 0)
      run_below(m, &s, 0);
    else
      run_layer(m, l - 1, &s, s.x);
    size_t rows = model_rows(m, l == m->w->cfg.layers ? ROWS_LAST : ROWS_ALL),
           bad = m->be->first_bad(m->be, s.x, rows, h);
    RW_TRY(m->be->sync(m->be, err));
    if (bad == rows * h) continue;
    if (l == 0)
      return rw_fail(err, RW_NUMERIC, "the embedding of token %d is not finite; the checkpoint is damaged",
                     m->ids[bad / h]);
    return blame_layer(m, &s, l - 1, l == m->w->cfg.layers, bad / h,
                       training ? "a lower learning rate or another " FIELD(dtype) " may help"
                                : "another " FIELD(dtype) " may help",
                       err);
  }
  return rw_fail(err, RW_NUMERIC, "the reward head's output is not finite%s",
                 training ? "; a lower learning rate may help" : "");
}

/* A reward is not finite. */
static rw_status blame(model *m, bool training, rw_error *err) {
  size_t at;
  const char *name = model_bad_weight(m, &at);
  if (name) return rw_fail(err, RW_NUMERIC, "tensor %s: the weight at index %zu is not finite", name, at);
  RW_TRY(gathered_forward(m, err));
  return gathered_forward_end(m, blame_layers(m, training, err), err);
}

static rw_status check(model *m, const float *rewards, bool training, rw_error *err) {
  for (size_t i = 0; i < m->rows.f.n_branches; i++)
    if (!isfinite(rewards[i])) return blame(m, training, err);
  return RW_OK;
}

static rw_status run_scoring(model *m, const id_group *groups, size_t n, bool share, acts *s, float *rewards,
                             rw_error *err) {
  RW_TRY(run_frozen(m, groups, n, share, false, s, err));
  run_layers(m, s, m->tr.freeze, m->w->cfg.layers);
  return run_head(m, s->x, rewards, err);
}

static rw_status score(model *m, const id_group *groups, size_t n, bool share, float *rewards, rw_error *err) {
  acts s;
  RW_TRY(prepare(m, groups, n, share, false, err));
  if (m->rows.f.n_branches == 0) return RW_OK;
  RW_TRY(scoring_acts(m, &s, err));
  RW_TRY(gathered_forward(m, err));
  RW_TRY(gathered_forward_end(m, run_scoring(m, groups, n, share, &s, rewards, err), err));
  return check(m, rewards, false, err);
}

rw_status model_score(model *m, const id_group *groups, size_t n, bool share, float *rewards, rw_error *err) {
  rw_status s = score(m, groups, n, share, rewards, err);
  if (m->prefixes) prefix_cache_release_all(m->prefixes, s == RW_OK);
  return s;
}

rw_status model_keep_prefixes(model *m, uint64_t max_bytes, rw_error *err) {
  const model_config *c = &m->w->cfg;
  if (max_bytes == PREFIXES_DEFAULT) {
    if (!m->be->traits.maps_host || !m->be->traits.takes_known || c->ropes[0].kind == ROPE_LONG) return RW_OK;
    max_bytes = 256 << 20;
  }
  if (!m->be->traits.takes_known)
    return rw_fail(err, RW_UNSUPPORTED,
                   FIELD(prefix_cache) ": device %s cannot use keys that were kept; leave it out",
                   m->be->traits.name);
  if (c->ropes[0].kind == ROPE_LONG)
    return rw_fail(err, RW_UNSUPPORTED,
                   FIELD(prefix_cache) ": with longrope keys depend on a conversation's length; leave it out");
  return prefix_cache_new(&m->prefixes, m->be, c->layers, 2 * c->kv_heads * c->head_dim, max_bytes, err);
}

prefix_figures model_prefix_figures(const model *m) {
  return m->prefixes ? prefix_cache_figures(m->prefixes) : (prefix_figures){0};
}

static rw_status run_training(model *m, const id_group *groups, size_t n, bool share, float *rewards,
                              rw_error *err) {
  const model_config *c = &m->w->cfg;
  backend *be = m->be;
  size_t rows = m->rows.f.rows, last = m->rows.n_last, trained = c->layers - m->tr.freeze;
  mat final = model_mat(m, &m->final, c->hidden);
  if (m->tr.freeze > 0) {
    acts below;
    RW_TRY(scoring_acts(m, &below, err));
    RW_TRY(run_frozen(m, groups, n, share, true, &below, err));
    if (trained > 0)
      be->copy(be, kept_acts(m, m->tr.freeze).x, below.x, rows, c->hidden);
    else
      be->copy(be, final, below.x, last, c->hidden);
  } else {
    embed(m, kept_acts(m, 0).x);
  }
  for (size_t l = m->tr.freeze; l < c->layers; l++) {
    acts s = kept_acts(m, l);
    run_layer(m, l, &s, l + 1 == c->layers ? final : kept_acts(m, l + 1).x);
  }
  return run_head(m, final, rewards, err);
}

void model_piece_by(model *m, const size_t *piece) { m->tr.pass_piece = piece; }

rw_status model_forward(model *m, const id_group *groups, size_t n, bool share, float *rewards, rw_error *err) {
  rw_status s = prepare(m, groups, n, share, m->tr.dropout > 0, err);
  m->tr.pass_piece = NULL;
  RW_TRY(s);
  if (m->rows.f.n_branches == 0) return rw_fail(err, RW_DATA, "an empty batch");
  size_t rows = m->rows.f.rows, trained = m->w->cfg.layers - m->tr.freeze;
  RW_TRY(buffer_need_bytes(m, &m->saved, kept_bytes(m, rows, trained, m->tr.recompute), err));
  RW_TRY(buffer_need(m, &m->final, m->rows.n_last, m->w->cfg.hidden, m->be->traits.act, err));
  RW_TRY(gathered_forward(m, err));
  RW_TRY(gathered_forward_end(m, run_training(m, groups, n, share, rewards, err), err));
  RW_TRY(check(m, rewards, true, err));
  m->have_forward = true;
  return RW_OK;
}

rw_status model_hidden(model *m, const int32_t *ids, size_t len, size_t l, float *out, rw_error *err) {
  id_group g = {&ids, &len, 1};
  size_t h = m->w->cfg.hidden;
  acts s;
  RW_TRY(prepare(m, &g, 1, false, false, err));
  RW_TRY(scoring_acts(m, &s, err));
  embed(m, s.x);
  for (size_t i = 0; i < l; i++) forward_layer(m, i, &s, &s.x, false);
  buffer f32 = {0};
  RW_TRY(buffer_need(m, &f32, len, h, T_F32, err));
  m->be->copy(m->be, mat_f32(f32.p, h), s.x, len, h);
  m->be->get(m->be, out, f32.p, len * h * sizeof(float));
  m->be->release(m->be, MEM_DEVICE, f32.p);
  return m->be->sync(m->be, err);
}
