/* peft.h - adapter_config.json of a PEFT directory: low-rank adapters over a base model.
 *
 * Fields and their meaning are LoraConfig's (PEFT 0.21): what adapters a module has, their rank and factor. A field
 * that would change numbers otherwise is refused by name, one that is not known too, unless it is null, false or
 * empty.
 */
#ifndef FORMAT_PEFT_H
#define FORMAT_PEFT_H

#include "format/json.h"

typedef struct peft_config {
  char *path; /* path of adapter_config.json, for messages */
  char *base; /* directory of the base model */
  int64_t rank;
  double alpha, dropout;
  bool rslora; /* the factor is alpha / sqrt(rank) instead of alpha / rank */
  json_file f; /* the whole file */
} peft_config;

/* dir holds an adapter_config.json. */
bool peft_is(const char *dir);
/* Reads dir/adapter_config.json. base NULL: base_model_name_or_path says where the base model is: absolute, or
 * beside the adapter, or from the current folder. Frees nothing on success: peft_free does. */
rw_status peft_read(peft_config *c, const char *dir, const char *base, rw_error *err);
void peft_free(peft_config *c); /* zeros are fine */

typedef struct {
  bool targeted;
  int64_t rank;
  double scale; /* factor of B·A·x */
} peft_module;
/* What the configuration says of a module such as "model.layers.3.self_attn.q_proj". */
rw_status peft_at(const peft_config *c, const char *module, size_t layer, peft_module *out, rw_error *err);

#endif
