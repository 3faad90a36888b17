/* optimizer.c - AdamW's updates of trained tensors, whose values are f32 here, and moving those to and from the
 * caller. */
#include <string.h>

#include "compute/cpu/ops.h"
#include "compute/cpu/tasks.h"

typedef struct {
  const kernels *k;
  float *w, *g, *m, *v;
  adamw8_state m8, v8;
  const adamw_step *step;
  float clip;
} adamw_call;

static void adamw_piece(const void *call, size_t at, size_t len) {
  const adamw_call *c = call;
  c->k->adamw(c->w + at, c->g + at, c->m + at, c->v + at, c->step, c->clip, len);
}
static void be_adamw(backend *be, master w, float *g, float *m, float *v, size_t n, const adamw_step *o,
                     float clip) {
  adamw_call c = {.k = cpu_of(be)->k, .w = w.value, .g = g, .m = m, .v = v, .step = o, .clip = clip};
  cpu_vector(cpu_of(be), n, adamw_piece, &c);
}

static void adamw8_piece(const void *call, size_t from, size_t len) {
  const adamw_call *c = call;
  for (size_t at = from, end = from + len; at < end; at += ADAMW8_BLOCK) {
    size_t b = at / ADAMW8_BLOCK, n = end - at < ADAMW8_BLOCK ? end - at : ADAMW8_BLOCK;
    uint32_t seed = (uint32_t)(c->step->t * 0x9e3779b97f4a7c15U >> 32) + (uint32_t)(c->step->first + at);
    c->k->adamw8(c->w + at, c->g + at, c->m8.code + at, c->m8.scale + b, c->v8.code + at, c->v8.scale + b, c->step,
                 c->clip, seed, n);
  }
}
static void be_adamw8(backend *be, master w, float *g, adamw8_state m, adamw8_state v, size_t n,
                      const adamw_step *o, float clip) {
  adamw_call c = {.k = cpu_of(be)->k, .w = w.value, .g = g, .m8 = m, .v8 = v, .step = o, .clip = clip};
  cpu_vector(cpu_of(be), n, adamw8_piece, &c);
}

static void be_put_master(backend *be, master w, size_t at, const float *src, size_t n) {
  be->put(be, (float *)w.value + at, src, n * sizeof *src);
}
static void be_get_master(backend *be, float *dst, master w, size_t at, size_t n) {
  be->get(be, dst, (const float *)w.value + at, n * sizeof *dst);
}

void cpu_optimizer_ops(backend *be) {
  be->adamw = be_adamw;
  be->adamw8 = be_adamw8;
  be->put_master = be_put_master;
  be->get_master = be_get_master;
}
