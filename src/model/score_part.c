/* score_part.c - one part of a file's scored rows: its lines, written and read (see score_part.h). */
#include "model/score_part.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { LONGEST_END = 1 << 16 }; /* bytes of a last line */

char *part_folder(const char *output) { return mem_printf("%s.parts", output); }

char *part_path(const char *output, size_t part) { return mem_printf("%s.parts/%06zu", output, part); }

char *part_record(const filing *r, size_t part) {
  return mem_printf("%.*s, \"part_rows\": %lld, \"part\": %zu}", (int)r->identity.len - 1, r->identity.p,
                    (long long)r->o->part_rows, part);
}

bool score_parts_there(const char *output) {
  char *dir = part_folder(output);
  bool there = dir && file_is_dir(dir);
  mem_free(dir);
  return there;
}

rw_status score_parts_fail(const char *output, rw_error *err) {
  return rw_fail(
      err, RW_USAGE,
      "%s.parts: parts of an interrupted run are there; " FIELD(resume) " goes on with them, or remove the folder",
      output);
}

/* ---- the last line ---- */

rw_status part_end(filing *r, const render_notes *notes, rw_error *err) {
  char hex[SHA256_HEX];
  str line = {0};
  json_writer w = {.out = &line};
  sha256_end_hex(&r->input, hex);
  jw_object(&w, NULL);
  jw_uint(&w, "rows", r->counts.rows);
  jw_uint(&w, "failed", r->counts.failed);
  jw_uint(&w, "dropped", r->counts.dropped);
  jw_uint(&w, "truncated", r->counts.truncated);
  jw_uint(&w, "escaped", notes->escaped);
  jw_uint(&w, "changed", notes->tmpl.changed);
  tmpl_ignored_write(&w, "ignored", &notes->tmpl);
  jw_string(&w, "input", hex);
  jw_object(&w, "replaced");
  for (size_t i = 0; i < SCORE_FIELDS; i++)
    if (r->form.replaced[i].rows) jw_uint(&w, r->form.replaced[i].name, r->form.replaced[i].rows);
  jw_end(&w);
  jw_array(&w, "errors");
  for (size_t i = 0; i < r->n_bad; i++) {
    jw_object(&w, NULL);
    jw_uint(&w, "line", r->bad[i].line);
    jw_string(&w, "error", r->bad[i].error);
    jw_end(&w);
  }
  jw_end(&w);
  jw_end(&w);
  journal *j = r->journal;
  r->journal = NULL;
  if (!line.oom) {
    rw_status s = journal_keep(j, (slice){line.p, line.len}, err);
    str_free(&line);
    return s;
  }
  journal_abort(j);
  str_free(&line);
  return rw_nomem(err, "a part");
}

static rw_status cut(const part_in *p, rw_error *err) {
  return rw_fail(err, RW_DATA,
                 "%s: expected its counts in a last line; was it cut? Remove it, to have it scored again", p->path);
}

/* The text of the last line into *s. */
static rw_status read_end(const part_in *p, str *s, rw_error *err) {
  int fd;
  uint64_t size;
  RW_TRY(file_open_input(&fd, &size, p->path, err));
  size_t n = size < LONGEST_END ? (size_t)size : LONGEST_END;
  ssize_t got = str_reserve(s, n) ? pread(fd, s->p, n, (off_t)(size - n)) : -1;
  int why = errno;
  close(fd);
  if (s->oom) return rw_nomem(err, p->path);
  if (got != (ssize_t)n) return rw_fail(err, RW_IO, "%s: cannot read: %s", p->path, strerror(why));
  const char *before = memrchr(s->p, '\n', n);
  if (!before) return cut(p, err);
  s->len = n - (size_t)(before + 1 - s->p);
  memmove(s->p, before + 1, s->len);
  return RW_OK;
}

static bool count_of(json_doc *d, json_val object, const char *name, size_t *sum) {
  int64_t n;
  if (!json_int(d, json_get(d, object, name), &n) || n < 0) return false;
  *sum += (size_t)n;
  return true;
}

/* The fields that were replaced in the part's rows. */
static void add_replaced(part_sum *sum, json_doc *d) {
  json_val all = json_get(d, 0, "replaced");
  for (json_val v = json_first(d, all); v != JSON_NONE; v = json_next(d, v)) {
    int64_t rows;
    if (json_int(d, v, &rows)) score_row_replaced(sum->own, json_key(d, v), (size_t)rows);
  }
}

static void add_bad_rows(part_sum *sum, json_doc *d) {
  json_val list = json_get(d, 0, "errors");
  for (json_val v = json_first(d, list); v != JSON_NONE && sum->n_bad < SHOWN_BAD_ROWS; v = json_next(d, v)) {
    size_t line = 0;
    slice why = json_string(d, json_get(d, v, "error"));
    bad_row *b = &sum->bad[sum->n_bad++];
    count_of(d, v, "line", &line);
    b->line = line;
    snprintf(b->error, sizeof b->error, "%.*s", (int)why.len, why.p ? why.p : "");
  }
}

/* What the last line says. */
static rw_status take_end(part_in *p, part_sum *sum, const str *line, rw_error *err) {
  json_doc *d = json_new();
  if (!d) return rw_nomem(err, p->path);
  score_file_counts *c = &sum->counts;
  render_notes *n = &sum->notes;
  bool ok = !json_parse(d, line->p, line->len, NULL);
  slice input = ok ? json_string(d, json_get(d, 0, "input")) : (slice){0};
  ok = ok && input.p && count_of(d, 0, "rows", &p->n) && count_of(d, 0, "failed", &c->failed) &&
       count_of(d, 0, "dropped", &c->dropped) && count_of(d, 0, "truncated", &c->truncated) &&
       count_of(d, 0, "escaped", &n->escaped) && count_of(d, 0, "changed", &n->tmpl.changed);
  if (ok) {
    c->rows += p->n;
    tmpl_ignored_read(&n->tmpl, d, json_get(d, 0, "ignored"));
    snprintf(p->input, sizeof p->input, "%.*s", (int)input.len, input.p);
    add_replaced(sum, d);
    add_bad_rows(sum, d);
  }
  json_free(d);
  return ok ? RW_OK : cut(p, err);
}

/* ---- a part that is there ---- */

rw_status part_open(part_in *p, const filing *r, size_t part, part_sum *sum, rw_error *err) {
  *p = (part_in){.path = part_path(r->o->output, part)};
  char *record = part_record(r, part);
  str end = {0};
  slice first;
  uint64_t line;
  rw_status s = p->path && record ? rows_open(&p->rows, p->path, NULL, err) : rw_nomem(err, r->o->output);
  if (!s) s = rows_next(p->rows, &first, &line, err);
  if (!s) s = first.p ? journal_same(p->path, first, slice_of(record), err) : cut(p, err);
  if (!s) s = read_end(p, &end, err);
  if (!s) s = take_end(p, sum, &end, err);
  str_free(&end);
  mem_free(record);
  return s;
}

rw_status part_copy(part_in *p, rows_out *out, rw_error *err) {
  slice row;
  uint64_t line;
  for (size_t i = 0; i < p->n; i++) {
    RW_TRY(rows_next(p->rows, &row, &line, err));
    if (!row.p) return cut(p, err);
    RW_TRY(rows_write(out, row.p, row.len, err));
  }
  RW_TRY(rows_next(p->rows, &row, &line, err));
  slice after = {0};
  if (row.p) RW_TRY(rows_next(p->rows, &after, &line, err));
  return row.p && !after.p ? RW_OK : cut(p, err);
}

void part_close(part_in *p) {
  rows_close(p->rows);
  mem_free(p->path);
  *p = (part_in){0};
}
