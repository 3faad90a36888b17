/* parquet_rows.h - Parquet files as rows of JSON, for rows.c. */
#ifndef FORMAT_PARQUET_ROWS_H
#define FORMAT_PARQUET_ROWS_H

#include "base/file.h"

/* A record becomes one JSON object of its columns, in their order; a null is null, a float that is not finite too,
 * but "NaN", "Infinity" or "-Infinity" where the column is called margin.
 * Columns of times, decimals, bytes, maps and unions are refused by name when the file is opened. */
typedef struct parquet_in parquet_in;
rw_status parquet_in_open(parquet_in **in, const char *path, rw_error *err);
rw_status parquet_in_next(parquet_in *in, slice *row, rw_error *err); /* row->p NULL: the end */
double parquet_in_done(const parquet_in *in);                         /* share of the rows that was taken, 0 to 1 */
void parquet_in_close(parquet_in *in);                                /* NULL is fine */

/* The columns' types are those that hold every row's value: whole numbers and fractions together are f64; a string
 * beside a list, say, is RW_DATA with the row's number. A field that a row lacks reads back as null. Rows wait in a
 * compressed file beside path until all types are known. */
typedef struct parquet_out parquet_out;
rw_status parquet_out_open(parquet_out **out, const char *path, rw_error *err);
/* As rows_create_shards and rows_shard say. */
rw_status parquet_out_shards(parquet_out **out, const char *stem, uint64_t shard_bytes, size_t *n, rw_error *err);
char *parquet_shard(const char *stem, size_t k, size_t n);
/* Keeps no rows: tells only whether each would fit. Ended by parquet_out_abort. */
rw_status parquet_out_check(parquet_out **out, const char *path, rw_error *err);
rw_status parquet_out_write(parquet_out *out, const char *row, size_t len, rw_error *err);
rw_status parquet_out_commit(parquet_out *out, rw_error *err); /* frees out in either case */
void parquet_out_abort(parquet_out *out);

#endif
