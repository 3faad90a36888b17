/* template.c - the public functions of chat templates: loading, the date, rendering with spans. */
#include "text/template.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "text/tmpl_internal.h"

enum { TOKEN_NAMES = 4, MEMORY_BASE = 64 << 20, MEMORY_PER_BYTE = 64 };
static const char *const token_names[TOKEN_NAMES] = {"bos_token", "eos_token", "pad_token", "unk_token"};

struct chat_template {
  arena *a; /* source, tokens' texts, tree */
  node *root;
  const char *name;
  slice tokens[TOKEN_NAMES]; /* p NULL: none */
  int year, month, day;
  atomic_bool used_date;
};

void tmpl_free(chat_template *t) {
  if (!t) return;
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

/* The template's source: a string, or the "default" of a list of {name, template}. */
static slice template_of(json_doc *d) {
  json_val v = json_get(d, 0, "chat_template");
  if (json_kind(d, v) != JSON_ARRAY) return json_string(d, v);
  for (json_val e = json_first(d, v); e != JSON_NONE; e = json_next(d, e))
    if (slice_is(json_string(d, json_get(d, e, "name")), "default"))
      return json_string(d, json_get(d, e, "template"));
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

rw_status tmpl_load(chat_template **out, const char *dir, const char *override_file, rw_error *err) {
  *out = NULL;
  char *jinja = file_join(dir, "chat_template.jinja"), *config = file_join(dir, "tokenizer_config.json");
  json_file f = {0};
  rw_status s = jinja && config ? RW_OK : rw_nomem(err, dir);
  bool have_config = !s && file_exists(config);
  if (have_config) s = json_file_open(&f, config, err);
  if (!s && override_file) {
    s = from_file(out, override_file, err);
  } else if (!s && file_exists(jinja)) {
    s = from_file(out, jinja, err);
  } else if (!s) {
    slice source = have_config ? template_of(f.doc) : (slice){0};
    s = source.p ? tmpl_parse(out, source, config, err)
                 : rw_fail(err, RW_DATA,
                           "%s: no chat template (chat_template.jinja, or chat_template in tokenizer_config.json); "
                           "give one with " FIELD(chat_template) " FILE",
                           dir);
  }
  if (!s && have_config) read_tokens(*out, f.doc);
  if (have_config && f.doc) json_file_close(&f);
  mem_free(jinja);
  mem_free(config);
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
  if (t) t->year = y, t->month = m, t->day = d;
  return RW_OK;
}

bool tmpl_used_date(const chat_template *t) { return atomic_load((atomic_bool *)&t->used_date); }

void rendered_free(rendered *r) {
  str_free(&r->text);
  mem_free(r->spans);
  *r = (rendered){0};
}

static void set_var(tctx *c, tscope *s, const char *name, tv value) {
  tvar *v = tmpl_alloc(c, 1, sizeof *v);
  if (!v) return;
  *v = (tvar){s->vars, slice_of(name), value};
  s->vars = v;
}

static tv messages_value(tctx *c, const message *m, size_t n) {
  tlist *l = tmpl_new_list(c, L_LIST, n);
  for (size_t i = 0; i < n && !c->st; i++) {
    tdict *d = tmpl_new_dict(c);
    tdict_put(c, d, tmpl_string(c, SLICE("role")), tmpl_string(c, slice_of(conv_role_name[m[i].role])));
    tdict_put(c, d, tmpl_string(c, SLICE("content")), tmpl_content(c, m[i].content, (int32_t)i));
    l->items[i] = (tv){.kind = V_DICT, .dict = d};
  }
  return c->st ? TV_UNDEFINED : (tv){.kind = V_LIST, .list = l};
}

static rw_status add_span(rendered *out, size_t start, size_t end, bool content, rw_error *err) {
  if (start == end) return RW_OK;
  tok_span s = {start, end, content};
  return vec_push(out->spans, out->n_spans, out->cap_spans, s) ? RW_OK : rw_nomem(err, "a rendered conversation");
}

/* Every message's content must stand somewhere in the output, whole. */
static bool content_changed(const tbuf *b, const message *m, size_t n) {
  for (size_t i = 0; i < n; i++) {
    bool whole = m[i].content.len == 0;
    for (size_t k = 0; k < b->n_marks && !whole; k++)
      whole = b->marks[k].msg == (int32_t)i && b->marks[k].src == 0 &&
              b->marks[k].end - b->marks[k].start == m[i].content.len;
    if (!whole) return true;
  }
  return false;
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

rw_status tmpl_render(const chat_template *t, const message *m, size_t n, rendered *out, bool *changed,
                      rw_error *err) {
  size_t bytes = 0;
  for (size_t i = 0; i < n; i++) bytes += m[i].content.len;
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
  c.memory_max = MEMORY_BASE + MEMORY_PER_BYTE * bytes;
  if (!c.a) return rw_nomem(err, t->name);
  set_var(&c, &top, "messages", messages_value(&c, m, n));
  set_var(&c, &top, "add_generation_prompt", TV_BOOL(false));
  set_var(&c, &top, "tools", TV_NONE);
  set_var(&c, &top, "documents", TV_NONE);
  for (int i = 0; i < TOKEN_NAMES; i++)
    if (t->tokens[i].p) set_var(&c, &top, token_names[i], tmpl_string(&c, t->tokens[i]));
  tmpl_exec(&c, t->root);
  rw_status s = c.st;
  if (!s) s = copy_out(out, &text, err);
  if (!s && changed) *changed = content_changed(&text, m, n);
  arena_free(c.a);
  return s;
}
