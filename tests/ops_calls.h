/* ops_calls.h - for check-ops: a batch without a forest, and the wait for what was called. */
#ifndef TESTS_OPS_CALLS_H
#define TESTS_OPS_CALLS_H

#include <stdio.h>

#include "compute/backend.h"
#include "ops_report.h"

/* A batch of m rows without a forest, in pieces that end at `ends`; the keys of dropout. */
typedef struct {
  batch_layout l;
  batch *b;
} rows_of;
static void rows_make(backend *be, rows_of *r, size_t m, const size_t *ends, size_t n_ends, const uint64_t *keys) {
  *r = (rows_of){.l = {.f = {.rows = m}, .pieces = {ends, n_ends}, .drop_keys = keys}};
  if (be->batch_make(be, &r->b, &r->l, NULL)) failed++;
}
static void must_sync(backend *be) {
  rw_error err;
  if (be->sync(be, &err)) printf("FAIL %s\n", err.text), failed++;
}

#endif
