/* plan.h - the stages of a run with their counts, in words: --dry-run. */
#ifndef CURATE_PLAN_H
#define CURATE_PLAN_H

#include "curate/curation.h"

void curation_plan(const curation *r, str *out);

#endif
