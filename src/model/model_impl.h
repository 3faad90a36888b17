/* model_impl.h - the inside of a model: weights, which are as they were opened and shared; a session, which is what
 * a pass over them needs; and a trainer, which makes the weights its own.
 *
 * Each file uses only those before it:
 *   family.c, config.c   what config.json says
 *   tensor.c             a tensor's values on the device and on the host
 *   shards.c, gathered.c what is trained, parted among ranks
 *   batch.c              conversations as a forest
 *   ops.c, lora.c        the decoder's parts: memory, norms, projections with their adapters
 *   experts.c            mixtures of experts
 *   frozen.c, heads.c, faults.c
 *   forward.c, backward.c, trainer.c
 *   lora_file.c, lora_new.c, load_tensor.c, load_head.c, load.c, touch.c, session.c, save.c
 * Sizes: H hidden, F ff, Q/G query and key-value heads, D head size, R rows.
 */
#ifndef MODEL_MODEL_IMPL_H
#define MODEL_MODEL_IMPL_H

#include <stdatomic.h>

#include "compute/backend.h"
#include "format/peft.h"
#include "model/model.h"
#include "model/prefix_cache.h"

/* A tensor of the checkpoint. */
typedef struct {
  model_param pub;       /* w.value NULL: use `data` */
  const void *data;      /* device memory: the file's mapping, where that is device memory too, or `copy` */
  tensor_type type;      /* type of data */
  const st_tensor *file; /* the same values there; NULL: they are in `copy` only */
  st_dtype file_type;    /* as stored; written back unless another is asked for */
  void *copy;            /* owned; f32 for norms, biases, adapters and heads that are not in the base's file */
  size_t cols;           /* 0: a vector */
  size_t ld;             /* of data, where adapters stand behind its columns and below its rows; 0: cols */
  bool made;             /* not in the checkpoint: a new head */
  int adapter;           /* index of its adapter's A; B is the next; 0: none */
  float scale;           /* in an adapter's A: the factor of B·A·x */
  char *own_name;        /* pub.name, when not the file's */
} tensor;

/* Indices into tensors; -1: the family has none. */
typedef struct {
  int norm_in, q, k, v, q_bias, k_bias, v_bias, q_norm, k_norm, o, o_bias, norm_post_attn; /* grouped: all in q */
  int norm_mid, gate, up, gate_bias, up_bias, down, down_bias, norm_post_mlp;
  int norm_in_bias, norm_mid_bias; /* LayerNorm */
  int router, experts; /* a mixture's, which has no gate, up and down: the first expert's, three tensors each */
  int first;           /* the layer's first tensor: they stand together */
} layer;

/* Linear layers with ReLU between. */
typedef struct {
  size_t n;
  int w[MODEL_HEAD_LAYERS], bias[MODEL_HEAD_LAYERS]; /* bias -1: none */
} network;

/* Device memory that grows; its contents are then lost. */
typedef struct {
  void *p;
  size_t cap; /* bytes */
} buffer;

/* What one layer keeps for its backward pass (or scratch, when only scoring). */
typedef struct {
  mat x, qkv, o, x_mid, gate_up; /* [R, H] [R, (Q+2G)D] [R, QD] [R, H] [R, 2F], without a gate [R, F] */
  float *router;                 /* a mixture's logits [R, E]; gate_up is then [R·k, 2F] */
  float *lse;                    /* [R, Q] */
  float *rstd_in, *rstd_mid;     /* [R]; LayerNorm: [R, 2] */
  mat attn_out, mlp_out;         /* before the post norms (Gemma): [R, H] */
  float *rstd_attn, *rstd_mlp;   /* [R] */
  mat qk;                        /* before the per-head norms: [R, (Q+G)D] */
  float *rstd_qk;                /* [R, Q], then [R, G] */
} acts;

/* Where the rows of a pass go in a mixture of experts: slots, an expert's together (experts.c). */
typedef struct {
  float *logits;                   /* [R, E]; host memory, as the next ones */
  int32_t *slot_row, *row_slot;    /* [R·k]: a slot's row; a row's slots, by rising expert */
  float *slot_weight, *row_weight; /* the same */
  size_t *first, *next, *ends;     /* [E + 1] an expert's first slot; [E]; [trees] */
  size_t cap_logits, cap_slot_row, cap_row_slot, cap_slot_weight, cap_row_weight, cap_first, cap_next, cap_ends;
  buffer d_slot_row, d_row_slot, d_slot_weight, d_row_weight, d_dots, d_logits;
  buffer x, y, g, dg; /* by slots: [R·k, H], twice; [R·k, F], twice */
} routes;

typedef struct frozen_cache frozen_cache;

/* A block of the prefix cache that a pass fills, from its rows on. */
typedef struct {
  prefix_block *block;
  size_t row;
} new_block;

/* Immutable while more than one session uses them. */
typedef struct {
  atomic_int sessions;
  backend *be;          /* holds them, and is the first session's */
  char *device, *level; /* as it was opened */
  model_config cfg;
  char *dir;
  st_set *file;
  tensor *t;
  size_t n_tensors, cap_tensors;
  int embed, norm_final, norm_final_bias;
  int head;    /* the first of the head's tensors, which stand together before adapters */
  network top; /* the head */
  layer *layers;
  bool head_is_new;
  bool keeps_class; /* saved as it came: its head is not the family's own */
  bool reads_logit; /* the head is a row of the output matrix */
  size_t lora_rank; /* the largest; 0: no adapters */
  double lora_alpha;
  size_t lora_room;              /* columns for adapters behind the inputs of projections; 0: they are products */
  bool lora_stale;               /* what stands in the matrices is not the adapters' values any more */
  char *lora_config;             /* adapter_config.json as read; NULL: the adapters are new */
  network gate;                  /* a gated head's */
  float *transform, *gate_scale; /* the same; host memory */
} weights;

/* Trained tensors that are used together: the embedding, a layer, what follows the layers; with adapters all that
 * is trained. */
typedef struct {
  size_t from, n;      /* its values, of all trained ones */
  size_t first, end;   /* its tensors */
  size_t *cut;         /* [ranks + 1]: where each rank's stretch of it begins, among all trained values */
  size_t own;          /* where this rank's begins among those of its stretches */
  float *value, *grad; /* where it is gathered; where its gradient is computed */
} trained_unit;
#define NO_UNIT SIZE_MAX

/* A piece of a unit's gradient, of those that go from the last unit to the first. */
typedef struct {
  size_t left, piece; /* piece of unit left - 1 */
  size_t count;       /* pieces before it */
} piece_at;

enum { MODEL_PLACES = 4, WEIGHTS_SLOT = 2 };

/* What a session that trains has besides. */
typedef struct {
  bool training;
  size_t freeze; /* layers below are not trained */
  recomputation recompute;
  size_t most_rows;
  double dropout;
  uint64_t drop_key;
  const size_t *pass_piece; /* of the next pass's groups; NULL: trees are pieces */
  bool merge;               /* model_save writes the whole model */
  frozen_cache *frozen;     /* NULL: none */
  model_param *params;      /* for model_params */
  char *values;             /* one block each, trained tensors in order; 4 bytes a value */
  float *grads;             /* the same */
  float *m1, *m2;           /* this rank's stretches, as values and grads when weights are apart */
  uint8_t *codes;           /* 8-bit states: both moments' codes, then m1 and m2 hold their scales */
  size_t n_trained;         /* values */
  size_t first;             /* the first trained tensor */
  /* shards.c */
  trained_unit *units;               /* NULL: one process */
  size_t n_units, own;               /* own: values of this rank's stretches */
  size_t piece;                      /* values on their way from one rank to another at a time */
  float *sum;                        /* the slices' so far, this rank's stretches; NULL: not needed */
  float *in[2], *out[2], *staged[2]; /* pieces of each rank, in host memory; on the device. NULL: not needed */
  comm_part *parts;
  struct {
    int here;                 /* see model_begin_round */
    bool first, last, passed; /* passed: weights are apart, and a backward pass was */
  } round;
  bool closing;          /* the passes to come leave gradients that may go */
  size_t ready;          /* units from here on may */
  piece_at begun, added; /* the next one to begin, to add */
  uint64_t sent;         /* bytes, to other ranks */
  rw_error fault;        /* the first one of an exchange in a pass; it stays */
  /* gathered.c */
  bool apart;                 /* no rank has all values */
  float *room;                /* for all places */
  size_t holds[MODEL_PLACES]; /* units */
  size_t coming;              /* the one of them that is under way, or NO_UNIT */
  size_t visited;             /* units of the forward pass so far */
} trainer;

/* A session. */
struct model {
  rw_context *context;
  weights *w;
  backend *be; /* the weights', or one of its own over their memory */
  bool bf16;   /* the layers' products */
  trainer tr;

  /* the batch (batch.c) */
  batch_layout rows; /* what follows, as operations see it */
  batch *batch;
  int32_t *ids, *pos;
  int32_t
      *rope_rows; /* LongRoPE: each row's place in the rotary tables; before: 1 in a long conversation, else 0 */
  tree *trees;
  span *branches;
  size_t *last; /* row of each branch's last token; then, for a gated head, of each branch's gate */
  size_t *ends; /* where each tree ends: among all rows, then among those in `last` (training) */
  size_t cap_rows, cap_rows_pos, cap_rope_rows, cap_trees, cap_branches, cap_last, cap_ends;
  bool dropping;                   /* in the pass that runs */
  uint64_t *drop_rows, *drop_last; /* keys of the rows, and of those in `last` */
  size_t cap_drop_rows, cap_drop_last;
  prefix_cache *prefixes;      /* NULL: none */
  prefix_block **known_blocks; /* this pass's blocks: PREFIX_BLOCK rows of `known` each, one after another */
  new_block *new_blocks;
  size_t n_known_blocks, cap_known_blocks, n_new_blocks, cap_new_blocks, known_rows;
  bool have_forward; /* the saved activations belong to this batch */

  /* working memory */
  buffer h, a, work, saved, dx, dh, dqkv, d_o, last_x, last_o, final, last_h, rstd_final, rewards, d_rewards;
  buffer lora_u, lora_du[3], lora_x, lora_a;
  routes routes;
  buffer known; /* [known rows, 2GD]: keys and values of one layer */
  buffer cos[MODEL_ROPES], sin[MODEL_ROPES];
  size_t rope_positions[MODEL_ROPES];

  /* heads with attributes (heads.c) */
  float *attributes, *gates; /* host memory */
  size_t cap_attributes, cap_gates;
  buffer gate_out;

  buffer head_acts,
      head_work; /* the head's or the gate's hidden layers: each one's outputs; one of any (heads.c) */
};

/* batch.c: fills m->f from the groups; checks ids and lengths. */
rw_status batch_build(model *m, const id_group *groups, size_t n, bool share, rw_error *err);
/* LongRoPE, whose tables have `positions` rows for short conversations, then those for long ones. */
void batch_long_rows(model *m, size_t positions);
/* Does the batch hold what the group's conversations share once? Not where they are rotated differently. */
bool batch_shares(const model *m, const id_group *g, bool share);
/* frozen.c: x [rows, H], the batch's states before the first trained layer, of the file; false: not all of them are
 * there. After the last layer [branches, H]. */
bool frozen_fetch(model *m, const id_group *groups, size_t n, bool share, bool forward, mat x);
rw_status frozen_store(model *m, const id_group *groups, size_t n, bool share, bool forward, mat x, rw_error *err);
void frozen_free(frozen_cache *c); /* NULL is fine */
/* heads.c: rewards[branches] from the states after the last layer, x [n_last, H]. */
rw_status head_run(model *m, mat x, float *rewards, rw_error *err);
/* From the gradients of the rewards, dr [branches, 1], to that of the head's input, dh [branches, H]; adds to the
 * gradients of the head. */
void head_backward(model *m, mat dr, mat dh);
/* Room for a pass's branches. */
rw_status head_need(model *m, rw_error *err);
/* One past the head's tensors. */
size_t head_end(const weights *w);
/* Tokens that all conversations of the group begin with; each keeps at least one of its own. */
size_t batch_common_prefix(const id_group *g);
/* lora.c */
typedef struct {
  int n; /* projections of one input, their outputs side by side; with gradients side by side too */
  int w[3], bias[3];
} projection;
/* y = W·x + bias and the adapters' part; acc: added to y. */
void model_linear(model *m, mat y, mat x, projection p, row_set rows, bool acc);
/* Adds what is trained of the projections to its gradients and sets dx, which may be x. */
void model_linear_bwd(model *m, mat dx, mat dy, mat x, projection p, row_set rows);
/* The keys of the batch that batch_build laid out; from here until the next batch, adapters drop. */
rw_status lora_drop_keys(model *m, const id_group *groups, size_t n, rw_error *err);
/* Makes room in the matrices for all adapters, which are new, where this backend wants them there. */
rw_status lora_join(model *m, rw_error *err);
/* Room for the adapters' working memory of this batch; what stands of them in the matrices is up to date then. */
rw_status lora_need(model *m, rw_error *err);
/* Bytes that adapters take beside the decoder's with passes of n rows. */
size_t lora_bytes(const model *m, size_t n);
/* The projections of a layer; returns how many. */
size_t lora_projections(const layer *y, int out[7]);
/* Can adapters stand beside this head? */
rw_status lora_check_head(const model *m, rw_error *err);
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
/* experts.c: room for a pass; bytes of it for passes of so many rows. */
rw_status experts_need(model *m, rw_error *err);
size_t experts_bytes(const model *m, size_t rows);
void experts_free(model *m);
/* tensor.c: a session gives weights back; the last one frees them. */
void weights_drop(weights *w);
/* Gives tensor t f32 values of its own, of host memory; NULL: zeros. */
rw_status tensor_own(model *m, tensor *t, const float *values, rw_error *err);
/* All threads share a conversion, so neither may be called from inside a task. Values [at, at + n) of a tensor,
 * trained or as stored, as f32 in host memory; sync tells of faults. */
void tensor_read(const model *m, const tensor *t, size_t at, size_t n, float *out);
/* f32 values as a file has them. */
void tensor_from_f32(const model *m, void *out, const float *values, st_dtype dtype, size_t n);
/* session.c: the device of new weights and their first session; level as in model_options. f32: asked for by name.
 */
rw_status session_device(model *m, const char *device, const char *level, bool f32, rw_error *err);
/* shards.c: units and stretches of all ranks, each parameter's part of this one's; room for sums and exchange. */
rw_status shards_cut(model *m, rw_error *err);
rw_status shards_room(model *m, size_t slices, rw_error *err);
void shards_free(model *m); /* the room */
typedef struct {
  uint64_t values, gradients, sums, staged, gathered; /* bytes */
  uint64_t states;                                    /* values whose states a rank keeps */
  uint64_t exchanged;                                 /* bytes that a rank sends in a step */
} shard_bytes;
shard_bytes shards_bytes(const model *m, size_t slices, uint64_t trained);
/* The first tensor of each unit, and one past the last unit's, when tensors from `first` on are trained: begins
 * [MODEL_MAX_LAYERS + 3]. Returns how many. */
size_t shards_units(const model *m, size_t first, size_t *begins);
/* The embedding's unit, a layer's, and that of what follows; NO_UNIT: it is in none, or there is one process. */
size_t shards_embed(const model *m);
size_t shards_layer(const model *m, size_t l);
size_t shards_rest(const model *m);
/* From now on units' gradients may go to their owners, from the last to the first; this one's and those behind it
 * are complete; waits until units from `until` on are added (NO_UNIT: only goes on with what is under way). Faults
 * wait for shards_fault. */
void shards_begin(model *m);
void shards_done(model *m, size_t u);
void shards_go_on(model *m, size_t until);
rw_status shards_fault(model *m, rw_error *err);
rw_status shards_end_round(model *m, rw_error *err);
rw_status shards_share_values(model *m, rw_error *err);
/* gathered.c: room for units; the bytes of it all, when tensors from `first` on are trained; forgets what is held.
 */
rw_status gathered_room(model *m, rw_error *err);
shard_bytes gathered_bytes(const model *m, size_t slices, size_t first, uint64_t trained);
void gathered_forget(model *m);
void gathered_free(model *m);
/* All of the next do nothing where weights are not apart, or with NO_UNIT. Begin and end of a pass that this rank
 * computes, s: how it went; between them units in their order, as they are needed. */
rw_status gathered_forward(model *m, rw_error *err);
rw_status gathered_forward_end(model *m, rw_status s, rw_error *err);
rw_status gathered_backward(model *m, rw_error *err);
rw_status gathered_backward_end(model *m, rw_error *err);
void gathered_need_up(model *m, size_t u);
void gathered_need_down(model *m, size_t u);
/* Zeros where the gradient of unit u is to be computed. */
void gathered_begin_grad(model *m, size_t u);
/* Outside of passes: tensor i's values are there when it returns. */
rw_status gathered_hold(model *m, size_t i, rw_error *err);
/* ops.c: a tensor (-1: no bias) as an operand, trained or as stored. */
weight model_matrix(const model *m, int i, int bias);
/* A norm over whole rows of H, of the family's kind; kept: what its backward pass needs (may be NULL). */
void model_norm(model *m, mat y, mat x, int w, int bias, row_set rows, float *kept);
size_t model_rows(const model *m, row_set rows);
/* A buffer of activations, `columns` wide. */
mat model_mat(const model *m, const buffer *b, size_t columns);
/* The columns behind what projections read, and behind the gradients of what they give, for adapters that stand in
 * the matrices; 0: none do. */
size_t lora_room(const model *m);
/* One with lora_room behind each row. */
mat model_wide(const model *m, const buffer *b, size_t columns);
/* Grows a device buffer to rows of so many columns of a type; its contents are lost. */
rw_status buffer_need(model *m, buffer *b, size_t rows, size_t columns, tensor_type type, rw_error *err);

#endif
