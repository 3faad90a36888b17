/* jsonl.h - files of lines, plain or packed: the rows of JSONL for rows.c, and what waits for parquet_out.c.
 *
 * As rows.h says of rows, whose functions have the same names.
 */
#ifndef FORMAT_JSONL_H
#define FORMAT_JSONL_H

#include "base/context.h"
#include "base/file.h"
#include "base/sha256.h"

typedef struct jsonl_in jsonl_in;
rw_status jsonl_open(jsonl_in **in, const char *path, rw_context *context, rw_error *err);
/* The SHA-256 of the file's bytes is taken as they are read; jsonl_hash: that of a regular file, at its end. */
rw_status jsonl_open_hashed(jsonl_in **in, const char *path, rw_context *context, rw_error *err);
bool jsonl_hash(const jsonl_in *in, char out[SHA256_HEX]);
void jsonl_lines(jsonl_in *in); /* before the first row: they are lines, also where the first begins with [ */
rw_status jsonl_next(jsonl_in *in, slice *row, uint64_t *line, rw_error *err);
/* As rows_hold and its like in rows.h. */
void jsonl_hold(jsonl_in *in);
const char *jsonl_held(const jsonl_in *in, size_t *taken, size_t *unread);
sha256 *jsonl_sum(jsonl_in *in);
bool jsonl_take(jsonl_in *in, str *text);
/* May a row have so many bytes? RW_DATA of the line, by the context's max_row_bytes. */
rw_status jsonl_fits(const jsonl_in *in, size_t len, uint64_t line, rw_error *err);
void jsonl_close(jsonl_in *in); /* NULL is fine */
rw_context *jsonl_context(const jsonl_in *in);
const char *jsonl_path(const jsonl_in *in);
const char *jsonl_label(const char *path);
void jsonl_position(const jsonl_in *in, uint64_t *done, uint64_t *total);
/* Before the first row: are these the file's first bytes? Is it packed? */
bool jsonl_begin(const jsonl_in *in, slice bytes);
bool jsonl_packed(const jsonl_in *in);

typedef struct jsonl_out jsonl_out;
rw_status jsonl_create(jsonl_out **out, const char *path, rw_error *err); /* .gz, .zst by name */
rw_status jsonl_write(jsonl_out *out, const char *row, size_t len, rw_error *err);
void jsonl_sum_written(jsonl_out *out, sha256 *sum); /* as file_out_sum */
rw_status jsonl_flush(jsonl_out *out, rw_error *err);
rw_status jsonl_commit(jsonl_out *out, rw_error *err);
void jsonl_abort(jsonl_out *out);

#endif
