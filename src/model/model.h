/* model.h - reward models: a decoder described by its config.json, and a head.
 *
 * A model is opened from a Hugging Face checkpoint directory, or a PEFT directory over one. Its matrices stay in
 * the file's mapping, in the file's precision, until model_train makes trainable copies. Families differ in data
 * (model_config), not in code: see the table of family.c.
 */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/context.h"
#include "compute/trained.h"
#include "format/safetensors.h"
#include "model/family.h"
#include "model/head_form.h"
#include "model/prefix_figures.h"

enum {
  MODEL_MAX_LAYERS = 1024,
  MODEL_ROPES = 2,
  MODEL_NO_ROPE = 255,
  MODEL_HEAD_LAYERS = 9,
  MODEL_GATE_PATTERN = 16,
  MODEL_LONG_PAIRS = 256,
  MODEL_MOST_CHOSEN = 64
};

typedef enum { ROPE_DEFAULT, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_DYNAMIC, ROPE_LONG } rope_kind;
typedef struct {
  rope_kind kind;
  double theta, factor, low_freq_factor, high_freq_factor;
  double low, high;        /* YaRN: the ramp's ends, in pairs of columns */
  double attention_factor; /* multiplies cosine and sine */
  int64_t original_max_positions;
  /* LongRoPE: divisors of the frequencies, in conversations of up to original_max_positions tokens and in longer */
  float short_factor[MODEL_LONG_PAIRS], long_factor[MODEL_LONG_PAIRS];
} rope_config;

/* SCALAR: one logit. WEIGHTED: attributes, summed with published weights (Nemotron). GATED: attributes, weighed by
 * a network that reads the prompt (ArmoRM). */
typedef enum { HEAD_SCALAR, HEAD_WEIGHTED, HEAD_GATED } head_kind;

/* Every field of config.json that changes the numbers. */
typedef struct {
  char type[32]; /* model_type: "llama", … */
  const model_family *family;
  size_t hidden, layers, q_heads, kv_heads, head_dim, ff, vocab;
  int64_t max_positions; /* the model's limit of tokens */
  float norm_eps, norm_offset;
  bool qkv_bias, o_bias, mlp_bias, qk_norm, post_norms;
  bool pre_norms;     /* norms before attention and MLP */
  bool qk_norm_whole; /* over all heads together */
  bool grouped_qkv;   /* one matrix: per key-value head its query heads, its key, its value (InternLM2) */
  bool gelu;          /* gated GELU (tanh) instead of SiLU */
  bool relu2;         /* squared ReLU without a gate */
  bool layer_norm;    /* mean and bias too, where others have RMSNorm */
  size_t rotary_dim;  /* the first so many of head_dim's columns are rotated */
  /* Mixtures of experts; n_experts 0: none. norm_topk: the chosen ones' weights sum to 1. */
  size_t n_experts, experts_per_token, expert_ff;
  bool norm_topk;
  bool mixture[MODEL_MAX_LAYERS]; /* in place of the layer's MLP */
  float embed_scale;              /* multiplies embeddings */
  float attn_scale, attn_softcap;
  int32_t window[MODEL_MAX_LAYERS];  /* 0: full attention */
  uint8_t rope_of[MODEL_MAX_LAYERS]; /* an index of ropes; MODEL_NO_ROPE: none */
  rope_config ropes[MODEL_ROPES];
  double initializer_range;
  int32_t pad_token_id;    /* -1: none */
  int32_t reward_token_id; /* read there: appended to every templated conversation; -1: none */
  head_kind head;
  size_t n_outputs;               /* outputs of the head */
  char class[64];                 /* architectures[0] */
  const head_form *form;          /* NULL: the family's own head */
  double logit_softcap;           /* caps the output matrix's logits; 0: none */
  size_t head_hidden, head_width; /* HEAD_SCALAR: hidden layers of the head, and their width */
  /* HEAD_GATED: hidden layers of the gate's network and their width; the ids that begin an assistant turn */
  size_t gate_layers, gate_hidden;
  double gate_temperature;
  int32_t gate_pattern[MODEL_GATE_PATTERN];
  size_t gate_pattern_len;
} model_config;

/* Reads dir/config.json. A field that changes the numbers and is not supported is an error naming it. */
rw_status model_config_read(model_config *c, const char *dir, rw_error *err);

typedef struct model model;

typedef struct {
  const char *device; /* "auto", "cpu", … */
  const char *level;  /* CPU level for tests; NULL: the best */
  const char *dtype;  /* type of the layers' products: "f32", "bf16"; NULL, "auto": f32 */
  bool auto_bf16;     /* "auto": bf16 where the device has it fast */
  rw_context *context;
  const char *base; /* base of a PEFT directory; NULL: the one that it names, and a warning says which */
  bool own;         /* made by this process: no warning */
  const char *head; /* "logit:ID": the output matrix's row ID in place of a head; NULL: the checkpoint's */
  bool new_head;    /* a missing score head is drawn from N(0, initializer_range) with `seed` */
  uint64_t seed;
} model_options;

/* Refuses a checkpoint with missing, extra or wrongly shaped tensors, by name. */
rw_status model_open(model **out, const char *dir, const model_options *o, rw_error *err);
/* Another session over the same weights, for another thread with threads of its own in `context`; passes of both
 * may run at once. The context that the weights were opened in outlives all sessions. None of them may train. */
rw_status model_session(model **out, const model *of, rw_context *context, rw_error *err);
/* One in f32, slow on a device whose activations are bf16. In of's context: passes of one at a time. */
rw_status model_session_f32(model **out, const model *of, rw_error *err);
void model_free(model *m); /* a session; the last frees the weights. NULL is fine */
const model_config *model_info(const model *m);
/* Where the weights are: of an adapter, its base. */
const char *model_dir(const model *m);
const char *model_device(const model *m); /* for run records: "avx512" */
/* Tokens of a pass that suit the device. */
int64_t model_train_tokens(const model *m);
int64_t model_score_tokens(const model *m);
/* Tokens that should be one piece of weight gradients, their sums over rows; 1: each tree is its own. */
int64_t model_piece_tokens(const model *m);
const char *model_dtype(const model *m); /* "f32", "bf16" */
/* Changes the products' precision from the next pass on; weights, sums and all else stay as they are. */
void model_set_bf16(model *m, bool on);
bool model_is_bf16(const model *m);
bool model_head_is_new(const model *m);
/* What model_save writes with dtype -1: of a whole model the embedding's, the others' may differ. */
st_dtype model_saved_dtype(const model *m);
/* XXH3-128 of all weights as stored, as 32 hex digits into out[33]. */
rw_status model_hash(const model *m, char out[33], rw_error *err);

/* One group of conversations whose common prefix is computed once. */
typedef struct {
  const int32_t *const *ids; /* [n] */
  const size_t *len;         /* [n], each at least 1 */
  size_t n;
} id_group;
/* Tokens that a group costs: the shared prefix once, then each rest. share false: all of each. */
size_t model_group_tokens(const id_group *g, bool share);

/* A warning where --max-length (0: not given) is more than the model's limit. */
void model_warn_length(rw_context *context, const model_config *c, int64_t max_length);
/* Can this conversation be scored? Ids of the vocabulary; with dynamic rotary scaling no more than max_positions;
 * for a gated head an assistant turn among them. */
rw_status model_check_ids(const model *m, const int32_t *ids, size_t len, rw_error *err);

/* rewards[sum of n]: the logit at each conversation's last token, f32. All groups in one batch; the caller
 * keeps the batch to a size that fits. Ids outside the vocabulary: RW_DATA. */
rw_status model_score(model *m, const id_group *groups, size_t n, bool share, float *rewards, rw_error *err);

/* From now on model_score keeps the keys and values of what conversations begin with, up to max_bytes, and computes
 * only what it has not kept (prefix_cache.h). The same bits. Before any other pass, and not for training.
 * PREFIXES_DEFAULT: 256 MiB on the CPU, nothing on other devices and for a model whose keys cannot be kept. */
#define PREFIXES_DEFAULT UINT64_MAX
rw_status model_keep_prefixes(model *m, uint64_t max_bytes, rw_error *err);
prefix_figures model_prefix_figures(const model *m);

/* The names of a head's attributes; 0 for a scalar head. */
size_t model_attributes(const model *m, const char *const **names);
/* [conversations, attributes] of the last model_score, in its order; valid until the next. */
const float *model_attribute_values(const model *m);

/* ---- training ---- */

typedef struct {
  const char *name;    /* as in the checkpoint */
  master w;            /* device memory, as all here: model_get and model_put reach it. Frozen: all NULL */
  float *grad;         /* [count] */
  size_t first, owned; /* what this rank updates: values [first, first + owned); all of them in one process */
  master own;          /* these, and their gradients */
  float *own_grad;
  float *m1, *m2;      /* [owned] */
  adamw8_state q1, q2; /* instead of m1, m2 with 8-bit states; first is then where a block begins */
  size_t count;
  size_t rows; /* first dimension */
  bool is_norm, is_bias;
} model_param;

/* Low-rank adapters on the projections of layers first_layer and up; then only they and the head are trained. */
typedef struct {
  int64_t rank;
  double alpha;        /* the adapter counts alpha / rank */
  const char *targets; /* "all-linear", or names such as "q_proj,v_proj" */
  size_t first_layer;
  uint64_t seed;
} lora_options;
/* To be called before model_train. A model opened from a PEFT directory has its adapters already. */
rw_status model_add_lora(model *m, const lora_options *o, rw_error *err);
bool model_has_lora(const model *m);
/* The largest rank (0: no adapters) and the alpha that goes with it unless a pattern says otherwise. */
size_t model_lora_rank(const model *m);
double model_lora_alpha(const model *m);
/* The first layer with adapters. */
size_t model_lora_from(const model *m);
/* What model_forward drops of the adapters' inputs: this share (as the PEFT directory said, or 0, until set). */
void model_set_dropout(model *m, double p);
double model_dropout(const model *m);
/* Before the passes of a step. Which elements are dropped is a hash of seed, step, the group's ids, the projection
 * and the token's place in its group: not of what is computed together. */
void model_drop_by(model *m, uint64_t seed, uint64_t step);
/* Before a pass: groups beside one another with the same number, not 0, of piece[groups] are one piece of its
 * weight gradients' sums over rows; else each tree is one. For the next model_forward alone; piece stays the
 * caller's. */
void model_piece_by(model *m, const size_t *piece);
/* From now on model_save writes the whole model, W + (alpha / rank)·B·A, instead of a PEFT directory. */
void model_merge(model *m);

/* What a layer does not keep for its backward pass, which runs it again: nothing; the MLP's inner activations (gate
 * and up, most of what a layer has); all but its input. Less memory, more time, the same bits. */
typedef enum { RECOMPUTE_NO, RECOMPUTE_MLP, RECOMPUTE_FULL, RECOMPUTATIONS } recomputation;

typedef struct {
  size_t freeze_layers; /* train the layers from here up and, when 0, the embedding */
  recomputation recompute;
  bool states_8bit;
  size_t most_rows; /* tokens of the largest pass to come, so that buffers need not grow; 0: not known */
  size_t slices;    /* parts of a batch, whose gradients are summed one after another; 0: one */
  bool apart;       /* no one of several ranks keeps all values and gradients (ZeRO-3); a slice is then one pass */
  bool reopened;    /* for model_train_bytes: what is saved on the way is opened beside it and scored with */
  int save_dtype;   /* so saved: st_dtype, or -1: as in the input */
} model_train_options;
/* Can this model be trained so? RW_USAGE for layers that it does not have, RW_UNSUPPORTED for a head with
 * attributes. */
rw_status model_train_check(const model *m, const model_train_options *o, rw_error *err);
/* Makes trainable copies of what is trained, the final norm and the head among it, with gradients (zeroed) and
 * optimizer states (zeroed). Of several ranks (context.h) each has all values and gradients, and of the states
 * those of its own stretches. Of weights that are apart it has its own stretches of everything: then all ranks run
 * passes together, and one that has nothing to do, to compute or to save, calls model_attend. */
rw_status model_train(model *m, const model_train_options *o, rw_error *err);
size_t model_params(const model *m, const model_param **params);
/* Between device and host memory; and a parameter's values (of n from `at` on) as f32. model_sync tells of faults
 * of the device. */
void model_get(const model *m, void *host, const void *device, size_t bytes);
void model_put(model *m, void *device, const void *host, size_t bytes);
void model_get_values(const model *m, const model_param *p, size_t at, size_t n, float *host);
void model_put_values(model *m, const model_param *p,
                      const float *host); /* [count], of which the rank takes what it keeps */
rw_status model_sync(const model *m, rw_error *err);
/* From now on the states below the trained layers are kept, up to max_bytes, in a nameless file in the folder dir,
 * and taken from there when model_forward (forward) or model_score (score) see the same group again. The same bits
 * as without. */
rw_status model_keep_frozen(model *m, const char *dir, uint64_t max_bytes, bool forward, bool score, rw_error *err);
typedef struct {
  uint64_t bytes, hits; /* kept; groups taken from the file */
  const char *fault;    /* why the file was given up on the way; NULL: it was not */
} model_frozen_use;
model_frozen_use model_frozen_used(const model *m);

/* As model_score, keeping what the backward pass needs. */
rw_status model_forward(model *m, const id_group *groups, size_t n, bool share, float *rewards, rw_error *err);
/* Adds the gradient of sum(d_rewards[i] * reward[i]) of the last model_forward to the parameters' grad. */
rw_status model_backward(model *m, const float *d_rewards, rw_error *err);
/* Gives working memory and the pages of the file back until the next pass, for those who need room to save. */
void model_rest(model *m);
/* After model_train: gives back gradients and optimizer states too. What is left can be scored with and saved. */
void model_end_training(model *m);
void model_zero_grad(model *m);
/* All ranks together: from here on the first `here` of them compute a slice's gradient each; model_end_round adds
 * them in the order of the ranks to those of earlier rounds (first: there are none). After the last round this
 * rank's stretches of the gradients are the batch's; beyond them they mean nothing. What has failed on this rank in
 * a round does not spare it the end. */
void model_begin_round(model *m, int here, bool first, bool last);
/* The next model_backward is the last of this rank's slice: what it leaves goes on its way while it runs. */
void model_close_slice(model *m);
rw_status model_end_round(model *m, rw_error *err);
/* Takes part in what the other ranks do, until none of them wants more of it. */
rw_status model_attend(model *m, rw_error *err);
/* The same, then what all ranks make of `mine` (comm_agree): for what some of them did alone. */
rw_status model_agree(model *m, rw_status mine, rw_error *err);
uint64_t model_sent(const model *m); /* bytes to other ranks so far, but for figures */
/* sqrt of the sum of squares of all gradients; all ranks together. */
rw_status model_grad_norm(model *m, double *norm, rw_error *err);
typedef struct {
  double lr, beta1, beta2, eps, weight_decay;
  bool decay_norm, decay_bias;
  uint64_t t; /* update number, from 1 */
} model_adamw;
/* Of this rank's stretches; model_share_values then gives all ranks the values of all. */
void model_update(model *m, const model_adamw *o, double clip);
rw_status model_share_values(model *m, rw_error *err);
/* The name of the first parameter, in the order of the backward pass, with a non-finite gradient, or NULL. */
const char *model_bad_gradient(model *m);
/* The name of the first tensor with a non-finite weight, and where in it; NULL: none. */
const char *model_bad_weight(const model *m, size_t *index);

/* Bytes that training will take with passes of up to n_tokens rows: parameters, states, activations, packed
 * factors, and what saving needs. Where the device's memory is the host's, the sum counts. */
typedef struct {
  uint64_t device, host;
  uint64_t exchanged; /* what each rank sends in a step */
} model_bytes;
model_bytes model_train_bytes(const model *m, const model_train_options *o, size_t n_tokens);
/* Bytes of the files that training writes: the model as model_save has it with o->save_dtype, the trained tensors
 * in f32, and these with the optimizer's states. */
typedef struct {
  uint64_t saved, weights, states;
} model_file_bytes;
model_file_bytes model_files(const model *m, const model_train_options *o);
/* The device's memory; both 0: it is the host's. */
void model_device_memory(const model *m, uint64_t *free, uint64_t *total);

/* Writes config.json (…ForSequenceClassification, num_labels 1) and the weights; dtype -1: as in the input. The
 * caller copies the tokenizer. */
rw_status model_save(model *m, const char *dir, int dtype, int32_t pad_token_id, rw_error *err);

/* Hidden state after each layer (0: embeddings), of one conversation: out[len, hidden]. For finding faults. */
rw_status model_hidden(model *m, const int32_t *ids, size_t len, size_t layer, float *out, rw_error *err);

#endif
