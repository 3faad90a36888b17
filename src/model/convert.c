/* convert.c - a GGUF file as a Hugging Face directory: weights and config.json, of the families whose row of the
 * table has a GGUF architecture.
 *
 * Tensors are dequantized to f32 and written so (or as asked). GGUF stores the query and key rows of Llama-like
 * models permuted for another rotary layout, Gemma's norms with 1 added, and a layer's experts as one tensor; they
 * go back. A key or tensor that would change the numbers and is not carried over is refused by name. The rotary
 * embedding is in convert_rope.c, the tokenizer in convert_tokenizer.c.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/convert.h"

static rw_status need_int(const convert *c, const char *name, int64_t *out, rw_error *err) {
  char key[80];
  convert_key(c, name, key);
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
    slice key = gguf_key(c->g, i);
    if (key.len <= arch || memcmp(key.p, c->f->gguf, arch) != 0 || key.p[arch] != '.') continue;
    slice rest = {key.p + arch + 1, key.len - arch - 1};
    bool ok = convert_rope_key(c, rest), window = c->f->query_scalar || c->f->only_longrope || c->f->rope_by_layers;
    int64_t n;
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) ok |= slice_is(rest, known[k]);
    if (slice_is(rest, "expert_count") || slice_is(rest, "expert_used_count"))
      ok = c->experts > 0 || (c->experts == 0 && (!convert_int(c, "expert_used_count", &n) || n == 0));
    ok |= c->experts > 0 && slice_is(rest, "expert_feed_forward_length");
    ok |= window && slice_is(rest, "attention.sliding_window");
    ok |= c->f->rope_by_layers && slice_is(rest, "attention.sliding_window_pattern");
    ok |= c->f->query_scalar && (slice_is(rest, "attn_logit_softcapping") ||
                                 slice_is(rest, "final_logit_softcapping")); /* of the language model's head */
    if (!ok)
      return rw_fail(err, RW_UNSUPPORTED, "%s: key %.*s is not supported; take the Hugging Face checkpoint",
                     c->path, (int)(key.len < 80 ? key.len : 80), key.p);
  }
  return RW_OK;
}

/* What Gemma's code has as constants of its sizes, and GGUF does not keep. */
static rw_status read_gemma(convert *c, rw_error *err) {
  RW_TRY(need_int(c, "attention.sliding_window", &c->window, err));
  if (!convert_float(c, "attn_logit_softcapping", &c->softcap)) c->softcap = c->f->softcap;
  /* the 27B models divide by the square root of hidden_size / heads, the others by that of the head size */
  bool largest = c->layers == c->f->gguf_largest;
  c->query_scalar = largest ? c->hidden / c->heads : c->head_dim;
  return RW_OK;
}

static rw_status read_sizes(convert *c, rw_error *err) {
  slice arch = SLICE("");
  char key[80];
  gguf_string(c->g, "general.architecture", &arch);
  snprintf(key, sizeof key, "%.*s.expert_count", arch.len > 40 ? 40 : (int)arch.len, arch.p);
  gguf_int(c->g, key, &c->experts);
  snprintf(key, sizeof key, "%.*s.attention.sliding_window", arch.len > 40 ? 40 : (int)arch.len, arch.p);
  gguf_int(c->g, key, &c->window);
  c->f = family_of_gguf(arch, c->experts > 0, c->window > 0);
  if (!c->f && family_of_gguf(arch, false, false))
    return rw_fail(err, RW_UNSUPPORTED,
                   "%s: key %.*s.expert_count is not supported; take the Hugging Face checkpoint", c->path,
                   (int)arch.len, arch.p);
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
  if (!convert_int(c, "attention.head_count_kv", &c->kv_heads)) c->kv_heads = c->heads;
  if (!convert_int(c, "attention.key_length", &c->head_dim))
    c->head_dim = c->f->query_scalar ? c->f->head_dim : c->hidden / c->heads;
  if (!convert_float(c, "rope.freq_base", &c->theta)) c->theta = c->f->theta;
  if (!convert_float(c, "attention.layer_norm_rms_epsilon", &c->eps))
    return rw_fail(err, RW_DATA, "%s: key %s is missing", c->path,
                   convert_key(c, "attention.layer_norm_rms_epsilon", key));
  if (c->kv_heads < 1 || c->heads % c->kv_heads || c->head_dim < 2 || c->head_dim % 2 || c->head_dim > 65536 ||
      c->layers > 4096)
    return rw_fail(
        err, RW_DATA, "%s: %lld layers of %lld heads, %lld key-value heads and head size %lld do not fit together",
        c->path, (long long)c->layers, (long long)c->heads, (long long)c->kv_heads, (long long)c->head_dim);
  int64_t values = c->head_dim;
  if (convert_int(c, "attention.value_length", &values) && values != c->head_dim)
    return rw_fail(err, RW_UNSUPPORTED, "%s: key %s: expected the head size %lld, got %lld", c->path,
                   convert_key(c, "attention.value_length", key), (long long)c->head_dim, (long long)values);
  if (c->experts > 0) {
    RW_TRY(need_int(c, "expert_used_count", &c->chosen, err));
    if (!convert_int(c, "expert_feed_forward_length", &c->expert_ff)) c->expert_ff = c->ff;
  }
  c->biased = c->f->bias == BIAS_FIELD && gguf_find(c->g, "blk.0.attn_q.bias");
  c->tied = gguf_find(c->g, "output.weight") == NULL;
  return c->f->query_scalar ? read_gemma(c, err) : RW_OK;
}

static rw_status missing(const convert *c, const char *name, rw_error *err) {
  return rw_fail(err, RW_DATA, "%s: tensor %s is missing", c->path, name);
}

static rw_status put(convert *c, gguf_tensor from, const char *to, int64_t rows, int64_t cols, st_dtype dtype,
                     rw_error *err) {
  char *name = arena_strndup(c->names, to, strlen(to));
  st_spec spec = {.name = name, .dtype = dtype, .n_dims = cols ? 2 : 1, .shape = {rows, cols}};
  return name && vec_push(c->source, c->n_source, c->cap_source, from) && vec_push(c->specs, c->n, c->cap, spec)
             ? RW_OK
             : rw_nomem(err, to);
}

static rw_status add(convert *c, const char *from, const char *to, int64_t rows, int64_t cols, st_dtype dtype,
                     rw_error *err) {
  const gguf_tensor *t = gguf_find(c->g, from);
  if (!t) return missing(c, from, err);
  bool ok =
      cols ? t->n_dims == 2 && t->shape[0] == rows && t->shape[1] == cols : t->n_dims == 1 && t->shape[0] == rows;
  if (!ok)
    return rw_fail(err, RW_DATA, "%s: tensor %s: expected shape [%lld%s%lld], got %d dimensions with %lld rows",
                   c->path, from, (long long)rows, cols ? ", " : "] or [1, ", (long long)cols, t->n_dims,
                   (long long)t->shape[0]);
  c->carried++;
  return put(c, *t, to, rows, cols, dtype, err);
}

/* The layer's experts' matrices of one kind, which GGUF has one behind another. */
static rw_status add_experts(convert *c, int64_t layer, const char *kind, const char *to, int64_t rows,
                             int64_t cols, st_dtype dtype, rw_error *err) {
  char name[160];
  snprintf(name, sizeof name, "blk.%lld.ffn_%s_exps.weight", (long long)layer, kind);
  const gguf_tensor *t = gguf_find(c->g, name);
  if (!t) return missing(c, name, err);
  if (t->n_dims != 3 || t->shape[0] != c->experts || t->shape[1] != rows || t->shape[2] != cols)
    return rw_fail(
        err, RW_DATA, "%s: tensor %s: expected shape [%lld, %lld, %lld], got %d dimensions with %lld first",
        c->path, name, (long long)c->experts, (long long)rows, (long long)cols, t->n_dims, (long long)t->shape[0]);
  c->carried++;
  gguf_tensor one = *t;
  one.n_dims = 2;
  one.shape[0] = rows;
  one.shape[1] = cols;
  one.bytes = t->bytes / (size_t)c->experts; /* whole blocks: each row is */
  for (int64_t e = 0; e < c->experts; e++) {
    one.data = (const char *)t->data + (size_t)e * one.bytes;
    snprintf(name, sizeof name, "model.layers.%lld.%s.%lld.%s.weight", (long long)layer, c->f->names->expert,
             (long long)e, to);
    RW_TRY(put(c, one, name, rows, cols, dtype, err));
  }
  return RW_OK;
}

static rw_status plan_layer(convert *c, int64_t l, st_dtype dtype, rw_error *err) {
  const model_family *f = c->f;
  const family_names *to = f->names;
  int64_t h = c->hidden, q = c->head_dim * c->heads, kv = c->head_dim * c->kv_heads;
  int64_t q_norm = f->qk_norm_whole ? q : c->head_dim, k_norm = f->qk_norm_whole ? kv : c->head_dim;
  bool biases = f->bias == BIAS_QKV || c->biased, dense = c->experts == 0;
  const struct {
    bool there;
    const char *from, *to, *kind;
    int64_t rows, cols;
  } tensors[] = {{!f->no_pre_norms, "attn_norm", to->norm_in, "weight", h, 0},
                 {to->qkv, "attn_qkv", to->qkv, "weight", q + 2 * kv, h},
                 {!to->qkv, "attn_q", to->q, "weight", q, h},
                 {!to->qkv, "attn_k", to->k, "weight", kv, h},
                 {!to->qkv, "attn_v", to->v, "weight", kv, h},
                 {biases, "attn_q", to->q, "bias", q, 0},
                 {biases, "attn_k", to->k, "bias", kv, 0},
                 {biases, "attn_v", to->v, "bias", kv, 0},
                 {f->qk_norm, "attn_q_norm", "self_attn.q_norm", "weight", q_norm, 0},
                 {f->qk_norm, "attn_k_norm", "self_attn.k_norm", "weight", k_norm, 0},
                 {true, "attn_output", to->o, "weight", h, q},
                 {c->biased, "attn_output", to->o, "bias", h, 0},
                 {f->post_norms, "post_attention_norm", to->post_attn, "weight", h, 0},
                 {f->post_norms && !f->no_pre_norms, "ffn_norm", to->norm_mid, "weight", h, 0},
                 {f->post_norms, "post_ffw_norm", to->post_mlp, "weight", h, 0},
                 {!f->post_norms, "ffn_norm", to->norm_mid, "weight", h, 0},
                 {!dense, "ffn_gate_inp", to->router, "weight", c->experts, h},
                 {dense && to->gate, "ffn_gate", to->gate, "weight", c->ff, h},
                 {dense, "ffn_up", to->up, "weight", to->gate ? c->ff : 2 * c->ff, h},
                 {dense, "ffn_down", to->down, "weight", h, c->ff}};
  for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++) {
    char from[64], name[96];
    if (!tensors[i].there) continue;
    snprintf(from, sizeof from, "blk.%lld.%s.%s", (long long)l, tensors[i].from, tensors[i].kind);
    snprintf(name, sizeof name, "model.layers.%lld.%s.%s", (long long)l, tensors[i].to, tensors[i].kind);
    RW_TRY(add(c, from, name, tensors[i].rows, tensors[i].cols, dtype, err));
  }
  if (dense) return RW_OK;
  RW_TRY(add_experts(c, l, "gate", to->expert_gate, c->expert_ff, h, dtype, err));
  RW_TRY(add_experts(c, l, "up", to->expert_up, c->expert_ff, h, dtype, err));
  return add_experts(c, l, "down", to->expert_down, h, c->expert_ff, dtype, err);
}

static rw_status plan(convert *c, st_dtype dtype, rw_error *err) {
  int64_t h = c->hidden;
  const gguf_tensor *embed = gguf_find(c->g, "token_embd.weight");
  c->vocab = embed ? embed->shape[0] : 0;
  RW_TRY(add(c, "token_embd.weight", "model.embed_tokens.weight", c->vocab, h, dtype, err));
  for (int64_t l = 0; l < c->layers; l++) RW_TRY(plan_layer(c, l, dtype, err));
  RW_TRY(add(c, "output_norm.weight", "model.norm.weight", h, 0, dtype, err));
  if (!c->tied) RW_TRY(add(c, "output.weight", "lm_head.weight", c->vocab, h, dtype, err));
  if (c->carried != gguf_count(c->g))
    return rw_fail(err, RW_UNSUPPORTED, "%s: it has %zu tensors, a %s model of this shape %zu; some would be lost",
                   c->path, gguf_count(c->g), c->f->gguf, c->carried);
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
  const gguf_tensor *t = &c->source[i];
  const char *name = c->specs[i].name;
  size_t count = values_of(&c->specs[i]);
  bool f32 = c->specs[i].dtype == DT_F32, q = strstr(name, "q_proj") != NULL;
  bool qk = c->f->gguf_permuted && (q || strstr(name, "k_proj"));
  float *values = f32 ? buffer : c->work, *plain = qk ? c->rows : values;
  RW_TRY(gguf_dequantize(t, plain, err));
  if (qk)
    unpermute(values, plain, q ? c->heads : c->kv_heads, c->head_dim, c->specs[i].n_dims == 2 ? c->hidden : 1);
  for (size_t k = 0; c->f->norm_offset != 0 && strstr(name, "norm.weight") && k < count; k++) values[k] -= 1;
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

/* Olmo 3's layers with a window and without. */
static void layer_types(const convert *c, json_writer *w) {
  char key[80];
  convert_key(c, "attention.sliding_window_pattern", key);
  jw_array(w, "layer_types");
  for (int64_t l = 0; l < c->layers; l++) {
    double sliding = (l + 1) % c->f->window_every != 0;
    gguf_array_number(c->g, key, (size_t)l, &sliding);
    jw_string(w, NULL, sliding != 0 ? "sliding_attention" : "full_attention");
  }
  jw_end(w);
}

static void expert_fields(const convert *c, json_writer *w) {
  jw_int(w, c->f->sparse_layers ? "num_experts" : "num_local_experts", c->experts);
  jw_int(w, "num_experts_per_tok", c->chosen);
  if (!c->f->sparse_layers) return;
  jw_int(w, c->f->expert_ff_field, c->expert_ff);
  jw_bool(w, "norm_topk_prob", true); /* llama.cpp knows no other */
}

/* What only some architectures have. */
static void own_fields(const convert *c, json_writer *w) {
  const model_family *f = c->f;
  jw_string(w, f->act_field, f->act);
  if (f->mlp_bias) jw_bool(w, "mlp_bias", false);
  if (f->window == WINDOW_FROM) jw_bool(w, "use_sliding_window", false);
  if (f->no_rope) jw_int(w, "no_rope_layer_interval", 4); /* llama.cpp knows no other */
  if (c->experts > 0) expert_fields(c, w);
  if (f->rope_by_layers) layer_types(c, w);
  if (f->rope_by_layers || (f->only_longrope && c->window > 0)) jw_int(w, "sliding_window", c->window);
  if (f->only_longrope && c->window <= 0) jw_null(w, "sliding_window");
  if (!f->query_scalar) return;
  jw_null(w, "final_logit_softcapping");
  jw_int(w, "sliding_window", c->window);
  jw_int(w, "query_pre_attn_scalar", c->query_scalar);
  jw_f32(w, "attn_logit_softcapping", c->softcap > 0 ? (float)c->softcap : NAN); /* not a number: null */
  if (!f->qk_norm) return;
  jw_raw(w, "rope_local_base_freq", SLICE("10000.0"));
  jw_int(w, "sliding_window_pattern", 6);
}

static rw_status write_config(const convert *c, st_dtype dtype, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  jw_object_lines(&w, NULL);
  jw_array(&w, "architectures");
  jw_string(&w, NULL, c->f->gguf_class);
  jw_end(&w);
  jw_string(&w, "model_type", c->f->type);
  jw_bool(&w, "attention_bias", c->biased);
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
  convert_rope_write(c, &w);
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
  if (!s) s = convert_rope_read(&c, err);
  if (!s) {
    c.names = arena_new();
    s = c.names ? plan(&c, (st_dtype)dtype, err) : rw_nomem(err, path);
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
