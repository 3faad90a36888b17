/* heads.c - from the states that the decoder leaves to rewards: a scalar, or attributes and what they come to.
 *
 * HEAD_SCALAR: one output of a linear layer, or of several (head_form.h). HEAD_WEIGHTED (Nemotron-4-340B-Reward,
 * Wang et al. 2024): five attributes, the last of the linear outputs, and the sum that RewardBench makes of them.
 * HEAD_GATED (ArmoRM, Wang et al. 2024): attributes by a linear layer at the last token; their weights by a small
 * network at the token where the last assistant turn's header begins: score = sum_j gate_j · (attributes ·
 * transform)_j,  gate = softmax(network(state) / temperature) · scale. The decoder's last layer leaves the last
 * tokens' rows first, then the gates' rows.
 */
#include <math.h>
#include <string.h>

#include "model/decoder.h"

/* Attributes of ArmoRM's regression layer, in the order of its rows (its model card). */
static const char *const armorm[] = {"helpsteer-helpfulness",
                                     "helpsteer-correctness",
                                     "helpsteer-coherence",
                                     "helpsteer-complexity",
                                     "helpsteer-verbosity",
                                     "ultrafeedback-overall_score",
                                     "ultrafeedback-instruction_following",
                                     "ultrafeedback-truthfulness",
                                     "ultrafeedback-honesty",
                                     "ultrafeedback-helpfulness",
                                     "beavertails-is_safe",
                                     "prometheus-score",
                                     "argilla-overall_quality",
                                     "argilla-judge_lm",
                                     "code-complexity",
                                     "code-style",
                                     "code-explanation",
                                     "code-instruction-following",
                                     "code-readability"};
enum { ARMORM = sizeof armorm / sizeof *armorm };

static const char *const nemotron[] = {"helpfulness", "correctness", "coherence", "complexity", "verbosity"};
static const double nemotron_weights[] = {0.3, 0.74, 0.46, 0.47, -0.33};
enum { NEMOTRON = sizeof nemotron / sizeof *nemotron };

size_t model_attributes(const model *m, const char *const **names) {
  *names = m->w->cfg.head == HEAD_SCALAR ? NULL : m->w->cfg.head == HEAD_GATED ? armorm : nemotron;
  return m->w->cfg.head == HEAD_SCALAR ? 0 : m->w->cfg.head == HEAD_GATED ? ARMORM : NEMOTRON;
}
const float *model_attribute_values(const model *m) { return m->attributes; }

/* ---- networks ---- */

size_t head_end(const weights *w) {
  size_t end = 0;
  for (size_t i = 0; i < w->top.n; i++) {
    if ((size_t)w->top.w[i] >= end) end = (size_t)w->top.w[i] + 1;
    if (w->top.bias[i] >= (int)end) end = (size_t)w->top.bias[i] + 1;
  }
  return end;
}

/* Columns of all its hidden layers, and of the widest. */
static size_t hidden_columns(const model *m, const network *net, size_t *widest) {
  size_t all = 0;
  *widest = 0;
  for (size_t i = 0; i + 1 < net->n; i++) {
    size_t n = m->w->t[net->w[i]].pub.rows;
    all += n;
    if (n > *widest) *widest = n;
  }
  return all;
}

rw_status head_need(model *m, rw_error *err) {
  size_t wide[2], nb = m->rows.f.n_branches, top = hidden_columns(m, &m->w->top, &wide[0]),
                  gate = hidden_columns(m, &m->w->gate, &wide[1]);
  tensor_type act = m->be->traits.act;
  RW_TRY(buffer_need(m, &m->rewards, nb, m->w->cfg.n_outputs, T_F32, err));
  if (m->w->gate.n) RW_TRY(buffer_need(m, &m->gate_out, nb, m->w->cfg.n_outputs, T_F32, err));
  RW_TRY(buffer_need(m, &m->head_acts, nb, top > gate ? top : gate, act, err));
  return buffer_need(m, &m->head_work, nb, wide[0] > wide[1] ? wide[0] : wide[1], act, err);
}

/* What hidden layer i gave, after its ReLU. */
static mat hidden_layer(const model *m, const network *net, size_t i) {
  size_t columns = m->w->t[net->w[i]].pub.rows, before = 0;
  for (size_t k = 0; k < i; k++) before += m->w->t[net->w[k]].pub.rows;
  mat all = model_mat(m, &m->head_acts, columns);
  all.p = (char *)all.p + before * m->rows.f.n_branches * type_size(all.type);
  return all;
}

/* A head of several layers is computed in f32, as one of few outputs always is: its factors are not rounded. */
static void round_factors(const model *m, bool on) {
  if (m->bf16 && m->w->cfg.head_hidden > 0 && m->be->set_bf16) m->be->set_bf16(m->be, on);
}

/* out = the network's answer to x, [branches, H]. */
static void run_network(model *m, const network *net, mat x, mat out) {
  backend *be = m->be;
  size_t nb = m->rows.f.n_branches;
  for (size_t i = 0; i < net->n; i++) {
    weight w = model_matrix(m, net->w[i], net->bias[i]);
    bool last = i + 1 == net->n;
    mat y = last ? out : model_mat(m, &m->head_work, w.out);
    be->linear(be, y, x, &w, 1, nb, false);
    if (last) break;
    x = hidden_layer(m, net, i);
    be->gated(be, x, y, nb, w.out, ACT_RELU);
  }
}

void head_backward(model *m, mat dr, mat dh) {
  backend *be = m->be;
  const network *net = &m->w->top;
  size_t nb = m->rows.f.n_branches;
  mat dy = dr;
  round_factors(m, false);
  for (size_t i = net->n; i-- > 0;) {
    weight w = model_matrix(m, net->w[i], -1);
    mat in = i ? hidden_layer(m, net, i - 1) : model_mat(m, &m->last_h, w.in),
        dx = i ? model_mat(m, &m->head_work, w.in) : dh;
    if (net->bias[i] >= 0) be->bias_grad(be, grad_of(m, net->bias[i]), dy, m->batch, ROWS_LAST, w.out);
    be->linear_dw(be, grad_of(m, net->w[i]), dy, in, m->batch, ROWS_LAST, w.out, w.in);
    be->linear_dx(be, dx, dy, &w, 1, nb, false);
    if (i) be->gated_bwd(be, in, dx, in, nb, w.in, ACT_RELU); /* ReLU's slope is told by its value as well */
    dy = in;
  }
  round_factors(m, true);
}

/* ---- attributes ---- */

/* One conversation's score from its attributes and its gate's outputs. */
static float gated_score(const model *m, const float *attr, const float *gate) {
  double max = -INFINITY, sum = 0, score = 0;
  for (size_t j = 0; j < ARMORM; j++) max = gate[j] > max ? gate[j] : max;
  for (size_t j = 0; j < ARMORM; j++) {
    double e = exp((gate[j] - max) / m->w->cfg.gate_temperature), moved = 0;
    for (size_t i = 0; i < ARMORM; i++) moved += (double)attr[i] * m->w->transform[i * ARMORM + j];
    sum += e;
    score += e * moved;
  }
  return (float)(score / sum * m->w->gate_scale[0]);
}

/* Moves conversation b's attributes to their place among five a conversation and sums them. */
static float weighted_score(float *attr, size_t b, size_t outputs) {
  double score = 0;
  for (size_t i = 0; i < NEMOTRON; i++) {
    attr[b * NEMOTRON + i] = attr[b * outputs + outputs - NEMOTRON + i];
    score += nemotron_weights[i] * (double)attr[b * NEMOTRON + i];
  }
  return (float)score;
}

rw_status head_run(model *m, mat x, float *rewards, rw_error *err) {
  const model_config *c = &m->w->cfg;
  backend *be = m->be;
  size_t h = c->hidden, nb = m->rows.f.n_branches, n = c->n_outputs;
  mat last = model_mat(m, &m->last_h, h), out = mat_f32(m->rewards.p, n);
  model_norm(m, last, x, m->w->norm_final, m->w->norm_final_bias, ROWS_LAST, m->rstd_final.p);
  round_factors(m, false);
  run_network(m, &m->w->top, last, out);
  round_factors(m, true);
  if (c->head == HEAD_SCALAR) {
    be->get(be, rewards, out.p, nb * sizeof(float));
    RW_TRY(be->sync(be, err));
    for (size_t b = 0; m->w->reads_logit && c->logit_softcap > 0 && b < nb; b++)
      rewards[b] = (float)(c->logit_softcap * tanh((double)rewards[b] / c->logit_softcap));
    return RW_OK;
  }
  if (!mem_grow((void **)&m->attributes, &m->cap_attributes, nb * n, sizeof(float)) ||
      !mem_grow((void **)&m->gates, &m->cap_gates, nb * n, sizeof(float)))
    return rw_nomem(err, "attributes");
  be->get(be, m->attributes, out.p, nb * n * sizeof(float));
  if (c->head == HEAD_GATED) { /* the gates' rows stand behind the last tokens' */
    mat gate = mat_f32(m->gate_out.p, n);
    run_network(m, &m->w->gate, mat_from(last, nb, 0), gate);
    be->get(be, m->gates, gate.p, nb * n * sizeof(float));
  }
  RW_TRY(be->sync(be, err));
  for (size_t b = 0; b < nb; b++)
    rewards[b] = c->head == HEAD_GATED ? gated_score(m, m->attributes + b * n, m->gates + b * n)
                                       : weighted_score(m->attributes, b, n);
  return RW_OK;
}
