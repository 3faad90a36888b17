/* test_base_thread.c - the pool: each task once, whatever the counts of tasks and threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/thread.h"

enum { MOST = 5000 };
typedef struct {
  int times[MOST]; /* a task's own place */
  int threads;
  size_t last;
  int ascending, strange;
} seen;

static void look(void *ctx, size_t task, int thread) {
  seen *s = ctx;
  s->times[task]++;
  if (thread < 0 || thread >= s->threads) __atomic_store_n(&s->strange, 1, __ATOMIC_RELAXED);
}
static void look_in_order(void *ctx, size_t task, int thread) {
  seen *s = ctx;
  look(ctx, task, thread);
  if (task != 0 && task != s->last + 1) s->ascending = 0;
  s->last = task;
}

static void each_task_runs_once(void **state) {
  (void)state;
  static const size_t tasks[] = {0, 1, 2, 3, 7, 64, MOST};
  for (int threads = 1; threads <= 9; threads += 2) {
    pool *p;
    assert_int_equal(pool_new(&p, threads, NULL), 0);
    assert_int_equal(pool_threads(p), threads);
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
      static seen s;
      s = (seen){.threads = threads};
      pool_run(p, tasks[i], look, &s);
      for (size_t t = 0; t < MOST; t++) assert_int_equal(s.times[t], t < tasks[i]);
      assert_false(s.strange);
    }
    pool_free(p);
  }
}

typedef struct {
  seen s; /* first: look() gets it */
  pthread_t caller;
  int own, strange, early; /* early: a single thread came to a task before */
} beside;

static void own_work(void *ctx) {
  beside *b = ctx;
  b->own++;
  if (!pthread_equal(b->caller, pthread_self())) b->strange = 1;
  for (size_t t = 0; b->s.threads == 1 && t < MOST; t++) b->early |= b->s.times[t];
}

static void callers_own_work_comes_first(void **state) {
  (void)state;
  static const size_t tasks[] = {0, 1, 2, 100};
  for (int threads = 1; threads <= 3; threads++) {
    pool *p;
    assert_int_equal(pool_new(&p, threads, NULL), 0);
    for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++) {
      static beside b;
      b = (beside){.s.threads = threads, .caller = pthread_self()};
      pool_run_beside(p, own_work, tasks[i], look, &b);
      assert_true(b.own == 1 && !b.strange && !b.early && !b.s.strange);
      for (size_t t = 0; t < MOST; t++) assert_int_equal(b.s.times[t], t < tasks[i]);
    }
    pool_free(p);
  }
}

static void one_thread_goes_in_order(void **state) {
  (void)state;
  static seen s;
  pool *p;
  s = (seen){.threads = 1, .ascending = 1};
  assert_int_equal(pool_new(&p, 1, NULL), 0);
  pool_run(p, 100, look_in_order, &s);
  assert_true(s.ascending && s.last == 99);
  pool_free(p);
}

/* A run sees all that the run before wrote: each writes one half from places of the other that other threads wrote.
 */
typedef struct {
  unsigned half[2][64];
  int now;
} halves;
static void one_more(void *ctx, size_t task, int thread) {
  (void)thread;
  halves *h = ctx;
  h->half[h->now][task] = h->half[!h->now][(task + 31) % 64] + 1;
}
static void runs_follow_each_other(void **state) {
  (void)state;
  enum { RUNS = 2000 };
  pool *p;
  halves h = {0};
  assert_int_equal(pool_new(&p, 4, NULL), 0);
  for (int i = 0; i < RUNS; i++) {
    h.now = i % 2;
    pool_run(p, 64, one_more, &h);
  }
  pool_free(p);
  for (int i = 0; i < 64; i++) assert_int_equal(h.half[h.now][i], RUNS);
}

static void none_asked_is_one_for_each_core(void **state) {
  (void)state;
  pool *p, *q;
  assert_int_equal(pool_new(&p, 0, NULL), 0);
  assert_int_equal(pool_new(&q, -3, NULL), 0);
  assert_true(pool_threads(p) >= 1);
  assert_int_equal(pool_threads(p), pool_threads(q));
  pool_free(p);
  pool_free(q);
  pool_free(NULL);
}

static void without_memory_there_is_none(void **state) {
  (void)state;
  rw_error err;
  for (long n = 0; n < 3; n++) {
    pool *p = NULL;
    mem_fail_after(n);
    rw_status s = pool_new(&p, 3, &err);
    mem_fail_after(-1);
    if (s) assert_int_equal(s, RW_NOMEM);
    if (s) assert_null(p);
    pool_free(p);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(each_task_runs_once),          cmocka_unit_test(one_thread_goes_in_order),
      cmocka_unit_test(runs_follow_each_other),       cmocka_unit_test(none_asked_is_one_for_each_core),
      cmocka_unit_test(without_memory_there_is_none), cmocka_unit_test(callers_own_work_comes_first),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
