/* load.c - opening a checkpoint: the family's tensors by name, each found with its shape or refused by name. */
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/log.h"
#include "model/decoder.h"
#include "model/loader.h"

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

/* The router and each expert's gate, up and down, one after another. */
static rw_status load_experts(loader *l, size_t i) {
  const model_config *c = &l->m->w->cfg;
  const family_names *n = c->family->names;
  layer *y = &l->m->w->layers[i];
  RW_TRY(take_part(l, i, n->router, ".weight", c->n_experts, c->hidden, &y->router));
  y->experts = (int)l->m->w->n_tensors;
  for (size_t e = 0; e < c->n_experts; e++) {
    const char *part[3] = {n->expert_gate, n->expert_up, n->expert_down};
    for (int k = 0; k < 3; k++) {
      char name[120];
      int at;
      snprintf(name, sizeof name, "%s.%zu.%s.weight", n->expert, e, part[k]);
      RW_TRY(take_layer(l, i, name, k < 2 ? c->expert_ff : c->hidden, k < 2 ? c->hidden : c->expert_ff, &at));
    }
  }
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
  int none; /* these have no bias */
  y->first = (int)l->m->w->n_tensors;
  y->norm_in = y->norm_in_bias = y->norm_mid = y->norm_mid_bias = -1;
  if (c->pre_norms) RW_TRY(take_norm(l, i, n->norm_in, h, &y->norm_in, &y->norm_in_bias));
  RW_TRY(load_qkv(l, i, n));
  size_t per = c->head_dim, qn = c->qk_norm_whole ? q : per, kn = c->qk_norm_whole ? c->kv_heads * per : per;
  RW_TRY(take_if(l, c->qk_norm, i, "self_attn.q_norm.weight", qn, false, &y->q_norm));
  RW_TRY(take_if(l, c->qk_norm, i, "self_attn.k_norm.weight", kn, false, &y->k_norm));
  RW_TRY(take_linear(l, i, n->o, h, q, c->o_bias, &y->o, &y->o_bias));
  y->norm_post_attn = y->norm_post_mlp = -1;
  if (post) RW_TRY(take_norm(l, i, n->post_attn, h, &y->norm_post_attn, &none));
  if (c->pre_norms) RW_TRY(take_norm(l, i, n->norm_mid, h, &y->norm_mid, &y->norm_mid_bias));
  y->gate = y->gate_bias = y->up = y->up_bias = y->down = y->down_bias = y->router = y->experts = -1;
  if (c->mixture[i]) return load_experts(l, i);
  bool gate = !c->relu2 && n->gate; /* without the name: gate and up are one matrix */
  if (gate) RW_TRY(take_part(l, i, n->gate, ".weight", ff, h, &y->gate));
  RW_TRY(take_part(l, i, n->up, ".weight", gate ? ff : up_width(c), h, &y->up));
  if (gate) RW_TRY(take_bias(l, c->mlp_bias, i, n->gate, ff, &y->gate_bias));
  RW_TRY(take_bias(l, c->mlp_bias, i, n->up, ff, &y->up_bias));
  RW_TRY(take_linear(l, i, n->down, h, ff, c->mlp_bias, &y->down, &y->down_bias));
  return post ? take_norm(l, i, n->post_mlp, h, &y->norm_post_mlp, &none) : RW_OK;
}

static rw_status load_tensors(loader *l, const model_options *o) {
  model *m = l->m;
  char name[160];
  const family_names *n = m->w->cfg.family->names;
  snprintf(name, sizeof name, "model.%s.weight", n->embed);
  l->prefix = st_find(m->w->file, name) ? "model." : "";
  snprintf(name, sizeof name, "transformer.%s.weight", n->embed);
  if (st_find(m->w->file, name)) l->prefix = "transformer."; /* Starling's */
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
  RW_TRY(load_head(l, o));
  for (size_t i = 0; i < st_count(m->w->file); i++) {
    const char *extra = st_at(m->w->file, i)->name;
    if (l->used[i] || strcmp(extra, n->causal_head) == 0 || strstr(extra, "rotary_emb.inv_freq")) continue;
    if (*l->prefix == 't' && strncmp(extra, "model.", 6) == 0) continue; /* the same decoder, held twice */
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
  if (adapter && !s && !o->base && !o->own && !file_is_inside(peft.base, adapter))
    log_warn(o->context, "%s: the base is %s, which its adapter_config.json names; " FIELD(base) " names another",
             adapter, peft.base);
  if (adapter && !s) {
    dir = peft.base;
    over.new_head = true; /* the adapter's own is read below */
    o = &over;
  }
  if (!s) s = model_config_read(&m->w->cfg, dir, err);
  bool is_auto = !o->dtype || strcmp(o->dtype, "auto") == 0, f32 = !is_auto && strcmp(o->dtype, "f32") == 0;
  if (!s) s = session_device(m, o->device ? o->device : "auto", o->level, f32, err);
  if (!s) {
    model_set_bf16(m, is_auto ? o->auto_bf16 && m->be->traits.fast_bf16 : !f32);
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
