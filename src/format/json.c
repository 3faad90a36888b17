/* json.c - the JSON reader: one pass over the text into an array of nodes.
 *
 * A node is a value's place in the text and the index of the node that follows it, so skipping a value is one step.
 * Strings are checked in place (UTF-8, escapes) and unescaped only when asked for. Limits: JSON_MAX_DEPTH levels,
 * JSON_MAX_NODES nodes, texts of 4 GB.
 */
#include "format/json.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "base/file.h"

enum { KEPT_NODES = 1 << 21 };

typedef struct {
  uint32_t at, len;           /* bytes of the value in the text */
  uint32_t key_at;            /* where a member's key begins (behind its quote); else UINT32_MAX */
  uint32_t key_len, key_head; /* its bytes in the text; the first of them, so that others are known at once */
  int32_t next;               /* the node after this value and all inside it */
  int32_t parent;
  uint32_t children; /* elements or members */
  uint8_t type;      /* json_type */
  uint8_t escaped;   /* string: has a backslash */
  uint8_t key_escaped;
} node;

struct json_doc {
  const char *text;
  size_t len;
  node *nodes;
  size_t n, cap;
  arena *strings; /* unescaped strings */
};

typedef struct {
  json_doc *d;
  const unsigned char *p, *end;
  const unsigned char *start;
  rw_error *err;
} parser;

json_doc *json_new(void) {
  json_doc *d = mem_zalloc(1, sizeof *d);
  if (d) d->strings = arena_new();
  if (d && d->strings) return d;
  json_free(d);
  return NULL;
}

void json_free(json_doc *d) {
  if (!d) return;
  mem_free(d->nodes);
  arena_free(d->strings);
  mem_free(d);
}

static rw_status fail_at(parser *s, const unsigned char *at, const char *what) {
  size_t line = 1, column = 1;
  for (const unsigned char *c = s->start; c < at; c++) {
    column++;
    if (*c == '\n') line++, column = 1;
  }
  if (line == 1) return rw_fail(s->err, RW_DATA, "column %zu: %s", column, what);
  return rw_fail(s->err, RW_DATA, "line %zu, column %zu: %s", line, column, what);
}

static rw_status expected(parser *s, const char *what) {
  char text[128];
  if (s->p >= s->end)
    snprintf(text, sizeof text, "expected %.40s, got the end; is the row cut short?", what);
  else if (s->end - s->p >= 3 && memcmp(s->p, "\xEF\xBB\xBF", 3) == 0)
    snprintf(text, sizeof text, "expected %.40s, got a byte order mark; were files put together? remove it", what);
  else
    snprintf(text, sizeof text, "expected %.40s, got '%c'", what, *s->p >= 0x20 && *s->p < 0x7f ? *s->p : '?');
  return fail_at(s, s->p, text);
}

static void skip_space(parser *s) {
  while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\n' || *s->p == '\r')) s->p++;
}

/* The length of the UTF-8 sequence at p (RFC 3629: no overlong forms, no surrogates), 0 when invalid. */
static size_t utf8_length(const unsigned char *p, const unsigned char *end) {
  size_t left = (size_t)(end - p);
#define CONT(i) ((p[i] & 0xC0) == 0x80)
  if (p[0] < 0x80) return 1;
  if (p[0] >= 0xC2 && p[0] <= 0xDF) return left > 1 && CONT(1) ? 2 : 0;
  if (p[0] >= 0xE0 && p[0] <= 0xEF) {
    if (left < 3 || !CONT(1) || !CONT(2)) return 0;
    if (p[0] == 0xE0 && p[1] < 0xA0) return 0;
    if (p[0] == 0xED && p[1] > 0x9F) return 0;
    return 3;
  }
  if (p[0] >= 0xF0 && p[0] <= 0xF4) {
    if (left < 4 || !CONT(1) || !CONT(2) || !CONT(3)) return 0;
    if (p[0] == 0xF0 && p[1] < 0x90) return 0;
    if (p[0] == 0xF4 && p[1] > 0x8F) return 0;
    return 4;
  }
#undef CONT
  return 0;
}

static int hex4(const unsigned char *p) {
  int v = 0;
  for (int i = 0; i < 4; i++) {
    unsigned char c = p[i];
    int d = c >= '0' && c <= '9'   ? c - '0'
            : c >= 'a' && c <= 'f' ? c - 'a' + 10
            : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                   : -1;
    if (d < 0) return -1;
    v = v * 16 + d;
  }
  return v;
}

/* What a letter behind a backslash stands for. */
static const char short_escapes[256] = {
    ['"'] = '"', ['\\'] = '\\', ['/'] = '/', ['b'] = '\b', ['f'] = '\f', ['n'] = '\n', ['r'] = '\r', ['t'] = '\t'};

static rw_status check_escape(parser *s) {
  const unsigned char *p = s->p + 1;
  if (p >= s->end) return expected(s, "an escape");
  if (short_escapes[*p]) {
    s->p += 2;
    return RW_OK;
  }
  int c = *p == 'u' && s->end - p >= 5 ? hex4(p + 1) : -1;
  if (c < 0) return fail_at(s, s->p, "an escape that JSON does not have");
  s->p += 6;
  if (c >= 0xDC00 && c <= 0xDFFF) return fail_at(s, s->p - 6, "a lone surrogate escape");
  if (c >= 0xD800 && c <= 0xDBFF) {
    int low = s->end - s->p >= 6 && s->p[0] == '\\' && s->p[1] == 'u' ? hex4(s->p + 2) : -1;
    if (low < 0xDC00 || low > 0xDFFF) return fail_at(s, s->p - 6, "a lone surrogate escape");
    s->p += 6;
  }
  return RW_OK;
}

/* How many bytes at p come before one below 0x20, above 0x7f, a quote or a backslash. */
static inline size_t plain_bytes(const unsigned char *p, const unsigned char *end) {
  const unsigned char *from = p;
#if defined(__SSE2__)
  for (; end - p >= 16; p += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)p);
    __m128i special = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    special = _mm_or_si128(special, _mm_cmplt_epi8(v, _mm_set1_epi8(0x20))); /* above 0x7f is negative */
    int at = _mm_movemask_epi8(special);
    if (at) return (size_t)(p - from) + (size_t)__builtin_ctz((unsigned)at);
  }
#endif
  while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\') p++;
  return (size_t)(p - from);
}

/* At the opening quote; leaves s->p behind the closing one. */
static rw_status scan_string(parser *s, bool *escaped) {
  const unsigned char *open = s->p++;
  *escaped = false;
  for (;;) {
    s->p += plain_bytes(s->p, s->end);
    if (s->p >= s->end) return fail_at(s, open, "a string without its closing quote; is the row cut short?");
    unsigned char c = *s->p;
    if (c == '"') {
      s->p++;
      return RW_OK;
    }
    if (c == '\\') {
      *escaped = true;
      RW_TRY(check_escape(s));
    } else if (c < 0x20) {
      return fail_at(s, s->p, "a control character inside a string; JSON wants it escaped");
    } else {
      size_t n = utf8_length(s->p, s->end);
      if (n == 0) return fail_at(s, s->p, "invalid UTF-8");
      s->p += n;
    }
  }
}

static rw_status scan_number(parser *s) {
  const unsigned char *p = s->p, *end = s->end;
#define DIGITS()                                  \
  if (p >= end || *p < '0' || *p > '9') goto bad; \
  while (p < end && *p >= '0' && *p <= '9') p++
  if (p < end && *p == '-') p++;
  if (p < end && *p == '0') {
    p++;
  } else {
    DIGITS();
  }
  if (p < end && *p == '.') {
    p++;
    DIGITS();
  }
  if (p < end && (*p == 'e' || *p == 'E')) {
    p++;
    if (p < end && (*p == '+' || *p == '-')) p++;
    DIGITS();
  }
#undef DIGITS
  s->p = p;
  return RW_OK;
bad:
  if (p + 8 <= end && memcmp(p, "Infinity", 8) == 0)
    return fail_at(s, s->p, "Infinity is not JSON; write null or a number");
  return fail_at(s, s->p, "not a JSON number");
}

static bool word(parser *s, const char *w) {
  size_t n = strlen(w);
  if ((size_t)(s->end - s->p) < n || memcmp(s->p, w, n) != 0) return false;
  s->p += n;
  return true;
}

/* Of a member's key; the node of its value has it. */
typedef struct {
  uint32_t at, len, head; /* as key_at and its like */
  bool escaped;
} key_place;

static inline uint32_t key_head(const char *key, size_t len) {
  uint32_t head = 0;
  memcpy(&head, key, len < sizeof head ? len : sizeof head);
  return head;
}

static rw_status scan_key(parser *s, key_place *key) {
  const unsigned char *open = s->p;
  RW_TRY(scan_string(s, &key->escaped));
  key->at = (uint32_t)(open + 1 - s->start);
  key->len = (uint32_t)(s->p - open - 2);
  key->head = key_head((const char *)open + 1, key->len);
  return RW_OK;
}

static rw_status new_node(parser *s, json_type type, key_place key, int32_t parent, int32_t *index) {
  json_doc *d = s->d;
  if (d->n >= JSON_MAX_NODES) return fail_at(s, s->p, "more than 16 million values in one text");
  if (!mem_grow((void **)&d->nodes, &d->cap, d->n + 1, sizeof *d->nodes)) return rw_nomem(s->err, "a JSON text");
  *index = (int32_t)d->n;
  d->nodes[d->n++] = (node){.at = (uint32_t)(s->p - s->start),
                            .key_at = key.at,
                            .key_len = key.len,
                            .key_head = key.head,
                            .parent = parent,
                            .type = (uint8_t)type,
                            .key_escaped = key.escaped};
  return RW_OK;
}

static void end_node(parser *s, int32_t i) {
  node *v = &s->d->nodes[i];
  v->len = (uint32_t)((size_t)(s->p - s->start) - v->at);
  v->next = (int32_t)s->d->n;
}

/* A value that holds no others. */
static rw_status scan_scalar(parser *s, key_place key, int32_t parent) {
  int32_t i = 0;
  if (s->p >= s->end) return expected(s, "a value");
  unsigned char c = *s->p;
  json_type type = c == '"'   ? JSON_STRING
                   : c == 't' ? JSON_TRUE
                   : c == 'f' ? JSON_FALSE
                   : c == 'n' ? JSON_NULL
                              : JSON_NUMBER;
  RW_TRY(new_node(s, type, key, parent, &i));
  bool escaped = false, ok = true;
  if (type == JSON_STRING)
    RW_TRY(scan_string(s, &escaped));
  else if (type == JSON_TRUE)
    ok = word(s, "true");
  else if (type == JSON_FALSE)
    ok = word(s, "false");
  else if (type == JSON_NULL)
    ok = word(s, "null");
  else if (c == '-' || (c >= '0' && c <= '9'))
    RW_TRY(scan_number(s));
  else if (c == 'N' && word(s, "NaN"))
    return fail_at(s, s->p - 3, "NaN is not JSON; write null or a number");
  else
    return word(s, "Infinity") ? fail_at(s, s->p - 8, "Infinity is not JSON; write null or a number")
                               : expected(s, "a value");
  if (!ok) return expected(s, "a value");
  s->d->nodes[i].escaped = escaped;
  end_node(s, i);
  return RW_OK;
}

/* Without recursion: the open containers are found through `parent`. */
static rw_status scan(parser *s) {
  json_doc *d = s->d;
  int32_t open = -1;
  int depth = 0;
  for (;;) {
    key_place key = {.at = UINT32_MAX};
    skip_space(s);
    bool closes = open >= 0 && s->p < s->end && d->nodes[open].children == 0 &&
                  *s->p == (d->nodes[open].type == JSON_OBJECT ? '}' : ']');
    if (!closes) {
      if (open >= 0 && d->nodes[open].type == JSON_OBJECT) {
        if (s->p >= s->end || *s->p != '"') return expected(s, "a key in quotes");
        RW_TRY(scan_key(s, &key));
        skip_space(s);
        if (s->p >= s->end || *s->p != ':') return expected(s, "':' after a key");
        s->p++;
        skip_space(s);
      }
      if (open >= 0) d->nodes[open].children++;
      if (s->p < s->end && (*s->p == '{' || *s->p == '[')) {
        if (++depth > JSON_MAX_DEPTH) return fail_at(s, s->p, "nested deeper than 256 levels");
        int32_t i;
        RW_TRY(new_node(s, *s->p == '{' ? JSON_OBJECT : JSON_ARRAY, key, open, &i));
        s->p++;
        open = i;
        continue;
      }
      RW_TRY(scan_scalar(s, key, open));
    }
    /* a value has ended: close what ends here, or go on to the next */
    for (;;) {
      if (open < 0) return RW_OK;
      skip_space(s);
      if (s->p >= s->end) return expected(s, "',' or the end of the container");
      if (*s->p == ',') {
        s->p++;
        skip_space(s);
        if (s->p < s->end && (*s->p == '}' || *s->p == ']')) return expected(s, "another value after ','");
        break;
      }
      if (*s->p != (d->nodes[open].type == JSON_OBJECT ? '}' : ']'))
        return expected(s, "',' or the end of the container");
      s->p++;
      end_node(s, open);
      open = d->nodes[open].parent;
      depth--;
    }
  }
}

rw_status json_parse(json_doc *d, const char *text, size_t len, rw_error *err) {
  d->text = text;
  d->len = len;
  d->n = 0;
  if (d->cap > KEPT_NODES) { /* one hostile row would else cost its memory on every thread, to the end */
    mem_free(d->nodes);
    d->nodes = NULL;
    d->cap = 0;
  }
  arena_reset(d->strings);
  if (len >= UINT32_MAX) return rw_fail(err, RW_DATA, "expected less than 4 GB of JSON, got %zu bytes", len);
  parser s = {d, (const unsigned char *)text, (const unsigned char *)text + len, (const unsigned char *)text, err};
  rw_status st = scan(&s);
  skip_space(&s);
  if (!st && s.p < s.end) st = fail_at(&s, s.p, "something follows the JSON value");
  if (st) d->n = 0;
  return st;
}

/* ---- looking at values ---- */

static const node *at(const json_doc *d, json_val v) { return v >= 0 && (size_t)v < d->n ? &d->nodes[v] : NULL; }

json_type json_kind(const json_doc *d, json_val v) { return at(d, v) ? (json_type)at(d, v)->type : JSON_NULL; }

const char *json_kind_name(json_type t) {
  static const char *const names[] = {"null", "false", "true", "number", "string", "array", "object"};
  return names[t];
}

rw_status json_wrong(const json_doc *d, json_val v, const char *field, const char *expected, rw_error *err) {
  return rw_fail(err, RW_DATA, "%s: expected %s, got %s", field, expected,
                 v == JSON_NONE ? "nothing" : json_kind_name(json_kind(d, v)));
}

rw_status json_text(json_doc *d, json_val v, const char *field, slice *out, rw_error *err) {
  *out = json_string(d, v);
  if (out->p) return RW_OK;
  return json_kind(d, v) == JSON_STRING ? rw_nomem(err, field) : json_wrong(d, v, field, "a string", err);
}

slice json_raw(const json_doc *d, json_val v) {
  const node *n = at(d, v);
  return n ? (slice){d->text + n->at, n->len} : (slice){0};
}

size_t json_count(const json_doc *d, json_val v) { return at(d, v) ? at(d, v)->children : 0; }

json_val json_first(const json_doc *d, json_val v) {
  const node *n = at(d, v);
  return n && n->children ? v + 1 : JSON_NONE;
}

json_val json_next(const json_doc *d, json_val child) {
  const node *n = at(d, child);
  if (!n || n->parent < 0 || n->next >= d->nodes[n->parent].next) return JSON_NONE;
  return n->next;
}

json_val json_at(const json_doc *d, json_val array, size_t i) {
  json_val v = json_kind(d, array) == JSON_ARRAY ? json_first(d, array) : JSON_NONE;
  while (v != JSON_NONE && i-- > 0) v = json_next(d, v);
  return v;
}

/* Copies the bytes before the first backslash, or all n; returns how many. Of out, n bytes may be written. */
static inline size_t copy_plain(char *out, const unsigned char *p, size_t n) {
  size_t i = 0;
#if defined(__SSE2__)
  for (; n - i >= 16; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(p + i));
    _mm_storeu_si128((__m128i *)(out + i), v);
    int at = _mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    if (at) return i + (size_t)__builtin_ctz((unsigned)at);
  }
#endif
  for (; i < n && p[i] != '\\'; i++) out[i] = (char)p[i];
  return i;
}

/* Unescapes what stands between the quotes of a string that the parser has checked. */
static slice unescape(json_doc *d, const char *text, size_t len) {
  const unsigned char *p = (const unsigned char *)text, *q = p + len;
  char *out = arena_room(d->strings, len + 1), *o = out;
  if (!out) return (slice){0};
  for (;;) {
    size_t n = copy_plain(o, p, (size_t)(q - p));
    o += n;
    p += n;
    if (p >= q) break;
    if (short_escapes[p[1]]) {
      *o++ = short_escapes[p[1]];
      p += 2;
      continue;
    }
    uint32_t c = (uint32_t)hex4(p + 2);
    p += 6;
    if (c >= 0xD800 && c <= 0xDBFF) {
      c = 0x10000 + ((c - 0xD800) << 10) + ((uint32_t)hex4(p + 2) - 0xDC00);
      p += 6;
    }
    if (c < 0x80) {
      *o++ = (char)c;
    } else if (c < 0x800) {
      *o++ = (char)(0xC0 | (c >> 6));
      *o++ = (char)(0x80 | (c & 63));
    } else if (c < 0x10000) {
      *o++ = (char)(0xE0 | (c >> 12));
      *o++ = (char)(0x80 | ((c >> 6) & 63));
      *o++ = (char)(0x80 | (c & 63));
    } else {
      *o++ = (char)(0xF0 | (c >> 18));
      *o++ = (char)(0x80 | ((c >> 12) & 63));
      *o++ = (char)(0x80 | ((c >> 6) & 63));
      *o++ = (char)(0x80 | (c & 63));
    }
  }
  return (slice){out, (size_t)(o - out)};
}

/* n: a member. */
static slice key_of(json_doc *d, const node *n) {
  slice key = {d->text + n->key_at, n->key_len};
  return n->key_escaped ? unescape(d, key.p, key.len) : key;
}

slice json_key(json_doc *d, json_val v) {
  const node *n = at(d, v);
  return n && n->key_at != UINT32_MAX ? key_of(d, n) : (slice){0};
}

json_val json_get(const json_doc *d, json_val object, const char *key) {
  if (json_kind(d, object) != JSON_OBJECT) return JSON_NONE;
  json_val found = JSON_NONE, end = d->nodes[object].next;
  size_t len = strlen(key);
  uint32_t head = key_head(key, len);
  for (json_val v = object + 1; v < end; v = d->nodes[v].next) {
    const node *n = &d->nodes[v];
    bool same = n->key_escaped
                    ? slice_eq(key_of((json_doc *)d, n), (slice){key, len})
                    : n->key_len == len && n->key_head == head && memcmp(d->text + n->key_at, key, len) == 0;
    if (same) found = v;
  }
  return found;
}

slice json_string(json_doc *d, json_val v) {
  const node *n = at(d, v);
  if (!n || n->type != JSON_STRING) return (slice){0};
  slice inside = {d->text + n->at + 1, n->len - 2};
  return n->escaped ? unescape(d, inside.p, inside.len) : inside;
}

bool json_number(const json_doc *d, json_val v, double *out) {
  const node *n = at(d, v);
  if (!n || n->type != JSON_NUMBER) return false;
  char small[64], *text = small, *copy = NULL;
  if (n->len >= sizeof small) text = copy = mem_alloc((size_t)n->len + 1, 1);
  if (!text) return false;
  memcpy(text, d->text + n->at, n->len);
  text[n->len] = 0;
  *out = strtod(text, NULL);
  mem_free(copy);
  return true;
}

bool json_int(const json_doc *d, json_val v, int64_t *out) {
  const node *n = at(d, v);
  if (!n || n->type != JSON_NUMBER || n->len > 20) return false;
  char text[24], *end;
  memcpy(text, d->text + n->at, n->len);
  text[n->len] = 0;
  errno = 0;
  *out = strtoll(text, &end, 10);
  return errno == 0 && *end == 0;
}

/* ---- files ---- */

static rw_status open_within(json_file *f, const char *path, size_t max, rw_error *err) {
  *f = (json_file){.doc = json_new()};
  if (!f->doc) return rw_nomem(err, path);
  rw_status s = file_read(path, max, &f->text, err);
  if (!s) {
    size_t bom = f->text.len >= 3 && memcmp(f->text.p, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0;
    s = json_parse(f->doc, f->text.p ? f->text.p + bom : "", f->text.len - bom, err);
    if (s) rw_prefix(err, s, "%s", path);
  }
  if (s) json_file_close(f);
  return s;
}

rw_status json_file_open(json_file *f, const char *path, rw_error *err) {
  return open_within(f, path, JSON_SMALL_BYTES, err);
}

rw_status json_file_open_large(json_file *f, const char *path, rw_error *err) {
  return open_within(f, path, JSON_LARGE_BYTES, err);
}

void json_file_close(json_file *f) {
  json_free(f->doc);
  str_free(&f->text);
  *f = (json_file){0};
}
