/* parquet.h - Parquet files through Arrow's library, as columns of Arrow's C data interface.
 *
 * The library itself is behind a plugin (parquet_plugin.h): where that cannot be opened, these functions fail and
 * say why. No exception of Arrow's comes through.
 */
#ifndef FORMAT_PARQUET_H
#define FORMAT_PARQUET_H

#include "format/arrow_abi.h"

#include "base/file.h"
#include "base/status.h"

/* Can Parquet be read and written here? If not: RW_UNSUPPORTED, what is missing, and that `what` needs it. */
rw_status parquet_check(const char *what, rw_error *err);

typedef struct parquet_reader parquet_reader;
/* *rows: of the whole file. *schema: a struct whose children are the columns; the caller releases it. */
rw_status parquet_reader_open(parquet_reader **r, const char *path, struct ArrowSchema *schema, uint64_t *rows,
                              rw_error *err);
/* Some rows, fully checked (offsets, dictionary indices, UTF-8); released by the caller. length 0: the end. */
rw_status parquet_reader_next(parquet_reader *r, struct ArrowArray *batch, rw_error *err);
void parquet_reader_close(parquet_reader *r); /* NULL is fine */

typedef struct parquet_writer parquet_writer;
/* Writes to f, which stays the caller's. Takes schema, also when it fails. */
rw_status parquet_writer_open(parquet_writer **w, file_out *f, const char *path, struct ArrowSchema *schema,
                              rw_error *err);
/* One row group. Takes batch, also when it fails; its buffers are not looked at afterwards. */
rw_status parquet_writer_put(parquet_writer *w, struct ArrowArray *batch, rw_error *err);
/* finish: writes what closes the file. Frees w in either case; NULL is fine without finish. */
rw_status parquet_writer_close(parquet_writer *w, bool finish, rw_error *err);

#endif
