/* tok_bpe.c - byte-pair encoding of one word: the lowest-ranked merge first, leftmost among equals.
 *
 * (Sennrich et al. 2016, with ranks as in Hugging Face's tokenizers.) Short words scan their pairs; long ones keep
 * candidates in a heap, so that a word of n bytes costs O(n log n). Words are remembered in the thread's cache.
 */
#include <stdio.h>
#include <string.h>

#include "text/tok_impl.h"

enum { SCAN_LIMIT = 40, CACHE_WORDS = 1 << 16, CACHE_WORD_BYTES = 64 };

struct symbol {
  int32_t id, prev, next; /* next -1: the last; id -1: merged away */
};
struct candidate {
  uint32_t rank;
  int32_t at;              /* left symbol */
  int32_t left, right, id; /* what must still stand there */
};

const merge *bpe_find(const tokenizer *t, int32_t left, int32_t right) {
  if (t->merge_cap == 0) return NULL;
  uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  uint64_t h = pair * 0x9e3779b97f4a7c15u;
  for (size_t i = (size_t)(h >> 20) & (t->merge_cap - 1);; i = (i + 1) & (t->merge_cap - 1)) {
    if (t->merges[i].pair == pair) return &t->merges[i];
    if (t->merges[i].pair == UINT64_MAX) return NULL;
  }
}

static rw_status add_symbol(tok_scratch *s, size_t *n, int32_t id, rw_error *err) {
  if (!mem_grow((void **)&s->symbols, &s->cap_symbols, *n + 1, sizeof *s->symbols)) return rw_nomem(err, "a word");
  s->symbols[*n] = (struct symbol){id, (int32_t)*n - 1, -1};
  if (*n > 0) s->symbols[*n - 1].next = (int32_t)*n;
  ++*n;
  return RW_OK;
}

static size_t utf8_step(unsigned char c) { return c < 0x80 ? 1 : c < 0xE0 ? 2 : c < 0xF0 ? 3 : 4; }

static rw_status put_id(ids *out, int32_t id, rw_error *err) {
  return vec_push(out->p, out->len, out->cap, id) ? RW_OK : rw_nomem(err, "token ids");
}

/* The ids of a symbol after the last merge: a character that is no piece and was merged with nothing is its bytes.
 */
static rw_status put_symbol(const tokenizer *t, int32_t id, ids *out, size_t from, rw_error *err) {
  if (id >= TOK_MAX_ID && t->byte_fallback) {
    slice c = t->loose_text[id - TOK_MAX_ID];
    for (size_t i = 0; i < c.len; i++) RW_TRY(put_id(out, t->byte_id[(unsigned char)c.p[i]], err));
    return RW_OK;
  }
  if (id >= TOK_MAX_ID) id = t->unk;
  bool again = id == t->unk && t->fuse_unk && out->len > from && out->p[out->len - 1] == id;
  return again ? RW_OK : put_id(out, id, err);
}

/* The word's first symbols: bytes, or characters with their bytes as a fallback. */
static rw_status first_symbols(const tokenizer *t, tok_scratch *s, slice w, size_t *n, rw_error *err) {
  *n = 0;
  if (t->byte_level) {
    for (size_t i = 0; i < w.len; i++) {
      int32_t id = t->byte_id[(unsigned char)w.p[i]];
      if (id >= 0) RW_TRY(add_symbol(s, n, id, err));
    }
    return RW_OK;
  }
  for (size_t i = 0, len; i < w.len; i += len) {
    len = utf8_step((unsigned char)w.p[i]);
    if (len > w.len - i) len = w.len - i;
    int64_t *id = map_get(t->vocab, w.p + i, len);
    if (!id && t->loose) id = map_get(t->loose, w.p + i, len);
    bool bytes = !id && t->byte_fallback;
    for (size_t k = 0; bytes && k < len; k++) bytes = t->byte_id[(unsigned char)w.p[i + k]] >= 0;
    if (id) {
      RW_TRY(add_symbol(s, n, (int32_t)*id, err));
    } else if (bytes) {
      for (size_t k = 0; k < len; k++) RW_TRY(add_symbol(s, n, t->byte_id[(unsigned char)w.p[i + k]], err));
    } else if (t->unk >= 0) {
      RW_TRY(add_symbol(s, n, t->unk, err));
    }
  }
  return RW_OK;
}

static void join(tok_scratch *s, int32_t at, int32_t id) {
  struct symbol *a = &s->symbols[at], *b = &s->symbols[a->next];
  a->id = id;
  a->next = b->next;
  b->id = -1;
  if (b->next >= 0) s->symbols[b->next].prev = at;
}

static void merge_by_scan(const tokenizer *t, tok_scratch *s) {
  for (;;) {
    const merge *best = NULL;
    int32_t where = -1;
    for (int32_t i = 0; s->symbols[i].next >= 0; i = s->symbols[i].next) {
      const merge *m = bpe_find(t, s->symbols[i].id, s->symbols[s->symbols[i].next].id);
      if (m && (!best || m->rank < best->rank)) {
        best = m;
        where = i;
      }
    }
    if (!best) return;
    join(s, where, best->id);
  }
}

static bool before(const struct candidate *a, const struct candidate *b) {
  return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static rw_status heap_push(const tokenizer *t, tok_scratch *s, int32_t at, rw_error *err) {
  if (at < 0 || s->symbols[at].next < 0) return RW_OK;
  int32_t right = s->symbols[s->symbols[at].next].id;
  const merge *m = bpe_find(t, s->symbols[at].id, right);
  if (!m) return RW_OK;
  if (!mem_grow((void **)&s->heap, &s->cap_heap, s->n_heap + 1, sizeof *s->heap)) return rw_nomem(err, "a word");
  struct candidate c = {m->rank, at, s->symbols[at].id, right, m->id};
  size_t i = s->n_heap++;
  for (; i > 0 && before(&c, &s->heap[(i - 1) / 2]); i = (i - 1) / 2) s->heap[i] = s->heap[(i - 1) / 2];
  s->heap[i] = c;
  return RW_OK;
}

static struct candidate heap_pop(tok_scratch *s) {
  struct candidate top = s->heap[0], last = s->heap[--s->n_heap];
  size_t i = 0;
  for (;;) {
    size_t child = 2 * i + 1;
    if (child >= s->n_heap) break;
    if (child + 1 < s->n_heap && before(&s->heap[child + 1], &s->heap[child])) child++;
    if (!before(&s->heap[child], &last)) break;
    s->heap[i] = s->heap[child];
    i = child;
  }
  if (s->n_heap > 0) s->heap[i] = last;
  return top;
}

static rw_status merge_by_heap(const tokenizer *t, tok_scratch *s, size_t n, rw_error *err) {
  s->n_heap = 0;
  for (size_t i = 0; i < n; i++) RW_TRY(heap_push(t, s, (int32_t)i, err));
  while (s->n_heap > 0) {
    struct candidate c = heap_pop(s);
    const struct symbol *a = &s->symbols[c.at];
    if (a->id != c.left || a->next < 0 || s->symbols[a->next].id != c.right) continue; /* overtaken */
    join(s, c.at, c.id);
    RW_TRY(heap_push(t, s, s->symbols[c.at].prev, err));
    RW_TRY(heap_push(t, s, c.at, err));
  }
  return RW_OK;
}

/* Remembers the ids that were just appended from `from` on. */
static rw_status remember(tok_scratch *s, slice w, const ids *out, size_t from, rw_error *err) {
  if (map_count(s->cache) >= CACHE_WORDS) {
    map_free(s->cache);
    s->n_cached = 0;
    if (!(s->cache = map_new())) return rw_nomem(err, "the word cache");
  }
  size_t n = out->len - from;
  if (!mem_grow((void **)&s->cached, &s->cap_cached, s->n_cached + n + 1, sizeof *s->cached) ||
      !map_put(s->cache, w.p, w.len, (int64_t)s->n_cached, NULL))
    return rw_nomem(err, "the word cache");
  s->cached[s->n_cached++] = (int32_t)n;
  memcpy(s->cached + s->n_cached, out->p + from, n * sizeof *out->p);
  s->n_cached += n;
  return RW_OK;
}

rw_status bpe_word(const tokenizer *t, tok_scratch *s, slice w, ids *out, rw_error *err) {
  if (w.len == 0) return RW_OK;
  if (w.len > INT32_MAX) return rw_fail(err, RW_DATA, "expected a text below 2 GB, got %zu bytes", w.len);
  bool cacheable = w.len <= CACHE_WORD_BYTES;
  int64_t *hit = cacheable ? map_get(s->cache, w.p, w.len) : NULL;
  if (hit) {
    const int32_t *c = s->cached + *hit;
    for (int32_t i = 0; i < c[0]; i++) RW_TRY(put_id(out, c[1 + i], err));
    return RW_OK;
  }
  size_t from = out->len, n;
  int64_t *whole = t->ignore_merges ? map_get(t->vocab, w.p, w.len) : NULL;
  if (whole) {
    RW_TRY(put_id(out, (int32_t)*whole, err));
  } else {
    RW_TRY(first_symbols(t, s, w, &n, err));
    if (n == 0) return RW_OK;
    if (n <= SCAN_LIMIT)
      merge_by_scan(t, s);
    else
      RW_TRY(merge_by_heap(t, s, n, err));
    for (int32_t i = 0; i >= 0; i = s->symbols[i].next) RW_TRY(put_symbol(t, s->symbols[i].id, out, from, err));
  }
  return cacheable ? remember(s, w, out, from, err) : RW_OK;
}
