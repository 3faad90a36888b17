/* score_filing.h - rows of a file on their way through a scorer, for score_file.c and score_parts.c: all rows of
 * the file, or those of one part after the other.
 */
#ifndef MODEL_SCORE_FILING_H
#define MODEL_SCORE_FILING_H

#include "base/log.h"
#include "base/sha256.h"
#include "format/journal.h"
#include "model/score_file.h"
#include "model/score_groups.h"
#include "model/score_row.h"

enum { SHOWN_BAD_ROWS = 5 };

/* Why a row was not scored. */
typedef struct {
  uint64_t line;
  char error[256];
} bad_row;

typedef struct {
  const score_file_options *o;
  score_form form;
  rw_context *context;
  rows_in *in;
  slice held; /* p not NULL: a row that was read and is to come next */
  uint64_t held_line;
  size_t left;  /* rows of the part that are not read yet; SIZE_MAX: rows until the end, and there are no parts */
  sha256 input; /* the part's rows so far */
  score_groups *groups; /* NULL: rows are taken as they come */
  rows_out *out;        /* stdout and devices; else: */
  journal *journal;     /* finished rows */
  score_row *rows;      /* [cap_rows], of which n_rows are ready for use */
  bool *joins;
  score_item *items;
  size_t *item_row; /* SIZE_MAX: the row has no item */
  size_t n_rows, cap_rows, cap_joins, cap_items, cap_item_row, chunk_rows;
  score_file_counts counts;    /* the file's, or the part's */
  bad_row bad[SHOWN_BAD_ROWS]; /* the part's first */
  size_t n_bad;
  progress shown; /* its context NULL: none is shown */
  size_t before;  /* rows before the part */
  str identity;   /* what the scores depend on */
  json_writer identity_writer;
  bool identified; /* identity is whole, and the journal begins with it */
  double began;
  uint64_t tokens;
} filing;

/* filing_free frees what it comes to hold. */
void filing_begin(filing *r, scorer *s, rows_in *in, const score_file_options *o);
void filing_free(filing *r);
/* Makes the whole identity. */
rw_status filing_identify(filing *r, rw_error *err);
/* The next row of the file or the part; row->p NULL: no more. */
rw_status filing_next(filing *r, slice *row, uint64_t *line, rw_error *err);
/* Takes what the journal has kept, and scores the rows after it. */
rw_status filing_rows(filing *r, rw_error *err);
/* Shows r->before and `done` more rows as done. */
void filing_show(filing *r, size_t done);
/* Writes OUT.run.json. */
rw_status filing_write_record(filing *r, const score_file_counts *c, rw_error *err);
/* What there is to say of scored rows at the end: `n` and `own` of these rows, tokens of this run. */
void filing_say(const filing *r, const score_file_counts *c, const render_notes *n, const own_field *own,
                double seconds);

#endif
