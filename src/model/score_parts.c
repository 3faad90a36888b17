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
  size_t parts;         /* of the input, once it is read */
} parting;

static bool is_own(const score_file_options *o, size_t part) {
  return o->tasks == 0 || part % o->tasks == o->task - 1;
}

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

/* Killed in between, it is done again: OUT's journal goes last. */
static rw_status take_journal(parting *p, rw_error *err) {
  const score_file_options *o = p->r.o;
  char *path = mem_printf("%s.partial", o->output);
  journal *from = NULL;
  bool any = false;
  rw_status s = path ? RW_OK : rw_nomem(err, o->output);
  if (!s && file_exists(path)) {
    s = journal_open(&from, o->output, true, &any, p->r.context, err);
    if (!s) s = journal_begin(from, (slice){p->r.identity.p, p->r.identity.len}, err);
    for (size_t i = 0; !s && any; i++) s = move_rows(p, from, i, &any, err);
    if (from) journal_close(from, NULL);
    if (!s && unlink(path) != 0) s = rw_fail(err, RW_IO, "%s: cannot remove it", path);
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
  const render_notes of_part = {now.escaped - p->noticed.escaped, now.changed - p->noticed.changed, now.date};
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
  rw_status s = !is_own(r->o, part) ? pass_over(p, err)
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

/* Adds up what the own parts say, and copies their rows to out where that is not NULL. */
static rw_status gather(parting *p, part_sum *sum, rows_out *out, rw_error *err) {
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < p->parts; i++) {
    part_in in = {0};
    if (!is_own(p->r.o, i)) continue;
    s = part_open(&in, &p->r, i, sum, err);
    if (!s && out) s = part_copy(&in, out, err);
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
  for (size_t i = 0; i < sum->n_bad; i++)
    log_warn(p->r.context, "%s:%llu: %s", rows_path(p->r.in), (unsigned long long)sum->bad[i].line,
             sum->bad[i].error);
  filing_say(&p->r, &sum->counts, &sum->notes, sum->own, seconds);
}

static rw_status check(const score_file_options *o, rw_error *err) {
  if (o->stream || o->group_by || !journal_possible(o->output))
    return rw_fail(err, RW_USAGE,
                   "rows are scored by parts, which needs an output file, and neither stream nor group_by");
  if (o->resume || o->tasks || !score_parts_there(o->output)) return RW_OK;
  return score_parts_fail(o->output, err);
}

/* The folder; and can OUT be made at all? Asked before hours of work. */
static rw_status prepare(parting *p, rw_error *err) {
  const score_file_options *o = p->r.o;
  rows_out *probe;
  RW_TRY(filing_identify(&p->r, err));
  RW_TRY(rows_create(&probe, o->output, err));
  rows_abort(probe);
  char *dir = part_folder(o->output);
  rw_status s = dir ? file_mkdirs(dir, err) : rw_nomem(err, o->output);
  mem_free(dir);
  return !s && o->resume && !o->tasks ? take_journal(p, err) : s;
}

static rw_status finish(parting *p, part_sum *sum, rw_error *err) {
  const score_file_options *o = p->r.o;
  if (o->tasks) return gather(p, sum, NULL, err);
  RW_TRY(join(p, sum, err));
  RW_TRY(filing_write_record(&p->r, &sum->counts, err));
  char *dir = part_folder(o->output);
  rw_status s = dir ? file_remove_dir(dir, err) : rw_nomem(err, o->output);
  mem_free(dir);
  return s;
}

rw_status score_parts(scorer *s, rows_in *in, const score_file_options *o, score_file_counts *counts,
                      rw_error *err) {
  parting p = {0};
  part_sum sum = {0};
  RW_TRY(check(o, err));
  filing_begin(&p.r, s, in, o);
  rw_status st = prepare(&p, err);
  double began = clock_seconds();
  if (!st) st = each_part(&p, err);
  double seconds = clock_seconds() - began;
  if (!st) st = finish(&p, &sum, err);
  if (!st) say(&p, &sum, seconds);
  *counts = sum.counts;
  filing_free(&p.r);
  return st;
}
