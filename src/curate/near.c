/* near.c - MinHash signatures and Jaccard similarity of sets of word shingles (see near.h). */
#include "curate/near.h"

#include <math.h>
#include <stdlib.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/rng.h"

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

bool shingles_of(shingles *out, const words *w, size_t k) {
  uint64_t run[64] = {0}; /* filled below as far as it is used: gcc 14 does not see it */
  size_t len = w->n < k ? w->n : k, m = 0;
  out->n = 0;
  if (w->n == 0) return true;
  if (!mem_grow((void **)&out->h, &out->cap, w->n - len + 1, sizeof *out->h)) return false;
  for (size_t i = 0; i + len <= w->n; i++) {
    for (size_t j = 0; j < len; j++) run[j] = w->w[i + j].hash;
    out->h[out->n++] = XXH3_64bits(run, len * sizeof *run);
  }
  qsort(out->h, out->n, sizeof *out->h, by_value);
  for (size_t i = 0; i < out->n; i++)
    if (m == 0 || out->h[i] != out->h[m - 1]) out->h[m++] = out->h[i];
  out->n = m;
  return true;
}

bool shingles_alike(const shingles *a, const shingles *b, int64_t digits, int64_t scale, double *jaccard) {
  size_t i = 0, j = 0, both = 0;
  while (i < a->n && j < b->n) {
    uint64_t x = a->h[i], y = b->h[j];
    both += x == y;
    i += x <= y;
    j += y <= x;
  }
  size_t any = a->n + b->n - both;
  *jaccard = any ? (double)both / (double)any : 0;
  return any > 0 && (unsigned __int128)both * (uint64_t)scale >= (unsigned __int128)any * (uint64_t)digits;
}

bool minhash_new(minhash *m, size_t n, double threshold) {
  rng g = rng_new(n, 78);
  *m = (minhash){.n = n, .rows = 1, .a = mem_alloc(n, sizeof *m->a), .b = mem_alloc(n, sizeof *m->b)};
  if (!m->a || !m->b) {
    minhash_free(m);
    return false;
  }
  for (size_t i = 0; i < n; i++) {
    m->a[i] = rng_next(&g) | 1;
    m->b[i] = rng_next(&g);
  }
  for (size_t r = 2; r <= n; r++) {
    size_t bands = n / r;
    if (pow(1 - pow(threshold, (double)r), (double)bands) <= 1e-3) m->rows = r;
  }
  m->bands = n / m->rows;
  return true;
}

void minhash_free(minhash *m) {
  mem_free(m->a);
  mem_free(m->b);
  *m = (minhash){0};
}

void minhash_sign(const minhash *m, const shingles *s, uint32_t *signature) {
  for (size_t k = 0; k < m->n; k++) {
    uint64_t a = m->a[k], b = m->b[k], least = UINT64_MAX;
    for (size_t i = 0; i < s->n; i++) {
      uint64_t x = s->h[i] * a + b;
      if (x < least) least = x;
    }
    signature[k] = (uint32_t)(least >> 32);
  }
}
