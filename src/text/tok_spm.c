/* tok_spm.c - tokenizer.model, a SentencePiece model (a protobuf ModelProto), into a tokenizer.
 *
 * BPE models whose normalizer changes nothing but white space: Llama 2, Mistral, InternLM2, Gemma. SentencePiece
 * merges the two neighbours whose join has the best score, the leftmost among equals: a merge's rank is its piece's
 * score, and pieces of equal scores share a rank. Field numbers and defaults are those of
 * sentencepiece_model.proto.
 *
 * Pieces of type user-defined are cut out of the normalized text first. The tokens that the JSON files beside it
 * add are cut out of the raw text, as transformers does; the dummy prefix then stands before each stretch between
 * them, or, with "legacy": false, before the first alone.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/file.h"
#include "text/tok_impl.h"

enum { MAX_FILE = 32 << 20, MAX_PIECE = 1024 }; /* every cut of every piece is looked up */
enum { NORMAL = 1, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE };
#define MARK "\xE2\x96\x81"

/* ---- protobuf ---- */

typedef struct {
  const uint8_t *p, *end;
  bool damaged;
} cursor;
typedef struct {
  uint32_t number;
  uint64_t value; /* varint or fixed */
  slice bytes;    /* p NULL: the field is a number */
} field;

static uint64_t varint(cursor *c) {
  uint64_t v = 0;
  for (int shift = 0; shift < 64 && c->p < c->end; shift += 7) {
    uint8_t b = *c->p++;
    v |= (uint64_t)(b & 0x7F) << shift;
    if (b < 0x80) return v;
  }
  c->damaged = true;
  return 0;
}

/* The next field; false at the end and where the bytes are none. */
static bool next_field(cursor *c, field *f) {
  if (c->damaged || c->p == c->end) return false;
  uint64_t key = varint(c);
  uint32_t wire = key & 7;
  *f = (field){.number = key >> 3 <= UINT32_MAX ? (uint32_t)(key >> 3) : 0};
  if (wire == 0) {
    f->value = varint(c);
  } else if (wire == 2 || wire == 1 || wire == 5) {
    uint64_t n = wire == 2 ? varint(c) : wire == 1 ? 8 : 4;
    if (n > (uint64_t)(c->end - c->p)) c->damaged = true;
    if (c->damaged) return false;
    if (wire == 2)
      f->bytes = (slice){(const char *)c->p, (size_t)n};
    else
      memcpy(&f->value, c->p, (size_t)n);
    c->p += n;
  } else {
    c->damaged = true;
  }
  if (f->number == 0) c->damaged = true;
  return !c->damaged;
}
static cursor within(slice s) { return (cursor){(const uint8_t *)s.p, (const uint8_t *)s.p + s.len, false}; }

/* ---- the model ---- */

typedef struct {
  slice text;
  float score;
  uint32_t type;
} piece;
typedef struct {
  tokenizer *t;
  const char *path;
  rw_error *err;
  piece *p;
  size_t n, cap;
  map *ids;       /* every piece → id */
  uint32_t *rank; /* by score */
  int64_t bos, eos;
  bool prefix, first_only; /* the dummy prefix: put; only to the beginning of the text */
  unsigned named;          /* bits of add_named's names: a file says which token it is */
} reader;

static rw_status damaged(const reader *r, const char *where) {
  return rw_fail(r->err, RW_DATA, "%s: %s: expected a SentencePiece model, got bytes that are none; fetch it again",
                 r->path, where);
}
static rw_status unsupported(const reader *r, const char *what) {
  return rw_fail(r->err, RW_UNSUPPORTED,
                 "%s: %s is not supported; save the tokenizer as tokenizer.json with transformers", r->path, what);
}

static bool is_utf8(slice s) {
  for (size_t i = 0; i < s.len;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)s.p + i, (utf8proc_ssize_t)(s.len - i), &c);
    if (n <= 0) return false;
    i += (size_t)n;
  }
  return true;
}

static rw_status read_piece(reader *r, slice message) {
  cursor c = within(message);
  piece p = {.type = NORMAL};
  for (field f; next_field(&c, &f);) {
    uint32_t bits = (uint32_t)f.value;
    if (f.number == 1 && f.bytes.p) p.text = f.bytes;
    if (f.number == 2) memcpy(&p.score, &bits, sizeof bits);
    if (f.number == 3) p.type = bits;
  }
  size_t id = r->n;
  if (c.damaged || p.type < NORMAL || p.type > BYTE) return damaged(r, "pieces");
  bool was_new = true;
  if (!p.text.len || p.text.len > MAX_PIECE || !is_utf8(p.text) || !isfinite(p.score))
    return rw_fail(r->err, RW_DATA, "%s: piece %zu: expected 1 to %d bytes of UTF-8 with a finite score, got %zu",
                   r->path, id, MAX_PIECE, p.text.len);
  if (!map_put(r->ids, p.text.p, p.text.len, (int64_t)id, &was_new)) return rw_nomem(r->err, r->path);
  if (!was_new)
    return rw_fail(r->err, RW_DATA, "%s: piece %zu: \"%.*s\" stands in it twice", r->path, id, (int)p.text.len,
                   p.text.p);
  if (p.type == UNUSED) return unsupported(r, "a piece of type UNUSED");
  if (!vec_push(r->p, r->n, r->cap, p)) return rw_nomem(r->err, r->path);
  if (p.type == NORMAL && !map_put(r->t->vocab, p.text.p, p.text.len, (int64_t)id, NULL))
    return rw_nomem(r->err, r->path);
  if (p.type == BYTE) tok_set_byte(r->t, p.text, (int32_t)id);
  return tok_set_token(r->t, r->path, (int64_t)id, p.text, p.type == CONTROL || p.type == UNKNOWN, r->err);
}

static rw_status read_trainer(reader *r, slice message) {
  static const char *const types[] = {"", "UNIGRAM", "BPE", "WORD", "CHAR"};
  cursor c = within(message);
  uint64_t type = 1;
  bool suffix = false;
  for (field f; next_field(&c, &f);) {
    if (f.number == 3) type = f.value;
    if (f.number == 24) suffix = f.value != 0;
    if (f.number == 35) r->t->byte_fallback = f.value != 0;
    if (f.number == 41) r->bos = (int64_t)f.value;
    if (f.number == 42) r->eos = (int64_t)f.value;
  }
  if (c.damaged) return damaged(r, "trainer_spec");
  if (suffix) return unsupported(r, "trainer_spec.treat_whitespace_as_suffix");
  if (type != 2)
    return rw_fail(r->err, RW_UNSUPPORTED,
                   "%s: trainer_spec.model_type: expected BPE, got %s; save the tokenizer as tokenizer.json with "
                   "transformers",
                   r->path, type < 5 ? types[type] : "another");
  return RW_OK;
}

static rw_status read_normalizer(reader *r, slice message) {
  cursor c = within(message);
  bool extra = true, escape = true, charsmap = false;
  for (field f; next_field(&c, &f);) {
    if (f.number == 2) charsmap = f.bytes.len > 0;
    if (f.number == 3) r->prefix = f.value != 0;
    if (f.number == 4) extra = f.value != 0;
    if (f.number == 5) escape = f.value != 0;
  }
  if (c.damaged) return damaged(r, "normalizer_spec");
  if (charsmap) return unsupported(r, "normalizer_spec.precompiled_charsmap (a normalizer that is not identity)");
  if (extra) return unsupported(r, "normalizer_spec.remove_extra_whitespaces");
  return escape ? RW_OK : unsupported(r, "normalizer_spec.escape_whitespaces false");
}

static rw_status read_model(reader *r, slice file) {
  cursor c = within(file);
  slice trainer = SLICE(""), normalizer = SLICE("");
  for (field f; next_field(&c, &f);) {
    if (f.number == 1) RW_TRY(f.bytes.p ? read_piece(r, f.bytes) : damaged(r, "pieces"));
    if (f.number == 2 && f.bytes.p) trainer = f.bytes;
    if (f.number == 3 && f.bytes.p) normalizer = f.bytes;
  }
  if (c.damaged || r->n == 0) return damaged(r, "file");
  RW_TRY(read_trainer(r, trainer));
  RW_TRY(read_normalizer(r, normalizer));
  for (size_t i = 0; i < r->n && r->t->unk < 0; i++)
    if (r->p[i].type == UNKNOWN) r->t->unk = (int32_t)i;
  if (r->t->unk < 0) return damaged(r, "the unknown piece");
  for (int b = 0; r->t->byte_fallback && b < 256; b++)
    if (r->t->byte_id[b] < 0)
      return rw_fail(r->err, RW_DATA, "%s: byte_fallback: expected a piece <0x%02X>, found none", r->path,
                     (unsigned)b);
  r->t->fuse_unk = true;
  return RW_OK;
}

bool tok_is_sentencepiece(slice file) {
  cursor c = within(file);
  bool pieces = false;
  for (field f; next_field(&c, &f);) pieces |= f.number == 1 && f.bytes.p;
  return pieces && !c.damaged;
}

/* ---- merges ---- */

static int by_score(const void *x, const void *y) {
  float a = ((const piece *)x)->score, b = ((const piece *)y)->score;
  return a > b ? -1 : a < b;
}

/* Equal scores, equal ranks. */
static rw_status rank_pieces(reader *r) {
  piece *sorted = mem_alloc(r->n, sizeof *sorted);
  r->rank = mem_zalloc(r->n, sizeof *r->rank);
  if (!sorted || !r->rank) {
    mem_free(sorted);
    return rw_nomem(r->err, r->path);
  }
  memcpy(sorted, r->p, r->n * sizeof *sorted);
  qsort(sorted, r->n, sizeof *sorted, by_score);
  uint32_t rank = 0;
  for (size_t i = 0; i < r->n; i++) {
    if (i == 0 || sorted[i].score != sorted[i - 1].score) rank = (uint32_t)i;
    r->rank[*map_get(r->ids, sorted[i].text.p, sorted[i].text.len)] = rank;
  }
  mem_free(sorted);
  return RW_OK;
}

static bool one_character(slice s) {
  size_t n = 0;
  for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.p[i] & 0xC0) != 0x80;
  return n == 1;
}

/* The symbol that a part of a piece can be: a normal piece, or a character; -1: none. */
static rw_status part(reader *r, slice s, int32_t *id) {
  tokenizer *t = r->t;
  const int64_t *known = map_get(t->vocab, s.p, s.len);
  *id = known ? (int32_t)*known : -1;
  if (known || !one_character(s)) return RW_OK;
  if (!t->loose && !(t->loose = map_new())) return rw_nomem(r->err, r->path);
  bool was_new = false;
  int64_t *at = map_put(t->loose, s.p, s.len, TOK_MAX_ID + (int64_t)t->n_loose, &was_new);
  if (!at || (was_new && !vec_push(t->loose_text, t->n_loose, t->cap_loose, tok_keep(t, s))))
    return rw_nomem(r->err, r->path);
  *id = (int32_t)*at;
  return RW_OK;
}

typedef struct {
  int32_t left, right, whole;
} cut;

static rw_status make_merges(reader *r) {
  cut *cuts = NULL;
  size_t n = 0, cap = 0;
  rw_status s = rank_pieces(r);
  for (size_t i = 0; !s && i < r->n; i++) {
    slice text = r->p[i].text;
    for (size_t k = 1; !s && r->p[i].type == NORMAL && k < text.len; k++) {
      cut c = {.whole = (int32_t)i};
      if (((unsigned char)text.p[k] & 0xC0) == 0x80) continue;
      s = part(r, (slice){text.p, k}, &c.left);
      if (!s) s = part(r, (slice){text.p + k, text.len - k}, &c.right);
      if (!s && c.left >= 0 && c.right >= 0 && !vec_push(cuts, n, cap, c)) s = rw_nomem(r->err, r->path);
    }
  }
  if (!s) s = tok_merge_room(r->t, n, r->err);
  for (size_t i = 0; !s && i < n; i++)
    tok_put_merge(r->t, cuts[i].left, cuts[i].right, r->rank[cuts[i].whole], cuts[i].whole);
  mem_free(cuts);
  return s;
}

/* ---- added tokens ---- */

/* A token of the JSON files: a string, or an object with its content and flags. id < 0: the piece's, or a new one.
 */
static rw_status add(reader *r, json_doc *d, json_val v, slice content, int64_t id, bool special) {
  tokenizer *t = r->t;
  const int64_t *known = content.p ? map_get(r->ids, content.p, content.len) : NULL;
  if (!content.p || !content.len) return RW_OK;
  if (id < 0) id = known ? *known : (int64_t)t->n_tokens;
  for (size_t i = 0; i < t->n_added; i++)
    if (slice_eq(t->added[i].text, content)) { /* named again as what it is for */
      t->added[i].special |= special;
      t->tokens[t->added[i].id].special |= special;
      return RW_OK;
    }
  added_token a = {.text = content, .id = (int32_t)id, .special = special};
  static const char *const names[] = {"special", "lstrip", "rstrip", "single_word"};
  bool *const flags[] = {&a.special, &a.lstrip, &a.rstrip, &a.single_word};
  for (int i = 0; i < 4; i++) *flags[i] |= json_kind(d, json_get(d, v, names[i])) == JSON_TRUE;
  RW_TRY(tok_set_token(t, r->path, id, content, a.special, r->err));
  t->tokens[id].spelling = tok_keep(t, content); /* a piece that only kept the place has another name */
  if (!t->tokens[id].spelling.p) return rw_nomem(r->err, r->path);
  return tok_add(t, a, r->err);
}

static slice content_of(json_doc *d, json_val v) {
  return json_string(d, json_kind(d, v) == JSON_OBJECT ? json_get(d, v, "content") : v);
}

/* {"ID": {"content": …}, …} of tokenizer_config.json */
static rw_status add_decoder(reader *r, json_doc *d, json_val list) {
  for (json_val e = json_first(d, list); e != JSON_NONE; e = json_next(d, e)) {
    slice key = json_key(d, e);
    int64_t id = 0;
    for (size_t i = 0; i < key.len && id >= 0 && id < TOK_MAX_ID; i++)
      id = key.p[i] >= '0' && key.p[i] <= '9' ? id * 10 + (key.p[i] - '0') : -1;
    if (id < 0 || id >= TOK_MAX_ID || !key.len || !content_of(d, e).p)
      return rw_fail(
          r->err, RW_DATA,
          "%s: the tokenizer_config.json beside it: added_tokens_decoder: expected ids and contents, got "
          "\"%.*s\"",
          r->path, (int)(key.len < 40 ? key.len : 40), key.p);
    RW_TRY(add(r, d, e, content_of(d, e), id, false));
  }
  return RW_OK;
}

/* {"CONTENT": ID, …}: added_tokens.json */
static rw_status add_list(reader *r, json_doc *d) {
  for (json_val e = json_first(d, 0); e != JSON_NONE; e = json_next(d, e)) {
    int64_t id;
    if (!json_int(d, e, &id) || id < 0)
      return rw_fail(r->err, RW_DATA, "%s: the added_tokens.json beside it: expected ids from 0 up", r->path);
    RW_TRY(add(r, d, JSON_NONE, json_key(d, e), id, false));
  }
  return RW_OK;
}

/* The named tokens, in transformers' order. */
static rw_status add_named(reader *r, json_doc *d) {
  static const char *const names[] = {"bos_token", "eos_token", "unk_token", "pad_token"};
  static const char *const lists[] = {"additional_special_tokens", "extra_special_tokens"};
  for (unsigned i = 0; i < 4; i++) {
    json_val v = json_get(d, 0, names[i]);
    if (v != JSON_NONE) r->named |= 1u << i;
    RW_TRY(add(r, d, v, content_of(d, v), -1, true));
  }
  for (int i = 0; i < 2; i++) {
    json_val list = json_get(d, 0, lists[i]);
    for (json_val e = json_first(d, list); e != JSON_NONE; e = json_next(d, e))
      RW_TRY(add(r, d, e, content_of(d, e), -1, true));
  }
  return RW_OK;
}

/* How the dummy prefix is put: transformers' own with "legacy": false, else the model's. */
static rw_status read_settings(reader *r, json_doc *d) {
  json_val legacy = json_get(d, 0, "legacy"), own = json_get(d, 0, "add_prefix_space");
  if (json_count(d, json_get(d, 0, "sp_model_kwargs")) > 0)
    return unsupported(r, "sp_model_kwargs (in tokenizer_config.json)");
  if (legacy != JSON_NONE && json_kind(d, legacy) == JSON_FALSE) {
    r->first_only = true;
    r->prefix = own == JSON_NONE || json_kind(d, own) != JSON_FALSE;
  }
  return add_decoder(r, d, json_get(d, 0, "added_tokens_decoder"));
}

static rw_status read_beside(reader *r, const char *name, rw_status (*read)(reader *r, json_doc *d)) {
  char *path = file_join(r->t->dir, name);
  if (!path) return rw_nomem(r->err, r->path);
  json_file f;
  bool there = file_exists(path);
  rw_status s = there ? json_file_open(&f, path, r->err) : RW_OK;
  if (!s && there) {
    s = read(r, f.doc);
    json_file_close(&f);
  }
  mem_free(path);
  return s;
}

/* What no file names is as the model has it. */
static rw_status add_own(reader *r, json_doc *d) {
  tokenizer *t = r->t;
  const int64_t own[] = {r->bos, r->eos, t->unk};
  int32_t *const where[] = {&t->bos, &t->eos, NULL};
  for (unsigned i = 0; i < 3; i++) {
    if (r->named & 1u << i || own[i] < 0 || (size_t)own[i] >= r->n || r->p[own[i]].type == NORMAL) continue;
    RW_TRY(add(r, d, JSON_NONE, r->p[own[i]].text, own[i], true));
    if (where[i]) *where[i] = (int32_t)own[i];
  }
  for (size_t i = 0; i < r->n; i++) /* a control token's place has no text of its own */
    if (r->p[i].type == USER_DEFINED && !t->tokens[i].special)
      RW_TRY(tok_add(t, (added_token){.text = r->p[i].text, .id = (int32_t)i, .normalized = true}, r->err));
  return RW_OK;
}

static rw_status read_added(reader *r) {
  RW_TRY(read_beside(r, "tokenizer_config.json", read_settings));
  RW_TRY(read_beside(r, "added_tokens.json", add_list));
  RW_TRY(read_beside(r, "special_tokens_map.json", add_named));
  RW_TRY(read_beside(r, "tokenizer_config.json", add_named));
  json_doc *none = json_new();
  rw_status s = none ? add_own(r, none) : rw_nomem(r->err, r->path);
  json_free(none);
  return s;
}

static rw_status make_norms(reader *r) {
  tokenizer *t = r->t;
  slice mark = tok_keep(t, SLICE(MARK)), space = tok_keep(t, SLICE(" "));
  norm_step prepend = {.kind = NORM_PREPEND, .with = mark, .first_only = r->first_only};
  norm_step spaces = {.kind = NORM_REPLACE, .what = space, .with = mark};
  bool ok = mark.p && space.p && vec_push(t->norms, t->n_norms, t->cap_norms, spaces) &&
            (!r->prefix || vec_push(t->norms, t->n_norms, t->cap_norms, prepend));
  return ok ? RW_OK : rw_nomem(r->err, r->path);
}

rw_status tok_read_spm(tokenizer *t, const char *path, rw_error *err) {
  str file = {0};
  reader r = {.t = t, .path = path, .err = err, .ids = map_new(), .bos = 1, .eos = 2, .prefix = true};
  rw_status s = r.ids ? file_read(path, MAX_FILE, &file, err) : rw_nomem(err, path);
  if (!s) s = read_model(&r, (slice){file.p ? file.p : "", file.len});
  if (!s) s = make_merges(&r);
  if (!s) s = read_added(&r);
  if (!s) s = make_norms(&r);
  str_free(&file);
  map_free(r.ids);
  mem_free(r.p);
  mem_free(r.rank);
  return s;
}
