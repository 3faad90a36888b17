/* load_head.c - the head of a checkpoint: its tensors by the family, the table of heads (head_form.h) or what is
 * there; a new one; a row of the output matrix.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "model/loader.h"

/* One linear layer without bias. */
static void single(model *m, int w) {
  m->w->head = w;
  m->w->top = (network){.n = 1, .w = {w}, .bias = {-1}};
}

static rw_status make_head(loader *l, const char *name, uint64_t seed) {
  model *m = l->m;
  if (!mem_grow((void **)&m->w->t, &m->w->cap_tensors, m->w->n_tensors + 1, sizeof *m->w->t))
    return rw_nomem(l->err, name);
  tensor *t = &m->w->t[m->w->n_tensors];
  *t = (tensor){.type = T_F32, .file_type = m->w->t[m->w->embed].file_type, .cols = m->w->cfg.hidden, .made = true};
  t->pub = (model_param){.name = name, .rows = 1, .count = m->w->cfg.hidden};
  single(m, (int)m->w->n_tensors++);
  m->w->head_is_new = true;
  float *w = mem_alloc(m->w->cfg.hidden, sizeof *w);
  if (!w) return rw_nomem(l->err, name);
  rng r = rng_new(seed, 1);
  for (size_t i = 0; i < m->w->cfg.hidden; i++) w[i] = (float)(rng_normal(&r) * m->w->cfg.initializer_range);
  rw_status st = tensor_own(m, t, w, l->err);
  mem_free(w);
  return st;
}

/* The stem of the head's names: of its form; of one that its tensor tells, where the family's own is not there. */
static const char *find_stem(const loader *l, char stem[64]) {
  const model *m = l->m;
  const head_form *f = m->w->cfg.form;
  const char *own = m->w->cfg.family->names->score;
  snprintf(stem, 64, "%.*s", (int)(strlen(own) - strlen(".weight")), own);
  if (f) return f->stem;
  if (st_find(m->w->file, own)) return stem;
  for (size_t i = 0; (f = head_form_plain(i)); i++) {
    char name[96];
    snprintf(name, sizeof name, "%s.weight", f->stem);
    if (st_find(m->w->file, name)) return f->stem;
  }
  return stem;
}

/* Layer i of the head. */
static rw_status load_layer(loader *l, const char *stem, size_t i, size_t rows, size_t cols, network *net) {
  const model_config *c = &l->m->w->cfg;
  char name[96], place[16] = "";
  if (c->head_hidden) snprintf(place, sizeof place, ".%zu", 2 * i); /* each ReLU has a number too */
  snprintf(name, sizeof name, "%s%s.weight", stem, place);
  RW_TRY(load_take(l, name, rows, cols, &net->w[i]));
  net->bias[i] = -1;
  net->n = i + 1;
  if (!c->form || !c->form->bias) return RW_OK;
  snprintf(name, sizeof name, "%s%s.bias", stem, place);
  RW_TRY(load_take(l, name, rows, 0, &net->bias[i]));
  l->m->w->t[net->bias[i]].pub.is_bias = true;
  return RW_OK;
}

/* Why there is no head; several layers are known by their class alone, for no tensor tells what stands between. */
static rw_status no_head(const loader *l, const char *stem) {
  const model *m = l->m;
  if (st_find(m->w->file, "score.0.weight"))
    return rw_fail(
        l->err, RW_UNSUPPORTED,
        "%s: tensor score.0.weight: a head of several layers is known of INFORMForSequenceClassification, "
        "Qwen2ForRewardModel and GRewardModel, got architectures '%s'",
        m->w->dir, m->w->cfg.class);
  return rw_fail(l->err, RW_DATA,
                 "%s: tensor %s.weight is missing: this is no trained reward model; `reward train` makes one",
                 m->w->dir, stem);
}

static rw_status load_scalar(loader *l, const model_options *o) {
  model *m = l->m;
  const model_config *c = &m->w->cfg;
  char own[64], name[96];
  const char *stem = find_stem(l, own);
  m->w->keeps_class = c->form || stem != own;
  snprintf(name, sizeof name, "%s%s.weight", stem, c->head_hidden ? ".0" : "");
  const st_tensor *s = st_find(m->w->file, name);
  if (!s && o->new_head && c->head == HEAD_SCALAR && !m->w->keeps_class)
    return make_head(l, c->family->names->score, o->seed);
  if (!s) return no_head(l, stem);
  size_t n = c->n_outputs, in = c->hidden;
  if (!c->head_hidden && s->n_dims == 2 && s->shape[0] != (int64_t)n)
    return rw_fail(
        l->err, RW_DATA, "%s: tensor %s: expected shape [%zu, %zu], got [%lld, %lld]; %s", s->file, name, n,
        m->w->cfg.hidden, (long long)s->shape[0], (long long)s->shape[1],
        n > 1 ? "the head must have as many rows as config.json's num_labels"
              : "a classifier of several labels is no reward model (several heads: ArmoRM's and Nemotron's "
                "classes)");
  m->w->head = (int)m->w->n_tensors;
  for (size_t i = 0; i <= c->head_hidden; i++) {
    size_t out = i < c->head_hidden ? c->head_width : n;
    RW_TRY(load_layer(l, stem, i, out, in, &m->w->top));
    in = out;
  }
  return RW_OK;
}

/* Row `id` of the output matrix, or of the embedding where that is both. */
static rw_status load_logit(loader *l, const char *spec) {
  model *m = l->m;
  const model_config *c = &m->w->cfg;
  const char *end = spec + strlen(spec);
  int64_t id = -1;
  bool ok = strncmp(spec, "logit:", 6) == 0 && spec[6] >= '0' && spec[6] <= '9';
  if (ok) {
    char *stop;
    errno = 0;
    id = strtoll(spec + 6, &stop, 10);
    ok = stop == end && errno == 0;
  }
  if (!ok || (size_t)id >= c->vocab)
    return rw_fail(l->err, RW_USAGE, FIELD(head) ": expected logit:ID with an id of 0 to %zu, got '%s'",
                   c->vocab - 1, spec);
  const st_tensor *s = st_find(m->w->file, c->family->names->causal_head);
  if (!s) s = m->w->t[m->w->embed].file;
  if (s->n_dims != 2 || s->shape[0] <= id || s->shape[1] != (int64_t)c->hidden)
    return rw_fail(l->err, RW_DATA, "%s: tensor %s: expected at least %lld rows of %zu", s->file, s->name,
                   (long long)id + 1, c->hidden);
  if (s->dtype != DT_F32 && s->dtype != DT_F16 && s->dtype != DT_BF16)
    return rw_fail(l->err, RW_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, got %s", s->file, s->name,
                   st_dtype_name(s->dtype));
  char *name = mem_printf("%s[%lld]", s->name, (long long)id);
  float *row = mem_alloc(c->hidden, sizeof *row);
  rw_status st = row && name ? RW_OK : rw_nomem(l->err, s->name);
  if (!st) {
    st_to_f32(row, (const char *)s->data + (size_t)id * c->hidden * st_dtype_size(s->dtype), s->dtype, c->hidden);
    single(m, (int)m->w->n_tensors);
    m->w->reads_logit = true;
    m->w->cfg.head = HEAD_SCALAR;
    m->w->cfg.n_outputs = 1;
    st = lora_add_tensor(m, name, 1, c->hidden, row, l->err); /* which takes the name */
  } else {
    mem_free(name);
  }
  mem_free(row);
  for (size_t i = 0; i < st_count(m->w->file); i++) /* a score head beside it is passed over */
    if (strcmp(st_at(m->w->file, i)->name, c->family->names->score) == 0) l->used[i] = true;
  return st;
}

/* A tensor's values on the host. */
static rw_status host_values(const model *m, int i, float **out, rw_error *err) {
  const tensor *t = &m->w->t[i];
  *out = mem_alloc(t->pub.count, sizeof **out);
  if (!*out) return rw_nomem(err, t->pub.name);
  st_to_f32(*out, st_find(m->w->file, t->pub.name)->data, t->file_type, t->pub.count);
  return RW_OK;
}

static rw_status load_gated(loader *l) {
  model *m = l->m;
  const model_config *c = &m->w->cfg;
  int regression, transform, scale;
  const char *const *names;
  size_t attributes = model_attributes(m, &names);
  if (c->n_outputs != attributes)
    return rw_fail(l->err, RW_UNSUPPORTED, "%s: config.json: num_objectives: expected %zu (ArmoRM's), got %zu",
                   m->w->dir, attributes, c->n_outputs);
  RW_TRY(load_take(l, "regression_layer.weight", c->n_outputs, c->hidden, &regression));
  single(m, regression);
  RW_TRY(load_take(l, "reward_transform_matrix", c->n_outputs, c->n_outputs, &transform));
  RW_TRY(load_take(l, "gating.logit_scale", 1, 0, &scale));
  RW_TRY(host_values(m, transform, &m->w->transform, l->err));
  RW_TRY(host_values(m, scale, &m->w->gate_scale, l->err));
  for (size_t i = 0; i <= c->gate_layers; i++) {
    size_t in = i ? c->gate_hidden : c->hidden, out = i < c->gate_layers ? c->gate_hidden : c->n_outputs;
    char name[64];
    snprintf(name, sizeof name, "gating.layers.%zu.weight", i);
    RW_TRY(load_take(l, name, out, in, &m->w->gate.w[i]));
    snprintf(name, sizeof name, "gating.layers.%zu.bias", i);
    RW_TRY(load_take(l, name, out, 0, &m->w->gate.bias[i]));
  }
  m->w->gate.n = c->gate_layers + 1;
  return RW_OK;
}

rw_status load_head(loader *l, const model_options *o) {
  if (o->head) return load_logit(l, o->head);
  return l->m->w->cfg.head == HEAD_GATED ? load_gated(l) : load_scalar(l, o);
}
