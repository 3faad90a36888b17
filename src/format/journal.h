/* journal.h - rows that a long command has finished, kept beside its output until all are there.
 *
 * The first line of OUT.partial is the record of what made it; the finished rows follow as they will stand in OUT,
 * in plain JSONL. It survives interruption and kill -9 (a torn last line is dropped). commit turns it into OUT,
 * packed by OUT's name: an interrupted and resumed run gives the bytes of an uninterrupted one.
 */
#ifndef FORMAT_JOURNAL_H
#define FORMAT_JOURNAL_H

#include <stdbool.h>

#include "base/context.h"
#include "base/mem.h"
#include "base/status.h"

typedef struct journal journal;
/* Can OUT have one? Not stdout, nor a device or a pipe. */
bool journal_possible(const char *out);
/* path: OUT, which must be possible to make. resume: *kept tells whether an earlier run has left something to go on
 * with; else what is there goes. RW_USAGE while another process writes it. */
rw_status journal_open(journal **opened, const char *path, bool resume, bool *kept, rw_context *context,
                       rw_error *err);
/* What made the rows: a JSON object on one line, without newline. Of kept rows it must be the same, else RW_USAGE
 * names what differs. To be called once; rows do not survive before it, however often they are flushed. */
rw_status journal_begin(journal *j, slice record, rw_error *err);
/* The next row that an earlier run has left; row->p NULL: no more. All are read before the first write. */
rw_status journal_next(journal *j, slice *row, rw_error *err);
/* Adds the newline. RW_DATA: OUT is Parquet and cannot hold the row beside those before. */
rw_status journal_write(journal *j, const char *row, size_t len, rw_error *err);
rw_status journal_flush(journal *j, rw_error *err); /* from here on it survives */
/* Writes OUT and removes the journal; frees j. On failure the journal stays. */
rw_status journal_commit(journal *j, rw_error *err);
/* The other end: adds a last line, without its newline, and makes the journal itself, with its record, the file
 * OUT; frees j. */
rw_status journal_keep(journal *j, slice last, rw_error *err);
/* Is the record of path the wanted one? Else RW_USAGE names what differs. */
rw_status journal_same(const char *path, slice record, slice wanted, rw_error *err);
/* Closes it, to be gone on with; without a finished row it is removed. Frees j. */
rw_status journal_close(journal *j, rw_error *err);
/* The same after a failure; its path and count are said. NULL is fine. */
void journal_abort(journal *j);

#endif
