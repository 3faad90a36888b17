/* convert.c - a GGUF file as a Hugging Face directory: weights and config.json (Llama, Qwen2, Qwen3, Gemma 2, Gemma
 * 3).
 *
 * Tensors are dequantized to f32 and written so (or as asked). GGUF stores the query and key rows of Llama models
 * permuted for another rotary layout, and Gemma's norms with 1 added; they go back. A key or tensor that would
 * change the numbers and is not carried over is refused by name. The tokenizer is in convert_tokenizer.c.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/safetensors.h"
#include "model/convert.h"
#include "model/family.h"

typedef struct {
  const model_family *f;
  gguf *g;
  const char *path, *dir;
  int64_t layers, hidden, heads, kv_heads, head_dim, ff, context, vocab;
  double theta, eps;
  double rope_factor; /* factor of Llama 3.1's scaling; 0: none */
  double linear;      /* factor of linear scaling; 0: none */
  int64_t window;
  double softcap; /* Gemma */
  int64_t query_scalar;
  bool tied;
  st_spec *specs;
  const gguf_tensor **source;
  size_t n;
  arena *names;
  float *work; /* the largest tensor, when it is not written as f32 */
  float *rows; /* q_proj as GGUF has it */
} convert;

/* The architecture's own key of that name. */
static const char *own_key(const convert *c, const char *name, char buffer[80]) {
  snprintf(buffer, 80, "%s.%s", c->f->gguf, name);
  return buffer;
}
static bool own_int(const convert *c, const char *name, int64_t *out) {
  char key[80];
  return gguf_int(c->g, own_key(c, name, key), out);
}
static bool own_float(const convert *c, const char *name, double *out) {
  char key[80];
  return gguf_float(c->g, own_key(c, name, key), out);
}

static rw_status need_int(const convert *c, const char *name, int64_t *out, rw_error *err) {
  char key[80];
  own_key(c, name, key);
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
  size_t arch = strlen(c->f->gguf);
  for (size_t i = 0; i < gguf_keys(c->g); i++) {
    slice key = gguf_key(c->g, i), text;
    if (key.len <= arch || memcmp(key.p, c->f->gguf, arch) != 0 || key.p[arch] != '.') continue;
    slice rest = {key.p + arch + 1, key.len - arch - 1};
    char name[80];
    bool ok = false, scaled = false;
    int64_t n;
    double x;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) ok |= slice_is(rest, known[k]);
    if (slice_is(rest, "expert_count") || slice_is(rest, "expert_used_count"))
      ok = own_int(c, slice_is(rest, "expert_count") ? "expert_count" : "expert_used_count", &n) && n == 0;
    if (slice_is(rest, "rope.scaling.type"))
      ok = gguf_string(c->g, own_key(c, "rope.scaling.type", name), &text) &&
           (slice_is(text, "none") || slice_is(text, "linear"));
    if (slice_is(rest, "rope.scaling.factor"))
      ok = gguf_string(c->g, own_key(c, "rope.scaling.type", name), &text) && slice_is(text, "linear");
    scaled = c->f->post_norms &&
             (slice_is(rest, "attention.sliding_window") || slice_is(rest, "attn_logit_softcapping") ||
              slice_is(rest, "final_logit_softcapping")); /* the last: of the language model's head */
    if (c->f->post_norms && slice_is(rest, "rope.freq_base_swa"))
      ok = own_float(c, "rope.freq_base_swa", &x) && x == 10000;
    if (!ok && !scaled)
      return rw_fail(err, RW_UNSUPPORTED, "%s: key %.*s is not supported; take the Hugging Face checkpoint",
                     c->path, (int)(key.len < 80 ? key.len : 80), key.p);
  }
  return RW_OK;
}

/* What Gemma's code has as constants of its sizes, and GGUF does not keep. */
static rw_status read_gemma(convert *c, rw_error *err) {
  RW_TRY(need_int(c, "attention.sliding_window", &c->window, err));
  if (!own_float(c, "attn_logit_softcapping", &c->softcap)) c->softcap = c->f->softcap;
  /* the 27B models divide by the square root of hidden_size / heads, the others by that of the head size */
  bool largest = c->layers == c->f->gguf_largest;
  c->query_scalar = largest ? c->hidden / c->heads : c->head_dim;
  return RW_OK;
}

static rw_status read_sizes(convert *c, rw_error *err) {
  slice arch = SLICE(""), scaling;
  char key[80];
  gguf_string(c->g, "general.architecture", &arch);
  c->f = family_of_gguf(arch);
  if (!c->f) {
    char known[256];
    family_list(known, true);
    return rw_fail(err, RW_UNSUPPORTED, "%s: general.architecture: expected %s, got '%.*s'", c->path, known,
                   (int)(arch.len < 80 ? arch.len : 80), arch.p);
  }
  RW_TRY(check_keys(c, err));
  RW_TRY(need_int(c, "block_count", &c->layers, err));
  RW_TRY(need_int(c, "embedding_length", &c->hidden, err));
  RW_TRY(need_int(c, "attention.head_count", &c->heads, err));
  RW_TRY(need_int(c, "feed_forward_length", &c->ff, err));
  RW_TRY(need_int(c, "context_length", &c->context, err));
  if (!own_int(c, "attention.head_count_kv", &c->kv_heads)) c->kv_heads = c->heads;
  if (!own_int(c, "attention.key_length", &c->head_dim))
    c->head_dim = c->f->post_norms ? c->f->head_dim : c->hidden / c->heads;
  if (!own_float(c, "rope.freq_base", &c->theta)) c->theta = c->f->theta;
  if (gguf_string(c->g, own_key(c, "rope.scaling.type", key), &scaling) && slice_is(scaling, "linear") &&
      (!own_float(c, "rope.scaling.factor", &c->linear) || !(c->linear > 0)))
    return rw_fail(err, RW_DATA, "%s: key %s: expected a number above 0", c->path,
                   own_key(c, "rope.scaling.factor", key));
  if (!own_float(c, "attention.layer_norm_rms_epsilon", &c->eps))
    return rw_fail(err, RW_DATA, "%s: key %s is missing", c->path,
                   own_key(c, "attention.layer_norm_rms_epsilon", key));
  if (c->kv_heads < 1 || c->heads % c->kv_heads || c->head_dim < 2 || c->head_dim % 2 || c->head_dim > 65536 ||
      c->layers > 4096)
    return rw_fail(
        err, RW_DATA, "%s: %lld layers of %lld heads, %lld key-value heads and head size %lld do not fit together",
        c->path, (long long)c->layers, (long long)c->heads, (long long)c->kv_heads, (long long)c->head_dim);
  static const char *const same[] = {"rope.dimension_count", "attention.value_length"};
  for (size_t i = 0; i < 2; i++) {
    int64_t n = c->head_dim;
    if (own_int(c, same[i], &n) && n != c->head_dim)
      return rw_fail(err, RW_UNSUPPORTED, "%s: key %s: expected the head size %lld, got %lld", c->path,
                     own_key(c, same[i], key), (long long)c->head_dim, (long long)n);
  }
  c->tied = gguf_find(c->g, "output.weight") == NULL;
  return c->f->post_norms ? read_gemma(c, err) : RW_OK;
}

/* Llama 3.1's rule for a frequency's divisor, with its published constants but the factor
 * (https://github.com/meta-llama/llama-models, function apply_scaling). */
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
  const model_family *f = c->f;
  int64_t h = c->hidden, q = c->head_dim * c->heads, kv = c->head_dim * c->kv_heads, d = c->head_dim;
  const struct {
    bool there;
    const char *from, *to;
    int64_t rows, cols;
  } per_layer[] = {{true, "attn_norm.weight", "input_layernorm.weight", h, 0},
                   {true, "attn_q.weight", "self_attn.q_proj.weight", q, h},
                   {true, "attn_k.weight", "self_attn.k_proj.weight", kv, h},
                   {true, "attn_v.weight", "self_attn.v_proj.weight", kv, h},
                   {f->bias == BIAS_QKV, "attn_q.bias", "self_attn.q_proj.bias", q, 0},
                   {f->bias == BIAS_QKV, "attn_k.bias", "self_attn.k_proj.bias", kv, 0},
                   {f->bias == BIAS_QKV, "attn_v.bias", "self_attn.v_proj.bias", kv, 0},
                   {f->qk_norm, "attn_q_norm.weight", "self_attn.q_norm.weight", d, 0},
                   {f->qk_norm, "attn_k_norm.weight", "self_attn.k_norm.weight", d, 0},
                   {true, "attn_output.weight", "self_attn.o_proj.weight", h, q},
                   {f->post_norms, "post_attention_norm.weight", "post_attention_layernorm.weight", h, 0},
                   {f->post_norms, "ffn_norm.weight", "pre_feedforward_layernorm.weight", h, 0},
                   {f->post_norms, "post_ffw_norm.weight", "post_feedforward_layernorm.weight", h, 0},
                   {!f->post_norms, "ffn_norm.weight", "post_attention_layernorm.weight", h, 0},
                   {true, "ffn_gate.weight", "mlp.gate_proj.weight", c->ff, h},
                   {true, "ffn_up.weight", "mlp.up_proj.weight", c->ff, h},
                   {true, "ffn_down.weight", "mlp.down_proj.weight", h, c->ff}};
  const gguf_tensor *embed = gguf_find(c->g, "token_embd.weight");
  c->vocab = embed ? embed->shape[0] : 0;
  RW_TRY(add(c, "token_embd.weight", "model.embed_tokens.weight", c->vocab, h, dtype, err));
  for (int64_t l = 0; l < c->layers; l++)
    for (size_t i = 0; i < sizeof per_layer / sizeof *per_layer; i++) {
      char from[64], to[96];
      if (!per_layer[i].there) continue;
      snprintf(from, sizeof from, "blk.%lld.%s", (long long)l, per_layer[i].from);
      snprintf(to, sizeof to, "model.layers.%lld.%s", (long long)l, per_layer[i].to);
      RW_TRY(add(c, from, to, per_layer[i].rows, per_layer[i].cols, dtype, err));
    }
  RW_TRY(add(c, "output_norm.weight", "model.norm.weight", h, 0, dtype, err));
  if (!c->tied) RW_TRY(add(c, "output.weight", "lm_head.weight", c->vocab, h, dtype, err));
  size_t carried = c->n + (c->rope_factor != 0);
  if (carried != gguf_count(c->g))
    return rw_fail(err, RW_UNSUPPORTED, "%s: it has %zu tensors, a %s model of this shape %zu; some would be lost",
                   c->path, gguf_count(c->g), f->gguf, carried);
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
  bool f32 = c->specs[i].dtype == DT_F32, q = strstr(name, "q_proj") != NULL;
  bool qk = c->f->gguf_permuted && (q || strstr(name, "k_proj"));
  float *values = f32 ? buffer : c->work, *plain = qk ? c->rows : values;
  RW_TRY(gguf_dequantize(t, plain, err));
  if (qk) unpermute(values, plain, q ? c->heads : c->kv_heads, c->head_dim, c->hidden);
  for (size_t k = 0; c->f->post_norms && strstr(name, "norm.weight") && k < count; k++) values[k] -= 1;
  if (!f32) st_from_f32(buffer, values, c->specs[i].dtype, count);
  return RW_OK;
}

static void special_ids(const convert *c, json_writer *w) {
  static const struct {
    const char *key, *field;
  } ids[] = {{"tokenizer.ggml.bos_token_id", "bos_token_id"},
             {"tokenizer.ggml.eos_token_id", "eos_token_id"},
             {"tokenizer.ggml.padding_token_id", "pad_token_id"}};
  for (size_t i = 0; i < 3; i++) {
    int64_t id;
    if (gguf_int(c->g, ids[i].key, &id)) jw_int(w, ids[i].field, id);
  }
}

/* What only some architectures have. */
static void own_fields(const convert *c, json_writer *w) {
  const model_family *f = c->f;
  if (!f->post_norms) jw_string(w, "hidden_act", "silu");
  if (f->gguf_permuted) jw_bool(w, "mlp_bias", false);
  if (f->window == WINDOW_FROM) jw_bool(w, "use_sliding_window", false);
  if (!f->post_norms) return;
  jw_string(w, "hidden_activation", "gelu_pytorch_tanh");
  jw_null(w, "final_logit_softcapping");
  jw_int(w, "sliding_window", c->window);
  jw_int(w, "query_pre_attn_scalar", c->query_scalar);
  jw_f32(w, "attn_logit_softcapping", c->softcap > 0 ? (float)c->softcap : NAN); /* not a number: null */
  if (!f->qk_norm) return;
  jw_raw(w, "rope_local_base_freq", SLICE("10000.0"));
  jw_int(w, "sliding_window_pattern", 6);
}

static void rope_scaling(const convert *c, json_writer *w) {
  jw_object(w, "rope_scaling");
  jw_string(w, "rope_type", c->linear != 0 ? "linear" : "llama3");
  jw_f32(w, "factor", (float)(c->linear != 0 ? c->linear : c->rope_factor));
  if (c->linear == 0) {
    str_printf(jw_value(w, "low_freq_factor"), "%d.0", ROPE_LOW);
    str_printf(jw_value(w, "high_freq_factor"), "%d.0", ROPE_HIGH);
    jw_int(w, "original_max_position_embeddings", ROPE_ORIGINAL);
  }
  jw_end(w);
}

static rw_status write_config(const convert *c, st_dtype dtype, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  jw_object_lines(&w, NULL);
  jw_array(&w, "architectures");
  jw_string(&w, NULL, c->f->gguf_class);
  jw_end(&w);
  jw_string(&w, "model_type", c->f->type);
  jw_bool(&w, "attention_bias", false);
  jw_raw(&w, "attention_dropout", SLICE("0.0"));
  special_ids(c, &w);
  own_fields(c, &w);
  jw_int(&w, "head_dim", c->head_dim);
  jw_int(&w, "hidden_size", c->hidden);
  jw_int(&w, "intermediate_size", c->ff);
  jw_int(&w, "max_position_embeddings", c->context);
  jw_int(&w, "num_attention_heads", c->heads);
  jw_int(&w, "num_hidden_layers", c->layers);
  jw_int(&w, "num_key_value_heads", c->kv_heads);
  jw_int(&w, "vocab_size", c->vocab);
  jw_f32(&w, "initializer_range", 0.02f);
  jw_f32(&w, "rms_norm_eps", (float)c->eps);
  jw_f32(&w, "rope_theta", (float)c->theta);
  if (c->rope_factor != 0 || c->linear != 0) rope_scaling(c, &w);
  jw_bool(&w, "tie_word_embeddings", c->tied);
  jw_string(&w, "torch_dtype", dtype == DT_F32 ? "float32" : dtype == DT_BF16 ? "bfloat16" : "float16");
  jw_end(&w);
  str_addc(&s, '\n');
  return convert_put(c->dir, "config.json", &s, err);
}

rw_status gguf_convert(const char *path, const char *dir, int dtype, rw_error *err) {
  convert c = {.path = path, .dir = dir};
  RW_TRY(gguf_open(&c.g, path, err));
  rw_status s = read_sizes(&c, err);
  if (!s) s = read_rope(&c, err);
  if (!s) {
    size_t most = (size_t)c.layers * 17 + 3;
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
