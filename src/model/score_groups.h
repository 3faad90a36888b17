/* score_groups.h - all rows of a file in memory, put in an order in which rows of the same group stand together.
 *
 * A group is made of one-candidate rows with the same value of a field. Groups come in the order of their first
 * rows; a row without the field, or of another kind, is a group by itself. Output rows are handed back in the
 * order of the file.
 */
#ifndef MODEL_SCORE_GROUPS_H
#define MODEL_SCORE_GROUPS_H

#include "format/rows.h"

typedef struct score_groups score_groups;
rw_status score_groups_read(score_groups **out, rows_in *in, const char *field, rw_error *err);
void score_groups_free(score_groups *g); /* NULL is fine */
/* The next row in the order of the file; row->p NULL: no more. */
void score_groups_kept(score_groups *g, slice *row, uint64_t *line);
size_t score_groups_size(const score_groups *g);
size_t score_groups_grouped(const score_groups *g); /* rows that have the field and one candidate */
/* Begins the grouped order over all groups that have a row which score_groups_kept has not given. */
rw_status score_groups_begin(score_groups *g, rw_error *err);
/* The next row in the grouped order; row->p NULL: no more. joins: of the group of the row before. */
void score_groups_next(score_groups *g, slice *row, uint64_t *line, bool *joins);
/* Does the next row join the last one? */
bool score_groups_more(const score_groups *g);
/* The row that was given `back` rows before the last one (0: the last itself): has score_groups_kept given it,
 * too, for the sake of others of its group? */
bool score_groups_was_kept(const score_groups *g, size_t back);
/* Takes the output of that row. */
rw_status score_groups_put(score_groups *g, size_t back, const char *text, size_t len, rw_error *err);
/* The next output row in the order of the file that is there; p NULL: none yet. Valid until the next call. */
slice score_groups_take(score_groups *g);

#endif
