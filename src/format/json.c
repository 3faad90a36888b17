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

#include "base/file.h"

enum { KEPT_NODES = 1 << 21 };

typedef struct {
  uint32_t at, len; /* bytes of the value in the text */
  uint32_t key_at;  /* where a member's key begins (its opening quote); else UINT32_MAX */
  int32_t next;     /* the node after this value and all inside it */
  int32_t parent;
  uint32_t children; /* elements or members */
  uint8_t type;      /* json_type */
  uint8_t escaped;   /* string: has a backslash */
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

static rw_status check_escape(parser *s) {
  const unsigned char *p = s->p + 1;
  if (p >= s->end) return expected(s, "an escape");
  if (strchr("\"\\/bfnrt", *p) && *p) {
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

/* A byte of v below 0x20, above 0x7f, a quote or a backslash? (the usual carry tricks, 8 bytes at a time) */
static inline bool plain8(const unsigned char *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
  uint64_t quote = v ^ (ones * '"'), slash = v ^ (ones * '\\');
  uint64_t bad = (v - ones * 0x20) | (quote - ones) | (slash - ones) | v;
  return (bad & high) == 0;
}

/* At the opening quote; leaves s->p behind the closing one. */
static rw_status scan_string(parser *s, bool *escaped) {
  const unsigned char *open = s->p++;
  *escaped = false;
  for (;;) {
    while (s->end - s->p >= 8 && plain8(s->p)) s->p += 8;
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

static rw_status new_node(parser *s, json_type type, uint32_t key_at, int32_t parent, int32_t *index) {
  json_doc *d = s->d;
  if (d->n >= JSON_MAX_NODES) return fail_at(s, s->p, "more than 16 million values in one text");
  if (!mem_grow((void **)&d->nodes, &d->cap, d->n + 1, sizeof *d->nodes)) return rw_nomem(s->err, "a JSON text");
  *index = (int32_t)d->n;
  d->nodes[d->n++] =
      (node){.at = (uint32_t)(s->p - s->start), .key_at = key_at, .parent = parent, .type = (uint8_t)type};
  return RW_OK;
}

static void end_node(parser *s, int32_t i) {
  node *v = &s->d->nodes[i];
  v->len = (uint32_t)((size_t)(s->p - s->start) - v->at);
  v->next = (int32_t)s->d->n;
}

/* A value that holds no others. */
static rw_status scan_scalar(parser *s, uint32_t key_at, int32_t parent) {
  int32_t i = 0;
  if (s->p >= s->end) return expected(s, "a value");
  unsigned char c = *s->p;
  json_type type = c == '"'   ? JSON_STRING
                   : c == 't' ? JSON_TRUE
                   : c == 'f' ? JSON_FALSE
                   : c == 'n' ? JSON_NULL
                              : JSON_NUMBER;
  RW_TRY(new_node(s, type, key_at, parent, &i));
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
    uint32_t key_at = UINT32_MAX;
    skip_space(s);
    bool closes = open >= 0 && s->p < s->end && d->nodes[open].children == 0 &&
                  *s->p == (d->nodes[open].type == JSON_OBJECT ? '}' : ']');
    if (!closes) {
      if (open >= 0 && d->nodes[open].type == JSON_OBJECT) {
        bool escaped;
        if (s->p >= s->end || *s->p != '"') return expected(s, "a key in quotes");
        key_at = (uint32_t)(s->p - s->start);
        RW_TRY(scan_string(s, &escaped));
        skip_space(s);
        if (s->p >= s->end || *s->p != ':') return expected(s, "':' after a key");
        s->p++;
        skip_space(s);
      }
      if (open >= 0) d->nodes[open].children++;
      if (s->p < s->end && (*s->p == '{' || *s->p == '[')) {
        if (++depth > JSON_MAX_DEPTH) return fail_at(s, s->p, "nested deeper than 256 levels");
        int32_t i;
        RW_TRY(new_node(s, *s->p == '{' ? JSON_OBJECT : JSON_ARRAY, key_at, open, &i));
        s->p++;
        open = i;
        continue;
      }
      RW_TRY(scan_scalar(s, key_at, open));
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

/* Unescapes the string whose opening quote is at `at` and which the parser has checked. */
static slice unescape(json_doc *d, uint32_t from) {
  const unsigned char *p = (const unsigned char *)d->text + from + 1, *q = p;
  bool escaped = false;
  while (*q != '"') {
    if (*q == '\\') {
      escaped = true;
      q++;
    }
    q++;
  }
  if (!escaped) return (slice){(const char *)p, (size_t)(q - p)};
  char *out = arena_alloc(d->strings, (size_t)(q - p) + 1, 1), *o = out;
  if (!out) return (slice){0};
  while (p < q) {
    const unsigned char *run = memchr(p, '\\', (size_t)(q - p));
    size_t n = (size_t)((run ? run : q) - p);
    memcpy(o, p, n);
    o += n;
    p += n;
    if (p >= q) break;
    static const char from_char[] = "\"\\/bfnrt", to_char[] = "\"\\/\b\f\n\r\t";
    const char *simple = strchr(from_char, p[1]);
    if (simple) {
      *o++ = to_char[simple - from_char];
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

slice json_key(json_doc *d, json_val v) {
  const node *n = at(d, v);
  return n && n->key_at != UINT32_MAX ? unescape(d, n->key_at) : (slice){0};
}

json_val json_get(const json_doc *d, json_val object, const char *key) {
  if (json_kind(d, object) != JSON_OBJECT) return JSON_NONE;
  json_val found = JSON_NONE;
  size_t len = strlen(key);
  bool plain = !memchr(key, '\\', len); /* else the quote behind an equal text may be an escaped one */
  for (json_val v = json_first(d, object); v != JSON_NONE; v = json_next(d, v)) {
    const char *k = d->text + d->nodes[v].key_at + 1;
    /* the usual case without unescaping; keys with escapes take the long way */
    if (plain && d->nodes[v].key_at + 1 + len < d->len && memcmp(k, key, len) == 0 && k[len] == '"') {
      found = v;
    } else if (memchr(k, '\\',
                      len + 1 < d->len - d->nodes[v].key_at - 1 ? len + 1 : d->len - d->nodes[v].key_at - 1)) {
      slice u = unescape((json_doc *)d, d->nodes[v].key_at);
      if (slice_is(u, key)) found = v;
    }
  }
  return found;
}

slice json_string(json_doc *d, json_val v) {
  const node *n = at(d, v);
  if (!n || n->type != JSON_STRING) return (slice){0};
  return n->escaped ? unescape(d, n->at) : (slice){d->text + n->at + 1, n->len - 2};
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
