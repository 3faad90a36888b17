/* tok_split.c - normalizers, pre-tokenizers and added tokens: from text to words. */
#define _GNU_SOURCE /* memmem */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/tok_impl.h"

/* ---- normalizers ---- */

static bool is_ascii(slice s) {
  for (size_t i = 0; i < s.len; i++)
    if ((unsigned char)s.p[i] >= 0x80) return false;
  return true;
}

static rw_status match_failed(int code, rw_error *err) {
  return rw_fail(err, RW_DATA, "the tokenizer's pattern gave up on this text (PCRE2 error %d)", code);
}

/* The next match of re in text from `at`; *found false at the end. */
static rw_status find_match(tok_scratch *s, const pcre2_code *re, slice text, size_t at, size_t *from, size_t *to,
                            bool *found, rw_error *err) {
  int r = pcre2_match(re, (PCRE2_SPTR)text.p, text.len, at, PCRE2_NO_UTF_CHECK, s->match, s->limits);
  *found = r > 0;
  if (r == PCRE2_ERROR_NOMATCH) return RW_OK;
  if (r < 0) return match_failed(r, err);
  size_t *o = pcre2_get_ovector_pointer(s->match);
  *from = o[0];
  *to = o[1];
  return RW_OK;
}

static rw_status replace(tok_scratch *s, const norm_step *n, slice in, str *out, rw_error *err) {
  size_t at = 0;
  while (at < in.len) {
    size_t from, to;
    bool found;
    if (n->kind == NORM_REPLACE) {
      const char *p = n->what.len ? memmem(in.p + at, in.len - at, n->what.p, n->what.len) : NULL;
      found = p != NULL;
      from = found ? (size_t)(p - in.p) : 0;
      to = from + n->what.len;
    } else {
      RW_TRY(find_match(s, n->re, in, at, &from, &to, &found, err));
    }
    if (!found || to == from) break;
    str_add(out, in.p + at, from - at);
    str_add(out, n->with.p, n->with.len);
    at = to;
  }
  str_add(out, in.p + at, in.len - at);
  return RW_OK;
}

static rw_status unicode_form(const norm_step *n, slice in, str *out, rw_error *err) {
  uint8_t *mapped = NULL;
  utf8proc_ssize_t len =
      utf8proc_map((const uint8_t *)in.p, (utf8proc_ssize_t)in.len, &mapped, (utf8proc_option_t)n->form);
  if (len < 0) return rw_fail(err, RW_DATA, "cannot normalize the text: %s", utf8proc_errmsg(len));
  str_add(out, (const char *)mapped, (size_t)len);
  free(mapped);
  return RW_OK;
}

static rw_status lower(slice in, str *out) {
  for (size_t i = 0; i < in.len;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)in.p + i, (utf8proc_ssize_t)(in.len - i), &c);
    if (n <= 0) break;
    if (c == 0x130) /* the one character whose lower case is two */
      str_add(out, "i\xCC\x87", 3);
    else
      str_utf8(out, (uint32_t)utf8proc_tolower(c));
    i += (size_t)n;
  }
  return RW_OK;
}

static slice strip(slice s, bool left, bool right) {
  static const char space[] = " \t\n\v\f\r";
  while (left && s.len && strchr(space, s.p[0]) && s.p[0]) s.p++, s.len--;
  while (right && s.len && strchr(space, s.p[s.len - 1]) && s.p[s.len - 1]) s.len--;
  return s;
}

static bool starts_with(slice s, slice with) { return s.len >= with.len && memcmp(s.p, with.p, with.len) == 0; }

rw_status tok_normalize(const tokenizer *t, tok_scratch *s, slice text, bool first, str *out, rw_error *err) {
  str_clear(out);
  str_add(out, text.p, text.len);
  for (size_t i = 0; i < t->n_norms; i++) {
    const norm_step *n = &t->norms[i];
    slice in = {out->p, out->len};
    if (n->kind == NORM_FORM && is_ascii(in)) continue;
    if (n->kind == NORM_PREPEND && (in.len == 0 || (n->first_only && (!first || starts_with(in, n->with)))))
      continue;
    str_clear(&s->other);
    str_reserve(&s->other, 0);
    if (n->kind == NORM_REPLACE || n->kind == NORM_REPLACE_REGEX) RW_TRY(replace(s, n, in, &s->other, err));
    if (n->kind == NORM_FORM) RW_TRY(unicode_form(n, in, &s->other, err));
    if (n->kind == NORM_LOWER) RW_TRY(lower(in, &s->other));
    if (n->kind == NORM_PREPEND) {
      str_add(&s->other, n->with.p, n->with.len);
      str_add(&s->other, in.p, in.len);
    }
    if (n->kind == NORM_STRIP) {
      slice kept = strip(in, n->left, n->right);
      str_add(&s->other, kept.p, kept.len);
    }
    str swap = *out;
    *out = s->other;
    s->other = swap;
  }
  return out->oom || s->other.oom ? rw_nomem(err, "normalized text") : RW_OK;
}

/* ---- pre-tokenizers ---- */

static rw_status push_word(tok_scratch *s, slice w, rw_error *err) {
  if (w.len == 0) return RW_OK;
  return vec_push(s->next, s->n_next, s->cap_next, w) ? RW_OK : rw_nomem(err, "words");
}

/* Pieces of one word: those that match and those between, joined as `keep` says. */
static rw_status split_word(tok_scratch *s, const pre_step *p, slice w, rw_error *err) {
  size_t at = 0, pending = 0; /* pending: begin of a piece that waits for its neighbour */
  bool have_pending = false, last_match = false;
  while (at < w.len) {
    size_t from = w.len, to = w.len, search = at;
    bool found = true;
    do RW_TRY(find_match(s, p->re, w, search, &from, &to, &found, err));
    while (found && from == to && (search = to + 1) < w.len); /* empty matches cut nothing here */
    if (!found || from == to) from = to = w.len;
    for (int part = 0; part < 2; part++) {
      size_t a = part ? from : at, b = part ? to : from;
      if (a == b) continue;
      bool match = (part == 1) != p->invert;
      slice piece = {w.p + a, b - a};
      if (p->keep == KEEP_ISOLATED) {
        RW_TRY(push_word(s, piece, err));
      } else if (p->keep == KEEP_REMOVED) {
        if (!match) RW_TRY(push_word(s, piece, err));
      } else if (p->keep == KEEP_WITH_PREVIOUS) { /* a match ends the piece before it; a second one stands alone */
        if (match && have_pending && !last_match) {
          RW_TRY(push_word(s, (slice){w.p + pending, b - pending}, err));
          have_pending = false;
        } else if (match) {
          RW_TRY(push_word(s, piece, err));
        } else {
          pending = a;
          have_pending = true;
        }
      } else if (p->keep == KEEP_WITH_NEXT) {
        if (match) {
          if (have_pending) RW_TRY(push_word(s, (slice){w.p + pending, a - pending}, err));
          pending = a;
          have_pending = true;
        } else {
          RW_TRY(push_word(s, (slice){w.p + (have_pending ? pending : a), b - (have_pending ? pending : a)}, err));
          have_pending = false;
        }
      } else { /* contiguous matches are one piece */
        if (have_pending && match != last_match) {
          RW_TRY(push_word(s, (slice){w.p + pending, a - pending}, err));
          have_pending = false;
        }
        if (!have_pending) pending = a;
        have_pending = true;
      }
      last_match = match;
    }
    at = to;
  }
  return have_pending ? push_word(s, (slice){w.p + pending, w.len - pending}, err) : RW_OK;
}

static rw_status run_split(tok_scratch *s, const pre_step *p, rw_error *err) {
  s->n_next = 0;
  for (size_t i = 0; i < s->n_words; i++) RW_TRY(split_word(s, p, s->words[i], err));
  slice *words = s->words;
  size_t cap = s->cap_words;
  s->words = s->next;
  s->n_words = s->n_next;
  s->cap_words = s->cap_next;
  s->next = words;
  s->cap_next = cap;
  return RW_OK;
}

/* Metaspace and ByteLevel's prefix space rewrite the text: they must come first. */
static void rewrite(const pre_step *p, tok_scratch *s, slice text, bool first, slice *out) {
  static const char mark[] = "\xE2\x96\x81"; /* ▁ */
  bool prefix = p->prefix_space && (first || !p->first_only);
  str_clear(&s->other);
  str_reserve(&s->other, 0);
  if (p->kind == PRE_BYTES) {
    if (prefix && text.len && text.p[0] != ' ') str_addc(&s->other, ' ');
    str_add(&s->other, text.p, text.len);
  } else {
    bool has = text.len && (text.p[0] == ' ' || (text.len >= 3 && memcmp(text.p, mark, 3) == 0));
    if (prefix && !has) str_add(&s->other, mark, 3);
    for (size_t i = 0; i < text.len; i++) {
      if (text.p[i] == ' ')
        str_add(&s->other, mark, 3);
      else
        str_addc(&s->other, text.p[i]);
    }
  }
  *out = (slice){s->other.p, s->other.len};
}

rw_status tok_words(const tokenizer *t, tok_scratch *s, slice text, bool first, rw_error *err) {
  s->n_words = s->n_next = 0;
  if (text.len == 0) return RW_OK;
  for (size_t i = 0; i < t->n_pres; i++)
    if (t->pres[i].kind != PRE_SPLIT && (t->pres[i].prefix_space || t->pres[i].kind == PRE_METASPACE))
      rewrite(&t->pres[i], s, text, first, &text);
  if (s->other.oom) return rw_nomem(err, "words");
  if (!vec_push(s->words, s->n_words, s->cap_words, text)) return rw_nomem(err, "words");
  for (size_t i = 0; i < t->n_pres; i++)
    if (t->pres[i].re) RW_TRY(run_split(s, &t->pres[i], err));
  return RW_OK;
}

/* ---- added tokens ---- */

bool trie_add(trie *tr, slice text, int32_t token) {
  int32_t *link = &tr->root[(unsigned char)text.p[0]];
  for (size_t i = 0; i < text.len; i++) {
    uint8_t c = (uint8_t)text.p[i];
    int32_t at = *link;
    while (at >= 0 && tr->n[at].byte != c) at = tr->n[at].sibling;
    if (at < 0) {
      trie_node fresh = {-1, *link, -1, c};
      size_t place = link >= tr->root && link < tr->root + 256 ? SIZE_MAX : (size_t)((char *)link - (char *)tr->n);
      at = (int32_t)tr->len;
      if (!vec_push(tr->n, tr->len, tr->cap, fresh)) return false;
      if (place != SIZE_MAX) link = (int32_t *)((char *)tr->n + place); /* the array may have moved */
      *link = at;
    }
    if (i + 1 == text.len) tr->n[at].token = token;
    link = &tr->n[at].child;
  }
  return true;
}

int32_t trie_match(const trie *tr, const char *p, size_t left,
                   bool (*allowed)(void *ctx, int32_t token, size_t len), void *ctx, size_t *len) {
  int32_t best = -1, at = left ? tr->root[(unsigned char)p[0]] : -1;
  for (size_t i = 0; at >= 0; i++) {
    if (tr->n[at].token >= 0 && allowed(ctx, tr->n[at].token, i + 1)) {
      best = tr->n[at].token;
      *len = i + 1;
    }
    if (i + 1 >= left) break;
    at = tr->n[at].child;
    while (at >= 0 && tr->n[at].byte != (uint8_t)p[i + 1]) at = tr->n[at].sibling;
  }
  return best;
}
