/* tok_make.c - the parts of a tokenizer, added one by one by those who read its files: tok_load.c and tok_spm.c. */
#include <string.h>

#include "text/tok_impl.h"

slice tok_keep(const tokenizer *t, slice s) { return (slice){arena_strndup(t->mem, s.p ? s.p : "", s.len), s.len}; }

rw_status tok_set_token(tokenizer *t, const char *path, int64_t id, slice spelling, bool special, rw_error *err) {
  if (id < 0 || id >= TOK_MAX_ID)
    return rw_fail(err, RW_DATA, "%s: token \"%.*s\": expected an id from 0 to %d, got %lld", path,
                   (int)spelling.len, spelling.p, TOK_MAX_ID - 1, (long long)id);
  size_t old = t->n_tokens;
  if (!mem_grow((void **)&t->tokens, &t->cap_tokens, (size_t)id + 1, sizeof *t->tokens)) return rw_nomem(err, path);
  if ((size_t)id >= t->n_tokens) t->n_tokens = (size_t)id + 1;
  for (size_t i = old; i < t->n_tokens; i++) t->tokens[i] = (vocab_entry){0};
  vocab_entry *e = &t->tokens[id];
  if (!e->spelling.p) e->spelling = tok_keep(t, spelling);
  e->special |= special;
  return e->spelling.p ? RW_OK : rw_nomem(err, path);
}

void tok_set_byte(tokenizer *t, slice spelling, int32_t id) {
  static const char hex[16] = "0123456789ABCDEF"; /* as the tokenizers library spells a byte */
  if (spelling.len != 6 || memcmp(spelling.p, "<0x", 3) != 0 || spelling.p[5] != '>') return;
  const char *high = memchr(hex, spelling.p[3], 16), *low = memchr(hex, spelling.p[4], 16);
  if (high && low) t->byte_id[(high - hex) * 16 + (low - hex)] = id;
}

rw_status tok_merge_room(tokenizer *t, size_t n, rw_error *err) {
  for (t->merge_cap = 16; t->merge_cap < 2 * n; t->merge_cap *= 2) {
  }
  t->merges = mem_alloc(t->merge_cap, sizeof *t->merges);
  if (!t->merges) return rw_nomem(err, "merges");
  for (size_t i = 0; i < t->merge_cap; i++) t->merges[i].pair = UINT64_MAX;
  return RW_OK;
}

void tok_put_merge(tokenizer *t, int32_t left, int32_t right, uint32_t rank, int32_t id) {
  uint64_t pair = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
  size_t i = (size_t)(pair * 0x9e3779b97f4a7c15u >> 20) & (t->merge_cap - 1);
  while (t->merges[i].pair != UINT64_MAX && t->merges[i].pair != pair) i = (i + 1) & (t->merge_cap - 1);
  t->merges[i] = (merge){pair, rank, id}; /* where a pair comes twice the last counts, as in a Rust map */
}

rw_status tok_add(tokenizer *t, added_token a, rw_error *err) {
  a.text = tok_keep(t, a.text);
  bool ok = a.text.p && vec_push(t->added, t->n_added, t->cap_added, a) &&
            (!a.text.len || trie_add(a.normalized ? &t->normalized : &t->raw, a.text, (int32_t)t->n_added - 1));
  return ok ? RW_OK : rw_nomem(err, "added tokens");
}
