/* lora.c - low-rank adapters (Hu et al. 2021) on the projections: y = W·x + s·B·(A·x), with W frozen.
 *
 * A [rank, in] and B [out, rank] are tensors of the model like others; they stand after the head, so that head and
 * adapters are what is trained. Files are PEFT's. All products of the decoder go through model_linear and
 * model_linear_bwd, with or without adapters.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/peft.h"
#include "model/model_impl.h"
#include "reward/json.h"
#include "reward/rng.h"

static const char PEFT_PREFIX[] = "base_model.model.", HEAD_NAME[] = "base_model.model.score.weight";

/* ---- products ---- */

static int weights_of(const model *m, const projection *p, bool bias, weight w[3]) {
  for (int i = 0; i < p->n; i++) w[i] = model_matrix(m, p->w[i], bias ? p->bias[i] : -1);
  return p->n;
}

/* u[rows, rank] = s · x·Aᵀ */
static rw_status low(model *m, int a, const float *x, size_t ldx, size_t rows, rw_error *err) {
  size_t r = m->lora_rank;
  weight wa = model_matrix(m, a, -1);
  RW_TRY(buffer_need(m, &m->lora_u, rows * r, "adapters", err));
  RW_TRY(m->be->linear(m->be, m->lora_u.p, r, x, ldx, &wa, 1, rows, false, err));
  m->be->scale(m->be, m->lora_u.p, m->lora_scale, rows * r);
  return RW_OK;
}

rw_status model_linear(model *m, float *y, size_t ldy, const float *x, size_t ldx, const projection *p, size_t rows,
                       bool acc, rw_error *err) {
  weight w[3] = {{0}};
  int n = weights_of(m, p, true, w);
  RW_TRY(m->be->linear(m->be, y, ldy, x, ldx, w, n, rows, acc, err));
  for (int i = 0; i < n; y += w[i++].out) {
    int a = m->t[p->w[i]].adapter;
    if (!a) continue;
    weight b = model_matrix(m, a + 1, -1);
    RW_TRY(low(m, a, x, ldx, rows, err));
    RW_TRY(m->be->linear(m->be, y, ldy, m->lora_u.p, m->lora_rank, &b, 1, rows, true, err));
  }
  return RW_OK;
}

static float *grad_of(const model *m, int i) { return i >= 0 ? m->t[i].pub.grad : NULL; }

/* The gradients of one adapter, and du = s · dy·B, left in m->lora_du. */
static rw_status adapter_grads(model *m, int a, const float *dy, size_t lddy, const float *x, size_t ldx,
                               size_t rows, rw_error *err) {
  size_t r = m->lora_rank;
  weight b = model_matrix(m, a + 1, -1);
  RW_TRY(low(m, a, x, ldx, rows, err));
  if (grad_of(m, a + 1))
    RW_TRY(m->be->linear_dw(m->be, grad_of(m, a + 1), dy, lddy, m->lora_u.p, r, rows, b.out, r, err));
  RW_TRY(m->be->linear_dx(m->be, m->lora_du.p, r, dy, lddy, &b, 1, rows, false, err));
  m->be->scale(m->be, m->lora_du.p, m->lora_scale, rows * r);
  if (!grad_of(m, a)) return RW_OK;
  return m->be->linear_dw(m->be, grad_of(m, a), m->lora_du.p, r, x, ldx, rows, r, m->t[a].cols, err);
}

rw_status model_linear_bwd(model *m, float *dx, size_t lddx, const float *dy, size_t lddy, const float *x,
                           size_t ldx, const projection *p, size_t rows, rw_error *err) {
  weight w[3] = {{0}};
  int n = weights_of(m, p, false, w);
  size_t out = 0, r = m->lora_rank;
  bool any = false;
  for (int i = 0; i < n; i++) {
    out += w[i].out;
    any |= m->t[p->w[i]].adapter != 0;
  }
  /* the gradients of weights that stand together lie side by side: one product */
  if (p->bias[0] >= 0 && grad_of(m, p->bias[0]))
    m->be->bias_grad(m->be, grad_of(m, p->bias[0]), dy, lddy, rows, out);
  if (grad_of(m, p->w[0]))
    RW_TRY(m->be->linear_dw(m->be, grad_of(m, p->w[0]), dy, lddy, x, ldx, rows, out, w[0].in, err));
  if (!any) return m->be->linear_dx(m->be, dx, lddx, dy, lddy, w, n, rows, false, err);

  /* dx may be x: every adapter's du first */
  RW_TRY(buffer_need(m, &m->lora_du, rows * r, "adapters", err));
  RW_TRY(buffer_need(m, &m->lora_all, 3 * rows * r, "adapters", err));
  const float *part = dy;
  for (int i = 0; i < n; part += w[i++].out) {
    int a = m->t[p->w[i]].adapter;
    if (!a) continue;
    RW_TRY(adapter_grads(m, a, part, lddy, x, ldx, rows, err));
    m->be->copy(m->be, m->lora_all.p + (size_t)i * rows * r, m->lora_du.p, rows * r);
  }
  RW_TRY(m->be->linear_dx(m->be, dx, lddx, dy, lddy, w, n, rows, false, err));
  for (int i = 0; i < n; i++) {
    int a = m->t[p->w[i]].adapter;
    if (!a) continue;
    weight wa = model_matrix(m, a, -1);
    RW_TRY(m->be->linear_dx(m->be, dx, lddx, m->lora_all.p + (size_t)i * rows * r, r, &wa, 1, rows, true, err));
  }
  return RW_OK;
}

/* ---- which projections ---- */

/* "q_proj" of "model.layers.0.self_attn.q_proj.weight". */
static slice short_name(const char *name) {
  size_t len = strlen(name), from;
  len -= len > 7 && strcmp(name + len - 7, ".weight") == 0 ? 7 : 0;
  for (from = len; from > 0 && name[from - 1] != '.'; from--) {
  }
  return (slice){name + from, len - from};
}

static size_t projections(const layer *y, int out[7]) {
  const int all[7] = {y->q, y->k, y->v, y->o, y->gate, y->up, y->down};
  size_t n = 0;
  for (int i = 0; i < 7; i++)
    if (all[i] >= 0) out[n++] = all[i];
  return n;
}

static bool is_listed(const char *targets, slice name) {
  for (const char *p = targets; *p;) {
    size_t n = strcspn(p, ",");
    if ((n == name.len && memcmp(p, name.p, n) == 0) || (n == 10 && memcmp(p, "all-linear", 10) == 0)) return true;
    p += n + (p[n] == ',');
  }
  return false;
}

/* Every word of the list names a projection. */
static rw_status check_targets(const model *m, const char *targets, rw_error *err) {
  int of[7];
  size_t n = projections(&m->layers[0], of);
  for (const char *p = targets; *p;) {
    size_t len = strcspn(p, ",");
    bool found = len == 10 && memcmp(p, "all-linear", 10) == 0;
    str names = {0};
    for (size_t i = 0; i < n; i++) {
      slice s = short_name(m->t[of[i]].pub.name);
      found |= s.len == len && memcmp(s.p, p, len) == 0;
      str_printf(&names, "%s%.*s", i ? ", " : "", (int)s.len, s.p);
    }
    rw_status st = found ? RW_OK
                         : rw_fail(err, RW_USAGE, "--lora-targets: expected all-linear or names of %s, got '%.*s'",
                                   names.p ? names.p : "", (int)len, p);
    str_free(&names);
    RW_TRY(st);
    p += len + (p[len] == ',');
  }
  return RW_OK;
}

/* Appends one factor as a tensor; values: f32 [rows*cols] of the host. */
static rw_status add_tensor(model *m, char *name, size_t rows, size_t cols, st_dtype stored, const float *values,
                            rw_error *err) {
  if (!name || !mem_grow((void **)&m->t, &m->cap_tensors, m->n_tensors + 1, sizeof *m->t)) {
    mem_free(name);
    return rw_nomem(err, "adapters");
  }
  tensor *t = &m->t[m->n_tensors++];
  *t = (tensor){.type = T_F32, .file_type = stored, .cols = cols, .own_name = name};
  t->pub = (model_param){.name = name, .rows = rows, .count = rows * cols};
  t->copy = m->be->alloc(m->be, t->pub.count * sizeof(float));
  if (!t->copy) return rw_nomem(err, name);
  t->data = t->copy;
  if (values)
    m->be->upload(m->be, t->copy, values, t->pub.count * sizeof(float));
  else
    m->be->zero(m->be, t->copy, t->pub.count * sizeof(float));
  return RW_OK;
}

/* PEFT's name of a factor of tensor i: its module is called model.… there whether the file says so or not. */
static char *factor_name(const model *m, int i, char which) {
  const char *name = m->t[i].pub.name;
  size_t len = strlen(name) - 7;
  return mem_printf("%s%s%.*s.lora_%c.weight", PEFT_PREFIX, strncmp(name, "model.", 6) ? "model." : "", (int)len,
                    name, which);
}

bool model_has_lora(const model *m) { return m->lora_rank > 0; }

/* A drawn as PEFT draws it, kaiming_uniform with a = sqrt(5): uniform within 1/sqrt(in); B zero. */
static rw_status add_new(model *m, int i, rng *r, rw_error *err) {
  size_t rank = m->lora_rank, in = m->t[i].cols, out = m->t[i].pub.rows;
  float *a = mem_alloc(rank * in, sizeof *a);
  if (!a) return rw_nomem(err, "adapters");
  double bound = 1 / sqrt((double)in);
  for (size_t k = 0; k < rank * in; k++) a[k] = (float)((2 * rng_uniform(r) - 1) * bound);
  m->t[i].adapter = (int)m->n_tensors;
  rw_status s = add_tensor(m, factor_name(m, i, 'A'), rank, in, DT_F32, a, err);
  if (!s) s = add_tensor(m, factor_name(m, i, 'B'), out, rank, DT_F32, NULL, err);
  mem_free(a);
  return s;
}

rw_status model_add_lora(model *m, const lora_options *o, rw_error *err) {
  if (m->lora_rank > 0)
    return m->lora_rank == (size_t)o->rank && m->lora_alpha == o->alpha
               ? RW_OK
               : rw_fail(err, RW_USAGE,
                         "%s: holds adapters of rank %zu and alpha %g; --lora-rank and --lora-alpha must "
                         "be the same to train them on, or use reward merge first",
                         m->dir, m->lora_rank, m->lora_alpha);
  if (m->cfg.head != HEAD_SCALAR)
    return rw_fail(err, RW_UNSUPPORTED, "%s: a model with attributes can be scored with, not trained", m->dir);
  RW_TRY(check_targets(m, o->targets, err));
  m->lora_rank = (size_t)o->rank;
  m->lora_alpha = o->alpha;
  m->lora_scale = (float)(o->alpha / (double)o->rank);
  rng r = rng_new(o->seed, 2);
  for (size_t l = o->first_layer; l < m->cfg.layers; l++) {
    int of[7];
    size_t n = projections(&m->layers[l], of);
    for (size_t i = 0; i < n; i++)
      if (is_listed(o->targets, short_name(m->t[of[i]].pub.name))) RW_TRY(add_new(m, of[i], &r, err));
  }
  return RW_OK;
}

/* ---- files ---- */

/* Tensor `name` of the adapter's file as host f32; *found false when it is not there. */
static rw_status read_values(st_set *f, const char *name, size_t rows, size_t cols, float **out, st_dtype *type,
                             size_t *used, bool *found, rw_error *err) {
  const st_tensor *t = st_find(f, name);
  *found = t != NULL;
  *out = NULL;
  if (!t) return RW_OK;
  if (t->n_dims != 2 || t->shape[0] != (int64_t)rows || t->shape[1] != (int64_t)cols)
    return rw_fail(err, RW_DATA, "%s: tensor %s: expected shape [%zu, %zu]", t->file, name, rows, cols);
  if (t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16)
    return rw_fail(err, RW_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, got %s", t->file, name,
                   st_dtype_name(t->dtype));
  if (!(*out = mem_alloc(rows * cols, sizeof **out))) return rw_nomem(err, name);
  st_to_f32(*out, t->data, t->dtype, rows * cols);
  *type = t->dtype;
  ++*used;
  return RW_OK;
}

static rw_status load_factor(model *m, st_set *f, int i, char which, size_t *used, bool *found, rw_error *err) {
  bool a = which == 'A';
  size_t rows = a ? m->lora_rank : m->t[i].pub.rows, cols = a ? m->t[i].cols : m->lora_rank;
  char *name = factor_name(m, i, which);
  float *values = NULL;
  st_dtype type = DT_F32;
  rw_status s =
      name ? read_values(f, name, rows, cols, &values, &type, used, found, err) : rw_nomem(err, "adapters");
  if (!s && *found)
    s = add_tensor(m, name, rows, cols, type, values, err);
  else
    mem_free(name);
  mem_free(values);
  return s;
}

static rw_status load_factors(model *m, st_set *f, size_t *used, rw_error *err) {
  for (size_t l = 0; l < m->cfg.layers; l++) {
    int of[7];
    size_t n = projections(&m->layers[l], of);
    for (size_t i = 0; i < n; i++) {
      bool a, b = false;
      int at = (int)m->n_tensors;
      RW_TRY(load_factor(m, f, of[i], 'A', used, &a, err));
      if (a) RW_TRY(load_factor(m, f, of[i], 'B', used, &b, err));
      if (a && !b) return rw_fail(err, RW_DATA, "%s: tensor %s has no lora_B beside it", m->dir, m->t[at].pub.name);
      if (a) m->t[of[i]].adapter = at;
    }
  }
  return RW_OK;
}

static rw_status load_head(model *m, st_set *f, size_t *used, rw_error *err) {
  float *values;
  bool found;
  st_dtype type = DT_F32;
  RW_TRY(read_values(f, HEAD_NAME, m->cfg.n_outputs, m->cfg.hidden, &values, &type, used, &found, err));
  if (!found && m->head_is_new)
    return rw_fail(err, RW_DATA, "%s: neither the adapter (%s) nor its base has a score head", m->dir, HEAD_NAME);
  if (!found) return RW_OK;
  tensor *t = &m->t[m->head];
  if (!t->copy) t->copy = m->be->alloc(m->be, t->pub.count * sizeof(float));
  if (t->copy) m->be->upload(m->be, t->copy, values, t->pub.count * sizeof(float));
  mem_free(values);
  if (!t->copy) return rw_nomem(err, HEAD_NAME);
  t->data = t->copy;
  t->type = T_F32;
  t->made = false;
  m->head_is_new = false;
  return RW_OK;
}

rw_status lora_load(model *m, const char *dir, const peft_config *c, rw_error *err) {
  st_set *f;
  m->lora_rank = (size_t)c->rank;
  m->lora_alpha = c->alpha;
  m->lora_scale = (float)(c->alpha / (c->rslora ? sqrt((double)c->rank) : (double)c->rank));
  m->lora_rslora = c->rslora;
  char *path = file_join(dir, "adapter_model.safetensors");
  if (!path) return rw_nomem(err, dir);
  rw_status s = st_open(&f, path, err);
  mem_free(path);
  if (s) return s;
  size_t used = 0;
  s = load_factors(m, f, &used, err);
  if (!s) s = load_head(m, f, &used, err);
  if (!s && used != st_count(f))
    s = rw_fail(
        err, RW_UNSUPPORTED,
        "%s: %zu of %zu tensors are adapters of this model's projections or its score head; the rest cannot be "
        "applied",
        dir, used, st_count(f));
  st_close(f);
  return s;
}

static rw_status write_adapter_config(const model *m, const char *dir, rw_error *err) {
  int of[7];
  str s = {0};
  char *path = file_join(dir, "adapter_config.json"), *base = realpath(m->dir, NULL);
  str_addz(&s, "{\n  \"peft_type\": \"LORA\",\n  \"task_type\": \"SEQ_CLS\",\n  \"base_model_name_or_path\": ");
  str_json(&s, base ? base : m->dir, strlen(base ? base : m->dir));
  str_printf(&s, ",\n  \"r\": %zu,\n  \"lora_alpha\": ", m->lora_rank);
  str_json_num(&s, m->lora_alpha);
  str_printf(&s, ",\n  \"lora_dropout\": 0.0,\n  \"use_rslora\": %s,\n  \"target_modules\": [",
             m->lora_rslora ? "true" : "false");
  size_t n = projections(&m->layers[m->cfg.layers - 1], of), listed = 0;
  for (size_t i = 0; i < n; i++) {
    if (!m->t[of[i]].adapter) continue;
    slice name = short_name(m->t[of[i]].pub.name);
    str_printf(&s, "%s\"%.*s\"", listed++ ? ", " : "", (int)name.len, name.p);
  }
  size_t first = 0; /* layers below have no adapters */
  for (; first < m->cfg.layers; first++) {
    bool any = false;
    n = projections(&m->layers[first], of);
    for (size_t i = 0; i < n; i++) any |= m->t[of[i]].adapter != 0;
    if (any) break;
  }
  str_addz(&s, "],\n  \"layers_to_transform\": ");
  if (first == 0) str_addz(&s, "null");
  for (size_t l = first; first > 0 && l < m->cfg.layers; l++) str_printf(&s, l == first ? "[%zu" : ", %zu", l);
  str_addz(&s, first ? "]" : "");
  str_addz(&s,
           ",\n  \"modules_to_save\": [\"score\"],\n  \"bias\": \"none\",\n  \"fan_in_fan_out\": false,\n"
           "  \"init_lora_weights\": true,\n  \"inference_mode\": true\n}\n");
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, dir);
  str_free(&s);
  mem_free(path);
  free(base);
  return st;
}

static rw_status read_factor(void *ctx, size_t i, void *out, rw_error *err) {
  (void)err;
  const model *m = ctx;
  const tensor *t = &m->t[(size_t)m->head + i];
  m->be->download(m->be, out, t->pub.value ? t->pub.value : t->data, t->pub.count * sizeof(float));
  return RW_OK;
}

rw_status lora_save(model *m, const char *dir, rw_error *err) {
  size_t first = (size_t)m->head, n = m->n_tensors - first;
  st_spec *specs = mem_zalloc(n, sizeof *specs);
  if (!specs) return rw_nomem(err, dir);
  for (size_t i = 0; i < n; i++) {
    const tensor *t = &m->t[first + i];
    specs[i] = (st_spec){i == 0 ? HEAD_NAME : t->pub.name, DT_F32, 2, {(int64_t)t->pub.rows, (int64_t)t->cols}};
  }
  rw_status s = st_write(dir, "adapter_model", specs, n, UINT64_MAX, read_factor, m, err);
  mem_free(specs);
  return s ? s : write_adapter_config(m, dir, err);
}

/* row += s·B·A of tensor t, in f32 [rows, cols]. */
rw_status lora_merge_into(model *m, const tensor *t, float *row, rw_error *err) {
  const tensor *b = &m->t[t->adapter + 1];
  float *sb = m->be->alloc(m->be, b->pub.count * sizeof(float));
  if (!sb) return rw_nomem(err, t->pub.name);
  m->be->copy(m->be, sb, b->pub.value ? b->pub.value : b->data, b->pub.count);
  m->be->scale(m->be, sb, m->lora_scale, b->pub.count);
  weight a = model_matrix(m, t->adapter, -1);
  rw_status s = m->be->linear_dx(m->be, row, t->cols, sb, m->lora_rank, &a, 1, t->pub.rows, true, err);
  m->be->release(m->be, sb);
  return s;
}
