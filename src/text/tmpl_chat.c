/* tmpl_chat.c - a conversation as the values that transformers gives a template, and what the template made of it.
 *
 * A message is a dict of its fields in their order, without those that are null. `thinking`, `reasoning` and
 * `reasoning_content` are names of one thing and stand for each other, as in transformers. Every text of a row is
 * marked as content, so that no control token can come from it; but for roles that are plain words, because
 * templates make control tokens of them.
 */
#include <stdio.h>
#include <string.h>

#include "text/tmpl_internal.h"

static const char *const reasoning[] = {"reasoning_content", "thinking", "reasoning"};

static slice text_of(const tstr *s) { return (slice){s->p, s->len}; }

static bool is_reasoning(slice key) {
  for (size_t i = 0; i < 3; i++)
    if (slice_is(key, reasoning[i])) return true;
  return false;
}

static tv own_text(tctx *c, slice s) { /* strings of a document are gone with the next */
  char *copy = tmpl_alloc(c, s.len + 1, 1);
  if (!copy) return TV_UNDEFINED;
  memcpy(copy, s.p, s.len);
  return tmpl_content(c, (slice){copy, s.len}, -1);
}

static tv value_of(tctx *c, json_doc *d, json_val v);

static tv dict_of(tctx *c, json_doc *d, json_val v) {
  tdict *dict = tmpl_new_dict(c);
  for (json_val e = json_first(d, v); e != JSON_NONE && !c->st; e = json_next(d, e))
    tdict_put(c, dict, own_text(c, json_key(d, e)), value_of(c, d, e));
  return c->st ? TV_UNDEFINED : (tv){.kind = V_DICT, .dict = dict};
}

static tv list_of(tctx *c, json_doc *d, json_val v) {
  tlist *l = tmpl_new_list(c, L_LIST, json_count(d, v));
  size_t i = 0;
  for (json_val e = json_first(d, v); l && e != JSON_NONE && !c->st; e = json_next(d, e))
    l->items[i++] = value_of(c, d, e);
  return c->st ? TV_UNDEFINED : (tv){.kind = V_LIST, .list = l};
}

static tv number_of(tctx *c, json_doc *d, json_val v) {
  int64_t i;
  double f = 0;
  slice raw = json_raw(d, v);
  if (json_int(d, v, &i)) return TV_INT(i);
  bool whole = true;
  for (size_t k = 0; k < raw.len; k++) whole &= !strchr(".eE", raw.p[k]);
  if (whole) return tmpl_lacks(c, "a whole number beyond 64 bits in a message's fields");
  json_number(d, v, &f);
  return TV_FLOAT(f);
}

/* As Python's json reads it. */
static tv value_of(tctx *c, json_doc *d, json_val v) {
  switch (json_kind(d, v)) {
    case JSON_NULL: return TV_NONE;
    case JSON_FALSE:
    case JSON_TRUE: return TV_BOOL(json_kind(d, v) == JSON_TRUE);
    case JSON_NUMBER: return number_of(c, d, v);
    case JSON_STRING: {
      slice s = json_string(d, v);
      return s.p ? own_text(c, s) : tmpl_error(c, "a message's fields: memory ran out");
    }
    case JSON_ARRAY: return list_of(c, d, v);
    case JSON_OBJECT: return dict_of(c, d, v);
  }
  return TV_UNDEFINED;
}

/* The parts' texts are cuts of the whole content, so that they can be found in the output. */
static tv parts_of(tctx *c, json_doc *d, json_val list, const message *m, int32_t index) {
  tv v = list_of(c, d, list);
  size_t at = 0;
  for (size_t i = 0; !c->st && i < v.list->n; i++) {
    tv *text = tdict_find(v.list->items[i].dict, SLICE("text"));
    const size_t len = text->s->len;
    *text = tmpl_content(c, (slice){m->content.p + at, len}, index);
    if (!c->st && len) ((tmark *)text->s->marks)->src = at;
    at += len;
  }
  if (!c->st) v.list->parts = true;
  return v;
}

static tv role_of(tctx *c, const message *m) {
  slice s = conv_role_name(m);
  for (size_t i = 0; i < s.len; i++) {
    char l = (char)(s.p[i] | 0x20);
    if (!((l >= 'a' && l <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9') || strchr("_- ", s.p[i])))
      return tmpl_content(c, s, -1);
  }
  return tmpl_string(c, s);
}

static void put(tctx *c, tdict *d, const char *name, tv value) {
  tdict_put(c, d, tmpl_string(c, slice_of(name)), value);
}

static void alias_reasoning(tctx *c, tdict **fields) {
  tv *found = NULL;
  for (size_t i = 0; i < 3 && !found; i++) found = tdict_find(*fields, slice_of(reasoning[i]));
  if (!found) return;
  tv value = *found;
  tdict *d = tmpl_new_dict(c);
  put(c, d, "thinking", value);
  for (size_t i = 0; i < (*fields)->n && !c->st; i++) tdict_put(c, d, (*fields)->keys[i], (*fields)->values[i]);
  put(c, d, "reasoning_content", value);
  *fields = d;
}

/* All fields of a message that has more than a role and a text. */
static tdict *fields_of(tctx *c, json_doc *d, const message *m, bool joined, int32_t index) {
  rw_status s = json_parse(d, m->json.p, m->json.len, c->err);
  if (s) c->st = s;
  tdict *fields = tmpl_new_dict(c);
  bool share = conv_is_share(d, 0);
  const char *who = share ? "from" : "role", *what = share ? "value" : "content";
  for (json_val e = json_first(d, 0); e != JSON_NONE && !c->st; e = json_next(d, e)) {
    slice key = json_key(d, e);
    json_type kind = json_kind(d, e);
    if (kind == JSON_NULL) continue; /* as in transformers */
    if (slice_is(key, who))
      put(c, fields, "role", role_of(c, m));
    else if (!slice_is(key, what))
      tdict_put(c, fields, own_text(c, key), value_of(c, d, e));
    else if (kind == JSON_ARRAY && !joined)
      put(c, fields, "content", parts_of(c, d, e, m, index));
    else
      put(c, fields, "content", kind == JSON_OBJECT ? value_of(c, d, e) : tmpl_content(c, m->content, index));
  }
  if (c->st) return NULL;
  alias_reasoning(c, &fields);
  return fields;
}

static json_doc *document(tctx *c, json_doc **doc) {
  if (!*doc && !(*doc = json_new()) && !c->st) c->st = rw_nomem(c->err, c->name);
  return *doc;
}

static tv messages_of(tctx *c, const conversation *v, bool joined, json_doc **doc, tdict **dicts) {
  tlist *l = tmpl_new_list(c, L_LIST, v->n_messages);
  for (size_t i = 0; i < v->n_messages && !c->st; i++) {
    const message *m = &v->messages[i];
    tdict *d;
    if (m->json.p && document(c, doc)) {
      d = fields_of(c, *doc, m, joined, (int32_t)i);
      if (d) d->asked = tmpl_alloc(c, d->n, sizeof *d->asked);
    } else {
      d = tmpl_new_dict(c);
      put(c, d, "role", role_of(c, m));
      put(c, d, "content", tmpl_content(c, m->content, (int32_t)i));
    }
    dicts[i] = d;
    l->items[i] = (tv){.kind = V_DICT, .dict = d};
  }
  return c->st ? TV_UNDEFINED : (tv){.kind = V_LIST, .list = l};
}

tchat tmpl_chat(tctx *c, const conversation *v, bool joined, json_doc **doc) {
  tchat chat = {.conv = v, .messages = tmpl_alloc(c, v->n_messages, sizeof *chat.messages)};
  tv tools = TV_NONE;
  if (chat.messages) tmpl_assign(c, SLICE("messages"), messages_of(c, v, joined, doc, chat.messages));
  tmpl_assign(c, SLICE("add_generation_prompt"), TV_BOOL(false));
  tmpl_assign(c, SLICE("documents"), TV_NONE);
  if (v->tools.p && document(c, doc) && !c->st) {
    if (!(c->st = json_parse(*doc, v->tools.p, v->tools.len, c->err))) tools = value_of(c, *doc, 0);
  }
  tmpl_assign(c, SLICE("tools"), tools);
  if (v->tools.p) chat.tools = c->scope->vars;
  return chat;
}

/* ---- what became of it ---- */

bool tmpl_chat_lost(const tctx *c, const tchat *chat, const tbuf *b) {
  if (c->wrote_parts) return true;
  for (size_t i = 0; i < chat->conv->n_messages; i++) {
    const message *m = &chat->conv->messages[i];
    bool seen = !m->parts || utf8_is_blank(m->content);
    for (size_t k = 0; k < b->n_marks && !seen; k++) seen = b->marks[k].msg == (int32_t)i;
    if (!seen) return true;
  }
  return false;
}

/* Every message's content must stand somewhere in the output, whole; of a list of parts each byte. */
static bool content_changed(const tbuf *b, const conversation *v) {
  for (size_t i = 0; i < v->n_messages; i++) {
    const message *m = &v->messages[i];
    size_t whole = 0;
    for (size_t k = 0; k < b->n_marks && whole < m->content.len; k++) {
      const tmark *mark = &b->marks[k];
      if (mark->msg == (int32_t)i && mark->src == (m->parts ? whole : 0))
        whole = mark->src + mark->end - mark->start;
    }
    if (whole < m->content.len && !(m->role == ROLE_OTHER && m->json.p && !m->parts && m->content.p[0] == '{'))
      return true;
  }
  return false;
}

static void note_ignored(tmpl_notes *notes, slice name, size_t n) {
  char text[sizeof notes->ignored[0].name];
  snprintf(text, sizeof text, "%.*s", (int)name.len, name.p);
  utf8_show(text, false);
  size_t k = 0;
  while (k < notes->n_ignored && strcmp(notes->ignored[k].name, text) < 0) k++;
  if (k == notes->n_ignored || strcmp(notes->ignored[k].name, text) != 0) {
    if (notes->n_ignored == TMPL_NOTED_FIELDS) return;
    memmove(&notes->ignored[k + 1], &notes->ignored[k], (notes->n_ignored++ - k) * sizeof notes->ignored[k]);
    strcpy(notes->ignored[k].name, text);
    notes->ignored[k].n = 0;
  }
  notes->ignored[k].n += n;
}

void tmpl_notes_add(tmpl_notes *sum, const tmpl_notes *n) {
  sum->changed += n->changed;
  for (size_t i = 0; i < n->n_ignored; i++) note_ignored(sum, slice_of(n->ignored[i].name), n->ignored[i].n);
}

tmpl_notes tmpl_notes_since(const tmpl_notes *n, const tmpl_notes *before) {
  tmpl_notes own = {.changed = n->changed - before->changed};
  for (size_t i = 0; i < n->n_ignored; i++) {
    size_t was = 0;
    for (size_t k = 0; k < before->n_ignored; k++)
      if (strcmp(before->ignored[k].name, n->ignored[i].name) == 0) was = before->ignored[k].n;
    if (n->ignored[i].n > was) note_ignored(&own, slice_of(n->ignored[i].name), n->ignored[i].n - was);
  }
  return own;
}

void tmpl_ignored_write(json_writer *w, const char *name, const tmpl_notes *n) {
  jw_object(w, name);
  for (size_t i = 0; i < n->n_ignored; i++) jw_uint(w, n->ignored[i].name, n->ignored[i].n);
  jw_end(w);
}

void tmpl_ignored_read(tmpl_notes *sum, json_doc *d, json_val object) {
  int64_t n;
  for (json_val e = json_first(d, object); e != JSON_NONE; e = json_next(d, e))
    if (json_int(d, e, &n) && n > 0) note_ignored(sum, json_key(d, e), (size_t)n);
}

/* Was the field, or another name of it, looked at? */
static bool was_asked(const tdict *d, size_t i) {
  bool asked = d->asked[i], alias = is_reasoning(text_of(d->keys[i].s));
  for (size_t k = 0; k < d->n && alias; k++) asked |= d->asked[k] && is_reasoning(text_of(d->keys[k].s));
  return asked;
}

void tmpl_chat_notes(const tchat *chat, const tbuf *out, tmpl_notes *notes) {
  tmpl_notes own = {.changed = content_changed(out, chat->conv)}, once = own;
  for (size_t i = 0; i < chat->conv->n_messages; i++) {
    const tdict *d = chat->messages[i];
    for (size_t k = 0; d->asked && k < d->n; k++) {
      slice name = text_of(d->keys[k].s);
      if (was_asked(d, k) || slice_is(name, "role") || slice_is(name, "content")) continue;
      note_ignored(&own, is_reasoning(name) ? slice_of(reasoning[0]) : name, 1);
    }
  }
  if (chat->tools && !chat->tools->asked) note_ignored(&own, SLICE("tools"), 1);
  for (size_t k = 0; k < own.n_ignored; k++) note_ignored(&once, slice_of(own.ignored[k].name), 1);
  tmpl_notes_add(notes, &once);
}
