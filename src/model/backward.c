/* backward.c - the decoder's backward pass: from the gradients of the rewards to those of what is trained.
 *
 * Norms' outputs and gated activations are not kept but computed again. A layer's kept gate|up is overwritten by
 * its gradient.
 */
#include "model/decoder.h"

/* From the gradient of the MLP's part of the layer's output to that of the state between attention and MLP, which
 * is added to dx. */
static void backward_mlp(model *m, size_t l, const acts *s, mat dx, row_set rows) {
  const model_config *c = &m->w->cfg;
  const layer *y = &m->w->layers[l];
  backend *be = m->be;
  size_t n = model_rows(m, rows);
  mat dy = dx, dh = model_wide(m, &m->dh, c->hidden), normed,
      gated = model_wide(m, &m->a, c->ff); /* [R, F], then its gradient */
  if (c->mixture[l]) {
    normed = model_input(m, s->x_mid, y->norm_mid, y->norm_mid_bias, rows, NULL);
    experts_backward(m, l, s, dx, normed, dh, rows);
    model_norm_bwd(m, dx, y->norm_mid, y->norm_mid_bias, dh, s->x_mid, s->rstd_mid, rows, true);
    return;
  }
  if (c->post_norms) {
    model_norm_bwd(m, dh, y->norm_post_mlp, -1, dx, s->mlp_out, s->rstd_mlp, rows, false);
    dy = dh;
  }
  be->gated(be, gated, s->gate_up, n, c->ff, act_of(c));
  model_linear_bwd(m, gated, dy, gated, down_of(y), rows);               /* [R, H] -> [R, F] */
  be->gated_bwd(be, s->gate_up, gated, s->gate_up, n, c->ff, act_of(c)); /* -> [R, 2F] */
  normed = model_input(m, s->x_mid, y->norm_mid, y->norm_mid_bias, rows, NULL);
  model_linear_bwd(m, dh, s->gate_up, normed, up_of(y), rows); /* -> [R, H] */
  if (c->pre_norms)
    model_norm_bwd(m, dx, y->norm_mid, y->norm_mid_bias, dh, s->x_mid, s->rstd_mid, rows, true);
  else
    be->add(be, dx, dh, n, c->hidden);
}

/* The gradient of attention's output, [R, QD], in m->d_o; from here on dx has all rows. */
static void backward_o(model *m, const layer *y, const acts *s, mat dx, bool last) {
  const model_config *c = &m->w->cfg;
  backend *be = m->be;
  size_t q = q_width(c), h = c->hidden, rows = m->rows.f.rows;
  mat dy = dx, dh = model_wide(m, &m->dh, h), d_o = model_mat(m, &m->d_o, q), last_o = model_wide(m, &m->last_o, q),
      last_x = model_mat(m, &m->last_x, h);
  row_set set = last ? ROWS_LAST : ROWS_ALL;
  if (c->post_norms) {
    model_norm_bwd(m, dh, y->norm_post_attn, -1, dx, s->attn_out, s->rstd_attn, set, false);
    dy = dh;
  }
  if (!last) {
    model_linear_bwd(m, d_o, dy, s->o, o_of(y), set);
    return;
  }
  be->gather(be, last_o, s->o, m->batch, q);
  model_linear_bwd(m, last_o, dy, last_o, o_of(y), set);
  /* only the last tokens had a gradient so far */
  be->zero(be, d_o.p, rows * q * type_size(d_o.type));
  be->scatter(be, d_o, last_o, m->batch, q, false);
  be->copy(be, last_x, dx, m->rows.n_last, h);
  be->zero(be, dx.p, rows * dx.ld * type_size(dx.type));
  be->scatter(be, dx, last_x, m->batch, h, false);
}

/* From m->d_o to the gradient of the layer's input, which is added to dx. */
static void backward_qkv(model *m, size_t l, const acts *s, mat dx) {
  const model_config *c = &m->w->cfg;
  const layer *y = &m->w->layers[l];
  backend *be = m->be;
  attention_shape a = shape_of(c, l);
  size_t q = q_width(c);
  mat dqkv = model_wide(m, &m->dqkv, qkv_width(c)), theirs = model_wide(m, &m->a, qkv_width(c)),
      dh = model_wide(m, &m->dh, c->hidden);
  be->attention_bwd(be, dqkv, model_mat(m, &m->d_o, q), s->o, s->qkv, s->lse, m->batch, &a);
  model_rope(m, dqkv, l, -1);
  if (c->qk_norm) {
    mat dk = mat_from(dqkv, 0, q);
    size_t groups = qk_groups(c, c->q_heads);
    be->rmsnorm_bwd(be, dqkv, grad_of(m, y->q_norm), dqkv, s->qk, vec(m, y->q_norm), c->norm_offset, s->rstd_qk,
                    m->batch, ROWS_ALL, groups, qk_norm_width(c, c->q_heads), false);
    be->rmsnorm_bwd(be, dk, grad_of(m, y->k_norm), dk, mat_from(s->qk, 0, q), vec(m, y->k_norm), c->norm_offset,
                    s->rstd_qk + m->rows.f.rows * groups, m->batch, ROWS_ALL, qk_groups(c, c->kv_heads),
                    qk_norm_width(c, c->kv_heads), false);
  }
  if (c->grouped_qkv) {
    regroup(m, dqkv, theirs, false);
    dqkv = theirs;
  }
  mat normed = model_input(m, s->x, y->norm_in, y->norm_in_bias, ROWS_ALL, NULL);
  model_linear_bwd(m, dh, dqkv, normed, qkv_of(y), ROWS_ALL); /* [R, (Q+2G)D] -> [R, H] */
  if (c->pre_norms)
    model_norm_bwd(m, dx, y->norm_in, y->norm_in_bias, dh, s->x, s->rstd_in, ROWS_ALL, true);
  else
    be->add(be, dx, dh, m->rows.f.rows, c->hidden);
}

/* m->dx: in the gradient of the layer's output ([n_last, H] when last), out that of its input ([R, H]). */
static void backward_layer(model *m, size_t l, bool last) {
  const layer *y = &m->w->layers[l];
  acts s = kept_acts(m, l);
  mat dx = model_wide(m, &m->dx, m->w->cfg.hidden);
  if (!last) forward_again(m, l, &s); /* the last one's are still there */
  backward_mlp(m, l, &s, dx, last ? ROWS_LAST : ROWS_ALL);
  backward_o(m, y, &s, dx, last);
  backward_qkv(m, l, &s, dx);
}

rw_status model_backward(model *m, const float *d_rewards, rw_error *err) {
  if (!m->have_forward) return rw_fail(err, RW_USAGE, "model_backward needs a model_forward before it");
  m->have_forward = false;
  const model_config *c = &m->w->cfg;
  backend *be = m->be;
  size_t rows = m->rows.f.rows, nb = m->rows.f.n_branches, h = c->hidden, room = lora_room(m);
  tensor_type act = be->traits.act;
  RW_TRY(buffer_need(m, &m->dx, rows, h + room, act, err));
  RW_TRY(buffer_need(m, &m->dh, rows, h + room, act, err));
  RW_TRY(buffer_need(m, &m->dqkv, rows, qkv_width(c) + room, act, err));
  RW_TRY(buffer_need(m, &m->d_o, rows, q_width(c), act, err));
  RW_TRY(buffer_need(m, &m->d_rewards, nb, 1, T_F32, err));
  mat dr = mat_f32(m->d_rewards.p, 1), dx = model_wide(m, &m->dx, h), dh = model_wide(m, &m->dh, h);
  be->put(be, dr.p, d_rewards, nb * sizeof *d_rewards);
  RW_TRY(gathered_backward(m, err));
  bool adapters = m->w->lora_rank > 0; /* then all that is trained is one unit */
  size_t rest = shards_rest(m), embed = shards_embed(m);
  gathered_need_down(m, rest);
  gathered_begin_grad(m, rest);
  head_backward(m, dr, dh);
  model_norm_bwd(m, dx, m->w->norm_final, m->w->norm_final_bias, dh, model_mat(m, &m->final, h), m->rstd_final.p,
                 ROWS_LAST, false);
  if (!adapters) shards_done(m, rest);
  for (size_t l = c->layers; l-- > m->tr.freeze;) {
    size_t u = shards_layer(m, l);
    gathered_need_down(m, u);
    gathered_begin_grad(m, u);
    backward_layer(m, l, l + 1 == c->layers);
    shards_done(m, u);
  }
  gathered_begin_grad(m, embed);
  if (grad_of(m, m->w->embed)) be->embed_bwd(be, grad_of(m, m->w->embed), dx, m->batch, h, c->embed_scale);
  shards_done(m, adapters ? rest : embed);
  RW_TRY(gathered_backward_end(m, err));
  return be->sync(be, err);
}
