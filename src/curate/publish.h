/* publish.h - the files of the output folder, each by one function, to be called in this order. */
#ifndef CURATE_PUBLISH_H
#define CURATE_PUBLISH_H

#include "curate/curation.h"

/* write.c: the rows (of the set, of the stages with a file) and removed.jsonl, all or none of them. */
rw_status curation_write(curation *r, rw_error *err);
/* curate_report.c: report.json and report.html, unless the run is dry; appends the table of counts to *table. */
rw_status curation_report(const curation *r, str *table, rw_error *err);
/* card.c: README.md. */
rw_status curation_card(const curation *r, rw_error *err);
/* manifest.c: manifest.json. */
rw_status curation_manifest(const curation *r, rw_error *err);

#endif
