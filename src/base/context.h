/* context.h - what a caller of the library works in: threads, a place for messages, and the flag that
 * interrupts its work; and the other ranks, if there are any. Nothing of these is global, so several contexts in
 * one process know nothing of each other.
 */
#ifndef BASE_CONTEXT_H
#define BASE_CONTEXT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "base/comm.h"
#include "base/thread.h"

struct rw_context {
  pool *threads; /* NULL until context_start */
  rw_log_fn log; /* NULL: nothing is said */
  void *user;
  double progress_seconds; /* between two lines of progress */
  pthread_mutex_t saying;
  atomic_bool interrupted;
  size_t max_row_bytes;      /* the longest row that is read; 0: 64 MiB */
  const struct row_map *map; /* what rows' fields are called (data/form.h); NULL: as their forms have them */
  comm *ranks;               /* the processes that work together; &alone unless the program says otherwise */
  comm alone;
  bool options; /* messages spell an option's field as the program's option */
};

void context_init(rw_context *context, rw_log_fn log, void *user);
/* Starts the pool, once; threads as for pool_new, but that all cores are this rank's share of them. */
rw_status context_start(rw_context *context, int threads, rw_error *err);
void context_end(rw_context *context); /* ends the pool */

/* Spells the fields (FIELD of status.h) in a message as the context's user knows them; returns its length. */
size_t context_spell(const rw_context *context, char *text);

#endif
