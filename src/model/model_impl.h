/* model_impl.h - the inside of a model: its tensors by role, its working memory.
 *
 * load.c opens checkpoints, batch.c lays groups out as a forest, decoder.c runs it forward and backward,
 * save.c writes checkpoints. Sizes: H hidden, F ff, Q/G query and key-value heads, D head size, R rows.
 */
#ifndef MODEL_MODEL_IMPL_H
#define MODEL_MODEL_IMPL_H

#include "compute/backend.h"
#include "format/peft.h"
#include "model/model.h"

/* A tensor of the checkpoint. */
typedef struct {
  model_param pub;    /* value NULL: use `data` */
  const void *data;   /* in the file's mapping, or in `copy` */
  tensor_type type;   /* of data */
  st_dtype file_type; /* as stored; written back unless another is asked for */
  void *copy;         /* f32, owned: norms, biases, the head, and whatever is not aligned in the file */
  size_t cols;        /* 0: a vector */
  bool made;          /* not in the checkpoint: a new head */
  int adapter;        /* index of its adapter's A; B is the next; 0: none */
  float scale;        /* of an adapter's A: B·A·x counts so much */
  char *own_name;     /* pub.name, when not the file's */
} tensor;

/* Indices into tensors; -1: the family has none. */
typedef struct {
  int norm_in, q, k, v, q_bias, k_bias, v_bias, q_norm, k_norm, o, o_bias, norm_post_attn; /* grouped: all in q */
  int norm_mid, gate, up, gate_bias, up_bias, down, down_bias, norm_post_mlp;
  int norm_in_bias, norm_mid_bias; /* LayerNorm */
} layer;

typedef struct {
  float *p;
  size_t cap;
} buffer;

/* What one layer keeps for its backward pass (or scratch, when only scoring). */
typedef struct {
  float *x, *qkv, *o, *lse, *x_mid,
      *gate_up;              /* [R, H] [R, (Q+2G)D] [R, QD] [R, Q] [R, H] [R, 2F], without a gate [R, F] */
  float *rstd_in, *rstd_mid; /* [R]; LayerNorm: [R, 2] */
  float *attn_out, *mlp_out, *rstd_attn, *rstd_mlp; /* before the post norms (Gemma): [R, H], [R] */
  float *qk, *rstd_qk;                              /* before the per-head norms: [R, (Q+G)D], [R, Q+G] */
} acts;

typedef struct frozen_cache frozen_cache;

struct model {
  rw_context *context;
  model_config cfg;
  char *dir;
  st_set *file;
  backend *be;
  tensor *t;
  size_t n_tensors, cap_tensors;
  model_param *params; /* filled by model_params */
  int embed, norm_final, norm_final_bias, head;
  layer *layers;
  bool head_is_new;
  size_t lora_rank; /* the largest; 0: no adapters */
  double lora_alpha, lora_dropout;
  char *lora_config; /* adapter_config.json as read; NULL: the adapters are new */
  bool merge;        /* model_save writes the whole model */
  uint64_t drop_key;
  bool dropping;                   /* in the pass that runs */
  uint64_t *drop_rows, *drop_last; /* keys of the rows, and of those in `last` */
  size_t cap_drop_rows, cap_drop_last;
  bool bf16; /* the layers' products */
  bool training;
  size_t freeze;  /* layers below are not trained */
  bool recompute; /* see model_train_options */
  size_t most_rows;
  frozen_cache *frozen;            /* NULL: none */
  float *values, *grads, *m1, *m2; /* one block each, trained tensors in order */
  uint8_t *codes;                  /* 8-bit states: both moments' codes, then m1 holds their scales */
  size_t n_trained;                /* floats */

  /* the batch (batch.c) */
  forest f;
  int32_t *ids, *pos;
  tree *trees;
  span *branches;
  size_t *last; /* row of each branch's last token; then, for a gated head, of each branch's gate */
  size_t n_last;
  size_t *ends;                   /* where each tree ends: among all rows, then among those in `last` (training) */
  row_pieces pieces, last_pieces; /* the same */
  size_t cap_rows, cap_rows_pos, cap_trees, cap_branches, cap_last, cap_ends;
  bool have_forward; /* the saved activations belong to this batch */

  /* working memory (decoder.c) */
  buffer h, a, work, saved, dx, dh, dqkv, d_o, last_x, last_o, last_h, rstd_final, rewards, d_rewards;
  buffer lora_u, lora_du, lora_x;
  buffer cos[MODEL_ROPES], sin[MODEL_ROPES];
  size_t rope_positions[MODEL_ROPES];

  /* heads with attributes (heads.c) */
  int gate[MODEL_GATE_LAYERS + 1], gate_bias[MODEL_GATE_LAYERS + 1];
  float *transform, *gate_scale, *attributes, *gates; /* host memory */
  size_t cap_attributes, cap_gates;
  buffer gate_in, gate_out;
};

/* batch.c: fills m->f from the groups; checks ids and lengths. */
rw_status batch_build(model *m, const id_group *groups, size_t n, bool share, rw_error *err);
/* frozen.c: x [rows, H], the batch's states before the first trained layer, of the file; false: not all of them are
 * there. After the last layer [branches, H]. */
bool frozen_fetch(model *m, const id_group *groups, size_t n, bool share, bool forward, float *x);
void frozen_store(model *m, const id_group *groups, size_t n, bool share, bool forward, float *x);
void frozen_free(frozen_cache *c); /* NULL is fine */
/* heads.c: rewards[branches] from the states after the last layer, x [n_last, H]. */
rw_status head_run(model *m, const float *x, float *rewards, rw_error *err);
/* Where the gate of a conversation reads; -1: nowhere. */
ptrdiff_t head_gate_position(const model_config *c, const int32_t *ids, size_t len);
/* Tokens that all conversations of the group begin with; each keeps at least one of its own. */
size_t batch_common_prefix(const id_group *g);
/* lora.c */
typedef struct {
  int n; /* projections of one input, their outputs side by side; with gradients side by side too */
  int w[3], bias[3];
} projection;
/* y = W·x + bias and the adapters' part; acc: added to y. */
rw_status model_linear(model *m, float *y, size_t ldy, const float *x, size_t ldx, const projection *p, size_t rows,
                       bool acc, rw_error *err);
/* Adds what is trained of the projections to its gradients and sets dx, which may be x. */
rw_status model_linear_bwd(model *m, float *dx, size_t lddx, const float *dy, size_t lddy, const float *x,
                           size_t ldx, const projection *p, size_t rows, rw_error *err);
/* The keys of the batch that batch_build laid out; from here until the next batch, adapters drop. */
rw_status lora_drop_keys(model *m, const id_group *groups, size_t n, rw_error *err);
/* Floats that adapters take beside the decoder's with passes of n rows. */
size_t lora_floats(const model *m, size_t n);
/* The projections of a layer; returns how many. */
size_t lora_projections(const layer *y, int out[7]);
/* lora_file.c; new_head: neither adapter nor base need have one */
rw_status lora_load(model *m, const char *dir, const peft_config *c, bool new_head, rw_error *err);
rw_status lora_save(model *m, const char *dir, int dtype, rw_error *err);
/* PEFT's name of a factor ('A', 'B') of tensor i; the caller frees it. */
char *lora_factor_name(const model *m, int i, char which);
/* Appends a tensor of an adapter and takes `name`; values: f32 of the host, NULL: zeros. */
rw_status lora_add_tensor(model *m, char *name, size_t rows, size_t cols, const float *values, rw_error *err);
/* "q_proj" of "model.layers.0.self_attn.q_proj.weight". */
slice lora_short_name(const char *name);
/* row [rows, cols] += s·B·A of a tensor with an adapter. */
rw_status lora_merge_into(model *m, const tensor *t, float *row, rw_error *err);
/* decoder.c: a tensor (-1: no bias) as an operand, trained or as stored. */
weight model_matrix(const model *m, int i, int bias);
/* A norm over whole rows of H, of the family's kind; kept: what its backward pass needs (may be NULL). */
void model_norm(model *m, float *y, const float *x, int w, int bias, size_t rows, float *kept);
/* Grows a device buffer; its contents are lost. */
rw_status buffer_need(model *m, buffer *b, size_t floats, const char *what, rw_error *err);

#endif
