/* fuzz_config.c - any bytes as a checkpoint's config.json: refused, or sizes that the loader can count with. */
#include "fuzz.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  model_config c;
  rw_error err;
  if (model_config_read(&c, fuzz_dir("config.json", data, size), &err) == RW_OK) {
    if (!c.layers || !c.hidden || !c.q_heads || !c.kv_heads || c.q_heads % c.kv_heads || !c.head_dim || !c.vocab)
      abort();
  }
  return 0;
}
