/* decon_tally.h - what the matches with a benchmark come to: a row's as JSON; over all rows the counts of both
 * sides, and the longest matches to look at. `reward decontaminate` and a recipe's decontaminate stage share it.
 */
#ifndef CURATE_DECON_TALLY_H
#define CURATE_DECON_TALLY_H

#include "curate/decontaminate.h"
#include "format/json_write.h"
#include "report/report.h"

/* What was found of a training row. */
typedef struct {
  slice origin; /* its source */
  const decon_match *m;
  size_t n; /* 0: it is clean */
} decon_found;
/* Fills *out from the row just checked; all that it points to is copied to `keep`. false: no memory. */
bool decon_found_keep(decon_found *out, arena *keep, const conv_row *row, const decon_match *m, size_t n);
/* The matches as a list of objects. */
void decon_found_json(const decon_found *f, json_writer *w, const char *name);

typedef struct {
  size_t train_rows, contaminated, bench_rows, matched;
} decon_counts;

typedef struct decon_tally decon_tally;
/* d and o are read until the last row. base_names: the benchmark's files by their names alone, so that the counts
 * do not tell where they lay; of equal names the second is "NAME (2)". */
rw_status decon_tally_new(decon_tally **out, const decon_index *d, const decon_options *o, bool base_names,
                          rw_error *err);
void decon_tally_free(decon_tally *t); /* NULL is fine */

/* Row by row in order. name: how the page calls the row; NULL: by its number. */
rw_status decon_tally_row(decon_tally *t, const decon_found *f, const char *name, rw_error *err);

decon_counts decon_tally_counts(const decon_tally *t);
/* The counts as members of the object that is open. */
void decon_tally_json(const decon_tally *t, json_writer *w);
/* The counts as facts and tables, and the longest matches side by side, worst first. */
void decon_tally_page(const decon_tally *t, rep_page *p);

#endif
