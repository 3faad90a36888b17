/* tok_load.c - tokenizer.json and tokenizer_config.json into a tokenizer; what it does not know it refuses by name.
 * A folder with tokenizer.model alone is read by tok_spm.c.
 */
#include <string.h>
#include <utf8proc.h>

#include "base/file.h"
#include "text/tok_impl.h"

enum { ALPHABET = 256 + 68 }; /* where GPT-2's ends: 68 bytes have a character from 256 on */

typedef struct {
  tokenizer *t;
  json_doc *d;
  const char *path;
  rw_error *err;
  int16_t alphabet[ALPHABET];
} reader;

static rw_status bad(const reader *r, const char *field, const char *expected, json_val v) {
  slice raw = json_raw(r->d, v);
  return rw_fail(r->err, RW_DATA, "%s: %s: expected %s, got %.*s", r->path, field, expected,
                 raw.p ? (int)(raw.len < 80 ? raw.len : 80) : 7, raw.p ? raw.p : "nothing");
}
static rw_status refuse(const reader *r, const char *where, json_val v) {
  slice type = json_string(r->d, json_get(r->d, v, "type"));
  return rw_fail(r->err, RW_UNSUPPORTED, "%s: %s of type '%.*s' is not supported", r->path, where, (int)type.len,
                 type.p ? type.p : "");
}
static bool flag(const reader *r, json_val v, const char *field, bool def) {
  json_val f = json_get(r->d, v, field);
  return f == JSON_NONE || json_kind(r->d, f) == JSON_NULL ? def : json_kind(r->d, f) == JSON_TRUE;
}
static slice keep(const reader *r, slice s) { return tok_keep(r->t, s); }
static slice text_of(const reader *r, json_val v, const char *field) {
  return json_string(r->d, json_get(r->d, v, field));
}
static slice type_of(const reader *r, json_val v) {
  slice s = text_of(r, v, "type");
  return s.p ? s : SLICE("");
}

/* ---- patterns ---- */

/* White space as Oniguruma's \s has it; PCRE2's differs by one character (U+180E). */
#define SPACE "\\t-\\r \\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}\\x{205F}\\x{3000}"

static rw_status compile(const reader *r, slice pattern, bool literal, pcre2_code **out) {
  str s = {0};
  bool in_class = false;
  for (size_t i = 0; i < pattern.len; i++) {
    char c = pattern.p[i], n = i + 1 < pattern.len ? pattern.p[i + 1] : 0;
    if (literal) {
      if (strchr("\\^$.[]|()?*+{}-#", c) && c) str_addc(&s, '\\');
      str_addc(&s, c);
    } else if (c == '\\' && n == 's') {
      str_addz(&s, in_class ? SPACE : "[" SPACE "]");
      i++;
    } else if (c == '\\' && n == 'S' && !in_class) {
      str_addz(&s, "[^" SPACE "]");
      i++;
    } else if (c == '\\' && n) {
      str_add(&s, pattern.p + i, 2);
      i++;
    } else {
      if (c == '[') in_class = true;
      if (c == ']') in_class = false;
      str_addc(&s, c);
    }
  }
  int code;
  size_t at;
  *out = s.oom ? NULL : pcre2_compile((PCRE2_SPTR)(s.p ? s.p : ""), s.len, PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
  rw_status st = RW_OK;
  if (s.oom) {
    st = rw_nomem(r->err, r->path);
  } else if (!*out) {
    char why[120];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
    st = rw_fail(r->err, RW_UNSUPPORTED, "%s: pattern %.*s: %s", r->path, (int)pattern.len, pattern.p, why);
  } else {
    pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* without JIT it is slower, not wrong */
  }
  str_free(&s);
  return st;
}

/* {"String": …} or {"Regex": …} */
static rw_status get_pattern(const reader *r, json_val v, slice *text, bool *regex) {
  json_val p = json_get(r->d, v, "pattern");
  *text = text_of(r, p, "String");
  *regex = !text->p;
  if (*regex) *text = text_of(r, p, "Regex");
  return text->p ? RW_OK : bad(r, "pattern", "String or Regex", p);
}

/* ---- normalizers ---- */

static rw_status add_norm(const reader *r, norm_step n) {
  return vec_push(r->t->norms, r->t->n_norms, r->t->cap_norms, n) ? RW_OK : rw_nomem(r->err, r->path);
}

static rw_status read_norm(const reader *r, json_val v, int depth) {
  static const struct {
    const char *name;
    int options;
  } forms[] = {{"NFC", UTF8PROC_STABLE | UTF8PROC_COMPOSE},
               {"NFD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE},
               {"NFKC", UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT},
               {"NFKD", UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT}};
  if (v == JSON_NONE || json_kind(r->d, v) == JSON_NULL) return RW_OK;
  slice type = type_of(r, v);
  if (slice_is(type, "Sequence") && depth < 8) {
    json_val list = json_get(r->d, v, "normalizers");
    for (json_val e = json_first(r->d, list); e != JSON_NONE; e = json_next(r->d, e))
      RW_TRY(read_norm(r, e, depth + 1));
    return RW_OK;
  }
  for (size_t i = 0; i < 4; i++)
    if (slice_is(type, forms[i].name)) return add_norm(r, (norm_step){.kind = NORM_FORM, .form = forms[i].options});
  if (slice_is(type, "Lowercase")) return add_norm(r, (norm_step){.kind = NORM_LOWER});
  if (slice_is(type, "Prepend"))
    return add_norm(r, (norm_step){.kind = NORM_PREPEND, .with = keep(r, text_of(r, v, "prepend"))});
  if (slice_is(type, "Strip"))
    return add_norm(r, (norm_step){.kind = NORM_STRIP,
                                   .left = flag(r, v, "strip_left", true),
                                   .right = flag(r, v, "strip_right", true)});
  if (slice_is(type, "Replace")) {
    norm_step n = {.kind = NORM_REPLACE, .with = keep(r, text_of(r, v, "content"))};
    slice p;
    bool regex;
    RW_TRY(get_pattern(r, v, &p, &regex));
    n.what = keep(r, p);
    if (regex) {
      n.kind = NORM_REPLACE_REGEX;
      RW_TRY(compile(r, p, false, &n.re));
    }
    return add_norm(r, n);
  }
  return refuse(r, "normalizer", v);
}

/* ---- pre-tokenizers ---- */

static rw_status add_pre(const reader *r, pre_step p) {
  return vec_push(r->t->pres, r->t->n_pres, r->t->cap_pres, p) ? RW_OK : rw_nomem(r->err, r->path);
}

/* GPT-2's pattern, which ByteLevel's use_regex stands for. */
static const char GPT2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static rw_status read_metaspace(const reader *r, json_val v) {
  slice mark = text_of(r, v, "replacement"), scheme = text_of(r, v, "prepend_scheme");
  if (!slice_is(mark, "\xE2\x96\x81"))
    return bad(r, "Metaspace replacement", "▁", json_get(r->d, v, "replacement"));
  pre_step p = {.kind = PRE_METASPACE, .keep = KEEP_WITH_NEXT};
  p.prefix_space = scheme.p ? !slice_is(scheme, "never") : flag(r, v, "add_prefix_space", true);
  p.first_only = scheme.p && slice_is(scheme, "first");
  if (flag(r, v, "split", true)) RW_TRY(compile(r, mark, true, &p.re));
  return add_pre(r, p);
}

static rw_status read_pre(const reader *r, json_val v, int depth) {
  if (v == JSON_NONE || json_kind(r->d, v) == JSON_NULL) return RW_OK;
  slice type = type_of(r, v);
  if (slice_is(type, "Sequence") && depth < 8) {
    json_val list = json_get(r->d, v, "pretokenizers");
    for (json_val e = json_first(r->d, list); e != JSON_NONE; e = json_next(r->d, e))
      RW_TRY(read_pre(r, e, depth + 1));
    return RW_OK;
  }
  if (slice_is(type, "ByteLevel")) {
    pre_step p = {.kind = PRE_BYTES, .keep = KEEP_ISOLATED, .prefix_space = flag(r, v, "add_prefix_space", true)};
    if (p.prefix_space && r->t->n_pres > 0)
      return rw_fail(r->err, RW_UNSUPPORTED,
                     "%s: ByteLevel with add_prefix_space after another pre-tokenizer is not supported", r->path);
    r->t->byte_level = true;
    if (flag(r, v, "use_regex", true)) RW_TRY(compile(r, slice_of(GPT2), false, &p.re));
    return add_pre(r, p);
  }
  if (slice_is(type, "Digits")) {
    pre_step p = {.kind = PRE_SPLIT, .keep = KEEP_ISOLATED};
    RW_TRY(compile(r, flag(r, v, "individual_digits", false) ? SLICE("\\p{N}") : SLICE("\\p{N}+"), false, &p.re));
    return add_pre(r, p);
  }
  if (slice_is(type, "Metaspace")) {
    if (r->t->n_pres > 0) return refuse(r, "second pre-tokenizer", v);
    return read_metaspace(r, v);
  }
  if (slice_is(type, "Split")) {
    static const char *const names[] = {"Isolated", "Removed", "MergedWithPrevious", "MergedWithNext",
                                        "Contiguous"};
    slice behavior = text_of(r, v, "behavior"), p;
    bool regex;
    int k = 0;
    while (k < 5 && !(behavior.p && slice_is(behavior, names[k]))) k++;
    if (k == 5)
      return bad(r, "pre_tokenizer behavior", "Isolated, Removed, MergedWith… or Contiguous",
                 json_get(r->d, v, "behavior"));
    pre_step s = {.kind = PRE_SPLIT, .keep = (split_keep)k, .invert = flag(r, v, "invert", false)};
    RW_TRY(get_pattern(r, v, &p, &regex));
    RW_TRY(compile(r, p, !regex, &s.re));
    return add_pre(r, s);
  }
  return refuse(r, "pre_tokenizer", v);
}

/* ---- vocabulary and merges ---- */

/* The bytes that the characters of GPT-2's printable alphabet stand for; -1: not one of them. */
static void make_alphabet(int16_t byte_of[ALPHABET]) {
  int other = 256; /* stands for the next byte that has no character of its own */
  memset(byte_of, 0xff, ALPHABET * sizeof *byte_of);
  for (int16_t b = 0; b < 256; b++) {
    bool own = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    byte_of[own ? b : other++] = b;
  }
}

/* The bytes that a vocabulary spelling stands for, into out (cleared first). */
static void spelled_bytes(const reader *r, slice s, str *out) {
  str_clear(out);
  bool alphabet = r->t->byte_level && str_reserve(out, s.len);
  for (size_t i = 0; alphabet && i < s.len;) { /* its characters have one or two bytes in UTF-8 */
    unsigned char c = (unsigned char)s.p[i++];
    size_t at = c < 0x80 ? c : c < 0xE0 && i < s.len ? (c & 0x1Fu) << 6 | (s.p[i++] & 0x3Fu) : ALPHABET;
    alphabet = at < ALPHABET && r->alphabet[at] >= 0;
    out->p[out->len++] = alphabet ? (char)r->alphabet[at] : 0;
  }
  if (alphabet) return;
  out->len = 0;
  str_add(out, s.p, s.len);
}

static rw_status set_token(const reader *r, int64_t id, slice spelling, bool special) {
  return tok_set_token(r->t, r->path, id, spelling, special, r->err);
}

static rw_status read_vocab(const reader *r, json_val v) {
  tokenizer *t = r->t;
  str bytes = {0};
  rw_status s = json_kind(r->d, v) == JSON_OBJECT ? RW_OK : bad(r, "model.vocab", "an object", v);
  if (!s && !map_room(t->vocab, json_count(r->d, v))) s = rw_nomem(r->err, r->path);
  for (json_val e = json_first(r->d, v); !s && e != JSON_NONE; e = json_next(r->d, e)) {
    slice spelling = json_key(r->d, e);
    int64_t id;
    if (!json_int(r->d, e, &id)) s = bad(r, "model.vocab", "whole numbers", e);
    if (!s) s = set_token(r, id, spelling, false);
    if (s) break;
    spelled_bytes(r, spelling, &bytes);
    if (bytes.oom || !map_put(t->vocab, bytes.p, bytes.len, id, NULL)) s = rw_nomem(r->err, r->path);
    if (t->byte_level && bytes.len == 1) t->byte_id[(unsigned char)bytes.p[0]] = (int32_t)id;
    if (!t->byte_level && t->byte_fallback) tok_set_byte(t, spelling, (int32_t)id);
  }
  str_free(&bytes);
  return s;
}

static rw_status add_merge(const reader *r, slice a, slice b, uint32_t rank, str *x, str *y) {
  tokenizer *t = r->t;
  spelled_bytes(r, a, x);
  spelled_bytes(r, b, y);
  int64_t *left = map_get(t->vocab, x->p, x->len), *right = map_get(t->vocab, y->p, y->len);
  str_add(x, y->p, y->len);
  int64_t *whole = x->oom ? NULL : map_get(t->vocab, x->p, x->len);
  if (!left || !right || !whole)
    return rw_fail(r->err, RW_DATA,
                   "%s: model.merges[%u]: expected two tokens whose join is a token, got \"%.*s\" \"%.*s\"",
                   r->path, rank, (int)a.len, a.p, (int)b.len, b.p);
  tok_put_merge(t, (int32_t)*left, (int32_t)*right, rank, (int32_t)*whole);
  return RW_OK;
}

static rw_status read_merges(const reader *r, json_val v) {
  if (json_kind(r->d, v) != JSON_ARRAY) return bad(r, "model.merges", "a list", v);
  RW_TRY(tok_merge_room(r->t, json_count(r->d, v), r->err));
  str x = {0}, y = {0};
  uint32_t rank = 0;
  rw_status s = RW_OK;
  for (json_val e = json_first(r->d, v); !s && e != JSON_NONE; e = json_next(r->d, e), rank++) {
    slice a = {0}, b = {0};
    if (json_kind(r->d, e) == JSON_STRING) {
      slice both = json_string(r->d, e);
      const char *space = both.p ? memchr(both.p, ' ', both.len) : NULL;
      if (space) {
        a = (slice){both.p, (size_t)(space - both.p)};
        b = (slice){space + 1, both.len - a.len - 1};
      }
    } else if (json_count(r->d, e) == 2) {
      a = json_string(r->d, json_at(r->d, e, 0));
      b = json_string(r->d, json_at(r->d, e, 1));
    }
    s = a.p && b.p ? add_merge(r, a, b, rank, &x, &y) : bad(r, "model.merges", "pairs of tokens", e);
  }
  str_free(&x);
  str_free(&y);
  return s;
}

static rw_status read_model(const reader *r, json_val m) {
  tokenizer *t = r->t;
  slice type = type_of(r, m);
  if (type.len && !slice_is(type, "BPE")) return refuse(r, "model", m);
  static const char *const none[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix"};
  for (size_t i = 0; i < 3; i++) {
    json_val v = json_get(r->d, m, none[i]);
    slice s = json_string(r->d, v);
    double x;
    bool set = v != JSON_NONE && json_kind(r->d, v) != JSON_NULL && !(s.p && s.len == 0) &&
               !(json_number(r->d, v, &x) && x == 0);
    if (set) return rw_fail(r->err, RW_UNSUPPORTED, "%s: model.%s is not supported", r->path, none[i]);
  }
  t->byte_fallback = flag(r, m, "byte_fallback", false);
  t->ignore_merges = flag(r, m, "ignore_merges", false);
  t->fuse_unk = flag(r, m, "fuse_unk", false);
  RW_TRY(read_vocab(r, json_get(r->d, m, "vocab")));
  RW_TRY(read_merges(r, json_get(r->d, m, "merges")));
  slice unk = text_of(r, m, "unk_token");
  if (unk.p) {
    int64_t *id = map_get(t->vocab, unk.p, unk.len);
    if (id) t->unk = (int32_t)*id;
  }
  return RW_OK;
}

/* ---- tokenizer_config.json: which tokens are bos, eos, pad ---- */

static int32_t named_token(const reader *r, const char *field) {
  json_val v = json_get(r->d, 0, field);
  slice s = json_kind(r->d, v) == JSON_OBJECT ? text_of(r, v, "content") : json_string(r->d, v);
  for (size_t i = r->t->n_added; s.p && i-- > 0;)
    if (slice_eq(r->t->tokens[r->t->added[i].id].spelling, s)) return r->t->added[i].id;
  int64_t *id = s.p ? map_get(r->t->vocab, s.p, s.len) : NULL;
  return id ? (int32_t)*id : -1;
}

static rw_status read_config(tokenizer *t, rw_error *err) {
  static const char *const files[] = {"special_tokens_map.json", "tokenizer_config.json"};
  for (size_t i = 0; i < 2; i++) {
    char *path = file_join(t->dir, files[i]);
    if (!path) return rw_nomem(err, t->dir);
    json_file f;
    bool there = file_exists(path);
    rw_status s = there ? json_file_open(&f, path, err) : RW_OK;
    if (!s && there) {
      reader r = {.t = t, .d = f.doc, .path = path, .err = err};
      int32_t *where[] = {&t->bos, &t->eos, &t->pad};
      static const char *const fields[] = {"bos_token", "eos_token", "pad_token"};
      for (size_t k = 0; k < 3; k++) {
        int32_t id = named_token(&r, fields[k]);
        if (id >= 0) *where[k] = id;
      }
      json_file_close(&f);
    }
    mem_free(path);
    RW_TRY(s);
  }
  return RW_OK;
}

/* ---- the whole ---- */

static rw_status read_all(const reader *r) {
  if (json_kind(r->d, 0) != JSON_OBJECT) return bad(r, "file", "a JSON object", 0);
  RW_TRY(read_norm(r, json_get(r->d, 0, "normalizer"), 0));
  RW_TRY(read_pre(r, json_get(r->d, 0, "pre_tokenizer"), 0));
  RW_TRY(read_model(r, json_get(r->d, 0, "model")));
  return tok_read_added(r->t, r->path, r->d, json_get(r->d, 0, "added_tokens"), r->err);
}

static rw_status read_json(tokenizer *t, const char *path, rw_error *err) {
  json_file f;
  RW_TRY(json_file_open_large(&f, path, err));
  reader r = {.t = t, .d = f.doc, .path = path, .err = err};
  make_alphabet(r.alphabet);
  rw_status s = read_all(&r);
  json_file_close(&f);
  return s;
}

/* Whether dir holds the file. */
static bool holds(const char *dir, const char *name) {
  char *path = file_join(dir, name);
  bool there = path && file_exists(path);
  mem_free(path);
  return there;
}
bool tok_here(const char *dir) { return holds(dir, "tokenizer.json") || holds(dir, "tokenizer.model"); }

rw_status tok_load(tokenizer **out, const char *dir, rw_error *err) {
  *out = NULL;
  tokenizer *t = mem_zalloc(1, sizeof *t);
  if (!t) return rw_nomem(err, dir);
  t->dir = mem_strndup(dir, strlen(dir));
  t->mem = arena_new();
  t->vocab = map_new();
  t->unk = t->bos = t->eos = t->pad = -1;
  memset(t->byte_id, 0xff, sizeof t->byte_id);
  memset(t->raw.root, 0xff, sizeof t->raw.root);
  memset(t->normalized.root, 0xff, sizeof t->normalized.root);
  bool spm = !holds(dir, "tokenizer.json") && holds(dir, "tokenizer.model");
  char *path = file_join(dir, spm ? "tokenizer.model" : "tokenizer.json");
  rw_status s = t->dir && t->mem && t->vocab && path ? RW_OK : rw_nomem(err, dir);
  if (!s) s = spm ? tok_read_spm(t, path, err) : read_json(t, path, err);
  if (!s) s = read_config(t, err);
  mem_free(path);
  if (s)
    tok_free(t);
  else
    *out = t;
  return s;
}

void tok_free(tokenizer *t) {
  if (!t) return;
  for (size_t i = 0; i < t->n_norms; i++) pcre2_code_free(t->norms[i].re);
  for (size_t i = 0; i < t->n_pres; i++) pcre2_code_free(t->pres[i].re);
  void *p[] = {t->dir, t->tokens, t->merges, t->norms, t->pres, t->added, t->raw.n, t->normalized.n, t->loose_text};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  arena_free(t->mem);
  map_free(t->vocab);
  map_free(t->loose);
  mem_free(t);
}

size_t tok_vocab_size(const tokenizer *t) { return t->n_tokens; }
int32_t tok_id(const tokenizer *t, const char *token) {
  for (size_t i = 0; i < t->n_tokens; i++)
    if (t->tokens[i].spelling.p && slice_is(t->tokens[i].spelling, token)) return (int32_t)i;
  return -1;
}
slice tok_text(const tokenizer *t, int32_t id) {
  return id >= 0 && (size_t)id < t->n_tokens ? t->tokens[id].spelling : (slice){0};
}
bool tok_is_special(const tokenizer *t, int32_t id) {
  return id >= 0 && (size_t)id < t->n_tokens && t->tokens[id].special;
}
int32_t tok_bos(const tokenizer *t) { return t->bos; }
int32_t tok_eos(const tokenizer *t) { return t->eos; }
int32_t tok_pad(const tokenizer *t) { return t->pad; }
