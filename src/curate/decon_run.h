/* decon_run.h - the whole of `reward decontaminate`: training files into clean and removed rows and a report. */
#ifndef CURATE_DECON_RUN_H
#define CURATE_DECON_RUN_H

#include "base/context.h"
#include "curate/decon_tally.h"

typedef struct {
  const char *const *train, *const *bench;
  size_t n_train, n_bench;
  decon_options options;
  const char *out; /* folder, made by the caller */
  rw_context *context;
} decon_run_options;
/* Writes clean.jsonl, removed.jsonl, report.json, report.html. */
rw_status decon_run(const decon_run_options *o, decon_counts *counts, rw_error *err);

#endif
