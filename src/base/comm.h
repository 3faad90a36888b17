/* comm.h - the ranks of a run: the processes that work together, as one process or as what a launcher has started.
 *
 * It moves bytes and agrees on small numbers; it never adds floats. Sums over ranks are their caller's, in an order
 * of its own, so no bit depends on the library, the network or the number of ranks. All ranks make the same calls
 * in the same order, each on one thread. Memory is the host's, or, where `gpu` says so, that GPU's too; what was
 * put there must be done when it is handed over.
 */
#ifndef BASE_COMM_H
#define BASE_COMM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { COMM_SLOTS = 3 };

typedef struct {
  int peer;
  void *p; /* read for a send, written for a receive */
  size_t bytes;
} comm_part;

typedef struct comm comm;
struct comm {
  int rank, size;           /* 0 of 1 in one process */
  int node_rank, node_size; /* among those of this machine, which share its memory */
  int cores;                /* this rank's share of those that it may run on; 0: all of them */
  bool bound;               /* to one core, and other cores of the machine are left to no rank */
  int gpu;                  /* the GPU, as this process counts them, whose memory it takes too; -1: none */
  const char *name;         /* for run records: "one process", "Open MPI v4.1.4" */
  bool agreed;              /* the last comm_agree found a failure: all ranks know of it */

  /* Everything in out goes, everything in in comes; parts of one peer arrive in the order in which they are sent,
   * of the size that was sent. Begun and ended apart, so that work can stand between; `slot` says which of
   * COMM_SLOTS. Of slot 0 nothing may be under way at a gather. */
  rw_status (*begin)(comm *c, int slot, const comm_part *out, size_t n_out, const comm_part *in, size_t n_in,
                     rw_error *err);
  rw_status (*end)(comm *c, int slot, rw_error *err);
  /* Gets on with what is under way, without waiting; *done: end would not wait. */
  rw_status (*test)(comm *c, int slot, bool *done, rw_error *err);
  rw_status (*bcast)(comm *c, void *p, size_t bytes, int root, rw_error *err);
  /* all: the parts of all ranks, that of rank r at bytes [at[r], at[r + 1]); each rank has filled its own. */
  rw_status (*gather)(comm *c, void *all, const size_t *at, rw_error *err);
  /* v[i] becomes the largest of all ranks': a status, a wish to stop, a hash and its complement. */
  rw_status (*most)(comm *c, int64_t *v, int n, rw_error *err);
  void (*abort)(comm *c, int status); /* ends the processes of all ranks; does not return */
  void (*close)(comm *c);             /* all ranks together; frees c unless it is one process */
  void *state;
};

/* What opens the plugins' ranks, the one exported name of each; the number is that of this struct. NCCL's begin by
 * MPI's, which are then theirs to close, or over TCP (NULL). */
#define COMM_MPI_PLUGIN  "libreward_mpi.so"
#define COMM_MPI_OPEN    reward_comm_mpi_3
#define COMM_NCCL_PLUGIN "libreward_nccl.so"
#define COMM_NCCL_OPEN   reward_comm_nccl_3
typedef rw_status (*comm_mpi_opener)(comm **out, rw_error *err);
typedef rw_status (*comm_nccl_opener)(comm **out, comm *by, rw_error *err);

comm comm_alone(void); /* one process */
/* *out: `alone`, or, where mpirun, srun or the like has started this process as one of several, what the plugin
 * makes of them: MPI's, or with REWARD_NCCL=1 in the environment NCCL's, which needs no MPI where torchrun's
 * variables, or MASTER_ADDR beside Slurm's, say who is who. What this process starts in its turn is then no rank.
 */
rw_status comm_open(comm **out, comm *alone, rw_error *err);

/* What all ranks make of `mine`: RW_OK when it is that on all of them. Else the failure of the lowest rank that has
 * one (RW_INTERRUPTED only where nothing else failed), with its text and, but for rank 0, its number: all ranks go
 * on as if it were theirs. */
rw_status comm_agree(comm *c, rw_status mine, rw_error *err);
/* v[i] becomes the sum of all ranks': integers, which have no order. */
rw_status comm_sum(comm *c, uint64_t *v, int n, rw_error *err);
/* RW_USAGE on all ranks, with a text that begins with `what`, unless v is the same on all of them. Stands for an
 * agreement. */
rw_status comm_same(comm *c, uint64_t v, const char *what, rw_error *err);
/* The same of a text, of which 399 bytes count; both are named. */
rw_status comm_same_text(comm *c, const char *text, const char *what, rw_error *err);

#endif
