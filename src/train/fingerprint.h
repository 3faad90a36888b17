/* fingerprint.h - what decides the bits of a training, hashed: a run that goes on must agree in it. */
#ifndef TRAIN_FINGERPRINT_H
#define TRAIN_FINGERPRINT_H

#include "model/model.h"
#include "train/dataset.h"
#include "train/train.h"

typedef struct {
  const train_options *o;
  int64_t steps; /* steps of the whole run */
  const model *m;
  const dataset *d;
  int64_t piece_tokens; /* as in run.h */
} fingerprint_source;
/* Also the hashes of the data files and, last, of the model: hashes[o->data.n + 1]. */
rw_status fingerprint_make(char out[33], char (*hashes)[33], const fingerprint_source *of, rw_error *err);

/* The part of it that the options make, as text. */
typedef struct {
  int64_t steps;
  const char *device, *dtype;
  double dropout; /* dropout of the model's adapters */
} fingerprint_effect;
void fingerprint_options(str *out, const train_options *o, const fingerprint_effect *e);

#endif
