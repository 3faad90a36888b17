/* tmpl_func.c - the filters. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/tmpl_internal.h"

/* ---- filters on strings ---- */

F(f_trim) {
  (void)raw;
  return tmpl_as_method(c, self, SLICE("strip"), arg, arg[0].kind != V_ABSENT);
}
F(f_upper) {
  (void)raw;
  return tmpl_as_method(c, self, SLICE("upper"), arg, 0);
}
F(f_lower) {
  (void)raw;
  return tmpl_as_method(c, self, SLICE("lower"), arg, 0);
}
F(f_capitalize) {
  (void)raw;
  return tmpl_as_method(c, self, SLICE("capitalize"), arg, 0);
}

/* Unlike str.title: words begin after white space and - ( { [ < only. */
F(f_title) {
  (void)arg, (void)raw;
  tv s = tmpl_str(c, self);
  tbuf b = {0};
  bool word = true;
  for (size_t at = 0, n; !c->st && at < s.s->len; at += n) {
    uint32_t r = tmpl_rune(s.s->p + at, s.s->p + s.s->len, &n);
    bool separator = tmpl_is_space(r) || (r < 128 && r && strchr("-({[<", (int)r));
    tv one = tmpl_as_method(c, tmpl_part(c, s.s, at, at + n), word ? SLICE("upper") : SLICE("lower"), NULL, 0);
    if (!c->st) tbuf_str(c, &b, one.s);
    word = separator;
  }
  return tbuf_take(c, &b);
}

F(f_replace) {
  (void)raw;
  tv args[3] = {tmpl_str(c, arg[0]), tmpl_str(c, arg[1]), arg[2]};
  return tmpl_as_method(c, tmpl_str(c, self), SLICE("replace"), args, given(arg[2]) ? 3 : 2);
}

F(f_string) {
  (void)arg, (void)raw;
  return self.kind == V_STRING ? self : tmpl_str(c, self);
}

F(f_safe) {
  (void)arg, (void)raw;
  return tmpl_safe(c, tmpl_str(c, self));
}

F(f_format) {
  (void)arg;
  tv s = tmpl_str(c, self);
  if (raw->n_named) return tmpl_lacks(c, "filter 'format' with keywords");
  return c->st ? s : tmpl_percent(c, s.s, tmpl_list(c, L_TUPLE, raw->pos, raw->n));
}

F(f_indent) {
  (void)raw;
  int64_t width = 4;
  tbuf b = {0};
  if (self.kind != V_STRING)
    return tmpl_error(c, "filter 'indent': expected a string, got a value of type %s", tmpl_kind_name(self));
  if (arg[0].kind != V_STRING && !tmpl_need_int(c, arg[0], "filter 'indent'", 4, &width)) return TV_UNDEFINED;
  if (width > 10000) return tmpl_lacks(c, "filter 'indent' with a width above 10000");
  tbuf blanks = {0};
  for (int64_t i = 0; arg[0].kind != V_STRING && i < width; i++) tbuf_add(c, &blanks, " ", 1);
  const tv by = arg[0].kind == V_STRING ? arg[0] : tbuf_take(c, &blanks);
  tv with_end = tmpl_string(c, SLICE("\n"));
  tbuf text = {0};
  tbuf_str(c, &text, self.s);
  if (!c->st) tbuf_str(c, &text, with_end.s);
  tv lines = tmpl_as_method(c, tbuf_take(c, &text), SLICE("splitlines"), NULL, 0);
  for (size_t i = 0; !c->st && i < lines.list->n; i++) {
    const tstr *line = lines.list->items[i].s;
    if (i) tbuf_add(c, &b, "\n", 1);
    if (i ? line->len || tmpl_truth(arg[2]) : tmpl_truth(arg[1])) tbuf_str(c, &b, by.s);
    tbuf_str(c, &b, line);
  }
  return tbuf_take(c, &b);
}

F(f_tojson) {
  (void)raw;
  return tmpl_tojson(c, self, arg);
}

/* ---- filters on numbers ---- */

/* A float in a Python string; white space around it is fine. */
static bool parse_float(const tstr *s, double *out) {
  char text[80], *end;
  size_t from = 0, to = s->len;
  while (from < to && tmpl_is_space((unsigned char)s->p[from])) from++;
  while (to > from && tmpl_is_space((unsigned char)s->p[to - 1])) to--;
  if (to == from || to - from >= sizeof text) return false;
  memcpy(text, s->p + from, to - from);
  text[to - from] = 0;
  if (strpbrk(text, "xXpP(") || strlen(text) != to - from) return false;
  *out = strtod(text, &end);
  return !*end;
}

F(f_float) {
  (void)raw;
  double f;
  if (self.kind == V_UNDEFINED) return tmpl_error(c, "filter 'float': the value is undefined");
  if (self.kind == V_STRING ? parse_float(self.s, &f) : tmpl_number(self, &f)) return TV_FLOAT(f);
  return arg[0].kind == V_ABSENT ? TV_FLOAT(0) : arg[0];
}

F(f_int) {
  (void)raw;
  double f;
  int64_t i;
  tv otherwise = arg[0].kind == V_ABSENT ? TV_INT(0) : arg[0];
  if (arg[1].kind != V_ABSENT) return tmpl_lacks(c, "filter 'int' with a base");
  if (self.kind == V_UNDEFINED) return tmpl_error(c, "filter 'int': the value is undefined");
  if (tmpl_index(self, &i)) return TV_INT(i);
  if (self.kind == V_STRING) {
    char text[24], *end;
    tv s = tmpl_as_method(c, self, SLICE("strip"), NULL, 0);
    if (c->st) return s;
    if (s.s->len && s.s->len < 19 && strspn(s.s->p, "+-0123456789") >= s.s->len) {
      snprintf(text, sizeof text, "%.*s", (int)s.s->len, s.s->p);
      i = strtoll(text, &end, 10);
      if (!*end) return TV_INT(i);
    }
    if (!parse_float(s.s, &f)) return otherwise;
  } else if (!tmpl_number(self, &f))
    return otherwise;
  if (!isfinite(f)) return otherwise;
  if (!(f > -9.2e18 && f < 9.2e18)) return tmpl_error(c, "filter 'int': the number does not fit 64 bits");
  return TV_INT((int64_t)f);
}

F(f_abs) {
  (void)arg, (void)raw;
  int64_t i;
  if (self.kind == V_FLOAT) return TV_FLOAT(fabs(self.f));
  if (!tmpl_index(self, &i) || i == INT64_MIN)
    return tmpl_error(c, "filter 'abs': expected a number, got a value of type %s", tmpl_kind_name(self));
  return TV_INT(i < 0 ? -i : i);
}

F(f_round) {
  (void)raw;
  double f;
  int64_t digits;
  if (arg[1].kind != V_ABSENT) return tmpl_lacks(c, "filter 'round' with a method");
  if (!tmpl_number(self, &f))
    return tmpl_error(c, "filter 'round': expected a number, got a value of type %s", tmpl_kind_name(self));
  if (!tmpl_need_int(c, arg[0], "filter 'round'", 0, &digits)) return TV_UNDEFINED;
  if (digits < 0 || digits > 20) return tmpl_lacks(c, "filter 'round' with such a precision");
  if (self.kind != V_FLOAT) return tmpl_index(self, &digits) ? TV_INT(digits) : self;
  char text[400];
  snprintf(text, sizeof text, "%.*f", (int)digits, f); /* correctly rounded, ties to even, as Python's round */
  return TV_FLOAT(strtod(text, NULL));
}

/* ---- filters on lists ---- */

/* item.a.b for attribute "a.b"; parts that are digits are indices. */
static tv dig(tctx *c, tv item, tv attribute) {
  if (attribute.kind == V_ABSENT || attribute.kind == V_NONE) return item;
  if (attribute.kind != V_STRING) return tmpl_item(c, item, attribute, NULL);
  slice s = {attribute.s->p, attribute.s->len};
  for (bool more = true; more && !c->st;) {
    const char *dot = memchr(s.p, '.', s.len);
    slice part = {s.p, dot ? (size_t)(dot - s.p) : s.len};
    int64_t index = 0;
    size_t digits = 0;
    while (digits < part.len && digits < 18 && part.p[digits] >= '0' && part.p[digits] <= '9')
      index = index * 10 + (part.p[digits++] - '0');
    item = tmpl_item(c, item, part.len && digits == part.len ? TV_INT(index) : tmpl_string(c, part), NULL);
    more = dot != NULL;
    if (more) s = (slice){dot + 1, s.len - part.len - 1};
  }
  return item;
}

F(f_length) {
  (void)arg, (void)raw;
  if (self.kind == V_UNDEFINED) return TV_INT(0);
  if (self.kind == V_STRING) return TV_INT((int64_t)self.s->chars);
  if (self.kind == V_DICT) return TV_INT((int64_t)self.dict->n);
  if (self.kind == V_LIST && self.list->form != L_GENERATOR) return TV_INT((int64_t)self.list->n);
  if (self.kind == V_LOOP) return TV_INT((int64_t)self.loop->n);
  return tmpl_error(c, "filter 'length': expected something with a length, got a value of type %s",
                    tmpl_kind_name(self));
}

F(f_list) {
  (void)arg, (void)raw;
  tv *items;
  int64_t n = tmpl_items(c, self, &items);
  return n < 0 ? TV_UNDEFINED : tmpl_list(c, L_LIST, items, (size_t)n);
}

F(f_first) {
  (void)arg, (void)raw;
  tv *items;
  if (self.kind == V_LIST) {
    if (self.list->pos >= self.list->n) return TV_UNDEFINED;
    return self.list->items[self.list->form == L_GENERATOR ? self.list->pos++ : 0];
  }
  return tmpl_items(c, self, &items) > 0 ? items[0] : TV_UNDEFINED;
}

F(f_last) {
  (void)arg, (void)raw;
  tv *items;
  if (self.kind == V_LIST && self.list->form == L_GENERATOR)
    return tmpl_error(c, "filter 'last': expected something to read backwards, got a generator");
  int64_t n = tmpl_items(c, self, &items);
  return n > 0 ? items[n - 1] : TV_UNDEFINED;
}

F(f_reverse) {
  (void)arg, (void)raw;
  tv *items;
  bool generator = self.kind == V_LIST && self.list->form == L_GENERATOR;
  int64_t n = tmpl_items(c, self, &items);
  tlist *l = n < 0 ? NULL : tmpl_new_list(c, generator ? L_LIST : L_GENERATOR, (size_t)n);
  if (!l) return TV_UNDEFINED;
  for (size_t i = 0; i < l->n; i++) l->items[i] = items[l->n - 1 - i];
  if (self.kind != V_STRING) return (tv){.kind = V_LIST, .list = l};
  tbuf b = {0};
  for (size_t i = 0; i < l->n; i++) tbuf_str(c, &b, l->items[i].s);
  return tbuf_take(c, &b);
}

F(f_join) {
  (void)raw;
  tv *items, by = tmpl_str(c, arg[0].kind == V_ABSENT ? tmpl_string(c, SLICE("")) : arg[0]);
  int64_t n = tmpl_items(c, self, &items);
  tbuf b = {0};
  for (int64_t i = 0; i < n && !c->st; i++) {
    if (i) tbuf_str(c, &b, by.s);
    tmpl_write(c, &b, dig(c, items[i], arg[1]), false);
  }
  return tbuf_take(c, &b);
}

F(f_sum) {
  (void)raw;
  tv *items, sum = arg[1].kind == V_ABSENT ? TV_INT(0) : arg[1];
  int64_t n = tmpl_items(c, self, &items), i, j;
  double x, y;
  for (int64_t k = 0; k < n && !c->st; k++) {
    tv item = dig(c, items[k], arg[0]);
    if (tmpl_index(sum, &i) && tmpl_index(item, &j) && !__builtin_add_overflow(i, j, &i))
      sum = TV_INT(i);
    else if (tmpl_number(sum, &x) && tmpl_number(item, &y))
      sum = TV_FLOAT(x + y);
    else
      return tmpl_error(c, "filter 'sum': expected numbers, got a value of type %s", tmpl_kind_name(item));
  }
  return sum;
}

/* What items are compared by: their attribute, in lower case unless case counts. */
static tv sort_key(tctx *c, tv item, tv attribute, bool cased) {
  tv key = dig(c, item, attribute);
  return key.kind == V_STRING && !cased ? tmpl_as_method(c, key, SLICE("lower"), NULL, 0) : key;
}

/* Stable insertion sort of items by keys: lists in templates are short, and the step limit holds for others. */
static tv sorted(tctx *c, const tv *items, const tv *keys, size_t n, bool reverse) {
  tlist *l = tmpl_new_list(c, L_LIST, n), *k = tmpl_new_list(c, L_LIST, n);
  for (size_t i = 0; l && k && i < n && !c->st; i++) {
    size_t at = i;
    for (; at > 0 && tmpl_charge(c, 1); at--) {
      int order = tmpl_order(c, k->items[at - 1], keys[i]);
      if (order == 2 || (reverse ? order >= 0 : order <= 0)) break;
      l->items[at] = l->items[at - 1];
      k->items[at] = k->items[at - 1];
    }
    l->items[at] = items[i];
    k->items[at] = keys[i];
  }
  return l && k ? (tv){.kind = V_LIST, .list = l} : TV_UNDEFINED;
}

F(f_sort) { /* reverse, case_sensitive, attribute */
  (void)raw;
  tv *items;
  int64_t n = tmpl_items(c, self, &items);
  tlist *keys = n < 0 ? NULL : tmpl_new_list(c, L_LIST, (size_t)n);
  if (arg[2].kind == V_STRING && memchr(arg[2].s->p, ',', arg[2].s->len))
    return tmpl_lacks(c, "filter 'sort' by several attributes");
  for (int64_t i = 0; keys && i < n && !c->st; i++)
    keys->items[i] = sort_key(c, items[i], arg[2], tmpl_truth(arg[1]));
  return keys && !c->st ? sorted(c, items, keys->items, (size_t)n, tmpl_truth(arg[0])) : TV_UNDEFINED;
}

static tv extreme(tctx *c, tv self, const tv *arg, int sign) { /* case_sensitive, attribute */
  tv *items, best = TV_UNDEFINED, best_key = TV_UNDEFINED;
  int64_t n = tmpl_items(c, self, &items);
  for (int64_t i = 0; i < n && !c->st; i++) {
    tv key = sort_key(c, items[i], arg[1], tmpl_truth(arg[0]));
    if (i && tmpl_order(c, key, best_key) != sign) continue;
    best = items[i];
    best_key = key;
  }
  return best;
}
F(f_min) {
  (void)raw;
  return extreme(c, self, arg, -1);
}
F(f_max) {
  (void)raw;
  return extreme(c, self, arg, 1);
}

F(f_unique) { /* case_sensitive, attribute */
  (void)raw;
  tv *items;
  int64_t n = tmpl_items(c, self, &items);
  tlist *l = n < 0 ? NULL : tmpl_new_list(c, L_GENERATOR, (size_t)n),
        *seen = l ? tmpl_new_list(c, L_LIST, l->n) : NULL;
  if (!seen) return TV_UNDEFINED;
  seen->n = l->n = 0;
  for (int64_t i = 0; i < n && !c->st; i++) {
    tv key = sort_key(c, items[i], arg[1], tmpl_truth(arg[0]));
    if (tmpl_contains(c, key, (tv){.kind = V_LIST, .list = seen})) continue;
    seen->items[seen->n++] = key;
    l->items[l->n++] = items[i];
  }
  return (tv){.kind = V_LIST, .list = l};
}

F(f_batch) {
  (void)raw;
  tv *items;
  int64_t size, n = tmpl_items(c, self, &items);
  if (n < 0 || !tmpl_need_int(c, arg[0], "filter 'batch'", 1, &size)) return TV_UNDEFINED;
  if (size < 1 || given(arg[1])) return tmpl_lacks(c, "filter 'batch' with such arguments");
  size_t groups = (size_t)((n + size - 1) / size);
  tlist *l = tmpl_new_list(c, L_GENERATOR, groups);
  for (size_t i = 0; l && i < groups; i++) {
    int64_t from = (int64_t)i * size, left = n - from;
    l->items[i] = tmpl_list(c, L_LIST, items + from, (size_t)(left < size ? left : size));
  }
  return l ? (tv){.kind = V_LIST, .list = l} : TV_UNDEFINED;
}

F(f_items) {
  (void)arg, (void)raw;
  if (self.kind == V_UNDEFINED) return tmpl_list(c, L_GENERATOR, NULL, 0);
  if (self.kind != V_DICT)
    return tmpl_error(c, "filter 'items': expected a dict, got a value of type %s", tmpl_kind_name(self));
  return tmpl_dict_items(c, self.dict, L_GENERATOR);
}

F(f_dictsort) { /* case_sensitive, by, reverse */
  (void)raw;
  bool by_value = arg[1].kind == V_STRING && slice_is((slice){arg[1].s->p, arg[1].s->len}, "value");
  if (self.kind != V_DICT)
    return tmpl_error(c, "filter 'dictsort': expected a dict, got a value of type %s", tmpl_kind_name(self));
  tv pairs = tmpl_dict_items(c, self.dict, L_LIST);
  tlist *keys = tmpl_new_list(c, L_LIST, self.dict->n);
  for (size_t i = 0; keys && i < keys->n; i++)
    keys->items[i] = sort_key(c, (by_value ? self.dict->values : self.dict->keys)[i], (tv){0}, tmpl_truth(arg[0]));
  return keys && !c->st ? sorted(c, pairs.list->items, keys->items, keys->n, tmpl_truth(arg[2])) : TV_UNDEFINED;
}

F(f_default) {
  (void)c, (void)raw;
  if (self.kind != V_UNDEFINED && !(tmpl_truth(arg[1]) && !tmpl_truth(self))) return self;
  return arg[0].kind == V_ABSENT ? tmpl_string(c, SLICE("")) : arg[0];
}

/* The arguments without the first `used`; pos is NULL where there are none. */
static targs arguments_from(const targs *raw, size_t used) {
  targs rest = *raw;
  if (used) rest.pos += used, rest.n -= used;
  return rest;
}

/* map(attribute=…, default=…) or map('filter', arguments…) */
F(f_map) {
  (void)arg;
  tv *items, attribute = {0}, otherwise = {0};
  if (!tmpl_truth(self)) return tmpl_list(c, L_GENERATOR, NULL, 0);
  for (size_t i = 0; i < raw->n_named && !raw->n; i++) {
    if (slice_is(raw->names[i], "attribute")) attribute = raw->named[i];
    if (slice_is(raw->names[i], "default")) otherwise = raw->named[i];
  }
  targs rest = arguments_from(raw, raw->n ? 1 : 0);
  const tbuiltin *filter = NULL;
  if (raw->n) {
    if (raw->pos[0].kind != V_STRING) return tmpl_error(c, "filter 'map': expected a filter's name");
    slice name = {raw->pos[0].s->p, raw->pos[0].s->len};
    if (!(filter = tmpl_find(tmpl_filters, name))) return tmpl_lacks(c, "filter '%.*s'", (int)name.len, name.p);
  } else if (attribute.kind == V_ABSENT)
    return tmpl_error(c, "filter 'map': expected a filter's name or attribute=, got neither");
  int64_t n = tmpl_items(c, self, &items);
  tlist *l = n < 0 ? NULL : tmpl_new_list(c, L_GENERATOR, (size_t)n);
  for (int64_t i = 0; l && i < n && tmpl_charge(c, 1); i++) {
    tv v = filter ? tmpl_call_builtin(c, filter, "filter", items[i], &rest) : dig(c, items[i], attribute);
    l->items[i] = v.kind == V_UNDEFINED && given(otherwise) ? otherwise : v;
  }
  return l ? (tv){.kind = V_LIST, .list = l} : TV_UNDEFINED;
}

/* select('test', …), selectattr('attribute', 'test', …) and their opposites */
static tv choose(tctx *c, tv self, const targs *raw, bool by_attribute, bool keep) {
  tv *items, attribute = {0};
  size_t used = by_attribute;
  const tbuiltin *test = NULL;
  if (!tmpl_truth(self)) return tmpl_list(c, L_GENERATOR, NULL, 0);
  if (by_attribute) {
    if (!raw->n) return tmpl_error(c, "filter 'selectattr': expected an attribute's name, got none");
    attribute = raw->pos[0];
  }
  if (raw->n > used) {
    if (raw->pos[used].kind != V_STRING) return tmpl_error(c, "filter 'select': expected a test's name");
    slice name = {raw->pos[used].s->p, raw->pos[used].s->len};
    if (!(test = tmpl_find(tmpl_tests, name))) return tmpl_lacks(c, "test '%.*s'", (int)name.len, name.p);
    used++;
  }
  targs rest = arguments_from(raw, used);
  int64_t n = tmpl_items(c, self, &items);
  tlist *l = n < 0 ? NULL : tmpl_new_list(c, L_GENERATOR, (size_t)n);
  if (!l) return TV_UNDEFINED;
  l->n = 0;
  for (int64_t i = 0; i < n && tmpl_charge(c, 1); i++) {
    tv v = dig(c, items[i], attribute);
    if (test) v = tmpl_call_builtin(c, test, "test", v, &rest);
    if (tmpl_truth(v) == keep) l->items[l->n++] = items[i];
  }
  return (tv){.kind = V_LIST, .list = l};
}
F(f_select) {
  (void)arg;
  return choose(c, self, raw, false, true);
}
F(f_reject) {
  (void)arg;
  return choose(c, self, raw, false, false);
}
F(f_selectattr) {
  (void)arg;
  return choose(c, self, raw, true, true);
}
F(f_rejectattr) {
  (void)arg;
  return choose(c, self, raw, true, false);
}

F(f_attr) {
  (void)raw;
  if (arg[0].kind != V_STRING) return tmpl_error(c, "filter 'attr': expected a name");
  if (self.kind == V_DICT) return tmpl_lacks(c, "filter 'attr' on a dict");
  return tmpl_attr(c, self, (slice){arg[0].s->p, arg[0].s->len}, NULL);
}

const tbuiltin tmpl_filters[] = {
    {"abs", f_abs, "", 0},
    {"attr", f_attr, "name", 1},
    {"batch", f_batch, "linecount,fill_with", 1},
    {"capitalize", f_capitalize, "", 0},
    {"count", f_length, "", 0},
    {"d", f_default, "default_value,boolean", 0},
    {"default", f_default, "default_value,boolean", 0},
    {"dictsort", f_dictsort, "case_sensitive,by,reverse", 0},
    {"first", f_first, "", 0},
    {"float", f_float, "default", 0},
    {"format", f_format, NULL, 0},
    {"indent", f_indent, "width,first,blank", 0},
    {"int", f_int, "default,base", 0},
    {"items", f_items, "", 0},
    {"join", f_join, "d,attribute", 0},
    {"last", f_last, "", 0},
    {"length", f_length, "", 0},
    {"list", f_list, "", 0},
    {"lower", f_lower, "", 0},
    {"map", f_map, NULL, 0},
    {"max", f_max, "case_sensitive,attribute", 0},
    {"min", f_min, "case_sensitive,attribute", 0},
    {"reject", f_reject, NULL, 0},
    {"rejectattr", f_rejectattr, NULL, 0},
    {"replace", f_replace, "old,new,count", 2},
    {"reverse", f_reverse, "", 0},
    {"round", f_round, "precision,method", 0},
    {"safe", f_safe, "", 0},
    {"select", f_select, NULL, 0},
    {"selectattr", f_selectattr, NULL, 0},
    {"sort", f_sort, "reverse,case_sensitive,attribute", 0},
    {"string", f_string, "", 0},
    {"sum", f_sum, "attribute,start", 0},
    {"title", f_title, "", 0},
    {"tojson", f_tojson, "ensure_ascii,indent,separators,sort_keys", 0},
    {"trim", f_trim, "chars", 0},
    {"unique", f_unique, "case_sensitive,attribute", 0},
    {"upper", f_upper, "", 0},
    {0},
};
