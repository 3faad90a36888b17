/* fuzz_reply.c - any bytes as a server's reply, in each format: damaged, or one answer. */
#include <string.h>

#include "eval/remote.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rw_error err;
  json_doc *d = json_new();
  char *text = malloc(size ? size : 1); /* of its own size: a byte read behind it is seen */
  if (!d || !text) abort();
  memcpy(text, data, size);
  double v = 0;
  answer a = judge_read(ASK_PAIR, (slice){text, size});
  if (a.kind == ANSWER_NONE || a.kind == ANSWER_NUMBER) abort();
  a = judge_read(ASK_RATING, (slice){text, size});
  if (a.kind == ANSWER_NUMBER && !(a.value >= 1 && a.value <= 10)) abort();
  if (reply_attributes(&v, (slice){text, size}, &err) == RW_OK && !isfinite(v)) abort();
  if (json_parse(d, text, size, &err) == RW_OK) {
    for (int f = ENDPOINT_NEMOTRON; f <= ENDPOINT_SGLANG; f++)
      if (reply_reward(&v, d, (endpoint_format)f, &err) == RW_OK && !isfinite(v)) abort();
    reply_chat(&a, d, ASK_PAIR, &err);
  }
  json_free(d);
  free(text);
  return 0;
}
