/* runs_int.h - what `reward report` has read: runs, results and data reports. */
#ifndef PAGES_RUNS_INT_H
#define PAGES_RUNS_INT_H

#include "eval/eval.h"
#include "format/json.h"

/* Curves of metrics.jsonl that are drawn, in this order. */
enum { RUN_CURVES = 6 };
typedef struct {
  const char *field, *title;
  bool noisy;   /* from step to step: drawn smoothed */
  bool percent; /* a share there, percent here */
  bool aside;   /* tells of the machine, not of the result: folded away */
} run_curve;
extern const run_curve run_curves[RUN_CURVES];

/* One source at one step of metrics.jsonl. */
typedef struct {
  double step, n, accuracy, margin, mean, sd; /* n rows; mean and sd of the rewards */
  size_t source;
} source_step;

/* The rewards of one subset in one line of evals.jsonl. */
typedef struct {
  const char *subset;
  double n, mean, sd, margin;
} reward_spread;

/* One line of evals.jsonl. */
typedef struct {
  const char *eval; /* as given to --eval */
  double step;
  eval_result result;
  reward_spread *spreads; /* in the set's memory */
  size_t n_spreads;
} run_eval;

typedef struct {
  const char *name;
  double *x, *y[RUN_CURVES]; /* n steps; NaN: the step lacks the field */
  size_t n, cap_x, cap_y[RUN_CURVES];
  const char **sources;
  source_step *by_source;
  size_t n_sources, cap_sources, n_by_source, cap_by_source;
  json_file info; /* run.json; doc NULL: none */
  run_eval *evals;
  size_t n_evals, cap_evals;
} train_run_files;

typedef struct {
  const char *name;
  const char *data; /* the digests of its files; NULL: not known */
  eval_result result;
} named_result;

/* A report.json of curate ("recipe") or decontaminate ("ngram"). */
typedef struct {
  const char *name;
  json_file file;
} data_report;

typedef struct {
  train_run_files *runs;
  named_result *results;
  data_report *reports;
  size_t n_runs, cap_runs, n_results, cap_results, n_reports, cap_reports;
  arena *memory;
} run_set;

rw_status run_set_read(run_set *s, const char *const *paths, size_t n, rw_context *context, size_t *unread,
                       rw_error *err); /* as runs_page */
void run_set_free(run_set *s);
/* runs_train.c: all that is said of the runs. */
rw_status training_draw(rep_page *p, run_set *s, rw_error *err);
/* The step whose weights are the result; NAN: the run is not finished, or says nothing. */
double run_published_step(const train_run_files *r);
/* Was the option given to the run, with another value v than its default? */
bool run_argument_changed(const train_run_files *r, slice name, json_val v);
/* runs_source.c: what a line of metrics.jsonl says of its sources; the table of all runs (nothing where none has
 * any). */
rw_status source_steps_read(run_set *s, train_run_files *r, json_doc *d, double step, rw_error *err);
rw_status source_draw(rep_page *p, const run_set *s, rw_error *err);
/* The same of a line of evals.jsonl: member "rewards". */
rw_status reward_spreads_read(run_set *s, run_eval *e, json_doc *d, rw_error *err);
/* Figures of one name that are of different rows do not compare: said of the first two. data[n]: digests; p NULL:
 * not known. */
void note_rows(rep_page *p, const char *const *names, const slice *data, size_t n);
void spreads_draw(rep_page *p, const run_set *s, const char *eval);

#endif
