/* run.h - a training run under way, as train.c, step.c and forecast.c share it. */
#ifndef TRAIN_RUN_H
#define TRAIN_RUN_H

#include "train/checkpoint.h"
#include "train/dataset.h"
#include "train/evaluate.h"
#include "train/record.h"
#include "train/tensorboard.h"
#include "train/train.h"

typedef struct {
  const train_options *o;
  comm *ranks; /* the first of them writes files; all compute */
  model *m;
  renderer *r;
  dataset *d;
  trainer_eval *eval;
  train_state state;
  str identity;                                         /* identity.h's record */
  int64_t steps, per_epoch, batch_tokens, piece_tokens; /* the last: of a piece at most; 1: rows are pieces */
  uint64_t shared_tokens;                               /* tokens of an epoch, shared prompts once */
  uint64_t predicted;                                   /* peak bytes */
  uint64_t device;                                      /* the same of the device's memory; 0: that is the host's */
  uint64_t disk;                                        /* bytes that it will take at most (disk.h) */
  uint64_t checkpoint;                                  /* bytes of one */
  int64_t saved;                                        /* step of the last checkpoint; 0: none */
  bool unsaved;                                         /* the last one that was due could not be written */
  model_train_options how;
  size_t *order; /* rows of the epoch `order_epoch` */
  int64_t order_epoch;
  id_group *groups;
  const example **pass; /* the rows of one forward pass */
  float *rewards, *d_rewards;
  /* about the step's rows: */
  int *slice_of;
  size_t *cost, *branch;          /* tokens that are computed; where its rewards begin in all_rewards. [rows + 1] */
  size_t *order_of_slice, *piece; /* its rows, as passes take them; a row's piece, 0: its own */
  size_t *row, *pass_piece;       /* the rows of t->pass, and their pieces */
  float *all_rewards, *packed;    /* the whole batch's; the same by ranks, on their way */
  double *d_row;
  reward_sums sums, *source_sums; /* sums of the step; by source [dataset_sources] */
  size_t widest;                  /* branches of the widest row */
  char (*hashes)[33];             /* hashes of the data files, then of the model */
  const char **hash_list;
  lines *metrics;
  tensorboard *board;
  uint64_t sent;                                      /* bytes, by this rank in the steps of this sitting */
  int64_t taken;                                      /* these steps */
  double peak;                                        /* bytes; 0: not known yet */
  char frozen_why_not[sizeof(((rw_error *)0)->text)]; /* see run_record */
  int lock;                                           /* the file that locks OUT; -1: none */
} run;

/* ---- step.c ---- */

/* The row i of step k; NULL and *end: the step has no more. */
const example *step_row(run *t, int64_t k, size_t i, bool *end);
/* Forward and backward over the n rows of t->pass; batch: rows of the step, which is number `step` from 1. */
rw_status step_pass(run *t, size_t n, double batch, int64_t step, rw_error *err);
/* Tokens of the largest slice of all steps. */
rw_status step_widest(run *t, size_t *tokens, rw_error *err);
/* The whole step, with its update; all ranks together, to the same figures and the same failure. */
rw_status step_take(run *t, int64_t k, step_metrics *s, rw_error *err);

/* ---- forecast.c ---- */

/* Predicts the peak, chooses recomputation, and refuses a run that cannot fit before it starts. */
rw_status forecast_memory(run *t, rw_error *err);
/* With frozen layers: keeps their states on disk where rows or evaluations come again and the room is there. */
rw_status forecast_frozen(run *t, const char *dir, rw_error *err);
/* --dry-run: some passes and one update are run to see the speed. */
rw_status forecast_print(run *t, rw_error *err);

#endif
