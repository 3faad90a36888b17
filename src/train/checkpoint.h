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
  const char *identity; /* the same in full, see identity.h; the run's */
  double best;          /* best evaluation so far; NAN: none */
  int64_t best_step;
  uint64_t tokens;
  double seconds;                      /* seconds of training, over all sittings */
  double recent_loss, recent_accuracy; /* means that forget a tenth a step; NAN: before the first */
  bool best_only;                      /* the weights are the best's: all steps are done, the last ones' are gone */
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
/* All ranks together write into a folder that they share; the same bytes at any number of them. */
rw_status checkpoint_save(model *m, comm *ranks, const char *out, const train_state *s, const checkpoint_policy *p,
                          rw_error *err);
/* Finds the newest checkpoint in OUT and loads it; *found false when there is none. A checkpoint of another run
 * (another identity, or fingerprint) is RW_USAGE. */
rw_status checkpoint_load(model *m, const char *out, train_state *s, bool *found, rw_error *err);
/* OUT/best-weights/: the weights of the best evaluation so far and what it was, whole or not there. eval: of
 * identity_eval. Written by all ranks together, where s->best and s->best_step are of the model as it is. */
rw_status best_save(model *m, comm *ranks, const char *out, const train_state *s, const char *eval, rw_error *err);
rw_status best_load(model *m, const char *out, rw_error *err);
/* Reads s->best and s->best_step of it (an older program kept weights alone: then they stay). *there false: there
 * are no weights, or they were the best on another evaluation than eval. */
rw_status best_read(const char *out, const char *eval, train_state *s, bool *there, rw_error *err);
/* Bytes of the checkpoints and best weights that OUT has. */
uint64_t checkpoint_bytes(const char *out);
/* Removes all but the newest `keep` checkpoints of OUT, the best weights, and what an interrupted save left. */
rw_status checkpoint_clear(const char *out, int64_t keep, rw_error *err);

#endif
