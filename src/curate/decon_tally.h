/* decon_tally.h - what the matches with a benchmark come to: a row's as JSON; over all rows the counts of both
 * sides, and the longest matches to look at. `reward decontaminate` and a recipe's decontaminate stage share it.
 */
#ifndef CURATE_DECON_TALLY_H
#define CURATE_DECON_TALLY_H

#include "curate/decontaminate.h"
#include "report/report.h"

typedef struct decon_tally decon_tally;
/* d and o are read until the last row. base_names: the benchmark's files by their names alone, so that the counts
 * do not tell where they lay; of equal names the second is "NAME (2)". */
rw_status decon_tally_new(decon_tally **out, const decon_index *d, const decon_options *o, bool base_names,
                          rw_error *err);
void decon_tally_free(decon_tally *t); /* NULL is fine */

/* On any thread: appends a training row's source (origin) and matches, for decon_tally_row. */
void decon_tally_put(str *out, slice origin, const decon_match *m, size_t n);
/* On one thread, row by row in order: counts what was put of a row. *list: its matches as a JSON list, inside of
 * `put`; len 0: it has none. name: how the page calls the row; NULL: by its number. */
rw_status decon_tally_row(decon_tally *t, slice put, const char *name, slice *list, rw_error *err);

decon_counts decon_tally_counts(const decon_tally *t);
/* The counts as members of an object. line: what begins each of them but the first: a newline and its indent. */
void decon_tally_json(const decon_tally *t, const char *line, str *out);
/* The counts as facts and tables, and the longest matches side by side, worst first. */
void decon_tally_page(const decon_tally *t, rep_page *p);

#endif
