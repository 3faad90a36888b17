/* engine.h - how products are computed: factors are packed into panels, and panels multiplied.
 *
 * A product is c[i, j] (+)= sum over k of a[i, k]·b[j, k]. Factor a goes into panels of width[FACTOR_A] rows, b
 * into panels of width[FACTOR_B] columns of c, and a panel is chunk after chunk of the inner index k. A chunk is
 * what an engine takes in one step: one value where an element is a chain of multiply-adds (kernels.h), 32 on AMX
 * (amx.c).
 *
 * An element's bits depend on its two factors and on where the inner index is cut into chunks; not on the panels it
 * stands in, on how many chunks are taken in one go, or on what else is computed. So whoever packs begins chunks at
 * places that the operation alone decides. Where these are is gemm.c's and attention.c's to know.
 */
#ifndef COMPUTE_CPU_ENGINE_H
#define COMPUTE_CPU_ENGINE_H

#include "compute/cpu/kernels.h"

typedef enum { FACTOR_A, FACTOR_B } factor_id;

/* A packed factor: panels `ld` floats apart. parts: values that each value has become (engine_parts). */
typedef struct {
  float *p;
  size_t ld, parts;
} panels;

typedef struct engine engine;
struct engine {
  size_t width[2]; /* a panel's rows, by factor */
  size_t inner;    /* values in a chunk; a short one is filled with zeros */
  size_t words;    /* floats of memory that a chunk takes for one row or column, for each part */
  size_t parts;    /* values that an f32 value becomes */
  struct {
    size_t rows, panels; /* a task's rows of c and panels of b, at most */
    size_t chunks;       /* chunks of the inner index in one go, at most */
    size_t pack;         /* panels packed by a task, chunks of one go */
  } suits;               /* the caches */

  /* Packs element (i, k) = src[i*si + k*sk], i < n, k < kn, into panels from `to` on. One of si, sk is 1. */
  void (*pack)(const engine *e, panels to, factor_id f, const void *src, tensor_type type, size_t si, size_t sk,
               size_t n, size_t kn);
  /* c[m, n] (+)= the panels' product over so many chunks. */
  void (*multiply)(const engine *e, size_t chunks, panels a, panels b, float *c, size_t ldc, size_t m, size_t n,
                   bool acc);
  void (*begin)(void), (*end)(void); /* around a thread's calls of multiply; NULL: nothing to do */

  /* Of engines by register tiles: c[m, n] (+)= one panel's product with another, m and n at most their widths. */
  void (*tile)(size_t chunks, const float *a, const float *b, float *c, size_t ldc, size_t m, size_t n, bool acc);
  const kernels *k; /* what computes chains */
  bool round;       /* chains: factors to bf16 */
};

engine engine_chains(const kernels *k, bool round); /* engine.c */
engine engine_pairs(void);                          /* pairs.c: rounds factors to bf16 */
engine engine_tiles(size_t parts);                  /* amx.c: 1 rounds factors to bf16, 3 keeps f32's bits */
/* engine.c: multiply by `tile`, panel by panel of b. */
void engine_by_tiles(const engine *e, size_t chunks, panels a, panels b, float *c, size_t ldc, size_t m, size_t n,
                     bool acc);

static inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }
static inline size_t round_up(size_t n, size_t to) { return ceil_div(n, to) * to; }

/* bf16 is one part already. */
static inline size_t engine_parts(const engine *e, tensor_type type) { return type == T_BF16 ? 1 : e->parts; }
/* Floats of one chunk of a panel, and of its chunks for kn values. */
static inline size_t engine_chunk(const engine *e, factor_id f, size_t parts) {
  return e->width[f] * e->words * parts;
}
static inline size_t engine_panel(const engine *e, factor_id f, size_t parts, size_t kn) {
  return ceil_div(kn, e->inner) * engine_chunk(e, f, parts);
}
static inline void engine_begin(const engine *e) {
  if (e->begin) e->begin();
}
static inline void engine_end(const engine *e) {
  if (e->end) e->end();
}

#endif
