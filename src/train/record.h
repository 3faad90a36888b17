/* record.h - what a run leaves beside the weights: metrics.jsonl, run.json, tokenizer and template. */
#ifndef TRAIN_RECORD_H
#define TRAIN_RECORD_H

#include "train/by_source.h"
#include "train/checkpoint.h"
#include "train/lines.h"

/* One update, as one line of metrics.jsonl. */
typedef struct {
  int64_t step; /* from 1 */
  double epoch, loss, loss_center, grad_norm, learning_rate;
  double accuracy, margin, mean_reward, min_reward, max_reward;
  uint64_t num_tokens; /* since the run began */
  double tokens_per_s;
  bool centered;
  double reward_sd;
  const reward_sums *sources; /* [dataset_sources] */
} step_metrics;

rw_status metrics_write(lines *f, const step_metrics *m, const dataset *d, rw_error *err);

typedef struct {
  const train_options *o;
  const model *m;
  const dataset *d;
  const train_state *state;
  int64_t steps;
  const char *const *data_hashes; /* [n_data] */
  const char *model_hash;
  int64_t batch_tokens; /* what took effect */
  bool finished;
  recomputation recompute;
  double peak_bytes;
  uint64_t sent_bytes;        /* by the first rank in a step of this sitting; 0: it took none */
  const char *frozen_why_not; /* the frozen layers' states of training rows are not kept; "": they are */
} run_record;
/* OUT/dropped.jsonl: the rows that were left out; no file where there are none. */
rw_status dropped_write(const char *out, const dataset *d, rw_context *context, rw_error *err);
rw_status run_write(const run_record *r, rw_error *err);
/* What OUT/run.json tells of: no run, the one with state's identity (finished: everything else is written), or,
 * with RW_USAGE and what differs as the message, another. An unfinished one is compared only where `unfinished`
 * says so: else its checkpoint is what must fit. */
rw_status run_found(const char *out, const train_state *state, bool unfinished, run_state *found, rw_error *err);

/* Can they be copied? Asked before any work: RW_DATA for a file that is not what its name says, or a link that
 * leads out of the model's folder. base: the folder of the weights. */
rw_status text_check(const train_options *o, const char *base, rw_error *err);
/* Copies the tokenizer and the template of the input model into OUT, so that every program renders as training did;
 * the pad token becomes `pad` (see pad_choose). */
rw_status text_copy(const train_options *o, const renderer *r, int32_t pad, rw_error *err);
uint64_t text_files_bytes(
    const train_options *o); /* the files that text_copy copies; o->base: the weights' folder */
/* A pad token that no conversation ends with: transformers pools at the last token that is not the pad. -1: the
 * vocabulary has none to spare (only single rows are then safe there). */
int32_t pad_choose(const model_config *c, const renderer *r, const dataset *d);

#endif
