/* pair_rows.h - for the sources whose rows are pairs already: one conversation chosen, one rejected, in any of the
 * forms that rows may have (data/conversation.h). */
#ifndef CURATE_SOURCES_PAIR_ROWS_H
#define CURATE_SOURCES_PAIR_ROWS_H

#include "curate/source.h"

/* scan(), and the row as it was read. */
rw_status pair_rows_read(json_doc *d, arena *a, conv_row *row, scan *s, rw_error *err);
rw_status pair_rows_scan(json_doc *d, arena *a, scan *s, rw_error *err);
/* The same, but no pair where the row's own scores are equal, or the other way round. */
rw_status pair_rows_scan_scored(json_doc *d, arena *a, scan *s, const char *chosen, const char *rejected,
                                rw_error *err);
rw_status pair_rows_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err);
/* The same of chosen and rejected alone, where these are whole conversations. */
rw_status pair_rows_scan_whole(json_doc *d, arena *a, scan *s, rw_error *err);
rw_status pair_rows_text_whole(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err);

#endif
