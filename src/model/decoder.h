/* decoder.h - what ops.c, forward.c and backward.c share. */
#ifndef MODEL_DECODER_H
#define MODEL_DECODER_H

#include "model/model_impl.h"

static inline size_t q_width(const model_config *c) { return c->q_heads * c->head_dim; }
static inline size_t qk_width(const model_config *c) { return (c->q_heads + c->kv_heads) * c->head_dim; }
static inline size_t qkv_width(const model_config *c) { return (c->q_heads + 2 * c->kv_heads) * c->head_dim; }
static inline size_t up_width(const model_config *c) { return c->relu2 ? c->ff : 2 * c->ff; }
static inline activation act_of(const model_config *c) {
  return c->relu2 ? ACT_RELU2 : c->gelu ? ACT_GELU_TANH : ACT_SILU;
}

/* How many of a row's query (or key) vectors have a norm each, and how wide they are. */
static inline size_t qk_groups(const model_config *c, size_t heads) { return c->qk_norm_whole ? 1 : heads; }
static inline size_t qk_norm_width(const model_config *c, size_t heads) {
  return c->qk_norm_whole ? heads * c->head_dim : c->head_dim;
}

/* ops.c */
const float *vec(const model *m, int i); /* a norm's or a bias's values */
float *grad_of(const model *m, int i);   /* NULL: frozen, or i -1 */
projection qkv_of(const layer *y);
projection o_of(const layer *y);
projection up_of(const layer *y);
projection down_of(const layer *y);
void model_norm_bwd(model *m, mat dx, int w, int bias, mat dy, mat x, const float *kept, row_set rows, bool acc);
/* What a layer's first projections, or its MLP's, read: the norm of x, in m->h; x itself, or there with room behind
 * it, in a family without. */
mat model_input(model *m, mat x, int norm, int bias, row_set rows, float *kept);
attention_shape shape_of(const model_config *c, size_t l);
/* Rotates queries and keys of layer l; sign -1: back. */
void model_rope(model *m, mat qk, size_t l, float sign);
/* Columns between the checkpoint's order of a grouped projection (see model_config) and ours: all queries, all
 * keys, all values. */
void regroup(model *m, mat ours, mat theirs, bool to_ours);
/* Rotary tables `which` of at least so many positions. */
rw_status rope_tables(model *m, size_t which, size_t positions, rw_error *err);
/* One layer's activations cut out of base (NULL: only counts); returns the bytes needed. Scoring (keep false) works
 * in place: x_mid is x. */
size_t cut_acts(const model *m, acts *s, void *base, size_t rows, bool keep);
rw_status buffer_need_bytes(model *m, buffer *b, size_t bytes, rw_error *err);

/* Bytes kept for the trained layers with passes of `rows` rows. */
size_t kept_bytes(const model *m, size_t rows, size_t trained, recomputation r);
/* The activations of trained layer l. What is not kept of each layer is that of the layer run last. */
acts kept_acts(const model *m, size_t l);

/* experts.c: layer l's mixture of the normalised rows; out = s->x_mid + what it gives. out NULL: only fills s. */
void experts_forward(model *m, size_t l, const acts *s, mat normed, const mat *out, row_set rows);
/* dx = the gradient of its input from that of its output, dy; s->gate_up is overwritten. */
void experts_backward(model *m, size_t l, const acts *s, mat dy, mat normed, mat dx, row_set rows);

/* forward.c: layer l. out: [R, H], or [n_last, H] when last; may be s->x when nothing is kept. NULL: only fills s.
 */
void forward_layer(model *m, size_t l, acts *s, const mat *out, bool last);
/* Fills what is not kept of layer l, for the backward pass; s: its kept_acts. */
void forward_again(model *m, size_t l, acts *s);

#endif
