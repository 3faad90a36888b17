/* config.c - config.json of the supported families into model_config.
 *
 * Both dialects are read: rope_theta + rope_scaling, and rope_parameters. What changes the numbers is consumed or
 * refused by name; what only concerns generation or bookkeeping is passed over.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "format/peft.h"
#include "model/model.h"

typedef struct {
  const char *path;
  json_doc *d;
  json_val root;
  rw_error *err;
} reader;

static rw_status bad(const reader *r, const char *field, const char *expected, json_val v) {
  slice raw = json_raw(r->d, v);
  return rw_fail(r->err, RW_DATA, "%s: %s: expected %s, got %.*s", r->path, field, expected,
                 raw.p ? (int)(raw.len < 60 ? raw.len : 60) : 7, raw.p ? raw.p : "nothing");
}

static bool absent(const reader *r, json_val v) { return v == JSON_NONE || json_kind(r->d, v) == JSON_NULL; }

/* Whole number in [lo, hi]; def < 0: required. */
static rw_status get_int(const reader *r, json_val obj, const char *field, int64_t def, int64_t lo, int64_t hi,
                         int64_t *out) {
  json_val v = json_get(r->d, obj, field);
  *out = def;
  if (absent(r, v)) return def >= 0 ? RW_OK : bad(r, field, "a whole number", v);
  if (!json_int(r->d, v, out)) return bad(r, field, "a whole number", v);
  if (*out < lo || *out > hi)
    return rw_fail(r->err, RW_DATA, "%s: %s: expected %lld to %lld, got %lld", r->path, field, (long long)lo,
                   (long long)hi, (long long)*out);
  return RW_OK;
}

static rw_status get_number(const reader *r, json_val obj, const char *field, double def, double *out) {
  json_val v = json_get(r->d, obj, field);
  *out = def;
  if (absent(r, v)) return RW_OK;
  /* it is computed with in f32 */
  return json_number(r->d, v, out) && isfinite((float)*out) ? RW_OK
                                                            : bad(r, field, "a number within f32's range", v);
}

static bool get_flag(const reader *r, const char *field, bool def) {
  json_val v = json_get(r->d, r->root, field);
  return absent(r, v) ? def : json_kind(r->d, v) == JSON_TRUE;
}

static rw_status refuse(const reader *r, const char *field, const char *why) {
  json_val v = json_get(r->d, r->root, field);
  slice raw = json_raw(r->d, v);
  return rw_fail(r->err, RW_UNSUPPORTED, "%s: %s: %.*s is not supported: %s", r->path, field,
                 (int)(raw.len < 60 ? raw.len : 60), raw.p ? raw.p : "", why);
}

/* A field that may be null for "none": then 0; def when it is absent. */
static rw_status get_optional(const reader *r, const char *field, double def, double *out) {
  if (json_get(r->d, r->root, field) != JSON_NONE) def = 0;
  return get_number(r, r->root, field, def, out);
}

/* YaRN (Peng et al. 2023): frequencies below `low` stay, above `high` are divided by the factor, a ramp between. */
static rw_status read_yarn(const reader *r, json_val obj, size_t dim, rope_config *rope) {
  double fast, slow, mscale, all;
  RW_TRY(get_number(r, obj, "beta_fast", 32, &fast));
  RW_TRY(get_number(r, obj, "beta_slow", 1, &slow));
  RW_TRY(get_number(r, obj, "mscale", 0, &mscale));
  RW_TRY(get_number(r, obj, "mscale_all_dim", 0, &all));
  if (!(rope->factor >= 1)) return bad(r, "factor", "a number of at least 1", json_get(r->d, obj, "factor"));
  if (!(rope->theta > 1)) return bad(r, "rope_theta", "a number above 1", json_get(r->d, obj, "rope_theta"));
  if (!(fast > 0) || !(slow > 0)) return bad(r, "beta_fast, beta_slow", "numbers above 0", JSON_NONE);
  double grow = log(rope->factor), usual = 0.1 * grow + 1;
  if (mscale != 0 && all != 0) usual = (0.1 * mscale * grow + 1) / (0.1 * all * grow + 1);
  RW_TRY(get_number(r, obj, "attention_factor", usual, &rope->attention_factor));
  double per = (double)dim / (2 * log(rope->theta)), old = (double)rope->original_max_positions;
  rope->low = per * log(old / (fast * 2 * M_PI));
  rope->high = per * log(old / (slow * 2 * M_PI));
  json_val cut = json_get(r->d, obj, "truncate");
  if (absent(r, cut) || json_kind(r->d, cut) == JSON_TRUE) {
    rope->low = floor(rope->low);
    rope->high = ceil(rope->high);
  }
  rope->low = fmax(rope->low, 0);
  rope->high = fmin(rope->high, (double)dim - 1);
  if (rope->low == rope->high) rope->high += 0.001;
  return RW_OK;
}

static rw_status read_factors(const reader *r, json_val obj, const char *field, size_t n, float *out) {
  json_val list = json_get(r->d, obj, field);
  for (size_t i = 0; i < n; i++) {
    double x;
    if (json_count(r->d, list) != n || !json_number(r->d, json_at(r->d, list, i), &x) || !((float)x > 0) ||
        !isfinite((float)x))
      return rw_fail(r->err, RW_DATA, "%s: %s: expected %zu numbers above 0, a pair of columns each", r->path,
                     field, n);
    out[i] = (float)x;
  }
  return RW_OK;
}

/* LongRoPE (Ding et al. 2024), as transformers has it. */
static rw_status read_longrope(const reader *r, const model_config *c, json_val obj, rope_config *rope) {
  size_t pairs = c->rotary_dim / 2;
  int64_t old;
  if (c->family->local_rope) /* a row's place in one table would not be its place in the other */
    return rw_fail(r->err, RW_UNSUPPORTED, "%s: longrope is not supported beside rotary tables by layer", r->path);
  double factor;
  if (pairs > MODEL_LONG_PAIRS)
    return rw_fail(r->err, RW_UNSUPPORTED, "%s: longrope: expected at most %d rotated columns, got %zu", r->path,
                   2 * MODEL_LONG_PAIRS, c->rotary_dim);
  rope->kind = ROPE_LONG;
  RW_TRY(read_factors(r, obj, "short_factor", pairs, rope->short_factor));
  RW_TRY(read_factors(r, obj, "long_factor", pairs, rope->long_factor));
  RW_TRY(get_int(r, obj, "original_max_position_embeddings", c->max_positions, 2, INT32_MAX, &old));
  RW_TRY(get_int(r, r->root, "original_max_position_embeddings", c->family->only_longrope ? 4096 : old, 2,
                 INT32_MAX, &rope->original_max_positions));
  RW_TRY(get_number(r, obj, "factor", (double)c->max_positions / (double)rope->original_max_positions, &factor));
  double usual = factor > 1 ? sqrt(1 + log(factor) / log((double)rope->original_max_positions)) : 1;
  return get_number(r, obj, "attention_factor", usual, &rope->attention_factor);
}

/* One rope description: the keys of rope_scaling or rope_parameters; theta from the object, else `theta`. */
static rw_status read_rope(const reader *r, const model_config *c, json_val obj, double theta, rope_config *rope) {
  *rope = (rope_config){.kind = ROPE_DEFAULT, .theta = theta, .factor = 1, .attention_factor = 1};
  if (absent(r, obj)) return RW_OK;
  RW_TRY(get_number(r, obj, "rope_theta", theta, &rope->theta));
  json_val t = json_get(r->d, obj, "rope_type");
  if (t == JSON_NONE) t = json_get(r->d, obj, "type");
  slice kind = absent(r, t) ? SLICE("default") : json_string(r->d, t);
  RW_TRY(get_number(r, obj, "factor", 1, &rope->factor));
  double part;
  RW_TRY(get_number(r, obj, "partial_rotary_factor", 1, &part));
  if (part != 1 && !c->family->part_rotary)
    return rw_fail(r->err, RW_UNSUPPORTED, "%s: partial_rotary_factor: expected 1, got %g", r->path, part);
  if (slice_is(kind, "default")) return RW_OK;
  bool is_long = slice_is(kind, "longrope");
  if (c->family->only_longrope) {
    is_long |= slice_is(kind, "su") || slice_is(kind, "yarn"); /* names of earlier files */
    if (!is_long)
      return rw_fail(r->err, RW_UNSUPPORTED,
                     "%s: rope type: expected default or longrope in a %s model, got '%.*s'", r->path, c->type,
                     (int)kind.len, kind.p ? kind.p : "");
  }
  if (is_long) return read_longrope(r, c, obj, rope);
  if (slice_is(kind, "linear")) {
    rope->kind = ROPE_LINEAR;
    return RW_OK;
  }
  if (slice_is(kind, "llama3")) {
    rope->kind = ROPE_LLAMA3;
    RW_TRY(get_number(r, obj, "low_freq_factor", 1, &rope->low_freq_factor));
    RW_TRY(get_number(r, obj, "high_freq_factor", 4, &rope->high_freq_factor));
    return get_int(r, obj, "original_max_position_embeddings", -1, 1, INT64_MAX, &rope->original_max_positions);
  }
  if (slice_is(kind, "yarn")) {
    rope->kind = ROPE_YARN;
    RW_TRY(get_int(r, obj, "original_max_position_embeddings", c->max_positions, 1, INT64_MAX,
                   &rope->original_max_positions));
    return read_yarn(r, obj, c->rotary_dim, rope);
  }
  if (slice_is(kind, "dynamic")) { /* nothing to do up to max_positions; model_check_ids refuses what is longer */
    rope->kind = ROPE_DYNAMIC;
    return RW_OK;
  }
  return rw_fail(r->err, RW_UNSUPPORTED,
                 "%s: rope type '%.*s' is not supported; default, linear, llama3, yarn, longrope and dynamic are",
                 r->path, (int)kind.len, kind.p ? kind.p : "");
}

static rw_status read_ropes(const reader *r, model_config *c) {
  double theta, local;
  RW_TRY(get_number(r, r->root, "rope_theta", c->family->theta, &theta));
  local = c->family->local_theta;
  if (c->family->local_theta_field) RW_TRY(get_number(r, r->root, c->family->local_theta_field, local, &local));
  json_val p = json_get(r->d, r->root, "rope_parameters"), old = json_get(r->d, r->root, "rope_scaling");
  if (c->family->rope_by_layers) { /* what the file says of all layers alike is not read, but for the old field */
    bool is_old = absent(r, p) && json_get(r->d, old, "rope_type") != JSON_NONE;
    RW_TRY(read_rope(r, c, is_old ? old : json_get(r->d, p, "full_attention"), theta, &c->ropes[0]));
    return read_rope(r, c, json_get(r->d, p, "sliding_attention"), local, &c->ropes[1]);
  }
  if (c->family->local_rope && !absent(r, json_get(r->d, p, "full_attention"))) {
    RW_TRY(read_rope(r, c, json_get(r->d, p, "full_attention"), theta, &c->ropes[0]));
    return read_rope(r, c, json_get(r->d, p, "sliding_attention"), local, &c->ropes[1]);
  }
  RW_TRY(read_rope(r, c, absent(r, p) ? old : p, theta, &c->ropes[0]));
  c->ropes[1] = (rope_config){.kind = ROPE_DEFAULT, .theta = local, .factor = 1, .attention_factor = 1};
  return RW_OK;
}

/* Which layers are rotated: those that no_rope_layers says, or all but each no_rope_layer_interval-th. */
static rw_status read_no_rope(const reader *r, const model_config *c, bool has_rope[MODEL_MAX_LAYERS]) {
  int64_t interval;
  json_val list = json_get(r->d, r->root, "no_rope_layers");
  RW_TRY(get_int(r, r->root, "no_rope_layer_interval", 4, 1, INT32_MAX, &interval));
  for (size_t i = 0; i < c->layers; i++) {
    int64_t on = 1;
    has_rope[i] = !c->family->no_rope || (int64_t)(i + 1) % interval != 0;
    if (!c->family->no_rope || absent(r, list)) continue;
    if (!json_int(r->d, json_at(r->d, list, i), &on) || (on != 0 && on != 1))
      return bad(r, "no_rope_layers", "0 or 1 for each layer", list);
    has_rope[i] = on == 1;
  }
  return RW_OK;
}

/* layer_types where the file has them; else the family's rule. */
static rw_status read_windows(const reader *r, model_config *c) {
  int64_t window, pattern, max_window;
  /* absent means the class's default in transformers, null means none */
  bool given = json_get(r->d, r->root, "sliding_window") != JSON_NONE;
  family_window rule = c->family->window;
  RW_TRY(get_int(r, r->root, "sliding_window", given || c->family->window_unset ? 0 : 4096, 0, INT32_MAX, &window));
  RW_TRY(get_int(r, r->root, "sliding_window_pattern", 6, 1, INT32_MAX, &pattern));
  RW_TRY(get_int(r, r->root, "max_window_layers", 28, 0, INT32_MAX, &max_window));
  if (rule == WINDOW_EVERY) pattern = c->family->window_every; /* whatever the file says */
  bool flag = rule == WINDOW_FROM || rule == WINDOW_FLAG || rule == WINDOW_NO_ROPE;
  if (rule == WINDOW_NONE || (flag && !get_flag(r, "use_sliding_window", false))) window = 0;
  json_val types = json_get(r->d, r->root, "layer_types");
  bool has_rope[MODEL_MAX_LAYERS];
  RW_TRY(read_no_rope(r, c, has_rope));
  for (size_t i = 0; i < c->layers; i++) {
    bool sliding = window > 0;
    if (!absent(r, types)) {
      slice t = json_string(r->d, json_at(r->d, types, i));
      if (!slice_is(t, "sliding_attention") && !slice_is(t, "full_attention"))
        return rw_fail(r->err, RW_UNSUPPORTED,
                       "%s: layer_types[%zu]: expected full_attention or sliding_attention, got '%.*s'", r->path, i,
                       (int)t.len, t.p ? t.p : "nothing");
      sliding = slice_is(t, "sliding_attention");
      if (sliding && window == 0) return bad(r, "sliding_window", "a whole number above 0", JSON_NONE);
    } else if (rule == WINDOW_EVERY || rule == WINDOW_PATTERN) {
      sliding = window > 0 && (i + 1) % (size_t)pattern != 0;
    } else if (rule == WINDOW_FROM) {
      sliding = window > 0 && (int64_t)i >= max_window;
    } else if (rule == WINDOW_NO_ROPE) {
      sliding = window > 0 && !has_rope[i];
    }
    c->window[i] = sliding ? (int32_t)window : 0;
    c->rope_of[i] = !has_rope[i] ? MODEL_NO_ROPE : sliding && c->family->local_rope;
  }
  return RW_OK;
}

/* Which layers are mixtures of experts, and their sizes. */
static rw_status read_experts(const reader *r, model_config *c) {
  const model_family *f = c->family;
  int64_t n, k, ff, step;
  if (f->experts == 0) return RW_OK;
  bool local = !absent(r, json_get(r->d, r->root, "num_local_experts"));
  RW_TRY(get_int(r, r->root, local ? "num_local_experts" : "num_experts", f->experts, 0, 65536, &n));
  RW_TRY(get_int(r, r->root, "num_experts_per_tok", f->experts_per_token, 1, MODEL_MOST_CHOSEN, &k));
  RW_TRY(get_int(r, r->root, f->expert_ff_field, f->expert_ff, 1, 1 << 24, &ff));
  RW_TRY(get_int(r, r->root, "decoder_sparse_step", 1, 1, INT32_MAX, &step));
  if (n > 0 && k > n)
    return rw_fail(r->err, RW_DATA, "%s: num_experts_per_tok: expected at most the %lld experts, got %lld", r->path,
                   (long long)n, (long long)k);
  c->n_experts = (size_t)n;
  c->experts_per_token = (size_t)k;
  c->expert_ff = (size_t)ff;
  c->norm_topk = f->norm_topk || get_flag(r, "norm_topk_prob", false);
  json_val dense = json_get(r->d, r->root, "mlp_only_layers");
  for (size_t l = 0; l < c->layers; l++)
    c->mixture[l] = n > 0 && (!f->sparse_layers || (int64_t)(l + 1) % step == 0);
  for (size_t i = 0; f->sparse_layers && !absent(r, dense) && i < json_count(r->d, dense); i++) {
    int64_t l;
    if (!json_int(r->d, json_at(r->d, dense, i), &l)) return bad(r, "mlp_only_layers", "numbers of layers", dense);
    if (l >= 0 && l < (int64_t)c->layers) c->mixture[l] = false;
  }
  return RW_OK;
}

/* How many of a head's columns turn. */
static rw_status read_rotary(const reader *r, model_config *c) {
  double old, part;
  RW_TRY(get_number(r, r->root, "partial_rotary_factor", c->family->rotary, &old));
  json_val p = json_get(r->d, r->root, "rope_parameters");
  RW_TRY(get_number(r, absent(r, p) ? json_get(r->d, r->root, "rope_scaling") : p, "partial_rotary_factor", old,
                    &part));
  if (!c->family->part_rotary && part != 1)
    return rw_fail(r->err, RW_UNSUPPORTED, "%s: partial_rotary_factor: expected 1, got %g", r->path, part);
  c->rotary_dim = part > 0 && part <= 1 ? (size_t)((double)c->head_dim * part) : 0;
  if (c->rotary_dim < 2 || c->rotary_dim % 2)
    return rw_fail(r->err, RW_DATA,
                   "%s: partial_rotary_factor: expected an even number of %zu columns, got %g of them", r->path,
                   c->head_dim, part);
  return RW_OK;
}

/* A head of the table: its layers, and the token that it reads at. */
static rw_status read_form(const reader *r, model_config *c) {
  const head_form *f = c->form;
  if (f->token && (size_t)f->token >= c->vocab)
    return rw_fail(r->err, RW_DATA, "%s: vocab_size: expected more than %d, the id that %s reads at, got %zu",
                   r->path, f->token, f->class, c->vocab);
  if (f->token) c->reward_token_id = f->token;
  c->head_hidden = f->hidden == HIDDEN_ONE;
  c->head_width = c->hidden;
  if (f->hidden != HIDDEN_VHEAD) return RW_OK;
  json_val kind = json_get(r->d, r->root, "vhead_layer_type");
  int64_t layers, width; /* absent: as the class has them */
  RW_TRY(get_int(r, r->root, "vhead_num_layers", 1, 1, MODEL_HEAD_LAYERS - 1, &layers));
  RW_TRY(get_int(r, r->root, "vhead_num_neurons", 1024, 1, 1 << 20, &width));
  bool linear = slice_is(json_string(r->d, kind), "linear");
  if (!linear && !absent(r, kind) && !slice_is(json_string(r->d, kind), "mlp"))
    return bad(r, "vhead_layer_type", "linear or mlp", kind);
  c->head_hidden = linear ? 0 : (size_t)layers;
  c->head_width = (size_t)width;
  return RW_OK;
}

/* What the class of the checkpoint puts on top; its own fields with its own defaults. */
static rw_status read_head(const reader *r, model_config *c) {
  slice class = json_string(r->d, json_at(r->d, json_get(r->d, r->root, "architectures"), 0));
  snprintf(c->class, sizeof c->class, "%.*s", (int)class.len, class.p ? class.p : "");
  c->head = HEAD_SCALAR;
  c->n_outputs = 1;
  c->form = head_form_of(class);
  if (c->form) return read_form(r, c);
  if (c->family->head ==
      HEAD_BY_LABELS) { /* Nemotron-4-340B-Reward has nine outputs, of which the last five are used */
    json_val labels = json_get(r->d, r->root, "id2label");
    int64_t outputs;
    RW_TRY(get_int(r, r->root, "num_labels", absent(r, labels) ? 1 : (int64_t)json_count(r->d, labels), 1, 4096,
                   &outputs));
    if (outputs != 1 && outputs != 5 && outputs != 9)
      return rw_fail(r->err, RW_UNSUPPORTED, "%s: num_labels: expected 1, 5 or 9, got %lld", r->path,
                     (long long)outputs);
    c->n_outputs = (size_t)outputs;
    c->head = outputs > 1 ? HEAD_WEIGHTED : HEAD_SCALAR;
    return RW_OK;
  }
  if (!class.p || !slice_is(class, "LlamaForRewardModelWithGating")) return RW_OK;
  static const int32_t llama3[] = {128009, 128006, 78191, 128007,
                                   271}; /* <|eot_id|>, then the assistant's header */
  int64_t n, layers, width;
  RW_TRY(get_int(r, r->root, "num_objectives", 19, 1, 4096, &n));
  RW_TRY(get_int(r, r->root, "gating_n_hidden", 3, 0, MODEL_HEAD_LAYERS - 1, &layers));
  RW_TRY(get_int(r, r->root, "gating_hidden_dim", 1024, 1, 1 << 20, &width));
  RW_TRY(get_number(r, r->root, "gating_temperature", 10, &c->gate_temperature));
  if (!(c->gate_temperature > 0))
    return bad(r, "gating_temperature", "a number above 0", json_get(r->d, r->root, "gating_temperature"));
  c->head = HEAD_GATED;
  c->n_outputs = (size_t)n;
  c->gate_layers = (size_t)layers;
  c->gate_hidden = (size_t)width;
  json_val p = json_get(r->d, r->root, "gating_token_pattern");
  c->gate_pattern_len = absent(r, p) ? sizeof llama3 / sizeof *llama3 : json_count(r->d, p);
  if (c->gate_pattern_len < 3 || c->gate_pattern_len > MODEL_GATE_PATTERN)
    return bad(r, "gating_token_pattern", "3 to 16 token ids", p);
  for (size_t i = 0; i < c->gate_pattern_len; i++) {
    int64_t id = absent(r, p) ? llama3[i] : -1;
    if (!absent(r, p) && (!json_int(r->d, json_at(r->d, p, i), &id) || id < 0 || id > INT32_MAX))
      return bad(r, "gating_token_pattern", "3 to 16 token ids", p);
    c->gate_pattern[i] = (int32_t)id;
  }
  return RW_OK;
}

static rw_status read_all(const reader *r, model_config *c) {
  json_val t = json_get(r->d, r->root, "model_type");
  slice type = json_string(r->d, t);
  const model_family *f = c->family = family_of(type);
  if (!f) {
    char known[256];
    family_list(known, false);
    return rw_fail(r->err, RW_UNSUPPORTED, "%s: model_type: expected %s, got '%.*s'", r->path, known, (int)type.len,
                   type.p ? type.p : "");
  }
  snprintf(c->type, sizeof c->type, "%s", f->type);
  int64_t n[9];
  const int64_t big = 1 << 24;
  RW_TRY(get_int(r, r->root, "hidden_size", -1, 1, big, &n[0]));
  RW_TRY(get_int(r, r->root, "num_hidden_layers", -1, 1, MODEL_MAX_LAYERS, &n[1]));
  RW_TRY(get_int(r, r->root, "num_attention_heads", -1, 1, 65536, &n[2]));
  RW_TRY(get_int(r, r->root, "num_key_value_heads", n[2], 1, n[2], &n[3]));
  int64_t head_dim = f->head_dim ? f->head_dim : n[0] / n[2];
  RW_TRY(get_int(r, r->root, "head_dim", head_dim, 2, 65536, &n[4]));
  RW_TRY(get_int(r, r->root, "intermediate_size", -1, 1, big, &n[5]));
  RW_TRY(get_int(r, r->root, "vocab_size", -1, 1, INT32_MAX, &n[6]));
  RW_TRY(get_int(r, r->root, "max_position_embeddings", -1, 1, INT32_MAX, &c->max_positions));
  if (n[2] % n[3] != 0)
    return rw_fail(r->err, RW_DATA, "%s: num_attention_heads %lld is no multiple of num_key_value_heads %lld",
                   r->path, (long long)n[2], (long long)n[3]);
  if (n[4] < 2 || n[4] % 2 != 0)
    return rw_fail(r->err, RW_UNSUPPORTED, "%s: head_dim: expected an even number above 0, got %lld", r->path,
                   (long long)n[4]);
  c->hidden = (size_t)n[0];
  c->layers = (size_t)n[1];
  c->q_heads = (size_t)n[2];
  c->kv_heads = (size_t)n[3];
  c->head_dim = (size_t)n[4];
  c->ff = (size_t)n[5];
  c->vocab = (size_t)n[6];
  double eps, query_scalar, cap;
  c->layer_norm = f->layer_norm;
  c->relu2 = f->relu2;
  c->post_norms = f->post_norms;
  c->pre_norms = !f->no_pre_norms;
  c->qk_norm = f->qk_norm;
  c->qk_norm_whole = f->qk_norm_whole;
  c->grouped_qkv = f->names->grouped;
  c->norm_offset = f->norm_offset;
  RW_TRY(get_number(r, r->root, f->eps_field, f->eps, &eps));
  if (!(eps >= 0)) return bad(r, f->eps_field, "a number of at least 0", json_get(r->d, r->root, f->eps_field));
  RW_TRY(get_number(r, r->root, "initializer_range", f->initializer_range, &c->initializer_range));
  RW_TRY(
      get_number(r, r->root, "query_pre_attn_scalar", f->query_scalar ? 256 : (double)c->head_dim, &query_scalar));
  RW_TRY(get_optional(r, "attn_logit_softcapping", f->softcap, &cap));
  if (f->no_softcap && cap != 0)
    return refuse(r, "attn_logit_softcapping", "transformers does not apply it to Gemma 3");
  if (!(query_scalar > 0))
    return bad(r, "query_pre_attn_scalar", "a number above 0", json_get(r->d, r->root, "query_pre_attn_scalar"));
  if (f->logit_softcap != 0)
    RW_TRY(get_optional(r, "final_logit_softcapping", f->logit_softcap, &c->logit_softcap));
  c->norm_eps = (float)eps;
  c->attn_scale = (float)(1.0 / sqrt(f->query_scalar ? query_scalar : (double)c->head_dim));
  c->attn_softcap = f->softcap > 0 ? (float)cap : 0; /* no field of the other classes */
  /* Gemma's code rounds the factor to the weights' precision when it multiplies in bf16; in f32 it is exact */
  c->embed_scale = f->embed_scaled ? (float)sqrt((double)c->hidden) : 1.0f;
  bool bias = f->bias == BIAS_FIELD && get_flag(r, f->bias_field, f->bias_default);
  c->qkv_bias = f->bias == BIAS_QKV || bias;
  c->o_bias = bias;
  c->mlp_bias = f->mlp_bias && get_flag(r, "mlp_bias", false);
  /* Gemma's own hidden_act, which in its first files says "gelu", is read by nothing: the activation is the tanh
   * form */
  json_val act = json_get(r->d, r->root, f->act_field);
  slice a = {f->act, strlen(f->act)};
  if (!absent(r, act)) a = json_string(r->d, act);
  c->gelu = a.p && (slice_is(a, "gelu_pytorch_tanh") || (f->gelu_is_tanh && slice_is(a, "gelu")));
  if (f->relu2 && !(a.p && slice_is(a, "relu2"))) return bad(r, f->act_field, "relu2", act);
  if (!f->relu2 && !c->gelu && !(a.p && slice_is(a, "silu")))
    return bad(r, f->act_field, "silu or gelu_pytorch_tanh", act);
  if (!absent(r, json_get(r->d, r->root, "quantization_config")))
    return refuse(r, "quantization_config", "load the unquantized checkpoint");
  if (get_flag(r, "use_bidirectional_attention", false))
    return refuse(r, "use_bidirectional_attention", "causal only");
  if (!get_flag(r, "is_causal", true)) return refuse(r, "is_causal", "causal only");
  RW_TRY(read_experts(r, c));
  RW_TRY(read_rotary(r, c));
  int64_t pad, reward;
  RW_TRY(get_int(r, r->root, "reward_token_id", INT32_MAX, 0, INT32_MAX, &reward));
  if (reward < INT32_MAX && reward >= n[6])
    return bad(r, "reward_token_id", "an id below vocab_size", json_get(r->d, r->root, "reward_token_id"));
  c->reward_token_id = f->reward_token && reward < INT32_MAX ? (int32_t)reward : -1;
  json_val p = json_get(r->d, r->root, "pad_token_id");
  c->pad_token_id = !absent(r, p) && json_int(r->d, p, &pad) && pad >= 0 && pad < n[6] ? (int32_t)pad : -1;
  RW_TRY(read_head(r, c));
  RW_TRY(read_ropes(r, c));
  return read_windows(r, c);
}

rw_status model_config_read(model_config *c, const char *dir, rw_error *err) {
  memset(c, 0, sizeof *c);
  if (peft_is(dir)) {
    peft_config p;
    RW_TRY(peft_read(&p, dir, NULL, err));
    rw_status base = model_config_read(c, p.base, err);
    peft_free(&p);
    return base;
  }
  char *path = file_join(dir, "config.json");
  if (!path) return rw_nomem(err, dir);
  json_file f;
  rw_status s = json_file_open(&f, path, err);
  if (!s) {
    reader r = {path, f.doc, 0, err};
    s = json_kind(f.doc, 0) == JSON_OBJECT ? read_all(&r, c)
                                           : rw_fail(err, RW_DATA, "%s: expected a JSON object", path);
    json_file_close(&f);
  }
  mem_free(path);
  return s;
}
