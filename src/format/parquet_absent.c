/* parquet_absent.c - what a build without Arrow's library says of Parquet files. */
#include "format/parquet.h"

bool parquet_available(void) { return false; }

static rw_status absent(const char *path, rw_error *err) {
  return rw_fail(err, RW_UNSUPPORTED,
                 "%s: Parquet needs Arrow's library, which this build was made without; run `make deps` and `make` "
                 "(or use JSONL: plain, .gz, .zst)",
                 path);
}

rw_status parquet_reader_open(parquet_reader **r, const char *path, struct ArrowSchema *schema, uint64_t *rows,
                              rw_error *err) {
  *r = NULL;
  *rows = 0;
  schema->release = NULL;
  return absent(path, err);
}

rw_status parquet_reader_next(parquet_reader *r, struct ArrowArray *batch, rw_error *err) {
  (void)r;
  batch->release = NULL;
  return absent("Parquet", err);
}

void parquet_reader_close(parquet_reader *r) { (void)r; }

rw_status parquet_writer_open(parquet_writer **w, file_out *f, const char *path, struct ArrowSchema *schema,
                              rw_error *err) {
  (void)f;
  *w = NULL;
  if (schema->release) schema->release(schema);
  return absent(path, err);
}

rw_status parquet_writer_put(parquet_writer *w, struct ArrowArray *batch, rw_error *err) {
  (void)w;
  if (batch->release) batch->release(batch);
  return absent("Parquet", err);
}

rw_status parquet_writer_close(parquet_writer *w, bool finish, rw_error *err) {
  (void)w;
  return finish ? absent("Parquet", err) : RW_OK;
}
