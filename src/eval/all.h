/* all.h - the seven benchmarks by which reward models are compared, in one table: a model's figures beside those
 * that the Skywork-Reward-V2 report publishes.
 *
 * A benchmark is complete when its overall figure is given. The average is over the complete ones, and says over
 * which; figures of other items than the published ones are marked.
 */
#ifndef EVAL_ALL_H
#define EVAL_ALL_H

#include "eval/eval.h"

enum { ALL_SUITES = 7 };
extern const eval_suite eval_all_suites[ALL_SUITES]; /* in the order of the table */

typedef struct {
  eval_result result[ALL_SUITES];
  bool have[ALL_SUITES];       /* it has rows, and at least one has a score */
  const char *why[ALL_SUITES]; /* why not; NULL: no rows were found */
  str json[ALL_SUITES];        /* its results.json */
  arena *memory;
} eval_all; /* zero-initialised but for memory; freed by eval_all_free */
void eval_all_free(eval_all *a);

/* The figure in the table: the overall one; of JudgeBench the mean of its four sections, as the report has it. NaN:
 * the benchmark is not complete. */
double eval_all_figure(const eval_all *a, size_t k);
/* Over the complete ones, of which there are *n; NaN: none. */
double eval_all_average(const eval_all *a, size_t *n);

/* Members of results.json, into an object that is open. */
void eval_all_json(json_writer *w, const eval_all *a);
rw_status eval_all_print(str *out, const eval_all *a, const char *name, rw_error *err);
/* The table, then each benchmark as eval_page shows it. */
void eval_all_page(rep_page *p, const eval_all *a, const char *name);

#endif
