/* conversation.c - every row form of the contract into conversations. */
#include "data/conversation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/json_write.h"

const char *const conv_role_name[3] = {"system", "user", "assistant"};

typedef struct {
  json_doc *d;
  arena *a;
  rw_error *err;
} reader;

static const char *got(const reader *r, json_val v) {
  return v == JSON_NONE ? "nothing" : json_kind_name(json_kind(r->d, v));
}

static rw_status need(const reader *r, const char *field, const char *what, json_val v) {
  return rw_fail(r->err, RW_DATA, "%s: expected %s, got %s", field, what, got(r, v));
}

/* A string of the row, kept in the arena when it had to be unescaped. */
static rw_status get_text(reader *r, const char *field, json_val v, slice *out) {
  *out = json_string(r->d, v);
  if (!out->p)
    return json_kind(r->d, v) == JSON_STRING && v != JSON_NONE ? rw_nomem(r->err, field)
                                                               : need(r, field, "a string", v);
  return RW_OK;
}

static rw_status get_message(reader *r, const char *field, size_t i, json_val v, message *m) {
  char name[96];
  snprintf(name, sizeof name, "%s[%zu]", field, i);
  if (json_kind(r->d, v) != JSON_OBJECT) return need(r, name, "an object with role and content", v);
  slice role;
  snprintf(name, sizeof name, "%s[%zu].role", field, i);
  RW_TRY(get_text(r, name, json_get(r->d, v, "role"), &role));
  int k = 0;
  while (k < 3 && !slice_is(role, conv_role_name[k])) k++;
  if (k == 3)
    return rw_fail(r->err, RW_DATA, "%s: expected system, user or assistant, got \"%.*s\"", name,
                   (int)(role.len < 40 ? role.len : 40), role.p);
  m->role = (conv_role)k;
  snprintf(name, sizeof name, "%s[%zu].content", field, i);
  return get_text(r, name, json_get(r->d, v, "content"), &m->content);
}

static rw_status get_messages(reader *r, const char *field, json_val v, message **m, size_t *n) {
  *n = json_count(r->d, v);
  if (*n == 0) return rw_fail(r->err, RW_DATA, "%s: expected at least one message, got an empty list", field);
  *m = arena_alloc(r->a, *n, sizeof **m);
  if (!*m) return rw_nomem(r->err, field);
  size_t i = 0;
  for (json_val c = json_first(r->d, v); c != JSON_NONE; c = json_next(r->d, c), i++)
    RW_TRY(get_message(r, field, i, c, &(*m)[i]));
  return RW_OK;
}

static rw_status get_ids(reader *r, const char *field, json_val v, conversation *c) {
  if (json_kind(r->d, v) != JSON_ARRAY) return need(r, field, "a list of token ids", v);
  c->n_ids = json_count(r->d, v);
  if (c->n_ids == 0)
    return rw_fail(r->err, RW_DATA, "%s: expected at least one token id, got an empty list", field);
  c->ids = arena_alloc(r->a, c->n_ids, sizeof *c->ids);
  if (!c->ids) return rw_nomem(r->err, field);
  size_t i = 0;
  for (json_val e = json_first(r->d, v); e != JSON_NONE; e = json_next(r->d, e), i++) {
    int64_t id;
    if (!json_int(r->d, e, &id) || id < 0 || id > INT32_MAX) {
      slice raw = json_raw(r->d, e);
      return rw_fail(r->err, RW_DATA, "%s[%zu]: expected a token id (a whole number from 0), got %.*s", field, i,
                     (int)(raw.len < 40 ? raw.len : 40), raw.p);
    }
    c->ids[i] = (int32_t)id;
  }
  return RW_OK;
}

/* ---- HH transcripts ---- */

static const char *find_turn(slice t, size_t from, bool *human) {
  static const char H[] = "\n\nHuman:", A[] = "\n\nAssistant:";
  for (size_t i = from; i + sizeof H - 1 <= t.len; i++) {
    if (t.p[i] != '\n') continue;
    if (memcmp(t.p + i, H, sizeof H - 1) == 0) return *human = true, t.p + i;
    if (i + sizeof A - 1 <= t.len && memcmp(t.p + i, A, sizeof A - 1) == 0) return *human = false, t.p + i;
  }
  return NULL;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

static slice trim(slice s) {
  while (s.len && is_space(s.p[0])) s.p++, s.len--;
  while (s.len && is_space(s.p[s.len - 1])) s.len--;
  return s;
}

rw_status conv_from_transcript(slice t, message **m, size_t *n, arena *a, rw_error *err) {
  size_t count = 0;
  bool human;
  for (const char *p = find_turn(t, 0, &human); p; p = find_turn(t, (size_t)(p - t.p) + 2, &human)) count++;
  const char *p = find_turn(t, 0, &human);
  if (!p || trim((slice){t.p, (size_t)(p - t.p)}).len > 0 || !human)
    return rw_fail(err, RW_DATA, "expected a transcript that begins with \"\\n\\nHuman:\"");
  *m = arena_alloc(a, count, sizeof **m);
  if (!*m) return rw_nomem(err, "a transcript");
  *n = 0;
  while (p) {
    bool this_human = human;
    size_t from = (size_t)(p - t.p) + (this_human ? 8 : 12);
    p = find_turn(t, from, &human);
    size_t to = p ? (size_t)(p - t.p) : t.len;
    (*m)[(*n)++] = (message){this_human ? ROLE_USER : ROLE_ASSISTANT, trim((slice){t.p + from, to - from})};
  }
  return RW_OK;
}

static bool is_transcript(slice s) {
  bool human;
  const char *p = find_turn(s, 0, &human);
  return p && human && trim((slice){s.p, (size_t)(p - s.p)}).len == 0;
}

/* ---- branches ---- */

/* prompt as messages; absent: n 0. A string is one user message, an HH transcript its turns. */
static rw_status get_prompt(reader *r, json_val v, message **m, size_t *n) {
  *m = NULL;
  *n = 0;
  if (v == JSON_NONE) return RW_OK;
  if (json_kind(r->d, v) == JSON_ARRAY) return get_messages(r, "prompt", v, m, n);
  slice s;
  if (json_kind(r->d, v) != JSON_STRING) return need(r, "prompt", "a string or a list of messages", v);
  RW_TRY(get_text(r, "prompt", v, &s));
  *m = arena_alloc(r->a, 1, sizeof **m);
  if (!*m) return rw_nomem(r->err, "prompt");
  (*m)[0] = (message){ROLE_USER, s};
  *n = 1;
  return RW_OK;
}

static bool same_message(const message *a, const message *b) {
  return a->role == b->role && slice_eq(a->content, b->content);
}

static rw_status finish(const reader *r, const char *field, const conversation *c) {
  if (c->messages[c->n_messages - 1].role != ROLE_ASSISTANT)
    return rw_fail(r->err, RW_DATA, "%s: expected a conversation that ends with an assistant message, got %s last",
                   field, conv_role_name[c->messages[c->n_messages - 1].role]);
  return RW_OK;
}

static rw_status join(reader *r, const char *field, const message *p, size_t np, const message *m, size_t n,
                      conversation *c) {
  c->messages = arena_alloc(r->a, np + n, sizeof *c->messages);
  if (!c->messages) return rw_nomem(r->err, field);
  if (np) memcpy(c->messages, p, np * sizeof *p);
  memcpy(c->messages + np, m, n * sizeof *m);
  c->n_messages = np + n;
  return finish(r, field, c);
}

/* A response: a string that continues the prompt, or messages (whole, or continuing it). */
static rw_status get_branch(reader *r, const char *field, json_val v, const message *p, size_t np,
                            conversation *c) {
  *c = (conversation){0};
  if (json_kind(r->d, v) == JSON_STRING && v != JSON_NONE) {
    message m = {.role = ROLE_ASSISTANT};
    RW_TRY(get_text(r, field, v, &m.content));
    if (np == 0 && is_transcript(m.content)) {
      RW_TRY(conv_from_transcript(m.content, &c->messages, &c->n_messages, r->a, r->err));
      return finish(r, field, c);
    }
    if (np == 0)
      return rw_fail(r->err, RW_DATA, "prompt: expected a string or messages beside the string %s, got nothing",
                     field);
    return join(r, field, p, np, &m, 1, c);
  }
  if (json_kind(r->d, v) != JSON_ARRAY) return need(r, field, "a string or a list of messages", v);
  message *m;
  size_t n;
  RW_TRY(get_messages(r, field, v, &m, &n));
  if (m[0].role == ROLE_ASSISTANT) {
    if (np == 0)
      return rw_fail(r->err, RW_DATA,
                     "%s[0].role: expected user or system, got assistant, and there is no prompt before it", field);
    return join(r, field, p, np, m, n, c);
  }
  /* a whole conversation: a prompt beside it must be its beginning */
  size_t skip = np > 0 && p[0].role != ROLE_SYSTEM && m[0].role == ROLE_SYSTEM ? 1 : 0;
  for (size_t i = 0; i < np; i++)
    if (i + skip >= n || !same_message(&p[i], &m[i + skip]))
      return rw_fail(r->err, RW_DATA,
                     "prompt: expected the beginning of the messages in %s, got another text at message %zu", field,
                     i);
  c->messages = m;
  c->n_messages = n;
  return finish(r, field, c);
}

/* A list of responses (strings or message lists), as opposed to one list of messages. */
static bool is_response_list(const reader *r, json_val v) {
  if (json_kind(r->d, v) != JSON_ARRAY) return false;
  json_val first = json_first(r->d, v);
  return first == JSON_NONE || json_kind(r->d, first) != JSON_OBJECT;
}

static rw_status get_side(reader *r, const char *field, json_val v, const message *p, size_t np, conversation *c,
                          size_t n, bool list) {
  if (!list) return get_branch(r, field, v, p, np, c);
  if (n == 0) return rw_fail(r->err, RW_DATA, "%s: expected at least one response, got an empty list", field);
  char name[64];
  size_t i = 0;
  for (json_val e = json_first(r->d, v); e != JSON_NONE; e = json_next(r->d, e), i++) {
    snprintf(name, sizeof name, "%s[%zu]", field, i);
    RW_TRY(get_branch(r, name, e, p, np, &c[i]));
  }
  return RW_OK;
}

/* JSON_NONE also for null: rows of Parquet files, or written by way of a table, have every column. */
static json_val field_of(const json_doc *d, json_val row, const char *name) {
  json_val v = json_get(d, row, name);
  return json_kind(d, v) == JSON_NULL ? JSON_NONE : v;
}

static rw_status read_pair(reader *r, conv_row *row, json_val v) {
  json_val sides[2] = {field_of(r->d, v, "chosen"), field_of(r->d, v, "rejected")};
  static const char *const names[2] = {"chosen", "rejected"};
  message *p;
  size_t np, n[2];
  bool list[2];
  RW_TRY(get_prompt(r, field_of(r->d, v, "prompt"), &p, &np));
  for (int k = 0; k < 2; k++) {
    if (sides[k] == JSON_NONE) return need(r, names[k], "a string, messages or a list of responses", sides[k]);
    list[k] = is_response_list(r, sides[k]);
    n[k] = list[k] ? json_count(r->d, sides[k]) : 1;
  }
  row->kind = ROW_PAIR;
  row->n_chosen = n[0];
  row->n_branches = n[0] + n[1];
  row->chosen_is_list = list[0];
  row->rejected_is_list = list[1];
  row->branch = arena_alloc(r->a, row->n_branches, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  RW_TRY(get_side(r, names[0], sides[0], p, np, row->branch, n[0], list[0]));
  return get_side(r, names[1], sides[1], p, np, row->branch + n[0], n[1], list[1]);
}

static rw_status read_responses(reader *r, conv_row *row, json_val v, json_val list) {
  message *p;
  size_t np;
  json_val prompt = field_of(r->d, v, "prompt"), scores = field_of(r->d, v, "scores");
  if (prompt == JSON_NONE) prompt = field_of(r->d, v, "instruction"); /* Magpie's name */
  if (json_kind(r->d, list) != JSON_ARRAY) return need(r, "responses", "a list", list);
  RW_TRY(get_prompt(r, prompt, &p, &np));
  row->kind = ROW_RESPONSES;
  row->n_branches = json_count(r->d, list);
  row->branch = arena_alloc(r->a, row->n_branches, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  RW_TRY(get_side(r, "responses", list, p, np, row->branch, row->n_branches, true));
  if (scores == JSON_NONE) return RW_OK;
  if (json_kind(r->d, scores) != JSON_ARRAY || json_count(r->d, scores) != row->n_branches)
    return rw_fail(r->err, RW_DATA, "scores: expected a list of %zu numbers, one a response, got %s of %zu",
                   row->n_branches, got(r, scores), json_count(r->d, scores));
  row->scores = arena_alloc(r->a, row->n_branches, sizeof *row->scores);
  if (!row->scores) return rw_nomem(r->err, "scores");
  size_t i = 0;
  for (json_val e = json_first(r->d, scores); e != JSON_NONE; e = json_next(r->d, e), i++)
    if (!json_number(r->d, e, &row->scores[i]) || !isfinite(row->scores[i])) {
      char name[48];
      snprintf(name, sizeof name, "scores[%zu]", i);
      return need(r, name, "a number", e);
    }
  return RW_OK;
}

static rw_status one_branch(reader *r, conv_row *row, const char *field, json_val v, json_val prompt) {
  message *p = NULL;
  size_t np = 0;
  row->kind = ROW_SINGLE;
  row->n_branches = 1;
  row->branch = arena_alloc(r->a, 1, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  conversation *c = row->branch;
  if (strcmp(field, "input_ids") == 0) return get_ids(r, field, v, c);
  if (strcmp(field, "text") == 0) return get_text(r, field, v, &c->text);
  if (strcmp(field, "messages") == 0 && json_kind(r->d, v) != JSON_ARRAY)
    return need(r, field, "a list of messages", v);
  RW_TRY(get_prompt(r, prompt, &p, &np));
  return get_branch(r, field, v, p, np, c);
}

static rw_status read_ids_pair(reader *r, conv_row *row, json_val chosen, json_val rejected) {
  row->kind = ROW_PAIR;
  row->n_branches = 2;
  row->n_chosen = 1;
  row->branch = arena_alloc(r->a, 2, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  RW_TRY(get_ids(r, "chosen_ids", chosen, &row->branch[0]));
  return get_ids(r, "rejected_ids", rejected, &row->branch[1]);
}

/* The string's text, or a number's digits and the like as they stand. */
static slice label(reader *r, json_val v) {
  if (v == JSON_NONE || json_kind(r->d, v) == JSON_NULL) return (slice){0};
  slice s = json_string(r->d, v);
  return s.p ? s : json_raw(r->d, v);
}

rw_status conv_read(conv_row *row, json_doc *d, json_val v, arena *a, rw_error *err) {
  reader r = {d, a, err};
  *row = (conv_row){0};
  if (json_kind(d, v) != JSON_OBJECT) return need(&r, "row", "an object", v);
  row->id = label(&r, field_of(d, v, "id"));
  row->source = label(&r, field_of(d, v, "source"));
  json_val prompt = field_of(d, v, "prompt"), margin = field_of(d, v, "margin"), f;
  row->prompt = label(&r, prompt);
  if (margin != JSON_NONE) {
    if (!json_number(d, margin, &row->margin) || !isfinite(row->margin))
      return need(&r, "margin", "a finite number", margin);
    row->has_margin = true;
  }
  if ((f = field_of(d, v, "chosen_ids")) != JSON_NONE || field_of(d, v, "rejected_ids") != JSON_NONE)
    return read_ids_pair(&r, row, f, field_of(d, v, "rejected_ids"));
  if (field_of(d, v, "chosen") != JSON_NONE || field_of(d, v, "rejected") != JSON_NONE)
    return read_pair(&r, row, v);
  if ((f = field_of(d, v, "responses")) != JSON_NONE) return read_responses(&r, row, v, f);
  static const char *const single[] = {"messages", "response", "text", "input_ids"};
  for (size_t i = 0; i < 4; i++)
    if ((f = field_of(d, v, single[i])) != JSON_NONE) return one_branch(&r, row, single[i], f, prompt);
  return rw_fail(err, RW_DATA,
                 "row: expected chosen and rejected, messages, prompt with response or responses, text, or "
                 "input_ids; got none "
                 "of these fields");
}

rw_status conv_read_responses(conv_row *row, json_doc *d, json_val v, arena *a, rw_error *err) {
  reader r = {d, a, err};
  *row = (conv_row){.id = label(&r, field_of(d, v, "id")), .source = label(&r, field_of(d, v, "source"))};
  return read_responses(&r, row, v, field_of(d, v, "responses"));
}

rw_status conv_messages(message **m, size_t *n, json_doc *d, json_val list, const char *field, arena *a,
                        rw_error *err) {
  reader r = {d, a, err};
  if (json_kind(d, list) != JSON_ARRAY) return need(&r, field, "a list of messages", list);
  return get_messages(&r, field, list, m, n);
}

void conv_write(str *out, const message *m, size_t n) {
  json_writer w = {.out = out};
  jw_array(&w, NULL);
  for (size_t i = 0; i < n; i++) {
    jw_object(&w, NULL);
    jw_string(&w, "role", conv_role_name[m[i].role]);
    jw_slice(&w, "content", m[i].content.p ? m[i].content : SLICE(""));
    jw_end(&w);
  }
  jw_end(&w);
}
