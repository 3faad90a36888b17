/* family.h - what sets the families of models apart: a row of one table each, which config.c, load.c, save.c and
 * convert.c read. A new family is a row here, its recorded vectors (tests/data/model) and a line in docs/models.md.
 */
#ifndef MODEL_FAMILY_H
#define MODEL_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* Names of tensors; those of a layer stand below layers.N. and have .weight and .bias behind them. */
typedef struct {
  const char *embed;
  const char *norm_in, *q, *k, *v, *o, *norm_mid, *gate, *up, *down;
  const char *qkv; /* one matrix in place of q, k and v; NULL: three */
  bool grouped;    /* its rows: per key-value head its query heads, its key, its value; else all of each */
  const char *router, *expert; /* a mixture's; expert N is expert.N */
  const char *expert_gate, *expert_up, *expert_down;
  const char *post_attn, *post_mlp; /* norms after each branch, where the family has them */
  const char *score, *causal_head;  /* the reward head's; that of a language model's head, which is passed over */
} family_names;

/* QKV: always at query, key and value. FIELD: at all of attention, if a field of config.json says so. */
typedef enum { BIAS_NONE, BIAS_QKV, BIAS_FIELD } family_bias;
/* Which layers see a window where config.json has no layer_types: none; all; all but each window_every-th; the same
 * by sliding_window_pattern; with use_sliding_window those from max_window_layers on, all, or those without rotary.
 */
typedef enum {
  WINDOW_NONE,
  WINDOW_ALL,
  WINDOW_EVERY,
  WINDOW_PATTERN,
  WINDOW_FROM,
  WINDOW_FLAG,
  WINDOW_NO_ROPE
} family_window;
/* CLASS: one score, or ArmoRM's attributes if the class of the checkpoint says so. LABELS: one output or
 * attributes, by num_labels (Nemotron). */
typedef enum { HEAD_BY_CLASS, HEAD_BY_LABELS } family_head;

typedef struct {
  const char *type;          /* config.json's model_type */
  const char *class, *saved; /* transformers' names; save writes these two joined by "For" as the class */
  const family_names *names;

  bool layer_norm; /* mean and bias too, where others have RMSNorm */
  float norm_offset;
  const char *eps_field;
  double eps;
  bool post_norms;    /* norms after attention and MLP too */
  bool no_pre_norms;  /* and none before */
  bool qk_norm;       /* each head's query and key have a norm */
  bool qk_norm_whole; /* over all heads together */

  const char *act_field, *act; /* the activation's field, and its default */
  bool gelu_is_tanh;           /* "gelu" there means its tanh form */
  bool relu2;                  /* squared ReLU without a gate, and no other */

  int64_t head_dim;     /* 0: hidden_size / num_attention_heads */
  bool query_scalar;    /* scores are scaled by query_pre_attn_scalar, not by the head size */
  double softcap;       /* attn_logit_softcapping; 0: there is none */
  bool no_softcap;      /* and a checkpoint that has it is refused */
  double logit_softcap; /* final_logit_softcapping; negative: none, if the file has none; 0: never */
  family_bias bias;
  const char *bias_field;
  bool bias_default;
  bool mlp_bias; /* may be, by the field of that name */
  family_window window;
  int window_every;
  bool window_unset; /* without the field sliding_window there is none; else it is 4096 */

  /* Mixtures of experts: how many there are and a token has, without the fields; the width's field; whether the
   * chosen ones' weights always sum to 1, or by norm_topk_prob; whether some layers may have none */
  int experts, experts_per_token;
  const char *expert_ff_field;
  int64_t expert_ff;
  bool norm_topk, sparse_layers;

  double theta;        /* rope_theta */
  bool local_rope;     /* layers with a window have a rotary table of their own */
  bool rope_by_layers; /* rope_parameters are of layers with and without a window, and nothing else */
  const char *local_theta_field;
  double local_theta; /* its theta, without that field */
  bool no_rope;       /* layers without rotary: no_rope_layers, no_rope_layer_interval */
  bool only_longrope; /* rope types other than default are read as longrope, or refused */
  double rotary;      /* partial_rotary_factor */
  bool part_rotary;   /* which may be other than 1 */
  bool embed_scaled;  /* by the square root of hidden_size */
  double initializer_range;
  family_head head;
  bool reward_token; /* read there: reward_token_id */

  /* GGUF: general.architecture (NULL: not converted; some have one in common), the class to write, whether query
   * and key rows are permuted, and the layers of Gemma's largest size, which scales scores by hidden_size / heads
   */
  const char *gguf, *gguf_class;
  bool gguf_permuted;
  int64_t gguf_largest;
} model_family;

const model_family *family_of(slice model_type); /* NULL: unknown */
/* Of a GGUF architecture, which may stand for several: with experts or without, with a window or without. */
const model_family *family_of_gguf(slice architecture, bool experts, bool window);
/* "llama, mistral, … or nemotron", of those with a GGUF architecture or of all. */
void family_list(char out[256], bool gguf);

#endif
