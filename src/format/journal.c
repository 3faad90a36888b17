/* journal.c - finished rows on disk, so that an interrupted command goes on where it was. */
#include "format/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "format/json_differ.h"
#include "format/rows.h"

struct journal {
  rw_context *context;
  char *path, *out;
  int fd;
  rows_in *kept; /* rows of an earlier run, of which the first line has been read */
  slice record;  /* that line */
  rows_out
      *fit;   /* where OUT's rows must fit each other (Parquet): says of each row, as it comes, whether it does */
  size_t n;   /* rows on disk */
  bool begun; /* the record is there; before it nothing is */
  size_t buffered;
  str buf;
};

bool journal_possible(const char *out) {
  struct stat st;
  return strcmp(out, "-") != 0 && (stat(out, &st) != 0 || S_ISREG(st.st_mode));
}

static void journal_free(journal *j) {
  rows_close(j->kept);
  rows_abort(j->fit);
  if (j->fd >= 0) close(j->fd);
  str_free(&j->buf);
  mem_free(j->path);
  mem_free(j->out);
  mem_free(j);
}

static rw_status sys_fail(const journal *j, const char *doing, rw_error *err) {
  return rw_fail(err, RW_IO, "%s: %s: %s", j->path, doing, strerror(errno));
}

/* Cuts what stands after the last newline. */
static rw_status drop_torn_line(journal *j, rw_error *err) {
  off_t end = lseek(j->fd, 0, SEEK_END);
  if (end < 0) return sys_fail(j, "cannot seek", err);
  while (end > 0) {
    char block[4096];
    off_t from = end > (off_t)sizeof block ? end - (off_t)sizeof block : 0;
    ssize_t n = pread(j->fd, block, (size_t)(end - from), from);
    if (n != end - from) return sys_fail(j, "cannot read", err);
    const char *nl = memrchr(block, '\n', (size_t)n);
    end = nl ? from + (nl - block) + 1 : from;
    if (nl) break;
  }
  return ftruncate(j->fd, end) == 0 ? RW_OK : sys_fail(j, "cannot cut its torn line", err);
}

static rw_status open_kept(journal *j, bool *any, rw_error *err) {
  uint64_t line;
  RW_TRY(drop_torn_line(j, err));
  RW_TRY(rows_open_lines(&j->kept, j->path, NULL, err));
  RW_TRY(rows_next(j->kept, &j->record, &line, err));
  *any = j->record.p != NULL;
  return RW_OK;
}

static rw_status take(journal *j, bool resume, bool *kept, rw_error *err) {
  RW_TRY(file_open_append(&j->fd, j->path, err));
  if (flock(j->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return rw_fail(err, RW_USAGE, "%s: another process is writing it; wait for it or name another -o", j->path);
  if (resume) RW_TRY(open_kept(j, kept, err));
  if (*kept) return RW_OK;
  rows_close(j->kept);
  j->kept = NULL;
  return ftruncate(j->fd, 0) == 0 ? RW_OK : sys_fail(j, "cannot empty it", err);
}

rw_status journal_open(journal **opened, const char *path, bool resume, bool *kept, rw_context *context,
                       rw_error *err) {
  *opened = NULL;
  *kept = false;
  journal *j = mem_zalloc(1, sizeof *j);
  if (!j) return rw_nomem(err, path);
  j->context = context;
  j->fd = -1;
  j->out = mem_strndup(path, strlen(path));
  j->path = mem_printf("%s.partial", path);
  /* before hours of work: can OUT be made at all? */
  rows_out *probe = NULL;
  rw_status s = j->out && j->path ? rows_create(&probe, path, err) : rw_nomem(err, path);
  rows_abort(probe);
  if (!s) s = rows_check(&j->fit, path, err);
  if (!s) s = take(j, resume, kept, err);
  if (s)
    journal_free(j);
  else
    *opened = j;
  return s;
}

rw_status journal_same(const char *path, slice record, slice wanted, rw_error *err) {
  json_difference d;
  json_doc *was = json_new(), *now = json_new();
  rw_status s = was && now ? json_parse(was, record.p, record.len, err) : rw_nomem(err, path);
  if (!s) s = json_parse(now, wanted.p, wanted.len, err);
  if (s == RW_DATA) rw_prefix(err, s, "%s: its first line", path);
  if (!s && json_differ(&d, was, 0, now, 0))
    s = rw_fail(
        err, RW_USAGE,
        "%s: was made otherwise, so its rows cannot be kept: %s was %s, is %s; remove it, or leave out " FIELD(
            resume),
        path, d.where, d.was, d.now);
  json_free(was);
  json_free(now);
  return s;
}

rw_status journal_begin(journal *j, slice record, rw_error *err) {
  j->begun = true;
  if (j->kept) return journal_same(j->path, j->record, record, err);
  str rows = j->buf;
  j->buf = (str){0};
  str_add(&j->buf, record.p, record.len);
  str_addc(&j->buf, '\n');
  str_add(&j->buf, rows.p ? rows.p : "", rows.len);
  j->buf.oom |= rows.oom;
  str_free(&rows);
  return journal_flush(j, err);
}

rw_status journal_next(journal *j, slice *row, rw_error *err) {
  uint64_t line;
  *row = (slice){0};
  if (!j->kept) return RW_OK;
  RW_TRY(rows_next(j->kept, row, &line, err));
  j->n += row->p != NULL;
  return row->p && j->fit ? rows_write(j->fit, row->p, row->len, err) : RW_OK;
}

rw_status journal_write(journal *j, const char *row, size_t len, rw_error *err) {
  if (j->fit) RW_TRY(rows_write(j->fit, row, len, err));
  str_add(&j->buf, row, len);
  str_addc(&j->buf, '\n');
  j->buffered++;
  return j->buf.oom ? rw_nomem(err, j->path) : RW_OK;
}

rw_status journal_flush(journal *j, rw_error *err) {
  if (j->buf.oom) return rw_nomem(err, j->path);
  if (!j->begun) return RW_OK;
  for (size_t at = 0; at < j->buf.len;) {
    ssize_t n = write(j->fd, j->buf.p + at, j->buf.len - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return sys_fail(j, "cannot write", err);
    at += (size_t)n;
  }
  str_clear(&j->buf);
  j->n += j->buffered;
  j->buffered = 0;
  return RW_OK;
}

static rw_status copy_rows(const journal *j, rows_out *out, rw_error *err) {
  rows_in *in;
  slice row;
  uint64_t line;
  RW_TRY(rows_open_lines(&in, j->path, NULL, err));
  rw_status s = rows_next(in, &row, &line, err); /* the record */
  for (size_t i = 0; !s && i < j->n; i++) {
    s = rows_next(in, &row, &line, err);
    if (!s && !row.p) s = rw_fail(err, RW_IO, "%s: expected %zu rows, got %zu; was it cut?", j->path, j->n, i);
    if (!s) s = rows_write(out, row.p, row.len, err);
  }
  rows_close(in);
  return s;
}

/* Of a run that has ended before any row needed to survive. */
static rw_status copy_buffered(const journal *j, rows_out *out, rw_error *err) {
  const char *end = j->buf.p + j->buf.len;
  for (const char *row = j->buf.p, *nl; row < end; row = nl + 1) {
    nl = memchr(row, '\n', (size_t)(end - row));
    RW_TRY(rows_write(out, row, (size_t)(nl - row), err));
  }
  return RW_OK;
}

rw_status journal_commit(journal *j, rw_error *err) {
  rows_out *out = NULL;
  rw_status s = journal_flush(j, err);
  if (!s) s = rows_create(&out, j->out, err);
  if (!s) s = j->begun ? copy_rows(j, out, err) : copy_buffered(j, out, err);
  if (s)
    rows_abort(out);
  else
    s = rows_commit(out, err);
  if (s) {
    journal_abort(j);
    return s;
  }
  unlink(j->path);
  journal_free(j);
  return RW_OK;
}

rw_status journal_keep(journal *j, slice last, rw_error *err) {
  rw_status s = journal_flush(j, err);
  str_add(&j->buf, last.p, last.len); /* without a newline: killed here, the journal goes on without that line */
  if (!s) s = journal_flush(j, err);
  if (!s && fsync(j->fd) != 0) s = sys_fail(j, "cannot write", err);
  if (!s && rename(j->path, j->out) != 0) s = sys_fail(j, "cannot rename into place", err);
  journal_free(j);
  return s;
}

rw_status journal_close(journal *j, rw_error *err) {
  rw_status s = journal_flush(j, err); /* whole rows that are there already */
  if (j->n == 0 && !j->kept) unlink(j->path);
  journal_free(j);
  return s;
}

void journal_abort(journal *j) {
  if (!j) return;
  journal_flush(j, NULL);
  if (j->n > 0)
    log_warn(j->context, "%zu finished rows are kept in %s; " FIELD(resume) " goes on with them%s", j->n, j->path,
             j->fit ? ", also as OUT.jsonl when renamed to OUT.jsonl.partial" : "");
  journal_close(j, NULL);
}
