/* outputs.h - the names of a run's files in the output folder. */
#ifndef CURATE_OUTPUTS_H
#define CURATE_OUTPUTS_H

#include "curate/curation.h"

/* In r->mem; items are the caller's to mem_free. */
typedef struct {
  char **items;
  size_t n, cap;
} output_names;

/* The files of the set's rows: one, or one a shard. */
rw_status curation_row_files(const curation *r, output_names *l, rw_error *err);
/* Those, what stages write, and removed.jsonl: all but what is made of them. */
rw_status curation_row_outputs(const curation *r, output_names *l, rw_error *err);
/* What the run writes, but for manifest.json. */
rw_status curation_outputs(const curation *r, output_names *l, rw_error *err);
/* Is a file that is read one of those that the run is to write or remove? RW_USAGE. */
rw_status curation_check_outputs(const curation *r, const char *const *in, size_t n, rw_error *err);
/* Removes what earlier runs wrote into the folder and this one has not (--force): regular files that are as
 * manifest.json records them, and rows in any layout, as a run that was killed has no manifest. */
rw_status curation_remove_earlier(const curation *r, rw_error *err);

#endif
