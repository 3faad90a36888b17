/* merge.c - adapters and base into one checkpoint directory. */
#include "format/peft.h"
#include "model/golden.h"
#include "model/model.h"
#include "train/record.h"
#include "train/train.h"

/* The merged model knows its golden rows too; it is opened as its users will. */
static rw_status carry_golden(const char *adapter, const char *out, rw_context *context, rw_error *err) {
  model *m = NULL;
  RW_TRY(model_open(&m, out, &(model_options){.context = context, .device = "cpu"}, err));
  rw_status s = golden_carry(m, adapter, out, err);
  model_free(m);
  return s;
}

rw_status train_merge(const char *adapter, const char *base, const char *out, bool force, bool no_golden_check,
                      int dtype, rw_context *context, rw_error *err) {
  model *m = NULL;
  renderer *r = NULL;
  rw_status s = file_check_dir(out, force, err); /* before hours of work, as file_dir_begin after them */
  if (!s && !peft_is(adapter))
    s = rw_fail(err, RW_USAGE, "%s: expected a PEFT directory (adapter_config.json)", adapter);
  if (!s) s = model_open(&m, adapter, &(model_options){.context = context, .device = "cpu", .base = base}, err);
  if (!s && !no_golden_check) s = golden_check(m, adapter, err);
  if (!s) s = text_check(&(train_options){.model = adapter, .context = context}, model_dir(m), err);
  out_dir dir = {NULL, -1, 0};
  if (!s) s = file_dir_begin(&dir, out, force, err);
  if (!s) s = renderer_open(&r, text_dir(adapter, model_dir(m)), NULL, NULL, err);
  if (!s) {
    const tokenizer *t = renderer_tokenizer(r);
    train_options o = {.model = adapter, .base = model_dir(m), .out = out};
    int32_t pad = t ? tok_pad(t) : -1; /* training chose it when it wrote the adapter's tokenizer_config.json */
    if (pad < 0) pad = model_info(m)->pad_token_id;
    s = text_copy(&o, r, pad, err);
    model_merge(m);
    if (!s) s = model_save(m, out, dtype, pad, err);
    if (!s) s = carry_golden(adapter, out, context, err);
  }
  file_dir_end(&dir, s == RW_OK);
  renderer_free(r);
  model_free(m);
  return s;
}
