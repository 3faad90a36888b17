/* tmpl_lex.c - a template's text as tokens, with Jinja's rules for white space around tags.
 *
 * As jinja2's lexer with trim_blocks and lstrip_blocks: the newline after a block or comment is dropped, blanks
 * before a block or comment at the start of a line are dropped, "-" strips all white space on its side, "+" keeps
 * it. \r\n and \r count as \n; one newline at the end of the template is dropped. Operator characters that could
 * close a tag do so only outside brackets.
 */
#include <stdlib.h>
#include <string.h>

#include "text/tmpl_internal.h"

typedef struct {
  ttokens *out;
  arena *a;
  const char *name, *p, *end;
  int line;
  char bracket[TMPL_MAX_NESTING]; /* the closing ones awaited */
  size_t n_brackets;
  rw_error *err;
} lexer;

static rw_status fail(lexer *l, const char *what, const char *todo) {
  return rw_fail(l->err, RW_DATA, "%s:%d: %s; %s", l->name, l->line, what, todo);
}

static rw_status push(lexer *l, ttoken t) {
  t.line = l->line;
  return vec_push(l->out->p, l->out->n, l->out->cap, t) ? RW_OK : rw_nomem(l->err, l->name);
}

/* Moves to p, counting lines. */
static void advance(lexer *l, const char *p) {
  for (; l->p < p; l->p++) l->line += *l->p == '\n';
}

static bool starts(const char *p, const char *end, const char *with) {
  size_t n = strlen(with);
  return (size_t)(end - p) >= n && memcmp(p, with, n) == 0;
}

static const char *skip_space(const char *p, const char *end) {
  size_t n;
  while (p < end && tmpl_is_space(tmpl_rune(p, end, &n))) p += n;
  return p;
}

static const char *strip_end(const char *start, const char *end) {
  for (const char *p = end; p > start;) {
    do p--;
    while (p > start && ((unsigned char)*p & 0xC0) == 0x80);
    size_t n;
    if (!tmpl_is_space(tmpl_rune(p, end, &n))) break;
    end = p;
  }
  return end;
}

/* "%}" (close) with its sign and the white space that goes with it; NULL when it does not stand at p. */
static const char *close_tag(const char *p, const char *end, const char *close, bool plus, bool trim) {
  bool minus = p < end && *p == '-';
  if (minus || (plus && p < end && *p == '+')) {
    if (!starts(p + 1, end, close)) return NULL;
    return minus ? skip_space(p + 3, end) : p + 3;
  }
  if (!starts(p, end, close)) return NULL;
  p += 2;
  return trim && p < end && *p == '\n' ? p + 1 : p;
}

/* Text up to `to`, before a tag with the given sign. */
static rw_status push_data(lexer *l, const char *to, char sign, bool lstrip, bool line_start) {
  const char *from = l->p, *end = to;
  if (sign == '-')
    end = strip_end(from, to);
  else if (sign != '+' && lstrip) {
    const char *line = to;
    while (line > from && line[-1] != '\n') line--;
    if ((line > from || line_start) && skip_space(line, to) == to) end = line;
  }
  rw_status s = end > from ? push(l, (ttoken){.type = T_DATA, .text = {from, (size_t)(end - from)}}) : RW_OK;
  advance(l, to);
  return s;
}

static const char *word_in_tag(const char *p, const char *end, const char *word) {
  p = skip_space(p, end);
  return starts(p, end, word) ? skip_space(p + strlen(word), end) : NULL;
}

/* Past "{% raw %}" when p (behind "{%") begins one, else NULL. */
static const char *raw_begin(const char *p, const char *end) {
  if (p < end && (*p == '-' || *p == '+')) p++;
  p = word_in_tag(p, end, "raw");
  return p ? close_tag(p, end, "%}", false, false) : NULL;
}

static rw_status lex_raw(lexer *l, const char *body) {
  bool line_start = body > l->p && body[-1] == '\n';
  advance(l, body);
  for (const char *p = body; (p = memmem(p, (size_t)(l->end - p), "{%", 2)); p += 2) {
    char sign = p + 2 < l->end ? p[2] : 0;
    const char *q = word_in_tag(p + 2 + (sign == '-' || sign == '+'), l->end, "endraw");
    q = q ? close_tag(q, l->end, "%}", true, true) : NULL;
    if (!q) continue;
    RW_TRY(push_data(l, p, sign, true, line_start));
    advance(l, q);
    return RW_OK;
  }
  return fail(l, "'{% raw %}' without its '{% endraw %}'", "close it");
}

static bool is_name_start(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 0x80;
}
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

static int digit_value(char c) {
  if (is_digit(c)) return c - '0';
  c |= 0x20;
  return c >= 'a' && c <= 'z' ? c - 'a' + 10 : 99;
}

/* Digits of a base, single underscores between them; gives the end. */
static const char *digits(const char *p, const char *end, int base) {
  while (p < end && (digit_value(*p) < base || (*p == '_' && p + 1 < end && digit_value(p[1]) < base))) p++;
  return p;
}

static rw_status lex_number(lexer *l) {
  const char *p = l->p, *end = l->end;
  int base = 10;
  if (*p == '0' && p + 2 < end) {
    char x = (char)(p[1] | 0x20);
    base = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 10;
  }
  const char *q = digits(base == 10 ? p : p + 2, end, base);
  ttoken t = {.type = T_INT};
  if (base == 10 && !(l->out->n && l->out->p[l->out->n - 1].op == '.')) {
    if (q + 1 < end && *q == '.' && is_digit(q[1])) {
      q = digits(q + 1, end, 10);
      t.type = T_FLOAT;
    }
    const char *e = q;
    if (e < end && (*e | 0x20) == 'e') {
      e++;
      if (e < end && (*e == '+' || *e == '-')) e++;
      if (e < end && is_digit(*e)) {
        q = digits(e, end, 10);
        t.type = T_FLOAT;
      }
    }
  }
  char text[64];
  size_t n = 0;
  for (const char *c = p; c < q; c++) {
    if (*c == '_') continue;
    if (n + 1 == sizeof text) return fail(l, "a number of more than 63 digits", "write a shorter one");
    text[n++] = *c;
  }
  text[n] = 0;
  if (t.type == T_FLOAT)
    t.f = strtod(text, NULL);
  else
    for (const char *c = base == 10 ? text : text + 2; *c; c++)
      if (__builtin_mul_overflow(t.i, base, &t.i) || __builtin_add_overflow(t.i, digit_value(*c), &t.i))
        return fail(l, "an integer that does not fit 64 bits", "write a smaller one");
  rw_status s = push(l, t);
  advance(l, q);
  return s;
}

/* \x41, A, \U00000041: n hexadecimal digits. */
static rw_status hex_escape(lexer *l, str *out, const char **p, const char *end, int n) {
  uint32_t v = 0;
  for (int i = 0; i < n; i++, (*p)++) {
    if (*p >= end || digit_value(**p) > 15) return fail(l, "a string with a truncated \\ escape", "mend it");
    v = v << 4 | (uint32_t)digit_value(**p);
  }
  if (v > 0x10FFFF || (v >= 0xD800 && v < 0xE000))
    return fail(l, "a string with an escape that is no character", "mend it");
  str_utf8(out, v);
  return RW_OK;
}

static rw_status unescape(lexer *l, str *out, const char *p, const char *end) {
  static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
  while (p < end) {
    if (*p != '\\' || p + 1 >= end) {
      str_addc(out, *p++);
      continue;
    }
    char c = p[1];
    const char *known = memchr(from, c, sizeof from - 1);
    p += 2;
    if (known)
      str_addc(out, to[known - from]);
    else if (c >= '0' && c <= '7') {
      uint32_t v = (uint32_t)(c - '0');
      for (int i = 0; i < 2 && p < end && *p >= '0' && *p <= '7'; i++) v = v * 8 + (uint32_t)(*p++ - '0');
      str_utf8(out, v);
    } else if (c == 'x' || c == 'u' || c == 'U')
      RW_TRY(hex_escape(l, out, &p, end, c == 'x' ? 2 : c == 'u' ? 4 : 8));
    else if (c == 'N')
      return fail(l, "a string with \\N{…}, which is not supported", "write the character itself");
    else if (c != '\n') { /* an unknown escape stands for itself */
      str_addc(out, '\\');
      str_addc(out, c);
    }
  }
  return RW_OK;
}

static rw_status lex_string(lexer *l) {
  const char *p = l->p + 1;
  while (p < l->end && *p != *l->p) p += *p == '\\' && p + 1 < l->end ? 2 : 1;
  if (p >= l->end) return fail(l, "a string without its closing quote", "close it");
  str s = {0};
  rw_status st = unescape(l, &s, l->p + 1, p);
  char *copy = !st && !s.oom ? arena_strndup(l->a, s.p ? s.p : "", s.len) : NULL;
  if (!st)
    st = copy ? push(l, (ttoken){.type = T_STRING, .text = {copy, s.len}}) : rw_nomem(l->err, "template string");
  str_free(&s);
  advance(l, p + 1);
  return st;
}

static rw_status lex_operator(lexer *l) {
  static const char two[] = "//**==!=>=<=", one[] = "+-/*%~[](){}><=.:|,;";
  const char *p = l->p;
  ttoken t = {.type = T_OP};
  for (const char *o = two; *o && p + 1 < l->end; o += 2)
    if (p[0] == o[0] && p[1] == o[1]) t.op = OP2(o[0], o[1]);
  if (!t.op && strchr(one, *p) && *p) t.op = (unsigned char)*p;
  if (!t.op)
    return rw_fail(l->err, RW_DATA, "%s:%d: expected an expression, got the character '%c'; mend the template",
                   l->name, l->line, *p >= ' ' && *p < 127 ? *p : '?');
  if (t.op == '(' || t.op == '[' || t.op == '{') {
    if (l->n_brackets == sizeof l->bracket) return fail(l, "brackets nested too deeply", "simplify it");
    l->bracket[l->n_brackets++] = t.op == '(' ? ')' : t.op == '[' ? ']' : '}';
  } else if (t.op == ')' || t.op == ']' || t.op == '}') {
    if (!l->n_brackets || l->bracket[--l->n_brackets] != t.op)
      return rw_fail(l->err, RW_DATA, "%s:%d: '%c' without its opening bracket; mend the template", l->name,
                     l->line, t.op);
  }
  rw_status s = push(l, t);
  advance(l, p + (t.op > 255 ? 2 : 1));
  return s;
}

/* Inside {{ … }} or {% … %}, up to and with its end. */
static rw_status lex_tag(lexer *l, bool block) {
  l->n_brackets = 0;
  while (l->p < l->end) {
    const char *close = l->n_brackets ? NULL : close_tag(l->p, l->end, block ? "%}" : "}}", block, block);
    if (close) {
      rw_status s = push(l, (ttoken){.type = block ? T_BLOCK_END : T_PRINT_END});
      advance(l, close);
      return s;
    }
    const char *p = skip_space(l->p, l->end);
    if (p > l->p)
      advance(l, p);
    else if (is_digit(*p))
      RW_TRY(lex_number(l));
    else if (is_name_start(*p)) {
      while (p < l->end && (is_name_start(*p) || is_digit(*p))) p++;
      RW_TRY(push(l, (ttoken){.type = T_NAME, .text = {l->p, (size_t)(p - l->p)}}));
      advance(l, p);
    } else if (*p == '\'' || *p == '"')
      RW_TRY(lex_string(l));
    else
      RW_TRY(lex_operator(l));
  }
  return push(l, (ttoken){.type = T_END});
}

static rw_status lex_comment(lexer *l) {
  for (const char *p = l->p; (p = memmem(p, (size_t)(l->end - p), "#}", 2)); p++) {
    char sign = p > l->p ? p[-1] : 0;
    bool has = sign == '-' || sign == '+';
    advance(l, close_tag(p - has, l->end, "#}", true, true));
    return RW_OK;
  }
  return fail(l, "'{#' without its '#}'", "close it");
}

static rw_status lex_all(lexer *l) {
  bool line_start = true;
  while (l->p < l->end) {
    const char *p = l->p;
    while ((p = memchr(p, '{', (size_t)(l->end - p))) &&
           !(p + 1 < l->end && (p[1] == '{' || p[1] == '%' || p[1] == '#')))
      p++;
    if (!p) return push(l, (ttoken){.type = T_DATA, .text = {l->p, (size_t)(l->end - l->p)}});
    char kind = p[1], sign = p + 2 < l->end ? p[2] : 0;
    RW_TRY(push_data(l, p, sign, kind != '{', line_start));
    const char *raw = kind == '%' ? raw_begin(p + 2, l->end) : NULL;
    if (raw)
      RW_TRY(lex_raw(l, raw));
    else {
      if (kind != '#') RW_TRY(push(l, (ttoken){.type = kind == '%' ? T_BLOCK_BEGIN : T_PRINT_BEGIN}));
      advance(l, p + 2 + (sign == '-' || sign == '+'));
      RW_TRY(kind == '#' ? lex_comment(l) : lex_tag(l, kind == '%'));
    }
    line_start = l->p[-1] == '\n';
  }
  return RW_OK;
}

rw_status tmpl_lex(ttokens *tokens, arena *a, slice source, const char *name, rw_error *err) {
  char *text = arena_alloc(a, source.len + 1, 1);
  if (!text) return rw_nomem(err, name);
  size_t n = 0;
  for (size_t i = 0; i < source.len; i++) {
    char c = source.p[i];
    if (c == '\r') {
      if (i + 1 < source.len && source.p[i + 1] == '\n') continue;
      c = '\n';
    }
    text[n++] = c;
  }
  if (n && text[n - 1] == '\n') n--;
  lexer l = {.out = tokens, .a = a, .name = name, .p = text, .end = text + n, .line = 1, .err = err};
  RW_TRY(lex_all(&l));
  return push(&l, (ttoken){.type = T_END});
}
