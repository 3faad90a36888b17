/* near.c - near-duplicate removal: MinHash, bands, and the true Jaccard similarity of what the bands bring
 * together.
 *
 * Two passes over the files. The first keeps a signature of each pair (4 * num_perm bytes). The second reads those
 * that share a band with another, in row order, and compares each with the kept ones before it; only kept ones of
 * shared bands are held, so many copies of one text cost no more than one. What the bands miss stays: see near.h.
 */
#include "curate/near.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/rng.h"
#include "curate/run.h"

enum { CHUNK = 256 };

/* ---- shingles ---- */

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

/* ---- the stage ---- */

/* A pair of the chunk in work: its row as JSON, then its shingles. */
typedef struct {
  size_t item;
  str row;
  shingles set;
  rw_status status;
  rw_error err;
} slot;

typedef struct {
  size_t item, next; /* next: in the bucket's list; SIZE_MAX: last */
} node;

typedef struct {
  curation *r;
  const stage *s;
  minhash m;
  size_t n;             /* pairs of the stage, numbered in row order */
  size_t *candidate;    /* [n] */
  uint32_t *item_of;    /* [candidates] */
  uint32_t *signatures; /* [n][m.n] */
  uint32_t *bucket;     /* [n][m.bands]: 0: alone there */
  size_t n_buckets;
  size_t *heads; /* [n_buckets + 1]: kept pairs of the bucket */
  node *nodes;
  size_t n_nodes, cap_nodes;
  shingles *kept; /* [n]: of kept pairs that share a bucket */
  size_t *seen;   /* [n]: 1 + the pair that was last compared with this one */
  bool judging;   /* the second pass */
  slot slots[CHUNK];
  size_t used;
  struct lane {
    json_doc *doc;
    arena *mem;
    words w;
    str text;
  } * lanes;
} nearness;

static void prepare(void *ctx, size_t task, int thread) {
  nearness *x = ctx;
  slot *t = &x->slots[task];
  struct lane *l = &x->lanes[thread];
  conv_row row;
  arena_reset(l->mem);
  str_clear(&l->text);
  t->status = json_parse(l->doc, t->row.p, t->row.len, &t->err);
  if (!t->status) t->status = conv_read(&row, l->doc, 0, l->mem, &t->err);
  if (t->status) return;
  for (size_t b = 0; b < (x->s->of_prompt ? 1 : row.n_branches); b++) {
    const conversation *c = &row.branch[b];
    for (size_t i = b == 0 ? 0 : c->n_messages - 1; i < c->n_messages; i++) {
      if (x->s->of_prompt && c->messages[i].role != ROLE_USER) continue;
      str_add(&l->text, c->messages[i].content.p, c->messages[i].content.len);
      str_addc(&l->text, '\n');
    }
  }
  slice text = {l->text.p ? l->text.p : "", l->text.len};
  if (l->text.oom || !words_of(&l->w, text, false) || !shingles_of(&t->set, &l->w, (size_t)x->s->shingle))
    t->status = rw_nomem(&t->err, "near duplicates");
  else if (!x->judging)
    minhash_sign(&x->m, &t->set, x->signatures + t->item * x->m.n);
}

static bool may_be_alike(const nearness *x, size_t i, size_t j, double threshold) {
  const uint32_t *a = x->signatures + i * x->m.n, *b = x->signatures + j * x->m.n;
  size_t same = 0;
  for (size_t k = 0; k < x->m.n; k++) same += a[k] == b[k];
  return (double)same / (double)x->m.n >= threshold - 2.5 / sqrt((double)x->m.n); /* five deviations */
}

/* Compares a pair with the kept ones of its buckets; the first in row order counts. */
static rw_status judge(nearness *x, slot *t, rw_error *err) {
  const stage *s = x->s;
  double threshold = (double)s->threshold.digits / (double)s->threshold.scale, jaccard = 0, best = 0;
  size_t first = SIZE_MAX;
  const uint32_t *bucket = x->bucket + t->item * x->m.bands;
  for (size_t b = 0; b < x->m.bands; b++)
    for (size_t k = bucket[b] ? x->heads[bucket[b]] : SIZE_MAX; k != SIZE_MAX; k = x->nodes[k].next) {
      size_t j = x->nodes[k].item;
      if (j > first || x->seen[j] == t->item + 1) continue;
      x->seen[j] = t->item + 1;
      if (!may_be_alike(x, t->item, j, threshold)) continue;
      if (!shingles_alike(&t->set, &x->kept[j], s->threshold.digits, s->threshold.scale, &jaccard)) continue;
      first = j;
      best = jaccard;
    }
  if (first != SIZE_MAX) {
    candidate *c = &x->r->c[x->candidate[t->item]];
    c->stage = "dedup";
    c->reason = x->s->of_prompt ? "nearly the same prompt stands earlier" : "nearly the same pair stands earlier";
    c->twin = x->candidate[first] + 1;
    c->jaccard = best;
    return RW_OK;
  }
  for (size_t b = 0; b < x->m.bands; b++) {
    if (!bucket[b]) continue;
    node add = {t->item, x->heads[bucket[b]]};
    if (!vec_push(x->nodes, x->n_nodes, x->cap_nodes, add)) return rw_nomem(err, "near duplicates");
    x->heads[bucket[b]] = x->n_nodes - 1;
  }
  shingles *keep = &x->kept[t->item];
  if (!mem_grow((void **)&keep->h, &keep->cap, t->set.n, sizeof *keep->h)) return rw_nomem(err, "near duplicates");
  if (t->set.n) memcpy(keep->h, t->set.h, t->set.n * sizeof *keep->h);
  keep->n = t->set.n;
  return RW_OK;
}

static rw_status finish_chunk(nearness *x, rw_error *err) {
  pool_run(x->r->o->context->threads, x->used, prepare, x);
  for (size_t i = 0; i < x->used; i++) {
    slot *t = &x->slots[i];
    if (t->status && err) *err = t->err;
    if (t->status) return t->status;
    if (x->judging) RW_TRY(judge(x, t, err));
  }
  x->used = 0;
  return RW_OK;
}

static rw_status take(void *ctx, size_t i, const pair_text *text, rw_error *err) {
  nearness *x = ctx;
  slot *t = &x->slots[x->used++];
  t->item = x->item_of[i];
  str_clear(&t->row);
  curation_row(x->r, i, text, &t->row);
  if (t->row.oom) return rw_nomem(err, "near duplicates");
  return x->used == CHUNK ? finish_chunk(x, err) : RW_OK;
}

static rw_status pass(nearness *x, const uint8_t *want, rw_error *err) {
  RW_TRY(curation_fetch(x->r, want, take, x, err));
  return finish_chunk(x, err);
}

typedef struct {
  uint64_t key;
  size_t item;
} banded;
static int by_key(const void *a, const void *b) {
  const banded *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->item < y->item ? -1 : x->item > y->item;
}

/* Numbers the buckets of two and more; clears want[] of pairs that share none. */
static rw_status fill_buckets(nearness *x, uint8_t *want, rw_error *err) {
  banded *list = mem_alloc(x->n, sizeof *list);
  uint8_t *shared = mem_zalloc(x->n, 1);
  bool ok = list && shared;
  for (size_t b = 0; ok && b < x->m.bands; b++) {
    for (size_t i = 0; i < x->n; i++)
      list[i] =
          (banded){XXH3_64bits(x->signatures + i * x->m.n + b * x->m.rows, x->m.rows * sizeof *x->signatures), i};
    qsort(list, x->n, sizeof *list, by_key);
    for (size_t from = 0, to; from < x->n; from = to) {
      for (to = from + 1; to < x->n && list[to].key == list[from].key; to++) {
      }
      if (to - from < 2) continue;
      x->n_buckets++;
      for (size_t k = from; k < to; k++) {
        x->bucket[list[k].item * x->m.bands + b] = (uint32_t)x->n_buckets;
        shared[list[k].item] = 1;
      }
    }
  }
  for (size_t i = 0; ok && i < x->n; i++) want[x->candidate[i]] = shared[i];
  mem_free(list);
  mem_free(shared);
  return ok ? RW_OK : rw_nomem(err, "near duplicates");
}

static rw_status remove_near(nearness *x, uint8_t *want, rw_error *err) {
  curation *r = x->r;
  const stage *s = x->s;
  int threads = pool_threads(r->o->context->threads);
  for (size_t i = 0; i < r->n; i++) x->n += want[i];
  bool ok = minhash_new(&x->m, (size_t)s->num_perm, (double)s->threshold.digits / (double)s->threshold.scale);
  x->candidate = mem_alloc(x->n, sizeof *x->candidate);
  x->item_of = mem_alloc(r->n, sizeof *x->item_of);
  x->signatures = ok ? mem_alloc(x->n, x->m.n * sizeof *x->signatures) : NULL;
  x->bucket = ok ? mem_zalloc(x->n, x->m.bands * sizeof *x->bucket) : NULL;
  x->kept = mem_zalloc(x->n, sizeof *x->kept);
  x->seen = mem_zalloc(x->n, sizeof *x->seen);
  x->lanes = mem_zalloc((size_t)threads, sizeof *x->lanes);
  ok = ok && x->candidate && x->item_of && x->signatures && x->bucket && x->kept && x->seen && x->lanes;
  for (int i = 0; ok && i < threads; i++) ok = (x->lanes[i].doc = json_new()) && (x->lanes[i].mem = arena_new());
  if (!ok) return rw_nomem(err, "near duplicates");
  for (size_t i = 0, k = 0; i < r->n; i++) {
    if (!want[i]) continue;
    x->item_of[i] = (uint32_t)k;
    x->candidate[k++] = i;
  }
  RW_TRY(pass(x, want, err));
  RW_TRY(fill_buckets(x, want, err));
  x->heads = mem_alloc(x->n_buckets + 1, sizeof *x->heads);
  if (!x->heads) return rw_nomem(err, "near duplicates");
  for (size_t i = 0; i <= x->n_buckets; i++) x->heads[i] = SIZE_MAX;
  x->judging = true;
  return pass(x, want, err);
}

rw_status stage_near(curation *r, const stage *s, rw_error *err) {
  nearness *x = mem_zalloc(1, sizeof *x);
  uint8_t *want = curation_wanted(r, s, err);
  rw_status st = x && want ? RW_OK : rw_nomem(err, "near duplicates");
  if (!st) {
    x->r = r;
    x->s = s;
    st = remove_near(x, want, err);
    for (size_t i = 0; i < CHUNK; i++) {
      str_free(&x->slots[i].row);
      mem_free(x->slots[i].set.h);
    }
    for (size_t i = 0; x->kept && i < x->n; i++) mem_free(x->kept[i].h);
    for (int i = 0; x->lanes && i < pool_threads(r->o->context->threads); i++) {
      json_free(x->lanes[i].doc);
      arena_free(x->lanes[i].mem);
      words_free(&x->lanes[i].w);
      str_free(&x->lanes[i].text);
    }
    void *p[] = {x->candidate, x->item_of, x->signatures, x->bucket, x->heads,
                 x->nodes,     x->kept,    x->seen,       x->lanes};
    for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
    minhash_free(&x->m);
  }
  mem_free(x);
  mem_free(want);
  return st;
}
