/* dedup_near.c - near duplicates: MinHash, bands, and the true Jaccard similarity of what the bands bring together.
 *
 * Two passes over the files. The first keeps a signature of each pair (4 * num_perm bytes). The second reads those
 * that share a band with another, in row order, and compares each with the kept ones before it; only kept ones of
 * shared bands are held, so many copies of one text cost no more than one. What the bands miss stays: see near.h.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "curate/fetch.h"
#include "curate/near.h"
#include "curate/stages/dedup.h"

typedef struct {
  size_t item, next; /* next: in the bucket's list; SIZE_MAX: last */
} node;

typedef struct {
  curation *r;
  const stage *s;
  const dedup_options *o;
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
} nearness;

/* ---- a pair's shingles ---- */

typedef struct {
  words w;
  str text;
  shingles set;
} near_lane;

static void close_lane(void *ctx, void *own) {
  near_lane *l = own;
  (void)ctx;
  words_free(&l->w);
  str_free(&l->text);
  mem_free(l->set.h);
}

/* The messages of the first branch and what the others add, or the prompt's messages of the user, a line each. */
static rw_status read_set(const nearness *x, near_lane *l, const conv_row *pair, rw_error *err) {
  str_clear(&l->text);
  for (size_t b = 0; b < (x->o->of_prompt ? 1 : pair->n_branches); b++) {
    const conversation *c = &pair->branch[b];
    for (size_t i = b == 0 ? 0 : c->n_messages - 1; i < c->n_messages; i++) {
      if (x->o->of_prompt && c->messages[i].role != ROLE_USER) continue;
      str_add(&l->text, c->messages[i].content.p, c->messages[i].content.len);
      str_addc(&l->text, '\n');
    }
  }
  slice text = {l->text.p ? l->text.p : "", l->text.len};
  bool ok = !l->text.oom && words_of(&l->w, text, false) && shingles_of(&l->set, &l->w, (size_t)x->o->shingle);
  return ok ? RW_OK : rw_nomem(err, "near duplicates");
}

/* ---- the first pass: signatures ---- */

static rw_status sign(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err) {
  const nearness *x = ctx;
  near_lane *l = lane->own;
  (void)result;
  RW_TRY(read_set(x, l, pair, err));
  minhash_sign(&x->m, &l->set, x->signatures + x->item_of[i] * x->m.n);
  return RW_OK;
}

static rw_status signed_pair(void *ctx, size_t i, void *result, rw_error *err) {
  (void)ctx, (void)i, (void)result, (void)err;
  return RW_OK;
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

/* ---- the second pass: what shares a band with one before it ---- */

/* The set's hashes in the result's memory. */
static rw_status prepare(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err) {
  near_lane *l = lane->own;
  shingles *out = result;
  (void)i;
  RW_TRY(read_set(ctx, l, pair, err));
  *out = (shingles){.h = arena_alloc(lane->keep, l->set.n, sizeof *out->h), .n = l->set.n};
  if (!out->h) return rw_nomem(err, "near duplicates");
  if (out->n) memcpy(out->h, l->set.h, out->n * sizeof *out->h);
  return RW_OK;
}

static bool may_be_alike(const nearness *x, size_t i, size_t j, double threshold) {
  const uint32_t *a = x->signatures + i * x->m.n, *b = x->signatures + j * x->m.n;
  size_t same = 0;
  for (size_t k = 0; k < x->m.n; k++) same += a[k] == b[k];
  return (double)same / (double)x->m.n >= threshold - 2.5 / sqrt((double)x->m.n); /* five deviations */
}

/* The first kept pair, in row order, that shares a bucket with the item and is alike; SIZE_MAX: none. */
static size_t first_alike(nearness *x, size_t item, const shingles *set, double *jaccard) {
  decimal least = x->o->threshold;
  double threshold = decimal_value(least), share = 0;
  const uint32_t *bucket = x->bucket + item * x->m.bands;
  size_t first = SIZE_MAX;
  for (size_t b = 0; b < x->m.bands; b++)
    for (size_t k = bucket[b] ? x->heads[bucket[b]] : SIZE_MAX; k != SIZE_MAX; k = x->nodes[k].next) {
      size_t j = x->nodes[k].item;
      if (j > first || x->seen[j] == item + 1) continue;
      x->seen[j] = item + 1;
      if (!may_be_alike(x, item, j, threshold)) continue;
      if (!shingles_alike(set, &x->kept[j], least.digits, least.scale, &share)) continue;
      first = j;
      *jaccard = share;
    }
  return first;
}

static rw_status keep(nearness *x, size_t item, const shingles *set, rw_error *err) {
  const uint32_t *bucket = x->bucket + item * x->m.bands;
  for (size_t b = 0; b < x->m.bands; b++) {
    if (!bucket[b]) continue;
    node add = {item, x->heads[bucket[b]]};
    if (!vec_push(x->nodes, x->n_nodes, x->cap_nodes, add)) return rw_nomem(err, "near duplicates");
    x->heads[bucket[b]] = x->n_nodes - 1;
  }
  shingles *kept = &x->kept[item];
  if (!mem_grow((void **)&kept->h, &kept->cap, set->n, sizeof *kept->h)) return rw_nomem(err, "near duplicates");
  if (set->n) memcpy(kept->h, set->h, set->n * sizeof *kept->h);
  kept->n = set->n;
  return RW_OK;
}

static rw_status judge(void *ctx, size_t i, void *result, rw_error *err) {
  nearness *x = ctx;
  size_t item = x->item_of[i];
  double jaccard = 0;
  size_t first = first_alike(x, item, result, &jaccard);
  if (first == SIZE_MAX) return keep(x, item, result, err);
  curation_remove(
      x->r, x->s, i,
      x->o->of_prompt ? "nearly the same prompt stands earlier" : "nearly the same pair stands earlier");
  x->r->c[i].twin = x->candidate[first] + 1;
  x->r->c[i].jaccard = jaccard;
  return RW_OK;
}

/* ---- the whole ---- */

static rw_status number_pairs(nearness *x, const uint8_t *want, rw_error *err) {
  const curation *r = x->r;
  for (size_t i = 0; i < r->n; i++) x->n += want[i];
  bool ok = minhash_new(&x->m, (size_t)x->o->num_perm, decimal_value(x->o->threshold));
  x->candidate = mem_alloc(x->n, sizeof *x->candidate);
  x->item_of = mem_alloc(r->n, sizeof *x->item_of);
  x->signatures = ok ? mem_alloc(x->n, x->m.n * sizeof *x->signatures) : NULL;
  x->bucket = ok ? mem_zalloc(x->n, x->m.bands * sizeof *x->bucket) : NULL;
  x->kept = mem_zalloc(x->n, sizeof *x->kept);
  x->seen = mem_zalloc(x->n, sizeof *x->seen);
  if (!x->candidate || !x->item_of || !x->signatures || !x->bucket || !x->kept || !x->seen)
    return rw_nomem(err, "near duplicates");
  for (size_t i = 0, k = 0; i < r->n; i++) {
    if (!want[i]) continue;
    x->item_of[i] = (uint32_t)k;
    x->candidate[k++] = i;
  }
  return RW_OK;
}

static rw_status remove_near(nearness *x, uint8_t *want, rw_error *err) {
  pair_job job = {
      .lane_size = sizeof(near_lane), .lane_close = close_lane, .work = sign, .sink = signed_pair, .ctx = x};
  RW_TRY(number_pairs(x, want, err));
  RW_TRY(curation_fetch(x->r, want, &job, err));
  RW_TRY(fill_buckets(x, want, err));
  x->heads = mem_alloc(x->n_buckets + 1, sizeof *x->heads);
  if (!x->heads) return rw_nomem(err, "near duplicates");
  for (size_t i = 0; i <= x->n_buckets; i++) x->heads[i] = SIZE_MAX;
  job.result_size = sizeof(shingles);
  job.work = prepare;
  job.sink = judge;
  return curation_fetch(x->r, want, &job, err);
}

rw_status dedup_near(curation *r, const stage *s, rw_error *err) {
  nearness x = {.r = r, .s = s, .o = s->own};
  uint8_t *want = curation_wanted(r, s, err);
  rw_status st = want ? remove_near(&x, want, err) : rw_nomem(err, "near duplicates");
  for (size_t i = 0; x.kept && i < x.n; i++) mem_free(x.kept[i].h);
  void *p[] = {x.candidate, x.item_of, x.signatures, x.bucket, x.heads, x.nodes, x.kept, x.seen, want};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  minhash_free(&x.m);
  return st;
}
