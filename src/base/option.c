/* option.c - values and texts of options (see option.h). */
#include "base/option.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

static void *field_of(const option *o, void *values) { return (char *)values + o->field; }
static const void *field_at(const option *o, const void *values) { return (const char *)values + o->field; }

static const option_word yes_no[] = {{"yes", 1}, {"no", 0}, {NULL, 0}};

static const option_word *words_of(const option *o) { return o->kind == OPTION_YES_NO ? yes_no : o->words; }

static const option_word *word_named(const option_word *w, const char *text, size_t len) {
  while (w->text && (strlen(w->text) != len || memcmp(w->text, text, len) != 0)) w++;
  return w->text ? w : NULL;
}

/* ---- reading ---- */

static rw_status unexpected(const option *o, const char *got, rw_error *err) {
  str name = {0};
  option_value_name(o, &name);
  nearest near = NEAREST(got, strlen(got));
  for (const option_word *w = words_of(o); w && w->text; w++) nearest_consider(&near, w->text);
  rw_status s = rw_fail(err, RW_USAGE, "expected %s, got '%s'%s%s%s", name.p ? name.p : "another value", got,
                        near.name ? "; did you mean " : "", near.name ? near.name : "", near.name ? "?" : "");
  str_free(&name);
  return s;
}

/* Is it one of the words between the |? A word in capitals is a placeholder and takes anything; "cuda[:N]" takes
 * any index. */
static bool pattern_takes(const char *pattern, const char *text) {
  if (!strchr(pattern, '|')) return true;
  for (const char *c = pattern; *c;) {
    size_t n = strcspn(c, "|"), literal = strcspn(c, "[|");
    if (strncmp(c, text, literal) == 0 && (text[literal] == 0 || (literal < n && text[literal] == ':')))
      return true;
    if (c[0] >= 'A' && c[0] <= 'Z') return true;
    c += n + (c[n] == '|');
  }
  return false;
}

static rw_status read_int(const char *text, int64_t *out, rw_error *err) {
  char *end;
  errno = 0;
  long long n = strtoll(text, &end, 10);
  if (errno || end == text || *end) return rw_fail(err, RW_USAGE, "expected a whole number, got '%s'", text);
  *out = n;
  return RW_OK;
}

static bool number_of(const char *text, double *out, char **end) {
  errno = 0;
  double x = strtod(text, end);
  if (errno == ERANGE || *end == text || !isfinite(x)) return false;
  *out = x;
  return true;
}

static rw_status read_number(const char *text, double *out, rw_error *err) {
  char *end;
  double x;
  if (!number_of(text, &x, &end) || *end) return rw_fail(err, RW_USAGE, "expected a number, got '%s'", text);
  *out = x;
  return RW_OK;
}

static rw_status read_pair(const option *o, const char *text, double *out, rw_error *err) {
  char *end;
  double a, b;
  if (!number_of(text, &a, &end) || *end != ',' || !number_of(end + 1, &b, &end) || *end)
    return rw_fail(err, RW_USAGE, "expected two numbers as %s, got '%s'", o->initial, text);
  out[0] = a;
  out[1] = b;
  return RW_OK;
}

static rw_status read_set(const option *o, const char *text, int *out, rw_error *err) {
  int set = 0;
  for (const char *c = text;; c++) {
    size_t n = strcspn(c, ",");
    const option_word *w = word_named(o->words, c, n);
    if (!w || set & w->value) return rw_fail(err, RW_USAGE, "expected %s, got '%s'", o->range.expected, text);
    set |= w->value;
    c += n;
    if (*c == 0) break;
  }
  *out = set;
  return RW_OK;
}

bool option_push(option_list *l, const char *s, arena *memory) {
  const char **items = (const char **)l->items;
  if ((l->n & (l->n - 1)) == 0) { /* full: it holds powers of two */
    items = arena_alloc(memory, l->n ? 2 * l->n : 1, sizeof *items);
    if (!items) return false;
    if (l->n) memcpy(items, l->items, l->n * sizeof *items);
    l->items = items;
  }
  items[l->n++] = s;
  return true;
}

static rw_status read_value(const option *o, void *field, const char *text, arena *memory, rw_error *err) {
  const option_word *w;
  switch (o->kind) {
    case OPTION_FLAG: *(bool *)field = true; return RW_OK;
    case OPTION_YES_NO:
    case OPTION_CHOICE:
      if (!(w = word_named(words_of(o), text, strlen(text)))) return unexpected(o, text, err);
      if (o->kind == OPTION_YES_NO)
        *(bool *)field = w->value;
      else
        *(int *)field = w->value;
      return RW_OK;
    case OPTION_TEXT:
      if (!pattern_takes(o->value, text)) return unexpected(o, text, err);
      *(const char **)field = text;
      return RW_OK;
    case OPTION_INT: return read_int(text, field, err);
    case OPTION_NUMBER: return read_number(text, field, err);
    case OPTION_PAIR: return read_pair(o, text, field, err);
    case OPTION_SET: return read_set(o, text, field, err);
    case OPTION_LIST: return option_push(field, text, memory) ? RW_OK : rw_nomem(err, o->name);
  }
  return RW_OK;
}

static rw_status check_range(const option *o, const void *field, rw_error *err) {
  const option_range *r = &o->range;
  if (!r->expected || o->kind == OPTION_SET) return RW_OK;
  for (int i = 0; i < (o->kind == OPTION_PAIR ? 2 : 1); i++) {
    double x = o->kind == OPTION_INT ? (double)*(const int64_t *)field : ((const double *)field)[i];
    bool small = r->above ? !(x > r->least) : !(x >= r->least), large = r->below ? x >= r->most : x > r->most;
    if (!small && !large) continue;
    char expected[64], got[32];
    snprintf(expected, sizeof expected, "%.60s", r->expected);
    if (large && r->most == OPTION_COUNT_MAX)
      snprintf(expected, sizeof expected, "%.0f to %.0f", r->least, r->most);
    if (o->kind == OPTION_INT)
      snprintf(got, sizeof got, "%lld", (long long)*(const int64_t *)field);
    else
      snprintf(got, sizeof got, "%g", x);
    return rw_fail(err, RW_USAGE, "expected %s, got %s", expected, got);
  }
  return RW_OK;
}

rw_status option_set(const option *o, void *values, const char *text, arena *memory, rw_error *err) {
  RW_TRY(read_value(o, field_of(o, values), text, memory, err));
  return check_range(o, field_of(o, values), err);
}

static rw_status check_value(const option *o, const void *values, rw_error *err) {
  const void *field = field_at(o, values);
  str text = {0};
  rw_status s = check_range(o, field, err);
  if (!s && (o->kind == OPTION_TEXT || o->kind == OPTION_CHOICE)) {
    bool there = option_text(o, values, &text);
    if (o->kind == OPTION_CHOICE ? !there : there && !pattern_takes(o->value, text.p ? text.p : ""))
      s = unexpected(o, there ? text.p ? text.p : "" : "another number", err);
  }
  str_free(&text);
  return s;
}

void option_field(char out[OPTION_FIELD], const char *name) {
  snprintf(out, OPTION_FIELD, "\1%.60s\2", name);
  for (char *c = out; *c; c++)
    if (*c == '-') *c = '_';
}

rw_status option_check(const option *table, const void *values, rw_error *err) {
  for (const option *o = table; o->name; o++) {
    if (o->kind == OPTION_LIST || o->kind == OPTION_SET || option_is_initial(o, values)) continue;
    rw_status s = check_value(o, values, err);
    if (!s) continue;
    char name[OPTION_FIELD];
    option_field(name, o->name);
    return rw_prefix(err, s, "%s", name);
  }
  return RW_OK;
}

void option_defaults(const option *table, void *values) {
  for (const option *o = table; o->name; o++) {
    void *field = field_of(o, values);
    switch (o->kind) {
      case OPTION_FLAG:
      case OPTION_YES_NO: *(bool *)field = false; break;
      case OPTION_TEXT: *(const char **)field = NULL; break;
      case OPTION_INT: *(int64_t *)field = 0; break;
      case OPTION_NUMBER: *(double *)field = 0; break;
      case OPTION_PAIR: memset(field, 0, 2 * sizeof(double)); break;
      case OPTION_CHOICE: *(int *)field = -1; break;
      case OPTION_SET: *(int *)field = 0; break;
      case OPTION_LIST: *(option_list *)field = (option_list){0}; break;
    }
    if (o->initial) read_value(o, field, o->initial, NULL, NULL);
  }
}

/* ---- as text ---- */

bool option_text(const option *o, const void *values, str *out) {
  const void *field = field_at(o, values);
  size_t from = out->len;
  switch (o->kind) {
    case OPTION_TEXT:
      if (*(const char *const *)field) str_addz(out, *(const char *const *)field);
      return *(const char *const *)field != NULL;
    case OPTION_INT: str_printf(out, "%lld", (long long)*(const int64_t *)field); return true;
    case OPTION_NUMBER:
      if (!isfinite(*(const double *)field)) return false;
      str_json_num(out, *(const double *)field);
      return true;
    case OPTION_PAIR:
      str_printf(out, "%.15g,%.15g", ((const double *)field)[0], ((const double *)field)[1]);
      return true;
    case OPTION_YES_NO:
    case OPTION_CHOICE: {
      int value = o->kind == OPTION_YES_NO ? *(const bool *)field : *(const int *)field;
      const option_word *w = words_of(o);
      while (w->text && w->value != value) w++;
      if (w->text) str_addz(out, w->text);
      return w->text != NULL;
    }
    case OPTION_SET:
      for (const option_word *w = o->words; w->text; w++)
        if (*(const int *)field & w->value) str_printf(out, "%s%s", out->len > from ? "," : "", w->text);
      return out->len > from;
    case OPTION_FLAG:
    case OPTION_LIST: break;
  }
  return false;
}

void option_value_name(const option *o, str *out) {
  const option_word *words = o->value ? NULL : words_of(o);
  if (o->value) str_addz(out, o->value);
  for (const option_word *w = words; w && w->text; w++)
    str_printf(out, "%s%s", w == words ? "" : o->kind == OPTION_SET ? "," : "|", w->text);
}

const char *option_initial(const option *o) {
  if (o->initial) return o->initial;
  return o->kind == OPTION_INT || o->kind == OPTION_NUMBER ? "0" : NULL;
}

bool option_is_initial(const option *o, const void *values) {
  union {
    bool flag;
    int choice;
    int64_t whole;
    double pair[2];
    const char *text;
    option_list list;
  } value = {.list = {0}};
  option table[2] = {*o, {0}};
  table[0].field = 0;
  option_defaults(table, &value);
  if (o->kind == OPTION_FLAG) return *(const bool *)field_at(o, values) == value.flag;
  str a = {0}, b = {0};
  bool has = option_text(o, values, &a), had = option_text(table, &value, &b);
  bool same = has == had && a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
  str_free(&a);
  str_free(&b);
  return same;
}

/* ---- words of a command line ---- */

static bool is_name(const char *known, const char *name, size_t len) {
  return known && strlen(known) == len && memcmp(known, name, len) == 0;
}

const option *option_named(const option *t, const char *name, size_t len) {
  while (t->name && !is_name(t->name, name, len) && !is_name(t->old, name, len)) t++;
  return t->name ? t : NULL;
}

bool option_is_value(const char *word) { return word[0] != '-' || word[1] == 0; }

const option *option_of_word(const option *t, const char *word, const char **value) {
  bool named = word[1] == '-';
  const char *equals = named ? strchr(word, '=') : word[1] && word[2] ? word + 1 : NULL;
  *value = equals ? equals + 1 : NULL;
  if (named) return option_named(t, word + 2, equals ? (size_t)(equals - word - 2) : strlen(word + 2));
  while (t->name && (t->letter == 0 || t->letter != word[1])) t++;
  return t->name ? t : NULL;
}
