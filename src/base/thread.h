/* thread.h - a pool of threads that share out numbered tasks.
 *
 * The result of a run never depends on which thread took which task: tasks write to places of their own,
 * and no sum is divided among threads.
 */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <locale.h>
#include <stddef.h>

#include "base/status.h"

typedef struct pool pool;
/* threads <= 0: one for each core that this process may run on. */
rw_status pool_new(pool **out, int threads, rw_error *err);
void pool_free(pool *p); /* NULL is fine */
int pool_threads(const pool *p);
locale_t pool_locale(const pool *p); /* the C locale, in which the pool's own threads are */
/* Calls fn(ctx, task, thread) for task = 0..tasks-1, thread = 0..pool_threads-1; returns when all are
 * done. The calling thread is thread 0. Callers from several threads take turns. Must not be called from inside
 * a task. */
void pool_run(pool *p, size_t tasks, void (*fn)(void *ctx, size_t task, int thread), void *ctx);
/* The same, but the calling thread does its own work first, while the others are at the tasks; own NULL: none. */
void pool_run_beside(pool *p, void (*own)(void *ctx), size_t tasks, void (*fn)(void *ctx, size_t task, int thread),
                     void *ctx);

#endif
