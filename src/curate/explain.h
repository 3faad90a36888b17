/* explain.h - --explain: the pairs of one row, followed through the stages. */
#ifndef CURATE_EXPLAIN_H
#define CURATE_EXPLAIN_H

#include "curate/curation.h"

/* Before the stages (an id that nothing has is RW_DATA); after each; the whole. */
rw_status explain_find(curation *r, rw_error *err);
void explain_stage(curation *r, const stage *s);
void explain_end(const curation *r, str *out);
void explain_free(curation *r);

#endif
