/* lora.c - low-rank adapters (Hu et al. 2021) on the projections: y = W·x + s·B·(A·drop(x)), with W frozen.
 *
 * A [rank, in] and B [out, rank] are tensors of the model like others; they stand after the head, so that head and
 * adapters are what is trained. All products of the decoder go through model_linear and model_linear_bwd, with or
 * without adapters. Files: lora_file.c.
 *
 * The thin products read and write much for little work. Where the backend joins adapters, s·B stands in columns
 * behind W, zeros beside it where other projections read the same input, and u = drop(x)·Aᵀ behind x: forward is
 * one product, [x | u]·[W | s·B]ᵀ. All A's of one input are rows below the last of its projections, and du = s·dy·B
 * stands behind dy: so is backward, [dy | du]·[W; A], but with dropout. What is trained are A and B; what stands in
 * the matrices is rounded from them.
 */
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/rng.h"
#include "model/decoder.h"

/* ---- dropout ---- */

void model_set_dropout(model *m, double p) { m->tr.dropout = p; }
double model_dropout(const model *m) { return m->tr.dropout; }

void model_drop_by(model *m, uint64_t seed, uint64_t step) {
  rng r = rng_new(~seed, step);
  m->tr.drop_key = rng_next(&r);
}

/* Rows [first, first + len), of branch b where they are past what the group shares. */
static void span_keys(model *m, span s, uint64_t group, size_t shared, size_t b) {
  for (size_t i = s.first; i < s.first + s.len; i++) {
    uint64_t pos = (uint64_t)m->pos[i], branch = pos < shared ? 0 : b;
    m->drop_rows[i] = group + pos * 0x9e3779b97f4a7c15u + branch * 0xd1342543de82ef95u;
  }
}

rw_status lora_drop_keys(model *m, const id_group *groups, size_t n, rw_error *err) {
  if (!mem_grow((void **)&m->drop_rows, &m->cap_drop_rows, m->rows.f.rows, sizeof *m->drop_rows) ||
      !mem_grow((void **)&m->drop_last, &m->cap_drop_last, m->rows.n_last, sizeof *m->drop_last))
    return rw_nomem(err, "adapters");
  const tree *t = m->trees;
  for (size_t g = 0, conversation = 0; g < n; g++) {
    uint64_t group = groups[g].n;
    size_t shared = batch_common_prefix(&groups[g]);
    for (size_t b = 0; b < groups[g].n; b++)
      group = XXH3_64bits_withSeed(groups[g].ids[b], groups[g].len[b] * sizeof(int32_t), group);
    for (size_t b = 0; b < groups[g].n; b++, conversation++) {
      if (t < m->trees + m->rows.f.n_trees && t->first_branch == conversation)
        span_keys(m, t++->prompt, group, shared, 0);
      span_keys(m, m->branches[conversation], group, shared, b);
    }
  }
  for (size_t i = 0; i < m->rows.n_last; i++) m->drop_last[i] = m->drop_rows[m->last[i]];
  m->rows.drop_keys = m->drop_rows;
  m->rows.drop_last = m->drop_last;
  m->dropping = true;
  return RW_OK;
}

/* y (+)= what dropout leaves of x, the input of adapter a or its gradient. */
static void drop(model *m, int a, mat y, mat x, row_set rows, bool acc) {
  m->be->dropout(m->be, y, x, m->batch, rows, m->tr.drop_key + (uint64_t)a, m->tr.dropout, m->w->t[a].cols, acc);
}

/* ---- where adapters stand ---- */

static size_t multiple(size_t n, size_t of) { return (n + of - 1) / of * of; }
static size_t rank_of(const model *m, int a) { return m->w->t[a].pub.rows; }
/* Columns of u that it takes: joined, its part of a row begins at 16 bytes. */
static size_t columns_of(const model *m, int a) { return multiple(rank_of(m, a), lora_room(m) ? 8 : 1); }

/* Adapters of projections that have one input, side by side. */
typedef struct {
  int n, a[3];       /* A's tensors; B stands behind each */
  int w[3], last;    /* the projections' tensors, and the one that has the A's below it */
  size_t y[3], u[3]; /* where its columns begin: in the projections' output, in u */
  size_t rank;       /* columns of u */
  size_t at;         /* of which so many, of other adapters, stand before these */
} adapters;

static adapters adapters_of(const model *m, const projection *p) {
  adapters s = {.last = p->w[p->n - 1]};
  size_t column = 0;
  for (int i = 0; i < p->n; column += m->w->t[p->w[i++]].pub.rows) {
    int a = m->w->t[p->w[i]].adapter;
    if (!a) continue;
    s.a[s.n] = a;
    s.w[s.n] = p->w[i];
    s.y[s.n] = column;
    s.u[s.n++] = s.rank;
    s.rank += columns_of(m, a);
  }
  return s;
}

/* Those from i on whose A's are one matrix in products: all, or one where each drops other values of the input, and
 * where their sum would have other bits: on a device that does not join, or with few columns, which products take
 * otherwise. */
static adapters together(const model *m, const adapters *s, int i) {
  bool apart = m->dropping || !(m->be->traits.maps_host || lora_room(m));
  for (int k = 0; k < s->n && !lora_room(m); k++) apart |= rank_of(m, s->a[k]) < BACKEND_FEW_OUTPUTS;
  return apart ? (adapters){1, {s->a[i]}, {s->w[i]}, s->last, {s->y[i]}, {0}, columns_of(m, s->a[i]), s->u[i]} : *s;
}

static mat mat_of(weight w) { return (mat){mat_f32(w.data, 0).p, w.ld, w.type}; }
/* A matrix from a row and a column on. */
static weight weight_from(weight w, size_t row, size_t column) {
  w.data = (const char *)w.data + (row * w.ld + column) * type_size(w.type);
  return w;
}
/* The k-th's A and B as products read them. Joined, A's rows stand below the last projection's, and the scaled B in
 * the columns behind its own projection's; where it has none there are zeros. */
static weight factor_a(const model *m, const adapters *s, int k) {
  weight a = model_matrix(m, s->a[k], -1), w = model_matrix(m, s->last, -1);
  if (!lora_room(m)) return a;
  w = weight_from(w, w.out + s->at + s->u[k], 0);
  w.out = columns_of(m, s->a[k]);
  return w;
}
static weight factor_b(const model *m, const adapters *s, int k) {
  weight b = model_matrix(m, s->a[k] + 1, -1), w = model_matrix(m, s->w[k], -1);
  if (!lora_room(m)) return b;
  w = weight_from(w, 0, w.in + s->at + s->u[k]);
  w.in = columns_of(m, s->a[k]);
  return w;
}

static size_t groups_of(const layer *y, projection p[4]) {
  size_t n = 0;
  const projection all[4] = {qkv_of(y), o_of(y), up_of(y), down_of(y)};
  for (int i = 0; i < 4; i++)
    if (all[i].w[0] >= 0) p[n++] = all[i];
  return n;
}

/* Adapters' values into the matrices. */
static void join_values(model *m) {
  backend *be = m->be;
  projection p[4];
  for (size_t l = 0; l < m->w->cfg.layers; l++) {
    for (size_t g = groups_of(&m->w->layers[l], p); g-- > 0;) {
      adapters s = adapters_of(m, &p[g]);
      for (int k = 0; k < s.n; k++) {
        weight from[2] = {model_matrix(m, s.a[k], -1), model_matrix(m, s.a[k] + 1, -1)},
               to[2] = {factor_a(m, &s, k), factor_b(m, &s, k)};
        for (int i = 0; i < 2; i++) be->copy(be, mat_of(to[i]), mat_of(from[i]), from[i].out, from[i].in);
        be->scale(be, mat_of(to[1]), m->w->t[s.a[k]].scale, from[1].out, from[1].in);
      }
    }
  }
  m->w->lora_stale = false;
}

/* The matrix with room for so many columns and rows of adapters. */
static rw_status widen(model *m, tensor *t, size_t rank, rw_error *err) {
  backend *be = m->be;
  size_t ld = multiple(t->cols + rank, be->traits.join_align),
         bytes = (t->pub.rows + rank) * ld * type_size(t->type);
  mat wide = {be->alloc(be, MEM_DEVICE, bytes), ld, t->type};
  if (!wide.p) return rw_nomem(err, "adapters");
  be->zero(be, wide.p, bytes);
  be->copy(be, wide, (mat){t->copy, t->cols, t->type}, t->pub.rows, t->cols);
  be->release(be, MEM_DEVICE, t->copy);
  t->data = t->copy = wide.p;
  t->ld = ld;
  return RW_OK;
}

rw_status lora_join(model *m, rw_error *err) {
  size_t align = m->be->traits.join_align;
  projection p[4];
  if (!align) return RW_OK;
  m->w->lora_room = align; /* at least; from here on adapters' columns are whole */
  for (size_t l = 0; l < m->w->cfg.layers; l++) {
    for (size_t g = groups_of(&m->w->layers[l], p); g-- > 0;) {
      adapters s = adapters_of(m, &p[g]);
      for (int i = 0; s.n && i < p[g].n; i++) RW_TRY(widen(m, &m->w->t[p[g].w[i]], s.rank, err));
      if (s.rank > m->w->lora_room) m->w->lora_room = multiple(s.rank, align);
    }
  }
  join_values(m);
  return m->be->sync(m->be, err);
}

/* ---- products ---- */

static int weights_of(const model *m, const projection *p, bool bias, weight w[3]) {
  for (int i = 0; i < p->n; i++) w[i] = model_matrix(m, p->w[i], bias ? p->bias[i] : -1);
  return p->n;
}

/* The A's, or their gradients, one under another in m->lora_a; back: from there to where they lie. */
static void stack(model *m, const adapters *s, bool grads, bool back) {
  for (int k = 0; k < s->n; k++) {
    weight a = model_matrix(m, s->a[k], -1);
    mat own = mat_f32(grads ? grad_of(m, s->a[k]) : a.data, a.in);
    mat there = mat_from(mat_f32(m->lora_a.p, a.in), s->u[k], 0);
    m->be->copy(m->be, back ? own : there, back ? there : own, a.out, a.in);
  }
}

/* u [rows, rank] = drop(x)·Aᵀ, times s where asked; *x becomes drop(x), which lives until the next call. */
static void low(model *m, const adapters *s, mat u, mat *x, row_set rows, bool scaled) {
  backend *be = m->be;
  weight wa = factor_a(m, s, 0);
  mat dropped = model_mat(m, &m->lora_x, wa.in);
  size_t n = model_rows(m, rows);
  if (m->dropping) {
    drop(m, s->a[0], dropped, *x, rows, false);
    *x = dropped;
  }
  wa.out = s->rank;
  if (s->n > 1 && !lora_room(m)) {
    wa.data = m->lora_a.p;
    stack(m, s, false, false);
  }
  be->linear(be, u, *x, &wa, 1, n, false);
  for (int k = 0; scaled && k < s->n; k++)
    be->scale(be, mat_from(u, 0, s->u[k]), m->w->t[s->a[k]].scale, n, rank_of(m, s->a[k]));
}

/* Where u of x stands: behind it, or in memory of its own. */
static mat low_of(const model *m, const adapters *s, mat x) {
  return lora_room(m) ? mat_from(x, 0, m->w->t[s->w[0]].cols + s->at) : model_mat(m, &m->lora_u, s->rank);
}

void model_linear(model *m, mat y, mat x, projection p, row_set rows, bool acc) {
  weight w[3] = {{0}};
  size_t n = model_rows(m, rows);
  int nw = weights_of(m, &p, true, w);
  adapters all = adapters_of(m, &p), s;
  bool joined = lora_room(m) > 0;
  for (int i = 0; joined && i < all.n; i += s.n) {
    s = together(m, &all, i);
    mat in = x;
    low(m, &s, low_of(m, &s, x), &in, rows, false);
  }
  for (int i = 0; joined && i < nw; i++) w[i].in += all.rank; /* [x | u] · [W | s·B]ᵀ */
  m->be->linear(m->be, y, x, w, nw, n, acc);
  for (int i = 0; !joined && i < all.n; i += s.n) {
    s = together(m, &all, i);
    mat in = x, u = low_of(m, &s, x);
    low(m, &s, u, &in, rows, true);
    for (int k = 0; k < s.n; k++) {
      weight b = factor_b(m, &s, k);
      m->be->linear(m->be, mat_from(y, 0, s.y[k]), mat_from(u, 0, s.u[k]), &b, 1, n, true);
    }
  }
  shards_go_on(m, NO_UNIT);
}

/* The gradients of adapters; du [rows, rank] = s · dy·B. */
static void adapter_grads(model *m, const adapters *s, mat du, mat dy, mat x, row_set rows) {
  backend *be = m->be;
  size_t n = model_rows(m, rows), in = m->w->t[s->a[0]].cols, rank = s->n > 1 ? s->rank : rank_of(m, s->a[0]);
  mat u = low_of(m, s, x);
  low(m, s, u, &x, rows, true);
  for (int k = 0; k < s->n; k++) {
    weight b = factor_b(m, s, k);
    mat dyk = mat_from(dy, 0, s->y[k]), duk = mat_from(du, 0, s->u[k]);
    be->linear_dw(be, grad_of(m, s->a[k] + 1), dyk, mat_from(u, 0, s->u[k]), m->batch, rows, b.out,
                  rank_of(m, s->a[k]));
    be->linear_dx(be, duk, dyk, &b, 1, n, false);
    if (!lora_room(m)) be->scale(be, duk, m->w->t[s->a[k]].scale, n, b.in);
  }
  if (s->n > 1) stack(m, s, true, false);
  be->linear_dw(be, s->n > 1 ? m->lora_a.p : grad_of(m, s->a[0]), du, x, m->batch, rows, rank, in);
  if (s->n > 1) stack(m, s, true, true);
}

/* dx += what comes through adapters. */
static void adapter_dx(model *m, const adapters *s, mat dx, mat du, row_set rows) {
  weight wa[3] = {{0}};
  for (int k = 0; k < s->n; k++) wa[k] = factor_a(m, s, k);
  mat dropped = model_mat(m, &m->lora_x, wa[0].in);
  m->be->linear_dx(m->be, m->dropping ? dropped : dx, du, wa, s->n, model_rows(m, rows), !m->dropping);
  if (m->dropping) drop(m, s->a[0], dx, dropped, rows, true);
}

void model_linear_bwd(model *m, mat dx, mat dy, mat x, projection p, row_set rows) {
  backend *be = m->be;
  weight w[3] = {{0}};
  size_t n = model_rows(m, rows), out = 0;
  int nw = weights_of(m, &p, false, w);
  adapters all = adapters_of(m, &p), s;
  bool joined = lora_room(m) > 0, at_once = joined && !m->dropping;
  mat du[3] = {{0}};
  for (int i = 0; i < nw; i++) out += w[i].out;
  /* the gradients of weights that stand together lie side by side: one product */
  if (p.bias[0] >= 0 && grad_of(m, p.bias[0])) be->bias_grad(be, grad_of(m, p.bias[0]), dy, m->batch, rows, out);
  if (grad_of(m, p.w[0])) be->linear_dw(be, grad_of(m, p.w[0]), dy, x, m->batch, rows, out, w[0].in);
  for (int i = 0; i < all.n; i += s.n) { /* dx may be x: every adapter's du first */
    s = together(m, &all, i);
    du[i] = joined ? mat_from(dy, 0, out + s.at) : model_mat(m, &m->lora_du[i], s.rank);
    adapter_grads(m, &s, du[i], dy, x, rows);
  }
  if (at_once) w[nw - 1].out += all.rank; /* [dy | du] · [W; A] */
  be->linear_dx(be, dx, dy, w, nw, n, false);
  for (int i = 0; !at_once && i < all.n; i += s.n) {
    s = together(m, &all, i);
    adapter_dx(m, &s, dx, du[i], rows);
  }
  shards_go_on(m, NO_UNIT);
}

/* The widest input of an adapter's projection. */
static size_t widest_input(const model_config *c) {
  size_t widest = c->ff > c->hidden ? c->ff : c->hidden;
  return q_width(c) > widest ? q_width(c) : widest;
}

/* Rows of m->lora_a. */
static size_t stacked_rows(const model *m) { return 3 * multiple(m->w->lora_rank, lora_room(m) ? 8 : 1); }

rw_status lora_need(model *m, rw_error *err) {
  size_t rows = m->rows.f.rows;
  tensor_type act = m->be->traits.act;
  if (m->w->lora_rank == 0) return RW_OK;
  if (lora_room(m) && m->w->lora_stale) join_values(m);
  size_t all = 3 * m->w->lora_rank;
  if (!m->lora_a.p)
    m->lora_a.p = m->be->alloc(m->be, MEM_DEVICE, stacked_rows(m) * m->w->cfg.hidden * sizeof(float));
  if (!m->lora_a.p) return rw_nomem(err, "adapters");
  if (m->dropping) RW_TRY(buffer_need(m, &m->lora_x, rows, widest_input(&m->w->cfg), act, err));
  if (lora_room(m)) return RW_OK;
  RW_TRY(buffer_need(m, &m->lora_u, rows, all, act, err));
  for (int i = 0; m->tr.training && i < 3; i++)
    RW_TRY(buffer_need(m, &m->lora_du[i], rows, i == 0 ? all : m->w->lora_rank, act, err));
  return RW_OK;
}

size_t lora_bytes(const model *m, size_t n) {
  size_t columns = (lora_room(m) ? 0 : 8 * m->w->lora_rank) + (m->tr.dropout > 0 ? widest_input(&m->w->cfg) : 0);
  return n * columns * type_size(m->be->traits.act) + stacked_rows(m) * m->w->cfg.hidden * sizeof(float);
}

/* ---- which projections ---- */

slice lora_short_name(const char *name) {
  size_t len = strlen(name), from;
  len -= len > 7 && strcmp(name + len - 7, ".weight") == 0 ? 7 : 0;
  for (from = len; from > 0 && name[from - 1] != '.'; from--) {
  }
  return (slice){name + from, len - from};
}

size_t lora_projections(const layer *y, int out[7]) {
  const int all[7] = {y->q, y->k, y->v, y->o, y->gate, y->up, y->down};
  size_t n = 0;
  for (int i = 0; i < 7; i++)
    if (all[i] >= 0) out[n++] = all[i];
  return n;
}

bool model_has_lora(const model *m) { return m->w->lora_rank > 0; }
size_t model_lora_rank(const model *m) { return m->w->lora_rank; }
double model_lora_alpha(const model *m) { return m->w->lora_alpha; }

size_t model_lora_from(const model *m) {
  for (size_t l = 0; l < m->w->cfg.layers; l++) {
    int of[7];
    size_t n = lora_projections(&m->w->layers[l], of);
    for (size_t i = 0; i < n; i++)
      if (m->w->t[of[i]].adapter) return l;
  }
  return m->w->cfg.layers;
}
