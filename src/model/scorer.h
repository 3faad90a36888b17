/* scorer.h - a scorer over a model that is already open, for training's evaluations. */
#ifndef MODEL_SCORER_H
#define MODEL_SCORER_H

#include "model/model.h"
#include "model/score.h"
#include "text/render.h"

/* m and r stay the caller's and outlive the scorer; of the options only threads, batch_tokens, max_length and
 * overlong are looked at. */
rw_status scorer_wrap(scorer **out, model *m, renderer *r, const score_options *o, rw_error *err);

/* Cuts ids to `max` by removing what follows the BOS (or the beginning, where there is none), so that the end of
 * the response and its terminator stay. Returns the new length. */
size_t overlong_cut(int32_t *p, size_t len, size_t max, int32_t bos);

#endif
