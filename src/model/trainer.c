/* trainer.c - what training adds to a model: trained copies with gradients and optimizer states, and their update.
 */
#include <math.h>
#include <string.h>

#include "model/decoder.h"

/* Tensors stand in the order embedding, layers, final norm, head; those from here on are trained. */
static size_t first_trained(const model *m, size_t freeze) {
  if (m->w->lora_rank > 0) return (size_t)m->w->head; /* the adapters follow it */
  if (freeze == 0) return 0;
  return (size_t)(freeze < m->w->cfg.layers ? m->w->layers[freeze].first : m->w->norm_final);
}

/* Layers below run without a backward pass. */
static size_t frozen_layers(const model *m, const model_train_options *o) {
  size_t from = m->w->lora_rank > 0 ? model_lora_from(m) : 0;
  return from > o->freeze_layers ? from : o->freeze_layers;
}

static size_t blocks_of(size_t n) { return (n + ADAMW8_BLOCK - 1) / ADAMW8_BLOCK; }

rw_status model_train_check(const model *m, const model_train_options *o, rw_error *err) {
  if (atomic_load(&m->w->sessions) > 1)
    return rw_fail(err, RW_USAGE, "%s: a model that other sessions use cannot be trained", m->w->dir);
  if (o->freeze_layers > m->w->cfg.layers)
    return rw_fail(err, RW_USAGE, FIELD(freeze_layers) ": expected 0 to %zu (the model's layers), got %zu",
                   m->w->cfg.layers, o->freeze_layers);
  if (o->apart && (!m->be->traits.maps_host || m->be->traits.trained != T_F32))
    return rw_fail(
        err, RW_UNSUPPORTED,
        FIELD(shard) " all: expected a device whose memory is the host's, got %s; use " FIELD(shard) " states",
        m->be->traits.name);
  if (m->w->reads_logit)
    return rw_fail(err, RW_UNSUPPORTED, "%s: a logit of the output matrix can be scored with, not trained",
                   m->w->dir);
  if (m->w->cfg.head != HEAD_SCALAR)
    return rw_fail(err, RW_UNSUPPORTED, "%s: a model with attributes can be scored with, not trained", m->w->dir);
  if (m->w->lora_rank > 0 && o->freeze_layers > model_lora_from(m))
    return rw_fail(err, RW_USAGE,
                   FIELD(freeze_layers) ": expected at most %zu, the first layer with adapters, got %zu",
                   model_lora_from(m), o->freeze_layers);
  return RW_OK;
}

/* Is what the tensor has on the device a copy of its file's values, beside them? */
static bool device_copy(const model *m, const tensor *t) { return !m->be->traits.maps_host && t->file && t->copy; }

static master master_from(master w, size_t at) {
  return (master){(char *)w.value + at * type_size(w.type), w.low ? w.low + at : NULL, w.type};
}

/* Tensor i's trained values, at `at`: 4 bytes a value, as f32 or as bf16 with what it lacks behind it. Norms,
 * biases, the head and adapters are f32. Where weights are apart, this rank's of them. */
static rw_status make_master(model *m, size_t i, void *at, rw_error *err) {
  enum { PART = 1 << 20 }; /* values: some for each of many threads */
  backend *be = m->be;
  tensor *t = &m->w->t[i];
  master w = {at, NULL, T_F32};
  if (be->traits.trained == T_BF16 && t->cols > 0 && i < (size_t)m->w->head)
    w = (master){at, (int16_t *)at + t->pub.count, T_BF16};
  float *part = be->alloc(be, MEM_STAGING, PART * sizeof *part);
  if (!part) return rw_nomem(err, t->pub.name);
  size_t first = m->tr.apart ? t->pub.first : 0, count = m->tr.apart ? t->pub.owned : t->pub.count;
  for (size_t from = 0; from < count; from += PART) {
    size_t n = count - from < PART ? count - from : PART;
    tensor_read(m, t, first + from, n, part);
    be->put_master(be, w, from, part, n);
  }
  be->release(be, MEM_STAGING, part);
  t->pub.own = m->tr.apart ? w : master_from(w, t->pub.first);
  t->pub.w = w;
  if (device_copy(m, t)) { /* the master is what counts now; its file has the values as they were */
    RW_TRY(be->sync(be, err));
    be->release(be, MEM_DEVICE, t->copy);
    t->copy = NULL;
    t->data = NULL;
  }
  return RW_OK;
}

/* Units' gradients; where weights are apart, passes find a tensor's values and gradient where its unit is gathered.
 */
static void place_units(model *m) {
  for (size_t k = 0; k < m->tr.n_units; k++) {
    trained_unit *u = &m->tr.units[k];
    if (!m->tr.apart) u->grad = m->tr.grads + u->from;
    for (size_t i = u->first, at = 0; m->tr.apart && i < u->end; at += m->w->t[i++].pub.count) {
      m->w->t[i].pub.w = (master){u->value + at, NULL, T_F32};
      m->w->t[i].pub.grad = u->grad + at;
    }
  }
}

rw_status model_train(model *m, const model_train_options *o, rw_error *err) {
  RW_TRY(model_train_check(m, o, err));
  m->tr.freeze = frozen_layers(m, o);
  m->tr.recompute = o->recompute;
  m->tr.most_rows = o->most_rows;
  m->tr.apart = o->apart && m->context->ranks->size > 1;
  m->tr.n_trained = 0;
  size_t first = m->tr.first = first_trained(m, m->tr.freeze), scales = 0, owned = 0;
  for (size_t i = first; i < m->w->n_tensors; i++) m->tr.n_trained += m->w->t[i].pub.count;
  RW_TRY(shards_cut(m, err));
  for (size_t i = first; i < m->w->n_tensors; i++) {
    owned += m->w->t[i].pub.owned;
    scales += blocks_of(m->w->t[i].pub.owned);
  }
  size_t kept = m->tr.apart ? owned : m->tr.n_trained;
  m->tr.values = m->be->alloc(m->be, MEM_DEVICE, kept * sizeof(float) + 1); /* a rank may own nothing */
  if (!m->tr.values) return rw_nomem(err, "trained tensors");
  char *at = m->tr.values;
  for (size_t i = first; i < m->w->n_tensors; i++) {
    RW_TRY(make_master(m, i, at, err));
    at += (m->tr.apart ? m->w->t[i].pub.owned : m->w->t[i].pub.count) * sizeof(float);
  }
  st_forget(m->w->file); /* the copies are what counts now; before the rest, for the peak's sake */
  size_t states = (o->states_8bit ? scales : owned) * sizeof(float);
  const struct {
    void **p;
    size_t bytes;
    mem_kind kind;
  } block[] = {{(void **)&m->tr.grads, kept * sizeof(float), MEM_DEVICE},
               {(void **)&m->tr.m1, states, MEM_STATES},
               {(void **)&m->tr.m2, states, MEM_STATES},
               {(void **)&m->tr.codes, 2 * owned, MEM_STATES}};
  for (size_t b = 0; b < (o->states_8bit ? 4 : 3); b++) {
    *block[b].p = m->be->alloc(m->be, block[b].kind, block[b].bytes + 1);
    if (!*block[b].p) return rw_nomem(err, "gradients and optimizer states");
    m->be->zero(m->be, *block[b].p, block[b].bytes);
  }
  RW_TRY(shards_room(m, o->slices, err));
  RW_TRY(gathered_room(m, err));
  size_t scale = 0, from = 0, state = 0;
  for (size_t i = first; i < m->w->n_tensors; i++) {
    model_param *p = &m->w->t[i].pub;
    p->grad = m->tr.grads + from;
    p->own_grad = m->tr.apart ? m->tr.grads + state : p->grad + p->first;
    if (o->states_8bit) {
      p->q1 = (adamw8_state){m->tr.codes + state, m->tr.m1 + scale};
      p->q2 = (adamw8_state){m->tr.codes + owned + state, m->tr.m2 + scale};
    } else {
      p->m1 = m->tr.m1 + state;
      p->m2 = m->tr.m2 + state;
    }
    scale += blocks_of(p->owned);
    state += p->owned;
    from += p->count;
  }
  place_units(m);
  m->tr.params = mem_alloc(m->w->n_tensors, sizeof *m->tr.params);
  if (!m->tr.params) return rw_nomem(err, "trained tensors");
  for (size_t i = 0; i < m->w->n_tensors; i++) m->tr.params[i] = m->w->t[i].pub;
  m->tr.training = true;
  return m->be->sync(m->be, err);
}

model_bytes model_train_bytes(const model *m, const model_train_options *o, size_t n_tokens) {
  acts s;
  const model_config *c = &m->w->cfg;
  size_t freeze = frozen_layers(m, o);
  uint64_t trained = 0, frozen = 0, freed = 0, widest = 0, largest = 0, reopened = 0;
  for (size_t i = 0; i < m->w->n_tensors; i++) {
    const tensor *t = &m->w->t[i];
    bool is_trained = i >= first_trained(m, freeze);
    if (is_trained) trained += t->pub.count;
    if (is_trained && t->pub.count > largest) largest = t->pub.count;
    if (is_trained && i != (size_t)m->w->embed && o->reopened) /* but few rows of the embedding are read */
      reopened += t->pub.count * st_dtype_size(o->save_dtype >= 0 ? (st_dtype)o->save_dtype : t->file_type);
    if (is_trained && device_copy(m, t)) freed += t->pub.count * type_size(t->type); /* see make_master */
    if (!is_trained) frozen += t->pub.count * type_size(t->type); /* all pages of the mapping, in time */
    size_t values = t->ld ? t->ld * (t->pub.rows + m->w->lora_room) : t->pub.count;
    if (i != (size_t)m->w->embed && values > widest) widest = values;
  }
  size_t most = c->ff * 2 > qkv_width(c) ? c->ff * 2 : qkv_width(c);
  uint64_t pass = kept_bytes(m, n_tokens, c->layers - freeze, o->recompute) + lora_bytes(m, n_tokens) +
                  experts_bytes(m, n_tokens);
  if (freeze) pass += cut_acts(m, &s, NULL, n_tokens, false);
  /* m->h, m->dx, m->dh, m->a, m->dqkv, m->d_o */
  pass += n_tokens * (uint64_t)(3 * c->hidden + c->ff + qkv_width(c) + q_width(c) + 5 * lora_room(m)) *
          type_size(m->be->traits.act);
  pass += m->be->scratch_bytes(m->be, n_tokens, most, widest);
  bool apart = o->apart && m->context->ranks->size > 1;
  shard_bytes shard = apart ? gathered_bytes(m, o->slices ? o->slices : 1, first_trained(m, freeze), trained)
                            : shards_bytes(m, o->slices, trained);
  uint64_t states = o->states_8bit ? 2 * shard.states + shard.states / 32 : 8 * shard.states,
           saving = 4 * largest > reopened ? 4 * largest : reopened; /* when the activations are given back */
  model_bytes b = {.device = shard.values + shard.gradients + shard.gathered + shard.sums + states + pass,
                   .host = saving + shard.staged,
                   .exchanged = shard.exchanged};
  if (m->be->traits.maps_host)
    b.host = frozen + shard.staged + (saving > pass ? saving - pass : 0);
  else
    b.device -= freed < b.device ? freed : b.device; /* frozen weights are there already */
  return b;
}

model_file_bytes model_files(const model *m, const model_train_options *o) {
  model_file_bytes b = {0};
  size_t first = first_trained(m, frozen_layers(m, o)), head = (size_t)m->w->head;
  bool adapters = m->w->lora_rank > 0; /* the head and what follows it are all that is saved */
  for (size_t i = 0; i < m->w->n_tensors; i++) {
    const tensor *t = &m->w->t[i];
    uint64_t n = t->pub.count, blocks = blocks_of(t->pub.count);
    st_dtype dtype = o->save_dtype >= 0 ? (st_dtype)o->save_dtype : adapters ? DT_F32 : t->file_type;
    if (!adapters || i >= head) b.saved += n * st_dtype_size(dtype);
    if (i < first) continue;
    b.weights += n * sizeof(float);
    b.states += n * sizeof(float) + 2 * (o->states_8bit ? n + blocks * sizeof(float) : n * sizeof(float));
  }
  return b;
}

void model_device_memory(const model *m, uint64_t *free, uint64_t *total) { m->be->memory(m->be, free, total); }

void model_rest(model *m) {
  buffer *b[] = {&m->lora_u, &m->lora_du[0], &m->lora_du[1], &m->lora_du[2], &m->lora_x,
                 &m->lora_a, &m->h,          &m->a,          &m->work,       &m->saved,
                 &m->dx,     &m->dh,         &m->dqkv,       &m->d_o,        &m->final};
  for (size_t i = 0; i < sizeof b / sizeof *b; i++) {
    m->be->release(m->be, MEM_DEVICE, b[i]->p);
    *b[i] = (buffer){0};
  }
  experts_free(m);
  st_forget(m->w->file); /* what is frozen is read from the file again */
  m->have_forward = false;
}

void model_end_training(model *m) {
  model_rest(m);
  void *states[] = {m->tr.m1, m->tr.m2, m->tr.codes};
  shards_free(m);
  gathered_free(m);
  m->be->release(m->be, MEM_DEVICE, m->tr.grads);
  for (size_t i = 0; i < sizeof states / sizeof *states; i++) m->be->release(m->be, MEM_STATES, states[i]);
  m->tr.grads = m->tr.m1 = m->tr.m2 = NULL;
  m->tr.codes = NULL;
  for (size_t i = 0; i < m->w->n_tensors; i++) {
    model_param *p = &m->w->t[i].pub;
    p->grad = p->own_grad = p->m1 = p->m2 = NULL;
    p->q1 = p->q2 = (adamw8_state){NULL, NULL};
    m->tr.params[i] = *p;
  }
}

void model_zero_grad(model *m) { /* apart, a pass does it, unit by unit */
  if (!m->tr.apart) m->be->zero(m->be, m->tr.grads, m->tr.n_trained * sizeof(float));
}

void model_update(model *m, const model_adamw *o, double clip) {
  m->w->lora_stale = true;
  adamw_step s = {o->lr,
                  o->beta1,
                  o->beta2,
                  o->eps,
                  o->weight_decay,
                  1 - pow(o->beta1, (double)o->t),
                  1 - pow(o->beta2, (double)o->t),
                  o->t,
                  0};
  for (size_t i = 0; i < m->w->n_tensors; i++) {
    const model_param *p = &m->w->t[i].pub;
    master w = p->own;
    float *g = p->own_grad;
    if (!p->w.value || p->owned == 0) continue;
    s.first = p->first;
    s.weight_decay = (p->is_norm && !o->decay_norm) || (p->is_bias && !o->decay_bias) ? 0 : o->weight_decay;
    if (p->q1.code)
      m->be->adamw8(m->be, w, g, p->q1, p->q2, p->owned, &s, (float)clip);
    else
      m->be->adamw(m->be, w, g, p->m1, p->m2, p->owned, &s, (float)clip);
  }
}
