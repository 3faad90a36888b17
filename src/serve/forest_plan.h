/* forest_plan.h - which waiting conversations share a beginning: a list of them parted into groups, each of which
 * is computed as one tree. */
#ifndef SERVE_FOREST_PLAN_H
#define SERVE_FOREST_PLAN_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

typedef struct {
  const int32_t *ids;
  size_t len; /* 1 or more */
} plan_row;
/* Parts the rows, each in one group, so that as few tokens as possible are computed where a group's common
 * beginning counts once. Group g is order[end[g-1] .. end[g]), sorted by ids; order and end have room for n. */
rw_status forest_plan(const plan_row *rows, size_t n, size_t *order, size_t *end, size_t *groups, rw_error *err);

#endif
