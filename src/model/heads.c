/* heads.c - from the states that the decoder leaves to rewards: a scalar, or attributes and what they come to.
 *
 * HEAD_SCALAR: one linear output. HEAD_WEIGHTED (Nemotron-4-340B-Reward, Wang et al. 2024): five attributes, the
 * last of the linear outputs, and the sum that RewardBench makes of them. HEAD_GATED (ArmoRM, Wang et al. 2024):
 * attributes by a linear layer at the last token; their weights by a small network at the token where the last
 * assistant turn's header begins: score = sum_j gate_j · (attributes · transform)_j,  gate = softmax(network(state)
 * / temperature) · scale. The decoder's last layer leaves the last tokens' rows first, then the gates' rows.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/load.h"

/* Of ArmoRM's regression layer, in the order of its rows (its model card). */
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
  *names = m->cfg.head == HEAD_SCALAR ? NULL : m->cfg.head == HEAD_GATED ? armorm : nemotron;
  return m->cfg.head == HEAD_SCALAR ? 0 : m->cfg.head == HEAD_GATED ? ARMORM : NEMOTRON;
}
const float *model_attribute_values(const model *m) { return m->attributes; }

/* A tensor's values on the host. */
static rw_status values(const model *m, int i, float **out, rw_error *err) {
  const tensor *t = &m->t[i];
  *out = mem_alloc(t->pub.count, sizeof **out);
  if (!*out) return rw_nomem(err, t->pub.name);
  st_to_f32(*out, st_find(m->file, t->pub.name)->data, t->file_type, t->pub.count);
  return RW_OK;
}

rw_status heads_load_gated(loader *l) {
  model *m = l->m;
  const model_config *c = &m->cfg;
  int transform, scale;
  if (c->n_outputs != ARMORM)
    return rw_fail(l->err, RW_UNSUPPORTED, "%s: config.json: num_objectives: expected %d (ArmoRM's), got %zu",
                   m->dir, ARMORM, c->n_outputs);
  RW_TRY(load_take(l, "regression_layer.weight", c->n_outputs, c->hidden, &m->head));
  RW_TRY(load_take(l, "reward_transform_matrix", c->n_outputs, c->n_outputs, &transform));
  RW_TRY(load_take(l, "gating.logit_scale", 1, 0, &scale));
  RW_TRY(values(m, transform, &m->transform, l->err));
  RW_TRY(values(m, scale, &m->gate_scale, l->err));
  for (size_t i = 0; i <= c->gate_layers; i++) {
    size_t in = i ? c->gate_hidden : c->hidden, out = i < c->gate_layers ? c->gate_hidden : c->n_outputs;
    char name[64];
    snprintf(name, sizeof name, "gating.layers.%zu.weight", i);
    RW_TRY(load_take(l, name, out, in, &m->gate[i]));
    snprintf(name, sizeof name, "gating.layers.%zu.bias", i);
    RW_TRY(load_take(l, name, out, 0, &m->gate_bias[i]));
  }
  return RW_OK;
}

ptrdiff_t head_gate_position(const model_config *c, const int32_t *ids, size_t len) {
  for (size_t i = len; i-- > 0;)
    if (len - i >= c->gate_pattern_len && memcmp(ids + i, c->gate_pattern, c->gate_pattern_len * sizeof *ids) == 0)
      return (ptrdiff_t)i;
  return -1;
}

rw_status model_check_ids(const model *m, const int32_t *ids, size_t len, rw_error *err) {
  const model_config *c = &m->cfg;
  if (len == 0) return rw_fail(err, RW_DATA, "a conversation without tokens cannot be scored");
  for (size_t i = 0; i < len; i++)
    if (ids[i] < 0 || (size_t)ids[i] >= c->vocab)
      return rw_fail(err, RW_DATA, "input_ids[%zu]: expected 0 to %zu (vocab_size), got %d", i, c->vocab - 1,
                     ids[i]);
  if (c->ropes[0].kind == ROPE_DYNAMIC && len > (size_t)c->max_positions)
    return rw_fail(
        err, RW_DATA,
        "%zu tokens: the model's rotary scaling (dynamic) is supported up to its max_position_embeddings, "
        "%lld",
        len, (long long)c->max_positions);
  if (c->head == HEAD_GATED && head_gate_position(c, ids, len) < 0)
    return rw_fail(
        err, RW_DATA,
        "the tokens that begin an assistant turn (ids %d %d %d …) are not in the conversation; the model "
        "weighs its attributes there",
        c->gate_pattern[0], c->gate_pattern[1], c->gate_pattern[2]);
  return RW_OK;
}

/* x: [branches, H], normalised, at the gates' tokens; gate: [branches, outputs] before the softmax. */
static rw_status run_gate(model *m, mat x, float *gate, rw_error *err) {
  const model_config *c = &m->cfg;
  backend *be = m->be;
  size_t nb = m->rows.f.n_branches, wide = c->gate_hidden > c->n_outputs ? c->gate_hidden : c->n_outputs;
  RW_TRY(buffer_need(m, &m->gate_in, nb, wide, x.type, err));
  RW_TRY(buffer_need(m, &m->gate_out, nb, wide, T_F32, err));
  for (size_t i = 0; i <= c->gate_layers; i++) {
    weight w = model_matrix(m, m->gate[i], m->gate_bias[i]);
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
    double e = exp((gate[j] - max) / m->cfg.gate_temperature), moved = 0;
    for (size_t i = 0; i < ARMORM; i++) moved += (double)attr[i] * m->transform[i * ARMORM + j];
    sum += e;
    score += e * moved;
  }
  return (float)(score / sum * m->gate_scale[0]);
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
  const model_config *c = &m->cfg;
  backend *be = m->be;
  size_t h = c->hidden, nb = m->rows.f.n_branches, n = c->n_outputs;
  weight w = model_matrix(m, m->head, -1);
  mat last = model_mat(m, &m->last_h, h), out = mat_f32(m->rewards.p, n);
  model_norm(m, last, x, m->norm_final, m->norm_final_bias, ROWS_LAST, m->rstd_final.p);
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
