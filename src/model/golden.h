/* golden.h - what a trained checkpoint knows about its own scores: reward.json beside its weights.
 *
 * "golden": a few short conversations as ids, and the scores that they had when the checkpoint was written. Whoever
 * loads it scores them again, and notices changed weights, another configuration or a broken build before the first
 * result. "calibration": mean and standard deviation of its rewards on known rows, since a reward has no unit.
 */
#ifndef MODEL_GOLDEN_H
#define MODEL_GOLDEN_H

#include "model/model.h"

#define GOLDEN_FILE "reward.json"
enum { GOLDEN_ROWS = 4, GOLDEN_TOKENS = 64 };

/* A score in f32 may differ from the recorded one by this much times max(1, |score|). */
double golden_bound(void);

typedef struct {
  const char *on; /* the rows, in words */
  size_t n;       /* items of an evaluation, or training batches */
  double mean, sd;
} golden_calibration;

/* Scores at most GOLDEN_ROWS conversations with the model (as opened from dir) and writes dir/reward.json. */
rw_status golden_write(model *m, const char *dir, id_group rows, const golden_calibration *c, rw_error *err);
/* Scores the golden rows of dir/reward.json in f32, whatever m is set to, and fails with RW_DATA where one differs
 * by more than the bound. A directory without the file, or a file without golden rows, passes. */
rw_status golden_check(model *m, const char *dir, rw_error *err);
/* The same, unless this build on this CPU level has found these very files right before (golden_once.c). */
rw_status golden_check_once(model *m, const char *dir, rw_error *err);
/* Writes to/reward.json for the same model in another form: rows and calibration of from/reward.json (none: none is
 * left there), with the scores of m (as opened from `to`). */
rw_status golden_carry(model *m, const char *from, const char *to, rw_error *err);

#endif
