/* sweep_int.h - what sweep.c has gathered and sweep_page.c writes. */
#ifndef TRAIN_SWEEP_INT_H
#define TRAIN_SWEEP_INT_H

#include "train/sweep.h"

/* One run on one evaluation. */
typedef struct {
  bool there;
  eval_scores scores;
  eval_result result;
} sweep_cell;

/* One group on one evaluation. */
typedef struct {
  size_t n;        /* seeds there */
  double mean, sd; /* of the figure over seeds; sd NaN below two */
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

/* The overall figure, or the share of right items where the suite defines none on these data. */
double sweep_figure_of(const eval_result *r);
const sweep_cell *sweep_cell_of(const sweep_results *r, size_t group, size_t seed, size_t eval);

rw_status sweep_write_json(const sweep_results *r, rw_error *err);
rw_status sweep_write_page(const sweep_results *r, rw_error *err);
rw_status sweep_tables(const sweep_results *r, str *text, rw_error *err);

#endif
