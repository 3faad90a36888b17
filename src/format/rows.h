/* rows.h - row files in and out: JSONL, plain or .gz or .zst, and Parquet; "-" is stdin or stdout. In also: one
 * JSON array of rows, a folder's split (rows_folder.h), and .txt files, each line of which is a row {"text": …}.
 *
 * Rows come as the bytes of one JSON object, without the newline. Blank lines are skipped but counted in
 * the line numbers; of an array and of a Parquet file the number of the row is its line. A UTF-8 byte order mark at
 * the start is skipped. Input that ends without a newline is fine. Compression is known by content when reading, by
 * name when writing. A record of a Parquet file is the row that a JSONL file of the same data would have. Parquet
 * is read from files only. The files of a folder are read in the order of their names, and their lines count on.
 */
#ifndef FORMAT_ROWS_H
#define FORMAT_ROWS_H

#include "base/context.h"
#include "base/file.h"
#include "base/sha256.h"
#include "format/json.h"

typedef struct rows_in rows_in;
rw_status rows_open(rows_in **in, const char *path, rw_context *context, rw_error *err);
/* A file of this program's own: lines, whatever they begin with. */
rw_status rows_open_lines(rows_in **in, const char *path, rw_context *context, rw_error *err);
/* Takes the SHA-256 of the file's bytes as they are read. */
rw_status rows_open_hashed(rows_in **in, const char *path, rw_context *context, rw_error *err);
/* It, once all rows are read; false where the input is not one regular file that is read from front to end, as
 * Parquet is not. */
bool rows_hash(const rows_in *in, char out[SHA256_HEX]);
/* The next row; *line counts from 1. RW_OK with row->p NULL at the end. The bytes stay valid until the next
 * call. A truncated compressed file is an error, not an end. */
rw_status rows_next(rows_in *in, slice *row, uint64_t *line, rw_error *err);
/* From now on rows stay where they are, one behind the other in a buffer, until rows_take gives it away and goes on
 * in text's. rows_held: where it begins, which rows_next may change, and how much of it rows have taken and have
 * not. False where rows are made anew (Parquet, .txt) or are of several files. */
bool rows_hold(rows_in *in);
const char *rows_held(const rows_in *in, size_t *taken, size_t *unread);
bool rows_take(rows_in *in, str *text); /* false: no memory */
/* Of a file that is hashed, plain lines and held since before its first row: its sum, to which the holder adds what
 * rows have taken of each buffer, in their order. NULL: the sum is taken while the file is read. */
sha256 *rows_sum(rows_in *in);
void rows_close(rows_in *in);
rw_context *rows_context(const rows_in *in);
bool rows_packed(const rows_in *in);      /* the file that is read now */
const char *rows_path(const rows_in *in); /* for messages; "<stdin>" for "-" */
/* The file that a line of the input stands in, for messages; *line becomes the file's own. */
const char *rows_file(const rows_in *in, uint64_t *line);
/* Of the file's bytes; of a folder, of the files' sums. */
rw_status rows_sha256(const char *path, char out[SHA256_HEX], rw_error *err);
const char *rows_label(const char *path); /* the same of a path that is not open */
/* Bytes of the input (as stored) that the rows so far took up, about, and in all (0: unknown), for progress. */
void rows_position(const rows_in *in, uint64_t *done, uint64_t *total);

typedef struct rows_out rows_out;
rw_status rows_create(rows_out **out, const char *path, rw_error *err); /* .gz, .zst, .parquet by name */
/* Where all rows must fit each other (Parquet; else *out is NULL): writes nothing, but rows_write tells of each row
 * whether rows_create's would take it beside those before. Ended by rows_abort. */
rw_status rows_check(rows_out **out, const char *path, rw_error *err);
/* Parquet as Hugging Face lays it out: STEM-00000-of-0000N.parquet, all with the same columns, each of about
 * shard_bytes of rows as JSON. rows_commit sets *n to N and lets them appear together, after all are whole. */
rw_status rows_create_shards(rows_out **out, const char *stem, uint64_t shard_bytes, size_t *n, rw_error *err);
char *rows_shard(const char *stem, size_t k,
                 size_t n); /* the name of shard k; freed by mem_free; NULL: no memory */
rw_status rows_write(rows_out *out, const char *row, size_t len, rw_error *err); /* adds the newline */
/* Before the first row: takes the SHA-256 of the file's bytes as they are written; *sum has it once they are
 * committed. False: not of Parquet. */
bool rows_sum_written(rows_out *out, sha256 *sum);
rw_status rows_flush(rows_out *out, rw_error *err);  /* sends on what is written so far, unless it is packed */
rw_status rows_commit(rows_out *out, rw_error *err); /* whole under its final name, or an error; frees out */
void rows_abort(rows_out *out);                      /* nothing is left; NULL is fine */

/* What work() has at hand for a row. */
typedef struct {
  json_doc *doc; /* to parse the row into; work's own until it returns */
  arena *mem;    /* for this row alone: emptied before each */
  arena *keep;   /* for what the result points to: stays until sink has had it */
  void *own;     /* the thread's lane_size bytes */
} rows_lane;
/* A copy of the bytes in lane->keep; p NULL: no memory. Of no bytes (p NULL) an empty one. */
slice rows_keep(rows_lane *lane, slice bytes);

/* An ordered parallel pass over a file. Each row is given to work() on some thread, which fills the row's result;
 * results are handed to sink() in row order, on the calling thread, while other threads work on later rows: work()
 * may read nothing that sink() writes. Memory stays bounded. The first failure in row
 * order ends the pass, after the rows before it have been handed on; work's gets the row's FILE:LINE before it. The
 * file must have been opened with a context. */
typedef struct {
  size_t result_size;                                          /* bytes of a row's result; zeroed before work */
  size_t lane_size;                                            /* bytes of a thread's own, zeroed; 0: it has none */
  rw_status (*lane_open)(void *ctx, void *own, rw_error *err); /* NULL: zeroes will do */
  void (*lane_close)(void *ctx, void *own); /* ends each lane, on the calling thread, also one that lane_open has
                                               not seen or not finished; NULL: nothing to do */
  rw_status (*work)(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *err);
  rw_status (*sink)(void *ctx, slice row, uint64_t line, void *result, rw_error *err);
  void *ctx;
  bool sink_runs_pool; /* sink() gives the pool tasks of its own: then nobody works meanwhile */
  bool results_alone;  /* sink() gets no row: of files that wait for their turn no texts are kept */
} rows_job;
rw_status rows_map(rows_in *in, const rows_job *job, rw_error *err);

/* One file after another, as if by rows_map: sink() has the rows of a file after all of the file before. But files
 * are read at once where one reader cannot keep the threads busy. */
typedef struct {
  const char *path; /* NULL: of `in`, which is open, and stays */
  rows_in *in;
  bool hashed;         /* rows_open_hashed */
  bool sink_runs_pool; /* as in the job, of this file */
  void *ctx;           /* of work() and sink() for its rows; lanes have the job's */
  /* On the calling thread: before it is opened, perhaps before the files before it are all handed on (*wanted
   * false: it need not be read); and after its last row was handed on. NULL: nothing to do. */
  rw_status (*begin)(void *ctx, bool *wanted, rw_error *err);
  rw_status (*end)(void *ctx, const rows_in *in, rw_error *err);
  /* Is the row worked on and handed on? Asked in the order of lines, of one at a time. NULL: all are. */
  bool (*wants)(void *ctx, uint64_t line);
} rows_file_job;
rw_status rows_map_files(const rows_file_job *files, size_t n, const rows_job *job, rw_context *context,
                         rw_error *err);

#endif
