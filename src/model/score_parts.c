/* score_parts.c - a file's rows scored by parts, which several runs may share, and joined (see score_file.h).
 *
 * Every run reads the whole input to count its rows; of the parts that are its own it scores those that are not
 * there. A part that is being scored is a journal, so that a run that was killed goes on within it. What a run
 * without parts has left in its journal is made into journals of parts first.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "model/score_part.h"

typedef struct {
  filing r;
  render_notes noticed; /* by the renderer, up to the last part */
  size_t parts;         /* the input's, once it is read */
  comm *ranks;
  size_t index, of; /* this rank or task, from 0, of so many */
} parting;

static bool is_own(const parting *p, size_t part) { return part % p->of == p->index; }

/* ---- what a run without parts has left ---- */

/* Is there anything of the part? */
static bool is_begun(const char *path) {
  char *partial = mem_printf("%s.partial", path);
  bool begun = file_exists(path) || (partial && file_exists(partial));
  mem_free(partial);
  return begun;
}

/* The next rows of OUT's journal, as a part's, unless there is something of it. *any: there were rows. */
static rw_status move_rows(parting *p, journal *from, size_t part, bool *any, rw_error *err) {
  const score_file_options *o = p->r.o;
  char *path = part_path(o->output, part), *record = part_record(&p->r, part);
  journal *to = NULL;
  slice row = {0};
  bool kept;
  rw_status s = path && record ? RW_OK : rw_nomem(err, o->output);
  if (!s && !is_begun(path)) s = journal_open(&to, path, false, &kept, p->r.context, err);
  if (!s && to) s = journal_begin(to, slice_of(record), err);
  *any = false;
  for (int64_t n = 0; !s && n < o->part_rows && !(s = journal_next(from, &row, err)) && row.p; n++) {
    *any = true;
    if (to) s = journal_write(to, row.p, row.len, err);
    if (to && !s) s = journal_flush(to, err);
  }
  if (to) journal_close(to, NULL);
  mem_free(path);
  mem_free(record);
  return s;
}

/* Killed in between, it is done again: OUT's journal goes last. Without resume it goes unread. */
static rw_status take_journal(parting *p, rw_error *err) {
  const score_file_options *o = p->r.o;
  char *path = mem_printf("%s.partial", o->output);
  journal *from = NULL;
  bool kept = false, any = false;
  rw_status s = path ? RW_OK : rw_nomem(err, o->output);
  if (!s && file_exists(path)) {
    s = journal_open(&from, o->output, o->resume, &kept, p->r.context, err);
    any = kept;
    if (!s && any) s = journal_begin(from, (slice){p->r.identity.p, p->r.identity.len}, err);
    for (size_t i = 0; !s && any; i++) s = move_rows(p, from, i, &any, err);
    if (from) journal_close(from, NULL);
    if (!s && kept && unlink(path) != 0) s = rw_fail(err, RW_IO, "%s: cannot remove it", path);
  }
  mem_free(path);
  return s;
}

/* ---- one part ---- */

/* Reads over the rows of the part, which are hashed. */
static rw_status pass_over(parting *p, rw_error *err) {
  filing *r = &p->r;
  size_t n = 0;
  for (slice row = {"", 0}; row.p; n += row.p != NULL) {
    uint64_t line;
    RW_TRY(filing_next(r, &row, &line, err));
    if (log_interrupted(r->context)) return rw_fail(err, RW_INTERRUPTED, "interrupted");
  }
  r->shown.from += n;
  filing_show(r, n);
  return RW_OK;
}

static rw_status check_part(parting *p, size_t part, rw_error *err) {
  part_in in;
  part_sum sum = {0};
  char hex[SHA256_HEX];
  rw_status s = part_open(&in, &p->r, part, &sum, err);
  if (!s) s = pass_over(p, err);
  sha256_end_hex(&p->r.input, hex);
  if (!s && strcmp(hex, in.input) != 0)
    s = rw_fail(err, RW_USAGE,
                "%s: is of other input rows than those of %s: expected SHA-256 %.12s…, got %.12s…; name another "
                "output, or remove the folder",
                in.path, rows_path(p->r.in), hex, in.input);
  part_close(&in);
  return s;
}

static rw_status make_part(parting *p, size_t part, const char *path, rw_error *err) {
  filing *r = &p->r;
  char *record = part_record(r, part);
  render_notes now;
  r->counts = (score_file_counts){0};
  r->n_bad = 0;
  memset(r->form.replaced, 0, sizeof r->form.replaced);
  bool kept;
  rw_status s = record ? journal_open(&r->journal, path, true, &kept, r->context, err) : rw_nomem(err, path);
  if (!s) s = journal_begin(r->journal, slice_of(record), err);
  if (!s) s = filing_rows(r, err);
  mem_free(record);
  scorer_notes(r->form.scorer, &now);
  const render_notes of_part = {.escaped = now.escaped - p->noticed.escaped,
                                .tmpl = tmpl_notes_since(&now.tmpl, &p->noticed.tmpl),
                                .date = now.date};
  p->noticed = now;
  if (!s) return part_end(r, &of_part, err);
  journal_abort(r->journal);
  r->journal = NULL;
  return s;
}

static rw_status one_part(parting *p, size_t part, rw_error *err) {
  filing *r = &p->r;
  char *path = part_path(r->o->output, part);
  if (!path) return rw_nomem(err, r->o->output);
  rw_status s = !is_own(p, part)    ? pass_over(p, err)
                : file_exists(path) ? check_part(p, part, err)
                                    : make_part(p, part, path, err);
  mem_free(path);
  return s;
}

/* ---- all of them ---- */

static rw_status each_part(parting *p, rw_error *err) {
  filing *r = &p->r;
  rw_status s = RW_OK;
  progress_start(&r->shown, r->context, "scoring", "rows", 0);
  for (; !s; p->parts++) {
    r->left = (size_t)r->o->part_rows;
    r->before = p->parts * r->left;
    sha256_begin(&r->input);
    s = filing_next(r, &r->held, &r->held_line, err);
    if (s || !r->held.p) break;
    s = one_part(p, p->parts, err);
  }
  progress_end(&r->shown);
  return s;
}

/* Adds up what the parts say, the own ones or all, whose rows are copied to out. */
static rw_status gather(parting *p, part_sum *sum, rows_out *out, rw_error *err) {
  rw_status s = RW_OK;
  bool all = out != NULL;
  for (size_t i = 0; !s && i < p->parts; i++) {
    part_in in = {0};
    if (!all && !is_own(p, i)) continue;
    s = part_open(&in, &p->r, i, sum, err);
    if (!s && all) s = part_copy(&in, out, err);
    part_close(&in);
    if (!s && log_interrupted(p->r.context)) s = rw_fail(err, RW_INTERRUPTED, "interrupted");
  }
  return s;
}

static rw_status join(parting *p, part_sum *sum, rw_error *err) {
  rows_out *out = NULL;
  RW_TRY(rows_create(&out, p->r.o->output, err));
  rw_status s = gather(p, sum, out, err);
  if (!s) return rows_commit(out, err);
  rows_abort(out);
  if (s == RW_DATA && file_has_end(p->r.o->output, ".parquet"))
    log_warn(p->r.context, "the parts are whole; renamed to OUT.jsonl.parts they become OUT.jsonl");
  return s;
}

static void say(const parting *p, const part_sum *sum, double seconds) {
  for (size_t i = 0; i < sum->n_bad; i++) {
    uint64_t line = sum->bad[i].line;
    const char *file = rows_file(p->r.in, &line);
    log_warn(p->r.context, "%s:%llu: %s", file, (unsigned long long)line, sum->bad[i].error);
  }
  filing_say(&p->r, &sum->counts, &sum->notes, sum->own, seconds);
}

static rw_status check(const score_file_options *o, rw_error *err) {
  if (o->stream || o->group_by || !journal_possible(o->output))
    return rw_fail(err, RW_USAGE,
                   "rows are scored by parts, which needs an output file, and neither stream nor group_by");
  return RW_OK;
}

/* The folder; and can OUT be made at all? Asked before hours of work. */
static rw_status make_folder(parting *p, rw_error *err) {
  const score_file_options *o = p->r.o;
  rows_out *probe;
  if (!o->resume && !o->tasks && score_parts_there(o->output)) return score_parts_fail(o->output, err);
  RW_TRY(rows_create(&probe, o->output, err));
  rows_abort(probe);
  char *dir = part_folder(o->output);
  rw_status s = dir ? file_mkdirs(dir, err) : rw_nomem(err, o->output);
  mem_free(dir);
  return !s && !o->tasks ? take_journal(p, err) : s;
}

/* All ranks must be the same model by the same program on the same level of processor. */
static rw_status prepare(parting *p, rw_error *err) {
  uint8_t sum[SHA256_BYTES];
  uint64_t first = 0;
  RW_TRY(comm_agree(p->ranks, filing_identify(&p->r, err), err));
  sha256 h;
  sha256_begin(&h);
  sha256_add(&h, p->r.identity.p, p->r.identity.len);
  sha256_end(&h, sum);
  memcpy(&first, sum, sizeof first);
  RW_TRY(comm_same(p->ranks, first, "model, processor and options", err));
  return comm_agree(p->ranks, p->ranks->rank == 0 ? make_folder(p, err) : RW_OK, err);
}

static rw_status publish(parting *p, part_sum *sum, rw_error *err) {
  const score_file_options *o = p->r.o;
  RW_TRY(join(p, sum, err));
  RW_TRY(filing_write_record(&p->r, &sum->counts, err));
  char *dir = part_folder(o->output);
  rw_status s = dir ? file_remove_dir(dir, err) : rw_nomem(err, o->output);
  mem_free(dir);
  return s;
}

/* One that has failed does not come here: as others do not know of it, its status ends the run for all. */
static rw_status finish(parting *p, part_sum *sum, rw_error *err) {
  comm *ranks = p->ranks;
  if (p->r.o->tasks) return gather(p, sum, NULL, err);
  RW_TRY(comm_agree(ranks, RW_OK, err));
  RW_TRY(comm_sum(ranks, &p->r.tokens, 1, err));
  RW_TRY(comm_agree(ranks, ranks->rank == 0 ? publish(p, sum, err) : RW_OK, err));
  return ranks->bcast(ranks, &sum->counts, sizeof sum->counts, 0, err);
}

rw_status score_parts(scorer *s, rows_in *in, const score_file_options *o, score_file_counts *counts,
                      rw_error *err) {
  parting p = {0};
  part_sum sum = {0};
  RW_TRY(check(o, err));
  filing_begin(&p.r, s, in, o);
  p.ranks = p.r.context->ranks;
  p.index = o->tasks ? o->task - 1 : (size_t)p.ranks->rank;
  p.of = o->tasks ? o->tasks : (size_t)p.ranks->size;
  rw_status st = prepare(&p, err);
  double began = clock_seconds();
  if (!st) st = each_part(&p, err);
  if (!st) st = finish(&p, &sum, err);
  double seconds = clock_seconds() - began;
  if (!st) say(&p, &sum, seconds);
  *counts = sum.counts;
  filing_free(&p.r);
  return st;
}
