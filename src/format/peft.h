/* peft.h - adapter_config.json of a PEFT directory: low-rank adapters over a base model. */
#ifndef FORMAT_PEFT_H
#define FORMAT_PEFT_H

#include "reward/file.h"

typedef struct peft_config {
  char *base; /* directory of the base model; owned */
  int64_t rank;
  double alpha;
  bool rslora; /* the factor is alpha / sqrt(rank) instead of alpha / rank */
} peft_config;

/* dir holds an adapter_config.json. */
bool peft_is(const char *dir);
/* Reads dir/adapter_config.json. The base is base_model_name_or_path: absolute, or beside the adapter, or from the
 * current folder. Whatever changes numbers and is not supported is an error naming the field. */
rw_status peft_read(peft_config *c, const char *dir, rw_error *err);
void peft_free(peft_config *c);

#endif
