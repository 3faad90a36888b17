/* tmpl_object.c - tests, methods of dicts, lists and loops, global functions. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "text/tmpl_internal.h"

/* ---- tests ---- */

#define TEST(name, condition)    \
  F(name) {                      \
    UNUSED;                      \
    return TV_BOOL((condition)); \
  }

TEST(t_defined, self.kind != V_UNDEFINED)
TEST(t_undefined, self.kind == V_UNDEFINED)
TEST(t_none, self.kind == V_NONE)
TEST(t_boolean, self.kind == V_BOOL)
TEST(t_true, self.kind == V_BOOL && self.b)
TEST(t_false, self.kind == V_BOOL && !self.b)
TEST(t_integer, self.kind == V_INT)
TEST(t_float, self.kind == V_FLOAT)
TEST(t_number, self.kind == V_INT || self.kind == V_FLOAT || self.kind == V_BOOL)
TEST(t_string, self.kind == V_STRING)
TEST(t_mapping, self.kind == V_DICT)
TEST(t_iterable, self.kind == V_STRING || self.kind == V_LIST || self.kind == V_DICT || self.kind == V_UNDEFINED ||
                     self.kind == V_LOOP)
TEST(t_sequence, self.kind == V_STRING || (self.kind == V_LIST && self.list->form <= L_RANGE) ||
                     self.kind == V_DICT || self.kind == V_UNDEFINED)
TEST(t_callable, self.kind == V_METHOD || self.kind == V_MACRO || self.kind == V_UNDEFINED)
TEST(t_eq, tmpl_equal(c, self, arg[0]))
TEST(t_ne, !tmpl_equal(c, self, arg[0]))
TEST(t_lt, tmpl_order(c, self, arg[0]) == -1)
TEST(t_le, tmpl_order(c, self, arg[0]) <= 0)
TEST(t_gt, tmpl_order(c, self, arg[0]) == 1)
TEST(t_ge, tmpl_order(c, self, arg[0]) == 0 || tmpl_order(c, self, arg[0]) == 1)
TEST(t_in, tmpl_contains(c, self, arg[0]))
TEST(t_sameas, self.kind == arg[0].kind &&
                   (self.kind == V_NONE || (self.kind == V_BOOL ? self.b == arg[0].b : self.dict == arg[0].dict)))

static tv remainder_is(tctx *c, tv self, int64_t by, int64_t want) {
  int64_t i;
  if (!tmpl_index(self, &i))
    return tmpl_error(c, "test: expected a whole number, got a value of type %s", tmpl_kind_name(self));
  if (!by) return tmpl_error(c, "test 'divisibleby': expected a number other than 0");
  return TV_BOOL(by == -1 || (i % by + by) % by == want);
}
F(t_odd) {
  (void)arg, (void)raw;
  return remainder_is(c, self, 2, 1);
}
F(t_even) {
  (void)arg, (void)raw;
  return remainder_is(c, self, 2, 0);
}
F(t_divisibleby) {
  (void)raw;
  int64_t by;
  return tmpl_need_int(c, arg[0], "test 'divisibleby'", 0, &by) ? remainder_is(c, self, by, 0) : TV_UNDEFINED;
}

static tv case_is(tctx *c, tv self, slice method, slice other) {
  tv s = tmpl_str(c, self), same = tmpl_as_method(c, s, method, NULL, 0),
     changed = tmpl_as_method(c, s, other, NULL, 0);
  return TV_BOOL(tmpl_equal(c, s, same) && !tmpl_equal(c, s, changed));
}
F(t_lower) {
  (void)arg, (void)raw;
  return case_is(c, self, SLICE("lower"), SLICE("upper"));
}
F(t_upper) {
  (void)arg, (void)raw;
  return case_is(c, self, SLICE("upper"), SLICE("lower"));
}

const tbuiltin tmpl_tests[] = {
    {"!=", t_ne, "other", 1},
    {"<", t_lt, "other", 1},
    {"<=", t_le, "other", 1},
    {"==", t_eq, "other", 1},
    {">", t_gt, "other", 1},
    {">=", t_ge, "other", 1},
    {"boolean", t_boolean, "", 0},
    {"callable", t_callable, "", 0},
    {"defined", t_defined, "", 0},
    {"divisibleby", t_divisibleby, "num", 1},
    {"eq", t_eq, "other", 1},
    {"equalto", t_eq, "other", 1},
    {"even", t_even, "", 0},
    {"false", t_false, "", 0},
    {"float", t_float, "", 0},
    {"ge", t_ge, "other", 1},
    {"greaterthan", t_gt, "other", 1},
    {"gt", t_gt, "other", 1},
    {"in", t_in, "seq", 1},
    {"integer", t_integer, "", 0},
    {"iterable", t_iterable, "", 0},
    {"le", t_le, "other", 1},
    {"lessthan", t_lt, "other", 1},
    {"lower", t_lower, "", 0},
    {"lt", t_lt, "other", 1},
    {"mapping", t_mapping, "", 0},
    {"ne", t_ne, "other", 1},
    {"none", t_none, "", 0},
    {"number", t_number, "", 0},
    {"odd", t_odd, "", 0},
    {"sameas", t_sameas, "other", 1},
    {"sequence", t_sequence, "", 0},
    {"string", t_string, "", 0},
    {"true", t_true, "", 0},
    {"undefined", t_undefined, "", 0},
    {"upper", t_upper, "", 0},
    {0},
};

/* ---- methods of dicts, lists, loops ---- */

tv tmpl_dict_items(tctx *c, const tdict *d, tlist_form form) {
  tlist *l = tmpl_new_list(c, form, d->n);
  tdict_all_asked(d);
  for (size_t i = 0; l && i < d->n; i++) {
    tlist *pair = tmpl_new_list(c, L_TUPLE, 2);
    if (!pair) return TV_UNDEFINED;
    pair->items[0] = d->keys[i];
    pair->items[1] = d->values[i];
    l->items[i] = (tv){.kind = V_LIST, .list = pair};
  }
  return l ? (tv){.kind = V_LIST, .list = l} : TV_UNDEFINED;
}

F(m_get) {
  (void)raw;
  tv *v = tdict_get(c, self.dict, arg[0]);
  return v ? *v : arg[1].kind == V_ABSENT ? TV_NONE : arg[1];
}
F(m_items) {
  (void)arg, (void)raw;
  return tmpl_dict_items(c, self.dict, L_ITEMS);
}
F(m_keys) {
  (void)arg, (void)raw;
  return tmpl_list(c, L_KEYS, self.dict->keys, self.dict->n);
}
F(m_values) {
  (void)arg, (void)raw;
  tdict_all_asked(self.dict);
  return tmpl_list(c, L_VALUES, self.dict->values, self.dict->n);
}
F(m_same) { /* copy() of what never changes */
  UNUSED;
  return self;
}
F(m_list_index) {
  (void)raw;
  for (size_t i = 0; i < self.list->n && tmpl_charge(c, 1); i++)
    if (tmpl_equal(c, self.list->items[i], arg[0])) return TV_INT((int64_t)i);
  return tmpl_error(c, "index: the value is not in the list");
}
F(m_list_count) {
  (void)raw;
  int64_t n = 0;
  for (size_t i = 0; i < self.list->n && tmpl_charge(c, 1); i++) n += tmpl_equal(c, self.list->items[i], arg[0]);
  return TV_INT(n);
}
F(m_cycle) {
  (void)arg;
  if (!raw->n) return tmpl_error(c, "loop.cycle: expected values, got none");
  return raw->pos[self.loop->i % raw->n];
}

const tbuiltin tmpl_dict_methods[] = {{"copy", m_same, "", 0},     {"get", m_get, "key,default", 1},
                                      {"items", m_items, "", 0},   {"keys", m_keys, "", 0},
                                      {"values", m_values, "", 0}, {0}};
const tbuiltin tmpl_list_methods[] = {
    {"copy", m_same, "", 0}, {"count", m_list_count, "value", 1}, {"index", m_list_index, "value", 1}, {0}};
const tbuiltin tmpl_loop_methods[] = {{"cycle", m_cycle, NULL, 0}, {0}};

/* ---- global functions ---- */

F(g_raise) {
  (void)self, (void)raw;
  tv s = tmpl_str(c, arg[0]);
  return c->st ? s : tmpl_error(c, "the template refuses the conversation: %.*s", (int)s.s->len, s.s->p);
}

F(g_range) {
  (void)self, (void)raw;
  int64_t v[3] = {0, 0, 1}, step;
  for (int i = 0; i < 3; i++)
    if (arg[i].kind != V_ABSENT && !tmpl_index(arg[i], &v[i]))
      return tmpl_error(c, "range: expected whole numbers, got a value of type %s", tmpl_kind_name(arg[i]));
  if (arg[1].kind == V_ABSENT) v[1] = v[0], v[0] = 0;
  if (!(step = v[2])) return tmpl_error(c, "range: expected a step other than 0");
  uint64_t gap = step > 0 ? (uint64_t)v[1] - (uint64_t)v[0] : (uint64_t)v[0] - (uint64_t)v[1];
  uint64_t by = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
  uint64_t n = (step > 0 ? v[0] < v[1] : v[0] > v[1]) ? (gap - 1) / by + 1 : 0;
  if (n > TMPL_MAX_RANGE)
    return tmpl_error(c, "range: expected at most %d numbers, got %llu", TMPL_MAX_RANGE, (unsigned long long)n);
  tlist *l = tmpl_new_list(c, L_RANGE, (size_t)n);
  for (size_t i = 0; l && i < n; i++) l->items[i] = TV_INT(v[0] + (int64_t)i * step);
  return l ? (tv){.kind = V_LIST, .list = l} : TV_UNDEFINED;
}

static tv make_dict(tctx *c, const targs *raw, tkind kind) {
  tdict *d = tmpl_new_dict(c);
  if (!d || raw->n > 1) return tmpl_error(c, "dict or namespace: expected at most one value, got %zu", raw->n);
  if (raw->n == 1) {
    tv from = raw->pos[0], *pairs;
    int64_t n = from.kind == V_DICT ? 0 : tmpl_items(c, from, &pairs);
    for (size_t i = 0; from.kind == V_DICT && i < from.dict->n; i++)
      tdict_put(c, d, from.dict->keys[i], from.dict->values[i]);
    for (int64_t i = 0; i < n && !c->st; i++) {
      tv *pair;
      if (tmpl_items(c, pairs[i], &pair) != 2) return tmpl_error(c, "dict: expected pairs");
      tdict_put(c, d, pair[0], pair[1]);
    }
  }
  for (size_t i = 0; i < raw->n_named; i++) {
    if (kind == V_NAMESPACE && raw->names[i].p[0] == '_')
      return tmpl_error(c, "namespace: expected a name that does not begin with _, got '%.*s'",
                        (int)raw->names[i].len, raw->names[i].p);
    tdict_put(c, d, tmpl_string(c, raw->names[i]), raw->named[i]);
  }
  return (tv){.kind = kind, .dict = d};
}
F(g_dict) {
  (void)self, (void)arg;
  return make_dict(c, raw, V_DICT);
}
F(g_namespace) {
  (void)self, (void)arg;
  return make_dict(c, raw, V_NAMESPACE);
}

F(g_strftime_now) {
  (void)self, (void)raw;
  if (arg[0].kind != V_STRING)
    return tmpl_error(c, "strftime_now: expected a format, got a %s", tmpl_kind_name(arg[0]));
  struct tm t = {.tm_year = c->year - 1900, .tm_mon = c->month - 1, .tm_mday = c->day, .tm_isdst = -1};
  timegm(&t); /* weekday and day of the year */
  char format[128], text[512];
  const tstr *s = arg[0].s;
  if (s->len + 2 > sizeof format || memchr(s->p, 0, s->len))
    return tmpl_lacks(c, "strftime_now with so long a format");
  for (size_t i = 0; i + 1 < s->len; i++) {
    if (s->p[i] != '%') continue;
    i += s->p[i + 1] == '-' && i + 2 < s->len ? 2 : 1;
    if (!strchr("aAbBcdHIjmMpSUwWxXyYDFTeRuVG%n", s->p[i]))
      return tmpl_lacks(c, "strftime_now with '%%%c'", s->p[i]);
  }
  snprintf(format, sizeof format, "%.*s ", (int)s->len, s->p); /* never empty: 0 from strftime is then an error */
  size_t n = strftime(text, sizeof text, format, &t);
  if (!n) return tmpl_lacks(c, "strftime_now with so long a format");
  atomic_store(c->used_date, true);
  tbuf b = {0};
  tbuf_add(c, &b, text, n - 1);
  return tbuf_take(c, &b);
}

const tbuiltin tmpl_globals[] = {
    {"dict", g_dict, NULL, 0},
    {"namespace", g_namespace, NULL, 0},
    {"raise_exception", g_raise, "message", 1},
    {"range", g_range, "start,stop,step", 1},
    {"strftime_now", g_strftime_now, "format", 1},
    {0},
};
