/* dedup.h - what a dedup stage asks for, and its way for near duplicates. */
#ifndef CURATE_STAGES_DEDUP_H
#define CURATE_STAGES_DEDUP_H

#include "curate/curation.h"
#include "curate/reader.h"

typedef struct {
  bool near, of_prompt;      /* nearly the same rather than equal; of the prompt alone */
  int64_t num_perm, shingle; /* hash functions; words of a shingle; 0: not said */
  decimal threshold;         /* least Jaccard similarity; 0: not said */
} dedup_options;

rw_status dedup_near(curation *r, const stage *s, rw_error *err); /* dedup_near.c */

#endif
