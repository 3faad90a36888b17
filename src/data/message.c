/* message.c - messages and tools as they stand in a row, and messages as JSON.
 *
 * ShareGPT's `from` and `value` are other names of `role` and `content`.
 */
#include <stdio.h>
#include <string.h>

#include "data/message.h"
#include "format/json_write.h"

static const char *const role_names[] = {"system", "user", "assistant"};

slice conv_role_name(const message *m) {
  return m->role == ROLE_OTHER ? m->other_role : slice_of(role_names[m->role]);
}

bool conv_same_message(const message *a, const message *b) {
  return a->role == b->role && slice_eq(a->content, b->content) && slice_eq(a->other_role, b->other_role) &&
         (!a->json.p || !b->json.p || slice_eq(a->json, b->json));
}

typedef struct {
  json_doc *d;
  arena *a;
  rw_error *err;
} reader;

/* ShareGPT's names of those who speak. */
static slice speaker(slice from) {
  static const char *const names[][2] = {{"human", "user"},      {"gpt", "assistant"},   {"chatgpt", "assistant"},
                                         {"bot", "assistant"},   {"model", "assistant"}, {"bing", "assistant"},
                                         {"observation", "tool"}};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (slice_is(from, names[i][0])) return slice_of(names[i][1]);
  return from;
}

/* {"type": "text", "text": …} parts: their texts one after another. */
static rw_status get_parts(reader *r, const char *field, json_val list, slice *out) {
  size_t i = 0;
  str all = {0};
  rw_status s = RW_OK;
  for (json_val e = json_first(r->d, list); !s && e != JSON_NONE; e = json_next(r->d, e), i++) {
    char name[128];
    slice type = json_string(r->d, json_get(r->d, e, "type")), text;
    snprintf(name, sizeof name, "%s[%zu].text", field, i);
    if (type.p && slice_is(type, "text")) {
      if (!(s = json_text(r->d, json_get(r->d, e, "text"), name, &text, r->err))) str_add(&all, text.p, text.len);
    } else if (type.p) {
      s = rw_fail(r->err, RW_DATA, "%s[%zu].type: expected \"text\", got \"%.*s\"; other parts cannot be read",
                  field, i, (int)(type.len < 40 ? type.len : 40), type.p);
    } else {
      name[strlen(name) - 5] = 0; /* the part itself */
      s = json_wrong(r->d, e, name, "an object with type and text", r->err);
    }
  }
  if (!s && (all.oom || !(out->p = arena_strndup(r->a, all.p ? all.p : "", all.len)))) s = rw_nomem(r->err, field);
  out->len = all.len;
  str_free(&all);
  return s;
}

/* The text of a message, which may be absent where another field says what it is. */
static rw_status get_content(reader *r, const char *field, json_val v, bool others, message *m) {
  json_type kind = json_kind(r->d, v);
  m->parts = kind == JSON_ARRAY;
  if (m->parts) return get_parts(r, field, v, &m->content);
  if (others && kind == JSON_NULL) return RW_OK;      /* empty */
  if (m->role == ROLE_OTHER && kind == JSON_OBJECT) { /* what a tool has given; the template sees the object */
    m->content = json_raw(r->d, v);
    return RW_OK;
  }
  return json_text(r->d, v, field, &m->content, r->err);
}

static rw_status get_message(reader *r, const char *field, size_t i, json_val v, message *m) {
  char name[96]; /* made only where it is needed: messages are many */
  if (json_kind(r->d, v) != JSON_OBJECT) {
    snprintf(name, sizeof name, "%s[%zu]", field, i);
    return json_wrong(r->d, v, name, "an object with role and content", r->err);
  }
  bool share = conv_is_share(r->d, v);
  const char *who = share ? "from" : "role", *what = share ? "value" : "content";
  slice role = json_string(r->d, json_get(r->d, v, who));
  if (!role.p) {
    snprintf(name, sizeof name, "%s[%zu].%s", field, i, who);
    return json_text(r->d, json_get(r->d, v, who), name, &role, r->err);
  }
  if (share) role = speaker(role);
  int k = 0;
  while (k < ROLE_OTHER && !slice_is(role, role_names[k])) k++;
  *m = conv_message((conv_role)k, SLICE(""));
  if (k == ROLE_OTHER) m->other_role = role;
  json_val content = json_get(r->d, v, what);
  bool others = false; /* fields that are null say nothing, as in transformers */
  for (json_val e = json_first(r->d, v); e != JSON_NONE && !others; e = json_next(r->d, e)) {
    slice key = json_key(r->d, e);
    others = json_kind(r->d, e) != JSON_NULL && !slice_is(key, who) && !slice_is(key, what);
  }
  if (others || (json_kind(r->d, content) != JSON_STRING && content != JSON_NONE)) m->json = json_raw(r->d, v);
  slice text = json_string(r->d, content);
  if (text.p) {
    m->content = text;
    return RW_OK;
  }
  snprintf(name, sizeof name, "%s[%zu].%s", field, i, what);
  return get_content(r, name, content, others, m);
}

bool conv_is_share(const json_doc *d, json_val v) {
  return json_get(d, v, "role") == JSON_NONE && json_get(d, v, "from") != JSON_NONE;
}

rw_status conv_one_message(message *m, json_doc *d, json_val v, const char *field, arena *a, rw_error *err) {
  reader r = {d, a, err};
  return get_message(&r, field, 0, v, m);
}

rw_status conv_messages(message **m, size_t *n, json_doc *d, json_val list, const char *field, arena *a,
                        rw_error *err) {
  reader r = {d, a, err};
  if (json_kind(d, list) != JSON_ARRAY) return json_wrong(d, list, field, "a list of messages", err);
  *n = json_count(d, list);
  if (*n == 0) return rw_fail(err, RW_DATA, "%s: expected at least one message, got an empty list", field);
  *m = arena_alloc(a, *n, sizeof **m);
  if (!*m) return rw_nomem(err, field);
  size_t i = 0;
  for (json_val e = json_first(d, list); e != JSON_NONE; e = json_next(d, e), i++)
    RW_TRY(get_message(&r, field, i, e, &(*m)[i]));
  return RW_OK;
}

static rw_status check_tools(json_doc *d, json_val v, rw_error *err) {
  if (json_kind(d, v) != JSON_ARRAY) return json_wrong(d, v, "tools", "a list of objects", err);
  for (json_val e = json_first(d, v); e != JSON_NONE; e = json_next(d, e))
    if (json_kind(d, e) != JSON_OBJECT) return json_wrong(d, e, "tools", "a list of objects", err);
  return RW_OK;
}

rw_status conv_tools(slice *tools, json_doc *d, json_val row, const row_map *called, rw_error *err) {
  json_val v = row_get(d, row, called, "tools");
  slice text = json_string(d, v);
  *tools = text.p ? text : json_raw(d, v);
  if (tools->len == 0) *tools = (slice){0};
  if (!tools->p) return RW_OK;
  if (!text.p) return check_tools(d, v, err);
  json_doc *own = json_new();
  rw_status s = own ? json_parse(own, text.p, text.len, err) : rw_nomem(err, "tools");
  if (s) rw_prefix(err, s, "tools");
  if (!s) s = check_tools(own, 0, err);
  json_free(own);
  return s;
}

void conv_write(str *out, const message *m, size_t n) {
  json_writer w = {.out = out};
  jw_array(&w, NULL);
  for (size_t i = 0; i < n; i++) {
    if (m[i].json.p) {
      jw_raw(&w, NULL, m[i].json);
      continue;
    }
    jw_object(&w, NULL);
    jw_slice(&w, "role", conv_role_name(&m[i]));
    jw_slice(&w, "content", m[i].content.p ? m[i].content : SLICE(""));
    jw_end(&w);
  }
  jw_end(&w);
}
