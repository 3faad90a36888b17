/* tmpl_access.c - what a value gives when it is asked: object.name, object[key], object[a:b:step]. */

#include "text/tmpl_internal.h"

tv tmpl_method(tctx *c, const tbuiltin *b, tv self) {
  tmethod *m = tmpl_alloc(c, 1, sizeof *m);
  if (!m) return TV_UNDEFINED;
  *m = (tmethod){b, self};
  return (tv){.kind = V_METHOD, .method = m};
}

/* Something was asked of an undefined value. */
static tv missing(tctx *c, tv object, const char *what, slice name) {
  const node *o = object.origin;
  if (o && o->text.len)
    return tmpl_error(c, "'%.*s' is undefined, so it has no %s '%.*s'", (int)o->text.len, o->text.p, what,
                      (int)name.len, name.p);
  return tmpl_error(c, "an undefined value has no %s '%.*s'", what, (int)name.len, name.p);
}

static tv loop_attr(tctx *c, tv object, slice name) {
  const tloop *l = object.loop;
  if (slice_is(name, "index")) return TV_INT((int64_t)l->i + 1);
  if (slice_is(name, "index0")) return TV_INT((int64_t)l->i);
  if (slice_is(name, "revindex")) return TV_INT((int64_t)(l->n - l->i));
  if (slice_is(name, "revindex0")) return TV_INT((int64_t)(l->n - l->i) - 1);
  if (slice_is(name, "first")) return TV_BOOL(l->i == 0);
  if (slice_is(name, "last")) return TV_BOOL(l->i + 1 == l->n);
  if (slice_is(name, "length")) return TV_INT((int64_t)l->n);
  if (slice_is(name, "depth")) return TV_INT(1);
  if (slice_is(name, "depth0")) return TV_INT(0);
  if (slice_is(name, "previtem")) return l->i > 0 ? l->items[l->i - 1] : TV_UNDEFINED;
  if (slice_is(name, "nextitem")) return l->i + 1 < l->n ? l->items[l->i + 1] : TV_UNDEFINED;
  const tbuiltin *b = tmpl_find(tmpl_loop_methods, name);
  return b ? tmpl_method(c, b, object) : tmpl_lacks(c, "'loop.%.*s'", (int)name.len, name.p);
}

/* What getattr gives: a method of the value; V_ABSENT when it has none of that name. */
static tv own_attr(tctx *c, tv object, slice name) {
  const tbuiltin *b = NULL;
  if (object.kind == V_STRING) b = tmpl_find(tmpl_str_methods, name);
  if (object.kind == V_DICT) b = tmpl_find(tmpl_dict_methods, name);
  if (object.kind == V_LIST) b = tmpl_find(tmpl_list_methods, name);
  if (b) return tmpl_method(c, b, object);
  if (object.kind == V_LOOP) return loop_attr(c, object, name);
  return (tv){.kind = V_ABSENT};
}

tv tmpl_attr(tctx *c, tv object, slice name, const node *origin) {
  if (object.kind == V_UNDEFINED) return missing(c, object, "attribute", name);
  tv v = own_attr(c, object, name);
  if (v.kind != V_ABSENT) return v;
  if (object.kind == V_DICT || object.kind == V_NAMESPACE) {
    tv *item = tdict_find(object.dict, name);
    if (item) return *item;
  }
  return tmpl_undefined(origin);
}

static bool wrap_index(int64_t n, int64_t *i) {
  if (*i < 0) *i += n;
  return *i >= 0 && *i < n;
}

tv tmpl_item(tctx *c, tv object, tv key, const node *origin) {
  int64_t i;
  if (object.kind == V_UNDEFINED) {
    tv text = tmpl_str(c, key);
    return c->st ? TV_UNDEFINED : missing(c, object, "item", (slice){text.s->p, text.s->len});
  }
  if (object.kind == V_DICT) {
    tv *v = tdict_get(c, object.dict, key);
    if (v) return *v;
  } else if (tmpl_index(key, &i)) {
    if (object.kind == V_LIST && wrap_index((int64_t)object.list->n, &i)) return object.list->items[i];
    if (object.kind == V_STRING && wrap_index((int64_t)object.s->chars, &i)) {
      size_t from = tstr_offset(c, object.s, (size_t)i);
      return tmpl_part(c, object.s, from, tstr_offset(c, object.s, (size_t)i + 1));
    }
    return tmpl_undefined(origin);
  }
  if (key.kind == V_STRING) {
    slice name = {key.s->p, key.s->len};
    tv v = own_attr(c, object, name);
    if (v.kind != V_ABSENT) return v;
    tv *item = object.kind == V_NAMESPACE ? tdict_find(object.dict, name) : NULL;
    if (item) return *item;
  }
  return tmpl_undefined(origin);
}

tv tmpl_slice(tctx *c, tv object, const int64_t *start, const int64_t *stop, int64_t step) {
  int64_t first;
  if (step == 0) return tmpl_error(c, "a slice: expected a step other than 0");
  if (object.kind == V_UNDEFINED) return missing(c, object, "item", SLICE("[:]"));
  if (object.kind != V_LIST && object.kind != V_STRING)
    return tmpl_error(c, "a slice: expected a string or a list, got a %s", tmpl_kind_name(object));
  int64_t n = object.kind == V_LIST ? (int64_t)object.list->n : (int64_t)object.s->chars;
  size_t count = tmpl_slice_range(n, start, stop, step, &first);
  if (object.kind == V_LIST) {
    tlist *l = tmpl_new_list(c, object.list->form == L_TUPLE ? L_TUPLE : L_LIST, count);
    for (size_t i = 0; l && i < count; i++) l->items[i] = object.list->items[first + (int64_t)i * step];
    return l ? (tv){.kind = V_LIST, .list = l} : TV_UNDEFINED;
  }
  if (step == 1)
    return count ? tmpl_part(c, object.s, tstr_offset(c, object.s, (size_t)first),
                             tstr_offset(c, object.s, (size_t)first + count))
                 : tmpl_string(c, SLICE(""));
  tbuf b = {0};
  for (size_t i = 0; i < count && tmpl_charge(c, 1); i++) {
    size_t at = (size_t)(first + (int64_t)i * step), from = tstr_offset(c, object.s, at);
    tbuf_part(c, &b, object.s, from, tstr_offset(c, object.s, at + 1));
  }
  return tbuf_take(c, &b);
}
