/* dedup_near.c - near duplicates: MinHash, bands, and the true Jaccard similarity of what the bands bring together.
 *
 * Two passes over the files. The first keeps a key of each band of each pair (8 * bands bytes) in a nameless file
 * beside the output, band after band; they are sorted a few bands at a time. The second reads the pairs that share
 * a key with another, in row order, and compares each with the kept ones before it; only kept ones of shared bands
 * are held, their signatures (4 * num_perm bytes) in memory and their shingles in another such file, so many copies
 * of one text cost no more than one. What the bands miss stays: see near.h.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "curate/fetch.h"
#include "curate/near.h"
#include "curate/stages/dedup.h"

enum {
  SORTED_BANDS = 2,    /* bands whose items are sorted at a time: 16 bytes each, and as much again by qsort */
  HELD_KEYS = 2048,    /* of a band, on their way to the file or from it */
  FEW_BYTES = 16 << 20 /* keys of so many bytes stay in memory */
};

/* Items are pairs of the stage, numbered in row order: in the first pass all, from then on those that share a band.
 */
typedef struct {
  uint32_t item, next; /* next: in the bucket's list; UINT32_MAX: last */
} node;

typedef struct {
  uint64_t key;
  uint32_t item;
} banded;

/* A kept item. */
typedef struct {
  uint32_t *signature; /* NULL: not kept */
  uint64_t at;         /* its shingles' place in the file */
  uint32_t n;
} keeping;

typedef struct {
  curation *r;
  const stage *s;
  const dedup_options *o;
  minhash m;
  size_t n;            /* items */
  uint32_t *candidate; /* [n] */
  uint32_t *item_of;   /* [candidates] */
  int keys_fd;         /* [m.bands][n] keys; of a band that was sorted [n] buckets instead, 0: alone there */
  uint64_t *held;      /* [m.bands][HELD_KEYS] */
  size_t n_held, at;   /* of each band; at: their first item */
  uint8_t *shares;     /* [n]: an item's key is another's, too */
  size_t band;         /* the first of those that are sorted */
  banded *lists;       /* [SORTED_BANDS][n] */
  uint32_t *numbers;   /* [SORTED_BANDS][n]: buckets */
  uint32_t buckets[SORTED_BANDS];
  rw_status sorted[SORTED_BANDS];
  rw_error sort_err[SORTED_BANDS];
  uint32_t n_buckets;
  uint32_t *bucket; /* [n][m.bands] */
  uint32_t *heads;  /* [n_buckets + 1]: kept items of the bucket */
  node *nodes;
  size_t n_nodes, cap_nodes;
  keeping *kept;  /* [n] */
  uint32_t *seen; /* [n]: 1 + the item that was last compared with this one */
  arena *mem;     /* holds the signatures */
  int fd;         /* the file of shingles; -1: none yet */
  uint64_t end;   /* its length */
  shingles other; /* read from it */
} nearness;

/* ---- a pair's shingles ---- */

typedef struct {
  words w;
  str text;
  shingles set;
  uint32_t *signature; /* [m.n] */
} near_lane;

static rw_status open_lane(void *ctx, void *own, rw_error *err) {
  const nearness *x = ctx;
  near_lane *l = own;
  l->signature = mem_alloc(x->m.n, sizeof *l->signature);
  return l->signature ? RW_OK : rw_nomem(err, "near duplicates");
}

static void close_lane(void *ctx, void *own) {
  near_lane *l = own;
  (void)ctx;
  words_free(&l->w);
  str_free(&l->text);
  mem_free(l->set.h);
  mem_free(l->signature);
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

/* ---- files without a name ---- */

static rw_status file_fails(const char *doing, rw_error *err) {
  return rw_fail(err, RW_IO, "near duplicates: cannot %s their file beside the output: %s", doing, strerror(errno));
}

static rw_status put(int fd, const void *p, size_t bytes, uint64_t to, rw_error *err) {
  for (size_t at = 0; at < bytes;) {
    ssize_t n = pwrite(fd, (const char *)p + at, bytes - at, (off_t)(to + at));
    if (n < 0 && errno != EINTR) return file_fails("write", err);
    at += n > 0 ? (size_t)n : 0;
  }
  return RW_OK;
}

static rw_status get(int fd, void *p, size_t bytes, uint64_t from, rw_error *err) {
  for (size_t at = 0; at < bytes;) {
    ssize_t n = pread(fd, (char *)p + at, bytes - at, (off_t)(from + at));
    if (n == 0) errno = EIO;
    if (n <= 0 && errno != EINTR) return file_fails("read", err);
    at += n > 0 ? (size_t)n : 0;
  }
  return RW_OK;
}

static rw_status open_beside(const nearness *x, int *fd, rw_error *err) {
  if (*fd >= 0) return RW_OK;
  char *dir = file_nearest_dir(x->r->o->out ? x->r->o->out : ".");
  rw_status s = dir ? file_nameless(dir, fd, err) : rw_nomem(err, "near duplicates");
  mem_free(dir);
  return s;
}

/* ---- the first pass: keys of bands ---- */

static rw_status open_keys(nearness *x, rw_error *err) {
  x->held = mem_alloc(HELD_KEYS, x->m.bands * sizeof *x->held);
  x->shares = mem_zalloc(x->n, 1);
  if (!x->held || !x->shares) return rw_nomem(err, "near duplicates");
  if (x->n * x->m.bands * sizeof *x->held <= FEW_BYTES) x->keys_fd = memfd_create("keys", MFD_CLOEXEC);
  return open_beside(x, &x->keys_fd, err);
}

static uint64_t place_of(const nearness *x, size_t band, size_t item, size_t size) {
  return (uint64_t)band * x->n * sizeof *x->held + (uint64_t)item * size;
}

static rw_status write_held(nearness *x, rw_error *err) {
  for (size_t b = 0; b < x->m.bands; b++) {
    uint64_t *keys = x->held + b * HELD_KEYS;
    RW_TRY(put(x->keys_fd, keys, x->n_held * sizeof *keys, place_of(x, b, x->at, sizeof *keys), err));
  }
  x->at += x->n_held;
  x->n_held = 0;
  return RW_OK;
}

static rw_status sign(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err) {
  const nearness *x = ctx;
  near_lane *l = lane->own;
  uint64_t **keys = result;
  (void)i;
  *keys = arena_alloc(lane->keep, x->m.bands, sizeof **keys);
  if (!*keys) return rw_nomem(err, "near duplicates");
  RW_TRY(read_set(x, l, pair, err));
  minhash_sign(&x->m, &l->set, l->signature);
  for (size_t b = 0; b < x->m.bands; b++)
    (*keys)[b] = XXH3_64bits(l->signature + b * x->m.rows, x->m.rows * sizeof *l->signature);
  return RW_OK;
}

static rw_status signed_pair(void *ctx, size_t i, void *result, rw_error *err) {
  nearness *x = ctx;
  uint64_t *const *keys = result;
  size_t item = x->item_of[i];
  if (x->n_held == HELD_KEYS || item != x->at + x->n_held) {
    RW_TRY(write_held(x, err));
    x->at = item;
  }
  for (size_t b = 0; b < x->m.bands; b++) x->held[b * HELD_KEYS + x->n_held] = (*keys)[b];
  x->n_held++;
  return RW_OK;
}

static int by_key(const void *a, const void *b) {
  const banded *x = a, *y = b;
  if (x->key != y->key) return x->key < y->key ? -1 : 1;
  return x->item < y->item ? -1 : x->item > y->item;
}

/* Finds a band's buckets of two and more items. */
static rw_status find_buckets(nearness *x, size_t task, rw_error *err) {
  banded *list = x->lists + task * x->n;
  uint32_t *numbers = x->numbers + task * x->n, buckets = 0;
  uint64_t keys[HELD_KEYS];
  for (size_t at = 0, some; at < x->n; at += some) {
    some = x->n - at < HELD_KEYS ? x->n - at : HELD_KEYS;
    RW_TRY(get(x->keys_fd, keys, some * sizeof *keys, place_of(x, x->band + task, at, sizeof *keys), err));
    for (size_t i = 0; i < some; i++) list[at + i] = (banded){keys[i], (uint32_t)(at + i)};
  }
  qsort(list, x->n, sizeof *list, by_key);
  for (size_t from = 0, to; from < x->n; from = to) {
    for (to = from + 1; to < x->n && list[to].key == list[from].key; to++) {
    }
    buckets += to - from > 1;
    for (size_t k = from; k < to; k++) numbers[list[k].item] = to - from > 1 ? buckets : 0;
  }
  x->buckets[task] = buckets;
  return RW_OK;
}

static void sort_band(void *ctx, size_t task, int thread) {
  nearness *x = ctx;
  (void)thread;
  x->sorted[task] = find_buckets(x, task, &x->sort_err[task]);
}

/* The numbers of all bands count on. */
static rw_status number_band(nearness *x, size_t task, rw_error *err) {
  uint32_t *numbers = x->numbers + task * x->n;
  if (x->sorted[task] && err) *err = x->sort_err[task];
  RW_TRY(x->sorted[task]);
  for (size_t i = 0; i < x->n; i++) {
    if (!numbers[i]) continue;
    numbers[i] += x->n_buckets;
    x->shares[i] = true;
  }
  x->n_buckets += x->buckets[task];
  return put(x->keys_fd, numbers, x->n * sizeof *numbers, place_of(x, x->band + task, 0, sizeof *numbers), err);
}

static rw_status sort_bands(nearness *x, rw_error *err) {
  size_t room = x->m.bands < SORTED_BANDS ? x->m.bands : SORTED_BANDS;
  x->lists = mem_alloc(x->n, room * sizeof *x->lists);
  x->numbers = mem_alloc(x->n, room * sizeof *x->numbers);
  if (!x->lists || !x->numbers) return rw_nomem(err, "near duplicates");
  for (x->band = 0; x->band < x->m.bands; x->band += room) {
    size_t bands = x->m.bands - x->band < room ? x->m.bands - x->band : room;
    pool_run(x->r->o->context->threads, bands, sort_band, x);
    for (size_t b = 0; b < bands; b++) RW_TRY(number_band(x, b, err));
  }
  mem_free(x->lists);
  x->lists = NULL;
  return RW_OK;
}

/* From here on items are those that share a band; want[] keeps them alone. */
static rw_status keep_shared(nearness *x, uint8_t *want, rw_error *err) {
  size_t n = 0, bands = x->m.bands;
  for (size_t i = 0; i < x->n; i++) n += want[x->candidate[i]] = x->shares[i];
  x->bucket = mem_alloc(n, bands * sizeof *x->bucket);
  x->heads = mem_alloc((size_t)x->n_buckets + 1, sizeof *x->heads);
  x->kept = mem_zalloc(n, sizeof *x->kept);
  x->seen = mem_zalloc(n, sizeof *x->seen);
  x->mem = arena_new();
  if (!x->bucket || !x->heads || !x->kept || !x->seen || !x->mem) return rw_nomem(err, "near duplicates");
  memset(x->heads, 0xff, ((size_t)x->n_buckets + 1) * sizeof *x->heads);
  for (size_t b = 0; b < bands; b++) {
    RW_TRY(get(x->keys_fd, x->numbers, x->n * sizeof *x->numbers, place_of(x, b, 0, sizeof *x->numbers), err));
    for (size_t i = 0, k = 0; i < x->n; i++)
      if (x->shares[i]) x->bucket[k++ * bands + b] = x->numbers[i];
  }
  for (size_t i = 0, k = 0; i < x->n; i++) {
    if (!x->shares[i]) continue;
    x->candidate[k] = x->candidate[i];
    x->item_of[x->candidate[k]] = (uint32_t)k;
    k++;
  }
  x->n = n;
  mem_free(x->numbers);
  x->numbers = NULL;
  return RW_OK;
}

/* ---- the second pass: what shares a band with one before it ---- */

typedef struct {
  shingles set;
  uint32_t *signature;
} prepared;

/* All in the result's memory. */
static rw_status prepare(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err) {
  const nearness *x = ctx;
  near_lane *l = lane->own;
  prepared *out = result;
  (void)i;
  RW_TRY(read_set(x, l, pair, err));
  out->set = (shingles){.h = arena_alloc(lane->keep, l->set.n, sizeof *out->set.h), .n = l->set.n};
  out->signature = arena_alloc(lane->keep, x->m.n, sizeof *out->signature);
  if (!out->set.h || !out->signature) return rw_nomem(err, "near duplicates");
  if (out->set.n) memcpy(out->set.h, l->set.h, out->set.n * sizeof *out->set.h);
  minhash_sign(&x->m, &l->set, out->signature);
  return RW_OK;
}

static bool may_be_alike(const nearness *x, const uint32_t *a, const uint32_t *b, double threshold) {
  size_t same = 0;
  for (size_t k = 0; k < x->m.n; k++) same += a[k] == b[k];
  return (double)same / (double)x->m.n >= threshold - 2.5 / sqrt((double)x->m.n); /* five deviations */
}

static rw_status read_shingles(nearness *x, const keeping *k, rw_error *err) {
  shingles *to = &x->other;
  if (!mem_grow((void **)&to->h, &to->cap, k->n, sizeof *to->h)) return rw_nomem(err, "near duplicates");
  to->n = k->n;
  return get(x->fd, to->h, k->n * sizeof *to->h, k->at, err);
}

/* ---- kept ones ---- */

/* The first kept item, in row order, that shares a bucket with this one and is alike; SIZE_MAX: none. */
static rw_status first_alike(nearness *x, size_t item, const prepared *p, size_t *first, double *jaccard,
                             rw_error *err) {
  decimal least = x->o->threshold;
  double threshold = decimal_value(least), share = 0;
  const uint32_t *bucket = x->bucket + item * x->m.bands;
  *first = SIZE_MAX;
  for (size_t b = 0; b < x->m.bands; b++)
    for (uint32_t k = bucket[b] ? x->heads[bucket[b]] : UINT32_MAX; k != UINT32_MAX; k = x->nodes[k].next) {
      size_t j = x->nodes[k].item;
      if (j > *first || x->seen[j] == item + 1) continue;
      x->seen[j] = (uint32_t)item + 1;
      if (!may_be_alike(x, p->signature, x->kept[j].signature, threshold)) continue;
      RW_TRY(read_shingles(x, &x->kept[j], err));
      if (!shingles_alike(&p->set, &x->other, least.digits, least.scale, &share)) continue;
      *first = j;
      *jaccard = share;
    }
  return RW_OK;
}

static rw_status keep(nearness *x, size_t item, const prepared *p, rw_error *err) {
  const uint32_t *bucket = x->bucket + item * x->m.bands;
  for (size_t b = 0; b < x->m.bands; b++) {
    if (!bucket[b]) continue;
    node add = {(uint32_t)item, x->heads[bucket[b]]};
    if (x->n_nodes >= UINT32_MAX || !vec_push(x->nodes, x->n_nodes, x->cap_nodes, add))
      return rw_nomem(err, "near duplicates");
    x->heads[bucket[b]] = (uint32_t)(x->n_nodes - 1);
  }
  keeping *k = &x->kept[item];
  *k = (keeping){arena_alloc(x->mem, x->m.n, sizeof *k->signature), x->end, (uint32_t)p->set.n};
  if (!k->signature) return rw_nomem(err, "near duplicates");
  memcpy(k->signature, p->signature, x->m.n * sizeof *k->signature);
  RW_TRY(open_beside(x, &x->fd, err));
  x->end += p->set.n * sizeof *p->set.h;
  return put(x->fd, p->set.h, p->set.n * sizeof *p->set.h, k->at, err);
}

static rw_status judge(void *ctx, size_t i, void *result, rw_error *err) {
  nearness *x = ctx;
  size_t item = x->item_of[i], first;
  double jaccard = 0;
  RW_TRY(first_alike(x, item, result, &first, &jaccard, err));
  if (first == SIZE_MAX) return keep(x, item, result, err);
  curation_remove(
      x->r, x->s, i,
      x->o->of_prompt ? "nearly the same prompt stands earlier" : "nearly the same pair stands earlier");
  x->r->c[i].twin = (size_t)x->candidate[first] + 1;
  x->r->c[i].jaccard = jaccard;
  return RW_OK;
}

/* ---- the whole ---- */

static rw_status number_pairs(nearness *x, const uint8_t *want, rw_error *err) {
  const curation *r = x->r;
  for (size_t i = 0; i < r->n; i++) x->n += want[i];
  if (r->n >= UINT32_MAX) return rw_fail(err, RW_UNSUPPORTED, "near duplicates: expected fewer than 2^32 pairs");
  bool ok = minhash_new(&x->m, (size_t)x->o->num_perm, decimal_value(x->o->threshold));
  x->candidate = mem_alloc(x->n, sizeof *x->candidate);
  x->item_of = mem_alloc(r->n, sizeof *x->item_of);
  if (!ok || !x->candidate || !x->item_of) return rw_nomem(err, "near duplicates");
  for (size_t i = 0, k = 0; i < r->n; i++) {
    if (!want[i]) continue;
    x->item_of[i] = (uint32_t)k;
    x->candidate[k++] = (uint32_t)i;
  }
  return open_keys(x, err);
}

static rw_status remove_near(nearness *x, uint8_t *want, rw_error *err) {
  pair_job job = {.result_size = sizeof(uint64_t *),
                  .lane_size = sizeof(near_lane),
                  .lane_open = open_lane,
                  .lane_close = close_lane,
                  .work = sign,
                  .sink = signed_pair,
                  .ctx = x};
  RW_TRY(number_pairs(x, want, err));
  RW_TRY(curation_fetch(x->r, want, &job, err));
  RW_TRY(write_held(x, err));
  RW_TRY(sort_bands(x, err));
  RW_TRY(keep_shared(x, want, err));
  job.result_size = sizeof(prepared);
  job.work = prepare;
  job.sink = judge;
  return curation_fetch(x->r, want, &job, err);
}

rw_status dedup_near(curation *r, const stage *s, rw_error *err) {
  nearness x = {.r = r, .s = s, .o = s->own, .keys_fd = -1, .fd = -1};
  uint8_t *want = curation_wanted(r, s, err);
  rw_status st = want ? remove_near(&x, want, err) : rw_nomem(err, "near duplicates");
  void *p[] = {x.candidate, x.item_of, x.held, x.shares, x.lists,   x.numbers, x.bucket,
               x.heads,     x.nodes,   x.kept, x.seen,   x.other.h, want};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  arena_free(x.mem);
  if (x.fd >= 0) close(x.fd);
  if (x.keys_fd >= 0) close(x.keys_fd);
  minhash_free(&x.m);
  return st;
}
