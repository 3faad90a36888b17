/* template.c - the public functions of chat templates: loading, the date, rendering with spans. */
#include "text/template.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "text/tmpl_internal.h"

enum { TOKEN_NAMES = 7, MEMORY_BASE = 64 << 20, MEMORY_PER_BYTE = 64 };
static const char *const token_names[TOKEN_NAMES] = {"bos_token", "eos_token", "pad_token", "unk_token",
                                                     "sep_token", "cls_token", "mask_token"};

struct chat_template {
  arena *a; /* source, tokens' texts, tree */
  node *root;
  const char *name;
  chat_template *with_tools; /* for conversations with tools; NULL: this one */
  slice tokens[TOKEN_NAMES]; /* p NULL: none */
  int year, month, day;
  atomic_bool used_date;
};

void tmpl_free(chat_template *t) {
  if (!t) return;
  tmpl_free(t->with_tools);
  arena_free(t->a);
  mem_free(t);
}

rw_status tmpl_parse(chat_template **out, slice source, const char *name, rw_error *err) {
  *out = NULL;
  chat_template *t = mem_zalloc(1, sizeof *t);
  if (!t || !(t->a = arena_new())) {
    mem_free(t);
    return rw_nomem(err, name);
  }
  t->year = 2024, t->month = 7, t->day = 26;
  t->name = arena_strndup(t->a, name, strlen(name));
  char *text = arena_strndup(t->a, source.p, source.len);
  ttokens tokens = {0};
  rw_status s =
      t->name && text ? tmpl_lex(&tokens, t->a, (slice){text, source.len}, t->name, err) : rw_nomem(err, name);
  if (!s) s = tmpl_parse_tokens(&t->root, &tokens, t->a, t->name, err);
  mem_free(tokens.p);
  if (s)
    tmpl_free(t);
  else
    *out = t;
  return s;
}

/* The template's source: a string, or one of a list of {name, template}. */
static slice template_of(json_doc *d, const char *name) {
  json_val v = json_get(d, 0, "chat_template");
  if (json_kind(d, v) != JSON_ARRAY) return strcmp(name, "default") == 0 ? json_string(d, v) : (slice){0};
  for (json_val e = json_first(d, v); e != JSON_NONE; e = json_next(d, e))
    if (slice_is(json_string(d, json_get(d, e, "name")), name)) return json_string(d, json_get(d, e, "template"));
  return (slice){0};
}

static void read_tokens(chat_template *t, json_doc *d) {
  for (int i = 0; i < TOKEN_NAMES; i++) {
    json_val v = json_get(d, 0, token_names[i]);
    slice s = json_kind(d, v) == JSON_OBJECT ? json_string(d, json_get(d, v, "content")) : json_string(d, v);
    if (s.p) t->tokens[i] = (slice){arena_strndup(t->a, s.p, s.len), s.len};
  }
}

static rw_status from_file(chat_template **out, const char *path, rw_error *err) {
  str s = {0};
  rw_status st = file_read_text(path, TEMPLATE_MAX_BYTES, &s, err);
  if (!st) st = tmpl_parse(out, (slice){s.p ? s.p : "", s.len}, path, err);
  str_free(&s);
  return st;
}

/* *out stays NULL where the file has no template. */
static rw_status from_json(chat_template **out, json_doc *d, const char *path, rw_error *err) {
  slice source = template_of(d, "default"), tools = template_of(d, "tool_use");
  if (!source.p) return RW_OK;
  RW_TRY(tmpl_parse(out, source, path, err));
  return tools.p ? tmpl_parse(&(*out)->with_tools, tools, path, err) : RW_OK;
}

/* --chat-template FILE: Jinja, or by its name a file as chat_template.json and tokenizer_config.json are. */
static rw_status from_given(chat_template **out, const char *path, rw_error *err) {
  json_file f = {0};
  size_t n = strlen(path);
  if (n < 5 || strcmp(path + n - 5, ".json") != 0) return from_file(out, path, err);
  RW_TRY(json_file_open(&f, path, err));
  rw_status s = from_json(out, f.doc, path, err);
  if (!s && !*out) s = rw_fail(err, RW_DATA, "%s: chat_template: expected a template, got none", path);
  json_file_close(&f);
  return s;
}

/* In the order in which transformers looks; chat_template.json, which older processors wrote, comes last. */
static rw_status find_template(chat_template **out, const char *dir, json_doc *config, const char *config_path,
                               rw_error *err) {
  char *jinja = file_join(dir, "chat_template.jinja"), *older = file_join(dir, "chat_template.json"),
       *tools = file_join(dir, TEMPLATE_OF_TOOL_USE);
  json_file f = {0};
  rw_status s = jinja && older && tools ? RW_OK : rw_nomem(err, dir);
  if (!s && file_exists(jinja)) {
    s = from_file(out, jinja, err);
    if (!s && file_exists(tools)) s = from_file(&(*out)->with_tools, tools, err);
  } else if (!s && config) {
    s = from_json(out, config, config_path, err);
  }
  if (!s && !*out && file_exists(older) && !(s = json_file_open(&f, older, err))) {
    s = from_json(out, f.doc, older, err);
    json_file_close(&f);
  }
  mem_free(jinja);
  mem_free(older);
  mem_free(tools);
  return s;
}

rw_status tmpl_load(chat_template **out, const char *dir, const char *override_file, rw_error *err) {
  *out = NULL;
  char *path = file_join(dir, "tokenizer_config.json");
  json_file f = {0};
  rw_status s = path ? RW_OK : rw_nomem(err, dir);
  if (!s && file_exists(path)) s = json_file_open(&f, path, err);
  if (!s) s = override_file ? from_given(out, override_file, err) : find_template(out, dir, f.doc, path, err);
  if (!s && !*out)
    s = rw_fail(err, RW_DATA,
                "%s: no chat template (chat_template.jinja, or chat_template in tokenizer_config.json or "
                "chat_template.json); give one with " FIELD(chat_template) " FILE",
                dir);
  if (!s && f.doc) {
    read_tokens(*out, f.doc);
    if ((*out)->with_tools) read_tokens((*out)->with_tools, f.doc);
  }
  if (s) {
    tmpl_free(*out);
    *out = NULL;
  }
  if (f.doc) json_file_close(&f);
  mem_free(path);
  return s;
}

rw_status tmpl_set_date(chat_template *t, const char *ymd, rw_error *err) {
  int y, m, d;
  char rest;
  static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool ok = sscanf(ymd, "%4d-%2d-%2d%c", &y, &m, &d, &rest) == 3 && y >= 1900 && m >= 1 && m <= 12 && d >= 1 &&
            d <= days[m - 1];
  if (!ok || (m == 2 && d == 29 && (y % 4 || (y % 100 == 0 && y % 400))))
    return rw_fail(err, RW_USAGE, FIELD(date) ": expected a date as 2024-07-26, got '%s'", ymd);
  for (; t; t = t->with_tools) t->year = y, t->month = m, t->day = d;
  return RW_OK;
}

bool tmpl_used_date(const chat_template *t) {
  bool used = false;
  for (; t; t = t->with_tools) used |= atomic_load((atomic_bool *)&t->used_date);
  return used;
}

void rendered_free(rendered *r) {
  str_free(&r->text);
  mem_free(r->spans);
  json_free(r->doc);
  *r = (rendered){0};
}

static rw_status add_span(rendered *out, size_t start, size_t end, bool content, rw_error *err) {
  if (start == end) return RW_OK;
  tok_span s = {start, end, content};
  return vec_push(out->spans, out->n_spans, out->cap_spans, s) ? RW_OK : rw_nomem(err, "a rendered conversation");
}

static rw_status copy_out(rendered *out, const tbuf *b, rw_error *err) {
  str_clear(&out->text);
  out->n_spans = 0;
  str_add(&out->text, b->len ? b->p : "", b->len);
  if (out->text.oom) return rw_nomem(err, "a rendered conversation");
  size_t at = 0;
  for (size_t k = 0; k < b->n_marks; k++) {
    RW_TRY(add_span(out, at, b->marks[k].start, false, err));
    RW_TRY(add_span(out, b->marks[k].start, b->marks[k].end, true, err));
    at = b->marks[k].end;
  }
  return add_span(out, at, b->len, false, err);
}

/* Everything that a conversation holds, in bytes. */
static size_t text_bytes(const conversation *v) {
  size_t n = v->tools.len;
  for (size_t i = 0; i < v->n_messages; i++) n += v->messages[i].content.len + v->messages[i].json.len;
  return n;
}

/* joined: lists of parts are given as texts. *lost: a list of parts did not reach the output as its texts. */
static rw_status render(const chat_template *t, const conversation *v, bool joined, rendered *out,
                        tmpl_notes *notes, bool *lost, rw_error *err) {
  tbuf text = {0};
  tscope top = {0};
  tctx c = {.a = arena_new(),
            .err = err,
            .name = t->name,
            .scope = &top,
            .out = &text,
            .year = t->year,
            .month = t->month,
            .day = t->day,
            .used_date = (atomic_bool *)&t->used_date};
  c.memory_max = MEMORY_BASE + MEMORY_PER_BYTE * text_bytes(v);
  if (!c.a) return rw_nomem(err, t->name);
  for (int i = 0; i < TOKEN_NAMES; i++)
    if (t->tokens[i].p) tmpl_assign(&c, slice_of(token_names[i]), tmpl_string(&c, t->tokens[i]));
  tchat chat = tmpl_chat(&c, v, joined, &out->doc);
  tmpl_exec(&c, t->root);
  rw_status s = c.st;
  if (!s) *lost = !joined && tmpl_chat_lost(&c, &chat, &text);
  if (!s && !*lost) {
    s = copy_out(out, &text, err);
    if (!s && notes) tmpl_chat_notes(&chat, &text, notes);
  }
  arena_free(c.a);
  return s;
}

rw_status tmpl_render(const chat_template *t, const conversation *v, rendered *out, tmpl_notes *notes,
                      rw_error *err) {
  bool parts = false, lost = false;
  if (v->tools.p && t->with_tools) t = t->with_tools;
  for (size_t i = 0; i < v->n_messages; i++) parts |= v->messages[i].parts;
  rw_error why;
  rw_status s = render(t, v, false, out, notes, &lost, parts ? &why : err);
  return parts && (s || lost) ? render(t, v, true, out, notes, &lost, err) : s;
}
