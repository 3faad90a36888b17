/* tmpl_string.c - what templates do with strings: Python's str methods, "%", format().
 *
 * Each result carries the marks of the bytes it was made from. Upper and lower case follow Unicode's one-to-one
 * mappings and U+00DF; Python's other one-to-many mappings (ligatures, final sigma) are not made.
 */
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "text/tmpl_internal.h"

static const tstr *need_str(tctx *c, tv v, const char *what) {
  if (v.kind == V_STRING) return v.s;
  tmpl_error(c, "%s: expected a string, got a value of type %s", what, tmpl_kind_name(v));
  return NULL;
}

/* ---- trimming ---- */

static bool in_set(const tstr *set, uint32_t r) {
  if (!set) return tmpl_is_space(r);
  for (size_t at = 0, n; at < set->len; at += n)
    if (tmpl_rune(set->p + at, set->p + set->len, &n) == r) return true;
  return false;
}

static size_t step_back(const tstr *s, size_t at) {
  do at--;
  while (at > 0 && ((unsigned char)s->p[at] & 0xC0) == 0x80);
  return at;
}

static tv strip(tctx *c, tv self, tv chars, bool left, bool right) {
  const tstr *s = self.s, *set = NULL;
  if (chars.kind != V_ABSENT && chars.kind != V_NONE && !(set = need_str(c, chars, "strip"))) return TV_UNDEFINED;
  size_t from = 0, to = s->len, n;
  while (left && from < to && in_set(set, tmpl_rune(s->p + from, s->p + to, &n))) from += n;
  while (right && to > from) {
    size_t at = step_back(s, to);
    if (!in_set(set, tmpl_rune(s->p + at, s->p + to, &n))) break;
    to = at;
  }
  tmpl_charge(c, (s->len - (to - from)) * (1 + (set ? set->len : 0)) >> 3);
  return tmpl_part(c, s, from, to);
}

static tv m_strip(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return strip(c, self, arg[0], true, true);
}
static tv m_lstrip(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return strip(c, self, arg[0], true, false);
}
static tv m_rstrip(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return strip(c, self, arg[0], false, true);
}

/* ---- splitting and joining ---- */

typedef struct {
  tv *p;
  size_t n, cap;
} tvs;

static void push(tctx *c, tvs *v, tv item) {
  if (v->n == v->cap) {
    size_t cap = v->cap ? v->cap * 2 : 8;
    tv *p = tmpl_alloc(c, cap, sizeof *p);
    if (!p) return;
    if (v->n) memcpy(p, v->p, v->n * sizeof *p);
    v->p = p;
    v->cap = cap;
  }
  v->p[v->n++] = item;
}

static bool split_limit(tctx *c, tv arg, int64_t *limit) {
  *limit = -1;
  if (arg.kind == V_ABSENT || tmpl_index(arg, limit)) return true;
  tmpl_error(c, "split: expected a whole number as maxsplit, got a value of type %s", tmpl_kind_name(arg));
  return false;
}

static void split_space(tctx *c, const tstr *s, int64_t limit, tvs *out) {
  for (size_t at = 0, n; at < s->len && !c->st;) {
    if (tmpl_is_space(tmpl_rune(s->p + at, s->p + s->len, &n))) {
      at += n;
      continue;
    }
    size_t end = at;
    if (limit-- == 0) { /* the rest, without the blanks at its end */
      tv rest = strip(c, tmpl_part(c, s, at, s->len), (tv){0}, false, true);
      push(c, out, rest);
      return;
    }
    while (end < s->len && !tmpl_is_space(tmpl_rune(s->p + end, s->p + s->len, &n))) end += n;
    push(c, out, tmpl_part(c, s, at, end));
    at = end;
  }
}

static tv m_split(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  const tstr *s = self.s, *by = NULL;
  int64_t limit;
  tvs out = {0};
  if (!split_limit(c, arg[1], &limit)) return TV_UNDEFINED;
  if (arg[0].kind == V_ABSENT || arg[0].kind == V_NONE) {
    split_space(c, s, limit, &out);
    return tmpl_list(c, L_LIST, out.p, out.n);
  }
  if (!(by = need_str(c, arg[0], "split"))) return TV_UNDEFINED;
  if (!by->len) return tmpl_error(c, "split: expected a separator, got an empty string");
  size_t at = 0;
  for (const char *p; limit-- != 0 && (p = memmem(s->p + at, s->len - at, by->p, by->len)) && !c->st;) {
    push(c, &out, tmpl_part(c, s, at, (size_t)(p - s->p)));
    at = (size_t)(p - s->p) + by->len;
  }
  push(c, &out, tmpl_part(c, s, at, s->len));
  return tmpl_list(c, L_LIST, out.p, out.n);
}

static tv m_rsplit(tctx *c, tv self, const tv *arg, const targs *raw) {
  int64_t limit;
  tvs out = {0};
  if (!split_limit(c, arg[1], &limit)) return TV_UNDEFINED;
  if (limit < 0) return m_split(c, self, arg, raw);
  if (arg[0].kind == V_ABSENT || arg[0].kind == V_NONE)
    return tmpl_lacks(c, "rsplit() by white space with a limit");
  const tstr *s = self.s, *by = need_str(c, arg[0], "rsplit");
  if (!by) return TV_UNDEFINED;
  if (!by->len) return tmpl_error(c, "rsplit: expected a separator, got an empty string");
  size_t end = s->len;
  for (size_t at = s->len + 1; limit > 0 && at-- > 0 && tmpl_charge(c, 1);) {
    if (at + by->len > end || memcmp(s->p + at, by->p, by->len) != 0) continue;
    push(c, &out, tmpl_part(c, s, at + by->len, end));
    end = at;
    limit--;
  }
  push(c, &out, tmpl_part(c, s, 0, end));
  for (size_t i = 0; i < out.n / 2; i++) {
    tv swap = out.p[i];
    out.p[i] = out.p[out.n - 1 - i];
    out.p[out.n - 1 - i] = swap;
  }
  return tmpl_list(c, L_LIST, out.p, out.n);
}

static tv m_splitlines(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  const tstr *s = self.s;
  bool keep = tmpl_truth(arg[0]);
  tvs out = {0};
  for (size_t at = 0, start = 0, n; at < s->len && !c->st;) {
    uint32_t r = tmpl_rune(s->p + at, s->p + s->len, &n);
    size_t end = at;
    at += n;
    bool more = at < s->len;
    if ((r >= 10 && r <= 13) || (r >= 0x1C && r <= 0x1E) || r == 0x85 || r == 0x2028 || r == 0x2029) {
      if (r == '\r' && more && s->p[at] == '\n') at++;
      push(c, &out, tmpl_part(c, s, start, keep ? at : end));
      start = at;
    } else if (!more)
      push(c, &out, tmpl_part(c, s, start, s->len));
  }
  return tmpl_list(c, L_LIST, out.p, out.n);
}

static tv m_join(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  tv *items;
  int64_t n = tmpl_items(c, arg[0], &items);
  tbuf b = {0};
  if (arg[0].kind == V_UNDEFINED && !c->st) n = 0;
  for (int64_t i = 0; i < n && !c->st; i++) {
    const tstr *s = need_str(c, items[i], "join");
    if (i) tbuf_str(c, &b, self.s);
    if (s) tbuf_str(c, &b, s);
  }
  return tbuf_take(c, &b);
}

static tv m_replace(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  const tstr *s = self.s, *old = need_str(c, arg[0], "replace"), *new = old ? need_str(c, arg[1], "replace") : NULL;
  int64_t limit = -1;
  if (!new) return TV_UNDEFINED;
  if (arg[2].kind != V_ABSENT && !tmpl_index(arg[2], &limit))
    return tmpl_error(c, "replace: expected a whole number as count, got a value of type %s",
                      tmpl_kind_name(arg[2]));
  tbuf b = {0};
  size_t at = 0, n;
  if (!old->len) { /* before each character and at the end */
    while (at < s->len && limit != 0 && !c->st) {
      tmpl_rune(s->p + at, s->p + s->len, &n);
      tbuf_str(c, &b, new);
      tbuf_part(c, &b, s, at, at + n);
      at += n;
      limit--;
    }
    if (limit != 0) tbuf_str(c, &b, new);
  } else
    for (const char *p; limit-- != 0 && (p = memmem(s->p + at, s->len - at, old->p, old->len)) && !c->st;) {
      tbuf_part(c, &b, s, at, (size_t)(p - s->p));
      tbuf_str(c, &b, new);
      at = (size_t)(p - s->p) + old->len;
      tmpl_charge(c, 1);
    }
  tbuf_part(c, &b, s, at, s->len);
  return tbuf_take(c, &b);
}

/* ---- looking inside ---- */

/* The bytes of s[start:stop] for find, count, startswith; false after an error. */
static bool window(tctx *c, const tstr *s, const tv *bounds, size_t *from, size_t *to) {
  int64_t start = 0, stop = (int64_t)s->chars, first;
  for (int i = 0; i < 2; i++)
    if (bounds[i].kind != V_ABSENT && bounds[i].kind != V_NONE && !tmpl_index(bounds[i], i ? &stop : &start)) {
      tmpl_error(c, "expected a whole number as position, got a value of type %s", tmpl_kind_name(bounds[i]));
      return false;
    }
  if (start > (int64_t)s->chars) return *from = s->len + 1, *to = s->len, true;
  size_t n = tmpl_slice_range((int64_t)s->chars, &start, &stop, 1, &first);
  *from = tstr_offset(c, s, (size_t)first);
  *to = tstr_offset(c, s, (size_t)first + n);
  return true;
}

/* The index of arg[0] in s[arg[1]:arg[2]], -1 when absent. */
static int64_t find(tctx *c, const tstr *s, const tv *arg, bool last) {
  const tstr *what = need_str(c, arg[0], "find");
  size_t from, to;
  if (!what || !window(c, s, arg + 1, &from, &to) || from > to || to - from < what->len) return -1;
  const char *p = NULL, *q = s->p + from;
  tmpl_charge(c, (to - from) >> 5);
  do {
    q = memmem(q, (size_t)(s->p + to - q), what->p, what->len);
    if (q) p = q++;
  } while (last && q && q <= s->p + to && tmpl_charge(c, 1));
  return p ? (int64_t)tmpl_string(c, (slice){s->p, (size_t)(p - s->p)}).s->chars : -1;
}

static tv m_find(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return TV_INT(find(c, self.s, arg, false));
}
static tv m_rfind(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return TV_INT(find(c, self.s, arg, true));
}
static tv m_index(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  int64_t i = find(c, self.s, arg, false);
  return i < 0 ? tmpl_error(c, "index: the string is not there") : TV_INT(i);
}

static tv m_count(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  const tstr *what = need_str(c, arg[0], "count");
  size_t from, to;
  int64_t n = 0;
  if (!what || !window(c, self.s, arg + 1, &from, &to)) return TV_UNDEFINED;
  if (!what->len) return TV_INT(from > to ? 0 : (int64_t)tmpl_part(c, self.s, from, to).s->chars + 1);
  for (const char *p; from < to && (p = memmem(self.s->p + from, to - from, what->p, what->len)); n++) {
    from = (size_t)(p - self.s->p) + what->len;
    tmpl_charge(c, 1);
  }
  return TV_INT(n);
}

static tv affix(tctx *c, tv self, const tv *arg, bool end) {
  size_t from, to;
  tv one = arg[0], *any = &one;
  size_t n = 1;
  if (one.kind == V_LIST && one.list->form == L_TUPLE) any = one.list->items, n = one.list->n;
  if (!window(c, self.s, arg + 1, &from, &to)) return TV_UNDEFINED;
  for (size_t i = 0; i < n; i++) {
    const tstr *s = need_str(c, any[i], end ? "endswith" : "startswith");
    if (!s) return TV_UNDEFINED;
    if (from <= to && s->len <= to - from && memcmp(self.s->p + (end ? to - s->len : from), s->p, s->len) == 0)
      return TV_BOOL(true);
  }
  return TV_BOOL(false);
}
static tv m_startswith(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return affix(c, self, arg, false);
}
static tv m_endswith(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return affix(c, self, arg, true);
}

static tv without_affix(tctx *c, tv self, const tv *arg, bool end) {
  const tstr *s = self.s, *what = need_str(c, arg[0], "removeprefix or removesuffix");
  if (!what) return TV_UNDEFINED;
  if (what->len > s->len || memcmp(end ? s->p + s->len - what->len : s->p, what->p, what->len) != 0) return self;
  return end ? tmpl_part(c, s, 0, s->len - what->len) : tmpl_part(c, s, what->len, s->len);
}
static tv m_removeprefix(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return without_affix(c, self, arg, false);
}
static tv m_removesuffix(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)raw;
  return without_affix(c, self, arg, true);
}

static tv all_of(const tstr *s, bool (*is)(uint32_t)) {
  for (size_t at = 0, n; at < s->len; at += n)
    if (!is(tmpl_rune(s->p + at, s->p + s->len, &n))) return TV_BOOL(false);
  return TV_BOOL(s->len > 0);
}
static bool is_digit(uint32_t r) { return utf8proc_category((utf8proc_int32_t)r) == UTF8PROC_CATEGORY_ND; }
static bool is_letter(uint32_t r) {
  utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)r);
  return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}
static bool is_letter_or_digit(uint32_t r) { return is_letter(r) || is_digit(r); }
static tv m_isdigit(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)c, (void)arg, (void)raw;
  return all_of(self.s, is_digit);
}
static tv m_isalpha(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)c, (void)arg, (void)raw;
  return all_of(self.s, is_letter);
}
static tv m_isalnum(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)c, (void)arg, (void)raw;
  return all_of(self.s, is_letter_or_digit);
}
static tv m_isspace(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)c, (void)arg, (void)raw;
  return all_of(self.s, tmpl_is_space);
}

/* ---- case ---- */

typedef enum { UPPER, LOWER, CAPITALIZE, TITLE } casing;

static tv change_case(tctx *c, const tstr *s, casing how) {
  tbuf b = {0};
  bool start = true; /* at the start of the string, or of a word */
  for (size_t at = 0, n; at < s->len && !c->st; at += n) {
    utf8proc_int32_t r = (utf8proc_int32_t)tmpl_rune(s->p + at, s->p + s->len, &n);
    bool up = how == UPPER || (how != LOWER && start);
    utf8proc_int32_t to = !up ? utf8proc_tolower(r) : how == UPPER ? utf8proc_toupper(r) : utf8proc_totitle(r);
    char text[8];
    start = how == TITLE && utf8proc_tolower(r) == r && utf8proc_toupper(r) == r && r != 0xDF;
    if (r == 0xDF && up)
      tbuf_made(c, &b, how == UPPER ? "SS" : "Ss", 2, tstr_marked(s, at));
    else if (to == r)
      tbuf_part(c, &b, s, at, at + n);
    else
      tbuf_made(c, &b, text, (size_t)utf8proc_encode_char(to, (utf8proc_uint8_t *)text), tstr_marked(s, at));
  }
  return tbuf_take(c, &b);
}

static tv m_upper(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)arg, (void)raw;
  return change_case(c, self.s, UPPER);
}
static tv m_lower(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)arg, (void)raw;
  return change_case(c, self.s, LOWER);
}
static tv m_capitalize(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)arg, (void)raw;
  return change_case(c, self.s, CAPITALIZE);
}
static tv m_title(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)arg, (void)raw;
  return change_case(c, self.s, TITLE);
}

/* ---- "%" and format() ---- */

/* One value for %s, %r, %d, %f with `spec` ("%" to the letter, "*" refused) */
static void percent_one(tctx *c, tbuf *b, const char *spec, size_t len, tv v) {
  char format[24], text[400], kind = spec[len - 1];
  double f;
  int64_t i;
  if (kind == 's' || kind == 'r') {
    if (len != 2) {
      tmpl_lacks(c, "'%%' with a width for a string");
      return;
    }
    tmpl_write(c, b, v, kind == 'r');
    return;
  }
  bool whole = kind == 'd' || kind == 'i';
  if (!(whole || kind == 'f') || len > 8) {
    tmpl_lacks(c, "'%%' with '%.*s'", (int)(len < 20 ? len : 20), spec);
    return;
  }
  if (!tmpl_number(v, &f)) {
    tmpl_error(c, "'%%%c': expected a number, got a value of type %s", kind, tmpl_kind_name(v));
    return;
  }
  int w = 0, n;
  if (sscanf(spec, "%%%d", &w) == 1 && w > 99) tmpl_lacks(c, "'%%' with a width above 99");
  if (whole && !tmpl_index(v, &i)) {
    if (!(f > -9e18 && f < 9e18)) {
      tmpl_error(c, "'%%d': expected a number that fits 64 bits, got %g", f);
      return;
    }
    i = (int64_t)f;
  }
  snprintf(format, sizeof format, "%.*s%s", (int)len - 1, spec, whole ? "lld" : "f");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  n = whole ? snprintf(text, sizeof text, format, (long long)i) : snprintf(text, sizeof text, format, f);
#pragma GCC diagnostic pop
  if (n < 0 || (size_t)n >= sizeof text)
    tmpl_lacks(c, "'%%' with so long a number");
  else
    tbuf_add(c, b, text, (size_t)n);
}

tv tmpl_percent(tctx *c, const tstr *s, tv values) {
  tbuf b = {0};
  bool tuple = values.kind == V_LIST && values.list->form == L_TUPLE;
  const tv *v = tuple ? values.list->items : &values;
  size_t n = tuple ? values.list->n : 1, used = 0, at = 0;
  for (const char *p; (p = memchr(s->p + at, '%', s->len - at)) && !c->st;) {
    size_t from = (size_t)(p - s->p), to = from + 1;
    tbuf_part(c, &b, s, at, from);
    if (to < s->len && s->p[to] == '(') return tmpl_lacks(c, "'%%' with names");
    while (to < s->len && strchr("-+ #.0123456789", s->p[to]) && s->p[to]) to++;
    if (to >= s->len) return tmpl_error(c, "'%%': expected a letter after it, got the end of the string");
    at = to + 1;
    if (s->p[to] == '%')
      tbuf_part(c, &b, s, to, at);
    else if (used == n)
      return tmpl_error(c, "'%%': expected %zu values or more, got %zu", used + 1, n);
    else
      percent_one(c, &b, p, at - from, v[used++]);
  }
  if (used < n && (tuple || (values.kind != V_DICT && values.kind != V_LIST)))
    return tmpl_error(c, "'%%': expected %zu values, got %zu", used, n);
  tbuf_part(c, &b, s, at, s->len);
  return tbuf_take(c, &b);
}

/* {}, {0}, {name}; no attributes, conversions or specifications. */
static tv m_format(tctx *c, tv self, const tv *arg, const targs *raw) {
  (void)arg;
  const tstr *s = self.s;
  tbuf b = {0};
  size_t automatic = 0;
  for (size_t at = 0; at < s->len && !c->st;) {
    const char *p = s->p + at;
    bool twice = at + 1 < s->len && p[1] == p[0];
    if (*p != '{' && *p != '}') {
      tbuf_part(c, &b, s, at, at + 1);
      at++;
      continue;
    }
    if (twice) {
      tbuf_part(c, &b, s, at, at + 1);
      at += 2;
      continue;
    }
    const char *end = memchr(p, '}', s->len - at);
    if (*p == '}' || !end) return tmpl_error(c, "format: expected '{' and '}' in pairs");
    slice field = {p + 1, (size_t)(end - p - 1)};
    size_t index = 0;
    const tv *v = NULL;
    bool number = true;
    for (size_t i = 0; i < field.len; i++) {
      number = number && field.p[i] >= '0' && field.p[i] <= '9';
      if (field.p[i] && strchr(".[!:{", field.p[i]))
        return tmpl_lacks(c, "format() with '%.*s'", (int)field.len, field.p);
      if (number && i < 6) index = index * 10 + (size_t)(field.p[i] - '0');
    }
    if (number) {
      if (!field.len) index = automatic++;
      if (index < raw->n) v = &raw->pos[index];
    } else
      for (size_t i = 0; i < raw->n_named; i++)
        if (slice_eq(raw->names[i], field)) v = &raw->named[i];
    if (!v) return tmpl_error(c, "format: expected a value for '{%.*s}', got none", (int)field.len, field.p);
    tmpl_write(c, &b, *v, false);
    at += field.len + 2;
  }
  return tbuf_take(c, &b);
}

const tbuiltin tmpl_str_methods[] = {
    {"capitalize", m_capitalize, "", 0},
    {"count", m_count, "sub,start,end", 1},
    {"endswith", m_endswith, "suffix,start,end", 1},
    {"find", m_find, "sub,start,end", 1},
    {"format", m_format, NULL, 0},
    {"index", m_index, "sub,start,end", 1},
    {"isalnum", m_isalnum, "", 0},
    {"isalpha", m_isalpha, "", 0},
    {"isdigit", m_isdigit, "", 0},
    {"isspace", m_isspace, "", 0},
    {"join", m_join, "iterable", 1},
    {"lower", m_lower, "", 0},
    {"lstrip", m_lstrip, "chars", 0},
    {"removeprefix", m_removeprefix, "prefix", 1},
    {"removesuffix", m_removesuffix, "suffix", 1},
    {"replace", m_replace, "old,new,count", 2},
    {"rfind", m_rfind, "sub,start,end", 1},
    {"rsplit", m_rsplit, "sep,maxsplit", 0},
    {"rstrip", m_rstrip, "chars", 0},
    {"split", m_split, "sep,maxsplit", 0},
    {"splitlines", m_splitlines, "keepends", 0},
    {"startswith", m_startswith, "prefix,start,end", 1},
    {"strip", m_strip, "chars", 0},
    {"title", m_title, "", 0},
    {"upper", m_upper, "", 0},
    {0},
};
