/* sweep.h - the report's two kinds of experiment: one model trained by several losses, or on several data sets,
 * with several seeds each, and what the differences are worth.
 *
 * A run is a folder of `reward train`; beside its files stand the scores of each evaluation, so that nothing is
 * done twice. The figures are means over seeds; a difference to the baseline comes with its 95% interval over
 * paired resamples of items and seeds (eval_compare_groups).
 */
#ifndef TRAIN_SWEEP_H
#define TRAIN_SWEEP_H

#include "base/option.h"
#include "eval/eval.h"

/* What is compared: runs that differ in their seed alone. */
typedef struct {
  const char *name, *data, *loss;
} sweep_group;

typedef struct {
  size_t group;
  uint64_t seed;
  const char *dir;
} sweep_run;

typedef struct {
  const char *model, *out;
  const sweep_group *groups;
  const sweep_run *runs;    /* groups * seeds, a group's together, the seeds of each in the same order */
  const char *const *evals; /* [SUITE:]FILE; the first decides */
  size_t n_groups, n_seeds, n_evals, baseline;
  bool equal_steps;   /* else equal epochs */
  int64_t max_length; /* as in training; 0: the model's limit */
  rw_context *context;
  const char *device, *date; /* as in training; date NULL: the default */
} sweep;

/* Can all evaluations be read? To be asked before the first run. */
rw_status sweep_check_evals(const sweep *s, rw_error *err);
/* Scores the evaluations that the run has no scores of yet. */
rw_status sweep_score(const sweep *s, const sweep_run *r, rw_error *err);

/* ---- what came of it ---- */

/* One run on one evaluation. */
typedef struct {
  bool there;
  eval_scores scores;
  eval_result result;
} sweep_cell;

/* One group on one evaluation. */
typedef struct {
  size_t n;        /* seeds there */
  double mean, sd; /* the figure's over seeds; sd NaN below two */
  size_t n_pairs;  /* seeds that the baseline has too */
  eval_group_difference difference;
} sweep_figure;

typedef struct {
  const sweep *s;
  eval_data **data;                 /* [n_evals] */
  sweep_cell *cells;                /* [runs][n_evals] */
  sweep_figure *figure;             /* [groups][n_evals] */
  double *steps, *tokens, *seconds; /* [runs]; NaN: not there */
} sweep_results;

/* Reads all that the runs have left and works out the figures. Runs that have not finished are left out and counted
 * in *missing. *r is the caller's to free, after a failure too. */
rw_status sweep_gather(sweep_results *r, const sweep *s, size_t *missing, rw_error *err);
void sweep_results_free(sweep_results *r);
/* The overall figure, or the share of right items where the suite defines none on these data. */
double sweep_figure_of(const eval_result *r);
const sweep_cell *sweep_cell_of(const sweep_results *r, size_t group, size_t seed, size_t eval);

#endif
