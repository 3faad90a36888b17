/* json_write.c - the JSON writer. */
#include "format/json_write.h"

#include <string.h>

json_writer jw_inside(str *out) { return (json_writer){.out = out, .depth = 1}; }

static void new_line(json_writer *w, int indent) {
  str_addc(w->out, '\n');
  for (int i = 0; i < indent; i++) str_addz(w->out, "  ");
}

/* What stands between the value before and what comes next, a key or a value. */
static void lead(json_writer *w) {
  if (w->keyed || w->depth == 0) {
    w->keyed = false;
    return;
  }
  bool any = w->level[w->depth].any, lines = w->level[w->depth].lines;
  w->level[w->depth].any = true;
  if (any) str_addc(w->out, ',');
  if (lines)
    new_line(w, w->level[w->depth].indent + 1);
  else if (any && !w->compact)
    str_addc(w->out, ' ');
}

void jw_key(json_writer *w, slice key) {
  lead(w);
  str_json(w->out, key.p, key.len);
  str_addz(w->out, w->compact ? ":" : ": ");
  w->keyed = true;
}

str *jw_value(json_writer *w, const char *name) {
  if (name) jw_key(w, (slice){name, strlen(name)});
  lead(w);
  return w->out;
}

static void begin(json_writer *w, const char *name, char open, char close, bool lines) {
  str_addc(jw_value(w, name), open);
  if (w->depth == JW_DEPTH) {
    w->out->oom = true;
    return;
  }
  int indent = w->level[w->depth].indent + w->level[w->depth].lines;
  w->depth++;
  w->level[w->depth].indent = indent;
  w->level[w->depth].close = close;
  w->level[w->depth].lines = lines;
  w->level[w->depth].any = false;
}

void jw_object(json_writer *w, const char *name) { begin(w, name, '{', '}', false); }
void jw_array(json_writer *w, const char *name) { begin(w, name, '[', ']', false); }
void jw_object_lines(json_writer *w, const char *name) { begin(w, name, '{', '}', true); }
void jw_array_lines(json_writer *w, const char *name) { begin(w, name, '[', ']', true); }

void jw_end(json_writer *w) {
  if (w->depth == 0) return;
  int d = w->depth--;
  if (w->level[d].lines && w->level[d].any) new_line(w, w->level[d].indent);
  str_addc(w->out, w->level[d].close);
}

void jw_string(json_writer *w, const char *name, const char *zstr) {
  jw_slice(w, name, zstr ? (slice){zstr, strlen(zstr)} : (slice){0});
}

void jw_slice(json_writer *w, const char *name, slice text) {
  str *out = jw_value(w, name);
  if (text.p)
    str_json(out, text.p, text.len);
  else
    str_addz(out, "null");
}

void jw_int(json_writer *w, const char *name, int64_t v) {
  str *out = jw_value(w, name);
  if (v < 0) str_addc(out, '-');
  str_uint(out, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void jw_uint(json_writer *w, const char *name, uint64_t v) { str_uint(jw_value(w, name), v); }

void jw_num(json_writer *w, const char *name, double v) { str_json_num(jw_value(w, name), v); }
void jw_f32(json_writer *w, const char *name, float v) { str_json_f32(jw_value(w, name), v); }
void jw_bool(json_writer *w, const char *name, bool v) { str_addz(jw_value(w, name), v ? "true" : "false"); }
void jw_null(json_writer *w, const char *name) { str_addz(jw_value(w, name), "null"); }
void jw_raw(json_writer *w, const char *name, slice value) { str_add(jw_value(w, name), value.p, value.len); }

void jw_members(json_writer *w, json_doc *d, bool (*leave_out)(void *ctx, slice key, json_val v), void *ctx) {
  for (json_val v = json_first(d, 0); v != JSON_NONE; v = json_next(d, v)) {
    slice key = json_key(d, v);
    if (leave_out && leave_out(ctx, key, v)) continue;
    jw_key(w, key);
    jw_raw(w, NULL, json_raw(d, v));
  }
}
