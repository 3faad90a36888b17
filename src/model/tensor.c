/* tensor.c - a checkpoint's tensors in the device's memory and on the host; weights, shared by sessions. */
#include "model/model_impl.h"

/* Values of tensor t that only its copy on the device holds; NULL: zeros. */
rw_status tensor_own(model *m, tensor *t, const float *values, rw_error *err) {
  size_t bytes = t->pub.count * sizeof(float);
  m->be->release(m->be, MEM_DEVICE, t->copy);
  t->copy = m->be->alloc(m->be, MEM_DEVICE, bytes);
  if (!t->copy) return rw_nomem(err, t->pub.name);
  if (values)
    m->be->put(m->be, t->copy, values, bytes);
  else
    m->be->zero(m->be, t->copy, bytes);
  t->data = t->copy;
  t->type = T_F32;
  t->file = NULL;
  return RW_OK;
}

typedef struct {
  const void *from;
  void *to;
  st_dtype dtype; /* of the side that a file has */
  bool reads;
  size_t n;
} conversion;
enum { CONVERTED = 1 << 16 }; /* values of a task */

static void convert_some(void *ctx, size_t i, int thread) {
  const conversion *c = ctx;
  size_t at = i * CONVERTED, n = c->n - at < CONVERTED ? c->n - at : CONVERTED, unit = st_dtype_size(c->dtype);
  (void)thread;
  if (c->reads)
    st_to_f32((float *)c->to + at, (const char *)c->from + at * unit, c->dtype, n);
  else
    st_from_f32((char *)c->to + at * unit, (const float *)c->from + at, c->dtype, n);
}
static void convert(const model *m, conversion c) {
  pool_run(m->context->threads, (c.n + CONVERTED - 1) / CONVERTED, convert_some, &c);
}

void tensor_from_f32(const model *m, void *out, const float *values, st_dtype dtype, size_t n) {
  convert(m, (conversion){values, out, dtype, false, n});
}

void tensor_read(const model *m, const tensor *t, size_t at, size_t n, float *out) {
  if (t->pub.w.value)
    m->be->get_master(m->be, out, t->pub.w, at, n);
  else if (t->file)
    convert(m, (conversion){(const char *)t->file->data + at * st_dtype_size(t->file->dtype), out, t->file->dtype,
                            true, n});
  else
    m->be->get(m->be, out, (const float *)t->copy + at, n * sizeof *out);
}

void weights_drop(weights *w) {
  if (!w || atomic_fetch_sub(&w->sessions, 1) > 1) return;
  for (size_t i = 0; i < w->n_tensors; i++) {
    if (w->be) w->be->release(w->be, MEM_DEVICE, w->t[i].copy);
    mem_free(w->t[i].own_name);
  }
  if (w->be) w->be->close(w->be);
  st_close(w->file);
  void *host[] = {w->t, w->layers, w->dir, w->transform, w->gate_scale, w->lora_config, w->device, w->level};
  for (size_t i = 0; i < sizeof host / sizeof *host; i++) mem_free(host[i]);
  mem_free(w);
}
