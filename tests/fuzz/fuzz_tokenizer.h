/* fuzz_tokenizer.h - any bytes as a tokenizer's file: refused, or a tokenizer that encodes a fixed text into its
 * own ids. */
#ifndef FUZZ_TOKENIZER_H
#define FUZZ_TOKENIZER_H

#include "fuzz.h"
#include "text/tokenizer.h"

static inline int fuzz_tokenizer(const char *file, const uint8_t *data, size_t size) {
  static const char text[] = "Hello  world's 2024 caf\xc3\xa9 \xe2\x96\x81\xe4\xb8\xad <|end|><s>\n\n\tx\x01";
  const char *dir = fuzz_dir(file, data, size);
  tokenizer *t;
  rw_error err;
  if (tok_load(&t, dir, &err) == RW_OK) {
    tok_scratch *s = tok_scratch_new(t);
    ids out = {0};
    size_t escaped = 0;
    /* a message between two pieces of template */
    tok_span spans[] = {{0, 5, false}, {5, sizeof text - 8, true}, {sizeof text - 8, sizeof text - 1, false}};
    if (!s) abort();
    if (tok_encode(t, s, (slice){text, sizeof text - 1}, spans, 3, &out, &escaped, &err) == RW_OK)
      for (size_t i = 0; i < out.len; i++) {
        if (out.p[i] < 0 || (size_t)out.p[i] >= tok_vocab_size(t)) abort();
        slice token = tok_text(t, out.p[i]);
        fuzz_touch(token.p, token.len);
      }
    tok_encode(t, s, (slice){text, sizeof text - 1}, NULL, 0, &out, NULL, &err);
    mem_free(out.p);
    tok_scratch_free(s);
    tok_free(t);
  }
  return 0;
}

#endif
