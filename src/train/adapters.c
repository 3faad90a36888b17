/* adapters.c - what the options of adapters mean for the model at hand (see adapters.h). */
#include "train/adapters.h"

#include <string.h>

#include "base/log.h"

/* Adapters that are trained on keep their shape: no other one is taken in silence. */
static rw_status refuse_shape(const train_options *o, const model *m, rw_error *err) {
  double rank = (double)model_lora_rank(m), alpha = model_lora_alpha(m);
  const option *targets = option_named(train_option_table, "lora-targets", strlen("lora-targets"));
  if (o->lora_rank > 0 && (double)o->lora_rank != rank)
    return rw_fail(err, RW_USAGE, "%s: is an adapter of rank %g and is trained on as it is: " FIELD(lora_rank) " %lld "
                   "would have no effect; leave it out, or merge the adapter first", o->model, rank, (long long)o->lora_rank);
  if (o->lora_alpha > 0 && o->lora_alpha != alpha)
    return rw_fail(err, RW_USAGE, "%s: is an adapter of alpha %g and is trained on as it is: " FIELD(lora_alpha) " %g "
                   "would have no effect; leave it out, or merge the adapter first", o->model, alpha, o->lora_alpha);
  if (!option_is_initial(targets, o))
    return rw_fail(err, RW_USAGE, "%s: is an adapter and is trained on as it is: " FIELD(lora_targets) " would have no "
                   "effect; leave it out, or merge the adapter first", o->model);
  return RW_OK;
}

rw_status adapters_prepare(const train_options *o, model *m, rw_error *err) {
  bool had = model_has_lora(m);
  if (had) RW_TRY(refuse_shape(o, m, err));
  double alpha = o->lora_alpha > 0 ? o->lora_alpha : 2 * (double)o->lora_rank;
  lora_options lo = {o->lora_rank, alpha, o->lora_targets, (size_t)o->freeze_layers, o->seed};
  if (o->lora_rank > 0 && !had) RW_TRY(model_add_lora(m, &lo, err));
  if (!model_has_lora(m))
    return o->lora_dropout < 0 && o->lora_alpha == 0
               ? RW_OK
               : rw_fail(err, RW_USAGE,
                         FIELD(lora_alpha) ", " FIELD(lora_dropout) ": expected " FIELD(lora_rank) " with them");
  if (o->lora_dropout >= 0) model_set_dropout(m, o->lora_dropout);
  log_note(o->context, "training adapters and the head");
  return RW_OK;
}
