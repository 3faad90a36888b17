/* rows.c - row files by what they are: JSONL and arrays by jsonl.c, Parquet by parquet_in.c and parquet_out.c,
 * folders by rows_folder.c. The files of a folder are read as one: their lines count on. */
#include "format/rows.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "base/sha256.h"
#include "format/json_write.h"
#include "format/jsonl.h"
#include "format/parquet_rows.h"
#include "format/rows_folder.h"

/* ---- reading ---- */

struct rows_in {
  jsonl_in *jsonl;     /* a Parquet file's has its path and size, no rows */
  parquet_in *parquet; /* NULL: JSONL */
  uint64_t line;       /* Parquet's */
  bool texts;          /* a .txt file: each line is a text */
  str row;             /* such a line as a row */
  arena *mem;
  rw_context *context;
  bool hashed;
  rows_files files;
  atomic_size_t at;   /* the file that is read; rows_map's other threads ask rows_file meanwhile */
  uint64_t *first;    /* [files.n]: lines of the files before; up to `at` */
  const char *path;   /* as the caller named it, or the only file */
  uint64_t done, all; /* bytes of the files before, and of all */
};

/* Known by the first bytes. */
static rw_status open_parquet(rows_in *in, const char *path, rw_error *err) {
  const char *name = jsonl_path(in->jsonl);
  uint64_t done, total;
  jsonl_position(in->jsonl, &done, &total);
  if (jsonl_begin(in->jsonl, SLICE("PAR1"))) {
    if (total == 0)
      return rw_fail(err, RW_UNSUPPORTED, "%s: Parquet is read from its end: expected a file, got a pipe", name);
    return parquet_in_open(&in->parquet, strcmp(path, "-") == 0 ? "/dev/stdin" : path, err);
  }
  if (!jsonl_packed(in->jsonl) && file_has_end(name, ".parquet"))
    return rw_fail(err, RW_DATA, "%s: expected a Parquet file, which begins with PAR1, got another; fetch it again",
                   name);
  return RW_OK;
}

static rw_status open_file(rows_in *in, rw_error *err) {
  const char *path = in->files.paths[in->at];
  in->line = 0;
  in->texts = file_has_end(path, ".txt") || file_has_end(path, ".txt.gz") || file_has_end(path, ".txt.zst");
  RW_TRY((in->hashed ? jsonl_open_hashed : jsonl_open)(&in->jsonl, path, in->context, err));
  if (in->texts) jsonl_lines(in->jsonl);
  return in->texts ? RW_OK : open_parquet(in, path, err);
}

static void close_file(rows_in *in) {
  parquet_in_close(in->parquet);
  jsonl_close(in->jsonl);
  in->parquet = NULL;
  in->jsonl = NULL;
}

static rw_status open_all(rows_in *in, const char *path, rw_error *err) {
  if (!(in->mem = arena_new())) return rw_nomem(err, path);
  RW_TRY(rows_files_of(&in->files, path, in->mem, err));
  in->path = in->files.n == 1 ? in->files.paths[0] : arena_strndup(in->mem, path, strlen(path));
  in->first = arena_alloc(in->mem, in->files.n, sizeof *in->first);
  if (!in->path || !in->first) return rw_nomem(err, path);
  struct stat st;
  for (size_t i = 0; in->files.n > 1 && i < in->files.n; i++)
    in->all += stat(in->files.paths[i], &st) == 0 ? (uint64_t)st.st_size : 0;
  return open_file(in, err);
}

static rw_status open_as(rows_in **out, const char *path, bool hashed, rw_context *context, rw_error *err) {
  *out = NULL;
  rows_in *in = mem_zalloc(1, sizeof *in);
  if (!in) return rw_nomem(err, path);
  in->context = context;
  in->hashed = hashed;
  rw_status s = open_all(in, path, err);
  if (s)
    rows_close(in);
  else
    *out = in;
  return s;
}

rw_status rows_open(rows_in **out, const char *path, rw_context *context, rw_error *err) {
  return open_as(out, path, false, context, err);
}

rw_status rows_open_hashed(rows_in **out, const char *path, rw_context *context, rw_error *err) {
  return open_as(out, path, true, context, err);
}

bool rows_hash(const rows_in *in, char out[SHA256_HEX]) {
  return in->files.n == 1 && !in->parquet && jsonl_hash(in->jsonl, out);
}

rw_status rows_open_lines(rows_in **out, const char *path, rw_context *context, rw_error *err) {
  RW_TRY(rows_open(out, path, context, err));
  jsonl_lines((*out)->jsonl);
  return RW_OK;
}

static rw_status next_text(rows_in *in, slice *row, uint64_t *line, rw_error *err) {
  json_writer w = {.out = &in->row};
  slice text;
  RW_TRY(jsonl_next(in->jsonl, &text, line, err));
  *row = (slice){0};
  if (!text.p) return RW_OK;
  str_clear(&in->row);
  jw_object(&w, NULL);
  jw_slice(&w, "text", text);
  jw_end(&w);
  if (in->row.oom) return rw_nomem(err, "a row");
  *row = (slice){in->row.p, in->row.len};
  return RW_OK;
}

static rw_status next_of_file(rows_in *in, slice *row, uint64_t *line, rw_error *err) {
  if (in->texts) return next_text(in, row, line, err);
  if (!in->parquet) return jsonl_next(in->jsonl, row, line, err);
  rw_status s = parquet_in_next(in->parquet, row, err);
  *line = in->line += row->p != NULL;
  return s ? s : jsonl_fits(in->jsonl, row->len, in->line, err);
}

rw_status rows_next(rows_in *in, slice *row, uint64_t *line, rw_error *err) {
  for (;;) {
    RW_TRY(next_of_file(in, row, line, err));
    *line += in->first[in->at];
    if (row->p || in->at + 1 == in->files.n) return RW_OK;
    uint64_t done, total;
    jsonl_position(in->jsonl, &done, &total);
    in->done += total;
    in->first[in->at + 1] = *line;
    close_file(in);
    in->at++;
    RW_TRY(open_file(in, err));
  }
}

bool rows_hold(rows_in *in) {
  bool can = in->files.n == 1 && !in->parquet && !in->texts;
  if (can) jsonl_hold(in->jsonl);
  return can;
}

const char *rows_held(const rows_in *in, size_t *taken, size_t *unread) {
  return jsonl_held(in->jsonl, taken, unread);
}
sha256 *rows_sum(rows_in *in) { return jsonl_sum(in->jsonl); }
bool rows_take(rows_in *in, str *text) { return jsonl_take(in->jsonl, text); }

void rows_close(rows_in *in) {
  if (!in) return;
  close_file(in);
  arena_free(in->mem);
  str_free(&in->row);
  mem_free(in);
}

const char *rows_file(const rows_in *in, uint64_t *line) {
  size_t k = in->at;
  while (k > 0 && *line <= in->first[k]) k--;
  *line -= in->first[k];
  return rows_label(in->files.paths[k]);
}

rw_status rows_sha256(const char *path, char out[SHA256_HEX], rw_error *err) {
  rows_files f = {0};
  sha256 all;
  arena *a = arena_new();
  rw_status s = a ? rows_files_of(&f, path, a, err) : rw_nomem(err, path);
  sha256_begin(&all);
  for (size_t i = 0; !s && i < f.n; i++) {
    s = sha256_file(f.paths[i], out, err);
    if (!s && f.n > 1) sha256_add(&all, out, SHA256_HEX - 1);
  }
  if (!s && f.n > 1) sha256_end_hex(&all, out);
  arena_free(a);
  return s;
}

const char *rows_label(const char *path) { return jsonl_label(path); }
bool rows_packed(const rows_in *in) { return jsonl_packed(in->jsonl); }
rw_context *rows_context(const rows_in *in) { return in->context; }
const char *rows_path(const rows_in *in) { return rows_label(in->path); }

void rows_position(const rows_in *in, uint64_t *done, uint64_t *total) {
  jsonl_position(in->jsonl, done, total);
  if (in->parquet) *done = (uint64_t)((double)*total * parquet_in_done(in->parquet));
  *done += in->done;
  if (in->all) *total = in->all;
}

/* ---- writing ---- */

struct rows_out {
  jsonl_out *jsonl;
  parquet_out *parquet; /* one of the two; of rows_check it tells only */
};

static rw_status created(rows_out **out, rows_out *o, rw_status s) {
  if (s)
    mem_free(o);
  else
    *out = o;
  return s;
}

rw_status rows_create_shards(rows_out **out, const char *stem, uint64_t shard_bytes, size_t *n, rw_error *err) {
  *out = NULL;
  rows_out *o = mem_zalloc(1, sizeof *o);
  if (!o) return rw_nomem(err, stem);
  return created(out, o, parquet_out_shards(&o->parquet, stem, shard_bytes, n, err));
}

rw_status rows_check(rows_out **out, const char *path, rw_error *err) {
  *out = NULL;
  if (!file_has_end(path, ".parquet")) return RW_OK;
  rows_out *o = mem_zalloc(1, sizeof *o);
  if (!o) return rw_nomem(err, path);
  return created(out, o, parquet_out_check(&o->parquet, path, err));
}

rw_status rows_create(rows_out **out, const char *path, rw_error *err) {
  *out = NULL;
  rows_out *o = mem_zalloc(1, sizeof *o);
  if (!o) return rw_nomem(err, path);
  return created(out, o,
                 file_has_end(path, ".parquet") ? parquet_out_open(&o->parquet, path, err)
                                                : jsonl_create(&o->jsonl, path, err));
}

char *rows_shard(const char *stem, size_t k, size_t n) { return parquet_shard(stem, k, n); }

rw_status rows_write(rows_out *o, const char *row, size_t len, rw_error *err) {
  return o->parquet ? parquet_out_write(o->parquet, row, len, err) : jsonl_write(o->jsonl, row, len, err);
}

bool rows_sum_written(rows_out *o, sha256 *sum) {
  sha256_begin(sum);
  if (o->jsonl) jsonl_sum_written(o->jsonl, sum);
  return o->jsonl != NULL;
}

rw_status rows_flush(rows_out *o, rw_error *err) { return o->jsonl ? jsonl_flush(o->jsonl, err) : RW_OK; }

rw_status rows_commit(rows_out *o, rw_error *err) {
  rw_status s = o->parquet ? parquet_out_commit(o->parquet, err) : jsonl_commit(o->jsonl, err);
  mem_free(o);
  return s;
}

void rows_abort(rows_out *o) {
  if (!o) return;
  parquet_out_abort(o->parquet);
  jsonl_abort(o->jsonl);
  mem_free(o);
}
