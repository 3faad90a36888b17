/* rows.c - row files by what they are: JSONL by jsonl.c, Parquet by parquet_in.c and parquet_out.c. */
#include "format/rows.h"

#include <string.h>

#include "format/jsonl.h"
#include "format/parquet_rows.h"

/* ---- reading ---- */

struct rows_in {
  jsonl_in *jsonl;     /* of a Parquet file: its path and size, no rows */
  parquet_in *parquet; /* NULL: JSONL */
  uint64_t line;       /* of Parquet */
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

rw_status rows_open(rows_in **out, const char *path, rw_context *context, rw_error *err) {
  *out = NULL;
  rows_in *in = mem_zalloc(1, sizeof *in);
  if (!in) return rw_nomem(err, path);
  rw_status s = jsonl_open(&in->jsonl, path, context, err);
  if (!s) s = open_parquet(in, path, err);
  if (s)
    rows_close(in);
  else
    *out = in;
  return s;
}

rw_status rows_next(rows_in *in, slice *row, uint64_t *line, rw_error *err) {
  if (!in->parquet) return jsonl_next(in->jsonl, row, line, err);
  rw_status s = parquet_in_next(in->parquet, row, err);
  *line = in->line += row->p != NULL;
  return s ? s : jsonl_fits(in->jsonl, row->len, in->line, err);
}

void rows_close(rows_in *in) {
  if (!in) return;
  parquet_in_close(in->parquet);
  jsonl_close(in->jsonl);
  mem_free(in);
}

const char *rows_label(const char *path) { return jsonl_label(path); }
rw_context *rows_context(const rows_in *in) { return jsonl_context(in->jsonl); }
const char *rows_path(const rows_in *in) { return jsonl_path(in->jsonl); }

void rows_position(const rows_in *in, uint64_t *done, uint64_t *total) {
  jsonl_position(in->jsonl, done, total);
  if (in->parquet) *done = (uint64_t)((double)*total * parquet_in_done(in->parquet));
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
