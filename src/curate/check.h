/* check.h - what can be known to be wrong before anything is read or written. */
#ifndef CURATE_CHECK_H
#define CURATE_CHECK_H

#include "curate/curation.h"

rw_status curation_check_names(const curation *r, rw_error *err); /* in --only and --input */
/* With the inputs known: the files, and the options of the stages. */
rw_status curation_check(const curation *r, rw_error *err);

#endif
