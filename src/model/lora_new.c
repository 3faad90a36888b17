/* lora_new.c - new adapters, on the projections that the options name. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "model/model_impl.h"

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
  size_t n = lora_projections(&m->w->layers[0], of);
  if (!*targets) return rw_fail(err, RW_USAGE, FIELD(lora_targets) ": expected all-linear or names, got none");
  for (const char *p = targets; *p;) {
    size_t len = strcspn(p, ",");
    bool found = len == 10 && memcmp(p, "all-linear", 10) == 0;
    str names = {0};
    for (size_t i = 0; i < n; i++) {
      slice s = lora_short_name(m->w->t[of[i]].pub.name);
      found |= s.len == len && memcmp(s.p, p, len) == 0;
      str_printf(&names, "%s%.*s", i ? ", " : "", (int)s.len, s.p);
    }
    rw_status st =
        found ? RW_OK
              : rw_fail(err, RW_USAGE, FIELD(lora_targets) ": expected all-linear or names of %s, got '%.*s'",
                        names.p ? names.p : "", (int)len, p);
    str_free(&names);
    RW_TRY(st);
    p += len + (p[len] == ',');
  }
  return RW_OK;
}

/* A drawn as PEFT draws it, kaiming_uniform with a = sqrt(5): uniform within 1/sqrt(in); B zero. */
static rw_status add_new(model *m, int i, rng *r, rw_error *err) {
  size_t rank = m->w->lora_rank, in = m->w->t[i].cols, out = m->w->t[i].pub.rows;
  float *a = mem_alloc(rank * in, sizeof *a);
  if (!a) return rw_nomem(err, "adapters");
  double bound = 1 / sqrt((double)in);
  for (size_t k = 0; k < rank * in; k++) a[k] = (float)((2 * rng_uniform(r) - 1) * bound);
  m->w->t[i].adapter = (int)m->w->n_tensors;
  rw_status s = lora_add_tensor(m, lora_factor_name(m, i, 'A'), rank, in, a, err);
  if (!s) s = lora_add_tensor(m, lora_factor_name(m, i, 'B'), out, rank, NULL, err);
  if (!s) m->w->t[m->w->t[i].adapter].scale = (float)(m->w->lora_alpha / (double)rank);
  mem_free(a);
  return s;
}

rw_status model_add_lora(model *m, const lora_options *o, rw_error *err) {
  if (m->w->lora_rank > 0)
    return m->w->lora_rank == (size_t)o->rank && m->w->lora_alpha == o->alpha
               ? RW_OK
               : rw_fail(err, RW_USAGE,
                         "%s: holds adapters of rank %zu and alpha %g; " FIELD(lora_rank) " and " FIELD(lora_alpha) " must "
                         "be the same to train them on, or use reward merge first",
                         m->w->dir, m->w->lora_rank, m->w->lora_alpha);
  RW_TRY(lora_check_head(m, err));
  if (o->first_layer >= m->w->cfg.layers)
    return rw_fail(err, RW_USAGE,
                   FIELD(freeze_layers) ": expected 0 to %zu, so that a layer is left for adapters, got %zu",
                   m->w->cfg.layers - 1, o->first_layer);
  RW_TRY(check_targets(m, o->targets, err));
  m->w->lora_rank = (size_t)o->rank;
  m->w->lora_alpha = o->alpha;
  rng r = rng_new(o->seed, 2);
  for (size_t l = o->first_layer; l < m->w->cfg.layers; l++) {
    int of[7];
    size_t n = lora_projections(&m->w->layers[l], of);
    for (size_t i = 0; i < n; i++)
      if (is_listed(o->targets, lora_short_name(m->w->t[of[i]].pub.name))) RW_TRY(add_new(m, of[i], &r, err));
  }
  return lora_join(m, err);
}
