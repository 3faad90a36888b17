/* fuzz_peft.c - any bytes as adapter_config.json: refused, or figures that the loader can count with. */
#include "format/peft.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  peft_config c;
  peft_module m;
  rw_error err;
  if (peft_read(&c, fuzz_dir("adapter_config.json", data, size), "base", &err) != RW_OK) return 0;
  if (c.rank < 1 || c.dropout < 0 || c.dropout >= 1) abort();
  if (peft_at(&c, "model.layers.3.self_attn.q_proj", 3, &m, &err) == RW_OK && m.rank < 1) abort();
  peft_free(&c);
  return 0;
}
