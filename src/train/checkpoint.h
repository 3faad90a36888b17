/* checkpoint.h - the state of an unfinished run: OUT/checkpoint-NNNNNN/, whole or not there.
 *
 * A checkpoint is written into a folder with another name and renamed when everything is on disk; older ones are
 * removed after that. It holds the trained tensors, both AdamW moments, the step, and the metrics so far.
 */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "model/model.h"
#include "train/train.h"

typedef struct {
  int64_t step;         /* updates done */
  char fingerprint[33]; /* hash of what decides the bits: arguments, data, model */
  double best;          /* best evaluation so far; NAN: none */
  int64_t best_step;
  uint64_t tokens;
  double seconds;                      /* seconds of training, over all sittings */
  double recent_loss, recent_accuracy; /* means that forget a tenth a step; NAN: before the first */
  bool eval_due;                       /* the evaluation after this step was not finished */
} train_state;

/* What is to stay on disk: the newest `keep` checkpoints (0: the newest is for resuming only, and goes at the end).
 * Those that stay are models too: publish() writes config, tokenizer and weights into the checkpoint's folder, and
 * the state of the run stands in its subfolder "state". */
typedef struct {
  int64_t keep;
  rw_status (*publish)(void *ctx, const char *dir, rw_error *err);
  void *ctx;
} checkpoint_policy;
rw_status checkpoint_save(model *m, const char *out, const train_state *s, const checkpoint_policy *p,
                          rw_error *err);
/* Finds the newest checkpoint in OUT and loads it; *found false when there is none. A checkpoint of another run
 * (another fingerprint) is RW_USAGE. */
rw_status checkpoint_load(model *m, const char *out, train_state *s, bool *found, rw_error *err);
/* The weights of the best evaluation so far, in OUT/best-weights/. */
rw_status best_save(model *m, const char *out, rw_error *err);
rw_status best_load(model *m, const char *out, rw_error *err);
/* Removes all but the newest `keep` checkpoints of OUT, the best weights, and what an interrupted save left. */
rw_status checkpoint_clear(const char *out, int64_t keep, rw_error *err);

#endif
