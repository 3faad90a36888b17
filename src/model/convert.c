/* convert.c - a GGUF file of the Llama family as a Hugging Face directory: weights and config.json.
 *
 * Tensors are dequantized to f32 and written so (or as asked). GGUF stores the query and key rows of Llama models
 * permuted for another rotary layout; they go back. A key or tensor that would change the numbers and is not
 * carried over is refused by name. The tokenizer is in convert_tokenizer.c.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/convert.h"
#include "reward/safetensors.h"

typedef struct {
  gguf *g;
  const char *path, *dir;
  int64_t layers, hidden, heads, kv_heads, head_dim, ff, context, vocab;
  double theta, eps;
  double rope_factor; /* of Llama 3.1's scaling; 0: none */
  bool tied;
  st_spec *specs;
  const gguf_tensor **source;
  size_t n;
  arena *names;
  float *work; /* the largest tensor, when it is not written as f32 */
  float *rows; /* q_proj as GGUF has it */
} convert;

static rw_status need_int(const convert *c, const char *key, int64_t *out, rw_error *err) {
  if (gguf_int(c->g, key, out) && *out > 0 && *out < INT32_MAX) return RW_OK;
  return rw_fail(err, RW_DATA, "%s: key %s: expected a whole number above 0", c->path, key);
}

/* Every key of the model's own must be one that is carried over, or say nothing. */
static rw_status check_keys(const convert *c, rw_error *err) {
  static const char *const known[] = {"context_length",
                                      "block_count",
                                      "embedding_length",
                                      "feed_forward_length",
                                      "vocab_size",
                                      "attention.head_count",
                                      "attention.head_count_kv",
                                      "attention.layer_norm_rms_epsilon",
                                      "attention.key_length",
                                      "attention.value_length",
                                      "rope.dimension_count",
                                      "rope.freq_base"};
  for (size_t i = 0; i < gguf_keys(c->g); i++) {
    slice key = gguf_key(c->g, i), text;
    if (key.len < 6 || memcmp(key.p, "llama.", 6) != 0) continue;
    slice rest = {key.p + 6, key.len - 6};
    bool ok = false;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) ok |= slice_is(rest, known[k]);
    int64_t n;
    if (slice_is(rest, "expert_count")) ok = gguf_int(c->g, "llama.expert_count", &n) && n == 0;
    if (slice_is(rest, "expert_used_count")) ok = gguf_int(c->g, "llama.expert_used_count", &n) && n == 0;
    if (slice_is(rest, "rope.scaling.type"))
      ok = gguf_string(c->g, "llama.rope.scaling.type", &text) && slice_is(text, "none");
    if (!ok)
      return rw_fail(err, RW_UNSUPPORTED, "%s: key %.*s is not supported; take the Hugging Face checkpoint",
                     c->path, (int)(key.len < 80 ? key.len : 80), key.p);
  }
  return RW_OK;
}

static rw_status read_sizes(convert *c, rw_error *err) {
  slice arch = SLICE("");
  gguf_string(c->g, "general.architecture", &arch);
  if (!slice_is(arch, "llama"))
    return rw_fail(err, RW_UNSUPPORTED, "%s: general.architecture: expected llama, got '%.*s'", c->path,
                   (int)(arch.len < 80 ? arch.len : 80), arch.p);
  RW_TRY(check_keys(c, err));
  RW_TRY(need_int(c, "llama.block_count", &c->layers, err));
  RW_TRY(need_int(c, "llama.embedding_length", &c->hidden, err));
  RW_TRY(need_int(c, "llama.attention.head_count", &c->heads, err));
  RW_TRY(need_int(c, "llama.feed_forward_length", &c->ff, err));
  RW_TRY(need_int(c, "llama.context_length", &c->context, err));
  if (!gguf_int(c->g, "llama.attention.head_count_kv", &c->kv_heads)) c->kv_heads = c->heads;
  if (!gguf_int(c->g, "llama.attention.key_length", &c->head_dim)) c->head_dim = c->hidden / c->heads;
  if (!gguf_float(c->g, "llama.rope.freq_base", &c->theta)) c->theta = 10000;
  if (!gguf_float(c->g, "llama.attention.layer_norm_rms_epsilon", &c->eps))
    return rw_fail(err, RW_DATA, "%s: key llama.attention.layer_norm_rms_epsilon is missing", c->path);
  if (c->kv_heads < 1 || c->heads % c->kv_heads || c->head_dim < 2 || c->head_dim % 2 || c->head_dim > 65536 ||
      c->layers > 4096)
    return rw_fail(
        err, RW_DATA, "%s: %lld layers of %lld heads, %lld key-value heads and head size %lld do not fit together",
        c->path, (long long)c->layers, (long long)c->heads, (long long)c->kv_heads, (long long)c->head_dim);
  static const char *const same[] = {"llama.rope.dimension_count", "llama.attention.value_length"};
  for (size_t i = 0; i < 2; i++) {
    int64_t n = c->head_dim;
    if (gguf_int(c->g, same[i], &n) && n != c->head_dim)
      return rw_fail(err, RW_UNSUPPORTED, "%s: key %s: expected the head size %lld, got %lld", c->path, same[i],
                     (long long)c->head_dim, (long long)n);
  }
  c->tied = gguf_find(c->g, "output.weight") == NULL;
  return RW_OK;
}

/* Llama 3.1's rule for a frequency's divisor, with its published constants but the factor
 * (https://github.com/meta-llama/llama-models, apply_scaling). */
enum { ROPE_ORIGINAL = 8192, ROPE_LOW = 1, ROPE_HIGH = 4 };
static double rope_divisor(double theta, int64_t i, int64_t head_dim, double factor) {
  double wavelength = 2 * M_PI * pow(theta, 2.0 * (double)i / (double)head_dim), ratio = ROPE_ORIGINAL / wavelength;
  if (ratio > ROPE_HIGH) return 1;
  if (ratio < ROPE_LOW) return factor;
  double smooth = (ratio - ROPE_LOW) / (ROPE_HIGH - ROPE_LOW);
  return 1 / ((1 - smooth) / factor + smooth);
}

/* GGUF keeps a scaled rotary embedding as one divisor a frequency; config.json as the rule's constants. The slowest
 * frequency's divisor is the factor; the rule must then give all the others. */
static rw_status read_rope(convert *c, rw_error *err) {
  const gguf_tensor *t = gguf_find(c->g, "rope_freqs.weight");
  if (!t) return RW_OK;
  size_t n = (size_t)c->head_dim / 2;
  if (t->n_dims != 1 || t->shape[0] != (int64_t)n || strcmp(t->type_name, "F32") != 0)
    return rw_fail(err, RW_DATA, "%s: tensor rope_freqs.weight: expected %zu values of F32", c->path, n);
  const char *p = t->data;
  float x;
  memcpy(&x, p + 4 * (n - 1), 4);
  c->rope_factor = x;
  for (size_t i = 0; i < n; i++) {
    memcpy(&x, p + 4 * i, 4);
    double want = rope_divisor(c->theta, (int64_t)i, c->head_dim, c->rope_factor);
    if (!(fabs(x - want) <= 1e-5 * want))
      return rw_fail(err, RW_UNSUPPORTED,
                     "%s: tensor rope_freqs.weight: value %zu is %g, by Llama 3.1's scaling it is %g; take the "
                     "Hugging Face checkpoint",
                     c->path, i, (double)x, want);
  }
  return RW_OK;
}

static rw_status add(convert *c, const char *from, const char *to, int64_t rows, int64_t cols, st_dtype dtype,
                     rw_error *err) {
  const gguf_tensor *t = gguf_find(c->g, from);
  if (!t) return rw_fail(err, RW_DATA, "%s: tensor %s is missing", c->path, from);
  bool ok =
      cols ? t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols : t->n_dims == 1 && t->shape[0] == rows;
  if (!ok)
    return rw_fail(err, RW_DATA, "%s: tensor %s: expected shape [%lld%s%lld], got %d dimensions with %lld rows",
                   c->path, from, (long long)rows, cols ? ", " : "] or [1, ", (long long)cols, t->n_dims,
                   (long long)t->shape[0]);
  char *name = arena_strndup(c->names, to, strlen(to));
  if (!name) return rw_nomem(err, to);
  c->source[c->n] = t;
  c->specs[c->n++] = (st_spec){.name = name, .dtype = dtype, .n_dims = cols ? 2 : 1, .shape = {rows, cols}};
  return RW_OK;
}

static rw_status plan(convert *c, st_dtype dtype, rw_error *err) {
  int64_t h = c->hidden, q = c->head_dim * c->heads, kv = c->head_dim * c->kv_heads;
  const struct {
    const char *from, *to;
    int64_t rows, cols;
  } per_layer[] = {{"attn_norm", "input_layernorm", h, 0},    {"attn_q", "self_attn.q_proj", q, h},
                   {"attn_k", "self_attn.k_proj", kv, h},     {"attn_v", "self_attn.v_proj", kv, h},
                   {"attn_output", "self_attn.o_proj", h, q}, {"ffn_norm", "post_attention_layernorm", h, 0},
                   {"ffn_gate", "mlp.gate_proj", c->ff, h},   {"ffn_up", "mlp.up_proj", c->ff, h},
                   {"ffn_down", "mlp.down_proj", h, c->ff}};
  const gguf_tensor *embed = gguf_find(c->g, "token_embd.weight");
  c->vocab = embed ? embed->shape[0] : 0;
  RW_TRY(add(c, "token_embd.weight", "model.embed_tokens.weight", c->vocab, h, dtype, err));
  for (int64_t l = 0; l < c->layers; l++)
    for (size_t i = 0; i < sizeof per_layer / sizeof *per_layer; i++) {
      char from[64], to[96];
      snprintf(from, sizeof from, "blk.%lld.%s.weight", (long long)l, per_layer[i].from);
      snprintf(to, sizeof to, "model.layers.%lld.%s.weight", (long long)l, per_layer[i].to);
      RW_TRY(add(c, from, to, per_layer[i].rows, per_layer[i].cols, dtype, err));
    }
  RW_TRY(add(c, "output_norm.weight", "model.norm.weight", h, 0, dtype, err));
  if (!c->tied) RW_TRY(add(c, "output.weight", "lm_head.weight", c->vocab, h, dtype, err));
  size_t carried = c->n + (c->rope_factor != 0);
  if (carried != gguf_count(c->g))
    return rw_fail(err, RW_UNSUPPORTED,
                   "%s: it has %zu tensors, a Llama model of this shape %zu; some would be lost", c->path,
                   gguf_count(c->g), carried);
  return RW_OK;
}

/* Row i*2 + j of a head in GGUF is row j*(D/2) + i in Hugging Face's layout. */
static void unpermute(float *out, const float *in, int64_t heads, int64_t d, int64_t cols) {
  for (int64_t h = 0; h < heads; h++)
    for (int64_t i = 0; i < d / 2; i++)
      for (int64_t j = 0; j < 2; j++)
        memcpy(out + (h * d + j * (d / 2) + i) * cols, in + (h * d + i * 2 + j) * cols, (size_t)cols * sizeof *in);
}

static size_t values_of(const st_spec *t) { return (size_t)(t->shape[0] * (t->n_dims == 2 ? t->shape[1] : 1)); }

static rw_status read_tensor(void *ctx, size_t i, void *buffer, rw_error *err) {
  convert *c = ctx;
  const gguf_tensor *t = c->source[i];
  const char *name = c->specs[i].name;
  size_t count = values_of(&c->specs[i]);
  bool f32 = c->specs[i].dtype == DT_F32, q = strstr(name, "q_proj") != NULL, qk = q || strstr(name, "k_proj");
  float *values = f32 ? buffer : c->work, *plain = qk ? c->rows : values;
  RW_TRY(gguf_dequantize(t, plain, err));
  if (qk) unpermute(values, plain, q ? c->heads : c->kv_heads, c->head_dim, c->hidden);
  if (!f32) st_from_f32(buffer, values, c->specs[i].dtype, count);
  return RW_OK;
}

static void special_ids(const convert *c, str *s) {
  static const struct {
    const char *key, *field;
  } ids[] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
             {"tokenizer.ggml.eos_token_id", "eos_token_id"},
             {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
  for (size_t i = 0; i < 3; i++) {
    int64_t id;
    if (gguf_int(c->g, ids[i].key, &id)) str_printf(s, "  \"%s\": %lld,\n", ids[i].field, (long long)id);
  }
}

static rw_status write_config(const convert *c, st_dtype dtype, rw_error *err) {
  str s = {0};
  str_addz(&s,
           "{\n  \"architectures\": [\"LlamaForCausalLM\"],\n  \"model_type\": \"llama\",\n  \"attention_bias\": "
           "false,\n"
           "  \"attention_dropout\": 0.0,\n");
  special_ids(c, &s);
  str_printf(&s,
             "  \"head_dim\": %lld,\n  \"hidden_act\": \"silu\",\n  \"hidden_size\": %lld,\n  "
             "\"initializer_range\": 0.02,\n",
             (long long)c->head_dim, (long long)c->hidden);
  str_printf(&s, "  \"intermediate_size\": %lld,\n  \"max_position_embeddings\": %lld,\n  \"mlp_bias\": false,\n",
             (long long)c->ff, (long long)c->context);
  str_printf(&s,
             "  \"num_attention_heads\": %lld,\n  \"num_hidden_layers\": %lld,\n  \"num_key_value_heads\": %lld,\n",
             (long long)c->heads, (long long)c->layers, (long long)c->kv_heads);
  str_addz(&s, "  \"rms_norm_eps\": ");
  str_json_f32(&s, (float)c->eps);
  str_addz(&s, ",\n  \"rope_theta\": ");
  str_json_f32(&s, (float)c->theta);
  if (c->rope_factor != 0) {
    str_addz(&s, ",\n  \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": ");
    str_json_f32(&s, (float)c->rope_factor);
    str_printf(&s,
               ", \"low_freq_factor\": %d.0, \"high_freq_factor\": %d.0, \"original_max_position_embeddings\": %d}",
               ROPE_LOW, ROPE_HIGH, ROPE_ORIGINAL);
  }
  str_printf(&s, ",\n  \"tie_word_embeddings\": %s,\n  \"torch_dtype\": \"%s\",\n  \"vocab_size\": %lld\n}\n",
             c->tied ? "true" : "false",
             dtype == DT_F32    ? "float32"
             : dtype == DT_BF16 ? "bfloat16"
                                : "float16",
             (long long)c->vocab);
  return convert_put(c->dir, "config.json", &s, err);
}

rw_status gguf_convert(const char *path, const char *dir, int dtype, rw_error *err) {
  convert c = {.path = path, .dir = dir};
  RW_TRY(gguf_open(&c.g, path, err));
  rw_status s = read_sizes(&c, err);
  if (!s) s = read_rope(&c, err);
  if (!s) {
    size_t most = (size_t)c.layers * 9 + 3;
    c.specs = mem_zalloc(most, sizeof *c.specs);
    c.source = mem_zalloc(most, sizeof *c.source);
    c.names = arena_new();
    s = c.specs && c.source && c.names ? plan(&c, (st_dtype)dtype, err) : rw_nomem(err, path);
  }
  size_t largest = 0;
  for (size_t i = 0; !s && i < c.n; i++) {
    size_t n = values_of(&c.specs[i]);
    if (n > largest) largest = n;
  }
  if (!s) {
    c.work = mem_alloc(dtype == DT_F32 ? 0 : largest, sizeof *c.work);
    c.rows = mem_alloc((size_t)(c.heads * c.head_dim * c.hidden), sizeof *c.rows);
    if (!c.work || !c.rows) s = rw_nomem(err, path);
  }
  if (!s) s = convert_tokenizer(c.g, path, dir, c.vocab, c.context, err);
  if (!s && dir) s = st_write(dir, "model", c.specs, c.n, 0, read_tensor, &c, err);
  if (!s) s = write_config(&c, (st_dtype)dtype, err);
  mem_free(c.specs);
  mem_free(c.source);
  mem_free(c.work);
  mem_free(c.rows);
  arena_free(c.names);
  gguf_close(c.g);
  return s;
}
