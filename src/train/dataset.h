/* dataset.h - preference rows as ids in memory, and the order in which training visits them. */
#ifndef TRAIN_DATASET_H
#define TRAIN_DATASET_H

#include "base/sha256.h"
#include "model/model.h"
#include "text/render.h"
#include "train/train.h"

/* One row: a pair (2 branches, chosen first) or a ranking. */
typedef struct {
  const int32_t **ids; /* [n] */
  size_t *len;         /* [n] */
  size_t n;
  double *scores;    /* ranking: [n]; a pair: NULL */
  double margin;     /* NAN: none */
  const char *where; /* "FILE:LINE", with " (id ID)" where the row has one; for messages */
  size_t source;     /* index into dataset_sources */
} example;

typedef struct dataset dataset;

typedef struct {
  size_t rows, used, invalid, empty, overlong, truncated, identical;
  render_notes notes;
  uint64_t tokens; /* tokens of the used rows, every branch whole */
  size_t longest;
} dataset_counts;

/* Tokens that a conversation may have. */
int64_t dataset_limit(const train_options *o, const model_config *c);
/* Reads and renders all rows. A row that cannot be used is named in a warning (the first few), counted and left
 * out; with OVERLONG_ERROR an over-long one fails. No usable row at all is an error. */
rw_status dataset_load(dataset **out, const train_options *o, const renderer *r, const model_config *c,
                       rw_error *err);
void dataset_free(dataset *d);
size_t dataset_size(const dataset *d);
const example *dataset_at(const dataset *d, size_t i);
/* The sources that the rows name, in order of appearance; "" for rows that name none. */
size_t dataset_sources(const dataset *d, const char *const **names);
const dataset_counts *dataset_stats(const dataset *d);
/* Every row that was left out, a JSON line each: file, line, count (the field of run.json's "rows" that counts it),
 * reason. The dataset's. */
slice dataset_dropped(const dataset *d);
/* XXH3-128 of all used rows' ids, margins and scores, as 32 hex digits. */
void dataset_hash(const dataset *d, char out[33]);
/* The same by SHA-256: tells rows from others that were made to have the hash above. */
void dataset_sha256(const dataset *d, char out[SHA256_HEX]);

/* The rows of epoch e in the order of training: shuffled by (seed, e), or as they came. order[dataset_size]. */
void dataset_order(const dataset *d, const train_options *o, int64_t epoch, size_t *order);

#endif
