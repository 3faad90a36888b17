/* row.h - a pair as a row of the set: the one place that makes it JSON. */
#ifndef CURATE_ROW_H
#define CURATE_ROW_H

#include "curate/curation.h"

/* Reads the candidates that want[] marks; take() gets each one's row, in the order of curation_fetch. The JSON is
 * made on the threads and is gone when take() returns. */
rw_status curation_fetch_rows(curation *r, const uint8_t *want,
                              rw_status (*take)(void *ctx, size_t i, slice row, rw_error *err), void *ctx,
                              rw_error *err);

#endif
