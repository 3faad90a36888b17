/* load_tensor.c - one tensor of a checkpoint: found by name and shape, left in the file's mapping or copied to the
 * device.
 */
#include <stdio.h>
#include <string.h>

#include "model/loader.h"

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

rw_status load_take(loader *l, const char *name, size_t rows, size_t cols, int *out) {
  model *m = l->m;
  const st_tensor *s = st_find(m->w->file, name);
  if (!s)
    return rw_fail(l->err, RW_DATA, "%s: tensor %s is missing; is the checkpoint whole and of type %s?", m->w->dir,
                   name, m->w->cfg.type);
  l->used[s - st_at(m->w->file, 0)] = true;
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
