/* ops.c - the decoder's parts: weights as operands, norms, projections, rotary tables, and the memory that passes
 * work in.
 *
 * R rows of the batch, H hidden, F ff, Q/G query and key-value heads, D head size.
 */
#include <math.h>
#include <string.h>

#include "model/decoder.h"

/* ---- memory ---- */

static size_t padded(const model *m, size_t rows) {
  size_t to = m->be->traits.row_align;
  return (rows + to - 1) / to * to;
}

rw_status buffer_need(model *m, buffer *b, size_t rows, size_t columns, tensor_type type, rw_error *err) {
  return buffer_need_bytes(m, b, padded(m, rows) * columns * type_size(type), err);
}

rw_status buffer_need_bytes(model *m, buffer *b, size_t bytes, rw_error *err) {
  size_t rows = m->rows.f.rows;
  if (bytes <= b->cap) return RW_OK;
  /* at once for the largest pass: each growth would have all pages made anew; those not touched take no memory */
  size_t each = rows ? bytes / rows + sizeof(float) : 0;
  if (m->tr.most_rows > rows) bytes += (m->tr.most_rows - rows) * each;
  m->be->release(m->be, MEM_DEVICE, b->p);
  b->p = m->be->alloc(m->be, MEM_DEVICE, bytes);
  b->cap = b->p ? bytes : 0;
  return b->p ? RW_OK : rw_nomem(err, "activations");
}

mat model_mat(const model *m, const buffer *b, size_t columns) { return (mat){b->p, columns, m->be->traits.act}; }
size_t lora_room(const model *m) { return m->be->traits.join_align ? m->w->lora_room : 0; }
mat model_wide(const model *m, const buffer *b, size_t columns) { return model_mat(m, b, columns + lora_room(m)); }
size_t model_rows(const model *m, row_set rows) { return rows == ROWS_ALL ? m->rows.f.rows : m->rows.n_last; }

/* What cut_acts cuts from: the first `own` bytes from base, what follows from rest. base NULL: only counts. */
typedef struct {
  const model *m;
  char *base, *rest;
  size_t own, rows, used;
} cutter;

static void *cut(cutter *c, size_t columns, tensor_type type) {
  void *p = !c->base ? NULL : c->used < c->own ? c->base + c->used : c->rest + (c->used - c->own);
  c->used += (padded(c->m, c->rows) * columns * type_size(type) + 63) & ~(size_t)63;
  return p;
}
static mat cut_mat(cutter *c, size_t columns) {
  tensor_type act = c->m->be->traits.act;
  return (mat){cut(c, columns, act), columns, act};
}
static float *cut_f32(cutter *c, size_t columns) { return cut(c, columns, T_F32); }

static size_t gate_up_columns(const model *m) {
  const model_config *c = &m->w->cfg;
  size_t mixed = c->n_experts ? 2 * c->experts_per_token * c->expert_ff : 0;
  return (mixed > up_width(c) ? mixed : up_width(c)) + lora_room(m);
}

/* What a layer keeps for itself comes first: x alone, all but gate_up, or all. */
static size_t cut_from(cutter at, acts *s, bool keep) {
  const model_config *c = &at.m->w->cfg;
  size_t h = c->hidden, stats = c->layer_norm ? 2 : 1;
  memset(s, 0, sizeof *s);
  s->x = cut_mat(&at, h);
  s->qkv = cut_mat(&at, qkv_width(c));
  s->o = cut_mat(&at, q_width(c) + lora_room(at.m));
  if (c->n_experts) s->router = cut_f32(&at, c->n_experts);
  if (c->post_norms) {
    s->attn_out = cut_mat(&at, h);
    s->mlp_out = keep ? cut_mat(&at, h) : s->attn_out;
  }
  s->x_mid = keep ? cut_mat(&at, h) : s->x;
  if (keep) {
    s->lse = cut_f32(&at, c->q_heads);
    s->rstd_in = cut_f32(&at, stats);
    s->rstd_mid = cut_f32(&at, stats);
  }
  if (keep && c->post_norms) {
    s->rstd_attn = cut_f32(&at, 1);
    s->rstd_mlp = cut_f32(&at, 1);
  }
  if (keep && c->qk_norm) {
    s->qk = cut_mat(&at, qk_width(c));
    s->rstd_qk = cut_f32(&at, c->q_heads + c->kv_heads);
  }
  s->gate_up = cut_mat(&at, gate_up_columns(at.m));
  return at.used;
}

size_t cut_acts(const model *m, acts *s, void *base, size_t rows, bool keep) {
  return cut_from((cutter){.m = m, .base = base, .own = SIZE_MAX, .rows = rows}, s, keep);
}

/* How much of `all`, a layer's activations, it keeps for itself; the rest is that of the layer run last. */
static size_t own_bytes(const model *m, size_t rows, recomputation r, size_t all) {
  cutter at = {.m = m, .rows = rows};
  if (r == RECOMPUTE_NO) return all;
  cut_mat(&at, r == RECOMPUTE_FULL ? m->w->cfg.hidden : gate_up_columns(m));
  return r == RECOMPUTE_FULL ? at.used : all - at.used;
}

size_t kept_bytes(const model *m, size_t rows, size_t trained, recomputation r) {
  acts s;
  size_t all = cut_acts(m, &s, NULL, rows, true), own = own_bytes(m, rows, r, all);
  return own * (trained ? trained : 1) + (all - own);
}

acts kept_acts(const model *m, size_t l) {
  acts s;
  size_t rows = m->rows.f.rows, all = cut_acts(m, &s, NULL, rows, true),
         own = own_bytes(m, rows, m->tr.recompute, all);
  char *base = m->saved.p;
  cut_from((cutter){.m = m,
                    .base = base + own * (l - m->tr.freeze),
                    .rest = base + own * (m->w->cfg.layers - m->tr.freeze),
                    .own = own,
                    .rows = rows},
           &s, true);
  return s;
}

/* ---- weights ---- */

const float *vec(const model *m, int i) {
  const tensor *t = &m->w->t[i];
  return t->pub.w.value ? t->pub.w.value : t->data;
}
weight model_matrix(const model *m, int i, int bias) {
  const tensor *t = &m->w->t[i];
  bool trained = t->pub.w.value != NULL;
  return (weight){.data = trained ? t->pub.w.value : t->data,
                  .type = trained ? t->pub.w.type : t->type,
                  .out = t->pub.rows,
                  .in = t->cols,
                  .ld = t->ld ? t->ld : t->cols,
                  .bias = bias >= 0 ? vec(m, bias) : NULL};
}
float *grad_of(const model *m, int i) { return i >= 0 ? m->w->t[i].pub.grad : NULL; }

static projection one(int w, int bias) { return (projection){1, {w}, {bias}}; }
projection qkv_of(const layer *y) {
  if (y->k < 0) return one(y->q, y->q_bias);
  return (projection){3, {y->q, y->k, y->v}, {y->q_bias, y->k_bias, y->v_bias}};
}
projection o_of(const layer *y) { return one(y->o, y->o_bias); }
projection up_of(const layer *y) {
  if (y->gate < 0) return one(y->up, y->up_bias);
  return (projection){2, {y->gate, y->up}, {y->gate_bias, y->up_bias}};
}
projection down_of(const layer *y) { return one(y->down, y->down_bias); }

/* ---- norms ---- */

void model_norm(model *m, mat y, mat x, int w, int bias, row_set rows, float *kept) {
  const model_config *c = &m->w->cfg;
  size_t h = c->hidden, n = model_rows(m, rows);
  if (c->layer_norm)
    m->be->layernorm(m->be, y, x, vec(m, w), vec(m, bias), c->norm_offset, c->norm_eps, n, h, kept);
  else
    m->be->rmsnorm(m->be, y, x, vec(m, w), c->norm_offset, c->norm_eps, n, 1, h, kept);
}

mat model_input(model *m, mat x, int norm, int bias, row_set rows, float *kept) {
  size_t h = m->w->cfg.hidden;
  mat in = model_wide(m, &m->h, h);
  if (m->w->cfg.pre_norms)
    model_norm(m, in, x, norm, bias, rows, kept);
  else if (lora_room(m))
    m->be->copy(m->be, in, x, model_rows(m, rows), h);
  else
    return x;
  return in;
}

void model_norm_bwd(model *m, mat dx, int w, int bias, mat dy, mat x, const float *kept, row_set rows, bool acc) {
  const model_config *c = &m->w->cfg;
  size_t h = c->hidden;
  if (c->layer_norm)
    m->be->layernorm_bwd(m->be, dx, grad_of(m, w), grad_of(m, bias), dy, x, vec(m, w), c->norm_offset, kept,
                         m->batch, rows, h, acc);
  else
    m->be->rmsnorm_bwd(m->be, dx, grad_of(m, w), dy, x, vec(m, w), c->norm_offset, kept, m->batch, rows, 1, h, acc);
}

/* ---- attention ---- */

attention_shape shape_of(const model_config *c, size_t l) {
  return (attention_shape){.q_heads = c->q_heads,
                           .kv_heads = c->kv_heads,
                           .head_dim = c->head_dim,
                           .scale = c->attn_scale,
                           .softcap = c->attn_softcap,
                           .window = c->window[l]};
}

void model_rope(model *m, mat qk, size_t l, float sign) {
  const model_config *c = &m->w->cfg;
  size_t r = c->rope_of[l];
  if (r == MODEL_NO_ROPE) return;
  m->be->rope(m->be, qk, m->batch, c->q_heads + c->kv_heads, c->head_dim, m->cos[r].p, m->sin[r].p,
              c->rotary_dim / 2, sign);
}

void regroup(model *m, mat ours, mat theirs, bool to_ours) {
  const model_config *c = &m->w->cfg;
  size_t d = c->head_dim, per = c->q_heads / c->kv_heads;
  for (size_t g = 0; g < c->kv_heads; g++) {
    size_t group = g * (per + 2) * d;
    const struct {
      size_t a, b, n; /* columns: ours, theirs, how many */
    } part[3] = {{g * per * d, group, per * d},
                 {(c->q_heads + g) * d, group + per * d, d},
                 {(c->q_heads + c->kv_heads + g) * d, group + (per + 1) * d, d}};
    for (int i = 0; i < 3; i++) {
      mat a = mat_from(ours, 0, part[i].a), b = mat_from(theirs, 0, part[i].b);
      m->be->copy(m->be, to_ours ? a : b, to_ours ? b : a, m->rows.f.rows, part[i].n);
    }
  }
}

/* ---- rotary tables ---- */

/* Frequencies as Hugging Face's modeling_rope_utils computes them, in f32; llama3: Llama 3.1's smoothing; yarn: a
 * ramp between a frequency and its interpolation. */
static void rope_frequencies(const rope_config *r, size_t dim, bool is_long, float *inv) {
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
    if (r->kind == ROPE_LONG) f /= (double)(is_long ? r->long_factor[i] : r->short_factor[i]);
    inv[i] = (float)f;
  }
}

rw_status rope_tables(model *m, size_t which, size_t positions, rw_error *err) {
  if (which == MODEL_NO_ROPE || positions <= m->rope_positions[which]) return RW_OK;
  positions = (positions + 511) / 512 * 512;
  size_t half = m->w->cfg.rotary_dim / 2;
  double scale = m->w->cfg.ropes[which].attention_factor;
  size_t rows = (m->w->cfg.ropes[which].kind == ROPE_LONG ? 2 : 1) *
                positions; /* the short conversations' rows, then the long ones' */
  float *inv = mem_alloc(half, sizeof *inv), *t = mem_alloc(2 * rows * half, sizeof *t);
  rw_status s = inv && t ? RW_OK : rw_nomem(err, "rotary tables");
  if (!s) s = buffer_need(m, &m->cos[which], rows, half, T_F32, err);
  if (!s) s = buffer_need(m, &m->sin[which], rows, half, T_F32, err);
  if (!s) {
    for (size_t part = 0, r = 0; r < rows; part++) {
      rope_frequencies(&m->w->cfg.ropes[which], m->w->cfg.rotary_dim, part == 1, inv);
      for (size_t p = 0; p < positions; p++, r++)
        for (size_t k = 0; k < half; k++) {
          float angle = (float)p * inv[k];
          t[r * half + k] = (float)(cos((double)angle) * scale);
          t[(rows + r) * half + k] = (float)(sin((double)angle) * scale);
        }
    }
    m->be->put(m->be, m->cos[which].p, t, rows * half * sizeof(float));
    m->be->put(m->be, m->sin[which].p, t + rows * half, rows * half * sizeof(float));
    m->rope_positions[which] = positions;
  }
  mem_free(inv);
  mem_free(t);
  return s;
}
