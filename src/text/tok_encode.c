/* tok_encode.c - a text to ids: added tokens are cut out, the rest is normalized, split and merged. */
#include <string.h>
#include <utf8proc.h>

#include "text/tok_impl.h"

/* A pattern that backtracks without end on hostile text must stop. */
enum { MATCH_LIMIT = 50000000 };

tok_scratch *tok_scratch_new(const tokenizer *t) {
  tok_scratch *s = mem_zalloc(1, sizeof *s);
  if (!s) return NULL;
  s->t = t;
  s->match = pcre2_match_data_create(64, NULL);
  s->limits = pcre2_match_context_create(NULL);
  s->cache = map_new();
  if (s->match && s->limits && s->cache) {
    pcre2_set_match_limit(s->limits, MATCH_LIMIT);
    return s;
  }
  tok_scratch_free(s);
  return NULL;
}

void tok_scratch_free(tok_scratch *s) {
  if (!s) return;
  pcre2_match_data_free(s->match);
  pcre2_match_context_free(s->limits);
  str_free(&s->normal);
  str_free(&s->other);
  map_free(s->cache);
  void *p[] = {s->words, s->next, s->cached, s->symbols, s->heap};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  mem_free(s);
}

/* What a match at `at` must look at. */
typedef struct {
  const tokenizer *t;
  slice text;
  size_t at, from; /* from: end of the match before */
  const tok_span *spans;
  size_t n_spans, span; /* span: the one that holds `at` */
  bool blocked;         /* a control token stood in content */
} finder;

static bool in_content(const finder *f, size_t from, size_t to) {
  for (size_t i = f->span; i < f->n_spans && f->spans[i].start < to; i++)
    if (f->spans[i].content && f->spans[i].end > from) return true;
  return false;
}

/* The character before or from `at`, and its length; -1: none. */
static int32_t rune_at(const finder *f, size_t at, bool before, size_t *len) {
  utf8proc_int32_t c;
  size_t i = at;
  if (before ? at == 0 : at >= f->text.len) return -1;
  if (before) do
      i--;
    while (i > 0 && ((unsigned char)f->text.p[i] & 0xC0) == 0x80);
  utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)f->text.p + i, (utf8proc_ssize_t)(f->text.len - i), &c);
  *len = n > 0 ? (size_t)n : 0;
  return n > 0 ? c : -1;
}

/* \w and \s of the regex crate, by which the tokenizers library cuts. */
static bool word_at(const finder *f, size_t at, bool before) {
  size_t len;
  int32_t c = rune_at(f, at, before, &len);
  if (c < 0) return false;
  utf8proc_category_t k = utf8proc_category(c);
  return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_NL) || k == UTF8PROC_CATEGORY_PC || c == 0x200C ||
         c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
         (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

static size_t space_at(const finder *f, size_t at, bool before) {
  size_t len = 0;
  int32_t c = rune_at(f, at, before, &len);
  bool space = c == ' ' || (c >= '\t' && c <= '\r') || c == 0x85 || c == 0xA0 || c == 0x1680 ||
               (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
               c == 0x3000;
  return space ? len : 0;
}

static bool allowed(void *ctx, int32_t token, size_t len) {
  finder *f = ctx;
  const added_token *a = &f->t->added[token];
  if (!a->special || !in_content(f, f->at, f->at + len)) return true;
  f->blocked = true;
  return false;
}

/* The next added token of the trie from *at on: its index, or -1. [*from, *to) is what it takes. */
static int32_t next_token(finder *f, const trie *tr, size_t *from, size_t *to, size_t *escaped) {
  for (; f->at < f->text.len; f->at++) {
    if (tr->root[(unsigned char)f->text.p[f->at]] < 0) continue;
    while (f->span < f->n_spans && f->spans[f->span].end <= f->at) f->span++;
    size_t len = 0;
    f->blocked = false;
    int32_t k = trie_match(tr, f->text.p + f->at, f->text.len - f->at, allowed, f, &len);
    if (k < 0) {
      if (f->blocked && escaped) ++*escaped;
      continue;
    }
    const added_token *a = &f->t->added[k];
    *from = f->at;
    *to = f->at + len;
    f->at = *to; /* a token that stands in the white space taken behind one counts too */
    if (a->single_word && (word_at(f, *from, true) || word_at(f, *to, false))) {
      f->at--;
      continue;
    }
    for (size_t n; a->lstrip && (n = space_at(f, *from, true));) *from -= n;
    for (size_t n; a->rstrip && (n = space_at(f, *to, false));) *to += n;
    if (*from < f->from) *from = f->from;
    f->from = *to;
    return k;
  }
  *from = *to = f->text.len;
  return -1;
}

static rw_status encode_words(const tokenizer *t, tok_scratch *s, slice text, bool first, ids *out, rw_error *err) {
  RW_TRY(tok_words(t, s, text, first, err));
  for (size_t i = 0; i < s->n_words; i++) RW_TRY(bpe_word(t, s, s->words[i], out, err));
  return RW_OK;
}

/* A stretch between raw added tokens. */
static rw_status encode_stretch(const tokenizer *t, tok_scratch *s, slice text, bool first, ids *out,
                                rw_error *err) {
  if (text.len == 0) return RW_OK;
  slice n = text;
  if (t->n_norms > 0) {
    RW_TRY(tok_normalize(t, s, text, first, &s->normal, err));
    n = (slice){s->normal.p, s->normal.len};
  }
  if (t->normalized.len == 0) return encode_words(t, s, n, first, out, err);
  finder f = {.t = t, .text = n};
  size_t done = 0, from, to;
  for (;;) {
    int32_t k = next_token(&f, &t->normalized, &from, &to, NULL);
    RW_TRY(encode_words(t, s, (slice){n.p + done, from - done}, first && done == 0, out, err));
    if (k < 0) return RW_OK;
    if (!vec_push(out->p, out->len, out->cap, t->added[k].id)) return rw_nomem(err, "token ids");
    done = to;
  }
}

rw_status tok_encode(const tokenizer *t, tok_scratch *s, slice text, const tok_span *spans, size_t n_spans,
                     ids *out, size_t *escaped, rw_error *err) {
  finder f = {.t = t, .text = text, .spans = spans, .n_spans = n_spans};
  size_t done = 0, from, to;
  for (;;) {
    int32_t k = next_token(&f, &t->raw, &from, &to, escaped);
    RW_TRY(encode_stretch(t, s, (slice){text.p + done, from - done}, done == 0, out, err));
    if (k < 0) return RW_OK;
    if (!vec_push(out->p, out->len, out->cap, t->added[k].id)) return rw_nomem(err, "token ids");
    done = to;
  }
}
