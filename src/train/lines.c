/* lines.c - appending with what could not be written kept (see lines.h). */
#include "train/lines.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "format/rows.h"

struct lines {
  int fd;
  char *path;
  rw_context *context;
  str waiting;
  bool said; /* that something waits: was it said? */
};

/* The lines up to `step` of the file as it is. */
static rw_status read_kept(str *keep, const char *path, int64_t step, rw_error *err) {
  rows_in *in;
  json_doc *d = json_new();
  rw_status s = d ? rows_open(&in, path, NULL, err) : rw_nomem(err, path);
  if (!s) {
    slice row;
    uint64_t line;
    int64_t at;
    while (!(s = rows_next(in, &row, &line, err)) && row.p) {
      /* a line cut short by a kill is later than the checkpoint */
      if (json_parse(d, row.p, row.len, NULL) || !json_int(d, json_get(d, 0, "step"), &at) || at > step) continue;
      str_add(keep, row.p, row.len);
      str_addc(keep, '\n');
    }
    rows_close(in);
  }
  json_free(d);
  return s;
}

/* Takes path and fd; fd -1: errno says why. */
static rw_status begin(lines **l, char *path, int fd, rw_context *context, rw_error *err) {
  rw_status s = RW_OK;
  if (fd < 0)
    s = rw_fail(err, RW_IO, "%s: cannot open: %s", path, strerror(errno));
  else if (!(*l = mem_zalloc(1, sizeof **l)))
    s = rw_nomem(err, path);
  if (!s) {
    **l = (lines){.fd = fd, .path = path, .context = context};
  } else {
    if (fd >= 0) close(fd);
    mem_free(path);
  }
  return s;
}

rw_status lines_open(lines **l, const char *out, const char *name, int64_t step, rw_context *context,
                     rw_error *err) {
  *l = NULL;
  char *path = file_join(out, name);
  if (!path) return rw_nomem(err, out);
  str keep = {0};
  int fd = -1;
  rw_status s = step >= 0 && file_exists(path) ? read_kept(&keep, path, step, err) : RW_OK;
  if (!s) s = keep.oom ? rw_nomem(err, path) : file_put(path, keep.p ? keep.p : "", keep.len, err);
  if (!s) s = file_open_append(&fd, path, err);
  str_free(&keep);
  if (!s) return begin(l, path, fd, context, err);
  mem_free(path);
  return s;
}

rw_status lines_create(lines **l, const char *path, rw_context *context, rw_error *err) {
  *l = NULL;
  char *copy = mem_strndup(path, strlen(path));
  return copy ? begin(l, copy, file_create_new(copy), context, err) : rw_nomem(err, path);
}

rw_status lines_flush(lines *l, rw_error *err) {
  size_t done = 0;
  ssize_t n = 0;
  if (!l) return RW_OK;
  while (done < l->waiting.len) {
    n = write(l->fd, l->waiting.p + done, l->waiting.len - done);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    done += (size_t)n;
  }
  const char *why = n == 0 ? "no byte was taken" : strerror(errno);
  bool all = done == l->waiting.len;
  if (all) {
    str_clear(&l->waiting);
    return RW_OK;
  }
  memmove(l->waiting.p, l->waiting.p + done, l->waiting.len - done);
  l->waiting.len -= done;
  return rw_fail(err, RW_IO, "%s: cannot write: %s", l->path, why);
}

rw_status lines_add(lines *l, slice bytes, rw_error *err) {
  rw_error why;
  if (!l) return RW_OK;
  str_add(&l->waiting, bytes.p, bytes.len);
  if (l->waiting.oom) return rw_nomem(err, l->path);
  if (lines_flush(l, &why) && !l->said) {
    l->said = true;
    log_warn(l->context, "%s; its lines are kept in memory until there is room", why.text);
  }
  return RW_OK;
}

rw_status lines_close(lines *l, rw_error *err) {
  if (!l) return RW_OK;
  rw_status s = lines_flush(l, err);
  if (close(l->fd) != 0 && !s) s = rw_fail(err, RW_IO, "%s: cannot close: %s", l->path, strerror(errno));
  str_free(&l->waiting);
  mem_free(l->path);
  mem_free(l);
  return s;
}
