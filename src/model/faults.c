/* faults.c - finds which tensor a non-finite number came from; runs only after one was seen. */
#include <math.h>

#include "model/model_impl.h"

const char *model_bad_weight(const model *m, size_t *index) {
  enum { PART = 4096 };
  float part[PART];
  for (size_t i = 0; i < m->w->n_tensors; i++) {
    const tensor *t = &m->w->t[i];
    for (size_t at = 0; at < t->pub.count; at += PART) {
      size_t n = t->pub.count - at < PART ? t->pub.count - at : PART;
      tensor_read(m, t, at, n, part);
      for (size_t k = 0; k < n; k++)
        if (!isfinite(part[k])) {
          *index = at + k;
          return t->pub.name;
        }
    }
  }
  return NULL;
}

static bool bad(const model *m, int tensor_index) {
  const model_param *p = &m->w->t[tensor_index].pub;
  return p->grad && m->be->first_bad(m->be, mat_f32(p->grad, p->count), 1, p->count) < p->count;
}

/* In the order of the backward pass: the head, then layers from the last. Within a layer the file's order. */
const char *model_bad_gradient(model *m) {
  for (size_t i = (size_t)m->w->head; i < head_end(m->w); i++)
    if (bad(m, (int)i)) return m->w->t[i].pub.name;
  if (bad(m, m->w->norm_final)) return m->w->t[m->w->norm_final].pub.name;
  const char *name = NULL;
  int layer_of_name = -1;
  for (int i = 0; i < (int)m->w->n_tensors; i++) {
    int l = -1;
    for (size_t k = 0; k < m->w->cfg.layers && l < 0; k++) {
      int end = k + 1 < m->w->cfg.layers ? m->w->layers[k + 1].first : m->w->norm_final;
      if (i >= m->w->layers[k].first && i < end) l = (int)k;
    }
    if ((!name || l > layer_of_name) && bad(m, i)) {
      name = m->w->t[i].pub.name;
      layer_of_name = l;
    }
  }
  return name;
}
