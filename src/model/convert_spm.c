/* convert_spm.c - the merges of a SentencePiece BPE model, which keeps pieces and their scores alone.
 *
 * Every cut of a piece into two other pieces is a merge; merges are ranked by the score of what they make, of equal
 * ones by the lengths of the left and the right part, longer first. This is the order of the tokenizer.json files
 * that are published for such models (Gemma 2's 580,604 merges come out in it).
 */
#include <stdlib.h>

#include "model/convert.h"

enum { PIECE_BYTES = 1024 }; /* a longer piece is no word: every cut of every piece is looked up */

typedef struct {
  double score;
  uint32_t left, right;         /* pieces */
  uint32_t left_len, right_len; /* characters */
  size_t at;                    /* in the order of pieces, then of their parts */
} spm_merge;

static uint32_t characters(slice s) {
  uint32_t n = 0;
  for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
  return n;
}

static int by_parts(const void *x, const void *y) {
  const spm_merge *a = x, *b = y;
  if (a->left != b->left) return a->left < b->left ? -1 : 1;
  return a->right < b->right ? -1 : a->right > b->right;
}
static int by_rank(const void *x, const void *y) {
  const spm_merge *a = x, *b = y;
  if (a->score != b->score) return a->score > b->score ? -1 : 1;
  if (a->left_len != b->left_len) return a->left_len > b->left_len ? -1 : 1;
  if (a->right_len != b->right_len) return a->right_len > b->right_len ? -1 : 1;
  return a->at < b->at ? -1 : a->at > b->at;
}

typedef struct {
  spm_merge *p;
  size_t len, cap;
} merges;

static rw_status cut_piece(const spm_piece *p, size_t i, const map *ids, merges *out, rw_error *err) {
  slice s = p[i].text;
  size_t from = out->len;
  uint32_t all = characters(s), before = 1;
  for (size_t k = 1; k < s.len; k++) {
    if (((unsigned char)s.p[k] & 0xC0) == 0x80) continue;
    const int64_t *left = map_get(ids, s.p, k), *right = map_get(ids, s.p + k, s.len - k);
    spm_merge m = {.score = p[i].score, .left_len = before, .right_len = all - before};
    before++;
    if (!left || !right) continue;
    m.left = (uint32_t)*left;
    m.right = (uint32_t)*right;
    if (!vec_push(out->p, out->len, out->cap, m)) return rw_nomem(err, "merges");
  }
  if (out->len - from > 1) qsort(out->p + from, out->len - from, sizeof *out->p, by_parts);
  for (size_t k = from; k < out->len; k++) out->p[k].at = k;
  return RW_OK;
}

rw_status spm_merges(const spm_piece *p, size_t n, json_writer *w, rw_error *err) {
  map *ids = map_new();
  merges m = {0};
  rw_status s = ids ? RW_OK : rw_nomem(err, "merges");
  for (size_t i = 0; !s && i < n; i++) {
    if (p[i].text.len > PIECE_BYTES)
      s = rw_fail(err, RW_UNSUPPORTED, "token %zu: expected at most %d bytes, got %zu", i, PIECE_BYTES,
                  p[i].text.len);
    else if (p[i].joins && !map_put(ids, p[i].text.p, p[i].text.len, (int64_t)i, NULL))
      s = rw_nomem(err, "merges");
  }
  for (size_t i = 0; !s && i < n; i++)
    if (p[i].joins) s = cut_piece(p, i, ids, &m, err);
  if (!s && m.len > 1) qsort(m.p, m.len, sizeof *m.p, by_rank);
  for (size_t i = 0; !s && i < m.len; i++) {
    slice a = p[m.p[i].left].text, b = p[m.p[i].right].text;
    jw_array(w, NULL);
    jw_slice(w, NULL, a);
    jw_slice(w, NULL, b);
    jw_end(w);
  }
  mem_free(m.p);
  map_free(ids);
  return s;
}
