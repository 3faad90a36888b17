/* conversation.c - every row form of the contract into conversations. */
#include "data/conversation.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/form.h"
#include "data/transcript.h"

typedef struct {
  json_doc *d;
  arena *a;
  rw_error *err;
  const row_map *called;
} reader;

/* What stands before the answers. */
typedef struct {
  message *m;
  size_t n;
  bool transcript; /* it was written as one */
  bool checked;    /* whole conversations beside it must begin with it */
} prompt_part;

static rw_status get_ids(reader *r, const char *field, json_val v, conversation *c) {
  if (json_kind(r->d, v) != JSON_ARRAY) return json_wrong(r->d, v, field, "a list of token ids", r->err);
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

/* ---- prompts ---- */

static bool instructs(const message *m) {
  return m->role == ROLE_SYSTEM || (m->role == ROLE_OTHER && slice_is(m->other_role, "developer"));
}

static rw_status add_messages(reader *r, prompt_part *p, const message *more, size_t n) {
  message *m = arena_alloc(r->a, p->n + n, sizeof *m);
  if (!m) return rw_nomem(r->err, "prompt");
  if (p->n) memcpy(m, p->m, p->n * sizeof *m);
  if (n) memcpy(m + p->n, more, n * sizeof *m);
  p->n += n;
  p->m = m;
  return RW_OK;
}

static rw_status add_message(reader *r, prompt_part *p, conv_role role, slice content) {
  message m = conv_message(role, content);
  return add_messages(r, p, &m, 1);
}

/* A string is one user message, an HH transcript its turns, of which an empty last one is where the answer goes. */
static rw_status get_prompt(reader *r, const char *field, json_val v, prompt_part *p) {
  if (v == JSON_NONE) return RW_OK;
  if (json_kind(r->d, v) == JSON_ARRAY) return conv_messages(&p->m, &p->n, r->d, v, field, r->a, r->err);
  slice s;
  if (json_kind(r->d, v) != JSON_STRING)
    return json_wrong(r->d, v, field, "a string or a list of messages", r->err);
  RW_TRY(json_text(r->d, v, field, &s, r->err));
  if (!transcript_is(s)) return add_message(r, p, ROLE_USER, s);
  p->transcript = true;
  RW_TRY(transcript_read(s, &p->m, &p->n, r->a, r->err));
  const message *last = &p->m[p->n - 1];
  if (last->role == ROLE_ASSISTANT && last->content.len == 0) p->n--;
  return RW_OK;
}

/* "instruction" with the text of "input" under it, as LLaMA-Factory puts them together. */
static rw_status add_input(reader *r, const char *field, json_val prompt, json_val input, prompt_part *p) {
  slice ask, more;
  RW_TRY(json_text(r->d, prompt, field, &ask, r->err));
  RW_TRY(json_text(r->d, input, "input", &more, r->err));
  if (more.len == 0) return add_message(r, p, ROLE_USER, ask);
  char *text = arena_alloc(r->a, ask.len + more.len + 1, 1);
  if (!text) return rw_nomem(r->err, field);
  memcpy(text, ask.p, ask.len);
  text[ask.len] = '\n';
  memcpy(text + ask.len + 1, more.p, more.len);
  return add_message(r, p, ROLE_USER, (slice){text, ask.len + more.len + 1});
}

/* [[question, answer], …]: the turns before the prompt. */
static rw_status add_history(reader *r, json_val list, prompt_part *p) {
  if (json_kind(r->d, list) != JSON_ARRAY)
    return json_wrong(r->d, list, "history", "a list of [question, answer]", r->err);
  size_t n = 0;
  message *m = arena_alloc(r->a, 2 * json_count(r->d, list), sizeof *m);
  if (!m) return rw_nomem(r->err, "history");
  for (json_val e = json_first(r->d, list); e != JSON_NONE; e = json_next(r->d, e)) {
    if (json_kind(r->d, e) != JSON_ARRAY || json_count(r->d, e) != 2)
      return json_wrong(r->d, e, "history", "lists of a question and its answer", r->err);
    for (size_t k = 0; k < 2; k++, n++) {
      m[n] = conv_message(k ? ROLE_ASSISTANT : ROLE_USER, SLICE(""));
      RW_TRY(json_text(r->d, json_at(r->d, e, k), "history", &m[n].content, r->err));
    }
  }
  return add_messages(r, p, m, n);
}

/* All that the form has before its answers. */
static rw_status read_prompt(reader *r, const data_form *f, json_val v, prompt_part *p) {
  const char *field = f->prompt ? f->prompt : "prompt";
  *p = (prompt_part){.checked = !f->beside};
  json_val prompt = row_get(r->d, v, r->called, field), input = JSON_NONE;
  if (f->beside) {
    bool list = json_kind(r->d, prompt) == JSON_ARRAY;
    json_val system = row_get(r->d, v, r->called, "system"), history = row_get(r->d, v, r->called, "history");
    slice text = {0};
    if (system != JSON_NONE) RW_TRY(json_text(r->d, system, "system", &text, r->err));
    if (text.len) RW_TRY(add_message(r, p, ROLE_SYSTEM, text));
    if (!list && history != JSON_NONE) RW_TRY(add_history(r, history, p));
    if (!list) input = row_get(r->d, v, r->called, "input");
  }
  if (input != JSON_NONE) return add_input(r, field, prompt, input, p);
  prompt_part own = {0};
  RW_TRY(get_prompt(r, field, prompt, &own));
  p->transcript = own.transcript;
  /* the conversation's own system message counts */
  if (own.n && instructs(&own.m[0])) p->n = 0;
  return add_messages(r, p, own.m, own.n);
}

/* ---- branches ---- */

static rw_status finish(const reader *r, const char *field, const conversation *c) {
  const message *last = &c->messages[c->n_messages - 1];
  slice name = conv_role_name(last);
  if (last->role == ROLE_ASSISTANT) return RW_OK;
  return rw_fail(r->err, RW_DATA, "%s: expected a conversation that ends with an assistant message, got %.*s last",
                 field, (int)(name.len < 40 ? name.len : 40), name.p);
}

static rw_status join(reader *r, const char *field, const prompt_part *p, const message *m, size_t n,
                      conversation *c) {
  c->messages = arena_alloc(r->a, p->n + n, sizeof *c->messages);
  if (!c->messages) return rw_nomem(r->err, field);
  if (p->n) memcpy(c->messages, p->m, p->n * sizeof *m);
  memcpy(c->messages + p->n, m, n * sizeof *m);
  c->n_messages = p->n + n;
  c->n_prompt = p->n;
  return finish(r, field, c);
}

/* A whole conversation: a prompt beside it must be its beginning. */
static rw_status whole(reader *r, const char *field, const prompt_part *p, message *m, size_t n, conversation *c) {
  size_t skip = p->n > 0 && !instructs(&p->m[0]) && instructs(&m[0]) ? 1 : 0;
  for (size_t i = 0; p->checked && i < p->n; i++)
    if (i + skip >= n || !conv_same_message(&p->m[i], &m[i + skip]))
      return rw_fail(r->err, RW_DATA,
                     "prompt: expected the beginning of the messages in %s, got another text at message %zu", field,
                     i);
  c->messages = m;
  c->n_messages = n;
  c->n_prompt = p->n > 0 && p->checked ? p->n + skip : n - 1;
  return finish(r, field, c);
}

/* A response: a string or a message that continues the prompt, or messages (whole, or continuing it). */
static rw_status get_branch(reader *r, const char *field, json_val v, const prompt_part *p, conversation *c) {
  *c = (conversation){0};
  message *m;
  size_t n = 1;
  if (json_kind(r->d, v) == JSON_STRING) {
    message one = conv_message(ROLE_ASSISTANT, SLICE(""));
    RW_TRY(json_text(r->d, v, field, &one.content, r->err));
    if ((p->n == 0 || p->transcript) && transcript_is(one.content)) {
      RW_TRY(transcript_read(one.content, &m, &n, r->a, r->err));
      return whole(r, field, p, m, n, c);
    }
    if (p->n == 0)
      return rw_fail(r->err, RW_DATA, "prompt: expected a string or messages beside the string %s, got nothing",
                     field);
    if (p->transcript) one.content = transcript_trim(one.content);
    return join(r, field, p, &one, 1, c);
  }
  bool one_message = json_get(r->d, v, "role") != JSON_NONE || json_get(r->d, v, "from") != JSON_NONE;
  if (one_message && p->n) {
    message one;
    RW_TRY(conv_one_message(&one, r->d, v, field, r->a, r->err));
    return join(r, field, p, &one, 1, c);
  }
  if (json_kind(r->d, v) != JSON_ARRAY) return json_wrong(r->d, v, field, "a string or a list of messages", r->err);
  RW_TRY(conv_messages(&m, &n, r->d, v, field, r->a, r->err));
  if (m[0].role == ROLE_USER || instructs(&m[0]) || (p->n == 0 && m[0].role == ROLE_OTHER))
    return whole(r, field, p, m, n, c);
  if (p->n == 0)
    return rw_fail(r->err, RW_DATA,
                   "%s[0].role: expected user or system, got assistant, and there is no prompt before it", field);
  return join(r, field, p, m, n, c);
}

/* A list of responses (strings or message lists), as opposed to one list of messages. */
static bool is_response_list(const reader *r, json_val v) {
  if (json_kind(r->d, v) != JSON_ARRAY) return false;
  json_val first = json_first(r->d, v);
  return first == JSON_NONE || json_kind(r->d, first) != JSON_OBJECT;
}

static rw_status get_side(reader *r, const char *field, json_val v, const prompt_part *p, conversation *c, size_t n,
                          bool list) {
  if (!list) return get_branch(r, field, v, p, c);
  if (n == 0) return rw_fail(r->err, RW_DATA, "%s: expected at least one response, got an empty list", field);
  char name[64];
  size_t i = 0;
  for (json_val e = json_first(r->d, v); e != JSON_NONE; e = json_next(r->d, e), i++) {
    snprintf(name, sizeof name, "%s[%zu]", field, i);
    RW_TRY(get_branch(r, name, e, p, &c[i]));
  }
  return RW_OK;
}

/* ---- rows ---- */

static rw_status read_pair(reader *r, const data_form *f, conv_row *row, json_val v) {
  static const char *const names[2] = {"chosen", "rejected"};
  json_val sides[2];
  prompt_part p = {0};
  size_t n[2];
  bool list[2];
  RW_TRY(read_prompt(r, f, v, &p));
  for (int k = 0; k < 2; k++) {
    sides[k] = row_get(r->d, v, r->called, names[k]);
    if (sides[k] == JSON_NONE)
      return json_wrong(r->d, sides[k], names[k], "a string, messages or a list of responses", r->err);
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
  RW_TRY(get_side(r, names[0], sides[0], &p, row->branch, n[0], list[0]));
  return get_side(r, names[1], sides[1], &p, row->branch + n[0], n[1], list[1]);
}

/* A number by which the row's branches are in order; true is above false. */
static rw_status get_score(reader *r, const char *field, json_val v, double *out) {
  *out = json_kind(r->d, v) == JSON_TRUE;
  if (json_kind(r->d, v) == JSON_TRUE || json_kind(r->d, v) == JSON_FALSE) return RW_OK;
  return json_number(r->d, v, out) && isfinite(*out) ? RW_OK : json_wrong(r->d, v, field, "a number", r->err);
}

static rw_status open_list(reader *r, const data_form *f, conv_row *row, json_val v, prompt_part *p) {
  json_val list = row->responses = row_get(r->d, v, r->called, f->answer);
  if (json_kind(r->d, list) != JSON_ARRAY) return json_wrong(r->d, list, f->answer, "a list", r->err);
  RW_TRY(read_prompt(r, f, v, p));
  row->kind = ROW_RESPONSES;
  row->n_branches = json_count(r->d, list);
  row->branch = arena_alloc(r->a, row->n_branches, sizeof *row->branch);
  return row->branch ? RW_OK : rw_nomem(r->err, "a row");
}

/* The row's `scores`, where it has them. */
static rw_status read_scores(reader *r, conv_row *row, json_val v) {
  json_val scores = row_get(r->d, v, r->called, "scores");
  if (scores == JSON_NONE) return RW_OK;
  if (json_kind(r->d, scores) != JSON_ARRAY || json_count(r->d, scores) != row->n_branches)
    return rw_fail(r->err, RW_DATA, "scores: expected a list of %zu numbers, one a response, got %s of %zu",
                   row->n_branches, json_kind_name(json_kind(r->d, scores)), json_count(r->d, scores));
  row->scores = arena_alloc(r->a, row->n_branches, sizeof *row->scores);
  if (!row->scores) return rw_nomem(r->err, "scores");
  size_t i = 0;
  for (json_val e = json_first(r->d, scores); e != JSON_NONE; e = json_next(r->d, e), i++) {
    char name[48];
    snprintf(name, sizeof name, "scores[%zu]", i);
    RW_TRY(get_score(r, name, e, &row->scores[i]));
  }
  return RW_OK;
}

static rw_status read_responses(reader *r, const data_form *f, conv_row *row, json_val v) {
  prompt_part p = {0};
  RW_TRY(open_list(r, f, row, v, &p));
  RW_TRY(get_side(r, f->answer, row->responses, &p, row->branch, row->n_branches, true));
  return read_scores(r, row, v);
}

/* Response k (from 0): response_1, response_2, … or response_A, response_B, … to Z. */
static void numbered(char name[32], const data_form *f, size_t k) {
  bool letters = f->answer[strlen(f->answer) - 1] == 'A';
  if (letters)
    snprintf(name, 32, "response_%c", (char)("ABCDEFGHIJKLMNOPQRSTUVWXYZ@"[k < 26 ? k : 26]));
  else
    snprintf(name, 32, "response_%zu", k + 1);
}

/* The responses as far as they go. */
static rw_status read_numbered(reader *r, const data_form *f, conv_row *row, json_val v) {
  char name[32];
  prompt_part p = {0};
  for (numbered(name, f, 0); row_get(r->d, v, r->called, name) != JSON_NONE; numbered(name, f, row->n_branches))
    row->n_branches++;
  row->kind = ROW_RESPONSES;
  row->responses = JSON_NONE;
  row->branch = arena_alloc(r->a, row->n_branches, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  RW_TRY(read_prompt(r, f, v, &p));
  for (size_t b = 0; b < row->n_branches; b++) {
    numbered(name, f, b);
    RW_TRY(get_branch(r, name, row_get(r->d, v, r->called, name), &p, &row->branch[b]));
  }
  return read_scores(r, row, v);
}

/* RMB's rows, whose messages and answers say more than is rendered (`language`, `llm_name`). */
static rw_status read_answers(reader *r, const data_form *f, conv_row *row, json_val v) {
  bool best = strcmp(f->answer, "bon_best") == 0;
  json_val first = row_get(r->d, v, r->called, best ? f->answer : "chosen");
  json_val others = row_get(r->d, v, r->called, best ? "loser_list" : f->answer);
  json_val e = best ? json_first(r->d, others) : others;
  prompt_part p = {0};
  if (best && (json_kind(r->d, others) != JSON_ARRAY || e == JSON_NONE))
    return json_wrong(r->d, others, "loser_list", "a list of answers", r->err);
  RW_TRY(read_prompt(r, f, v, &p));
  for (size_t i = 0; i < p.n; i++) p.m[i].json = (slice){0};
  row->kind = ROW_PAIR;
  row->n_chosen = 1;
  row->n_branches = 1 + (best ? json_count(r->d, others) : 1);
  row->rejected_is_list = best;
  row->branch = arena_alloc(r->a, row->n_branches, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  RW_TRY(
      get_branch(r, best ? "bon_best.answer" : "chosen.answer", json_get(r->d, first, "answer"), &p, row->branch));
  for (size_t b = 1; b < row->n_branches; b++, e = json_next(r->d, e)) {
    char name[48];
    snprintf(name, sizeof name, best ? "loser_list[%zu].answer" : "reject.answer", b - 1);
    RW_TRY(get_branch(r, name, json_get(r->d, e, "answer"), &p, &row->branch[b]));
  }
  return RW_OK;
}

/* [{"completion", "rank"}, …], rank 0 the best: the scores are the ranks' negatives. */
static rw_status read_ranks(reader *r, const data_form *f, conv_row *row, json_val v) {
  prompt_part p = {0};
  RW_TRY(open_list(r, f, row, v, &p));
  if (row->n_branches == 0)
    return rw_fail(r->err, RW_DATA, "%s: expected at least one response, got an empty list", f->answer);
  row->scores = arena_alloc(r->a, row->n_branches, sizeof *row->scores);
  if (!row->scores) return rw_nomem(r->err, "ranks");
  size_t i = 0;
  for (json_val e = json_first(r->d, row->responses); e != JSON_NONE; e = json_next(r->d, e), i++) {
    char name[64];
    snprintf(name, sizeof name, "%s[%zu].completion", f->answer, i);
    RW_TRY(get_branch(r, name, json_get(r->d, e, "completion"), &p, &row->branch[i]));
    snprintf(name, sizeof name, "%s[%zu].rank", f->answer, i);
    RW_TRY(get_score(r, name, json_get(r->d, e, "rank"), &row->scores[i]));
    row->scores[i] = 0 - row->scores[i];
  }
  return RW_OK;
}

static rw_status read_single(reader *r, const data_form *f, conv_row *row, json_val v) {
  json_val answer = row_get(r->d, v, r->called, f->answer);
  prompt_part p = {0};
  json_val score = row_get(r->d, v, r->called, "score");
  row->kind = ROW_SINGLE;
  if (!json_number(r->d, score, &row->score)) row->score = NAN;
  row->n_branches = 1;
  row->branch = arena_alloc(r->a, 1, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  conversation *c = row->branch;
  if (strcmp(f->answer, "input_ids") == 0) return get_ids(r, f->answer, answer, c);
  if (strcmp(f->answer, "text") == 0) return json_text(r->d, answer, f->answer, &c->text, r->err);
  bool messages = strcmp(f->answer, "messages") == 0, share = strcmp(f->answer, "conversations") == 0;
  if ((messages || share) && json_kind(r->d, answer) != JSON_ARRAY)
    return json_wrong(r->d, answer, f->answer, "a list of messages", r->err);
  if (share) { /* its messages are what it has for a prompt */
    data_form turns = *f;
    turns.prompt = f->answer;
    RW_TRY(read_prompt(r, &turns, v, &p));
    *c = (conversation){.messages = p.m, .n_messages = p.n, .n_prompt = p.n - 1};
    return finish(r, f->answer, c);
  }
  RW_TRY(read_prompt(r, f, v, &p));
  return get_branch(r, f->answer, answer, &p, c);
}

static rw_status read_ids_pair(reader *r, conv_row *row, json_val v) {
  row->kind = ROW_PAIR;
  row->n_branches = 2;
  row->n_chosen = 1;
  row->branch = arena_alloc(r->a, 2, sizeof *row->branch);
  if (!row->branch) return rw_nomem(r->err, "a row");
  RW_TRY(get_ids(r, "chosen_ids", row_get(r->d, v, r->called, "chosen_ids"), &row->branch[0]));
  return get_ids(r, "rejected_ids", row_get(r->d, v, r->called, "rejected_ids"), &row->branch[1]);
}

/* The string's text, or a number's digits and the like as they stand. */
static slice label(reader *r, json_val v) {
  if (v == JSON_NONE) return (slice){0};
  slice s = json_string(r->d, v);
  return s.p ? s : json_raw(r->d, v);
}

static void read_labels(reader *r, conv_row *row, json_val v) {
  *row = (conv_row){.responses = JSON_NONE};
  row->id = label(r, row_get(r->d, v, r->called, "id"));
  row->source = label(r, row_get(r->d, v, r->called, "source"));
}

rw_status conv_reference(slice *text, json_doc *d, json_val v, arena *a, rw_error *err) {
  message *m;
  size_t n, len = 0;
  *text = json_string(d, v);
  if (json_kind(d, v) != JSON_ARRAY || conv_messages(&m, &n, d, v, "reference", a, NULL)) return RW_OK;
  for (size_t i = 0; i < n; i++) len += m[i].content.len + 1;
  char *all = arena_alloc(a, len, 1), *at = all;
  if (!all) return rw_nomem(err, "reference");
  for (size_t i = 0; i < n; i++) {
    if (i) *at++ = '\n';
    if (m[i].content.len) memcpy(at, m[i].content.p, m[i].content.len);
    at += m[i].content.len;
  }
  *text = (slice){all, len - 1};
  return RW_OK;
}

/* Every conversation of the row may call its tools, and is compared with its reference. */
static rw_status give_common(reader *r, conv_row *row, json_val v) {
  slice tools = {0}, reference = {0};
  for (size_t b = 0; b < row->n_branches; b++) {
    if (!row->branch[b].messages) continue;
    if (b == 0) RW_TRY(conv_tools(&tools, r->d, v, r->called, r->err));
    if (b == 0) RW_TRY(conv_reference(&reference, r->d, row_get(r->d, v, r->called, "reference"), r->a, r->err));
    row->branch[b].tools = tools;
    row->branch[b].reference = reference;
  }
  return RW_OK;
}

static rw_status read_form(reader *r, const data_form *f, conv_row *row, json_val v) {
  switch (f->shape) {
    case FORM_IDS_PAIR: return read_ids_pair(r, row, v);
    case FORM_PAIR: return read_pair(r, f, row, v);
    case FORM_RESPONSES: return read_responses(r, f, row, v);
    case FORM_RANKS: return read_ranks(r, f, row, v);
    case FORM_NUMBERED: return read_numbered(r, f, row, v);
    case FORM_ANSWERS: return read_answers(r, f, row, v);
    default: return read_single(r, f, row, v);
  }
}

rw_status conv_read(conv_row *row, json_doc *d, json_val v, const row_map *called, arena *a, rw_error *err) {
  reader r = {d, a, err, called};
  *row = (conv_row){0};
  if (json_kind(d, v) != JSON_OBJECT) return json_wrong(d, v, "row", "an object", err);
  read_labels(&r, row, v);
  json_val margin = row_get(d, v, called, "margin");
  row->prompt = label(&r, row_get(d, v, called, "prompt"));
  if (margin != JSON_NONE) {
    if (!json_number(d, margin, &row->margin) || !isfinite(row->margin)) {
      slice raw = json_raw(d, margin);
      return rw_fail(err, RW_DATA, "margin: expected a finite number, got %.*s", (int)(raw.len < 40 ? raw.len : 40),
                     raw.p);
    }
    row->has_margin = true;
  }
  const data_form *f = form_of(d, v, called, err);
  if (!f) return RW_DATA;
  RW_TRY(read_form(&r, f, row, v));
  return give_common(&r, row, v);
}

rw_status conv_read_responses(conv_row *row, json_doc *d, json_val v, const row_map *called, arena *a,
                              rw_error *err) {
  static const data_form magpie = {"", FORM_RESPONSES, "instruction", "responses", false};
  reader r = {d, a, err, called};
  read_labels(&r, row, v);
  RW_TRY(read_responses(&r, &magpie, row, v));
  return give_common(&r, row, v);
}

bool conv_as_pair(conv_row *row) {
  if (row->kind != ROW_RESPONSES || !row->scores || row->n_branches != 2 || row->scores[0] == row->scores[1])
    return row->kind == ROW_PAIR;
  if (row->scores[0] < row->scores[1]) {
    conversation first = row->branch[0];
    row->branch[0] = row->branch[1];
    row->branch[1] = first;
  }
  row->kind = ROW_PAIR;
  row->n_chosen = 1;
  row->scores = NULL;
  return true;
}
