/* score_part.h - one part of a file's scored rows on disk, for score_parts.c.
 *
 * OUT.parts/NNNNNN: a first line with the record of what made it, the rows as they will stand in OUT, and a last
 * line with counts and the hash of the input rows. It is a journal (format/journal.h) until it is whole.
 */
#ifndef MODEL_SCORE_PART_H
#define MODEL_SCORE_PART_H

#include "model/score_filing.h"

/* What is said of parts when all are there. */
typedef struct {
  score_file_counts counts;
  render_notes notes;
  own_field own[SCORE_FIELDS];
  bad_row bad[SHOWN_BAD_ROWS];
  size_t n_bad;
} part_sum;

char *part_folder(const char *output);
/* The name of a part, and the record that it begins with; the caller frees both. NULL: no memory. */
char *part_path(const char *output, size_t part);
char *part_record(const filing *r, size_t part);

/* Ends the part that r has scored, notes being what rendering noticed in it, and frees r's journal. */
rw_status part_end(filing *r, const render_notes *notes, rw_error *err);

/* A part that is there. RW_USAGE: it has another record. RW_DATA: it is cut. */
typedef struct {
  char *path;
  rows_in *rows;
  size_t n;               /* rows */
  char input[SHA256_HEX]; /* SHA-256 of the input rows, each behind its length */
} part_in;
/* Opens it and adds what stands in its last line to sum. */
rw_status part_open(part_in *p, const filing *r, size_t part, part_sum *sum, rw_error *err);
rw_status part_copy(part_in *p, rows_out *out, rw_error *err);
void part_close(part_in *p);

#endif
