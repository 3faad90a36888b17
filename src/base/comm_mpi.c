/* comm_mpi.c - comm.h over MPI: libreward_mpi.so, built by mpicc and loaded by comm.c. Only this file knows MPI. */
#include <mpi.h>
#include <stdlib.h>
#include <string.h>

#include "base/comm.h"

enum { MOST_BYTES = 1 << 30 }; /* of one message: MPI counts in int */

typedef struct {
  MPI_Comm world;
  MPI_Request *q[COMM_SLOTS];
  int n[COMM_SLOTS], cap[COMM_SLOTS];
  char name[MPI_MAX_LIBRARY_VERSION_STRING];
} state;

static rw_status fail(const comm *c, const char *doing, int e, rw_error *err) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int n;
  MPI_Error_string(e, text, &n);
  return rw_fail(err, RW_IO, "rank %d of %d: %s: %s", c->rank, c->size, doing, text);
}
#define TRY(doing, call)                                 \
  do {                                                   \
    int e = (call);                                      \
    if (e != MPI_SUCCESS) return fail(c, doing, e, err); \
  } while (0)

static int piece(size_t bytes, size_t at) { return (int)(bytes - at < MOST_BYTES ? bytes - at : MOST_BYTES); }

static rw_status post(comm *c, int slot, bool out, const comm_part *p, size_t n, rw_error *err) {
  state *s = c->state;
  for (size_t i = 0; i < n; i++)
    for (size_t at = 0; at < p[i].bytes; at += MOST_BYTES) {
      if (s->n[slot] == s->cap[slot]) {
        int cap = 2 * s->cap[slot] + 16;
        MPI_Request *q = realloc(s->q[slot], (size_t)cap * sizeof *q);
        if (!q) return rw_nomem(err, "messages");
        s->q[slot] = q;
        s->cap[slot] = cap;
      }
      MPI_Request *q = &s->q[slot][s->n[slot]];
      char *from = (char *)p[i].p + at;
      int bytes = piece(p[i].bytes, at);
      if (out)
        TRY("cannot send", MPI_Isend(from, bytes, MPI_BYTE, p[i].peer, slot, s->world, q));
      else
        TRY("cannot receive", MPI_Irecv(from, bytes, MPI_BYTE, p[i].peer, slot, s->world, q));
      s->n[slot]++;
    }
  return RW_OK;
}

static rw_status mpi_begin(comm *c, int slot, const comm_part *out, size_t n_out, const comm_part *in, size_t n_in,
                           rw_error *err) {
  RW_TRY(post(c, slot, false, in, n_in, err));
  return post(c, slot, true, out, n_out, err);
}

static rw_status mpi_end(comm *c, int slot, rw_error *err) {
  state *s = c->state;
  int n = s->n[slot];
  s->n[slot] = 0;
  TRY("cannot exchange", MPI_Waitall(n, s->q[slot], MPI_STATUSES_IGNORE));
  return RW_OK;
}

static rw_status mpi_test(comm *c, int slot, bool *done, rw_error *err) {
  state *s = c->state;
  int all;
  TRY("cannot exchange", MPI_Testall(s->n[slot], s->q[slot], &all, MPI_STATUSES_IGNORE)); /* end may follow it */
  *done = all;
  return RW_OK;
}

static rw_status mpi_bcast(comm *c, void *p, size_t bytes, int root, rw_error *err) {
  state *s = c->state;
  for (size_t at = 0; at < bytes; at += MOST_BYTES)
    TRY("cannot send to all", MPI_Bcast((char *)p + at, piece(bytes, at), MPI_BYTE, root, s->world));
  return RW_OK;
}

/* Round a ring: each part goes from neighbour to neighbour. */
static rw_status mpi_gather(comm *c, void *all, const size_t *at, rw_error *err) {
  int next = (c->rank + 1) % c->size, before = (c->rank + c->size - 1) % c->size;
  for (int k = 0; k + 1 < c->size; k++) {
    int o = (c->rank - k + c->size) % c->size, i = (before - k + c->size) % c->size;
    comm_part out = {next, (char *)all + at[o], at[o + 1] - at[o]},
              in = {before, (char *)all + at[i], at[i + 1] - at[i]};
    RW_TRY(mpi_begin(c, 0, &out, 1, &in, 1, err));
    RW_TRY(mpi_end(c, 0, err));
  }
  return RW_OK;
}

static rw_status mpi_most(comm *c, int64_t *v, int n, rw_error *err) {
  TRY("cannot agree", MPI_Allreduce(MPI_IN_PLACE, v, n, MPI_INT64_T, MPI_MAX, ((state *)c->state)->world));
  return RW_OK;
}

static void mpi_abort(comm *c, int status) { MPI_Abort(((state *)c->state)->world, status); }

static void mpi_close(comm *c) {
  state *s = c->state;
  MPI_Comm_free(&s->world);
  MPI_Finalize();
  for (int i = 0; i < COMM_SLOTS; i++) free(s->q[i]);
  free(s);
  free(c);
}

static rw_status start(comm *c, rw_error *err) {
  state *s = c->state;
  MPI_Comm node;
  int level, len;
  TRY("MPI cannot start", MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &level)); /* the pool's never call it */
  TRY("MPI cannot start", MPI_Comm_dup(MPI_COMM_WORLD, &s->world));
  MPI_Comm_set_errhandler(s->world, MPI_ERRORS_RETURN);
  MPI_Comm_rank(s->world, &c->rank);
  MPI_Comm_size(s->world, &c->size);
  TRY("MPI cannot tell machines apart",
      MPI_Comm_split_type(s->world, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &node));
  MPI_Comm_rank(node, &c->node_rank);
  MPI_Comm_size(node, &c->node_size);
  MPI_Comm_free(&node);
  MPI_Get_library_version(s->name, &len);
  s->name[strcspn(s->name, ",\n")] = 0;
  return RW_OK;
}

__attribute__((visibility("default"))) rw_status COMM_MPI_OPEN(comm **out, rw_error *err);
rw_status COMM_MPI_OPEN(comm **out, rw_error *err) {
  comm *c = calloc(1, sizeof *c);
  state *s = calloc(1, sizeof *s);
  if (!c || !s) return free(c), free(s), rw_nomem(err, "ranks");
  *c = (comm){.size = 1,
              .gpu = -1,
              .name = s->name,
              .begin = mpi_begin,
              .end = mpi_end,
              .test = mpi_test,
              .bcast = mpi_bcast,
              .gather = mpi_gather,
              .most = mpi_most,
              .abort = mpi_abort,
              .close = mpi_close,
              .state = s};
  rw_status started = start(c, err);
  if (started) return free(c), free(s), started; /* the process ends with it */
  *out = c;
  return RW_OK;
}
