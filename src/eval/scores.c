/* scores.c - a score for each response of each item: from a model, or from a file that `reward score` wrote. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "eval/eval_int.h"
#include "format/rows.h"

enum { BATCH_ITEMS = 512, NAMED = 3, LONGEST_ID = 60 }; /* NAMED: how many items a message names */

void eval_scores_free(eval_scores *s) {
  mem_free(s->score);
  mem_free(s->beats);
  mem_free(s->why);
  arena_free(s->memory);
  *s = (eval_scores){0};
}

rw_status scores_new(eval_scores *s, const eval_data *d, rw_error *err) {
  *s = (eval_scores){.score = mem_alloc(d->n_branches, sizeof *s->score),
                     .why = mem_zalloc(d->n_items, sizeof *s->why),
                     .memory = arena_new()};
  if (s->score && s->why && s->memory) return RW_OK;
  eval_scores_free(s);
  return rw_nomem(err, "scores");
}

static void no_score(eval_scores *s, const item *it) {
  for (size_t b = 0; b < it->n_branches; b++) s->score[it->first + b] = NAN;
}

rw_status scores_unscored(eval_scores *s, const eval_data *d, size_t i, const char *why, rw_error *err) {
  no_score(s, &d->items[i]);
  if (s->why[i]) return RW_OK;
  char *text = arena_strndup(s->memory, why, strlen(why));
  if (!text) return rw_nomem(err, "scores");
  utf8_mend(text); /* it may be what a server sent */
  s->why[i] = text;
  s->unscored++;
  return RW_OK;
}

static void item_dropped(eval_scores *s, const item *it) {
  s->dropped++;
  no_score(s, it);
}

rw_status eval_scores_fail(const eval_scores *s, const eval_data *d, rw_error *err) {
  str text = {0};
  size_t named = 0;
  for (size_t i = 0; i < d->n_items && named < NAMED; i++) {
    if (!s->why[i]) continue;
    const item *it = &d->items[i];
    str_printf(&text, "%s%s:%llu", named++ ? "; " : "", rows_label(d->paths[it->file]),
               (unsigned long long)it->line);
    if (it->id.p && it->id.len <= LONGEST_ID) str_printf(&text, " (id %.*s)", (int)it->id.len, it->id.p);
    str_printf(&text, ": %.250s", s->why[i]);
  }
  rw_fail(err, RW_DATA, "%zu of %zu items have no score, so no figure that needs them is given: %s%s", s->unscored,
          d->n_items, text.p ? text.p : "", s->unscored > NAMED ? "; …" : "");
  str_free(&text);
  if (err) utf8_mend(err->text); /* cut to its length */
  return RW_DATA;
}

/* ---- by a model ---- */

static rw_status take_item(eval_scores *s, const eval_data *d, size_t i, const score_item *got, rw_error *err) {
  const item *it = &d->items[i];
  if (got->dropped) {
    item_dropped(s, it);
    return RW_OK;
  }
  if (got->error[0]) return scores_unscored(s, d, i, got->error, err);
  s->truncated += got->truncated;
  for (size_t b = 0; b < it->n_branches; b++) s->score[it->first + b] = (double)got->score[b];
  return RW_OK;
}

rw_status scores_of_items(eval_scores *s, const eval_data *d, scorer *model, size_t from, size_t n, rw_error *err) {
  size_t branches = 0, m = 0;
  for (size_t i = 0; i < n; i++) branches += d->items[from + i].n_branches;
  score_item *batch = mem_alloc(n, sizeof *batch);
  float *score = mem_alloc(branches, sizeof *score);
  rw_status st = batch && score ? RW_OK : rw_nomem(err, "scores");
  branches = 0;
  for (size_t i = 0; !st && i < n; i++) {
    if (is_aside(&d->items[from + i])) continue;
    batch[m++] = (score_item){.row = &d->rows[from + i], .score = score + branches};
    branches += d->items[from + i].n_branches;
  }
  if (!st) st = score_items(model, batch, m, err);
  m = 0;
  for (size_t i = 0; !st && i < n; i++)
    if (!is_aside(&d->items[from + i])) st = take_item(s, d, from + i, &batch[m++], err);
  mem_free(batch);
  mem_free(score);
  return st;
}

void scores_warn_overlong(const eval_data *d, scorer *model) {
  size_t n = 0, longest = 0;
  overlong policy = scorer_overlong(model, d->rows, d->n_items, &n, &longest);
  static const char *const becomes[] = {[OVERLONG_ERROR] = "cannot be scored, and nothing is averaged without them",
                                        [OVERLONG_TRUNCATE] = "are cut at the front",
                                        [OVERLONG_DROP] = "are dropped"};
  if (n > 0)
    log_warn(scorer_context(model),
             "%zu of %zu items have more than " FIELD(max_length) " %lld tokens (the longest %zu) and %s; " FIELD(
                 overlong) " error, truncate or drop decides it",
             n, d->n_items, (long long)scorer_max_length(model), longest, becomes[policy]);
}

rw_status eval_scores_model(eval_scores *s, const eval_data *d, scorer *model, rw_error *err) {
  RW_TRY(scores_new(s, d, err));
  scores_warn_overlong(d, model);
  rw_status st = RW_OK;
  progress p;
  progress_start(&p, scorer_context(model), eval_suite_words[d->suite].text, "items", d->n_items);
  for (size_t i = 0; !st && i < d->n_items; i += BATCH_ITEMS) {
    size_t n = d->n_items - i < BATCH_ITEMS ? d->n_items - i : BATCH_ITEMS;
    st = scores_of_items(s, d, model, i, n, err);
    progress_set(&p, i + n, NULL);
  }
  progress_end(&p);
  if (st) eval_scores_free(s);
  return st;
}

/* ---- from a file ---- */

/* Scores that are kept, as they are read. */
typedef struct {
  const eval_data *d;
  rw_context *context;
  json_doc *doc; /* the row */
  arena *scratch;
} kept;

static rw_status want_number(const json_doc *doc, json_val v, const char *field, double *out, rw_error *err) {
  slice raw = json_raw(doc, v);
  if (json_number(doc, v, out) && isfinite(*out)) return RW_OK;
  return rw_fail(err, RW_DATA, "%s: expected a finite number, got %.*s", field, (int)(raw.len > 40 ? 40 : raw.len),
                 raw.p ? raw.p : "nothing");
}

/* One number under `one` or a list of n under `many`. *found tells whether either is there. */
static rw_status read_side(const json_doc *doc, const char *one, const char *many, size_t n, double *out,
                           bool *found, rw_error *err) {
  const char *field = one && json_get(doc, 0, one) != JSON_NONE ? one : many;
  json_val v = json_get(doc, 0, field);
  *found = v != JSON_NONE;
  if (!*found) return RW_OK;
  if (json_kind(doc, v) != JSON_ARRAY && n == 1) return want_number(doc, v, field, out, err);
  if (json_kind(doc, v) != JSON_ARRAY || json_count(doc, v) != n)
    return rw_fail(err, RW_DATA, "%s: expected %zu number%s, got %s of %zu", field, n, n == 1 ? "" : "s",
                   json_kind_name(json_kind(doc, v)), json_count(doc, v));
  size_t i = 0;
  for (json_val e = json_first(doc, v); e != JSON_NONE; e = json_next(doc, e), i++)
    RW_TRY(want_number(doc, e, field, &out[i], err));
  return RW_OK;
}

/* score_1, score_2, …, as PPE's own results have them: numbers, or lists of one. */
static rw_status read_numbered(const json_doc *doc, size_t n, double *out, bool *found, rw_error *err) {
  char field[32];
  *found = json_get(doc, 0, "score_1") != JSON_NONE;
  for (size_t i = 0; *found && i < n; i++) {
    snprintf(field, sizeof field, "score_%zu", i + 1);
    json_val v = json_get(doc, 0, field);
    if (json_kind(doc, v) == JSON_ARRAY) v = json_first(doc, v);
    RW_TRY(want_number(doc, v, field, &out[i], err));
  }
  return RW_OK;
}

static rw_status read_scores(json_doc *doc, const item *it, bool swapped, double *out, rw_error *err) {
  size_t rejected = it->n_branches - it->n_chosen;
  bool have_chosen = false, have_rejected = false;
  if (rejected) {
    RW_TRY(read_side(doc, "chosen_score", "chosen_scores", it->n_chosen, out, &have_chosen, err));
    RW_TRY(read_side(doc, "rejected_score", "rejected_scores", rejected, out + it->n_chosen, &have_rejected, err));
  }
  if (have_chosen && have_rejected) return RW_OK;
  if (!have_chosen && !have_rejected) {
    /* rows scored as {"prompt", "responses"} */
    RW_TRY(read_numbered(doc, it->n_branches, out, &have_chosen, err));
    if (!have_chosen) RW_TRY(read_side(doc, NULL, "scores", it->n_branches, out, &have_chosen, err));
    if (have_chosen && swapped) {
      double a = out[0];
      out[0] = out[1];
      out[1] = a;
    }
    if (have_chosen) return RW_OK;
  }
  return rw_fail(err, RW_DATA, "%s: expected scores as `reward score` writes them, got nothing",
                 !rejected     ? "scores"
                 : have_chosen ? "rejected_score"
                               : "chosen_score");
}

static rw_status check_identity(json_doc *doc, const eval_data *d, const item *it, rw_error *err) {
  const char *const *names = suite_specs[d->suite].ids;
  const char *field = names[1] && json_get(doc, 0, names[0]) == JSON_NONE ? names[1] : names[0];
  json_val v = json_get(doc, 0, field);
  if (v == JSON_NONE || !it->id.p) return RW_OK;
  slice id = json_kind(doc, v) == JSON_STRING ? json_string(doc, v) : json_raw(doc, v);
  if (slice_eq(id, it->id)) return RW_OK;
  return rw_fail(err, RW_DATA,
                 "%s: expected \"%.*s\" as at %s:%llu, got \"%.*s\"; scores must be in the data's order", field,
                 (int)(it->id.len > 100 ? 100 : it->id.len), it->id.p, rows_label(d->paths[it->file]),
                 (unsigned long long)it->line, (int)(id.len > 100 ? 100 : id.len), id.p ? id.p : "");
}

/* ---- are they of these texts? ---- */

static bool same_conversation(const conversation *a, const conversation *b, const message **was,
                              const message **is) {
  static const message none = {.content = {"", 0}};
  *was = *is = &none;
  if (a->ids || b->ids)
    return a->ids && b->ids && a->n_ids == b->n_ids && memcmp(a->ids, b->ids, a->n_ids * sizeof *a->ids) == 0;
  if (a->text.p || b->text.p) return a->text.p && b->text.p && slice_eq(a->text, b->text);
  if (!slice_eq(a->tools, b->tools) || !slice_eq(a->reference, b->reference)) return false;
  for (size_t i = 0; i < a->n_messages || i < b->n_messages; i++) {
    *was = i < a->n_messages ? &a->messages[i] : &none;
    *is = i < b->n_messages ? &b->messages[i] : &none;
    if (i >= a->n_messages || i >= b->n_messages || !conv_same_message(*was, *is)) return false;
  }
  return true;
}

/* Both texts from shortly before where they part. */
static rw_status other_text(const eval_data *d, const item *it, slice was, slice is, rw_error *err) {
  enum { BEFORE = 20, SHOWN = 60 };
  size_t at = 0;
  if (!was.len && !is.len)
    return rw_fail(err, RW_DATA, "was scored with other ids, roles or tools than %s:%llu has; score the rows again",
                   rows_label(d->paths[it->file]), (unsigned long long)it->line);
  while (at < was.len && at < is.len && was.p[at] == is.p[at]) at++;
  size_t from = at > BEFORE ? at - BEFORE : 0;
  was = (slice){was.p + from, was.len - from};
  is = (slice){is.p + from, is.len - from};
  rw_fail(err, RW_DATA,
          "was scored with other texts than %s:%llu has: was \"%.*s\", is \"%.*s\"; score the rows again",
          rows_label(d->paths[it->file]), (unsigned long long)it->line, (int)(was.len > SHOWN ? SHOWN : was.len),
          was.p, (int)(is.len > SHOWN ? SHOWN : is.len), is.p);
  if (err) utf8_mend(err->text); /* a text may be cut */
  return RW_DATA;
}

/* Where the row has its conversations, they must be the item's. *swapped: it has the item's two the other way
 * round. Of a row that has none, and of one in another number, nothing is known. */
static rw_status check_texts(const kept *k, size_t i, bool *swapped, rw_error *err) {
  const conv_row *want = &k->d->rows[i];
  const item *it = &k->d->items[i];
  conv_row row;
  const message *was, *is, *ignored[2];
  *swapped = it->label_b;
  if (is_aside(it)) return RW_OK;
  arena_reset(k->scratch);
  rw_status s = conv_read(&row, k->doc, 0, k->context ? k->context->map : NULL, k->scratch, NULL);
  if (s == RW_DATA) return RW_OK;
  if (s) return rw_nomem(err, "scores");
  if (row.n_branches != it->n_branches) return RW_OK;
  size_t b = 0;
  while (b < row.n_branches && same_conversation(&row.branch[b], &want->branch[b], &was, &is)) b++;
  /* two equal responses tell nothing of their order */
  bool alike = row.kind == ROW_RESPONSES && b == 2 && row.n_branches == 2 &&
               same_conversation(&row.branch[0], &row.branch[1], &ignored[0], &ignored[1]);
  *swapped = alike && it->label_b;
  if (b == row.n_branches) return RW_OK;
  *swapped = row.kind == ROW_RESPONSES && row.n_branches == 2 &&
             same_conversation(&row.branch[0], &want->branch[1], &ignored[0], &ignored[1]) &&
             same_conversation(&row.branch[1], &want->branch[0], &ignored[0], &ignored[1]);
  return *swapped ? RW_OK : other_text(k->d, it, was->content, is->content, err);
}

/* RW_DATA: the item's scores are not there, and why. */
static rw_status item_scores(eval_scores *s, json_doc *doc, const item *it, bool swapped, rw_error *err) {
  if (is_aside(it)) return RW_OK;
  if (json_kind(doc, 0) != JSON_OBJECT)
    return rw_fail(err, RW_DATA, "expected an object, got %s", json_kind_name(json_kind(doc, 0)));
  if (json_kind(doc, json_get(doc, 0, "dropped")) == JSON_TRUE) {
    item_dropped(s, it);
    return RW_OK;
  }
  json_val error = json_get(doc, 0, "error");
  if (error != JSON_NONE && json_kind(doc, error) != JSON_NULL) {
    slice why = json_string(doc, error);
    return rw_fail(err, RW_DATA, "%.*s", (int)(why.len > 400 ? 400 : why.len), why.p ? why.p : "error");
  }
  RW_TRY(read_scores(doc, it, swapped, s->score + it->first, err));
  s->truncated += json_kind(doc, json_get(doc, 0, "truncated")) == JSON_TRUE;
  return RW_OK;
}

static rw_status read_row(eval_scores *s, const kept *k, size_t i, slice row, const char *where, rw_error *err) {
  rw_error why;
  const item *it = &k->d->items[i];
  bool swapped;
  rw_status st = json_parse(k->doc, row.p, row.len, &why);
  if (!st) {
    RW_TRY(check_identity(k->doc, k->d, it, err));
    RW_TRY(check_texts(k, i, &swapped, err));
    st = item_scores(s, k->doc, it, swapped, &why);
  }
  if (st != RW_DATA) return st ? rw_nomem(err, "scores") : RW_OK;
  rw_prefix(&why, st, "%s", where);
  return scores_unscored(s, k->d, i, why.text, err);
}

rw_status eval_scores_read(eval_scores *s, const eval_data *d, const char *path, rw_context *context,
                           rw_error *err) {
  rows_in *in;
  RW_TRY(rows_open(&in, path, context, err));
  kept k = {d, context, json_new(), arena_new()};
  rw_status st = k.doc && k.scratch ? scores_new(s, d, err) : rw_nomem(err, path);
  size_t n = 0;
  str where = {0};
  slice row;
  uint64_t line;
  while (!st && !(st = rows_next(in, &row, &line, err)) && row.p) {
    str_clear(&where);
    str_printf(&where, "%s:%llu", rows_path(in), (unsigned long long)line);
    if (where.oom)
      st = rw_nomem(err, path);
    else if (n == d->n_items)
      st = rw_fail(err, RW_DATA, "expected %zu rows, one for each item, got more", d->n_items);
    else
      st = read_row(s, &k, n++, row, where.p, err);
    if (st) rw_prefix(err, st, "%s", where.p ? where.p : path);
  }
  if (!st && n < d->n_items)
    st = rw_fail(err, RW_DATA, "%s: expected %zu rows, one for each item, got %zu", rows_path(in), d->n_items, n);
  str_free(&where);
  arena_free(k.scratch);
  json_free(k.doc);
  rows_close(in);
  if (st) eval_scores_free(s);
  return st;
}

static void side_scores(json_writer *w, const item *it, const double *score) {
  jw_array(w, it->n_chosen == it->n_branches ? "scores" : "chosen_scores");
  for (size_t b = 0; b < it->n_branches; b++) {
    if (b == it->n_chosen) {
      jw_end(w);
      jw_array(w, "rejected_scores");
    }
    jw_f32(w, NULL, (float)score[b]);
  }
  jw_end(w);
}

rw_status eval_scores_write(const eval_scores *s, const eval_data *d, const char *path, rw_error *err) {
  const char *id_field = suite_specs[d->suite].ids[0];
  rows_out *out;
  str line = {0};
  RW_TRY(rows_create(&out, path, err));
  rw_status st = RW_OK;
  for (size_t i = 0; !st && i < d->n_items; i++) {
    const item *it = &d->items[i];
    const double *score = s->score + it->first;
    json_writer w = {.out = &line};
    str_clear(&line);
    jw_object(&w, NULL);
    if (it->id.p) jw_slice(&w, id_field, it->id);
    if (s->why[i])
      jw_string(&w, "error", s->why[i]);
    else if (!is_aside(it) && isnan(score[0]))
      jw_bool(&w, "dropped", true);
    else if (!is_aside(it))
      side_scores(&w, it, score);
    jw_end(&w);
    st = line.oom ? rw_nomem(err, path) : rows_write(out, line.p, line.len, err);
  }
  str_free(&line);
  if (!st) return rows_commit(out, err);
  rows_abort(out);
  return st;
}
