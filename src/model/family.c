/* family.c - the table of families. Defaults are those of the classes in transformers. */
#include "model/family.h"

#include <stdio.h>
#include <string.h>

static const family_names common = {.embed = "embed_tokens",
                                    .norm_in = "input_layernorm",
                                    .q = "self_attn.q_proj",
                                    .k = "self_attn.k_proj",
                                    .v = "self_attn.v_proj",
                                    .o = "self_attn.o_proj",
                                    .norm_mid = "post_attention_layernorm",
                                    .gate = "mlp.gate_proj",
                                    .up = "mlp.up_proj",
                                    .down = "mlp.down_proj",
                                    .post_attn = "post_attention_layernorm",
                                    .post_mlp = "post_feedforward_layernorm",
                                    .score = "score.weight",
                                    .causal_head = "lm_head.weight"};
static const family_names internlm2 = {.embed = "tok_embeddings",
                                       .norm_in = "attention_norm",
                                       .qkv = "attention.wqkv",
                                       .grouped = true,
                                       .o = "attention.wo",
                                       .norm_mid = "ffn_norm",
                                       .gate = "feed_forward.w1",
                                       .up = "feed_forward.w3",
                                       .down = "feed_forward.w2",
                                       .score = "v_head.weight",
                                       .causal_head = "output.weight"};

static const family_names gemmas = {.embed = "embed_tokens",
                                    .norm_in = "input_layernorm",
                                    .q = "self_attn.q_proj",
                                    .k = "self_attn.k_proj",
                                    .v = "self_attn.v_proj",
                                    .o = "self_attn.o_proj",
                                    .norm_mid = "pre_feedforward_layernorm",
                                    .gate = "mlp.gate_proj",
                                    .up = "mlp.up_proj",
                                    .down = "mlp.down_proj",
                                    .post_attn = "post_attention_layernorm",
                                    .post_mlp = "post_feedforward_layernorm",
                                    .score = "score.weight",
                                    .causal_head = "lm_head.weight"};
static const family_names phi3 = {.embed = "embed_tokens",
                                  .norm_in = "input_layernorm",
                                  .qkv = "self_attn.qkv_proj",
                                  .o = "self_attn.o_proj",
                                  .norm_mid = "post_attention_layernorm",
                                  .up = "mlp.gate_up_proj",
                                  .down = "mlp.down_proj",
                                  .score = "score.weight",
                                  .causal_head = "lm_head.weight"};

#define MIXTURE                                                                                            \
  .embed = "embed_tokens", .norm_in = "input_layernorm", .q = "self_attn.q_proj", .k = "self_attn.k_proj", \
  .v = "self_attn.v_proj", .o = "self_attn.o_proj", .norm_mid = "post_attention_layernorm",                \
  .gate = "mlp.gate_proj", .up = "mlp.up_proj", .down = "mlp.down_proj", .score = "score.weight",          \
  .causal_head = "lm_head.weight"
static const family_names mixtral = {MIXTURE,
                                     .router = "block_sparse_moe.gate",
                                     .expert = "block_sparse_moe.experts",
                                     .expert_gate = "w1",
                                     .expert_up = "w3",
                                     .expert_down = "w2"};
static const family_names qwen3_moe = {MIXTURE,
                                       .router = "mlp.gate",
                                       .expert = "mlp.experts",
                                       .expert_gate = "gate_proj",
                                       .expert_up = "up_proj",
                                       .expert_down = "down_proj"};

/* What most have; a row says what is other in it. */
#define OFTEN                                                                                               \
  .saved = "SequenceClassification", .eps_field = "rms_norm_eps", .act_field = "hidden_act", .act = "silu", \
  .bias_field = "attention_bias", .rotary = 1, .initializer_range = 0.02
#define USUAL OFTEN, .names = &common, .eps = 1e-6, .theta = 10000
#define GEMMA                                                                                                \
  .saved = "SequenceClassification", .names = &gemmas, .eps_field = "rms_norm_eps", .eps = 1e-6,             \
  .act_field = "hidden_activation", .act = "gelu_pytorch_tanh", .bias_field = "attention_bias", .rotary = 1, \
  .initializer_range = 0.02, .norm_offset = 1, .post_norms = true, .head_dim = 256, .query_scalar = true,    \
  .bias = BIAS_FIELD, .embed_scaled = true

static const model_family families[] = {
    {USUAL, .type = "llama", .class = "Llama", .bias = BIAS_FIELD, .mlp_bias = true, .gguf = "llama",
     .gguf_class = "LlamaForCausalLM", .gguf_permuted = true},
    {USUAL, .type = "mistral", .class = "Mistral", .window = WINDOW_ALL},
    {USUAL, .type = "qwen2", .class = "Qwen2", .bias = BIAS_QKV, .window = WINDOW_FROM, .gguf = "qwen2",
     .gguf_class = "Qwen2ForCausalLM"},
    {USUAL, .type = "qwen3", .class = "Qwen3", .qk_norm = true, .head_dim = 128, .bias = BIAS_FIELD,
     .window = WINDOW_FROM, .gguf = "qwen3", .gguf_class = "Qwen3ForCausalLM"},
    {GEMMA, .type = "gemma2", .class = "Gemma2", .softcap = 50, .logit_softcap = 30, .window = WINDOW_EVERY,
     .window_every = 2, .theta = 10000, .gguf = "gemma2", .gguf_class = "Gemma2ForCausalLM", .gguf_largest = 46},
    {GEMMA, .type = "gemma3_text", .class = "Gemma3Text", .qk_norm = true, .no_softcap = true, .logit_softcap = -1,
     .window = WINDOW_PATTERN, .theta = 1e6, .local_rope = true, .local_theta_field = "rope_local_base_freq",
     .local_theta = 10000, .gguf = "gemma3", .gguf_class = "Gemma3ForCausalLM", .gguf_largest = 62},
    {OFTEN, .type = "mixtral", .class = "Mixtral", .names = &mixtral, .eps = 1e-5, .window = WINDOW_ALL,
     .window_unset = true, .theta = 1e6, .experts = 8, .experts_per_token = 2,
     .expert_ff_field = "intermediate_size", .expert_ff = 14336, .norm_topk = true, .gguf = "llama",
     .gguf_class = "MixtralForCausalLM", .gguf_permuted = true},
    {OFTEN, .type = "qwen3_moe", .class = "Qwen3Moe", .names = &qwen3_moe, .eps = 1e-6, .qk_norm = true,
     .bias = BIAS_FIELD, .window = WINDOW_FLAG, .theta = 10000, .experts = 128, .experts_per_token = 8,
     .expert_ff_field = "moe_intermediate_size", .expert_ff = 768, .sparse_layers = true, .gguf = "qwen3moe",
     .gguf_class = "Qwen3MoeForCausalLM"},
    {.type = "gemma",
     .class = "Gemma",
     .saved = "SequenceClassification",
     .names = &common,
     .eps_field = "rms_norm_eps",
     .eps = 1e-6,
     .norm_offset = 1,
     .act_field = "hidden_act",
     .act = "gelu_pytorch_tanh",
     .gelu_is_tanh = true,
     .head_dim = 256,
     .bias = BIAS_FIELD,
     .bias_field = "attention_bias",
     .theta = 10000,
     .rotary = 1,
     .embed_scaled = true,
     .initializer_range = 0.02,
     .gguf = "gemma",
     .gguf_class = "GemmaForCausalLM"},
    {OFTEN, .type = "phi3", .class = "Phi3", .names = &phi3, .eps = 1e-5, .window = WINDOW_ALL,
     .window_unset = true, .theta = 10000, .part_rotary = true, .only_longrope = true, .gguf = "phi3",
     .gguf_class = "Phi3ForCausalLM"},
    {OFTEN, .type = "olmo2", .class = "Olmo2", .names = &common, .eps = 1e-5, .post_norms = true,
     .no_pre_norms = true, .qk_norm = true, .qk_norm_whole = true, .bias = BIAS_FIELD, .theta = 10000,
     .gguf = "olmo2", .gguf_class = "Olmo2ForCausalLM"},
    {OFTEN, .type = "olmo3", .class = "Olmo3", .names = &common, .eps = 1e-5, .post_norms = true,
     .no_pre_norms = true, .qk_norm = true, .qk_norm_whole = true, .bias = BIAS_FIELD, .window = WINDOW_EVERY,
     .window_every = 4, .theta = 500000, .local_rope = true, .rope_by_layers = true, .local_theta = 500000,
     .gguf = "olmo2", .gguf_class = "Olmo3ForCausalLM"},
    {OFTEN, .type = "smollm3", .class = "SmolLM3", .names = &common, .eps = 1e-6, .bias = BIAS_FIELD,
     .mlp_bias = true, .window = WINDOW_NO_ROPE, .window_unset = true, .theta = 2e6, .no_rope = true,
     .gguf = "smollm3", .gguf_class = "SmolLM3ForCausalLM", .gguf_permuted = true},
    {.type = "internlm2",
     .class = "InternLM2",
     .saved = "RewardModel" /* it has no other */,
     .names = &internlm2,
     .eps_field = "rms_norm_eps",
     .eps = 1e-6,
     .act_field = "hidden_act",
     .act = "silu",
     .bias = BIAS_FIELD,
     .bias_field = "bias",
     .bias_default = true,
     .theta = 10000,
     .rotary = 1,
     .initializer_range = 0.02,
     .reward_token = true},
    {.type = "nemotron",
     .class = "Nemotron",
     .saved = "SequenceClassification",
     .names = &common,
     .layer_norm = true,
     .norm_offset = 1,
     .eps_field = "norm_eps",
     .eps = 1e-5,
     .act_field = "hidden_act",
     .act = "relu2",
     .relu2 = true,
     .bias = BIAS_FIELD,
     .bias_field = "attention_bias",
     .mlp_bias = true,
     .theta = 10000,
     .rotary = 0.5,
     .part_rotary = true,
     .initializer_range = 0.0134,
     .head = HEAD_BY_LABELS},
};
enum { FAMILIES = sizeof families / sizeof *families };

const model_family *family_of(slice model_type) {
  for (size_t i = 0; model_type.p && i < FAMILIES; i++)
    if (slice_is(model_type, families[i].type)) return &families[i];
  return NULL;
}

const model_family *family_of_gguf(slice architecture, bool experts, bool window) {
  const model_family *found = NULL;
  for (const model_family *f = families; architecture.p && f < families + FAMILIES; f++) {
    if (!f->gguf || !slice_is(architecture, f->gguf) || experts != (f->experts > 0)) continue;
    if (!found || (window && f->window != WINDOW_NONE)) found = f;
  }
  return found;
}

void family_list(char out[256], bool gguf) {
  const char *name[FAMILIES] = {NULL};
  size_t n = 0, at = 0;
  for (size_t i = 0; i < FAMILIES; i++) {
    const char *one = gguf ? families[i].gguf : families[i].type;
    bool listed = false;
    for (size_t k = 0; one && k < n; k++) listed |= strcmp(name[k], one) == 0;
    if (one && !listed) name[n++] = one;
  }
  for (size_t i = 0; i < n && at < 256; i++)
    at += (size_t)snprintf(out + at, 256 - at, "%s%s", i == 0 ? "" : i + 1 == n ? " or " : ", ", name[i]);
}
