/* test_comm.c - one process as ranks: what it may ask of itself. Several are tests/cli_ranks.sh's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/context.h"

static void alone(void **s) {
  (void)s;
  rw_context context;
  rw_error err;
  context_init(&context, NULL, NULL);
  comm *c = context.ranks;
  char all[5] = "abcd";
  int64_t v = -7;
  assert_int_equal(c->rank, 0);
  assert_int_equal(c->size, 1);
  assert_int_equal(c->node_size, 1);
  assert_int_equal(c->begin(c, 0, NULL, 0, NULL, 0, &err), RW_OK);
  bool done = false;
  assert_int_equal(c->test(c, 0, &done, &err), RW_OK);
  assert_true(done);
  assert_int_equal(c->end(c, 0, &err), RW_OK);
  assert_int_equal(c->begin(c, 0, &(comm_part){0, all, 4}, 1, NULL, 0, &err), RW_USAGE);
  assert_int_equal(c->gather(c, all, (size_t[]){0, 4}, &err), RW_OK);
  assert_int_equal(c->bcast(c, all, 4, 0, &err), RW_OK);
  assert_string_equal(all, "abcd");
  assert_int_equal(c->most(c, &v, 1, &err), RW_OK);
  assert_int_equal(v, -7);
  rw_fail(&err, RW_DATA, "a row");
  assert_int_equal(comm_agree(c, RW_DATA, &err), RW_DATA);
  assert_string_equal(err.text, "a row");
  assert_int_equal(comm_same_text(c, "a", "x", &err), RW_OK);
  assert_int_equal(comm_same(c, 1, "x", &err), RW_OK);
  c->close(c);
  context_end(&context);
}

/* Of ranks that share cores each takes its part, unless it is told how many threads. */
static void share_of_cores(void **s) {
  (void)s;
  rw_context context;
  for (int threads = 0; threads < 4; threads += 3) {
    context_init(&context, NULL, NULL);
    context.alone.cores = 2;
    assert_int_equal(context_start(&context, threads, NULL), RW_OK);
    assert_int_equal(pool_threads(context.threads), threads ? threads : 2);
    context_end(&context);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(alone), cmocka_unit_test(share_of_cores)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
