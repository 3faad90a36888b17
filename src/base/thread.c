/* thread.c - the pool: each thread takes the tasks of its own share, in order, then what is left of the others'. So
 * rows that one run left in a core's cache meet the same core in the next. A model's layer is dozens of short runs,
 * so both sides of a run wait awake for SPIN_SECONDS before they sleep on a condition variable; not where the
 * threads outnumber the processors. */
#define _GNU_SOURCE
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/clock.h"
#include "base/mem.h"

#define SPIN_SECONDS 1e-4

struct pool {
  int threads; /* workers plus the caller */
  pthread_t *ids;
  struct worker {
    pool *p;
    int index;
    _Alignas(64) atomic_size_t next; /* next task of its share */
  } * workers;
  pthread_mutex_t turn; /* callers take turns */
  pthread_mutex_t lock;
  locale_t numbers;
  pthread_cond_t start, done;
  atomic_uint_fast64_t generation; /* counts runs, and the order to stop; a worker waits for the next one */
  atomic_int busy;                 /* workers that have not finished this run */
  bool stop, spin;
  size_t tasks;
  void (*fn)(void *, size_t, int);
  void *ctx;
};

static size_t share_begin(const pool *p, size_t index) { return p->tasks * index / (size_t)p->threads; }

static void take_tasks(pool *p, int index) {
  for (int i = 0; i < p->threads; i++) {
    size_t owner = (size_t)(index + i) % (size_t)p->threads, end = share_begin(p, owner + 1), t;
    while ((t = atomic_fetch_add_explicit(&p->workers[owner].next, 1, memory_order_relaxed)) < end)
      p->fn(p->ctx, t, index);
  }
}

static bool run_begun(pool *p, uint64_t seen) { return atomic_load(&p->generation) != seen; }
static bool run_over(pool *p, uint64_t ignored) {
  (void)ignored;
  return atomic_load(&p->busy) == 0;
}

/* Waits until ready(p, seen), awake at first, then asleep on `wake`. */
static void await(pool *p, bool (*ready)(pool *, uint64_t), uint64_t seen, pthread_cond_t *wake) {
  if (p->spin) {
    double end = clock_seconds() + SPIN_SECONDS;
    do
      for (int i = 0; i < 64; i++) {
        if (ready(p, seen)) return;
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      }
    while (clock_seconds() < end);
  }
  pthread_mutex_lock(&p->lock);
  while (!ready(p, seen)) pthread_cond_wait(wake, &p->lock);
  pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg) {
  struct worker *w = arg;
  pool *p = w->p;
  uselocale(p->numbers);
  for (uint64_t seen = 0;; seen++) {
    await(p, run_begun, seen, &p->start);
    if (p->stop) return NULL;
    take_tasks(p, w->index);
    if (atomic_fetch_sub(&p->busy, 1) == 1) {
      pthread_mutex_lock(&p->lock);
      pthread_cond_signal(&p->done);
      pthread_mutex_unlock(&p->lock);
    }
  }
}

rw_status pool_new(pool **out, int threads, rw_error *err) {
  *out = NULL;
  cpu_set_t set;
  int processors = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  if (threads <= 0) threads = processors;
  pool *p = mem_zalloc(1, sizeof *p);
  if (!p) return rw_nomem(err, "thread pool");
  p->threads = 1;
  p->spin = threads <= processors;
  p->ids = mem_zalloc((size_t)threads, sizeof *p->ids);
  p->workers = mem_aligned((size_t)threads, sizeof *p->workers);
  p->numbers = newlocale(LC_ALL_MASK, "C", (locale_t)0);
  pthread_mutex_init(&p->turn, NULL);
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->start, NULL);
  pthread_cond_init(&p->done, NULL);
  if (!p->ids || !p->workers || !p->numbers) {
    pool_free(p);
    return rw_nomem(err, "thread pool");
  }
  for (int i = 1; i < threads; i++) {
    p->workers[i].p = p;
    p->workers[i].index = i;
    if (pthread_create(&p->ids[i], NULL, worker_main, &p->workers[i]) != 0) {
      pool_free(p);
      return rw_fail(err, RW_IO, "thread pool: could not start thread %d of %d; use " FIELD(threads) " %d", i + 1,
                     threads, i);
    }
    p->threads++;
  }
  *out = p;
  return RW_OK;
}

void pool_free(pool *p) {
  if (!p) return;
  pthread_mutex_lock(&p->lock);
  p->stop = true;
  atomic_fetch_add(&p->generation, 1);
  pthread_cond_broadcast(&p->start);
  pthread_mutex_unlock(&p->lock);
  for (int i = 1; i < p->threads; i++) pthread_join(p->ids[i], NULL);
  if (p->numbers) freelocale(p->numbers);
  pthread_mutex_destroy(&p->turn);
  pthread_mutex_destroy(&p->lock);
  pthread_cond_destroy(&p->start);
  pthread_cond_destroy(&p->done);
  mem_free(p->ids);
  mem_free(p->workers);
  mem_free(p);
}

int pool_threads(const pool *p) { return p->threads; }
locale_t pool_locale(const pool *p) { return p->numbers; }

void pool_run(pool *p, size_t tasks, void (*fn)(void *, size_t, int), void *ctx) {
  pool_run_beside(p, NULL, tasks, fn, ctx);
}

void pool_run_beside(pool *p, void (*own)(void *), size_t tasks, void (*fn)(void *, size_t, int), void *ctx) {
  if (p->threads == 1 || tasks + (own != NULL) <= 1) {
    if (own) own(ctx);
    for (size_t t = 0; t < tasks; t++) fn(ctx, t, 0);
    return;
  }
  pthread_mutex_lock(&p->turn);
  pthread_mutex_lock(&p->lock);
  p->fn = fn;
  p->ctx = ctx;
  p->tasks = tasks;
  for (int i = 0; i < p->threads; i++) atomic_store(&p->workers[i].next, share_begin(p, (size_t)i));
  atomic_store(&p->busy, p->threads - 1);
  atomic_fetch_add(&p->generation, 1);
  pthread_cond_broadcast(&p->start);
  pthread_mutex_unlock(&p->lock);
  if (own) own(ctx);
  take_tasks(p, 0);
  await(p, run_over, 0, &p->done);
  pthread_mutex_unlock(&p->turn);
}
