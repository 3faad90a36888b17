/* heads.c - from the states that the decoder leaves to rewards: a scalar, or attributes and what they come to.
 *
 * HEAD_SCALAR: one linear output. HEAD_WEIGHTED (Nemotron-4-340B-Reward, Wang et al. 2024): five attributes, the
 * last of the linear outputs, and the sum that RewardBench makes of them. HEAD_GATED (ArmoRM, Wang et al. 2024):
 * attributes by a linear layer at the last token; their weights by a small network at the token where the last
 * assistant turn's header begins: score = sum_j gate_j · (attributes · transform)_j,  gate = softmax(network(state)
 * / temperature) · scale. The decoder's last layer leaves the last tokens' rows first, then the gates' rows.
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

/* x: [branches, H], normalised, at the gates' tokens; gate: [branches, outputs] before the softmax. */
static rw_status run_gate(model *m, mat x, float *gate, rw_error *err) {
  const model_config *c = &m->w->cfg;
  backend *be = m->be;
  size_t nb = m->rows.f.n_branches, wide = c->gate_hidden > c->n_outputs ? c->gate_hidden : c->n_outputs;
  RW_TRY(buffer_need(m, &m->gate_in, nb, wide, x.type, err));
  RW_TRY(buffer_need(m, &m->gate_out, nb, wide, T_F32, err));
  for (size_t i = 0; i <= c->gate_layers; i++) {
    weight w = model_matrix(m, m->w->gate[i], m->w->gate_bias[i]);
    mat out = mat_f32(m->gate_out.p, w.out), in = {m->gate_in.p, w.out, x.type};
    be->linear(be, out, x, &w, 1, nb, false);
    be->get(be, gate, out.p, nb * w.out * sizeof(float));
    if (i == c->gate_layers) break;
    for (size_t k = 0; k < nb * w.out; k++) gate[k] = gate[k] > 0 ? gate[k] : 0;
    be->put(be, out.p, gate, nb * w.out * sizeof(float));
    be->copy(be, in, out, nb, w.out);
    x = in;
  }
  return RW_OK;
}

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
  weight w = model_matrix(m, m->w->head, -1);
  mat last = model_mat(m, &m->last_h, h), out = mat_f32(m->rewards.p, n);
  model_norm(m, last, x, m->w->norm_final, m->w->norm_final_bias, ROWS_LAST, m->rstd_final.p);
  be->linear(be, out, last, &w, 1, nb, false);
  if (c->head == HEAD_SCALAR) {
    be->get(be, rewards, out.p, nb * sizeof(float));
    return be->sync(be, err);
  }
  size_t wide = c->gate_hidden > n ? c->gate_hidden : n;
  if (!mem_grow((void **)&m->attributes, &m->cap_attributes, nb * n, sizeof(float)) ||
      !mem_grow((void **)&m->gates, &m->cap_gates, nb * wide, sizeof(float)))
    return rw_nomem(err, "attributes");
  be->get(be, m->attributes, out.p, nb * n * sizeof(float));
  if (c->head == HEAD_GATED) RW_TRY(run_gate(m, mat_from(last, nb, 0), m->gates, err));
  RW_TRY(be->sync(be, err));
  for (size_t b = 0; b < nb; b++)
    rewards[b] = c->head == HEAD_GATED ? gated_score(m, m->attributes + b * n, m->gates + b * n)
                                       : weighted_score(m->attributes, b, n);
  return RW_OK;
}
