/* prefix_cache.c - a hash table of blocks, a list of them by last use, and their device memory. */
#include "model/prefix_cache.h"

#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/mem.h"

enum { FIRST_BUCKETS = 1024 };

struct prefix_block {
  prefix_block *after; /* NULL: at the beginning */
  size_t children;     /* blocks that follow it */
  uint64_t hash;       /* hash of the ids and the block before */
  int32_t ids[PREFIX_BLOCK];
  void *values;                /* [layers, PREFIX_BLOCK, width] */
  prefix_block *chain;         /* in its bucket */
  prefix_block *older, *newer; /* by last use */
  bool held, added;            /* in this pass */
};

struct prefix_cache {
  backend *be;
  size_t layers, width, block_bytes;
  uint64_t max_bytes;
  prefix_block **buckets;
  size_t n_buckets;
  prefix_block *oldest, *newest;
  prefix_figures figures;
};

static void unlink_use(prefix_cache *c, prefix_block *b) {
  *(b->older ? &b->older->newer : &c->oldest) = b->newer;
  *(b->newer ? &b->newer->older : &c->newest) = b->older;
}

static void use(prefix_cache *c, prefix_block *b) {
  b->older = c->newest;
  b->newer = NULL;
  *(c->newest ? &c->newest->newer : &c->oldest) = b;
  c->newest = b;
}

static prefix_block **bucket(const prefix_cache *c, uint64_t hash) {
  return &c->buckets[hash & (c->n_buckets - 1)];
}

static void drop(prefix_cache *c, prefix_block *b) {
  prefix_block **at = bucket(c, b->hash);
  while (*at != b) at = &(*at)->chain;
  *at = b->chain;
  unlink_use(c, b);
  if (b->after) b->after->children--;
  c->be->release(c->be, MEM_DEVICE, b->values);
  c->figures.bytes -= c->block_bytes;
  c->figures.blocks--;
  mem_free(b);
}

rw_status prefix_cache_new(prefix_cache **out, backend *be, size_t layers, size_t width, uint64_t max_bytes,
                           rw_error *err) {
  prefix_cache *c = mem_zalloc(1, sizeof *c);
  if (!c) return rw_nomem(err, "the prefix cache");
  *c = (prefix_cache){.be = be, .layers = layers, .width = width, .max_bytes = max_bytes};
  c->block_bytes = layers * PREFIX_BLOCK * width * type_size(be->traits.act);
  c->n_buckets = FIRST_BUCKETS;
  c->buckets = mem_zalloc(c->n_buckets, sizeof *c->buckets);
  *out = c;
  if (c->buckets) return RW_OK;
  prefix_cache_free(c);
  *out = NULL;
  return rw_nomem(err, "the prefix cache");
}

void prefix_cache_free(prefix_cache *c) {
  if (!c) return;
  for (prefix_block *b = c->newest, *older; b; b = older) {
    older = b->older;
    c->be->release(c->be, MEM_DEVICE, b->values);
    mem_free(b);
  }
  mem_free(c->buckets);
  mem_free(c);
}

static uint64_t hash_of(const prefix_block *after, const int32_t *ids) {
  return XXH3_64bits_withSeed(ids, PREFIX_BLOCK * sizeof *ids, after ? after->hash : 0);
}

prefix_block *prefix_cache_find(prefix_cache *c, prefix_block *after, const int32_t *ids) {
  uint64_t hash = hash_of(after, ids);
  for (prefix_block *b = *bucket(c, hash); b; b = b->chain) {
    if (b->hash != hash || b->after != after || memcmp(b->ids, ids, sizeof b->ids) != 0) continue;
    unlink_use(c, b);
    use(c, b);
    b->held = true;
    return b;
  }
  return NULL;
}

/* Room for one block more. Blocks with others behind them stay, so that what is there can always be reached. */
static bool make_room(prefix_cache *c) {
  prefix_block *b = c->oldest;
  while (c->figures.bytes + c->block_bytes > c->max_bytes) {
    while (b && (b->held || b->children)) b = b->newer;
    if (!b) return false;
    prefix_block *before = b->after, *next = b->newer;
    drop(c, b);
    c->figures.evicted_blocks++;
    b = before && !before->held && !before->children ? c->oldest : next; /* it may be the oldest that can go now */
  }
  return true;
}

static void grow_buckets(prefix_cache *c) {
  prefix_block **more = mem_zalloc(2 * c->n_buckets, sizeof *more);
  if (!more) return; /* longer chains will do */
  mem_free(c->buckets);
  c->buckets = more;
  c->n_buckets *= 2;
  for (prefix_block *b = c->oldest; b; b = b->newer) {
    prefix_block **at = bucket(c, b->hash);
    b->chain = *at;
    *at = b;
  }
}

prefix_block *prefix_cache_add(prefix_cache *c, prefix_block *after, const int32_t *ids) {
  if (!make_room(c)) return NULL;
  prefix_block *b = mem_zalloc(1, sizeof *b);
  if (!b) return NULL;
  b->values = c->be->alloc(c->be, MEM_DEVICE, c->block_bytes);
  if (!b->values) {
    mem_free(b);
    return NULL;
  }
  if (c->figures.blocks > 2 * c->n_buckets) grow_buckets(c);
  b->after = after;
  b->hash = hash_of(after, ids);
  memcpy(b->ids, ids, sizeof b->ids);
  b->held = b->added = true;
  prefix_block **at = bucket(c, b->hash);
  b->chain = *at;
  *at = b;
  use(c, b);
  if (after) after->children++;
  c->figures.bytes += c->block_bytes;
  c->figures.blocks++;
  return b;
}

/* What a pass held was used last, so it stands at the list's new end. */
void prefix_cache_release_all(prefix_cache *c, bool whole) {
  for (bool again = !whole; again;) { /* a block goes before the one that it follows */
    again = false;
    for (prefix_block *b = c->newest, *older; b && b->held; b = older) {
      older = b->older;
      if (!b->added || b->children) continue;
      drop(c, b);
      again = true;
    }
  }
  for (prefix_block *b = c->newest; b && b->held; b = b->older) b->held = b->added = false;
}

mat prefix_block_at(const prefix_cache *c, const prefix_block *b, size_t layer) {
  tensor_type act = c->be->traits.act;
  return (mat){(char *)b->values + layer * PREFIX_BLOCK * c->width * type_size(act), c->width, act};
}

prefix_figures prefix_cache_figures(const prefix_cache *c) { return c->figures; }

void prefix_cache_count(prefix_cache *c, uint64_t asked, uint64_t found) {
  c->figures.asked_tokens += asked;
  c->figures.found_tokens += found;
}
