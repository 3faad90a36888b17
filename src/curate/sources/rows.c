/* rows.c - rows as a user has them, in any form that `reward train --data` reads (data/form.h), their fields called
 * as the recipe says: pairs, rankings, scored conversations.
 *
 * A row's margin, source and id stay as those of pairs.c do. Its other columns are kept behind those of the set:
 * all, or those that the recipe names. Not kept are the fields that the row was read from, and those that would be
 * read as something else in what is written.
 */
#include <math.h>
#include <string.h>

#include "curate/sources/ranked.h"
#include "format/json_write.h"

/* What the set's rows have, or would be read as. */
static const char *const taken[] = {
    "chosen",      "rejected", "prompt", "responses", "scores",    "messages", "chosen_ids",    "rejected_ids",
    "completions", "tools",    "source", "margin",    "source_id", "id",       "task_category", NULL};

/* ---- a row ---- */

static rw_status read_row(const own_rows *o, json_doc *d, arena *a, conv_row *row, rw_error *err) {
  RW_TRY(conv_read(row, d, 0, &o->map, a, err));
  conv_as_pair(row);
  if (row->kind == ROW_PAIR && (row->chosen_is_list || row->rejected_is_list))
    return rw_fail(err, RW_DATA, "chosen, rejected: expected one response each, got lists");
  if (row->kind == ROW_RESPONSES && !row->scores)
    return rw_fail(err, RW_DATA, "scores: expected the responses' scores beside them, got nothing");
  if (row->n_branches > 0 && !row->branch[0].messages)
    return rw_fail(err, RW_DATA, "row: expected messages or texts with a prompt, got %s",
                   row->branch[0].ids ? "token ids; give the rows from before tokenizing" : "a text without one");
  if (row->kind == ROW_SINGLE && isnan(row->score))
    return rw_fail(err, RW_DATA, "row: expected a pair, a ranking, or a conversation with a number score");
  return RW_OK;
}

static slice answer_of(const conversation *c) { return c->messages[c->n_messages - 1].content; }

static rw_status list_answers(const conv_row *row, arena *a, answer **out, rw_error *err) {
  answer *list = *out = arena_alloc(a, row->n_branches, sizeof *list);
  if (!list) return rw_nomem(err, "a row");
  for (size_t b = 0; b < row->n_branches; b++)
    list[b] = (answer){answer_of(&row->branch[b]), row->scores[b], (uint32_t)b};
  return RW_OK;
}

/* ---- the first reading ---- */

static rw_status scan_ranking(const conv_row *row, arena *a, scan *s, rw_error *err) {
  size_t n = row->n_branches;
  double *score = arena_alloc(a, n, sizeof *score);
  slice *text = arena_alloc(a, n, sizeof *text);
  if (!score || !text) return rw_nomem(err, "a row");
  for (size_t b = 0; b < n; b++) {
    score[b] = row->scores[b];
    text[b] = answer_of(&row->branch[b]);
  }
  src_best_worst(s, score, text, n);
  s->score = NAN; /* scores of a user's own scale are no means to select by */
  s->own |= OWN_RANKING;
  return RW_OK;
}

static void scan_pair(const conv_row *row, scan *s) {
  const conversation *c = &row->branch[0], *r = &row->branch[1];
  bool equal = c->n_messages == r->n_messages;
  for (size_t i = 0; equal && i < c->n_messages; i++) equal = conv_same_message(&c->messages[i], &r->messages[i]);
  if (equal) s->drop = "equal texts";
  s->rejected = 1;
  src_hash_texts(s, answer_of(c), answer_of(r));
}

static rw_status rows_scan(const own_rows *o, json_doc *d, arena *a, scan *s, rw_error *err) {
  conv_row row;
  RW_TRY(read_row(o, d, a, &row, err));
  s->own = (row.has_margin ? OWN_MARGIN : 0) | (row.id.p ? OWN_ID : 0);
  if (row.kind == ROW_RESPONSES) {
    RW_TRY(scan_ranking(&row, a, s, err));
  } else if (row.kind == ROW_PAIR) {
    scan_pair(&row, s);
  } else {
    s->own |= OWN_SINGLE;
    src_hash_texts(s, answer_of(&row.branch[0]), SLICE(""));
  }
  if (row.n_branches > 0) src_hash_messages(row.branch[0].messages, row.branch[0].n_messages - 1, s->prompt);
  s->category = json_string(d, row_get(d, 0, &o->map, "task_category"));
  for (size_t i = 0; i < o->keep.n; i++)
    row_name_saw(&o->keep.names[i], json_get(d, 0, o->keep.names[i].field) != JSON_NONE);
  return RW_OK;
}

static rw_status rows_pairs(const own_rows *o, json_doc *d, arena *a, row_form form, const scan *row,
                            scan_list *out, rw_error *err) {
  conv_row r;
  answer *list;
  scan plain = *row;
  if (!(row->own & OWN_RANKING)) return src_put(out, plain) ? RW_OK : rw_nomem(err, "pairs");
  plain.own &= ~(uint32_t)OWN_RANKING;
  RW_TRY(read_row(o, d, a, &r, err));
  RW_TRY(list_answers(&r, a, &list, err));
  return ranked_pairs(list, r.n_branches, form, &plain, out, err);
}

/* ---- the second ---- */

typedef struct {
  json_doc *d;
  const own_rows *o;
  const data_form *form;
  bool single;
} choosing;

static bool is_any(slice key, const char *const *names, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (slice_is(key, names[i])) return true;
  return false;
}

static bool is_field_of(slice key, const row_map *m) {
  for (size_t i = 0; i < m->n; i++)
    if (slice_is(key, m->names[i].field)) return true;
  return false;
}

/* Is the field one that the row was read from, or one that the set's row has? */
static bool is_not_kept(void *ctx, slice key, json_val v) {
  const choosing *c = ctx;
  const data_form *f = c->form;
  static const char *const beside[] = {"system", "input", "history"};
  (void)v;
  if (c->o->keep.n > 0 && !is_field_of(key, &c->o->keep)) return true;
  if (is_any(key, taken, sizeof taken / sizeof *taken - 1) || (c->single && slice_is(key, "score"))) return true;
  if ((f->prompt && slice_is(key, f->prompt)) || (f->answer && slice_is(key, f->answer))) return true;
  if (f->beside && is_any(key, beside, 3)) return true;
  if (f->shape == FORM_NUMBERED && key.len > 9 && memcmp(key.p, "response_", 9) == 0) return true;
  return is_field_of(key, &c->o->map);
}

static rw_status keep_more(const own_rows *o, json_doc *d, arena *a, conv_row *row, rw_error *err) {
  choosing c = {d, o, form_of(d, 0, &o->map, err), row->kind == ROW_SINGLE};
  str s = {0};
  json_writer w = jw_inside(&s);
  if (o->keep_none) return RW_OK;
  if (!c.form) return RW_DATA;
  jw_members(&w, d, is_not_kept, &c);
  if (s.len > 0) row->more = (slice){arena_strndup(a, s.p, s.len), s.len};
  bool ok = !s.oom && (s.len == 0 || row->more.p);
  str_free(&s);
  return ok ? RW_OK : rw_nomem(err, "a row");
}

static rw_status rows_text(const own_rows *o, json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  slice name = out->source;
  RW_TRY(read_row(o, d, a, out, err));
  if (!out->source.p) out->source = name;
  if (out->kind == ROW_RESPONSES && !s->ranking) {
    conversation pair[2] = {out->branch[s->chosen], out->branch[s->rejected]};
    RW_TRY(src_branches(out, a, ROW_PAIR, 2, err));
    memcpy(out->branch, pair, sizeof pair);
    out->scores = NULL;
  }
  return keep_more(o, d, a, out, err);
}

static const struct rows_functions functions = {.scan = rows_scan, .pairs = rows_pairs, .text = rows_text};

extern const source source_rows;
const source source_rows = {.name = "rows", .pairing = PAIR_IN_ROW, .of_rows = &functions};
