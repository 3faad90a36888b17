/* meet.h - processes that a launcher without MPI has started meet over TCP: each is told who it is by the
 * environment, all come to rank 0, and stay connected to it, so that the end of one is noticed by the others.
 *
 * Nothing here is fast, and little is sent: what a faster way needs to begin (comm_nccl.c), and the news of an end.
 * The token keeps runs apart that took the same port; it is no secret, as nothing here is encrypted.
 */
#ifndef BASE_MEET_H
#define BASE_MEET_H

#include "base/status.h"

typedef struct {
  int rank, size;
  int local;        /* this rank's number among those of its machine; -1: found out by their names */
  const char *host; /* where rank 0 listens */
  char port[12];
  char token[128]; /* the same on all ranks */
  int seconds;     /* so long all are waited for */
} meet_plan;

typedef struct {
  int rank, size, node_rank, node_size;
  int *fd; /* of rank 0: each rank's; of others: [0] is rank 0's; -1: that one has taken its leave */
} meeting;

/* How many ranks RANK and WORLD_SIZE (torchrun's) say there are; 1: they are not both there. */
int meet_launched(void);
/* From RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, or Slurm's numbers instead of the first three;
 * REWARD_MEET_TOKEN, else torchrun's or Slurm's number of the run; REWARD_MEET_SECONDS (120). */
rw_status meet_plan_read(meet_plan *p, rw_error *err);
/* All have come, once. A failure of one before that is all ranks', with the same text. */
rw_status meet_all(meeting *m, const meet_plan *p, rw_error *err);
/* Rank 0's bytes, a few, to all. */
rw_status meet_tell(meeting *m, void *p, size_t bytes, rw_error *err);
/* Without waiting: is there news? *ended: a status by which another rank has ended the run (-1: none). A rank that
 * is gone without a word is a failure. */
rw_status meet_watch(meeting *m, int *ended, rw_error *err);
void meet_abort(meeting *m, int status); /* the others hear of it at their next meet_watch */
void meet_leave(meeting *m);             /* takes leave, and frees */

#endif
