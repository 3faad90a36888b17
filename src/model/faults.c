/* faults.c - finds which tensor a non-finite number came from; runs only after one was seen. */
#include <math.h>

#include "model/model_impl.h"

const char *model_bad_weight(const model *m, size_t *index) {
  enum { PART = 4096 };
  float part[PART];
  for (size_t i = 0; i < m->w->n_tensors; i++) {
    const tensor *t = &m->w->t[i];
    bool apart = m->tr.apart && i >= m->tr.first; /* then what this rank has of it */
    size_t from = apart ? t->pub.first : 0, end = apart ? from + t->pub.owned : t->pub.count;
    for (size_t at = from; at < end; at += PART) {
      size_t n = end - at < PART ? end - at : PART;
      if (apart)
        model_get_values(m, &t->pub, at, n, part);
      else
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
  const float *g = m->tr.apart ? p->own_grad : p->grad; /* what this rank has of it */
  size_t n = m->tr.apart ? p->owned : p->count;
  return g && m->be->first_bad(m->be, mat_f32(g, n), 1, n) < n;
}

/* The order of the backward pass: the head, the final norm, layers from the last. */
static int64_t place_of(const model *m, int i) {
  const weights *w = m->w;
  if (i >= w->head && i < (int)head_end(w)) return 0;
  if (i == w->norm_final) return 1;
  for (size_t l = w->cfg.layers; l-- > 0;)
    if (i >= w->layers[l].first && i < w->norm_final) return 2 + (int64_t)(w->cfg.layers - l);
  return 3 + (int64_t)w->cfg.layers;
}

/* Within a layer the file's order. */
const char *model_bad_gradient(model *m) {
  int n = (int)m->w->n_tensors;
  int64_t first = -INT64_MAX; /* the earlier the larger */
  for (int i = 0; i < n; i++) {
    int64_t at = -(place_of(m, i) * n + i);
    if (at > first && bad(m, i)) first = at;
  }
  comm *c = m->context->ranks;
  if (m->tr.apart && c->most(c, &first, 1, NULL)) return NULL;
  return n == 0 || first == -INT64_MAX ? NULL : m->w->t[-first % n].pub.name;
}
