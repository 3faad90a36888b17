/* comm_nccl.c - comm.h over NCCL: libreward_nccl.so, built where nccl.h is and loaded by comm.c. Only this file
 * knows NCCL.
 *
 * A part in a GPU's memory travels as it is; one of the host's by way of room on the GPU. NCCL sends, receives and
 * takes the largest of integers; its sums of floats, whose order is its own, are not used. All of it is put on one
 * stream, in the order of the calls, which is the same on all ranks; whoever waits looks meanwhile whether the
 * others are still there. Ranks find each other by MPI, or over TCP (meet.h).
 */
#include <cuda_runtime_api.h>
#include <nccl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/comm.h"
#include "base/meet.h"

enum { OWN = COMM_SLOTS, SLOTS, ALIGN = 256, BCAST_BYTES = 16 << 20, SPINS = 1000, NAP_NS = 20000 };

/* One exchange: what has come for the host stands in room until its end. */
typedef struct {
  char *room;
  size_t room_bytes;
  comm_part *back; /* where to, and how much; in room one after another from `at` */
  size_t n_back, cap, at;
  cudaEvent_t done;
} exchange;

typedef struct {
  ncclComm_t nccl;
  cudaStream_t stream, copies;
  exchange x[SLOTS];
  comm *by; /* MPI, or NULL: meeting */
  meeting meeting;
  char name[160];
} state;

static rw_status fail(const comm *c, const char *doing, const char *why, rw_error *err) {
  return rw_fail(err, RW_IO, "rank %d of %d: %s: %s", c->rank, c->size, doing, why);
}
#define CUDA(doing, call)                                                        \
  do {                                                                           \
    cudaError_t bad = (call);                                                    \
    if (bad != cudaSuccess) return fail(c, doing, cudaGetErrorString(bad), err); \
  } while (0)
#define NCCL(doing, call) RW_TRY(settle(c, doing, call, err))

/* ---- waiting ---- */

/* Are the others still there? Does not return where one of them has ended the run. */
static rw_status watch(comm *c, rw_error *err) {
  state *s = c->state;
  ncclResult_t r = ncclSuccess;
  int ended = -1;
  if (!s->by) RW_TRY(meet_watch(&s->meeting, &ended, err));
  if (ended >= 0) _exit(ended);
  if (s->nccl && ncclCommGetAsyncError(s->nccl, &r) == ncclSuccess && r != ncclSuccess && r != ncclInProgress)
    return fail(c, "cannot exchange", ncclGetErrorString(r), err);
  return RW_OK;
}

static void nap(void) { nanosleep(&(struct timespec){0, NAP_NS}, NULL); }

/* A call of NCCL may go on behind its return. */
static rw_status settle(comm *c, const char *doing, ncclResult_t r, rw_error *err) {
  state *s = c->state;
  while (r == ncclInProgress) {
    RW_TRY(watch(c, err));
    nap();
    if (ncclCommGetAsyncError(s->nccl, &r) != ncclSuccess) r = ncclInternalError;
  }
  return r == ncclSuccess ? RW_OK : fail(c, doing, ncclGetErrorString(r), err);
}

static rw_status arrived(comm *c, exchange *x, bool *done, rw_error *err) {
  cudaError_t e = cudaEventQuery(x->done);
  *done = e == cudaSuccess;
  if (e != cudaSuccess && e != cudaErrorNotReady) return fail(c, "cannot exchange", cudaGetErrorString(e), err);
  return *done ? RW_OK : watch(c, err);
}

static rw_status await(comm *c, exchange *x, rw_error *err) {
  bool done = false;
  for (int i = 0; !done; i++) {
    RW_TRY(arrived(c, x, &done, err));
    if (i > SPINS) nap();
  }
  return RW_OK;
}

/* ---- memory ---- */

static bool on_gpu(const void *p) {
  struct cudaPointerAttributes a;
  if (cudaPointerGetAttributes(&a, p) != cudaSuccess) return (void)cudaGetLastError(), false;
  return a.type == cudaMemoryTypeDevice || a.type == cudaMemoryTypeManaged;
}

static size_t aligned(size_t bytes) { return (bytes + ALIGN - 1) / ALIGN * ALIGN; }

static rw_status need_room(comm *c, exchange *x, size_t bytes, rw_error *err) {
  if (bytes <= x->room_bytes) return RW_OK;
  CUDA("cannot free memory of the GPU", cudaFree(x->room));
  x->room = NULL;
  x->room_bytes = 0;
  CUDA("no memory on the GPU for what ranks exchange", cudaMalloc((void **)&x->room, bytes));
  x->room_bytes = bytes;
  return RW_OK;
}

/* Between the host and room, at once. */
static rw_status copy(comm *c, void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, rw_error *err) {
  state *s = c->state;
  CUDA("cannot copy", cudaMemcpyAsync(to, from, bytes, kind, s->copies));
  CUDA("cannot copy", cudaStreamSynchronize(s->copies));
  return RW_OK;
}

/* ---- exchanges ---- */

static size_t host_bytes(const comm_part *p, size_t n) {
  size_t sum = 0;
  for (size_t i = 0; i < n; i++)
    if (p[i].bytes && !on_gpu(p[i].p)) sum += aligned(p[i].bytes);
  return sum;
}

/* Where NCCL takes out[i], or puts in[i]; *at: the room's next free place. */
static char *place(const exchange *x, const comm_part *p, size_t *at) {
  if (on_gpu(p->p)) return p->p;
  char *here = x->room + *at;
  *at += aligned(p->bytes);
  return here;
}

static rw_status bring(comm *c, exchange *x, const comm_part *out, size_t n_out, const comm_part *in, size_t n_in,
                       rw_error *err) {
  size_t at = 0, outs = host_bytes(out, n_out);
  RW_TRY(need_room(c, x, outs + host_bytes(in, n_in), err));
  if (n_in > x->cap) {
    comm_part *back = realloc(x->back, n_in * sizeof *back);
    if (!back) return rw_nomem(err, "messages");
    x->back = back;
    x->cap = n_in;
  }
  for (size_t i = 0; i < n_out; i++) {
    if (out[i].bytes == 0 || on_gpu(out[i].p)) continue;
    RW_TRY(copy(c, place(x, &out[i], &at), out[i].p, out[i].bytes, cudaMemcpyHostToDevice, err));
  }
  x->at = outs;
  x->n_back = 0;
  for (size_t i = 0; i < n_in; i++)
    if (in[i].bytes && !on_gpu(in[i].p)) x->back[x->n_back++] = in[i];
  return RW_OK;
}

/* All of an exchange is one group: no rank waits for another's order of peers. */
static ncclResult_t post(const state *s, const exchange *x, const comm_part *p, size_t n, bool out) {
  size_t at = out ? 0 : x->at;
  ncclResult_t r = ncclSuccess;
  for (size_t i = 0; i < n && r == ncclSuccess; i++) {
    if (p[i].bytes == 0) continue;
    char *here = place(x, &p[i], &at);
    r = out ? ncclSend(here, p[i].bytes, ncclInt8, p[i].peer, s->nccl, s->stream)
            : ncclRecv(here, p[i].bytes, ncclInt8, p[i].peer, s->nccl, s->stream);
  }
  return r;
}

static rw_status nccl_begin(comm *c, int slot, const comm_part *out, size_t n_out, const comm_part *in, size_t n_in,
                            rw_error *err) {
  state *s = c->state;
  exchange *x = &s->x[slot];
  RW_TRY(bring(c, x, out, n_out, in, n_in, err));
  NCCL("cannot exchange", ncclGroupStart());
  ncclResult_t r = post(s, x, in, n_in, false);
  if (r == ncclSuccess) r = post(s, x, out, n_out, true);
  ncclResult_t ended = ncclGroupEnd();
  NCCL("cannot exchange", r == ncclSuccess ? ended : r);
  CUDA("cannot exchange", cudaEventRecord(x->done, s->stream));
  return RW_OK;
}

static rw_status nccl_end(comm *c, int slot, rw_error *err) {
  exchange *x = &((state *)c->state)->x[slot];
  RW_TRY(await(c, x, err));
  size_t at = x->at;
  for (size_t i = 0; i < x->n_back; i++) {
    RW_TRY(copy(c, x->back[i].p, x->room + at, x->back[i].bytes, cudaMemcpyDeviceToHost, err));
    at += aligned(x->back[i].bytes);
  }
  x->n_back = 0;
  return RW_OK;
}

static rw_status nccl_test(comm *c, int slot, bool *done, rw_error *err) {
  return arrived(c, &((state *)c->state)->x[slot], done, err);
}

/* ---- all together ---- */

static rw_status nccl_bcast(comm *c, void *p, size_t bytes, int root, rw_error *err) {
  state *s = c->state;
  exchange *x = &s->x[OWN];
  bool gpu = bytes && on_gpu(p);
  size_t most = gpu || bytes < BCAST_BYTES ? bytes : BCAST_BYTES;
  if (!gpu) RW_TRY(need_room(c, x, most, err));
  for (size_t at = 0, n; at < bytes; at += n) {
    char *from = (char *)p + at, *here = gpu ? from : x->room;
    n = bytes - at < most ? bytes - at : most;
    if (!gpu && c->rank == root) RW_TRY(copy(c, here, from, n, cudaMemcpyHostToDevice, err));
    NCCL("cannot send to all", ncclBroadcast(here, here, n, ncclInt8, root, s->nccl, s->stream));
    CUDA("cannot send to all", cudaEventRecord(x->done, s->stream));
    RW_TRY(await(c, x, err));
    if (!gpu && c->rank != root) RW_TRY(copy(c, from, here, n, cudaMemcpyDeviceToHost, err));
  }
  return RW_OK;
}

/* Each part from its rank to every other. */
static rw_status nccl_gather(comm *c, void *all, const size_t *at, rw_error *err) {
  size_t n = 0;
  comm_part *out = calloc(2 * (size_t)c->size, sizeof *out), *in;
  if (!out) return rw_nomem(err, "messages");
  in = out + c->size;
  for (int r = 0; r < c->size; r++) {
    if (r == c->rank) continue;
    out[n] = (comm_part){r, (char *)all + at[c->rank], at[c->rank + 1] - at[c->rank]};
    in[n++] = (comm_part){r, (char *)all + at[r], at[r + 1] - at[r]};
  }
  rw_status s = nccl_begin(c, OWN, out, n, in, n, err);
  if (!s) s = nccl_end(c, OWN, err);
  free(out);
  return s;
}

static rw_status nccl_most(comm *c, int64_t *v, int n, rw_error *err) {
  state *s = c->state;
  exchange *x = &s->x[OWN];
  size_t bytes = (size_t)n * sizeof *v;
  RW_TRY(need_room(c, x, bytes, err));
  RW_TRY(copy(c, x->room, v, bytes, cudaMemcpyHostToDevice, err));
  NCCL("cannot agree", ncclAllReduce(x->room, x->room, (size_t)n, ncclInt64, ncclMax, s->nccl, s->stream));
  CUDA("cannot agree", cudaEventRecord(x->done, s->stream));
  RW_TRY(await(c, x, err));
  return copy(c, v, x->room, bytes, cudaMemcpyDeviceToHost, err);
}

/* ---- beginning and end ---- */

static void nccl_abort(comm *c, int status) {
  state *s = c->state;
  if (s->by) s->by->abort(s->by, status);
  meet_abort(&s->meeting, status);
  _exit(status);
}

static void nccl_close(comm *c) {
  state *s = c->state;
  ncclCommDestroy(s->nccl);
  for (int i = 0; i < SLOTS; i++) {
    cudaEventDestroy(s->x[i].done);
    cudaFree(s->x[i].room);
    free(s->x[i].back);
  }
  cudaStreamDestroy(s->stream);
  cudaStreamDestroy(s->copies);
  if (s->by)
    s->by->close(s->by);
  else
    meet_leave(&s->meeting);
  free(s);
  free(c);
}

static rw_status meet(comm *c, rw_error *err) {
  state *s = c->state;
  meet_plan plan;
  RW_TRY(meet_plan_read(&plan, err));
  c->rank = plan.rank;
  c->size = plan.size;
  RW_TRY(meet_all(&s->meeting, &plan, err));
  c->node_rank = s->meeting.node_rank;
  c->node_size = s->meeting.node_size;
  return RW_OK;
}

/* The GPU of this rank: of those that it sees the one of its number on the machine, or the only one. */
static rw_status take_gpu(comm *c, rw_error *err) {
  int n = 0;
  cudaError_t e = cudaGetDeviceCount(&n);
  if (e != cudaSuccess || n == 0)
    return fail(c, "NCCL needs a GPU for each rank", e != cudaSuccess ? cudaGetErrorString(e) : "there is none",
                err);
  c->gpu = n == 1 ? 0 : c->node_rank;
  if (c->gpu >= n)
    return rw_fail(err, RW_UNSUPPORTED,
                   "rank %d of %d: NCCL needs a GPU for each rank: rank %d of this machine, %d GPUs", c->rank,
                   c->size, c->node_rank, n);
  CUDA("cannot use a GPU", cudaSetDevice(c->gpu));
  return RW_OK;
}

static rw_status start(comm *c, rw_error *err) {
  state *s = c->state;
  ncclUniqueId id;
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  int version = 0;
  if (s->by) {
    c->rank = s->by->rank;
    c->size = s->by->size;
    c->node_rank = s->by->node_rank;
    c->node_size = s->by->node_size;
  } else {
    RW_TRY(meet(c, err));
  }
  RW_TRY(take_gpu(c, err));
  if (c->rank == 0) NCCL("NCCL cannot start", ncclGetUniqueId(&id));
  RW_TRY(s->by ? s->by->bcast(s->by, &id, sizeof id, 0, err) : meet_tell(&s->meeting, &id, sizeof id, err));
  CUDA("cannot use a GPU", cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking));
  CUDA("cannot use a GPU", cudaStreamCreateWithFlags(&s->copies, cudaStreamNonBlocking));
  for (int i = 0; i < SLOTS; i++)
    CUDA("cannot use a GPU", cudaEventCreateWithFlags(&s->x[i].done, cudaEventDisableTiming));
  config.blocking = 0;
  NCCL("NCCL cannot start", ncclCommInitRankConfig(&s->nccl, c->size, id, c->rank, &config));
  ncclGetVersion(&version);
  snprintf(s->name, sizeof s->name, "NCCL %d.%d.%d, begun by %s", version / 10000, version / 100 % 100,
           version % 100, s->by ? s->by->name : "TCP");
  return RW_OK;
}

__attribute__((visibility("default"))) rw_status COMM_NCCL_OPEN(comm **out, comm *by, rw_error *err);
rw_status COMM_NCCL_OPEN(comm **out, comm *by, rw_error *err) {
  comm *c = calloc(1, sizeof *c);
  state *s = calloc(1, sizeof *s);
  if (!c || !s) return free(c), free(s), rw_nomem(err, "ranks");
  s->by = by;
  *c = (comm){.size = 1,
              .name = s->name,
              .begin = nccl_begin,
              .end = nccl_end,
              .test = nccl_test,
              .bcast = nccl_bcast,
              .gather = nccl_gather,
              .most = nccl_most,
              .abort = nccl_abort,
              .close = nccl_close,
              .state = s};
  rw_status started = start(c, err);
  if (started) return started; /* the process ends with it, and its connections tell the others */
  *out = c;
  return RW_OK;
}
