/* test_session.c - several sessions over the same weights, in threads of their own at once: the same bits as one
 * alone; training wants the weights for itself; the weights live until the last session ends.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "model/model.h"

enum { SESSIONS = 3, ROUNDS = 20, LENGTH = 40 };
static rw_error err;
#define OK(call) \
  if (call) fail_msg("%s", err.text)

typedef struct {
  rw_context context;
  model *m;
  float reward;
  rw_status status;
} worker;

static void score(worker *w) {
  int32_t token[LENGTH];
  const int32_t *ids = token;
  size_t len = LENGTH;
  id_group g = {&ids, &len, 1};
  rw_error e;
  for (int32_t i = 0; i < LENGTH; i++) token[i] = 3 + i;
  for (int i = 0; i < ROUNDS && !w->status; i++) w->status = model_score(w->m, &g, 1, true, &w->reward, &e);
}
static void *run(void *arg) {
  score(arg);
  return NULL;
}

static void sessions_share_weights(void **state) {
  (void)state;
  static const char *const dirs[] = {"tests/data/model/llama", "tests/data/model/gemma2", "tests/data/lora/llama"};
  for (size_t k = 0; k < sizeof dirs / sizeof *dirs; k++) {
    worker w[SESSIONS] = {0};
    pthread_t thread[SESSIONS];
    for (int i = 0; i < SESSIONS; i++) {
      context_init(&w[i].context, NULL, NULL);
      OK(context_start(&w[i].context, 1 + i, &err));
    }
    OK(model_open(&w[0].m, dirs[k], &(model_options){.context = &w[0].context, .new_head = true}, &err));
    score(&w[0]);
    float alone = w[0].reward;
    for (int i = 1; i < SESSIONS; i++) OK(model_session(&w[i].m, w[0].m, &w[i].context, &err));
    assert_int_equal(model_train(w[0].m, &(model_train_options){0}, &err), RW_USAGE);
    for (int i = 0; i < SESSIONS; i++) assert_int_equal(pthread_create(&thread[i], NULL, run, &w[i]), 0);
    for (int i = 0; i < SESSIONS; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < SESSIONS; i++) {
      assert_int_equal(w[i].status, RW_OK);
      assert_memory_equal(&w[i].reward, &alone, sizeof alone);
    }
    model_free(w[0].m); /* its weights stay for the others */
    score(&w[1]);
    assert_memory_equal(&w[1].reward, &alone, sizeof alone);
    for (int i = 1; i < SESSIONS; i++) model_free(w[i].m);
    for (int i = 0; i < SESSIONS; i++) context_end(&w[i].context);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(sessions_share_weights)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
