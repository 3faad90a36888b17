/* statistics.h - pairs, turns and tokens by source, and pairs by task category: Table 1 of the report for any rows.
 *
 * Tokens are of the messages' texts; turns and responses are means over chosen and rejected; a prompt is all that
 * stands before the response.
 */
#ifndef CURATE_STATISTICS_H
#define CURATE_STATISTICS_H

#include "format/json_write.h"
#include "text/tokenizer.h"

typedef struct {
  size_t pairs;
  double turns, prompt, response; /* sums over the pairs */
} statistics_sum;

typedef struct {
  slice *sources, *categories; /* in the order of the rows; a category as it was first written */
  statistics_sum *by_source, all;
  size_t *by_category; /* pairs */
  size_t n_sources, n_categories;
  struct statistics_names *names;
} statistics;

/* Counts the pairs of a file, "-" for stdin. RW_DATA: a row that is no pair. Also after an error the caller frees
 * *s. */
rw_status statistics_count(statistics *s, const char *path, const tokenizer *t, rw_context *context, rw_error *err);
void statistics_free(statistics *s);

/* Beside sources that are named as the report's own stand its numbers. */
void statistics_json(const statistics *s, json_writer *w);
rw_status statistics_tables(const statistics *s, str *out, rw_error *err);

#endif
