/* convert_rope.c - the rotary embedding of a GGUF file as config.json has it: no scaling, linear, yarn,
 * Llama 3.1's, which GGUF keeps as divisors, and LongRoPE's two lists of them. The architecture's own keys
 * are read here, for convert.c too.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/convert.h"

const char *convert_key(const convert *c, const char *name, char buffer[80]) {
  snprintf(buffer, 80, "%s.%s", c->f->gguf, name);
  return buffer;
}
bool convert_int(const convert *c, const char *name, int64_t *out) {
  char key[80];
  return gguf_int(c->g, convert_key(c, name, key), out);
}
bool convert_float(const convert *c, const char *name, double *out) {
  char key[80];
  return gguf_float(c->g, convert_key(c, name, key), out);
}

static bool scaled_by(const convert *c, const char *type) {
  slice text;
  char key[80];
  return gguf_string(c->g, convert_key(c, "rope.scaling.type", key), &text) && slice_is(text, type);
}

bool convert_rope_key(const convert *c, slice key) {
  static const char *const yarn[] = {"original_context_length", "yarn_ext_factor", "yarn_attn_factor",
                                     "yarn_beta_fast", "yarn_beta_slow"};
  static const char before[] = "rope.scaling.";
  bool is_yarn = scaled_by(c, "yarn") && !c->f->only_longrope, is_long = c->f->only_longrope;
  double x;
  if (slice_is(key, "rope.freq_base_swa")) /* Gemma's local layers have one base */
    return c->f->rope_by_layers || (c->f->query_scalar && convert_float(c, "rope.freq_base_swa", &x) && x == 10000);
  if (key.len < sizeof before - 1 || memcmp(key.p, before, sizeof before - 1) != 0) return false;
  key.p += sizeof before - 1;
  key.len -= sizeof before - 1;
  if (slice_is(key, "type"))
    return scaled_by(c, "none") || scaled_by(c, "linear") || is_yarn || (is_long && scaled_by(c, "longrope"));
  if (slice_is(key, "factor")) return scaled_by(c, "linear") || is_yarn;
  if (is_long) return slice_is(key, "original_context_length") || slice_is(key, "attn_factor");
  bool ok = false;
  for (size_t i = 0; is_yarn && i < sizeof yarn / sizeof *yarn; i++) ok |= slice_is(key, yarn[i]);
  return ok &&
         (!slice_is(key, "yarn_ext_factor") || (convert_float(c, "rope.scaling.yarn_ext_factor", &x) && x == 1));
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
static rw_status read_llama3(convert *c, rw_error *err) {
  const gguf_tensor *t = gguf_find(c->g, "rope_freqs.weight");
  if (!t) return RW_OK;
  size_t n = (size_t)c->head_dim / 2;
  if (t->n_dims != 1 || t->shape[0] != (int64_t)n || strcmp(t->type_name, "F32") != 0)
    return rw_fail(err, RW_DATA, "%s: tensor rope_freqs.weight: expected %zu values of F32", c->path, n);
  const char *p = t->data;
  float x;
  memcpy(&x, p + 4 * (n - 1), 4);
  c->factor = x;
  c->scaling = SCALED_LLAMA3;
  c->carried++;
  for (size_t i = 0; i < n; i++) {
    memcpy(&x, p + 4 * i, 4);
    double want = rope_divisor(c->theta, (int64_t)i, c->head_dim, c->factor);
    if (!(fabs(x - want) <= 1e-5 * want))
      return rw_fail(err, RW_UNSUPPORTED,
                     "%s: tensor rope_freqs.weight: value %zu is %g, by Llama 3.1's scaling it is %g; take the "
                     "Hugging Face checkpoint",
                     c->path, i, (double)x, want);
  }
  return RW_OK;
}

static rw_status read_divisors(convert *c, const char *name, const gguf_tensor **out, rw_error *err) {
  const gguf_tensor *t = *out = gguf_find(c->g, name);
  if (!t || t->n_dims != 1 || t->shape[0] != c->rotated / 2 || strcmp(t->type_name, "F32") != 0)
    return rw_fail(err, RW_DATA, "%s: tensor %s: expected %lld values of F32", c->path, name,
                   (long long)c->rotated / 2);
  c->carried++;
  return RW_OK;
}

rw_status convert_rope_read(convert *c, rw_error *err) {
  char key[80];
  c->rotated = c->head_dim;
  convert_int(c, "rope.dimension_count", &c->rotated);
  bool fits = c->f->part_rotary ? c->rotated > 1 && c->rotated <= c->head_dim && c->rotated % 2 == 0
                                : c->rotated == c->head_dim;
  if (!fits)
    return rw_fail(err, RW_UNSUPPORTED, "%s: key %s: expected the head size %lld, got %lld", c->path,
                   convert_key(c, "rope.dimension_count", key), (long long)c->head_dim, (long long)c->rotated);
  if (scaled_by(c, "linear") || scaled_by(c, "yarn")) {
    c->scaling = scaled_by(c, "linear") ? SCALED_LINEAR : SCALED_YARN;
    if (!convert_float(c, "rope.scaling.factor", &c->factor) || !(c->factor > 0))
      return rw_fail(err, RW_DATA, "%s: key %s: expected a number above 0", c->path,
                     convert_key(c, "rope.scaling.factor", key));
  }
  if (c->f->only_longrope && gguf_find(c->g, "rope_factors_long.weight")) {
    c->scaling = SCALED_LONG;
    RW_TRY(read_divisors(c, "rope_factors_long.weight", &c->longs, err));
    return read_divisors(c, "rope_factors_short.weight", &c->shorts, err);
  }
  return read_llama3(c, err);
}

static void divisors(const convert *c, json_writer *w, const char *name, const gguf_tensor *t) {
  jw_array(w, name);
  for (int64_t i = 0; i < c->rotated / 2; i++) {
    float x;
    memcpy(&x, (const char *)t->data + 4 * i, 4);
    jw_f32(w, NULL, x);
  }
  jw_end(w);
}

static void optional(const convert *c, json_writer *w, const char *key, const char *field) {
  double x;
  if (convert_float(c, key, &x)) jw_f32(w, field, (float)x);
}

static int64_t original_context(const convert *c) {
  int64_t n = c->context;
  convert_int(c, "rope.scaling.original_context_length", &n);
  return n;
}

/* LongRoPE's, where it is not the one that follows from the lengths. */
static void attention_factor(const convert *c, json_writer *w) {
  double original = (double)original_context(c), longer = (double)c->context / original, x;
  double usual = longer > 1 ? sqrt(1 + log(longer) / log(original)) : 1;
  if (convert_float(c, "rope.scaling.attn_factor", &x) && !(fabs(x - usual) <= 1e-6 * usual))
    jw_f32(w, "attention_factor", (float)x);
}

/* The members of rope_scaling. */
static void scaling(const convert *c, json_writer *w) {
  static const char *const types[] = {"default", "linear", "llama3", "yarn", "longrope"};
  jw_string(w, "rope_type", types[c->scaling]);
  if (c->scaling == SCALED_LONG) {
    divisors(c, w, "short_factor", c->shorts);
    divisors(c, w, "long_factor", c->longs);
    attention_factor(c, w);
    return;
  }
  if (c->scaling != SCALED_NOT) jw_f32(w, "factor", (float)c->factor);
  if (c->scaling == SCALED_LLAMA3) {
    str_printf(jw_value(w, "low_freq_factor"), "%d.0", ROPE_LOW);
    str_printf(jw_value(w, "high_freq_factor"), "%d.0", ROPE_HIGH);
    jw_int(w, "original_max_position_embeddings", ROPE_ORIGINAL);
  }
  if (c->scaling != SCALED_YARN) return;
  jw_int(w, "original_max_position_embeddings", original_context(c));
  optional(c, w, "rope.scaling.yarn_attn_factor", "attention_factor");
  optional(c, w, "rope.scaling.yarn_beta_fast", "beta_fast");
  optional(c, w, "rope.scaling.yarn_beta_slow", "beta_slow");
}

/* Olmo 3: layers with a window are not scaled. */
static void by_layers(const convert *c, json_writer *w) {
  double local = c->theta;
  convert_float(c, "rope.freq_base_swa", &local);
  jw_object(w, "rope_parameters");
  jw_object(w, "full_attention");
  scaling(c, w);
  jw_f32(w, "rope_theta", (float)c->theta);
  jw_end(w);
  jw_object(w, "sliding_attention");
  jw_string(w, "rope_type", "default");
  jw_f32(w, "rope_theta", (float)local);
  jw_end(w);
  jw_end(w);
}

void convert_rope_write(const convert *c, json_writer *w) {
  jw_f32(w, "rope_theta", (float)c->theta);
  if (c->f->only_longrope) {
    jw_int(w, "original_max_position_embeddings", original_context(c));
    jw_num(w, "partial_rotary_factor", (double)c->rotated / (double)c->head_dim);
  }
  if (c->f->rope_by_layers) {
    by_layers(c, w);
  } else if (c->scaling != SCALED_NOT) {
    jw_object(w, "rope_scaling");
    scaling(c, w);
    jw_end(w);
  }
}
