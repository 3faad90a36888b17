/* parquet_plugin.c - parquet.h by libreward-parquet.so (base/plugin.h). Nothing is remembered between calls. */
#include "format/parquet_plugin.h"

#include <string.h>

#include "base/plugin.h"
#include "format/parquet.h"

#define NAME_OF(x) #x
#define TEXT_OF(x) NAME_OF(x)

static rw_status missing(const char *what, const char *why, rw_error *err) {
  return rw_fail(err, RW_UNSUPPORTED,
                 "%s needs Arrow's library for Parquet: %s; run `make deps` and `make` (or use JSONL: plain, .gz, "
                 ".zst)",
                 what, why);
}

/* *out: the plugin's table. what: the file or option that needs it. */
static rw_status plugin(const parquet_plugin **out, const char *what, rw_error *err) {
  char why[512];
  void *library = plugin_open(PARQUET_PLUGIN, why, sizeof why);
  if (!library) return missing(what, why, err);
  *out = plugin_symbol(library, TEXT_OF(PARQUET_PLUGIN_TABLE));
  if (*out && strcmp((*out)->version, REWARD_VERSION) == 0) return RW_OK;
  plugin_close(library);
  return missing(what, PARQUET_PLUGIN " is of another version than this program", err);
}

rw_status parquet_check(const char *what, rw_error *err) {
  const parquet_plugin *by;
  return plugin(&by, what, err);
}

struct parquet_reader {
  const parquet_plugin *by;
  void *r;
};

rw_status parquet_reader_open(parquet_reader **out, const char *path, struct ArrowSchema *schema, uint64_t *rows,
                              rw_error *err) {
  const parquet_plugin *by;
  *out = NULL;
  *rows = 0;
  schema->release = NULL;
  RW_TRY(plugin(&by, path, err));
  parquet_reader *r = mem_zalloc(1, sizeof *r);
  if (!r) return rw_nomem(err, path);
  r->by = by;
  rw_status s = by->reader_open(&r->r, path, schema, rows, err);
  if (!s) *out = r;
  if (s) mem_free(r);
  return s;
}

rw_status parquet_reader_next(parquet_reader *r, struct ArrowArray *batch, rw_error *err) {
  return r->by->reader_next(r->r, batch, err);
}

void parquet_reader_close(parquet_reader *r) {
  if (r) r->by->reader_close(r->r);
  mem_free(r);
}

struct parquet_writer {
  const parquet_plugin *by;
  void *w;
};

rw_status parquet_writer_open(parquet_writer **out, file_out *f, const char *path, struct ArrowSchema *schema,
                              rw_error *err) {
  const parquet_plugin *by;
  *out = NULL;
  rw_status s = plugin(&by, path, err);
  parquet_writer *w = s ? NULL : mem_zalloc(1, sizeof *w);
  if (!w) {
    if (schema->release) schema->release(schema);
    return s ? s : rw_nomem(err, path);
  }
  w->by = by;
  s = by->writer_open(&w->w, f, file_out_write, path, schema, err);
  if (!s) *out = w;
  if (s) mem_free(w);
  return s;
}

rw_status parquet_writer_put(parquet_writer *w, struct ArrowArray *batch, rw_error *err) {
  return w->by->writer_put(w->w, batch, err);
}

rw_status parquet_writer_close(parquet_writer *w, bool finish, rw_error *err) {
  if (!w) return RW_OK;
  rw_status s = w->by->writer_close(w->w, finish, err);
  mem_free(w);
  return s;
}
