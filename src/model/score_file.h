/* score_file.h - a file of rows scored: the same rows out, in order, and what an interrupted run has finished kept.
 *
 * A file as output gets a journal (format/journal.h) first and OUT.run.json beside it: model, device, dtype,
 * limits, identity, counts. stdout, devices and pipes take rows as they come.
 */
#ifndef MODEL_SCORE_FILE_H
#define MODEL_SCORE_FILE_H

#include "base/option.h"
#include "format/rows.h"
#include "model/score.h"

typedef struct {
  const score_options *model; /* what the scorer was opened with: the record names what is in it */
  const char *output;         /* "-": stdout */
  bool resume;                /* goes on with what an interrupted run has left of output */
  bool best;                  /* adds "best" and "best_response" to rows with responses, and to grouped rows */
  const char *group_by;       /* one-candidate rows with the same value of this field share their computation, as
                                 one row's responses do, wherever they stand; NULL: none. All rows are held. */
  bool stream;                /* each row is answered before the next is read */
  const option *table; /* the options that were given; those that it says affect bits are part of the identity */
  const void *values;
  /* for score_parts alone: */
  int64_t part_rows;  /* input rows of a part */
  size_t task, tasks; /* this run of so many independent ones, from 1: parts task - 1, task - 1 + tasks, … are its;
                         0: all are */
} score_file_options;

typedef struct {
  size_t rows, failed, dropped, truncated;
} score_file_counts;

/* Scores the rows of `in`, which stays the caller's. Progress, notes and warnings go to the scorer's context. A row
 * that cannot be scored counts as failed, and RW_OK is returned all the same. */
rw_status score_file(scorer *s, rows_in *in, const score_file_options *o, score_file_counts *counts, rw_error *err);

/* The same by parts, which the context's ranks and the tasks of an array share: so many input rows, scored, as a
 * file of their own in the folder OUT.parts, whole or absent. What is there is not done again, whoever has done it,
 * so that runs on several machines share the work; parts of another model, other options or other rows are refused
 * by name. A run of all parts joins them to the bytes that score_file gives, and removes the folder; a task leaves
 * its parts there. Rows without group_by alone, and a file as output. */
rw_status score_parts(scorer *s, rows_in *in, const score_file_options *o, score_file_counts *counts,
                      rw_error *err);
bool score_parts_there(const char *output);                    /* is there a folder OUT.parts? */
rw_status score_parts_fail(const char *output, rw_error *err); /* RW_USAGE: there is, and nobody asked for it */

#endif
