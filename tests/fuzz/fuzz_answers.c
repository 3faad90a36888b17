/* fuzz_answers.c - any bytes as the file that keeps a server's answers: lines are passed over or give an answer,
 * and one that is added then is read back as it was. */
#include "base/context.h"
#include "eval/answers.h"
#include "eval/remote.h"
#include "fuzz.h"

typedef struct {
  json_doc *d;
  size_t n;
  bool found;
} reading;

static const char BODY[] = "added \"\n\x01";

static void take(void *ctx, slice key, slice body) {
  reading *r = ctx;
  rw_error err;
  double v = 0;
  answer a;
  fuzz_touch(key.p, key.len);
  if (json_parse(r->d, body.p, body.len, &err) == RW_OK) {
    for (int f = ENDPOINT_NEMOTRON; f <= ENDPOINT_SGLANG; f++)
      if (reply_reward(&v, r->d, (endpoint_format)f, &err) == RW_OK && !isfinite(v)) abort();
    reply_chat(&a, r->d, ASK_PAIR, &err);
  }
  r->n++;
  r->found |= slice_is(key, "key") && slice_is(body, BODY);
}

static size_t read_all(const char *path, rw_context *context, bool add) {
  reading r = {.d = json_new()};
  answers a;
  rw_error err;
  if (!r.d) abort();
  if (answers_open(&a, path, take, &r, context, &err) != RW_OK) {
    if (!add) abort(); /* it could be read before */
    r.n = SIZE_MAX;    /* a row beyond the limit, bytes that pretend to be compressed */
  } else if (add ? answers_add(&a, "key", slice_of(BODY), &err) != RW_OK : !r.found) {
    abort();
  }
  answers_close(&a);
  json_free(r.d);
  return r.n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static char path[128];
  rw_context context;
  context_init(&context, NULL, NULL);
  snprintf(path, sizeof path, "%s/answers.jsonl", fuzz_dir("answers.jsonl", data, size));
  size_t before = read_all(path, &context, true);
  if (before != SIZE_MAX && read_all(path, &context, false) != before + 1) abort();
  return 0;
}
