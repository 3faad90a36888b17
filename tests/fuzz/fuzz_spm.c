/* fuzz_spm.c - any bytes as tokenizer.model: what fuzz_tokenizer.c does with tokenizer.json. */
#define FUZZ_TOKENIZER "tokenizer.model"
#include "fuzz_tokenizer.c"
