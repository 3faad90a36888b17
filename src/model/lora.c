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

/* u [rows, rank] = s · drop(x)·Aᵀ; *x becomes drop(x), which lives until the next call. */
static mat low(model *m, int a, mat *x, row_set rows) {
  backend *be = m->be;
  weight wa = model_matrix(m, a, -1);
  mat u = model_mat(m, &m->lora_u, wa.out), dropped = model_mat(m, &m->lora_x, wa.in);
  size_t n = model_rows(m, rows);
  if (m->dropping) {
    drop(m, a, dropped, *x, rows, false);
    *x = dropped;
  }
  be->linear(be, u, *x, &wa, 1, n, false);
  be->scale(be, u, m->w->t[a].scale, n, wa.out);
  return u;
}

void model_linear(model *m, mat y, mat x, projection p, row_set rows, bool acc) {
  weight w[3] = {{0}};
  size_t n = model_rows(m, rows), column = 0;
  int nw = weights_of(m, &p, true, w);
  m->be->linear(m->be, y, x, w, nw, n, acc);
  for (int i = 0; i < nw; column += w[i++].out) {
    int a = m->w->t[p.w[i]].adapter;
    if (!a) continue;
    weight b = model_matrix(m, a + 1, -1);
    mat in = x, u = low(m, a, &in, rows);
    m->be->linear(m->be, mat_from(y, 0, column), u, &b, 1, n, true);
  }
  shards_go_on(m, NO_UNIT);
}

static float *grad_of(const model *m, int i) { return i >= 0 ? m->w->t[i].pub.grad : NULL; }

/* The gradients of one adapter; du [rows, rank] = s · dy·B. */
static void adapter_grads(model *m, int a, mat du, mat dy, mat x, row_set rows) {
  backend *be = m->be;
  weight b = model_matrix(m, a + 1, -1);
  size_t n = model_rows(m, rows), rank = b.in;
  mat u = low(m, a, &x, rows);
  be->linear_dw(be, grad_of(m, a + 1), dy, u, m->batch, rows, b.out, rank);
  be->linear_dx(be, du, dy, &b, 1, n, false);
  be->scale(be, du, m->w->t[a].scale, n, rank);
  be->linear_dw(be, grad_of(m, a), du, x, m->batch, rows, rank, m->w->t[a].cols);
}

/* dx += what comes through adapter a. */
static void adapter_dx(model *m, int a, mat dx, mat du, row_set rows) {
  weight wa = model_matrix(m, a, -1);
  mat dropped = model_mat(m, &m->lora_x, wa.in);
  size_t n = model_rows(m, rows);
  m->be->linear_dx(m->be, m->dropping ? dropped : dx, du, &wa, 1, n, !m->dropping);
  if (m->dropping) drop(m, a, dx, dropped, rows, true);
}

void model_linear_bwd(model *m, mat dx, mat dy, mat x, projection p, row_set rows) {
  backend *be = m->be;
  weight w[3] = {{0}};
  mat du[3] = {{0}};
  size_t n = model_rows(m, rows), out = 0, column = 0;
  int nw = weights_of(m, &p, false, w);
  for (int i = 0; i < nw; i++) out += w[i].out;
  /* the gradients of weights that stand together lie side by side: one product */
  if (p.bias[0] >= 0 && grad_of(m, p.bias[0])) be->bias_grad(be, grad_of(m, p.bias[0]), dy, m->batch, rows, out);
  if (grad_of(m, p.w[0])) be->linear_dw(be, grad_of(m, p.w[0]), dy, x, m->batch, rows, out, w[0].in);
  for (int i = 0; i < nw; column += w[i++].out) { /* dx may be x: every adapter's du first */
    int a = m->w->t[p.w[i]].adapter;
    if (!a) continue;
    du[i] = model_mat(m, &m->lora_du[i], m->w->t[a].pub.rows);
    adapter_grads(m, a, du[i], mat_from(dy, 0, column), x, rows);
  }
  be->linear_dx(be, dx, dy, w, nw, n, false);
  for (int i = 0; i < nw; i++)
    if (m->w->t[p.w[i]].adapter) adapter_dx(m, m->w->t[p.w[i]].adapter, dx, du[i], rows);
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
  RW_TRY(buffer_need(m, &m->lora_u, rows, m->w->lora_rank, act, err));
  if (m->dropping) RW_TRY(buffer_need(m, &m->lora_x, rows, widest_input(&m->w->cfg), act, err));
  for (int i = 0; m->tr.training && i < 3; i++)
    RW_TRY(buffer_need(m, &m->lora_du[i], rows, m->w->lora_rank, act, err));
  return RW_OK;
}

size_t lora_bytes(const model *m, size_t n) {
  size_t columns = 4 * m->w->lora_rank + (m->tr.dropout > 0 ? widest_input(&m->w->cfg) : 0);
  return n * columns * type_size(m->be->traits.act);
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
