/* runs.h - one page of finished work: training runs, evaluations, curations, contamination reports.
 */
#ifndef PAGES_RUNS_H
#define PAGES_RUNS_H

#include "base/context.h"
#include "report/report.h"

/* Each path is a folder of `reward train` (metrics.jsonl, run.json, evals.jsonl), of `reward curate` or `reward
 * decontaminate` (report.json), or a results.json of `reward eval`; told apart by what is in them. A path that is
 * none of these, or cannot be read, is said by a warning and counted in *unread, and the others are drawn; only
 * where none is left it is a failure. What a run lacks beside metrics.jsonl is left out of the page. */
rw_status runs_page(rep_page *p, const char *const *paths, size_t n, rw_context *context, size_t *unread,
                    rw_error *err);
/* Writes OUT/report.html, the page of the run in the folder OUT alone. */
#define RUN_PAGE "report.html"
rw_status run_page_write(const char *out, rw_context *context, rw_error *err);
/* Writes OUT/README.md, the model card of that run. *written false: there is one that somebody else has written. */
rw_status model_card_write(const char *out, rw_context *context, bool *written, rw_error *err);

#endif
