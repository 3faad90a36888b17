/* scan.h - the first reading: every row's figures, and the candidates that rows make. */
#ifndef CURATE_SCAN_H
#define CURATE_SCAN_H

#include "curate/curation.h"

/* Reads every input once. */
rw_status curation_scan(curation *r, rw_error *err);

#endif
