/* evaluate.h - benchmarks during training: before the first step, every N steps, after the last; and the best
 * weights so far. Each figure is a line of OUT/evals.jsonl. */
#ifndef TRAIN_EVALUATE_H
#define TRAIN_EVALUATE_H

#include "text/render.h"
#include "train/checkpoint.h"
#include "train/tensorboard.h"

typedef struct trainer_eval trainer_eval; /* NULL: nothing to evaluate; every function then does nothing */

/* Reads the benchmarks; nothing is written before trainer_eval_begin. */
rw_status trainer_eval_open(trainer_eval **out, const train_options *o, model *m, renderer *r, rw_error *err);
/* After a checkpoint: with --keep best, the best so far is the one whose weights were kept; where there are none,
 * it is forgotten, and the weights as they are count as evaluated next. */
rw_status trainer_eval_resume(trainer_eval *e, train_state *s, rw_error *err);
rw_status trainer_eval_begin(trainer_eval *e, const train_state *s, tensorboard *board, rw_error *err);
/* Removes OUT/evals.jsonl, of an earlier run, where nothing is to be evaluated. */
rw_status trainer_eval_none(const trainer_eval *e, const char *out, rw_error *err);
rw_status trainer_eval_flush(trainer_eval *e, rw_error *err); /* evals.jsonl, as lines_flush */
void trainer_eval_close(trainer_eval *e);
/* Evaluates where state->step calls for it; updates state->best (the first --eval's overall figure, or its share of
 * right items where the overall one is not defined) and keeps the weights that reached it (--keep best). */
rw_status trainer_eval_step(trainer_eval *e, train_state *state, int64_t steps, rw_error *err);
/* --early-stop N: have the last N evaluations brought nothing better? A function of the state alone, so that a
 * resumed run stops at the same step. */
bool trainer_eval_stop(const train_options *o, const train_state *state);
/* With --keep best: puts the best weights back into the model. */
rw_status trainer_eval_best(trainer_eval *e, rw_error *err);

#endif
