/* score_file.c - rows of a file scored in chunks, each chunk safe in the journal before the next is read. */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "model/identity.h"
#include "model/score_filing.h"
#include "model/scorer.h"

/* Rows held at a time; at least one, and a group whole. A slow model takes fewer rows, so that a kill loses about
 * CHUNK_SECONDS of work. No score depends on it. SMALL_WEIGHTS: bytes that are hashed in no time. */
enum { FIRST_CHUNK_ROWS = 16, CHUNK_ROWS = 512, CHUNK_BYTES = 1 << 20, CHUNK_SECONDS = 10 };
enum { SMALL_WEIGHTS = 1 << 24 };

/* ---- reading ---- */

static rw_status room_for(filing *r, size_t n, rw_error *err) {
  if (!mem_grow((void **)&r->rows, &r->cap_rows, n, sizeof *r->rows) ||
      !mem_grow((void **)&r->joins, &r->cap_joins, n, sizeof *r->joins) ||
      !mem_grow((void **)&r->items, &r->cap_items, n, sizeof *r->items) ||
      !mem_grow((void **)&r->item_row, &r->cap_item_row, n, sizeof *r->item_row))
    return rw_nomem(err, "rows");
  for (; r->n_rows < n; r->n_rows++) {
    rw_status s = score_row_init(&r->rows[r->n_rows], err);
    if (!s) continue;
    score_row_free(&r->rows[r->n_rows]);
    return s;
  }
  return RW_OK;
}

rw_status filing_next(filing *r, slice *row, uint64_t *line, rw_error *err) {
  *row = r->held;
  *line = r->held_line;
  r->held = (slice){0};
  if (row->p || r->left == 0) return RW_OK;
  RW_TRY(rows_next(r->in, row, line, err));
  if (!row->p || r->left == SIZE_MAX) return RW_OK;
  r->left--;
  sha256_add(&r->input, &row->len, sizeof row->len);
  sha256_add(&r->input, row->p, row->len);
  return RW_OK;
}

static rw_status read_chunk(filing *r, size_t *n, rw_error *err) {
  size_t bytes = 0;
  for (*n = 0; (*n < r->chunk_rows && bytes < CHUNK_BYTES) || (r->groups && score_groups_more(r->groups)); ++*n) {
    slice row;
    uint64_t line;
    RW_TRY(room_for(r, *n + 1, err));
    r->joins[*n] = false;
    if (r->groups)
      score_groups_next(r->groups, &row, &line, &r->joins[*n]);
    else
      RW_TRY(filing_next(r, &row, &line, err));
    if (!row.p) return RW_OK;
    bytes += row.len;
    RW_TRY(score_row_read(&r->rows[*n], &r->form, row, line, err));
  }
  return RW_OK;
}

/* ---- identity ---- */

/* All that the rows depend on besides the input, but the weights. */
static rw_status begin_identity(filing *r, rw_error *err) {
  const score_options *m = r->o->model;
  const scorer *s = r->form.scorer;
  json_writer *w = &r->identity_writer;
  w->out = &r->identity;
  jw_object(w, NULL);
  jw_string(w, "program", "reward.c " REWARD_VERSION " score");
  jw_string(w, "device", scorer_device(s));
  jw_string(w, "dtype", scorer_dtype(s));
  jw_object(w, "options");
  if (r->o->table) identity_options(w, r->o->table, r->o->values, OPTION_BITS, NULL);
  jw_end(w);
  return model_identity_begin(w, scorer_model(s), m->model, m->chat_template, err);
}

/* Adds the weights. */
static rw_status seal_identity(filing *r, rw_error *err) {
  r->identified = true;
  RW_TRY(model_identity_end(&r->identity_writer, scorer_model(r->form.scorer), err));
  jw_end(&r->identity_writer);
  return r->identity.oom ? rw_nomem(err, r->o->output) : RW_OK;
}

rw_status filing_identify(filing *r, rw_error *err) {
  RW_TRY(begin_identity(r, err));
  return seal_identity(r, err);
}

/* Lets rows survive from here on. */
static rw_status end_identity(filing *r, rw_error *err) {
  RW_TRY(seal_identity(r, err));
  return journal_begin(r->journal, (slice){r->identity.p, r->identity.len}, err);
}

/* Hashing the weights would take a short run longer than it can lose. */
static rw_status survive(filing *r, rw_error *err) {
  if (!r->identified && clock_seconds() - r->began >= CHUNK_SECONDS) return end_identity(r, err);
  return journal_flush(r->journal, err);
}

/* ---- writing ---- */

static rw_status write_text(filing *r, slice row, rw_error *err) {
  return r->journal ? journal_write(r->journal, row.p, row.len, err) : rows_write(r->out, row.p, row.len, err);
}

/* The output of row i of a chunk of n. */
static rw_status hand_on(filing *r, size_t i, size_t n, const str *line, rw_error *err) {
  if (line->oom) return rw_nomem(err, "a row");
  if (!r->groups) return write_text(r, (slice){line->p, line->len}, err);
  RW_TRY(score_groups_put(r->groups, n - 1 - i, line->p, line->len, err));
  for (slice row; (row = score_groups_take(r->groups)).p;) RW_TRY(write_text(r, row, err));
  return RW_OK;
}

/* Of a part it is said when all parts are there, in the order of rows. */
static void add_bad_row(filing *r, uint64_t line, const char *error) {
  if (r->left == SIZE_MAX) {
    const char *file = rows_file(r->in, &line);
    log_warn(r->context, "%s:%llu: %s", file, (unsigned long long)line, error);
    return;
  }
  bad_row *b = &r->bad[r->n_bad++];
  b->line = line;
  snprintf(b->error, sizeof b->error, "%s", error);
}

static void count(filing *r, const score_row *h, const score_item *it) {
  const char *error = it ? it->error : h->error;
  score_file_counts *c = &r->counts;
  c->rows++;
  if (error[0]) {
    c->dropped += it && it->dropped;
    if (c->failed++ < SHOWN_BAD_ROWS) add_bad_row(r, h->line, error);
    return;
  }
  if (!it) return; /* a row without a fault has its item */
  c->truncated += it->truncated;
  for (size_t b = 0; b < it->row->n_branches; b++) r->tokens += it->tokens[b];
}

static const score_item *item_of(const filing *r, size_t i) {
  return r->item_row[i] == SIZE_MAX ? NULL : &r->items[r->item_row[i]];
}

/* The best of the group that begins at row i of n. Where all its rows failed, the result means nothing, and no row
 * asks for it. */
static score_best best_of_group(const filing *r, size_t i, size_t n) {
  score_best best = {0};
  float highest = 0;
  for (size_t k = i; k == i || (k < n && r->joins[k]); k++) {
    const score_item *it = item_of(r, k);
    if (!it || it->error[0] || (best.response.p && it->score[0] <= highest)) continue;
    highest = it->score[0];
    best = (score_best){k - i, score_row_response(&r->rows[k])};
  }
  return best;
}

static rw_status score_chunk(filing *r, size_t n, str *line, rw_error *err) {
  size_t items = 0;
  for (size_t i = 0; i < n; i++) {
    r->item_row[i] = SIZE_MAX;
    if (!r->rows[i].readable) continue;
    RW_TRY(score_row_item(&r->rows[i], &r->form, &r->items[items], err));
    r->items[items].joins = r->joins[i];
    r->item_row[i] = items++;
  }
  RW_TRY(score_items(r->form.scorer, r->items, items, err));
  score_best best = {0};
  for (size_t i = 0; i < n; i++) {
    bool grouped = r->groups && r->o->best && r->rows[i].readable && r->rows[i].row.kind == ROW_SINGLE;
    if (grouped && !r->joins[i]) best = best_of_group(r, i, n);
    if (r->groups && score_groups_was_kept(r->groups, n - 1 - i)) continue;
    str_clear(line);
    score_row_write(line, &r->form, &r->rows[i], item_of(r, i), grouped ? &best : NULL);
    count(r, &r->rows[i], item_of(r, i));
    RW_TRY(hand_on(r, i, n, line, err));
  }
  if (r->journal) return survive(r, err);
  return r->o->stream ? rows_flush(r->out, err) : RW_OK;
}

/* ---- going on with an interrupted run ---- */

static rw_status next_kept(filing *r, score_row *h, bool *any, rw_error *err) {
  slice row;
  uint64_t line;
  if (r->groups)
    score_groups_kept(r->groups, &row, &line);
  else
    RW_TRY(filing_next(r, &row, &line, err));
  *any = row.p != NULL;
  return *any ? score_row_read(h, &r->form, row, line, err) : RW_OK;
}

/* Is it what row h gives? Its own fields come first, then ours; a row without any cannot have been scored. */
static bool begins_alike(filing *r, const score_row *h, slice kept, str *line) {
  json_writer w = {.out = line};
  str_clear(line);
  score_row_begin(&w, &r->form, h);
  slice next = line->len > 1 ? SLICE(",") : SLICE("\"error\"");
  return !line->oom && kept.len > line->len + next.len && memcmp(kept.p, line->p, line->len) == 0 &&
         memcmp(kept.p + line->len, next.p, next.len) == 0;
}

static void take_kept_error(filing *r, score_row *h) {
  json_val error = json_get(h->doc, 0, "error");
  if (error == JSON_NONE) return;
  slice text = json_string(h->doc, error);
  char why[sizeof r->bad->error];
  snprintf(why, sizeof why, "%.*s", (int)text.len, text.p ? text.p : "");
  if (r->counts.failed++ < SHOWN_BAD_ROWS && r->left != SIZE_MAX) add_bad_row(r, h->line, why);
}

/* The rows that an interrupted run has left: each must begin as its input row makes it begin. */
static rw_status take_kept(filing *r, str *line, rw_error *err) {
  slice kept;
  score_file_counts *c = &r->counts;
  RW_TRY(room_for(r, 1, err));
  score_row *h = &r->rows[0];
  for (;;) {
    RW_TRY(journal_next(r->journal, &kept, err));
    if (!kept.p) break;
    bool any;
    RW_TRY(next_kept(r, h, &any, err));
    bool same = any && begins_alike(r, h, kept, line);
    if (line->oom) return rw_nomem(err, "a row");
    if (!same)
      return rw_fail(err, RW_USAGE,
                     "%s%s%.0llu: not the input whose rows are kept, from row %zu on; leave out " FIELD(resume),
                     rows_path(r->in), any ? ":" : "", any ? (unsigned long long)h->line : 0, c->rows + 1);
    RW_TRY(json_parse(h->doc, kept.p, kept.len, err));
    take_kept_error(r, h);
    c->dropped += json_get(h->doc, 0, "dropped") != JSON_NONE;
    c->truncated += json_get(h->doc, 0, "truncated") != JSON_NONE;
    c->rows++;
  }
  if (c->rows && r->left == SIZE_MAX) log_note(r->context, "%zu rows are there already", c->rows);
  return RW_OK;
}

/* ---- output ---- */

/* stdout and devices take rows as they come; a file gets a journal first. */
static rw_status open_output(filing *r, rw_error *err) {
  const char *out = r->o->output;
  bool kept;
  if (!journal_possible(out)) return rows_create(&r->out, out, err);
  RW_TRY(journal_open(&r->journal, out, r->o->resume, &kept, r->context, err));
  RW_TRY(begin_identity(r, err));
  return kept || model_weight_bytes(scorer_model(r->form.scorer)) <= SMALL_WEIGHTS ? end_identity(r, err) : RW_OK;
}

static void put_record(const filing *r, const score_file_counts *c, json_writer *w) {
  static const char *const policies[] = {
      [OVERLONG_ERROR] = "error", [OVERLONG_TRUNCATE] = "truncate", [OVERLONG_DROP] = "drop"};
  const score_options *m = r->o->model;
  const scorer *s = r->form.scorer;
  jw_object(w, NULL);
  jw_string(w, "program", "reward.c " REWARD_VERSION " score");
  jw_string(w, "model", m->model);
  jw_string(w, "device", scorer_device(s));
  jw_string(w, "dtype", scorer_dtype(s));
  jw_int(w, "max_length", scorer_max_length(s));
  jw_string(w, "overlong", policies[m->overlong]);
  if (m->head) jw_string(w, "head", m->head);
  if (m->chat_template) jw_string(w, "chat_template", m->chat_template);
  if (m->date) jw_string(w, "date", m->date);
  if (r->o->best) jw_bool(w, "best", true);
  if (r->o->best && r->o->group_by) jw_string(w, "group_by", r->o->group_by);
  jw_raw(w, "identity", (slice){r->identity.p, r->identity.len});
  jw_uint(w, "rows", c->rows);
  jw_uint(w, "failed", c->failed);
  jw_uint(w, "dropped", c->dropped);
  jw_uint(w, "truncated", c->truncated);
  jw_end(w);
}

rw_status filing_write_record(filing *r, const score_file_counts *c, rw_error *err) {
  char *path = mem_printf("%s.run.json", r->o->output);
  str text = {0};
  json_writer w = {.out = &text};
  while (!r->identified && r->identity_writer.depth) jw_end(&r->identity_writer); /* without its weights */
  put_record(r, c, &w);
  str_addc(&text, '\n');
  bool whole = path && !text.oom && !r->identity.oom;
  rw_status s = whole ? file_put(path, text.p, text.len, err) : rw_nomem(err, r->o->output);
  str_free(&text);
  mem_free(path);
  return s;
}

static rw_status close_output(filing *r, rw_status s, rw_error *err) {
  if (s) {
    if (r->journal && !r->identified && r->counts.rows) end_identity(r, NULL); /* so that what is done is kept */
    journal_abort(r->journal);
    rows_abort(r->out);
    return s;
  }
  if (!r->journal) return rows_commit(r->out, err);
  RW_TRY(journal_commit(r->journal, err));
  return filing_write_record(r, &r->counts, err);
}

static rw_status read_groups(filing *r, rw_error *err) {
  if (!r->o->group_by) return RW_OK;
  RW_TRY(score_groups_read(&r->groups, r->in, r->o->group_by, err));
  if (score_groups_size(r->groups) && !score_groups_grouped(r->groups))
    log_warn(r->context, "%s: no one-candidate row has the field %s, so there is nothing to group",
             rows_path(r->in), r->o->group_by);
  return RW_OK;
}

void filing_show(filing *r, size_t done) {
  uint64_t part, whole;
  rows_position(r->in, &part, &whole);
  r->shown.share = whole ? (double)part / (double)whole : 0;
  progress_set(&r->shown, r->before + done, NULL);
}

rw_status filing_rows(filing *r, rw_error *err) {
  str line = {0};
  const size_t *done = &r->counts.rows;
  rw_status s = r->journal ? take_kept(r, &line, err) : RW_OK;
  if (!s && r->groups) s = score_groups_begin(r->groups, err);
  if (r->o->stream) r->chunk_rows = 1;
  r->shown.from += *done;
  for (size_t n = 1; !s && n > 0;) {
    double began = clock_seconds();
    s = read_chunk(r, &n, err);
    if (!s) s = score_chunk(r, n, &line, err);
    filing_show(r, *done);
    if (!s && log_interrupted(r->context)) s = rw_fail(err, RW_INTERRUPTED, "interrupted");
    double rows = (double)n * CHUNK_SECONDS / (clock_seconds() - began + 1e-3);
    if (!r->o->stream && n > 0) r->chunk_rows = rows > CHUNK_ROWS ? CHUNK_ROWS : rows < 1 ? 1 : (size_t)rows;
  }
  str_free(&line);
  return s;
}

void filing_say(const filing *r, const score_file_counts *c, const render_notes *n, const own_field *own,
                double seconds) {
  log_note(r->context, "%llu tokens in %.2f s: %.0f tokens/s", (unsigned long long)r->tokens, seconds,
           (double)r->tokens / seconds);
  render_notes_warn(r->context, n);
  if (c->truncated)
    log_warn(r->context,
             "%zu of %zu rows were truncated to %lld tokens; their token counts are those after the cut",
             c->truncated, c->rows, (long long)scorer_max_length(r->form.scorer));
  own_fields_warn(r->context, own, SCORE_FIELDS);
  if (c->failed)
    log_warn(r->context, "%zu of %zu rows could not be scored%s", c->failed, c->rows,
             c->dropped == c->failed ? ": all of them too long" : "");
}

void filing_begin(filing *r, scorer *s, rows_in *in, const score_file_options *o) {
  *r = (filing){.o = o,
                .context = scorer_context(s),
                .in = in,
                .left = SIZE_MAX,
                .chunk_rows = FIRST_CHUNK_ROWS,
                .began = clock_seconds()};
  r->form = (score_form){.scorer = s, .best = o->best};
  score_form_init(&r->form);
}

void filing_free(filing *r) {
  for (size_t i = 0; i < r->n_rows; i++) score_row_free(&r->rows[i]);
  void *p[] = {r->rows, r->joins, r->items, r->item_row};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  score_groups_free(r->groups);
  str_free(&r->identity);
}

/* ---- a whole file ---- */

static rw_status score_rows(filing *r, rw_error *err) {
  if (r->o->stream) return filing_rows(r, err);
  progress_start(&r->shown, r->context, "scoring", "rows", r->groups ? score_groups_size(r->groups) : 0);
  rw_status s = filing_rows(r, err);
  progress_end(&r->shown);
  return s;
}

static rw_status check(const score_file_options *o, rw_error *err) {
  if (o->stream && o->group_by)
    return rw_fail(err, RW_USAGE, "stream, group_by: expected one of them: a group is known when all rows are");
  return score_parts_there(o->output) ? score_parts_fail(o->output, err) : RW_OK;
}

rw_status score_file(scorer *s, rows_in *in, const score_file_options *o, score_file_counts *counts,
                     rw_error *err) {
  filing r;
  *counts = (score_file_counts){0};
  RW_TRY(check(o, err));
  filing_begin(&r, s, in, o);
  rw_status st = read_groups(&r, err);
  if (!st) st = open_output(&r, err);
  double began = clock_seconds();
  if (!st) st = score_rows(&r, err);
  render_notes notes;
  scorer_notes(s, &notes);
  if (!st) filing_say(&r, &r.counts, &notes, r.form.replaced, clock_seconds() - began);
  st = close_output(&r, st, err);
  *counts = r.counts;
  filing_free(&r);
  return st;
}
