/* tmpl_dump.c - tojson: json.dumps(x, ensure_ascii=False, ...). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text/tmpl_internal.h"

typedef struct {
  tbuf out;
  tv indent; /* V_ABSENT or V_NONE: all on one line */
  const char *item, *key;
  bool ascii, sort;
} dumper;

static void dump(tctx *c, dumper *d, tv v, int level);

static void dump_string(tctx *c, dumper *d, const tstr *s) {
  static const char from[] = "\"\\\n\r\t\f\b", to[] = "\"\\nrtfb";
  tbuf_add(c, &d->out, "\"", 1);
  for (size_t at = 0, n, plain = 0; !c->st; at += n) {
    uint32_t r = at < s->len ? tmpl_rune(s->p + at, s->p + s->len, &n) : 0;
    bool escape = at < s->len && (r < 0x20 || r == '"' || r == '\\' || (d->ascii && r > 126));
    if (at < s->len && !escape) continue;
    tbuf_part(c, &d->out, s, plain, at);
    if (at >= s->len) break;
    char text[16];
    const char *known = r ? memchr(from, (int)r, r < 128 ? sizeof from - 1 : 0) : NULL;
    if (known)
      snprintf(text, sizeof text, "\\%c", to[known - from]);
    else if (r > 0xFFFF)
      snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xD800 + ((r - 0x10000) >> 10),
               0xDC00 + ((r - 0x10000) & 0x3FF));
    else
      snprintf(text, sizeof text, "\\u%04x", r);
    tbuf_made(c, &d->out, text, strlen(text), tstr_marked(s, at));
    plain = at + n;
  }
  tbuf_add(c, &d->out, "\"", 1);
}

static void new_line(tctx *c, dumper *d, int level) {
  if (d->indent.kind == V_ABSENT || d->indent.kind == V_NONE) return;
  tbuf_add(c, &d->out, "\n", 1);
  for (int i = 0; i < level && !c->st; i++) {
    if (d->indent.kind == V_STRING) tbuf_str(c, &d->out, d->indent.s);
    for (int64_t k = 0; d->indent.kind == V_INT && k < d->indent.i; k++) tbuf_add(c, &d->out, " ", 1);
  }
}

/* The members in the order of their keys, which must be strings. */
static const tdict *sorted(tctx *c, const tdict *dict) {
  tdict *s = tmpl_new_dict(c);
  if (!s) return NULL;
  s->keys = tmpl_alloc(c, dict->n, sizeof *s->keys);
  s->values = tmpl_alloc(c, dict->n, sizeof *s->values);
  for (size_t i = 0; i < dict->n && !c->st; i++) {
    size_t at = s->n++;
    if (dict->keys[i].kind != V_STRING) tmpl_lacks(c, "tojson with sort_keys of keys that are no strings");
    for (; at > 0 && tmpl_order(c, s->keys[at - 1], dict->keys[i]) > 0 && !c->st; at--) {
      s->keys[at] = s->keys[at - 1];
      s->values[at] = s->values[at - 1];
    }
    if (!c->st) s->keys[at] = dict->keys[i], s->values[at] = dict->values[i];
  }
  return s;
}

static void dump_dict(tctx *c, dumper *d, const tdict *dict, int level) {
  tdict_all_asked(dict);
  if (d->sort && dict->n > 1) dict = sorted(c, dict);
  if (c->st) return;
  tbuf_add(c, &d->out, "{", 1);
  for (size_t i = 0; i < dict->n && !c->st; i++) {
    tv k = dict->keys[i];
    if (i) tbuf_add(c, &d->out, d->item, strlen(d->item));
    new_line(c, d, level + 1);
    bool quote = k.kind != V_STRING;
    if (k.kind == V_LIST) tmpl_error(c, "tojson: expected a string as key, got a %s", tmpl_kind_name(k));
    if (quote) tbuf_add(c, &d->out, "\"", 1);
    dump(c, d, k, level + 1);
    if (quote) tbuf_add(c, &d->out, "\"", 1);
    tbuf_add(c, &d->out, d->key, strlen(d->key));
    dump(c, d, dict->values[i], level + 1);
  }
  if (dict->n) new_line(c, d, level);
  tbuf_add(c, &d->out, "}", 1);
}

static void dump_list(tctx *c, dumper *d, const tlist *l, int level) {
  tbuf_add(c, &d->out, "[", 1);
  for (size_t i = 0; i < l->n && !c->st; i++) {
    if (i) tbuf_add(c, &d->out, d->item, strlen(d->item));
    new_line(c, d, level + 1);
    dump(c, d, l->items[i], level + 1);
  }
  if (l->n) new_line(c, d, level);
  tbuf_add(c, &d->out, "]", 1);
}

static void dump(tctx *c, dumper *d, tv v, int level) {
  const char *text = NULL;
  if (tmpl_enter(c)) {
    if (v.kind == V_STRING)
      dump_string(c, d, v.s);
    else if (v.kind == V_DICT)
      dump_dict(c, d, v.dict, level);
    else if (v.kind == V_LIST && v.list->form <= L_TUPLE)
      dump_list(c, d, v.list, level);
    else if (v.kind == V_NONE)
      text = "null";
    else if (v.kind == V_BOOL)
      text = v.b ? "true" : "false";
    else if (v.kind == V_FLOAT && !isfinite(v.f))
      text = v.f != v.f ? "NaN" : v.f > 0 ? "Infinity" : "-Infinity";
    else if (v.kind == V_INT || v.kind == V_FLOAT)
      tmpl_write(c, &d->out, v, true);
    else
      tmpl_error(c, "tojson: expected a value that JSON has, got a value of type %s", tmpl_kind_name(v));
    if (text) tbuf_add(c, &d->out, text, strlen(text));
  }
  c->depth--;
}

/* arg: ensure_ascii, indent, separators, sort_keys */
tv tmpl_tojson(tctx *c, tv v, const tv *arg) {
  dumper d = {.indent = arg[1], .ascii = tmpl_truth(arg[0]), .sort = tmpl_truth(arg[3])};
  char item[32], key[32];
  bool lines = d.indent.kind == V_INT || d.indent.kind == V_STRING;
  if (d.indent.kind == V_BOOL || d.indent.kind == V_FLOAT) return tmpl_lacks(c, "tojson with such an indent");
  d.item = lines ? "," : ", ";
  d.key = ": ";
  if (arg[2].kind == V_LIST && arg[2].list->n == 2 && arg[2].list->items[0].kind == V_STRING &&
      arg[2].list->items[1].kind == V_STRING) {
    const tstr *s[2] = {arg[2].list->items[0].s, arg[2].list->items[1].s};
    if (s[0]->len >= sizeof item || s[1]->len >= sizeof key) return tmpl_lacks(c, "tojson with such separators");
    snprintf(item, sizeof item, "%.*s", (int)s[0]->len, s[0]->p);
    snprintf(key, sizeof key, "%.*s", (int)s[1]->len, s[1]->p);
    d.item = item;
    d.key = key;
  } else if (arg[2].kind != V_ABSENT && arg[2].kind != V_NONE)
    return tmpl_error(c, "tojson: expected two strings as separators, got a value of type %s",
                      tmpl_kind_name(arg[2]));
  dump(c, &d, v, 0);
  return tbuf_take(c, &d.out);
}
