/* plan.c - what a run would do, from its data and config.json alone: no weights are read, nothing is computed. */
#include "train/dataset.h"
#include "train/train.h"

rw_status train_plan(const train_options *o, train_outlook *p, rw_error *err) {
  *p = (train_outlook){0};
  model_config *c = mem_zalloc(1, sizeof *c);
  renderer *r = NULL;
  dataset *d = NULL;
  rw_status s = option_check(train_option_table, o, err);
  if (!s) s = c ? model_config_read(c, o->base ? o->base : o->model, err) : rw_nomem(err, "plan");
  if (!s) s = renderer_open(&r, text_dir(o->model, o->base), o->chat_template, o->date, err);
  if (!s) renderer_append(r, c->reward_token_id);
  if (!s) s = dataset_load(&d, o, r, c, err);
  if (!s) {
    size_t n = dataset_size(d);
    p->rows = n;
    p->tokens_per_epoch = dataset_stats(d)->tokens;
    p->steps_per_epoch = ((int64_t)n + o->batch_size - 1) / o->batch_size;
    p->steps = o->steps > 0 ? o->steps : o->epochs * p->steps_per_epoch;
    p->tokens = (uint64_t)((double)p->tokens_per_epoch * (double)p->steps / (double)p->steps_per_epoch);
  }
  dataset_free(d);
  renderer_free(r);
  mem_free(c);
  return s;
}
