/* fetch.h - the second reading: chosen candidates as conversations, each worked on by some thread and then handed
 * on in the order of their later rows, without holding more than pairs in the making.
 */
#ifndef CURATE_FETCH_H
#define CURATE_FETCH_H

#include "curate/curation.h"

typedef struct {
  arena *keep; /* for what the result points to: stays until sink has had it */
  void *own;   /* the thread's lane_size bytes */
} pair_lane;

typedef struct {
  size_t result_size;                                          /* bytes of a pair's result; zeroed before work */
  size_t lane_size;                                            /* bytes of a thread's own, zeroed; 0: it has none */
  rw_status (*lane_open)(void *ctx, void *own, rw_error *err); /* NULL: zeroes will do */
  void (*lane_close)(void *ctx,
                     void *own); /* ends each lane, also one that lane_open has not seen; NULL: nothing */
  /* pair: as the source's text() gave it, with the name of its source; gone when work returns. On any thread. */
  rw_status (*work)(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err);
  rw_status (*sink)(void *ctx, size_t i, void *result, rw_error *err);
  void *ctx;
} pair_job;

/* Reads the texts of the candidates that want[] marks. The first failure in their order ends the reading. */
rw_status curation_fetch(curation *r, const uint8_t *want, const pair_job *job, rw_error *err);

/* A copy with all its messages. false: no memory. */
bool pair_copy(conv_row *out, const conv_row *pair, arena *mem);

#endif
