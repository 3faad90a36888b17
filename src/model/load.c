/* load.c - opening a checkpoint: the family's tensors by name, each found with its shape or refused by name. */
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/log.h"
#include "base/rng.h"
#include "model/model_impl.h"

typedef struct {
  model *m;
  bool *used; /* which of the file's tensors were used */
  const char *prefix;
  rw_error *err;
} loader;

static rw_status shape_error(const loader *l, const st_tensor *t, size_t rows, size_t cols) {
  char got[128] = "[", want[64];
  for (int i = 0; i < t->n_dims; i++) {
    size_t n = strlen(got);
    snprintf(got + n, sizeof got - n, "%s%lld", i ? ", " : "", (long long)t->shape[i]);
  }
  snprintf(want, sizeof want, cols ? "[%zu, %zu]" : "[%zu]", rows, cols);
  return rw_fail(l->err, RW_DATA, "%s: tensor %s: expected shape %s by config.json, got %s]", t->file, t->name,
                 want, got);
}

/* A copy of the file's values on the device, as f32 or as they are. */
static rw_status copy_file(loader *l, tensor *t, bool f32) {
  enum { PART = 1 << 18 }; /* values */
  backend *be = l->m->be;
  size_t unit = f32 ? sizeof(float) : st_dtype_size(t->file->dtype);
  t->copy = be->alloc(be, MEM_DEVICE, t->pub.count * unit);
  char *part = be->alloc(be, MEM_STAGING, (t->pub.count < PART ? t->pub.count : PART) * unit);
  for (size_t at = 0; t->copy && part && at < t->pub.count; at += PART) {
    size_t n = t->pub.count - at < PART ? t->pub.count - at : PART;
    if (f32)
      tensor_read(l->m, t, at, n, (float *)(void *)part);
    else
      memcpy(part, (const char *)t->file->data + at * unit, n * unit);
    be->put(be, (char *)t->copy + at * unit, part, n * unit);
  }
  bool ok = t->copy && part;
  be->release(be, MEM_STAGING, part);
  t->data = t->copy;
  t->type = f32 ? T_F32 : t->type;
  return ok ? RW_OK : rw_nomem(l->err, t->pub.name);
}

static rw_status load_take(loader *l, const char *name, size_t rows, size_t cols, int *out) {
  model *m = l->m;
  const st_tensor *s = st_find(m->w->file, name);
  if (!s)
    return rw_fail(l->err, RW_DATA, "%s: tensor %s is missing; is the checkpoint whole and of type %s?", m->w->dir,
                   name, m->w->cfg.type);
  for (size_t i = 0; i < st_count(m->w->file); i++)
    if (st_at(m->w->file, i) == s) l->used[i] = true;
  bool ok = cols ? s->n_dims == 2 && s->shape[1] == (int64_t)cols : s->n_dims == 1;
  if (!ok || s->shape[0] != (int64_t)rows) return shape_error(l, s, rows, cols);
  if (s->dtype != DT_F32 && s->dtype != DT_F16 && s->dtype != DT_BF16)
    return rw_fail(l->err, RW_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, got %s", s->file, name,
                   st_dtype_name(s->dtype));
  if (!mem_grow((void **)&m->w->t, &m->w->cap_tensors, m->w->n_tensors + 1, sizeof *m->w->t))
    return rw_nomem(l->err, name);
  tensor *t = &m->w->t[m->w->n_tensors];
  *t = (tensor){.data = s->data, .file = s, .file_type = s->dtype, .cols = cols};
  t->type = s->dtype == DT_F32 ? T_F32 : s->dtype == DT_F16 ? T_F16 : T_BF16;
  t->pub.name = s->name;
  t->pub.rows = rows;
  t->pub.count = rows * (cols ? cols : 1);
  *out = (int)m->w->n_tensors++;
  const backend_traits *traits = &m->be->traits;
  bool readable = (traits->weights & 1u << t->type) && !(t->type == T_F32 && (uintptr_t)s->data % 4 != 0);
  if (cols > 0 && readable && traits->maps_host) return RW_OK;
  return copy_file(l, t, cols == 0 || !readable);
}

static rw_status take_layer(loader *l, size_t i, const char *what, size_t rows, size_t cols, int *out) {
  char name[160];
  snprintf(name, sizeof name, "%slayers.%zu.%s", l->prefix, i, what);
  return load_take(l, name, rows, cols, out);
}

/* A vector that a flag turns on. */
static rw_status take_if(loader *l, bool on, size_t i, const char *what, size_t rows, bool bias, int *out) {
  *out = -1;
  if (!on) return RW_OK;
  RW_TRY(take_layer(l, i, what, rows, 0, out));
  l->m->w->t[*out].pub.is_bias = bias;
  l->m->w->t[*out].pub.is_norm = !bias;
  return RW_OK;
}

static rw_status take_part(loader *l, size_t i, const char *what, const char *part, size_t rows, size_t cols,
                           int *out) {
  char name[80];
  snprintf(name, sizeof name, "%s%s", what, part);
  return take_layer(l, i, name, rows, cols, out);
}
static rw_status take_bias(loader *l, bool on, size_t i, const char *what, size_t rows, int *out) {
  char name[80];
  snprintf(name, sizeof name, "%s.bias", what);
  return take_if(l, on, i, name, rows, true, out);
}

/* A projection's matrix and, with the flag, its bias. */
static rw_status take_linear(loader *l, size_t i, const char *what, size_t out, size_t in, bool bias, int *w,
                             int *b) {
  RW_TRY(take_part(l, i, what, ".weight", out, in, w));
  return take_bias(l, bias, i, what, out, b);
}

static rw_status take_norm(loader *l, size_t i, const char *what, size_t h, int *w, int *b) {
  char name[80];
  snprintf(name, sizeof name, "%s.weight", what);
  RW_TRY(take_if(l, true, i, name, h, false, w));
  snprintf(name, sizeof name, "%s.bias", what);
  RW_TRY(take_if(l, l->m->w->cfg.layer_norm, i, name, h, true, b));
  if (*b >= 0) l->m->w->t[*b].pub.is_norm = true;
  return RW_OK;
}

static rw_status load_qkv(loader *l, size_t i, const family_names *n) {
  const model_config *c = &l->m->w->cfg;
  layer *y = &l->m->w->layers[i];
  size_t h = c->hidden, q = c->q_heads * c->head_dim, kv = c->kv_heads * c->head_dim;
  y->k = y->v = y->k_bias = y->v_bias = -1;
  if (n->qkv) return take_linear(l, i, n->qkv, q + 2 * kv, h, c->qkv_bias, &y->q, &y->q_bias);
  const struct {
    const char *name;
    size_t out;
    int *w, *b;
  } each[3] = {{n->q, q, &y->q, &y->q_bias}, {n->k, kv, &y->k, &y->k_bias}, {n->v, kv, &y->v, &y->v_bias}};
  for (int j = 0; j < 3; j++) RW_TRY(take_part(l, i, each[j].name, ".weight", each[j].out, h, each[j].w));
  for (int j = 0; j < 3; j++) RW_TRY(take_bias(l, c->qkv_bias, i, each[j].name, each[j].out, each[j].b));
  return RW_OK;
}

/* Tensors whose gradients come out of one product (q k v; gate up; their biases) are taken one after another, so
 * that they lie side by side in the trained block. */
static rw_status load_layer(loader *l, size_t i) {
  const model_config *c = &l->m->w->cfg;
  const family_names *n = c->family->names;
  layer *y = &l->m->w->layers[i];
  size_t h = c->hidden, q = c->q_heads * c->head_dim, ff = c->ff;
  bool post = c->post_norms;
  RW_TRY(take_norm(l, i, n->norm_in, h, &y->norm_in, &y->norm_in_bias));
  RW_TRY(load_qkv(l, i, n));
  RW_TRY(take_if(l, c->qk_norm, i, "self_attn.q_norm.weight", c->head_dim, false, &y->q_norm));
  RW_TRY(take_if(l, c->qk_norm, i, "self_attn.k_norm.weight", c->head_dim, false, &y->k_norm));
  RW_TRY(take_linear(l, i, n->o, h, q, c->o_bias, &y->o, &y->o_bias));
  RW_TRY(take_if(l, post, i, "post_attention_layernorm.weight", h, false, &y->norm_post_attn));
  RW_TRY(take_norm(l, i, post ? "pre_feedforward_layernorm" : n->norm_mid, h, &y->norm_mid, &y->norm_mid_bias));
  y->gate = y->gate_bias = -1;
  if (!c->relu2) RW_TRY(take_part(l, i, n->gate, ".weight", ff, h, &y->gate));
  RW_TRY(take_part(l, i, n->up, ".weight", ff, h, &y->up));
  if (!c->relu2) RW_TRY(take_bias(l, c->mlp_bias, i, n->gate, ff, &y->gate_bias));
  RW_TRY(take_bias(l, c->mlp_bias, i, n->up, ff, &y->up_bias));
  RW_TRY(take_linear(l, i, n->down, h, ff, c->mlp_bias, &y->down, &y->down_bias));
  return take_if(l, post, i, "post_feedforward_layernorm.weight", h, false, &y->norm_post_mlp);
}

static rw_status make_head(loader *l, const char *name, uint64_t seed) {
  model *m = l->m;
  if (!mem_grow((void **)&m->w->t, &m->w->cap_tensors, m->w->n_tensors + 1, sizeof *m->w->t))
    return rw_nomem(l->err, name);
  tensor *t = &m->w->t[m->w->n_tensors];
  *t = (tensor){.type = T_F32, .file_type = m->w->t[m->w->embed].file_type, .cols = m->w->cfg.hidden, .made = true};
  t->pub = (model_param){.name = name, .rows = 1, .count = m->w->cfg.hidden};
  m->w->head = (int)m->w->n_tensors++;
  m->w->head_is_new = true;
  float *w = mem_alloc(m->w->cfg.hidden, sizeof *w);
  if (!w) return rw_nomem(l->err, name);
  rng r = rng_new(seed, 1);
  for (size_t i = 0; i < m->w->cfg.hidden; i++) w[i] = (float)(rng_normal(&r) * m->w->cfg.initializer_range);
  rw_status st = tensor_own(m, t, w, l->err);
  mem_free(w);
  return st;
}

static rw_status load_head(loader *l, const model_options *o) {
  model *m = l->m;
  const char *name = m->w->cfg.family->names->score;
  const st_tensor *s = st_find(m->w->file, name);
  if (!s && o->new_head && m->w->cfg.head == HEAD_SCALAR) return make_head(l, name, o->seed);
  if (!s)
    return rw_fail(l->err, RW_DATA,
                   "%s: tensor %s is missing: this is no trained reward model; `reward train` makes one", m->w->dir,
                   name);
  size_t n = m->w->cfg.n_outputs;
  if (s->n_dims == 2 && s->shape[0] != (int64_t)n)
    return rw_fail(
        l->err, RW_DATA, "%s: tensor %s: expected shape [%zu, %zu], got [%lld, %lld]; %s", s->file, name, n,
        m->w->cfg.hidden, (long long)s->shape[0], (long long)s->shape[1],
        n > 1 ? "the head must have as many rows as config.json's num_labels"
              : "a classifier of several labels is no reward model (several heads: ArmoRM's and Nemotron's "
                "classes)");
  return load_take(l, name, n, m->w->cfg.hidden, &m->w->head);
}

/* A tensor's values on the host. */
static rw_status values(const model *m, int i, float **out, rw_error *err) {
  const tensor *t = &m->w->t[i];
  *out = mem_alloc(t->pub.count, sizeof **out);
  if (!*out) return rw_nomem(err, t->pub.name);
  st_to_f32(*out, st_find(m->w->file, t->pub.name)->data, t->file_type, t->pub.count);
  return RW_OK;
}

static rw_status load_gated(loader *l) {
  model *m = l->m;
  const model_config *c = &m->w->cfg;
  int transform, scale;
  const char *const *names;
  size_t attributes = model_attributes(m, &names);
  if (c->n_outputs != attributes)
    return rw_fail(l->err, RW_UNSUPPORTED, "%s: config.json: num_objectives: expected %zu (ArmoRM's), got %zu",
                   m->w->dir, attributes, c->n_outputs);
  RW_TRY(load_take(l, "regression_layer.weight", c->n_outputs, c->hidden, &m->w->head));
  RW_TRY(load_take(l, "reward_transform_matrix", c->n_outputs, c->n_outputs, &transform));
  RW_TRY(load_take(l, "gating.logit_scale", 1, 0, &scale));
  RW_TRY(values(m, transform, &m->w->transform, l->err));
  RW_TRY(values(m, scale, &m->w->gate_scale, l->err));
  for (size_t i = 0; i <= c->gate_layers; i++) {
    size_t in = i ? c->gate_hidden : c->hidden, out = i < c->gate_layers ? c->gate_hidden : c->n_outputs;
    char name[64];
    snprintf(name, sizeof name, "gating.layers.%zu.weight", i);
    RW_TRY(load_take(l, name, out, in, &m->w->gate[i]));
    snprintf(name, sizeof name, "gating.layers.%zu.bias", i);
    RW_TRY(load_take(l, name, out, 0, &m->w->gate_bias[i]));
  }
  return RW_OK;
}

static rw_status load_tensors(loader *l, const model_options *o) {
  model *m = l->m;
  char name[160];
  const family_names *n = m->w->cfg.family->names;
  snprintf(name, sizeof name, "model.%s.weight", n->embed);
  l->prefix = st_find(m->w->file, name) ? "model." : "";
  snprintf(name, sizeof name, "%s%s.weight", l->prefix, n->embed);
  RW_TRY(load_take(l, name, m->w->cfg.vocab, m->w->cfg.hidden, &m->w->embed));
  for (size_t i = 0; i < m->w->cfg.layers; i++) RW_TRY(load_layer(l, i));
  snprintf(name, sizeof name, "%snorm.weight", l->prefix);
  RW_TRY(load_take(l, name, m->w->cfg.hidden, 0, &m->w->norm_final));
  m->w->t[m->w->norm_final].pub.is_norm = true;
  m->w->norm_final_bias = -1;
  if (m->w->cfg.layer_norm) {
    snprintf(name, sizeof name, "%snorm.bias", l->prefix);
    RW_TRY(load_take(l, name, m->w->cfg.hidden, 0, &m->w->norm_final_bias));
    m->w->t[m->w->norm_final_bias].pub.is_norm = m->w->t[m->w->norm_final_bias].pub.is_bias = true;
  }
  RW_TRY(m->w->cfg.head != HEAD_GATED ? load_head(l, o) : load_gated(l));
  for (size_t i = 0; i < st_count(m->w->file); i++) {
    const char *extra = st_at(m->w->file, i)->name;
    if (l->used[i] || strcmp(extra, n->causal_head) == 0 || strstr(extra, "rotary_emb.inv_freq")) continue;
    return rw_fail(l->err, RW_DATA, "%s: tensor %s: not part of a %s reward model as config.json describes it",
                   st_at(m->w->file, i)->file, extra, m->w->cfg.type);
  }
  return RW_OK;
}

rw_status model_open(model **out, const char *dir, const model_options *o, rw_error *err) {
  *out = NULL;
  model *m = mem_zalloc(1, sizeof *m);
  if (m) m->w = mem_zalloc(1, sizeof *m->w);
  if (!m || !m->w) {
    mem_free(m);
    return rw_nomem(err, dir);
  }
  atomic_init(&m->w->sessions, 1);
  m->context = o->context;
  loader l = {.m = m, .err = err};
  model_options over = *o;
  bool new_head = o->new_head;
  peft_config peft = {0};
  const char *adapter = peft_is(dir) ? dir : NULL;
  rw_status s = adapter ? peft_read(&peft, dir, o->base, err) : RW_OK;
  if (!adapter && o->base)
    s = rw_fail(err, RW_USAGE, FIELD(base) ": expected an adapter (adapter_config.json) as the model, got %s", dir);
  if (adapter && !s) {
    dir = peft.base;
    over.new_head = true; /* the adapter's own is read below */
    o = &over;
  }
  if (!s) s = model_config_read(&m->w->cfg, dir, err);
  if (!s) s = session_device(m, o->device ? o->device : "auto", o->level, err);
  if (!s) {
    bool is_auto = !o->dtype || strcmp(o->dtype, "auto") == 0;
    model_set_bf16(m, is_auto ? o->auto_bf16 && m->be->traits.fast_bf16 : strcmp(o->dtype, "bf16") == 0);
  }
  if (!s) s = st_open(&m->w->file, dir, err);
  if (!s) {
    m->w->dir = mem_strndup(dir, strlen(dir));
    m->w->layers = mem_zalloc(m->w->cfg.layers, sizeof *m->w->layers);
    l.used = mem_zalloc(st_count(m->w->file), sizeof *l.used);
    s = m->w->dir && m->w->layers && l.used ? load_tensors(&l, o) : rw_nomem(err, dir);
  }
  if (!s && adapter) s = lora_load(m, adapter, &peft, new_head, err);
  if (!s) s = m->be->sync(m->be, err);
  mem_free(l.used);
  peft_free(&peft);
  if (s)
    model_free(m);
  else
    *out = m;
  return s;
}

/* Values that are not in the base's file. */
static rw_status hash_own(const model *m, const tensor *t, XXH3_state_t *x, rw_error *err) {
  float *values = mem_alloc(t->pub.count, sizeof *values);
  if (!values) return rw_nomem(err, t->pub.name);
  m->be->get(m->be, values, t->copy, t->pub.count * sizeof *values);
  rw_status s = m->be->sync(m->be, err);
  if (!s) XXH3_128bits_update(x, values, t->pub.count * sizeof *values);
  mem_free(values);
  return s;
}

rw_status model_hash(const model *m, char out[33], rw_error *err) {
  XXH3_state_t *x = XXH3_createState();
  if (!x) return rw_nomem(err, m->w->dir);
  XXH3_128bits_reset(x);
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < m->w->n_tensors; i++) {
    const tensor *t = &m->w->t[i];
    XXH3_128bits_update(x, t->pub.name, strlen(t->pub.name));
    if (t->own_name) XXH3_128bits_update(x, &t->scale, sizeof t->scale); /* an adapter's */
    if (t->file)
      XXH3_128bits_update(x, t->file->data, t->file->bytes);
    else if (!t->made)
      s = hash_own(m, t, x, err);
  }
  XXH128_hash_t h = XXH3_128bits_digest(x);
  XXH3_freeState(x);
  st_forget(m->w->file); /* a frozen embedding's pages among them, most of which nothing reads again */
  snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
  return s;
}
