/* score_row.c - rows of `reward score` read and written. */
#include "model/score_row.h"

#include <stdio.h>
#include <string.h>

void score_form_init(score_form *f) {
  f->n_names = scorer_attributes(f->scorer, &f->names);
  f->magpie = scorer_is_armorm(f->scorer);
}

rw_status score_row_init(score_row *h, rw_error *err) {
  *h = (score_row){.doc = json_new(), .mem = arena_new()};
  return h->doc && h->mem ? RW_OK : rw_nomem(err, "a row");
}

void score_row_free(score_row *h) {
  json_free(h->doc);
  arena_free(h->mem);
}

/* ---- reading ---- */

rw_status score_row_read(score_row *h, const score_form *f, slice text, uint64_t line, rw_error *err) {
  rw_error e;
  json_doc *d = h->doc;
  arena_reset(h->mem);
  const char *copy = arena_strndup(h->mem, text.p, text.len);
  if (!copy) return rw_nomem(err, "a row");
  h->line = line;
  h->error[0] = 0;
  h->readable = json_parse(d, copy, text.len, &e) == RW_OK;
  h->is_object = h->readable && json_kind(d, 0) == JSON_OBJECT;
  h->magpie = h->readable && f->magpie && json_get(d, 0, "instruction") != JSON_NONE &&
              json_get(d, 0, "responses") != JSON_NONE;
  if (h->readable)
    h->readable = (h->magpie ? conv_read_responses : conv_read)(&h->row, d, 0, scorer_context(f->scorer)->map,
                                                                h->mem, &e) == RW_OK;
  if (!h->readable) snprintf(h->error, sizeof h->error, "%.255s", e.text), utf8_mend(h->error);
  return RW_OK;
}

rw_status score_row_item(const score_row *h, const score_form *f, score_item *it, rw_error *err) {
  size_t n = h->row.n_branches;
  *it = (score_item){.row = &h->row,
                     .score = arena_alloc(h->mem, n, sizeof(float)),
                     .attributes = arena_alloc(h->mem, n * f->n_names, sizeof(float)),
                     .tokens = arena_alloc(h->mem, n, sizeof(uint32_t))};
  return it->score && it->attributes && it->tokens ? RW_OK : rw_nomem(err, "scores");
}

slice score_row_response(const score_row *h) {
  const conversation *c = &h->row.branch[0];
  return c->messages ? c->messages[c->n_messages - 1].content : c->text;
}

/* ---- writing ---- */

/* The fields that are written here: a row's own of such a name is left out where it could be taken for one. */
enum { ON_SINGLE = 1 << ROW_SINGLE, ON_RESPONSES = 1 << ROW_RESPONSES, ON_PAIR = 1 << ROW_PAIR, ON_ALL = 7 };
typedef enum { ALWAYS, ATTRIBUTES, MAGPIE, BEST } written;
static const struct {
  const char *name;
  int kinds; /* kinds of rows that get it; a row that could not be read counts as every kind */
  written when;
} ours[SCORE_FIELDS] = {{"error", ON_ALL, ALWAYS},
                        {"dropped", ON_ALL, ALWAYS},
                        {"truncated", ON_ALL, ALWAYS},
                        {"score", ON_SINGLE, ALWAYS},
                        {"scores", ON_RESPONSES, ALWAYS},
                        {"tokens", ON_SINGLE | ON_RESPONSES, ALWAYS},
                        {"attributes", ON_SINGLE | ON_RESPONSES, ATTRIBUTES},
                        {"rewards_armorm", ON_RESPONSES, MAGPIE},
                        {"best", ON_SINGLE | ON_RESPONSES, BEST},
                        {"best_response", ON_SINGLE | ON_RESPONSES, BEST},
                        {"chosen_score", ON_PAIR, ALWAYS},
                        {"chosen_scores", ON_PAIR, ALWAYS},
                        {"rejected_score", ON_PAIR, ALWAYS},
                        {"rejected_scores", ON_PAIR, ALWAYS},
                        {"chosen_tokens", ON_PAIR, ALWAYS},
                        {"rejected_tokens", ON_PAIR, ALWAYS},
                        {"chosen_attributes", ON_PAIR, ATTRIBUTES},
                        {"rejected_attributes", ON_PAIR, ATTRIBUTES}};

typedef struct {
  score_form *f;
  const score_row *h;
} row_of;

/* Is it a field that is written anew? Counted, unless it says nothing. */
static bool replaced(void *ctx, slice key, json_val v) {
  const row_of *of = ctx;
  const score_row *h = of->h;
  int kind = h->readable ? 1 << h->row.kind : ON_ALL;
  for (size_t i = 0; i < SCORE_FIELDS; i++) {
    if (!(ours[i].kinds & kind) || !slice_is(key, ours[i].name)) continue;
    if (ours[i].when == ATTRIBUTES && !of->f->n_names) return false;
    if (ours[i].when == MAGPIE && !h->magpie) return false;
    if (ours[i].when == BEST && !of->f->best) return false;
    of->f->replaced[i].name = ours[i].name;
    of->f->replaced[i].rows += json_kind(h->doc, v) != JSON_NULL;
    return true;
  }
  return false;
}

void score_row_replaced(own_field f[SCORE_FIELDS], slice name, size_t rows) {
  for (size_t i = 0; i < SCORE_FIELDS; i++)
    if (slice_is(name, ours[i].name)) f[i].name = ours[i].name, f[i].rows += rows;
}

void score_row_begin(json_writer *w, score_form *f, const score_row *h) {
  jw_object(w, NULL);
  if (h->is_object)
    jw_members(w, h->doc, replaced, &(row_of){f, h});
  else if (h->line)
    jw_uint(w, "line", h->line);
}

/* A number, or a list of them where the row had a list. */
static void add_numbers(json_writer *w, const char *name, bool list, const float *v, size_t n) {
  if (list) jw_array(w, name);
  for (size_t i = 0; i < n; i++) jw_f32(w, list ? NULL : name, v[i]);
  if (list) jw_end(w);
}

static void add_counts(json_writer *w, const char *name, bool list, const uint32_t *v, size_t n) {
  if (list) jw_array(w, name);
  for (size_t i = 0; i < n; i++) jw_uint(w, list ? NULL : name, v[i]);
  if (list) jw_end(w);
}

/* {name: number} for each of n conversations, in a list where the row had one. */
static void add_attributes(json_writer *w, const score_form *f, const char *name, bool list, const float *v,
                           size_t n) {
  if (list) jw_array(w, name);
  for (size_t i = 0; i < n; i++) {
    jw_object(w, list ? NULL : name);
    for (size_t k = 0; k < f->n_names; k++) jw_f32(w, f->names[k], v[i * f->n_names + k]);
    jw_end(w);
  }
  if (list) jw_end(w);
}

/* The column of the public Magpie sets: [{"score": number}, ...], one a response. */
static void add_magpie(json_writer *w, const float *v, size_t n) {
  jw_array(w, "rewards_armorm");
  for (size_t i = 0; i < n; i++) {
    jw_object(w, NULL);
    jw_f32(w, "score", v[i]);
    jw_end(w);
  }
  jw_end(w);
}

/* The first of the highest. */
static void add_best_of(json_writer *w, const score_row *h, const float *v, size_t n) {
  size_t best = 0;
  for (size_t i = 1; i < n; i++)
    if (v[i] > v[best]) best = i;
  jw_uint(w, "best", best);
  const conversation *c = &h->row.branch[best];
  if (h->row.responses == JSON_NONE) {
    jw_slice(w, "best_response", c->messages[c->n_messages - 1].content);
    return;
  }
  json_val response = json_at(h->doc, h->row.responses, best), inner = json_get(h->doc, response, "completion");
  jw_raw(w, "best_response", json_raw(h->doc, inner == JSON_NONE ? response : inner));
}

static void add_scores(json_writer *w, const score_form *f, const score_row *h, const score_item *it,
                       const score_best *best) {
  const conv_row *c = it->row;
  size_t nc = c->n_chosen, nr = c->n_branches - nc;
  if (c->kind == ROW_PAIR) {
    bool cl = c->chosen_is_list, rl = c->rejected_is_list;
    add_numbers(w, cl ? "chosen_scores" : "chosen_score", cl, it->score, nc);
    add_numbers(w, rl ? "rejected_scores" : "rejected_score", rl, it->score + nc, nr);
    add_counts(w, "chosen_tokens", cl, it->tokens, nc);
    add_counts(w, "rejected_tokens", rl, it->tokens + nc, nr);
    if (!f->n_names) return;
    add_attributes(w, f, "chosen_attributes", cl, it->attributes, nc);
    add_attributes(w, f, "rejected_attributes", rl, it->attributes + nc * f->n_names, nr);
    return;
  }
  bool list = c->kind == ROW_RESPONSES;
  add_numbers(w, list ? "scores" : "score", list, it->score, c->n_branches);
  add_counts(w, "tokens", list, it->tokens, c->n_branches);
  if (f->n_names) add_attributes(w, f, "attributes", list, it->attributes, c->n_branches);
  if (h->magpie) add_magpie(w, it->score, c->n_branches);
  if (f->best && list && c->n_branches) add_best_of(w, h, it->score, c->n_branches);
  if (f->best && best) {
    jw_uint(w, "best", best->index);
    jw_slice(w, "best_response", best->response);
  }
}

void score_row_write(str *out, score_form *f, const score_row *h, const score_item *it, const score_best *best) {
  json_writer w = {.out = out};
  score_row_begin(&w, f, h);
  const char *error = it ? it->error : h->error;
  if (error[0]) {
    jw_string(&w, "error", error);
    if (it && it->dropped) jw_bool(&w, "dropped", true);
  } else if (it) {
    add_scores(&w, f, h, it, best);
    if (it->truncated) jw_bool(&w, "truncated", true);
  }
  jw_end(&w);
}

rw_status score_row_json(score_form *f, slice text, str *out, bool *failed, rw_error *err) {
  score_row h;
  score_item item, *it = NULL;
  rw_status s = score_row_init(&h, err);
  if (!s) s = score_row_read(&h, f, text, 0, err);
  if (!s && h.readable) {
    it = &item;
    s = score_row_item(&h, f, it, err);
    if (!s) s = score_items(f->scorer, it, 1, err);
  }
  if (!s) {
    score_row_write(out, f, &h, it, NULL);
    if (failed) *failed = !it || it->error[0];
    if (out->oom) s = rw_nomem(err, "a row");
  }
  score_row_free(&h);
  return s;
}
