/* answers.c - reading and appending the lines of answers (see answers.h). */
#include "eval/answers.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/file.h"
#include "base/log.h"
#include "format/json_write.h"
#include "format/rows.h"

void answers_key(slice request, char key[SHA256_HEX], char old[ANSWERS_OLD_KEY]) {
  sha256 s;
  XXH128_hash_t h = XXH3_128bits(request.p, request.len);
  sha256_begin(&s);
  sha256_add(&s, request.p, request.len);
  sha256_end_hex(&s, key);
  snprintf(old, ANSWERS_OLD_KEY, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

static rw_status put(const answers *a, const char *p, size_t len, rw_error *err) {
  for (size_t at = 0; at < len;) {
    ssize_t n = write(a->fd, p + at, len - at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return rw_fail(err, RW_IO, "%s: cannot write: %s", a->path, strerror(errno));
    at += (size_t)n;
  }
  return RW_OK;
}

static rw_status read_lines(const answers *a, void (*take)(void *ctx, slice key, slice body), void *ctx,
                            rw_context *context, rw_error *err) {
  rows_in *in;
  RW_TRY(rows_open_lines(&in, a->path, NULL, err));
  json_doc *d = json_new();
  rw_status st = d ? RW_OK : rw_nomem(err, a->path);
  slice row;
  uint64_t line;
  size_t torn = 0;
  while (!st && !(st = rows_next(in, &row, &line, err)) && row.p) {
    rw_error why;
    rw_status parsed = json_parse(d, row.p, row.len, &why);
    if (parsed && parsed != RW_DATA) st = rw_nomem(err, a->path);
    torn += parsed == RW_DATA;
    if (parsed) continue;
    slice key = json_string(d, json_get(d, 0, "key")), body = json_string(d, json_get(d, 0, "body"));
    if (key.p && body.p) take(ctx, key, body);
  }
  rows_close(in);
  json_free(d);
  if (torn) log_warn(context, "%s: %zu torn lines passed over", a->path, torn);
  return st;
}

rw_status answers_open(answers *a, const char *path, void (*take)(void *ctx, slice key, slice body), void *ctx,
                       rw_context *context, rw_error *err) {
  *a = (answers){.fd = -1, .path = path};
  RW_TRY(file_open_append(&a->fd, path, err));
  if (flock(a->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    return rw_fail(err, RW_USAGE, "%s: another process is writing it; wait for it or name another by " FIELD(cache),
                   path);
  RW_TRY(read_lines(a, take, ctx, context, err));
  char last = '\n';
  if (lseek(a->fd, -1, SEEK_END) >= 0 && read(a->fd, &last, 1) == 1 && last != '\n') return put(a, "\n", 1, err);
  return RW_OK;
}

rw_status answers_add(answers *a, const char *key, slice body, rw_error *err) {
  str_clear(&a->line);
  json_writer w = {.out = &a->line};
  jw_object(&w, NULL);
  jw_string(&w, "key", key);
  jw_slice(&w, "body", body.p ? body : SLICE(""));
  jw_end(&w);
  str_addc(&a->line, '\n');
  return a->line.oom ? rw_nomem(err, "an answer") : put(a, a->line.p, a->line.len, err);
}

void answers_close(answers *a) {
  if (a->fd >= 0) close(a->fd);
  str_free(&a->line);
}
