/* fuzz_spm.c - any bytes as tokenizer.model; see fuzz_tokenizer.h. */
#include "fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  return fuzz_tokenizer("tokenizer.model", data, size);
}
