/* attention_plan.c - which block of a GPU's attention computes what: stretches in the forest's order, tiles of
 * queries and of keys, those with most work first, so that the last blocks to end are small ones. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "compute/cuda/attention.h"

typedef struct {
  attention_tile tile;
  uint64_t work;
} candidate;

static int heavier(const void *pa, const void *pb) {
  const candidate *a = pa, *b = pb;
  if (a->work != b->work) return a->work > b->work ? -1 : 1;
  if (a->tile.stretch != b->tile.stretch) return a->tile.stretch < b->tile.stretch ? -1 : 1;
  return a->tile.at < b->tile.at ? -1 : 1;
}

static size_t tiles_of(size_t n, size_t tile) { return (n + tile - 1) / tile; }

static void sort_into(int32_t *to, candidate *c, size_t n) {
  qsort(c, n, sizeof *c, heavier);
  for (size_t i = 0; i < n; i++, to += sizeof c->tile / sizeof *to) memcpy(to, &c[i].tile, sizeof c->tile);
}

typedef struct {
  attention_stretch *stretches;
  candidate *query, *key;
  size_t n, n_query, n_key, share;
} lists;

/* below: rows of the branches that see the stretch. */
static void add(lists *l, span s, size_t base, const tree *t, size_t children, size_t below) {
  const int32_t number = (int32_t)l->n, known = (int32_t)t->known.len;
  if (s.len == 0) return;
  l->stretches[l->n++] = (attention_stretch){.first = (int32_t)s.first,
                                             .len = (int32_t)s.len,
                                             .base = (int32_t)base,
                                             .prompt = (int32_t)t->prompt.first - known,
                                             .children = (int32_t)children,
                                             .known = known,
                                             .known_first = (int32_t)t->known.first};
  for (size_t at = 0; at < s.len * l->share; at += ATTENTION_QUERIES)
    l->query[l->n_query++] = (candidate){{number, (int32_t)at}, base + at / l->share};
  for (size_t at = 0; at < s.len; at += ATTENTION_KEYS)
    l->key[l->n_key++] = (candidate){{number, (int32_t)at}, s.len - at + below};
}

rw_status attention_plan_make(attention_plan *out, const forest *f, size_t share, rw_error *err) {
  size_t stretches = f->n_trees + f->n_branches, query = 0, key = 0;
  *out = (attention_plan){0};
  if (f->rows > INT32_MAX / share / share) /* row_of_query must be exact */
    return rw_fail(err, RW_UNSUPPORTED,
                   "attention over %zu rows with %zu query heads a key-value head: at most %d fit", f->rows, share,
                   INT32_MAX);
  for (size_t i = 0; i < stretches; i++) {
    size_t len = i < f->n_trees ? f->trees[i].prompt.len : f->branches[i - f->n_trees].len;
    query += tiles_of(len * share, ATTENTION_QUERIES);
    key += tiles_of(len, ATTENTION_KEYS);
  }
  lists l = {.stretches = mem_alloc(stretches, sizeof *l.stretches),
             .query = mem_alloc(query, sizeof *l.query),
             .key = mem_alloc(key, sizeof *l.key),
             .share = share};
  const size_t each = sizeof(attention_stretch) / sizeof(int32_t), tile = sizeof(attention_tile) / sizeof(int32_t);
  out->n_words = stretches * each + (query + key) * tile;
  out->words = mem_zalloc(out->n_words, sizeof *out->words);
  const bool room = l.stretches && l.query && l.key && out->words;
  if (room) {
    for (size_t t = 0; t < f->n_trees; t++) {
      const tree *tr = &f->trees[t];
      const span *branch = f->branches + tr->first_branch;
      size_t below = 0;
      for (size_t b = 0; b < tr->n_branches; b++) below += branch[b].len;
      add(&l, tr->prompt, tr->known.len, tr, tr->n_branches, below);
      for (size_t b = 0; b < tr->n_branches; b++) add(&l, branch[b], tr->known.len + tr->prompt.len, tr, 0, 0);
    }
    memcpy(out->words, l.stretches, l.n * sizeof *l.stretches);
    sort_into(out->words + l.n * each, l.query, l.n_query);
    sort_into(out->words + l.n * each + l.n_query * tile, l.key, l.n_key);
    out->n_stretches = l.n, out->n_query_tiles = l.n_query, out->n_key_tiles = l.n_key;
    out->n_words = l.n * each + (l.n_query + l.n_key) * tile;
  }
  mem_free(l.stretches), mem_free(l.query), mem_free(l.key);
  if (room) return RW_OK;
  attention_plan_free(out);
  return rw_nomem(err, "the lists of attention's work");
}

void attention_plan_free(attention_plan *p) {
  mem_free(p->words);
  *p = (attention_plan){0};
}
