/* lora_file.c - adapters from and to PEFT directories (adapter_config.json, adapter_model.safetensors), and into
 * the base's weights.
 *
 * What the configuration targets must be in the file and the other way round. The head's file tensor replaces the
 * base's. A directory that was read is written again with the configuration that it had.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_write.h"
#include "model/model_impl.h"

static const char PREFIX[] = "base_model.model.";

/* PEFT's own name of tensor i's module: below model. there, whether the base's file says so or not. */
static char *module_name(const model *m, int i) {
  const char *name = m->w->t[i].pub.name;
  bool bare = strncmp(name, "layers.", 7) == 0;
  return mem_printf("%s%.*s", bare ? "model." : "", (int)(strlen(name) - strlen(".weight")), name);
}

char *lora_factor_name(const model *m, int i, char which) {
  char *module = module_name(m, i),
       *name = module ? mem_printf("%s%s.lora_%c.weight", PREFIX, module, which) : NULL;
  mem_free(module);
  return name;
}

rw_status lora_add_tensor(model *m, char *name, size_t rows, size_t cols, const float *values, rw_error *err) {
  if (!name || !mem_grow((void **)&m->w->t, &m->w->cap_tensors, m->w->n_tensors + 1, sizeof *m->w->t)) {
    mem_free(name);
    return rw_nomem(err, "adapters");
  }
  tensor *t = &m->w->t[m->w->n_tensors++];
  *t = (tensor){.type = T_F32, .file_type = DT_F32, .cols = cols, .own_name = name};
  t->pub = (model_param){.name = name, .rows = rows, .count = rows * cols};
  return tensor_own(m, t, values, err);
}

/* ---- reading ---- */

/* Tensor `name` of the adapter's file as host f32, which the caller frees. */
static rw_status read_values(st_set *f, const char *dir, const char *name, size_t rows, size_t cols, float **out,
                             rw_error *err) {
  const st_tensor *t = st_find(f, name);
  *out = NULL;
  if (!t)
    return rw_fail(err, RW_DATA, "%s: tensor %s is missing, although adapter_config.json asks for it", dir, name);
  if (t->n_dims != 2 || t->shape[0] != (int64_t)rows || t->shape[1] != (int64_t)cols)
    return rw_fail(err, RW_DATA, "%s: tensor %s: expected shape [%zu, %zu], got %d dimensions, the first %lld",
                   t->file, name, rows, cols, t->n_dims, t->n_dims ? (long long)t->shape[0] : 0);
  if (t->dtype != DT_F32 && t->dtype != DT_F16 && t->dtype != DT_BF16)
    return rw_fail(err, RW_UNSUPPORTED, "%s: tensor %s: expected F32, F16 or BF16, got %s", t->file, name,
                   st_dtype_name(t->dtype));
  if (!(*out = mem_alloc(rows * cols, sizeof **out))) return rw_nomem(err, name);
  st_to_f32(*out, t->data, t->dtype, rows * cols);
  return RW_OK;
}

static rw_status load_factor(model *m, st_set *f, const char *dir, int i, char which, size_t rank, rw_error *err) {
  size_t rows = which == 'A' ? rank : m->w->t[i].pub.rows, cols = which == 'A' ? m->w->t[i].cols : rank;
  char *name = lora_factor_name(m, i, which);
  float *values = NULL;
  rw_status s = name ? read_values(f, dir, name, rows, cols, &values, err) : rw_nomem(err, "adapters");
  if (s)
    mem_free(name);
  else
    s = lora_add_tensor(m, name, rows, cols, values, err);
  mem_free(values);
  return s;
}

/* The adapter of projection i, if the configuration has one for it. */
static rw_status load_adapter(model *m, st_set *f, const char *dir, const peft_config *c, size_t at_layer, int i,
                              rw_error *err) {
  peft_module has;
  char *module = module_name(m, i);
  if (!module) return rw_nomem(err, dir);
  rw_status s = peft_at(c, module, at_layer, &has, err);
  mem_free(module);
  if (s || !has.targeted) return s;
  int a = (int)m->w->n_tensors;
  RW_TRY(load_factor(m, f, dir, i, 'A', (size_t)has.rank, err));
  RW_TRY(load_factor(m, f, dir, i, 'B', (size_t)has.rank, err));
  m->w->t[a].scale = (float)has.scale;
  m->w->t[i].adapter = a;
  if ((size_t)has.rank > m->w->lora_rank) m->w->lora_rank = (size_t)has.rank;
  return RW_OK;
}

/* The adapter's own head over the base's. */
static rw_status read_head(model *m, st_set *f, const char *dir, const char *name, bool new_head, rw_error *err) {
  float *values;
  if (!st_find(f, name)) {
    if (!m->w->head_is_new || new_head) return RW_OK;
    return rw_fail(err, RW_DATA, "%s: neither the adapter (%s) nor its base has a score head", dir, name);
  }
  RW_TRY(read_values(f, dir, name, m->w->cfg.n_outputs, m->w->cfg.hidden, &values, err));
  tensor *t = &m->w->t[m->w->head];
  rw_status s = tensor_own(m, t, values, err);
  mem_free(values);
  t->made = m->w->head_is_new = false;
  return s;
}

/* Every tensor of the file is the head or an adapter that was read. */
static rw_status check_all_used(const model *m, st_set *f, const char *head, rw_error *err) {
  for (size_t i = 0; i < st_count(f); i++) {
    const st_tensor *t = st_at(f, i);
    bool known = strcmp(t->name, head) == 0;
    for (size_t k = (size_t)m->w->head + 1; !known && k < m->w->n_tensors; k++)
      known = strcmp(t->name, m->w->t[k].pub.name) == 0;
    if (!known)
      return rw_fail(
          err, RW_UNSUPPORTED,
          "%s: tensor %s: neither the score head nor an adapter that adapter_config.json asks for in a %s "
          "model; it cannot be applied",
          t->file, t->name, m->w->cfg.type);
  }
  return RW_OK;
}

rw_status lora_check_head(const model *m, rw_error *err) {
  const char *what = m->w->cfg.head != HEAD_SCALAR              ? "a model with attributes"
                     : head_end(m->w) != (size_t)m->w->head + 1 ? "a head of several tensors"
                     : m->w->reads_logit                        ? "a logit of the output matrix"
                                                                : NULL;
  return what ? rw_fail(err, RW_UNSUPPORTED, "%s: adapters over %s are not supported", m->w->dir, what) : RW_OK;
}

rw_status lora_load(model *m, const char *dir, const peft_config *c, bool new_head, rw_error *err) {
  RW_TRY(lora_check_head(m, err));
  m->w->lora_alpha = c->alpha;
  m->tr.dropout = c->dropout;
  m->w->lora_config = mem_strndup(c->f.text.p, c->f.text.len);
  char *path = file_join(dir, "adapter_model.safetensors"), *older = file_join(dir, "adapter_model.bin"),
       *head = mem_printf("%s%s", PREFIX, m->w->t[m->w->head].pub.name);
  st_set *f = NULL;
  rw_status s = path && head && m->w->lora_config
                    ? st_open(&f, !file_exists(path) && older && file_exists(older) ? older : path, err)
                    : rw_nomem(err, dir);
  for (size_t l = 0; !s && l < m->w->cfg.layers; l++) {
    int of[7];
    size_t n = lora_projections(&m->w->layers[l], of);
    for (size_t i = 0; !s && i < n; i++) s = load_adapter(m, f, dir, c, l, of[i], err);
  }
  if (!s && m->w->lora_rank == 0)
    s = rw_fail(err, RW_UNSUPPORTED, "%s: target_modules: names no projection of a %s model", c->path,
                m->w->cfg.type);
  if (!s) s = read_head(m, f, dir, head, new_head, err);
  if (!s) s = check_all_used(m, f, head, err);
  if (!s) s = lora_join(m, err);
  st_close(f);
  mem_free(older);
  mem_free(path);
  mem_free(head);
  return s;
}

/* ---- writing ---- */

static const char *const ours[] = {"peft_type",    "task_type",       "base_model_name_or_path",
                                   "lora_dropout", "modules_to_save", "inference_mode"};

static bool is_ours(void *ctx, slice key, json_val v) {
  (void)ctx, (void)v;
  for (size_t i = 0; i < sizeof ours / sizeof *ours; i++)
    if (slice_is(key, ours[i])) return true;
  return false;
}

/* The fields of the configuration that the adapters were read with, but for ours. */
static rw_status add_old_fields(const model *m, json_writer *w, rw_error *err) {
  json_doc *d = json_new();
  if (!d) return rw_nomem(err, m->w->dir);
  rw_status st = json_parse(d, m->w->lora_config, strlen(m->w->lora_config), err);
  if (!st) jw_members(w, d, is_ours, NULL);
  json_free(d);
  return st;
}

static void add_new_fields(const model *m, json_writer *w) {
  int of[7];
  size_t first = model_lora_from(m), n = lora_projections(&m->w->layers[first], of);
  jw_uint(w, "r", m->w->lora_rank);
  jw_num(w, "lora_alpha", m->w->lora_alpha);
  jw_array(w, "target_modules");
  for (size_t i = 0; i < n; i++)
    if (m->w->t[of[i]].adapter) jw_slice(w, NULL, lora_short_name(m->w->t[of[i]].pub.name));
  jw_end(w);
  if (first == 0) {
    jw_null(w, "layers_to_transform");
  } else {
    jw_array(w, "layers_to_transform");
    for (size_t l = first; l < m->w->cfg.layers; l++) jw_uint(w, NULL, l);
    jw_end(w);
  }
  jw_object(w, "rank_pattern");
  jw_end(w);
  jw_object(w, "alpha_pattern");
  jw_end(w);
  jw_bool(w, "use_rslora", false);
  jw_bool(w, "use_dora", false);
  jw_string(w, "bias", "none");
  jw_bool(w, "fan_in_fan_out", false);
  jw_bool(w, "init_lora_weights", true);
}

/* The way from folder `from` to folder `to`. NULL: it would lead through the root, or no memory. The caller frees
 * it. */
static char *way_to(const char *from, const char *to) {
  char *a = realpath(from, NULL), *b = realpath(to, NULL);
  str way = {0};
  if (a && b && a[0] && strncmp(a, b, strcspn(a + 1, "/") + 1) == 0) {
    size_t i = 0, common = 0; /* what both begin with, in whole names */
    for (; a[i] && a[i] == b[i]; i++)
      if (a[i] == '/') common = i;
    if ((!a[i] || a[i] == '/') && (!b[i] || b[i] == '/')) common = i;
    for (const char *p = a + common; *p; p++)
      if (*p == '/' && p[1]) str_addz(&way, "../");
    str_addz(&way, b[common] == '/' ? b + common + 1 : b + common);
    if (way.len && way.p[way.len - 1] == '/') way.p[--way.len] = 0;
    if (!way.len) str_addc(&way, '.');
  }
  free(a);
  free(b);
  if (way.p && !way.oom) return way.p;
  str_free(&way);
  return NULL;
}

/* The base as the user named it: absolute, as the way from here to it, or from the current folder where these two
 * have nothing in common. What gets published then says no more of this machine than the command line did. */
static rw_status write_config(const model *m, const char *dir, rw_error *err) {
  str s = {0};
  char *path = file_join(dir, "adapter_config.json"), *base = m->w->dir[0] == '/' ? NULL : way_to(dir, m->w->dir),
       *head = module_name(m, m->w->head);
  rw_status st = path && head ? RW_OK : rw_nomem(err, dir);
  json_writer w = {.out = &s};
  jw_object_lines(&w, NULL);
  jw_string(&w, "peft_type", "LORA");
  jw_string(&w, "task_type", "SEQ_CLS");
  jw_string(&w, "base_model_name_or_path", base ? base : m->w->dir);
  jw_num(&w, "lora_dropout", m->tr.dropout);
  jw_array(&w, "modules_to_save");
  jw_string(&w, NULL, head ? head : "");
  jw_end(&w);
  jw_bool(&w, "inference_mode", true);
  if (!st && m->w->lora_config)
    st = add_old_fields(m, &w, err);
  else
    add_new_fields(m, &w);
  jw_end(&w);
  str_addc(&s, '\n');
  if (!st) st = s.oom ? rw_nomem(err, dir) : file_put(path, s.p, s.len, err);
  str_free(&s);
  mem_free(path);
  mem_free(head);
  mem_free(base);
  return st;
}

typedef struct {
  const model *m;
  const st_spec *specs;
  float *values; /* room for the largest */
} writer;

static rw_status read_tensor(void *ctx, size_t i, void *out, rw_error *err) {
  const writer *w = ctx;
  const tensor *t = &w->m->w->t[(size_t)w->m->w->head + i];
  bool f32 = w->specs[i].dtype == DT_F32;
  float *values = f32 ? out : w->values;
  tensor_read(w->m, t, 0, t->pub.count, values);
  RW_TRY(w->m->be->sync(w->m->be, err));
  if (!f32) st_from_f32(out, values, w->specs[i].dtype, t->pub.count);
  return RW_OK;
}

rw_status lora_save(model *m, const char *dir, int dtype, rw_error *err) {
  size_t first = (size_t)m->w->head, n = m->w->n_tensors - first, largest = 0;
  char *head = mem_printf("%s%s", PREFIX, m->w->t[m->w->head].pub.name);
  st_spec *specs = mem_zalloc(n, sizeof *specs);
  for (size_t i = 0; specs && i < n; i++) {
    const tensor *t = &m->w->t[first + i];
    specs[i] = (st_spec){i == 0 ? head : t->pub.name,
                         dtype >= 0 ? (st_dtype)dtype : DT_F32,
                         2,
                         {(int64_t)t->pub.rows, (int64_t)t->cols}};
    if (t->pub.count > largest) largest = t->pub.count;
  }
  writer w = {m, specs, mem_alloc(largest, sizeof(float))};
  rw_status s = specs && head && w.values ? gathered_hold(m, first, err) : rw_nomem(err, dir);
  if (!s) s = st_write(dir, "adapter_model", specs, n, UINT64_MAX, read_tensor, &w, err);
  if (!s) s = write_config(m, dir, err);
  mem_free(w.values);
  mem_free(specs);
  mem_free(head);
  return s;
}

/* row += s·B·A of tensor t, in f32 [rows, cols] of host memory. */
rw_status lora_merge_into(model *m, const tensor *t, float *row, rw_error *err) {
  backend *be = m->be;
  const tensor *b = &m->w->t[t->adapter + 1];
  size_t rows = t->pub.rows, rank = b->cols, bytes = t->pub.count * sizeof *row;
  weight a = model_matrix(m, t->adapter, -1), wb = model_matrix(m, t->adapter + 1, -1);
  mat sb = mat_f32(be->alloc(be, MEM_DEVICE, b->pub.count * sizeof *row), rank),
      sum = mat_f32(be->alloc(be, MEM_DEVICE, bytes), t->cols);
  rw_status s = sb.p && sum.p ? RW_OK : rw_nomem(err, t->pub.name);
  if (!s) {
    be->copy(be, sb, mat_f32(wb.data, rank), rows, rank);
    be->scale(be, sb, m->w->t[t->adapter].scale, rows, rank);
    be->put(be, sum.p, row, bytes);
    be->linear_dx(be, sum, sb, &a, 1, rows, true);
    be->get(be, row, sum.p, bytes);
    s = be->sync(be, err);
  }
  be->release(be, MEM_DEVICE, sb.p);
  be->release(be, MEM_DEVICE, sum.p);
  return s;
}
