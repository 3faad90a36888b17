/* select.h - what a select stage asks for: groups of task categories, each with a share to keep. */
#ifndef CURATE_STAGES_SELECT_H
#define CURATE_STAGES_SELECT_H

#include "curate/reader.h"

enum { MAX_GROUPS = 16, MAX_CATEGORIES = 16 };

typedef struct {
  const char *categories[MAX_CATEGORIES];
  size_t n; /* 0: all others */
  bool has_keep;
  decimal keep;  /* share of the group's pairs, rounded down */
  int64_t quota; /* -1: none */
} select_group;

typedef struct {
  select_group groups[MAX_GROUPS];
  size_t n;
} select_options;

extern const stage_kind stage_select;

#endif
