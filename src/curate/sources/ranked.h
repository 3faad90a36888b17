/* ranked.h - for the sources whose rows have ranked answers: the pairs that a row makes. */
#ifndef CURATE_SOURCES_RANKED_H
#define CURATE_SOURCES_RANKED_H

#include "curate/source.h"

typedef struct {
  slice text;
  double score; /* higher is better */
  uint32_t at;  /* in the row */
} answer;

/* pairs() of a source, given the row's answers, which are sorted here. */
rw_status ranked_pairs(answer *list, size_t n, row_form form, const scan *row, scan_list *out, rw_error *err);

#endif
