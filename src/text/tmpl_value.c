/* tmpl_value.c - values: strings that know which bytes are message content, lists, dicts, str(), ==, order.
 *
 * Strings are UTF-8; index and length count code points, as in Python. Bytes that are no UTF-8 count as one
 * character each, so that nothing here can run past an end.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/tmpl_internal.h"

/* ---- errors and limits ---- */

static tv verror(tctx *c, rw_status code, const char *after, const char *fmt, va_list ap) {
  if (!c->st) {
    char text[600];
    vsnprintf(text, sizeof text, fmt, ap);
    c->st = rw_fail(c->err, code, "%s:%d: %s%s", c->name, c->line, text, after);
  }
  return TV_UNDEFINED;
}

tv tmpl_error(tctx *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  tv v = verror(c, RW_DATA, "", fmt, ap);
  va_end(ap);
  return v;
}

tv tmpl_lacks(tctx *c, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  tv v = verror(c, RW_UNSUPPORTED,
                " is not among the template constructs that are supported; give another template with " FIELD(
                    chat_template) " FILE",
                fmt, ap);
  va_end(ap);
  return v;
}

bool tmpl_charge(tctx *c, size_t steps) {
  c->steps += steps;
  if (c->steps > TMPL_MAX_STEPS)
    tmpl_error(c, "expected at most %d steps, got more; does the template loop without end?", TMPL_MAX_STEPS);
  return c->st == RW_OK;
}

bool tmpl_enter(tctx *c) {
  if (++c->depth > TMPL_MAX_DEPTH)
    tmpl_error(c, "expected nesting of at most %d levels, got more; does a macro call itself without end?",
               TMPL_MAX_DEPTH);
  return c->st == RW_OK;
}

void *tmpl_alloc(tctx *c, size_t count, size_t size) {
  size_t n;
  if (c->st) return NULL;
  if (__builtin_mul_overflow(count, size, &n) || n > c->memory_max - c->memory) {
    tmpl_error(c, "expected output and values of at most %zu MB, got more; does the template grow without end?",
               c->memory_max >> 20);
    return NULL;
  }
  c->memory += n;
  tmpl_charge(c, n >> 6);
  void *p = arena_alloc(c->a, count, size);
  if (!p && !c->st) c->st = rw_nomem(c->err, c->name);
  return p;
}

/* ---- strings ---- */

uint32_t tmpl_rune(const char *p, const char *end, size_t *len) {
  utf8proc_int32_t rune;
  if ((unsigned char)*p < 0x80) return *len = 1, (unsigned char)*p;
  utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p, end - p, &rune);
  if (n <= 0) return *len = 1, 0xFFFD;
  return *len = (size_t)n, (uint32_t)rune;
}

bool tmpl_is_space(uint32_t r) {
  return (r >= 9 && r <= 13) || (r >= 0x1C && r <= 0x20) || r == 0x85 || r == 0xA0 || r == 0x1680 ||
         (r >= 0x2000 && r <= 0x200A) || r == 0x2028 || r == 0x2029 || r == 0x202F || r == 0x205F || r == 0x3000;
}

static size_t count_runes(const char *p, size_t len) {
  const char *end = p + len;
  size_t chars = 0, n;
  for (; p < end; p += n, chars++) tmpl_rune(p, end, &n);
  return chars;
}

static void mark(tctx *c, tbuf *b, tmark m) {
  tmark *last = b->n_marks ? &b->marks[b->n_marks - 1] : NULL;
  if (m.start == m.end) return;
  if (last && last->end == m.start && last->msg == m.msg &&
      (m.msg < 0 || last->src + (last->end - last->start) == m.src)) {
    last->end = m.end;
    return;
  }
  if (!b->marks || b->n_marks == b->cap_marks) {
    size_t cap = b->cap_marks ? b->cap_marks * 2 : 4;
    tmark *marks = tmpl_alloc(c, cap, sizeof *marks);
    if (!marks) return;
    if (b->marks) memcpy(marks, b->marks, b->n_marks * sizeof *marks);
    b->marks = marks;
    b->cap_marks = cap;
  }
  b->marks[b->n_marks++] = m;
}

void tbuf_add(tctx *c, tbuf *b, const char *p, size_t len) {
  if (c->st) return;
  if (len > b->cap - b->len) {
    size_t cap = b->cap ? b->cap : 64;
    while (cap - b->len < len) cap *= 2; /* len is bounded by the memory limit, so this ends */
    char *text = tmpl_alloc(c, cap, 1);
    if (!text) return;
    if (b->len) memcpy(text, b->p, b->len);
    b->p = text;
    b->cap = cap;
  }
  if (len) memcpy(b->p + b->len, p, len);
  b->len += len;
}

void tbuf_made(tctx *c, tbuf *b, const char *p, size_t len, bool content) {
  tbuf_add(c, b, p, len);
  if (content && !c->st) mark(c, b, (tmark){b->len - len, b->len, 0, -1});
}

/* The first mark that ends after byte `at`. */
static size_t first_mark(const tstr *s, size_t at) {
  size_t low = 0, high = s->n_marks;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (s->marks[middle].end > at)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/* The marks of s[start:end] to b, whose bytes they describe from `at` on. */
static void copy_marks(tctx *c, tbuf *b, size_t at, const tstr *s, size_t start, size_t end) {
  for (size_t i = first_mark(s, start); i < s->n_marks && s->marks[i].start < end && !c->st; i++) {
    tmark m = s->marks[i];
    if (m.start < start) m.src += start - m.start, m.start = start;
    if (m.end > end) m.end = end;
    m.start = m.start - start + at;
    m.end = m.end - start + at;
    mark(c, b, m);
  }
}

void tbuf_part(tctx *c, tbuf *b, const tstr *s, size_t start, size_t end) {
  size_t at = b->len;
  tbuf_add(c, b, s->p + start, end - start);
  copy_marks(c, b, at, s, start, end);
}

void tbuf_str(tctx *c, tbuf *b, const tstr *s) { tbuf_part(c, b, s, 0, s->len); }

static tv new_string(tctx *c, tstr s) {
  tstr *p = tmpl_alloc(c, 1, sizeof *p);
  if (!p) return TV_UNDEFINED;
  if (!s.p) s.p = "";
  s.chars = count_runes(s.p, s.len);
  tmpl_charge(c, s.len >> 5);
  *p = s;
  return TV_STR(p);
}

tv tbuf_take(tctx *c, const tbuf *b) {
  return new_string(c, (tstr){.p = b->p, .len = b->len, .marks = b->marks, .n_marks = b->n_marks});
}

tv tmpl_string(tctx *c, slice s) { return new_string(c, (tstr){.p = s.p, .len = s.len}); }

tv tmpl_content(tctx *c, slice s, int32_t msg) {
  tmark *m = tmpl_alloc(c, 1, sizeof *m);
  if (!m) return TV_UNDEFINED;
  *m = (tmark){0, s.len, 0, msg};
  return new_string(c, (tstr){.p = s.p, .len = s.len, .marks = m, .n_marks = s.len > 0});
}

tv tmpl_part(tctx *c, const tstr *s, size_t start, size_t end) {
  tbuf marks = {0}; /* the bytes are shared; only the marks are made anew */
  if (start >= end) return tmpl_string(c, SLICE(""));
  if (start == 0 && end == s->len) return TV_STR(s);
  copy_marks(c, &marks, 0, s, start, end);
  return new_string(
      c,
      (tstr){
          .p = s->p + start, .len = end - start, .marks = marks.marks, .n_marks = marks.n_marks, .safe = s->safe});
}

tv tmpl_safe(tctx *c, tv s) {
  tstr *copy = c->st ? NULL : tmpl_alloc(c, 1, sizeof *copy);
  if (!copy) return TV_UNDEFINED;
  *copy = *s.s;
  copy->safe = true;
  return TV_STR(copy);
}

bool tstr_marked(const tstr *s, size_t at) {
  size_t i = first_mark(s, at);
  return i < s->n_marks && s->marks[i].start <= at;
}

size_t tstr_offset(tctx *c, const tstr *s, size_t index) {
  if (s->chars == s->len) return index < s->len ? index : s->len;
  size_t at = 0, n;
  for (; index > 0 && at < s->len; index--, at += n) tmpl_rune(s->p + at, s->p + s->len, &n);
  tmpl_charge(c, at >> 5);
  return at;
}

/* ---- lists and dicts ---- */

tlist *tmpl_new_list(tctx *c, tlist_form form, size_t n) {
  tlist *l = tmpl_alloc(c, 1, sizeof *l);
  tv *items = tmpl_alloc(c, n, sizeof *items);
  if (!l || !items) return NULL;
  *l = (tlist){.form = form, .items = items, .n = n};
  return l;
}

tv tmpl_list(tctx *c, tlist_form form, tv *items, size_t n) {
  tlist *l = tmpl_alloc(c, 1, sizeof *l);
  if (!l) return TV_UNDEFINED;
  *l = (tlist){.form = form, .items = items, .n = n};
  return (tv){.kind = V_LIST, .list = l};
}

tdict *tmpl_new_dict(tctx *c) { return tmpl_alloc(c, 1, sizeof(tdict)); }

static tv *look(const tdict *d, size_t i) {
  if (d->asked) d->asked[i] = true;
  return &d->values[i];
}

void tdict_all_asked(const tdict *d) {
  for (size_t i = 0; d->asked && i < d->n; i++) d->asked[i] = true;
}

tv *tdict_find(const tdict *d, slice key) {
  for (size_t i = 0; i < d->n; i++)
    if (d->keys[i].kind == V_STRING && slice_eq((slice){d->keys[i].s->p, d->keys[i].s->len}, key))
      return look(d, i);
  return NULL;
}

tv *tdict_get(tctx *c, const tdict *d, tv key) {
  tmpl_charge(c, d->n >> 2);
  if (key.kind == V_STRING) return tdict_find(d, (slice){key.s->p, key.s->len});
  for (size_t i = 0; i < d->n; i++)
    if (tmpl_equal(c, d->keys[i], key)) return look(d, i);
  return NULL;
}

static bool hashable(tv v) {
  if (v.kind == V_LIST && v.list->form == L_TUPLE) {
    for (size_t i = 0; i < v.list->n; i++)
      if (!hashable(v.list->items[i])) return false;
    return true;
  }
  return v.kind != V_DICT && !(v.kind == V_LIST && v.list->form == L_LIST);
}

void tdict_put(tctx *c, tdict *d, tv key, tv value) {
  if (c->st || !d) return;
  if (!hashable(key)) {
    tmpl_error(c, "expected a dict key of a kind that does not change, got a %s", tmpl_kind_name(key));
    return;
  }
  tv *old = tdict_get(c, d, key);
  if (old) {
    *old = value;
    return;
  }
  if (d->n == d->cap) {
    size_t cap = d->cap ? d->cap * 2 : 4;
    tv *keys = tmpl_alloc(c, cap, sizeof *keys), *values = tmpl_alloc(c, cap, sizeof *values);
    if (!keys || !values) return;
    if (d->n) memcpy(keys, d->keys, d->n * sizeof *keys);
    if (d->n) memcpy(values, d->values, d->n * sizeof *values);
    d->keys = keys;
    d->values = values;
    d->cap = cap;
  }
  d->keys[d->n] = key;
  d->values[d->n++] = value;
}

int64_t tmpl_items(tctx *c, tv v, tv **items) {
  *items = NULL;
  if (c->st) return -1;
  switch (v.kind) {
    case V_UNDEFINED: return 0;
    case V_LIST: {
      size_t from = v.list->pos;
      *items = from ? v.list->items + from : v.list->items; /* NULL where nothing is */
      if (v.list->form == L_GENERATOR) v.list->pos = v.list->n;
      return (int64_t)(v.list->n - from);
    }
    case V_DICT: *items = v.dict->keys; return (int64_t)v.dict->n;
    case V_STRING: {
      tlist *l = tmpl_new_list(c, L_LIST, v.s->chars);
      if (!l) return -1;
      size_t at = 0, len;
      for (size_t i = 0; i < l->n && !c->st; i++, at += len) {
        tmpl_rune(v.s->p + at, v.s->p + v.s->len, &len);
        l->items[i] = tmpl_part(c, v.s, at, at + len);
      }
      *items = l->items;
      return c->st ? -1 : (int64_t)l->n;
    }
    default:
      tmpl_error(c, "expected something to iterate over, got a value of type %s", tmpl_kind_name(v));
      return -1;
  }
}

bool tmpl_contains(tctx *c, tv needle, tv in) {
  if (in.kind == V_STRING) {
    if (needle.kind != V_STRING) {
      tmpl_error(c, "'in' a string: expected a string on the left, got a value of type %s", tmpl_kind_name(needle));
      return false;
    }
    tmpl_charge(c, in.s->len >> 6);
    return memmem(in.s->p, in.s->len, needle.s->p, needle.s->len) != NULL;
  }
  if (in.kind == V_DICT) {
    if (!hashable(needle)) tmpl_error(c, "'in' a dict: expected a key, got a %s", tmpl_kind_name(needle));
    return !c->st && tdict_get(c, in.dict, needle);
  }
  tv *items;
  int64_t n = tmpl_items(c, in, &items);
  for (int64_t i = 0; i < n && tmpl_charge(c, 1); i++)
    if (tmpl_equal(c, items[i], needle)) return true;
  return false;
}

size_t tmpl_slice_range(int64_t n, const int64_t *start, const int64_t *stop, int64_t step, int64_t *first) {
  int64_t low = step < 0 ? -1 : 0, high = step < 0 ? n - 1 : n, from = step < 0 ? high : low,
          to = step < 0 ? low : high;
  if (start) from = *start < 0 ? (*start < -n ? low : *start + n) : *start > high ? high : *start;
  if (stop) to = *stop < 0 ? (*stop < -n ? low : *stop + n) : *stop > high ? high : *stop;
  *first = from;
  if (step > 0 ? from >= to : from <= to) return 0;
  uint64_t gap = step > 0 ? (uint64_t)(to - from) : (uint64_t)(from - to);
  uint64_t size = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
  /* cppcheck-suppress zerodivcond ; callers refuse a step of 0 */
  return (size_t)((gap - 1) / size + 1); /* NOLINT(clang-analyzer-core.DivideZero): the same */
}

/* ---- kinds, truth, equality, order ---- */

const char *tmpl_kind_name(tv v) {
  static const char *const list_names[] = {"list",        "tuple",      "range",    "dict_keys",
                                           "dict_values", "dict_items", "generator"};
  switch (v.kind) {
    case V_NONE: return "NoneType";
    case V_BOOL: return "bool";
    case V_INT: return "int";
    case V_FLOAT: return "float";
    case V_STRING: return "str";
    case V_LIST: return list_names[v.list->form];
    case V_DICT: return "dict";
    case V_NAMESPACE: return "Namespace";
    case V_METHOD: return "function";
    case V_MACRO: return "Macro";
    case V_LOOP: return "LoopContext";
    default: return "Undefined";
  }
}

bool tmpl_truth(tv v) {
  switch (v.kind) {
    case V_ABSENT:
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v.b;
    case V_INT: return v.i != 0;
    case V_FLOAT: return v.f != 0;
    case V_STRING: return v.s->len > 0;
    case V_LIST: return v.list->form == L_GENERATOR || v.list->n > 0;
    case V_DICT: return v.dict->n > 0;
    default: return true;
  }
}

bool tmpl_index(tv v, int64_t *out) {
  if (v.kind != V_INT && v.kind != V_BOOL) return false;
  *out = v.kind == V_INT ? v.i : v.b;
  return true;
}

bool tmpl_number(tv v, double *out) {
  int64_t i;
  if (v.kind == V_FLOAT)
    *out = v.f;
  else if (tmpl_index(v, &i))
    *out = (double)i;
  else
    return false;
  return true;
}

static bool equal_lists(tctx *c, const tlist *a, const tlist *b) {
  if (a == b) return true;
  if (a->form != b->form || a->form > L_RANGE || a->n != b->n) return false;
  for (size_t i = 0; i < a->n; i++)
    if (!tmpl_equal(c, a->items[i], b->items[i])) return false;
  return true;
}

static bool equal_dicts(tctx *c, const tdict *a, const tdict *b) {
  if (a->n != b->n) return false;
  for (size_t i = 0; i < a->n; i++) {
    const tv *other = tdict_get(c, b, a->keys[i]);
    if (!other || !tmpl_equal(c, a->values[i], *other)) return false;
  }
  return true;
}

bool tmpl_equal(tctx *c, tv a, tv b) {
  double x, y;
  int64_t i, j;
  bool same = false;
  if (!tmpl_charge(c, 1)) return false;
  if (tmpl_index(a, &i) && tmpl_index(b, &j)) return i == j;
  if (tmpl_number(a, &x) && tmpl_number(b, &y)) return x == y;
  if (a.kind != b.kind) return false;
  if (tmpl_enter(c)) switch (a.kind) {
      case V_STRING: same = slice_eq((slice){a.s->p, a.s->len}, (slice){b.s->p, b.s->len}); break;
      case V_LIST: same = equal_lists(c, a.list, b.list); break;
      case V_DICT: same = equal_dicts(c, a.dict, b.dict); break;
      case V_UNDEFINED:
      case V_NONE: same = true; break;
      default: same = a.dict == b.dict; /* the same object */
    }
  c->depth--;
  return same;
}

int tmpl_order(tctx *c, tv a, tv b) {
  double x, y;
  int64_t i, j;
  int order = 2;
  if (!tmpl_charge(c, 1)) return 0;
  if (tmpl_index(a, &i) && tmpl_index(b, &j)) return (i > j) - (i < j);
  if (tmpl_number(a, &x) && tmpl_number(b, &y)) return x != x || y != y ? 2 : (x > y) - (x < y);
  if (a.kind == V_STRING && b.kind == V_STRING) { /* UTF-8 bytes order as code points do */
    size_t n = a.s->len < b.s->len ? a.s->len : b.s->len;
    int d = memcmp(a.s->p, b.s->p, n);
    return d ? (d > 0) - (d < 0) : (a.s->len > b.s->len) - (a.s->len < b.s->len);
  }
  if (a.kind == V_LIST && b.kind == V_LIST && a.list->form == b.list->form && a.list->form <= L_TUPLE) {
    size_t k = 0, n = a.list->n < b.list->n ? a.list->n : b.list->n;
    if (tmpl_enter(c)) {
      while (k < n && tmpl_equal(c, a.list->items[k], b.list->items[k])) k++;
      order = k < n ? tmpl_order(c, a.list->items[k], b.list->items[k])
                    : (a.list->n > b.list->n) - (a.list->n < b.list->n);
    }
    c->depth--;
    return order;
  }
  tmpl_error(c, "expected values that can be ordered, got %s and %s", tmpl_kind_name(a), tmpl_kind_name(b));
  return 0;
}

/* ---- str() and repr() ---- */

/* As Python writes a float: the shortest digits that read back the same, exponent form below 1e-4 and from 1e16. */
void tmpl_float_text(double f, char out[32]) {
  char digits[32];
  if (!isfinite(f)) {
    strcpy(out, f != f ? "nan" : f > 0 ? "inf" : "-inf");
    return;
  }
  int precision = 0;
  do snprintf(digits, sizeof digits, "%.*e", precision, f);
  while (strtod(digits, NULL) != f && precision++ < 17);
  int exponent = atoi(strchr(digits, 'e') + 1);
  if (exponent < -4 || exponent >= 16)
    snprintf(out, 32, "%s", digits); /* C writes two exponent digits at least, as Python does */
  else
    snprintf(out, 32, "%.*f", precision > exponent ? precision - exponent : 1, f);
}

static bool printable(uint32_t r) {
  utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)r);
  return r == ' ' || !(k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CS ||
                       k == UTF8PROC_CATEGORY_CO || k == UTF8PROC_CATEGORY_CN || k == UTF8PROC_CATEGORY_ZL ||
                       k == UTF8PROC_CATEGORY_ZP || k == UTF8PROC_CATEGORY_ZS);
}

static void write_repr(tctx *c, tbuf *b, const tstr *s) {
  char quote = memchr(s->p, '\'', s->len) && !memchr(s->p, '"', s->len) ? '"' : '\'';
  tbuf_add(c, b, &quote, 1);
  for (size_t at = 0, n; at < s->len && !c->st; at += n) {
    uint32_t r = tmpl_rune(s->p + at, s->p + s->len, &n);
    char e[16] = "";
    if (r == '\\' || r == (unsigned char)quote)
      snprintf(e, sizeof e, "\\%c", (char)r);
    else if (r == '\n' || r == '\r' || r == '\t')
      strcpy(e, r == '\n' ? "\\n" : r == '\r' ? "\\r" : "\\t");
    else if (!printable(r))
      snprintf(e, sizeof e, r < 0x100 ? "\\x%02x" : r < 0x10000 ? "\\u%04x" : "\\U%08x", r);
    if (*e)
      tbuf_made(c, b, e, strlen(e), tstr_marked(s, at));
    else
      tbuf_part(c, b, s, at, at + n);
  }
  tbuf_add(c, b, &quote, 1);
}

static void write_dict(tctx *c, tbuf *b, const tdict *d) {
  tdict_all_asked(d);
  tbuf_add(c, b, "{", 1);
  for (size_t i = 0; i < d->n && !c->st; i++) {
    if (i) tbuf_add(c, b, ", ", 2);
    tmpl_write(c, b, d->keys[i], true);
    tbuf_add(c, b, ": ", 2);
    tmpl_write(c, b, d->values[i], true);
  }
  tbuf_add(c, b, "}", 1);
}

static void write_list(tctx *c, tbuf *b, const tlist *l) {
  static const char *const open[] = {"[", "(", "range(", "dict_keys([", "dict_values([", "dict_items(["},
                           *const close[] = {"]", ")", ")", "])", "])", "])"};
  if (l->form == L_GENERATOR || l->form == L_RANGE) {
    tmpl_lacks(c, "writing a %s", l->form == L_RANGE ? "range" : "generator");
    return;
  }
  c->wrote_parts |= l->parts;
  tbuf_add(c, b, open[l->form], strlen(open[l->form]));
  for (size_t i = 0; i < l->n && !c->st; i++) {
    if (i) tbuf_add(c, b, ", ", 2);
    tmpl_write(c, b, l->items[i], true);
  }
  if (l->form == L_TUPLE && l->n == 1) tbuf_add(c, b, ",", 1);
  tbuf_add(c, b, close[l->form], strlen(close[l->form]));
}

void tmpl_write(tctx *c, tbuf *b, tv v, bool repr) {
  char text[32] = "";
  if (!tmpl_enter(c)) {
    c->depth--;
    return;
  }
  switch (v.kind) {
    case V_ABSENT:
    case V_UNDEFINED: strcpy(text, repr ? "Undefined" : ""); break;
    case V_NONE: strcpy(text, "None"); break;
    case V_BOOL: strcpy(text, v.b ? "True" : "False"); break;
    case V_INT: snprintf(text, sizeof text, "%lld", (long long)v.i); break;
    case V_FLOAT: tmpl_float_text(v.f, text); break;
    case V_STRING:
      if (repr && v.s->safe) tmpl_lacks(c, "writing a list with a |safe string");
      if (repr)
        write_repr(c, b, v.s);
      else
        tbuf_str(c, b, v.s);
      break;
    case V_LIST: write_list(c, b, v.list); break;
    case V_DICT: write_dict(c, b, v.dict); break;
    case V_NAMESPACE:
    case V_METHOD:
    case V_MACRO:
    case V_LOOP: tmpl_lacks(c, "writing a %s", tmpl_kind_name(v));
  }
  tbuf_add(c, b, text, strlen(text));
  c->depth--;
}

tv tmpl_str(tctx *c, tv v) {
  if (v.kind == V_STRING && !v.s->safe) return v;
  tbuf b = {0};
  tmpl_write(c, &b, v, false);
  return tbuf_take(c, &b);
}
