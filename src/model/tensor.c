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

void tensor_read(const model *m, const tensor *t, size_t at, size_t n, float *out) {
  if (t->pub.w.value)
    m->be->get_master(m->be, out, t->pub.w, at, n);
  else if (t->file)
    st_to_f32(out, (const char *)t->file->data + at * st_dtype_size(t->file->dtype), t->file->dtype, n);
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
