/* lora.c - low-rank adapters (Hu et al. 2021) on the projections: y = W·x + s·B·(A·drop(x)), with W frozen.
 *
 * A [rank, in] and B [out, rank] are tensors of the model like others; they stand after the head, so that head and
 * adapters are what is trained. All products of the decoder go through model_linear and model_linear_bwd, with or
 * without adapters. Files: lora_file.c.
 */
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/rng.h"
#include "model/model_impl.h"

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

/* ---- products ---- */

static int weights_of(const model *m, const projection *p, bool bias, weight w[3]) {
  for (int i = 0; i < p->n; i++) w[i] = model_matrix(m, p->w[i], bias ? p->bias[i] : -1);
  return p->n;
}

/* Adapters of projections that have one input, side by side. */
typedef struct {
  int n, a[3];       /* A's tensors; B stands behind each */
  size_t y[3], u[3]; /* where its columns begin: in the projections' output, in u */
  size_t rank;       /* columns of u */
} adapters;

static size_t rank_of(const model *m, int a) { return m->w->t[a].pub.rows; }

static adapters adapters_of(const model *m, const projection *p) {
  adapters s = {0};
  size_t column = 0;
  for (int i = 0; i < p->n; column += m->w->t[p->w[i++]].pub.rows) {
    int a = m->w->t[p->w[i]].adapter;
    if (!a) continue;
    s.a[s.n] = a;
    s.y[s.n] = column;
    s.u[s.n++] = s.rank;
    s.rank += rank_of(m, a);
  }
  return s;
}

/* Those from i on whose A's are one matrix in products: all, or one where each drops other values of the input, and
 * where their sum would have other bits: on a device, or with few columns, which products take otherwise. */
static adapters together(const model *m, const adapters *s, int i) {
  bool apart = m->dropping || !m->be->traits.maps_host;
  for (int k = 0; k < s->n; k++) apart |= rank_of(m, s->a[k]) < BACKEND_FEW_OUTPUTS;
  return apart ? (adapters){1, {s->a[i]}, {s->y[i]}, {0}, rank_of(m, s->a[i])} : *s;
}

static float *grad_of(const model *m, int i) { return i >= 0 ? m->w->t[i].pub.grad : NULL; }

/* The A's, or their gradients, one under another in m->lora_a; back: from there to where they lie. */
static void stack(model *m, const adapters *s, bool grads, bool back) {
  for (int k = 0; k < s->n; k++) {
    weight a = model_matrix(m, s->a[k], -1);
    mat own = mat_f32(grads ? grad_of(m, s->a[k]) : a.data, a.in);
    mat there = mat_from(mat_f32(m->lora_a.p, a.in), s->u[k], 0);
    m->be->copy(m->be, back ? own : there, back ? there : own, a.out, a.in);
  }
}

/* u [rows, rank] = s · drop(x)·Aᵀ; *x becomes drop(x), which lives until the next call. */
static mat low(model *m, const adapters *s, mat *x, row_set rows) {
  backend *be = m->be;
  weight wa = model_matrix(m, s->a[0], -1);
  mat u = model_mat(m, &m->lora_u, s->rank), dropped = model_mat(m, &m->lora_x, wa.in);
  size_t n = model_rows(m, rows);
  if (m->dropping) {
    drop(m, s->a[0], dropped, *x, rows, false);
    *x = dropped;
  }
  if (s->n > 1) {
    wa.out = s->rank;
    wa.data = m->lora_a.p;
    stack(m, s, false, false);
  }
  be->linear(be, u, *x, &wa, 1, n, false);
  for (int k = 0; k < s->n; k++)
    be->scale(be, mat_from(u, 0, s->u[k]), m->w->t[s->a[k]].scale, n, rank_of(m, s->a[k]));
  return u;
}

void model_linear(model *m, mat y, mat x, projection p, row_set rows, bool acc) {
  weight w[3] = {{0}};
  size_t n = model_rows(m, rows);
  adapters all = adapters_of(m, &p), s;
  m->be->linear(m->be, y, x, w, weights_of(m, &p, true, w), n, acc);
  for (int i = 0; i < all.n; i += s.n) {
    s = together(m, &all, i);
    mat in = x, u = low(m, &s, &in, rows);
    for (int k = 0; k < s.n; k++) {
      weight b = model_matrix(m, s.a[k] + 1, -1);
      m->be->linear(m->be, mat_from(y, 0, s.y[k]), mat_from(u, 0, s.u[k]), &b, 1, n, true);
    }
  }
  shards_go_on(m, NO_UNIT);
}

/* The gradients of adapters; du [rows, rank] = s · dy·B. */
static void adapter_grads(model *m, const adapters *s, mat du, mat dy, mat x, row_set rows) {
  backend *be = m->be;
  size_t n = model_rows(m, rows), in = m->w->t[s->a[0]].cols;
  mat u = low(m, s, &x, rows);
  for (int k = 0; k < s->n; k++) {
    weight b = model_matrix(m, s->a[k] + 1, -1);
    mat dyk = mat_from(dy, 0, s->y[k]), duk = mat_from(du, 0, s->u[k]);
    be->linear_dw(be, grad_of(m, s->a[k] + 1), dyk, mat_from(u, 0, s->u[k]), m->batch, rows, b.out, b.in);
    be->linear_dx(be, duk, dyk, &b, 1, n, false);
    be->scale(be, duk, m->w->t[s->a[k]].scale, n, b.in);
  }
  if (s->n > 1) stack(m, s, true, false);
  be->linear_dw(be, s->n > 1 ? m->lora_a.p : grad_of(m, s->a[0]), du, x, m->batch, rows, s->rank, in);
  if (s->n > 1) stack(m, s, true, true);
}

/* dx += what comes through adapters. */
static void adapter_dx(model *m, const adapters *s, mat dx, mat du, row_set rows) {
  weight wa[3] = {{0}};
  for (int k = 0; k < s->n; k++) wa[k] = model_matrix(m, s->a[k], -1);
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
  mat du[3] = {{0}};
  for (int i = 0; i < nw; i++) out += w[i].out;
  /* the gradients of weights that stand together lie side by side: one product */
  if (p.bias[0] >= 0 && grad_of(m, p.bias[0])) be->bias_grad(be, grad_of(m, p.bias[0]), dy, m->batch, rows, out);
  if (grad_of(m, p.w[0])) be->linear_dw(be, grad_of(m, p.w[0]), dy, x, m->batch, rows, out, w[0].in);
  for (int i = 0; i < all.n; i += s.n) { /* dx may be x: every adapter's du first */
    s = together(m, &all, i);
    du[i] = model_mat(m, &m->lora_du[i], s.rank);
    adapter_grads(m, &s, du[i], dy, x, rows);
  }
  be->linear_dx(be, dx, dy, w, nw, n, false);
  for (int i = 0; i < all.n; i += s.n) {
    s = together(m, &all, i);
    adapter_dx(m, &s, dx, du[i], rows);
  }
  shards_go_on(m, NO_UNIT);
}

/* The widest input of an adapter's projection. */
static size_t widest_input(const model_config *c) {
  size_t widest = c->ff > c->hidden ? c->ff : c->hidden, q = c->q_heads * c->head_dim;
  return q > widest ? q : widest;
}

rw_status lora_need(model *m, rw_error *err) {
  size_t rows = m->rows.f.rows;
  tensor_type act = m->be->traits.act;
  if (m->w->lora_rank == 0) return RW_OK;
  size_t all = 3 * m->w->lora_rank;
  RW_TRY(buffer_need(m, &m->lora_u, rows, all, act, err));
  if (!m->lora_a.p) m->lora_a.p = m->be->alloc(m->be, MEM_DEVICE, all * m->w->cfg.hidden * sizeof(float));
  if (!m->lora_a.p) return rw_nomem(err, "adapters");
  if (m->dropping) RW_TRY(buffer_need(m, &m->lora_x, rows, widest_input(&m->w->cfg), act, err));
  for (int i = 0; m->tr.training && i < 3; i++)
    RW_TRY(buffer_need(m, &m->lora_du[i], rows, i == 0 ? all : m->w->lora_rank, act, err));
  return RW_OK;
}

size_t lora_bytes(const model *m, size_t n) {
  size_t columns = 8 * m->w->lora_rank + (m->tr.dropout > 0 ? widest_input(&m->w->cfg) : 0);
  return n * columns * type_size(m->be->traits.act) + 3 * m->w->lora_rank * m->w->cfg.hidden * sizeof(float);
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
