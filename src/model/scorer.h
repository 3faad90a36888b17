/* scorer.h - a scorer over a model that is already open, for training's evaluations; and a scorer in steps. */
#ifndef MODEL_SCORER_H
#define MODEL_SCORER_H

#include "model/model.h"
#include "model/score.h"
#include "text/render.h"

/* m and r stay the caller's and outlive the scorer; of the options only threads, batch_tokens, max_length and
 * overlong are looked at. */
rw_status scorer_wrap(scorer **out, model *m, renderer *r, const score_options *o, rw_error *err);

/* Cuts ids to `max` by removing the first ones after the BOS, if there is one: the end of the response and its
 * terminator stay. Returns the new length. */
size_t overlong_cut(int32_t *p, size_t len, size_t max, int32_t bos);

/* ---- a scorer in steps, for those who make batches of their own ---- */

const model *scorer_model(const scorer *s);
const renderer *scorer_renderer(const scorer *s);
int64_t scorer_batch_tokens(const scorer *s); /* a pass's best size */
/* Appends the conversation's ids, cut to `most` where the policy truncates; a conversation that cannot be scored is
 * RW_DATA. Any thread, with a scratch of its own. */
rw_status scorer_render(const scorer *s, render_scratch *scratch, const conversation *c, overlong policy,
                        int64_t most, ids *out, bool *truncated, bool *dropped, rw_error *err);
/* Scores all groups in one pass. *attributes: [conversations, attributes], valid until the next pass. */
rw_status scorer_score_ids(scorer *s, const id_group *groups, size_t n, float *rewards, const float **attributes,
                           rw_error *err);

#endif
