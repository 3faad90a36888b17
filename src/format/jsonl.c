/* jsonl.c - plain, gzip and zstd JSONL, in and out; and rows that are the elements of one JSON array, in.
 *
 * Reading keeps one growing buffer; a row is a slice of it. Limit: a row, and what is blank between two, may have
 * the context's max_row_bytes, unpacked: a file of a few KB can unpack to gigabytes. Files that are read without a
 * context are this program's own: 1 GB.
 */
#include "format/jsonl.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/hub.h"
#include "base/log.h"
#include "base/sha256.h"
#include "format/array_scan.h"

enum { READ_BYTES = 1 << 16, MAX_ROW = 1 << 30, USUAL_MAX_ROW = 64 << 20 };
typedef enum { PLAIN, GZIP, ZSTD } packing;
typedef enum { UNKNOWN, LINES, ARRAY, ARRAY_ENDED } layout;

struct jsonl_in {
  rw_context *context;
  char *path;
  int fd;
  packing how;
  layout rows;
  z_stream z;
  ZSTD_DStream *zs;
  bool z_open, member_open; /* inside a compressed stream: an end of file now is a truncation */
  bool eof;                 /* end of the file */
  bool regular, hashed;
  bool held;  /* what is consumed stays in buf */
  sha256 sum; /* hashed: of the file so far; lends_sum: of what the holder has added */
  char *raw;  /* READ_BYTES of the file, when compressed */
  size_t raw_len, raw_at;
  str buf;                             /* decoded bytes */
  size_t pos;                          /* place of the next row in buf */
  size_t most, blank;                  /* bytes that a row may have; that were blank since the last row */
  uint64_t line, stored, total, taken; /* taken: decoded bytes of the rows so far; line: or an array's element */
};

/* ---- reading ---- */

/* Does whoever holds the rows add their bytes to the sum? An array's rows are changed in the buffer. */
static bool lends_sum(const jsonl_in *in) {
  return in->hashed && in->held && in->how == PLAIN && (in->rows == LINES || in->rows == UNKNOWN);
}

static rw_status read_fd(jsonl_in *in, char *p, size_t n, size_t *got, rw_error *err) {
  ssize_t r;
  do r = read(in->fd, p, n);
  while (r < 0 && errno == EINTR && !log_interrupted(in->context));
  if (r < 0 && errno == EINTR) return rw_fail(err, RW_INTERRUPTED, "interrupted");
  if (r < 0) return rw_fail(err, RW_IO, "%s: cannot read: %s", in->path, strerror(errno));
  *got = (size_t)r;
  in->stored += (uint64_t)r;
  if (in->hashed && !lends_sum(in)) sha256_add(&in->sum, p, (size_t)r);
  if (r == 0) in->eof = true;
  return RW_OK;
}

static rw_status fill_raw(jsonl_in *in, rw_error *err) {
  in->raw_at = 0;
  return read_fd(in, in->raw, READ_BYTES, &in->raw_len, err);
}

static rw_status damaged(const jsonl_in *in, const char *why, rw_error *err) {
  return rw_fail(err, RW_DATA, "%s:%llu: the compressed data is damaged (%s); fetch the file again", in->path,
                 (unsigned long long)in->line + 1, why);
}

static rw_status inflate_some(jsonl_in *in, rw_error *err) {
  in->z.next_in = (unsigned char *)in->raw + in->raw_at;
  in->z.avail_in = (unsigned)(in->raw_len - in->raw_at);
  in->z.next_out = (unsigned char *)in->buf.p + in->buf.len;
  in->z.avail_out = READ_BYTES;
  int r = inflate(&in->z, Z_NO_FLUSH);
  in->raw_at = in->raw_len - in->z.avail_in;
  in->buf.len += READ_BYTES - in->z.avail_out;
  if (r == Z_STREAM_END) { /* another member may follow */
    in->member_open = false;
    return inflateReset(&in->z) == Z_OK ? RW_OK : damaged(in, "gzip", err);
  }
  if (r != Z_OK && r != Z_BUF_ERROR) return damaged(in, in->z.msg ? in->z.msg : "gzip", err);
  in->member_open = true;
  return RW_OK;
}

static rw_status zstd_some(jsonl_in *in, rw_error *err) {
  ZSTD_inBuffer src = {in->raw, in->raw_len, in->raw_at};
  ZSTD_outBuffer dst = {in->buf.p + in->buf.len, READ_BYTES, 0};
  size_t r = ZSTD_decompressStream(in->zs, &dst, &src);
  if (ZSTD_isError(r)) return damaged(in, ZSTD_getErrorName(r), err);
  in->raw_at = src.pos;
  in->buf.len += dst.pos;
  in->member_open = r != 0;
  return RW_OK;
}

/* Appends decoded bytes to buf, or sets eof. */
static rw_status fill(jsonl_in *in, rw_error *err) {
  if (in->buf.p && in->pos > 0 && !in->held) { /* what is consumed makes room */
    memmove(in->buf.p, in->buf.p + in->pos, in->buf.len - in->pos);
    in->buf.len -= in->pos;
    in->pos = 0;
  }
  if (!str_reserve(&in->buf, READ_BYTES)) return rw_nomem(err, in->path);
  if (in->how == PLAIN) {
    size_t got;
    RW_TRY(read_fd(in, in->buf.p + in->buf.len, READ_BYTES, &got, err));
    in->buf.len += got;
    return RW_OK;
  }
  if (in->raw_at == in->raw_len) {
    RW_TRY(fill_raw(in, err));
    if (in->eof && in->member_open) return damaged(in, "it ends too early", err);
    if (in->eof) return RW_OK;
  }
  return in->how == GZIP ? inflate_some(in, err) : zstd_some(in, err);
}

static rw_status check_text(const jsonl_in *in, rw_error *err) {
  const char *p = in->buf.p;
  bool utf16 = in->buf.len >= 2 && (memcmp(p, "\xFF\xFE", 2) == 0 || memcmp(p, "\xFE\xFF", 2) == 0 ||
                                    (p[0] == 0 && memchr("{[", p[1], 2)) || (p[1] == 0 && memchr("{[", p[0], 2)));
  return utf16 ? rw_fail(err, RW_DATA,
                         "%s: expected UTF-8, got UTF-16; iconv -f UTF-16 -t UTF-8 %s > NEW makes it so", in->path,
                         in->path)
               : RW_OK;
}

/* Known by the first bytes; what was read to see them is kept. A pipe is not waited for where the first byte tells.
 */
static rw_status detect(jsonl_in *in, rw_error *err) {
  do RW_TRY(fill(in, err));
  while (!in->eof && in->buf.len < 4 && (in->buf.len == 0 || strchr("\x1f\x28P\xEF\xFE\xFF", in->buf.p[0])));
  const unsigned char *p = (const unsigned char *)in->buf.p;
  size_t n = in->buf.len;
  if (n >= 2 && p[0] == 0x1f && p[1] == 0x8b) in->how = GZIP;
  if (n >= 4 && p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd) in->how = ZSTD;
  if (in->how == PLAIN) {
    if (n >= 3 && memcmp(p, "\xEF\xBB\xBF", 3) == 0) in->pos = 3;
    return check_text(in, err);
  }
  in->raw = mem_alloc(n > READ_BYTES ? n : READ_BYTES, 1);
  if (!in->raw) return rw_nomem(err, in->path);
  memcpy(in->raw, p, n);
  in->raw_len = n;
  in->buf.len = 0;
  in->eof = false;
  if (in->how == GZIP) {
    if (inflateInit2(&in->z, 15 + 16) != Z_OK) return rw_nomem(err, in->path);
    in->z_open = true;
  } else if (!(in->zs = ZSTD_createDStream())) {
    return rw_nomem(err, in->path);
  }
  while (!in->eof && in->buf.len < 3) RW_TRY(fill(in, err));
  if (in->buf.len >= 3 && memcmp(in->buf.p, "\xEF\xBB\xBF", 3) == 0) in->pos = 3;
  return check_text(in, err);
}

static rw_status open_as(jsonl_in **out, const char *path, bool hashed, rw_context *context, rw_error *err) {
  *out = NULL;
  jsonl_in *in = mem_zalloc(1, sizeof *in);
  if (!in) return rw_nomem(err, path);
  in->context = context;
  in->hashed = hashed;
  sha256_begin(&in->sum);
  in->most = !context ? MAX_ROW : context->max_row_bytes ? context->max_row_bytes : USUAL_MAX_ROW;
  bool is_stdin = strcmp(path, "-") == 0;
  in->path = mem_strndup(jsonl_label(path), strlen(jsonl_label(path)));
  in->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  rw_status s = RW_OK;
  if (!in->path)
    s = rw_nomem(err, path);
  else if (in->fd < 0)
    s = rw_fail(err, RW_IO, "%s: cannot open: %s%s", path, strerror(errno),
                hub_hint(path, "dataset", (char[HUB_HINT]){0}));
  else if (fstat(in->fd, &st) == 0 && S_ISDIR(st.st_mode))
    s = rw_fail(err, RW_IO, "%s: expected a file of rows, got a folder", path);
  else if ((in->regular = S_ISREG(st.st_mode)))
    in->total = (uint64_t)st.st_size;
  if (!s) s = detect(in, err);
  if (s)
    jsonl_close(in);
  else
    *out = in;
  return s;
}

rw_status jsonl_open(jsonl_in **in, const char *path, rw_context *context, rw_error *err) {
  return open_as(in, path, false, context, err);
}

rw_status jsonl_open_hashed(jsonl_in **in, const char *path, rw_context *context, rw_error *err) {
  return open_as(in, path, true, context, err);
}

bool jsonl_hash(const jsonl_in *in, char out[SHA256_HEX]) {
  sha256 sum = in->sum;
  if (!in->hashed || !in->regular || !in->eof || in->sum.bytes != in->stored) return false;
  sha256_end_hex(&sum, out);
  return true;
}

rw_status jsonl_fits(const jsonl_in *in, size_t len, uint64_t line, rw_error *err) {
  if (len <= in->most) return RW_OK;
  return rw_fail(err, RW_DATA,
                 "%s:%llu: expected a row of at most %zu bytes; are the newlines missing? " FIELD(
                     max_row_bytes) " N allows more",
                 in->path, (unsigned long long)line, in->most);
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Goes on to the first byte that is no space, reading as far as needed; at the end of the file there is none. */
static rw_status skip_space(jsonl_in *in, size_t *at, rw_error *err) {
  for (;;) {
    while (in->pos + *at < in->buf.len && is_space(in->buf.p[in->pos + *at])) ++*at;
    if (in->pos + *at < in->buf.len || in->eof) return RW_OK;
    RW_TRY(jsonl_fits(in, *at, in->line + 1, err));
    RW_TRY(fill(in, err));
  }
}

static void take(jsonl_in *in, size_t n) {
  in->pos += n;
  in->taken += n;
}

/* Are the rows lines, or elements of one array? */
static rw_status find_layout(jsonl_in *in, rw_error *err) {
  size_t at = 0;
  RW_TRY(skip_space(in, &at, err));
  bool lines = in->pos + at == in->buf.len || in->buf.p[in->pos + at] != '[';
  if (!lines && lends_sum(in)) sha256_add(&in->sum, in->buf.p, in->buf.len);
  in->rows = lines ? LINES : ARRAY;
  if (in->rows == ARRAY) take(in, at + 1);
  return RW_OK;
}

void jsonl_lines(jsonl_in *in) { in->rows = LINES; }

static rw_status array_broken(const jsonl_in *in, const char *expected, const char *got, rw_error *err) {
  return rw_fail(err, RW_DATA, "%s:%llu: expected %s, got %s; is the file whole, or JSONL that begins with a list?",
                 in->path, (unsigned long long)in->line + 1, expected, got);
}

/* The next element, which has no newline then. */
static rw_status array_next(jsonl_in *in, slice *row, uint64_t *line, rw_error *err) {
  size_t space = 0;
  RW_TRY(skip_space(in, &space, err));
  take(in, space);
  bool at_end = in->pos == in->buf.len;
  *row = (slice){0};
  *line = in->line;
  if (in->rows == ARRAY_ENDED)
    return at_end ? RW_OK : array_broken(in, "nothing behind the array of rows", "more text", err);
  array_scan s = {0};
  while (!array_scan_on(&s, in->buf.p + in->pos, in->buf.len - in->pos)) {
    if (in->eof) return array_broken(in, "a comma or ] behind a row", "the end of the file", err);
    RW_TRY(jsonl_fits(in, s.at, in->line + 1, err));
    RW_TRY(fill(in, err));
  }
  char *p = in->buf.p + in->pos;
  if (p[s.at] == ']') in->rows = ARRAY_ENDED;
  take(in, s.at + 1);
  while (s.at > 0 && is_space(p[s.at - 1])) s.at--;
  if (s.at == 0 && in->rows == ARRAY_ENDED && in->line == 0) return array_next(in, row, line, err);
  if (s.at == 0) return array_broken(in, "a row", in->rows == ARRAY_ENDED ? "] behind a comma" : "a comma", err);
  *line = ++in->line;
  RW_TRY(jsonl_fits(in, s.at, in->line, err));
  *row = (slice){p, array_one_line(p, s.at)};
  return RW_OK;
}

rw_status jsonl_next(jsonl_in *in, slice *row, uint64_t *line, rw_error *err) {
  if (in->rows == UNKNOWN) RW_TRY(find_layout(in, err));
  if (in->rows != LINES) return array_next(in, row, line, err);
  size_t seen = 0; /* bytes of the row that hold no newline */
  for (;;) {
    char *start = in->buf.p ? in->buf.p + in->pos : NULL;
    size_t have = start ? in->buf.len - in->pos : 0;
    char *nl = have > seen ? memchr(start + seen, '\n', have - seen) : NULL;
    if (!nl && !in->eof) {
      RW_TRY(jsonl_fits(in, have, in->line + 1, err));
      seen = have;
      RW_TRY(fill(in, err));
      continue;
    }
    if (!nl && have == 0) {
      *row = (slice){0};
      *line = in->line;
      return RW_OK;
    }
    size_t len = nl ? (size_t)(nl - start) : have;
    in->pos += len + (nl != NULL);
    in->taken += len + (nl != NULL);
    in->line++;
    seen = 0;
    if (len > 0 && start[len - 1] == '\r') len--;
    size_t blank = 0;
    while (blank < len && (start[blank] == ' ' || start[blank] == '\t')) blank++;
    in->blank = blank == len ? in->blank + len + 1 : 0;
    RW_TRY(jsonl_fits(in, in->blank > len ? in->blank : len, in->line, err));
    if (blank == len) continue;
    *row = (slice){start, len};
    *line = in->line;
    return RW_OK;
  }
}

void jsonl_hold(jsonl_in *in) {
  in->held = true;
  if (lends_sum(in)) sha256_begin(&in->sum);
}

const char *jsonl_held(const jsonl_in *in, size_t *taken, size_t *unread) {
  *taken = in->pos;
  *unread = in->buf.len - in->pos;
  return in->buf.p;
}

sha256 *jsonl_sum(jsonl_in *in) { return lends_sum(in) ? &in->sum : NULL; }

bool jsonl_take(jsonl_in *in, str *text) {
  str full = in->buf;
  str_clear(text);
  if (full.p) str_add(text, full.p + in->pos, full.len - in->pos);
  if (text->oom) return false;
  in->buf = *text;
  in->pos = 0;
  *text = full;
  return true;
}

void jsonl_close(jsonl_in *in) {
  if (!in) return;
  if (in->z_open) inflateEnd(&in->z);
  ZSTD_freeDStream(in->zs);
  if (in->fd > STDIN_FILENO) close(in->fd);
  str_free(&in->buf);
  mem_free(in->raw);
  mem_free(in->path);
  mem_free(in);
}

const char *jsonl_label(const char *path) { return strcmp(path, "-") == 0 ? "<stdin>" : path; }

rw_context *jsonl_context(const jsonl_in *in) { return in->context; }

const char *jsonl_path(const jsonl_in *in) { return in->path; }

void jsonl_position(const jsonl_in *in, uint64_t *done, uint64_t *total) {
  *total = in->total;
  /* what is read and not yet taken counts as stored as densely as the rest */
  double ahead = (double)(in->buf.len - in->pos), taken = (double)in->taken;
  *done = taken > 0 ? (uint64_t)((double)in->stored * (taken / (taken + ahead))) : 0;
}

bool jsonl_begin(const jsonl_in *in, slice bytes) {
  return in->how == PLAIN && in->buf.len >= bytes.len && memcmp(in->buf.p, bytes.p, bytes.len) == 0;
}

bool jsonl_packed(const jsonl_in *in) { return in->how != PLAIN; }

/* ---- writing ---- */

struct jsonl_out {
  file_out *f;
  packing how;
  z_stream z;
  ZSTD_CStream *zs;
  bool z_open;
  char *packed; /* READ_BYTES */
  char *path;
};

rw_status jsonl_create(jsonl_out **out, const char *path, rw_error *err) {
  *out = NULL;
  jsonl_out *o = mem_zalloc(1, sizeof *o);
  if (!o) return rw_nomem(err, path);
  o->how = file_has_end(path, ".gz") ? GZIP : file_has_end(path, ".zst") ? ZSTD : PLAIN;
  o->path = mem_strndup(path, strlen(path));
  o->packed = mem_alloc(READ_BYTES, 1);
  bool ok = o->path && o->packed;
  /* no time stamp and no name in the gzip header: the same rows give the same bytes */
  if (ok && o->how == GZIP)
    ok = o->z_open = deflateInit2(&o->z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK;
  if (ok && o->how == ZSTD) ok = (o->zs = ZSTD_createCStream()) != NULL;
  rw_status s = ok ? file_out_open(&o->f, path, err) : rw_nomem(err, path);
  if (s)
    jsonl_abort(o);
  else
    *out = o;
  return s;
}

static rw_status put(jsonl_out *o, const char *p, size_t len, bool end, rw_error *err) {
  if (o->how == PLAIN) return file_out_write(o->f, p, len, err);
  if (o->how == GZIP) {
    o->z.next_in = (unsigned char *)p;
    o->z.avail_in = (unsigned)len;
    int r;
    do {
      o->z.next_out = (unsigned char *)o->packed;
      o->z.avail_out = READ_BYTES;
      r = deflate(&o->z, end ? Z_FINISH : Z_NO_FLUSH);
      RW_TRY(file_out_write(o->f, o->packed, READ_BYTES - o->z.avail_out, err));
    } while (o->z.avail_out == 0 || (end && r == Z_OK));
    return RW_OK;
  }
  ZSTD_inBuffer src = {p, len, 0};
  size_t r;
  do {
    ZSTD_outBuffer dst = {o->packed, READ_BYTES, 0};
    r = ZSTD_compressStream2(o->zs, &dst, &src, end ? ZSTD_e_end : ZSTD_e_continue);
    if (ZSTD_isError(r)) return rw_fail(err, RW_IO, "%s: zstd: %s", o->path, ZSTD_getErrorName(r));
    RW_TRY(file_out_write(o->f, o->packed, dst.pos, err));
  } while (end ? r != 0 : src.pos < src.size);
  return RW_OK;
}

rw_status jsonl_write(jsonl_out *o, const char *row, size_t len, rw_error *err) {
  for (; len > MAX_ROW; row += MAX_ROW, len -= MAX_ROW) RW_TRY(put(o, row, MAX_ROW, false, err));
  RW_TRY(put(o, row, len, false, err));
  return put(o, "\n", 1, false, err);
}

void jsonl_sum_written(jsonl_out *o, sha256 *sum) { file_out_sum(o->f, sum); }

rw_status jsonl_flush(jsonl_out *o, rw_error *err) {
  return o->f && o->how == PLAIN ? file_out_flush(o->f, err) : RW_OK;
}

static void out_free(jsonl_out *o) {
  if (o->z_open) deflateEnd(&o->z);
  ZSTD_freeCStream(o->zs);
  mem_free(o->packed);
  mem_free(o->path);
  mem_free(o);
}

rw_status jsonl_commit(jsonl_out *o, rw_error *err) {
  rw_status s = o->how == PLAIN ? RW_OK : put(o, "", 0, true, err);
  if (s)
    file_out_abort(o->f);
  else
    s = file_out_commit(o->f, err);
  out_free(o);
  return s;
}

void jsonl_abort(jsonl_out *o) {
  if (!o) return;
  file_out_abort(o->f);
  out_free(o);
}
