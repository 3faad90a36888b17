/* experts.c - mixtures of experts (Shazeer et al. 2017) in place of a layer's MLP, forward and backward.
 *
 * A router gives each row a probability for each of E experts; the row's k likeliest compute it, and their answers
 * are added with these probabilities, or with their shares of the chosen ones' sum. Only what is chosen is
 * computed: each row's k copies stand in slots, the slots of an expert together and in the order of the rows, so
 * that an expert is a product over some slots. A row's answers are added by rising expert, whatever else is in the
 * batch.
 *
 * The router's logits are kept, not what was chosen: the backward pass chooses again. R rows, F an expert's width.
 */
#include <math.h>
#include <string.h>

#include "model/decoder.h"

static size_t slots_of(const model *m, size_t rows) { return rows * m->w->cfg.experts_per_token; }

/* ---- memory ---- */

rw_status experts_need(model *m, rw_error *err) {
  const model_config *c = &m->w->cfg;
  routes *r = &m->routes;
  size_t rows = m->rows.f.rows, slots = slots_of(m, rows), e = c->n_experts;
  tensor_type act = m->be->traits.act;
  if (e == 0) return RW_OK;
  if (!mem_grow((void **)&r->logits, &r->cap_logits, rows * e, sizeof *r->logits) ||
      !mem_grow((void **)&r->slot_row, &r->cap_slot_row, slots, sizeof *r->slot_row) ||
      !mem_grow((void **)&r->row_slot, &r->cap_row_slot, slots, sizeof *r->row_slot) ||
      !mem_grow((void **)&r->slot_weight, &r->cap_slot_weight, slots, sizeof *r->slot_weight) ||
      !mem_grow((void **)&r->row_weight, &r->cap_row_weight, slots, sizeof *r->row_weight) ||
      !mem_grow((void **)&r->first, &r->cap_first, e + 1, sizeof *r->first) ||
      !mem_grow((void **)&r->next, &r->cap_next, e, sizeof *r->next) ||
      !mem_grow((void **)&r->ends, &r->cap_ends, m->rows.f.n_trees, sizeof *r->ends))
    return rw_nomem(err, "experts");
  buffer *four[] = {&r->d_slot_row, &r->d_row_slot, &r->d_slot_weight, &r->d_row_weight, &r->d_dots};
  for (size_t i = 0; i < sizeof four / sizeof *four; i++) RW_TRY(buffer_need(m, four[i], slots, 1, T_F32, err));
  RW_TRY(buffer_need(m, &r->x, slots, c->hidden, act, err));
  RW_TRY(buffer_need(m, &r->y, slots, c->hidden, act, err));
  RW_TRY(buffer_need(m, &r->g, slots, c->expert_ff, act, err));
  if (!m->tr.training) return RW_OK;
  RW_TRY(buffer_need(m, &r->dg, slots, c->expert_ff, act, err));
  return buffer_need(m, &r->d_logits, rows, e, T_F32, err);
}

size_t experts_bytes(const model *m, size_t rows) {
  const model_config *c = &m->w->cfg;
  size_t unit = type_size(m->be->traits.act), slots = slots_of(m, rows);
  return c->n_experts ? slots * (2 * (c->hidden + c->expert_ff) * unit + 9 * sizeof(float)) +
                            2 * rows * c->n_experts * sizeof(float)
                      : 0;
}

void experts_free(model *m) {
  routes *r = &m->routes;
  buffer *device[] = {&r->d_slot_row, &r->d_row_slot, &r->d_slot_weight, &r->d_row_weight, &r->d_dots, &r->x, &r->y,
                      &r->g,          &r->dg,         &r->d_logits};
  for (size_t i = 0; i < sizeof device / sizeof *device; i++) m->be->release(m->be, MEM_DEVICE, device[i]->p);
  void *host[] = {r->logits, r->slot_row, r->row_slot, r->slot_weight, r->row_weight, r->first, r->next, r->ends};
  for (size_t i = 0; i < sizeof host / sizeof *host; i++) mem_free(host[i]);
  *r = (routes){0};
}

/* ---- routing ---- */

/* The k likeliest of a row's experts, rising; of equals the first. */
static void choose(const float *logits, size_t e, size_t k, int32_t *out) {
  for (size_t j = 0; j < k; j++) {
    ptrdiff_t best = -1;
    for (size_t i = 0; i < e; i++) {
      bool taken = false;
      for (size_t t = 0; t < j; t++) taken |= out[t] == (int32_t)i;
      if (!taken && (best < 0 || logits[i] > logits[best])) best = (ptrdiff_t)i;
    }
    size_t at = j;
    for (; at > 0 && out[at - 1] > (int32_t)best; at--) out[at] = out[at - 1];
    out[at] = (int32_t)best;
  }
}

/* Logits to probabilities, in place. */
static void softmax(float *x, size_t n) {
  double max = -INFINITY, sum = 0;
  for (size_t i = 0; i < n; i++) max = x[i] > max ? x[i] : max;
  for (size_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
  for (size_t i = 0; i < n; i++) x[i] = (float)(exp((double)x[i] - max) / sum);
}

/* Where n rows go, from the router's logits; the probabilities stay in r->logits. */
static void find_routes(model *m, const float *logits, size_t n) {
  const model_config *c = &m->w->cfg;
  routes *r = &m->routes;
  size_t e = c->n_experts, k = c->experts_per_token, slots = n * k;
  m->be->get(m->be, r->logits, logits, n * e * sizeof *logits);
  memset(r->first, 0, (e + 1) * sizeof *r->first);
  for (size_t i = 0; i < n; i++) { /* row_slot holds experts at first */
    choose(r->logits + i * e, e, k, r->row_slot + i * k);
    for (size_t j = 0; j < k; j++) r->first[r->row_slot[i * k + j] + 1]++;
  }
  for (size_t i = 0; i < e; i++) r->first[i + 1] += r->first[i];
  memcpy(r->next, r->first, e * sizeof *r->next);
  for (size_t i = 0; i < n; i++) {
    float *p = r->logits + i * e;
    double sum = 0;
    softmax(p, e);
    for (size_t j = 0; j < k; j++) sum += (double)p[r->row_slot[i * k + j]];
    for (size_t j = i * k; j < (i + 1) * k; j++) {
      int32_t expert = r->row_slot[j], slot = (int32_t)r->next[expert]++;
      r->row_weight[j] = c->norm_topk ? (float)((double)p[expert] / sum) : p[expert];
      r->row_slot[j] = slot;
      r->slot_row[slot] = (int32_t)i;
      r->slot_weight[slot] = r->row_weight[j];
    }
  }
  m->be->put(m->be, r->d_slot_row.p, r->slot_row, slots * sizeof *r->slot_row);
  m->be->put(m->be, r->d_row_slot.p, r->row_slot, slots * sizeof *r->row_slot);
  m->be->put(m->be, r->d_slot_weight.p, r->slot_weight, slots * sizeof *r->slot_weight);
  m->be->put(m->be, r->d_row_weight.p, r->row_weight, slots * sizeof *r->row_weight);
}

/* From the slope of each slot's weight, in d_dots, to those of the router's logits, in d_logits. */
static void route_slopes(model *m, size_t n) {
  const model_config *c = &m->w->cfg;
  routes *r = &m->routes;
  size_t e = c->n_experts, k = c->experts_per_token;
  float *dots = r->slot_weight; /* which the device has by now */
  m->be->get(m->be, dots, r->d_dots.p, n * k * sizeof *dots);
  for (size_t i = 0; i < n; i++) {
    float *p = r->logits + i * e;
    const float *w = r->row_weight + i * k;
    const int32_t *slot = r->row_slot + i * k;
    double chosen = 0, mean = 0, all = 0; /* sums of the chosen p, of w·dw, of p·dp */
    for (size_t j = 0; j < k; j++) mean += (double)w[j] * dots[slot[j]];
    int32_t expert[MODEL_MOST_CHOSEN] = {0};
    double dp[MODEL_MOST_CHOSEN] = {0};
    for (size_t j = 0; j < k; j++) {
      size_t of = 0;
      while (r->first[of + 1] <= (size_t)slot[j]) of++;
      expert[j] = (int32_t)of;
      chosen += (double)p[of];
    }
    for (size_t j = 0; j < k; j++) {
      dp[j] = c->norm_topk ? (dots[slot[j]] - mean) / chosen : (double)dots[slot[j]];
      all += (double)p[expert[j]] * dp[j];
    }
    for (size_t x = 0, j = 0; x < e; x++) {
      bool is_chosen = j < k && expert[j] == (int32_t)x;
      p[x] = (float)((double)p[x] * ((is_chosen ? dp[j++] : 0) - all));
    }
  }
  m->be->put(m->be, r->d_logits.p, r->logits, n * e * sizeof(float));
}

/* ---- experts ---- */

static const weight *up_weights(const model *m, const layer *y, size_t e, weight w[2]) {
  w[0] = model_matrix(m, y->experts + 3 * (int)e, -1);
  w[1] = model_matrix(m, y->experts + 3 * (int)e + 1, -1);
  return w;
}
static weight down_weight(const model *m, const layer *y, size_t e) {
  return model_matrix(m, y->experts + 3 * (int)e + 2, -1);
}

/* Slots of expert e. */
static size_t expert_slots(const model *m, size_t e, size_t *at) {
  *at = m->routes.first[e];
  return m->routes.first[e + 1] - *at;
}

/* Of the slots of expert e, where each tree that has some ends: the pieces of its weights' gradients. */
static row_pieces expert_pieces(const model *m, size_t e, row_set rows) {
  const routes *r = &m->routes;
  const row_pieces *all = rows == ROWS_ALL ? &m->rows.pieces : &m->rows.last_pieces;
  size_t at, n = expert_slots(m, e, &at), pieces = 0;
  for (size_t i = 0, t = 0; i < n; i++) {
    while ((size_t)r->slot_row[at + i] >= all->end[t]) t++;
    bool last = i + 1 == n || (size_t)r->slot_row[at + i + 1] >= all->end[t];
    if (last) r->ends[pieces++] = i + 1;
  }
  return (row_pieces){r->ends, pieces};
}

/* The router's products are in f32 as the head's: where a row goes depends on the last bits. */
static void exact_products(const model *m, bool on) {
  if (m->bf16 && m->be->set_bf16) m->be->set_bf16(m->be, !on);
}

static mat gate_up_of(const model *m, const acts *s) {
  return (mat){s->gate_up.p, 2 * m->w->cfg.expert_ff, s->gate_up.type};
}

void experts_forward(model *m, size_t l, const acts *s, mat normed, const mat *out, row_set rows) {
  const model_config *c = &m->w->cfg;
  const layer *y = &m->w->layers[l];
  routes *r = &m->routes;
  backend *be = m->be;
  size_t n = model_rows(m, rows), slots = slots_of(m, n), h = c->hidden, f = c->expert_ff, at, count;
  mat x = model_mat(m, &r->x, h), g = model_mat(m, &r->g, f), o = model_mat(m, &r->y, h), gu = gate_up_of(m, s);
  weight router = model_matrix(m, y->router, -1), w[2];
  exact_products(m, true);
  be->linear(be, mat_f32(s->router, c->n_experts), normed, &router, 1, n, false);
  exact_products(m, false);
  find_routes(m, s->router, n);
  be->pick(be, x, normed, r->d_slot_row.p, slots, h);
  for (size_t e = 0; e < c->n_experts; e++)
    if ((count = expert_slots(m, e, &at)) > 0)
      be->linear(be, mat_from(gu, at, 0), mat_from(x, at, 0), up_weights(m, y, e, w), 2, count, false);
  if (!out) return;
  be->gated(be, g, gu, slots, f, act_of(c));
  for (size_t e = 0; e < c->n_experts; e++) {
    if ((count = expert_slots(m, e, &at)) == 0) continue;
    w[0] = down_weight(m, y, e);
    be->linear(be, mat_from(o, at, 0), mat_from(g, at, 0), w, 1, count, false);
  }
  if (out->p != s->x_mid.p) be->copy(be, *out, s->x_mid, n, h);
  be->mix(be, *out, o, r->d_row_slot.p, r->d_row_weight.p, n, c->experts_per_token, h, true);
}

void experts_backward(model *m, size_t l, const acts *s, mat dy, mat normed, mat dx, row_set rows) {
  const model_config *c = &m->w->cfg;
  const layer *y = &m->w->layers[l];
  routes *r = &m->routes;
  backend *be = m->be;
  size_t n = model_rows(m, rows), slots = slots_of(m, n), h = c->hidden, f = c->expert_ff, at, count;
  mat x = model_mat(m, &r->x, h), g = model_mat(m, &r->g, f), dg = model_mat(m, &r->dg, f),
      d = model_mat(m, &r->y, h), gu = gate_up_of(m, s), d_logits = mat_f32(r->d_logits.p, c->n_experts);
  weight router = model_matrix(m, y->router, -1), w[2];
  find_routes(m, s->router, n);
  be->pick(be, d, dy, r->d_slot_row.p, slots, h); /* d: of each slot's answer, before its weight */
  be->gated(be, g, gu, slots, f, act_of(c));
  for (size_t e = 0; e < c->n_experts; e++) {
    if ((count = expert_slots(m, e, &at)) == 0) continue;
    w[0] = down_weight(m, y, e);
    be->linear_dx(be, mat_from(dg, at, 0), mat_from(d, at, 0), w, 1, count, false);
  }
  be->row_dots(be, r->d_dots.p, dg, g, slots, f); /* dy·(W·g) = (dy·W)·g: the slope of the weight */
  be->row_scale(be, g, r->d_slot_weight.p, slots, f);
  be->row_scale(be, dg, r->d_slot_weight.p, slots, f);
  be->gated_bwd(be, gu, dg, gu, slots, f, act_of(c));
  be->pick(be, x, normed, r->d_slot_row.p, slots, h);
  for (size_t e = 0; e < c->n_experts; e++) {
    if ((count = expert_slots(m, e, &at)) == 0) continue;
    float *gate_grad = grad_of(m, y->experts + 3 * (int)e); /* up's lies behind it */
    row_pieces pieces = expert_pieces(m, e, rows);
    if (gate_grad) {
      be->linear_dw_pieces(be, grad_of(m, y->experts + 3 * (int)e + 2), mat_from(d, at, 0), mat_from(g, at, 0),
                           &pieces, h, f);
      be->linear_dw_pieces(be, gate_grad, mat_from(gu, at, 0), mat_from(x, at, 0), &pieces, 2 * f, h);
    }
    be->linear_dx(be, mat_from(d, at, 0), mat_from(gu, at, 0), up_weights(m, y, e, w), 2, count, false);
  }
  be->mix(be, dx, d, r->d_row_slot.p, NULL, n, c->experts_per_token, h, false);
  route_slopes(m, n);
  exact_products(m, true);
  if (grad_of(m, y->router))
    be->linear_dw(be, grad_of(m, y->router), d_logits, normed, m->batch, rows, c->n_experts, h);
  be->linear_dx(be, dx, d_logits, &router, 1, n, true);
  exact_products(m, false);
}
