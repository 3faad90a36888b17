/* form.c - the table of forms (see form.h). A form with more fields stands before one with fewer of them. */
#include "data/form.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"

const data_form data_forms[] = {{"tokenized pair", FORM_IDS_PAIR, NULL, NULL, false},
                                {"RMB pair", FORM_ANSWERS, "conversation_input", "reject", false},
                                {"RMB best of N", FORM_ANSWERS, "conversation_input", "bon_best", false},
                                {"pair", FORM_PAIR, "prompt", NULL, false},
                                {"ShareGPT pair", FORM_PAIR, "conversations", NULL, true},
                                {"Orca pair", FORM_PAIR, "question", NULL, true},
                                {"Alpaca pair", FORM_PAIR, "instruction", NULL, true},
                                {"pair of whole conversations", FORM_PAIR, NULL, NULL, false},
                                {"responses", FORM_RESPONSES, "prompt", "responses", false},
                                {"Magpie", FORM_RESPONSES, "instruction", "responses", false},
                                {"whole responses", FORM_RESPONSES, NULL, "responses", false},
                                {"completions", FORM_RESPONSES, "prompt", "completions", false},
                                {"numbered responses", FORM_NUMBERED, "prompt", "response_1", false},
                                {"lettered responses", FORM_NUMBERED, "question", "response_A", false},
                                {"NeMo ranking", FORM_RANKS, "context", "completions", false},
                                {"messages", FORM_SINGLE, NULL, "messages", false},
                                {"response", FORM_SINGLE, "prompt", "response", false},
                                {"completion", FORM_SINGLE, "prompt", "completion", false},
                                {"ShareGPT", FORM_SINGLE, NULL, "conversations", true},
                                {"Alpaca", FORM_SINGLE, "instruction", "output", true},
                                {"POLAR", FORM_SINGLE, "prompt", "output", false},
                                {"whole response", FORM_SINGLE, NULL, "response", false},
                                {"text", FORM_SINGLE, NULL, "text", false},
                                {"token ids", FORM_SINGLE, NULL, "input_ids", false},
                                {.title = NULL}};

/* Names of fields beside those of the table. */
static const char *const other_names[] = {
    "chosen", "rejected", "chosen_ids", "rejected_ids", "scores", "system",    "input",      "history",
    "margin", "id",       "source",     "tools",        "score",  "reference", "loser_list", NULL};

/* ---- names ---- */

static bool is_name(slice name) {
  for (size_t i = 0; other_names[i]; i++)
    if (slice_is(name, other_names[i])) return true;
  for (const data_form *f = data_forms; f->title; f++)
    if ((f->prompt && slice_is(name, f->prompt)) || (f->answer && slice_is(name, f->answer))) return true;
  return false;
}

rw_status row_map_add(row_map *m, const char *text, arena *a, rw_error *err) {
  const char *eq = strchr(text, '=');
  slice name = {text, eq ? (size_t)(eq - text) : 0};
  if (!eq || !is_name(name) || !eq[1])
    return rw_fail(err, RW_USAGE,
                   FIELD(map) ": expected NAME=FIELD with a name of docs/data.md such as prompt, chosen, rejected, "
                              "responses, response, system or source, got '%s'",
                   text);
  row_name *names = arena_alloc(a, m->n + 1, sizeof *names);
  char *copy = arena_strndup(a, text, name.len);
  atomic_uchar *seen = arena_alloc(a, 1, sizeof *seen);
  if (!names || !copy || !seen) return rw_nomem(err, "names");
  atomic_init(seen, 0);
  if (m->n) memcpy(names, m->names, m->n * sizeof *names);
  names[m->n++] = (row_name){copy, eq + 1, seen};
  m->names = names;
  return RW_OK;
}

enum { ASKED = 1, HAD = 2, SAID = 4 };

void row_name_saw(const row_name *n, bool had) {
  unsigned char now = had ? ASKED | HAD : ASKED;
  if (n->seen && (atomic_load_explicit(n->seen, memory_order_relaxed) & now) != now)
    atomic_fetch_or_explicit(n->seen, now, memory_order_relaxed);
}

bool row_name_missing(const row_name *n) { return n->seen && (atomic_load(n->seen) & (ASKED | HAD)) == ASKED; }

void row_map_warn(const row_map *m, rw_context *context) {
  for (size_t i = 0; i < (m ? m->n : 0); i++)
    if (row_name_missing(&m->names[i]) && !(atomic_fetch_or(m->names[i].seen, SAID) & SAID))
      log_warn(context, FIELD(map) " %s=%s: no row has the field %s", m->names[i].name, m->names[i].field,
               m->names[i].field);
}

static json_val not_null(const json_doc *d, json_val v) { return json_kind(d, v) == JSON_NULL ? JSON_NONE : v; }

static json_val child(json_doc *d, json_val v, slice key) {
  char name[256];
  size_t at = 0;
  if (key.len >= sizeof name) return JSON_NONE;
  if (json_kind(d, v) == JSON_ARRAY) {
    for (size_t i = 0; i < key.len; i++) {
      if (key.p[i] < '0' || key.p[i] > '9' || at > JSON_MAX_NODES) return JSON_NONE;
      at = at * 10 + (size_t)(key.p[i] - '0');
    }
    return key.len ? json_at(d, v, at) : JSON_NONE;
  }
  memcpy(name, key.p, key.len);
  name[key.len] = 0;
  return json_get(d, v, name);
}

json_val row_path(json_doc *d, json_val v, const char *path) {
  json_val whole = json_get(d, v, path);
  if (whole != JSON_NONE) return whole;
  for (const char *dot; (dot = strchr(path, '.')); path = dot + 1)
    v = child(d, v, (slice){path, (size_t)(dot - path)});
  return child(d, v, slice_of(path));
}

json_val row_get(json_doc *d, json_val row, const row_map *called, const char *name) {
  for (size_t i = called ? called->n : 0; i-- > 0;)
    if (strcmp(called->names[i].name, name) == 0) {
      json_val v = not_null(d, row_path(d, row, called->names[i].field));
      row_name_saw(&called->names[i], v != JSON_NONE);
      return v;
    }
  return not_null(d, json_get(d, row, name));
}

/* ---- recognition ---- */

/* A list of messages that begins a conversation, rather than going on with one. */
static bool is_whole(json_doc *d, json_val list) {
  json_val first = json_kind(d, list) == JSON_ARRAY ? json_first(d, list) : JSON_NONE;
  slice role = json_string(d, json_get(d, first, "role"));
  if (!role.p) role = json_string(d, json_get(d, first, "from"));
  return role.p && !slice_is(role, "assistant") && !slice_is(role, "gpt");
}

static bool has_form(json_doc *d, json_val row, const row_map *called, const data_form *f) {
  if (f->prompt && row_get(d, row, called, f->prompt) == JSON_NONE) return false;
  if (f->answer) {
    json_val answer = row_get(d, row, called, f->answer);
    bool list = json_kind(d, answer) == JSON_ARRAY;
    return answer != JSON_NONE && (f->shape != FORM_RANKS || list);
  }
  bool ids = f->shape == FORM_IDS_PAIR;
  json_val chosen = row_get(d, row, called, ids ? "chosen_ids" : "chosen");
  json_val rejected = row_get(d, row, called, ids ? "rejected_ids" : "rejected");
  if (chosen == JSON_NONE && rejected == JSON_NONE) return false;
  /* whole conversations need no prompt: what has another name than "prompt" may mean something else */
  return !f->beside || !is_whole(d, chosen) || !is_whole(d, rejected);
}

static void no_form(json_doc *d, json_val row, rw_error *err) {
  char fields[300] = "";
  size_t len = 0, n = 0;
  if (!err) return;
  for (json_val v = json_first(d, row); v != JSON_NONE; v = json_next(d, v), n++) {
    slice key = json_key(d, v);
    if (len + key.len + 3 > sizeof fields) break;
    len += (size_t)sprintf(fields + len, "%s%.*s", n ? ", " : "", (int)key.len, key.p);
  }
  rw_fail(err, RW_DATA,
          "row: expected chosen and rejected, messages, prompt with response or responses, text, input_ids, or "
          "another form of docs/data.md; got none of these fields%s%s",
          n ? ", only " : "", fields);
}

const data_form *form_of(json_doc *d, json_val row, const row_map *called, rw_error *err) {
  for (const data_form *f = data_forms; f->title; f++)
    if (has_form(d, row, called, f)) return f;
  no_form(d, row, err);
  return NULL;
}
