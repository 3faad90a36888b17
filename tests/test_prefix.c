/* test_prefix.c - keys and values kept over passes: every family's rewards keep their bits, whatever was kept,
 * found, shared within a pass or thrown out before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/model.h"
#include "model/prefix_cache.h"

enum { CONVERSATIONS = 24, LONGEST = 150, GROUP = 4, VOCABULARY = 100 };
static rw_error err;
#define OK(call) \
  if (call) fail_msg("%s", err.text)

typedef struct {
  int32_t ids[CONVERSATIONS][LONGEST];
  const int32_t *at[CONVERSATIONS];
  size_t len[CONVERSATIONS];
} talk;

/* Each conversation begins as one before it does, up to some token. */
static void draw(talk *t, rng *r) {
  for (size_t c = 0; c < CONVERSATIONS; c++) {
    t->at[c] = t->ids[c];
    t->len[c] = 1 + rng_below(r, LONGEST);
    for (size_t i = 0; i < LONGEST; i++) t->ids[c][i] = 3 + (int32_t)rng_below(r, VOCABULARY);
    if (c) memcpy(t->ids[c], t->ids[rng_below(r, c)], rng_below(r, LONGEST + 1) * sizeof(int32_t));
  }
}

static void bits_stay(const char *dir, uint64_t bytes, bool must_evict) {
  rw_context context;
  model *plain, *keeping;
  static talk t;
  rng r = rng_new(5, 0);
  context_init(&context, NULL, NULL);
  OK(context_start(&context, 2, &err));
  const model_options o = {.context = &context, .new_head = true};
  OK(model_open(&plain, dir, &o, &err));
  OK(model_open(&keeping, dir, &o, &err));
  OK(model_keep_prefixes(keeping, bytes, &err));
  for (int round = 0; round < 3; round++) {
    draw(&t, &r);
    for (int twice = 0; twice < 2; twice++)
      for (size_t c = 0; c < CONVERSATIONS; c += GROUP) {
        float want[GROUP], got[GROUP];
        id_group g[GROUP] = {{t.at + c, t.len + c, GROUP}};
        size_t n = 1;
        if (twice) /* a group by themselves each, so that trees of one pass find one another's blocks */
          for (n = 0; n < GROUP; n++) g[n] = (id_group){t.at + c + n, t.len + c + n, 1};
        OK(model_score(plain, g, n, true, want, &err));
        OK(model_score(keeping, g, n, true, got, &err));
        assert_memory_equal(want, got, sizeof want);
      }
  }
  prefix_figures f = model_prefix_figures(keeping);
  assert_true(f.bytes <= bytes && f.found_tokens > 1000 && f.found_tokens < f.asked_tokens);
  assert_true(must_evict ? f.evicted_blocks > 0 : f.evicted_blocks == 0);
  model_free(keeping);
  model_free(plain);
  context_end(&context);
}

static void every_family_keeps_its_bits(void **state) {
  static const char *const families[] = {"llama",       "llama_bias", "llama_yarn",   "mistral",
                                         "qwen2",       "qwen3",      "qwen3_window", "gemma2",
                                         "gemma3_text", "internlm2",  "nemotron"};
  char dir[100];
  (void)state;
  for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
    snprintf(dir, sizeof dir, "tests/data/model/%s", families[i]);
    bits_stay(dir, 64 << 20, false);
    bits_stay(dir, 300 << 10, true);
  }
}

/* What was begun and not filled is not found later. */
static void a_pass_that_fails_leaves_nothing(void **state) {
  rw_context context;
  model *m;
  (void)state;
  context_init(&context, NULL, NULL);
  OK(context_start(&context, 1, &err));
  OK(model_open(&m, "tests/data/model/llama", &(model_options){.context = &context}, &err));
  OK(model_keep_prefixes(m, 1 << 20, &err));
  int32_t good[64] = {0}, bad[64] = {0};
  bad[63] = 1 << 20;
  const int32_t *ids[] = {good, bad};
  size_t len[] = {64, 64};
  float reward[2];
  assert_int_equal(model_score(m, &(id_group){ids, len, 2}, 1, true, reward, &err), RW_DATA);
  assert_int_equal(model_prefix_figures(m).blocks, 0);
  OK(model_score(m, &(id_group){ids, len, 1}, 1, true, reward, &err));
  assert_int_equal(model_prefix_figures(m).blocks, 64 / PREFIX_BLOCK);
  model_free(m);
  context_end(&context);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_family_keeps_its_bits),
                                     cmocka_unit_test(a_pass_that_fails_leaves_nothing)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
