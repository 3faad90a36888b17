/* by_source.h - what the rewards of a step look like, in all and by the rows' source. */
#ifndef TRAIN_BY_SOURCE_H
#define TRAIN_BY_SOURCE_H

#include "format/json_write.h"
#include "train/dataset.h"

typedef struct {
  size_t rows, responses, ordered; /* ordered: rows of which some response is better than another */
  double right, margin;            /* sums over rows of their share of right pairs and their mean margin */
  double sum, squares;             /* sums over the rewards */
} reward_sums;

/* One row's rewards r[x->n] into the sums. */
void reward_sums_add(reward_sums *s, const example *x, const float *r);
double reward_accuracy(const reward_sums *s); /* the ordered rows'; NAN: there are none */
double reward_margin(const reward_sums *s);   /* the same */
double reward_mean(const reward_sums *s);
double reward_sd(const reward_sums *s); /* around the mean, over all responses */

/* "sources": {NAME: {"n", "accuracy", "margin", "mean_reward", "reward_sd"}, ...}: those with rows. Nothing where
 * no row of the data has a source. sums: [dataset_sources]. */
void by_source_json(json_writer *w, const dataset *d, const reward_sums *sums);

#endif
