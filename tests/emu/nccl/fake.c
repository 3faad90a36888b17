/* fake.c - NCCL and CUDA's streams between the processes of one machine, over a file that they all map: what
 * src/base/comm_nccl.c is tested with where there is no GPU.
 *
 * As on a GPU nothing happens at a call: it is put on a stream, whose operations are done in order, and only while
 * somebody asks for an event or waits for the stream. So who reads too early reads what was there before, and ranks
 * that disagree on an order or a size are told (FAULT) or wait for ever. Starting takes a while and says
 * ncclInProgress, as NCCL does when it may not block. Memory is the host's: FAKE_GPU_MEMORY=1 says of all of it
 * that it is a GPU's. FAKE_GPUS: how many there are (1).
 */
#include <errno.h>
#include <fcntl.h>
#include <nccl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define FAULT(...) (fprintf(stderr, "fake NCCL: " __VA_ARGS__), fputc('\n', stderr), _exit(70))
enum { RING = 1 << 16 };

/* Bytes on their way from one rank to another; each message is its length, then itself. */
typedef struct {
  atomic_size_t put, got;
  uint8_t bytes[RING];
} ring;
typedef struct {
  atomic_int here;
  ring rings[]; /* [from * n + to] */
} shared;
struct fake_comm {
  int rank, n;
  char path[128];
  shared *map;
  size_t bytes;
};

typedef struct {
  uint8_t *p;
  size_t n, at, head; /* head: bytes of the length that have gone or come */
  uint64_t length;
  int peer;
  bool out;
} transfer;
typedef struct op op;
struct op {
  op *next;
  struct fake_comm *c;
  transfer *t;
  size_t n;
  void *to; /* of a copy, or of the largest numbers, `from` of all ranks one after another */
  const void *from;
  size_t bytes;
};
struct fake_stream {
  op *first, **last;
  uint64_t put, done;
};
struct fake_event {
  struct fake_stream *s;
  uint64_t after;
};

/* ---- streams ---- */

static op *put(struct fake_stream *s, op o) {
  op *new = malloc(sizeof *new);
  if (!new) FAULT("no memory");
  *new = o;
  *s->last = new;
  s->last = &new->next;
  s->put++;
  return new;
}

/* Moves what can be moved; false: it waits for the other rank. */
static bool move(struct fake_comm *c, transfer *t) {
  ring *r = &c->map->rings[t->out ? c->rank * c->n + t->peer : t->peer * c->n + c->rank];
  while (t->head < sizeof t->length || t->at < t->n) {
    size_t put = atomic_load(&r->put), got = atomic_load(&r->got);
    if (t->out ? put - got == RING : put == got) return false;
    bool head = t->head < sizeof t->length;
    uint8_t *own = head ? (uint8_t *)&t->length + t->head : t->p + t->at;
    if (t->out)
      r->bytes[put % RING] = *own, atomic_store(&r->put, put + 1);
    else
      *own = r->bytes[got % RING], atomic_store(&r->got, got + 1);
    *(head ? &t->head : &t->at) += 1;
    if (!t->out && head && t->head == sizeof t->length && t->length != t->n)
      FAULT("rank %d sends %zu bytes, rank %d expects %zu", t->peer, (size_t)t->length, c->rank, t->n);
  }
  return true;
}

static bool finished(const transfer *t) { return t->head == sizeof t->length && t->at == t->n; }

/* Of one peer, in one direction, the first that is not finished is moved. */
static bool moved(op *o) {
  bool all = true;
  for (size_t i = 0; i < o->n; i++) {
    bool first = true;
    for (size_t j = 0; j < i; j++)
      first &= finished(&o->t[j]) || o->t[j].peer != o->t[i].peer || o->t[j].out != o->t[i].out;
    if (!finished(&o->t[i])) all &= first && move(o->c, &o->t[i]);
  }
  return all;
}

static void largest(const op *o) {
  const int64_t *from = o->from;
  size_t n = o->bytes / sizeof *from;
  int64_t *to = o->to;
  for (size_t i = 0; i < n * (size_t)o->c->n; i++)
    if (i < n || from[i] > to[i % n]) to[i % n] = from[i];
}

static void work(struct fake_stream *s) {
  while (s->first) {
    op *o = s->first;
    if (!moved(o)) return;
    if (o->to && o->c)
      largest(o), free((void *)o->from);
    else if (o->to)
      memcpy(o->to, o->from, o->bytes);
    s->first = o->next;
    if (!s->first) s->last = &s->first;
    s->done++;
    free(o->t);
    free(o);
  }
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
  (void)flags;
  *s = calloc(1, sizeof **s);
  if (!*s) return cudaErrorMemoryAllocation;
  (*s)->last = &(*s)->first;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  while (s->first) work(s), usleep(10);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t s) { return free(s), cudaSuccess; }
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
  (void)flags;
  *e = calloc(1, sizeof **e);
  return *e ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
  *e = (struct fake_event){s, s->put};
  return cudaSuccess;
}
cudaError_t cudaEventQuery(cudaEvent_t e) {
  if (e->s) work(e->s);
  return !e->s || e->s->done >= e->after ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventDestroy(cudaEvent_t e) { return free(e), cudaSuccess; }
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, enum cudaMemcpyKind kind, cudaStream_t s) {
  (void)kind;
  put(s, (op){.to = to, .from = from, .bytes = bytes});
  return cudaSuccess;
}

/* ---- the device ---- */

cudaError_t cudaGetDeviceCount(int *n) {
  const char *said = getenv("FAKE_GPUS");
  *n = said ? atoi(said) : 1;
  return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) { return (void)device, cudaSuccess; }
cudaError_t cudaGetLastError(void) { return cudaSuccess; }
const char *cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorMemoryAllocation ? "out of memory" : "a fault";
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  (void)p;
  a->type = getenv("FAKE_GPU_MEMORY") ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  return cudaSuccess;
}
cudaError_t cudaMalloc(void **p, size_t bytes) {
  *p = malloc(bytes);
  if (*p) memset(*p, 0xff, bytes);
  return *p ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *p) { return free(p), cudaSuccess; }

/* ---- ranks ---- */

ncclResult_t ncclGetVersion(int *version) { return *version = 22809, ncclSuccess; }
const char *ncclGetErrorString(ncclResult_t r) {
  return r == ncclInvalidUsage ? "invalid usage" : "internal error";
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
  const char *dir = getenv("TMPDIR");
  snprintf(id->internal, sizeof id->internal, "%s/fake-nccl-XXXXXX", dir ? dir : "/tmp");
  int fd = mkstemp(id->internal);
  if (fd < 0) return ncclInternalError;
  close(fd);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *c, int n, ncclUniqueId id, int rank, ncclConfig_t *config) {
  if (config->blocking) FAULT("a rank that blocks cannot look after the others");
  struct fake_comm *new = calloc(1, sizeof *new);
  int fd = open(id.internal, O_RDWR);
  if (!new || fd < 0) return ncclInternalError;
  *new = (struct fake_comm){.rank = rank, .n = n};
  memcpy(new->path, id.internal, sizeof new->path);
  new->bytes = sizeof(shared) + (size_t)(n * n) * sizeof(ring);
  if (ftruncate(fd, (off_t) new->bytes)) return ncclInternalError;
  new->map = mmap(NULL, new->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (new->map == MAP_FAILED) return ncclInternalError;
  if (atomic_fetch_add(&new->map->here, 1) + 1 == n) unlink(new->path);
  *c = new;
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t c, ncclResult_t *r) {
  *r = atomic_load(&c->map->here) < c->n ? ncclInProgress : ncclSuccess;
  return ncclSuccess;
}
ncclResult_t ncclCommDestroy(ncclComm_t c) {
  munmap(c->map, c->bytes);
  free(c);
  return ncclSuccess;
}

/* ---- what they say to each other ---- */

static op group; /* under way, between start and end */
static struct fake_stream *group_stream;
static bool grouping;

static transfer *add(op *o, struct fake_comm *c, const void *p, size_t bytes, int peer, bool out) {
  if (peer < 0 || peer >= c->n || peer == c->rank) FAULT("rank %d and itself, or none", peer);
  o->c = c;
  o->t = realloc(o->t, (o->n + 1) * sizeof *o->t);
  if (!o->t) FAULT("no memory");
  o->t[o->n] = (transfer){.p = (uint8_t *)p, .n = bytes, .peer = peer, .out = out, .length = out ? bytes : 0};
  return &o->t[o->n++];
}

ncclResult_t ncclGroupStart(void) {
  group = (op){0};
  grouping = true;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd(void) {
  grouping = false;
  if (group.n) put(group_stream, group);
  return ncclSuccess;
}
static ncclResult_t one(const void *p, size_t n, int peer, bool out, ncclComm_t c, cudaStream_t s) {
  if (!grouping) FAULT("a part outside of a group");
  group_stream = s;
  add(&group, c, p, n, peer, out);
  return ncclSuccess;
}
ncclResult_t ncclSend(const void *p, size_t n, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t s) {
  return type == ncclInt8 ? one(p, n, peer, true, c, s) : ncclInvalidUsage;
}
ncclResult_t ncclRecv(void *p, size_t n, ncclDataType_t type, int peer, ncclComm_t c, cudaStream_t s) {
  return type == ncclInt8 ? one(p, n, peer, false, c, s) : ncclInvalidUsage;
}

ncclResult_t ncclBroadcast(const void *from, void *to, size_t n, ncclDataType_t type, int root, ncclComm_t c,
                           cudaStream_t s) {
  op o = {0};
  if (type != ncclInt8 || from != to) return ncclInvalidUsage;
  for (int r = 0; r < c->n && c->rank == root; r++)
    if (r != root) add(&o, c, from, n, r, true);
  if (c->rank != root) add(&o, c, to, n, root, false);
  put(s, o);
  return ncclSuccess;
}

ncclResult_t ncclAllReduce(const void *from, void *to, size_t n, ncclDataType_t type, ncclRedOp_t operation,
                           ncclComm_t c, cudaStream_t s) {
  if (type != ncclInt64 || operation != ncclMax) FAULT("floats have no order here: only the largest of integers");
  size_t bytes = n * sizeof(int64_t);
  uint8_t *all = malloc(bytes * (size_t)c->n);
  op o = {.to = to, .from = all, .bytes = bytes};
  if (!all) FAULT("no memory");
  memcpy(all + (size_t)c->rank * bytes, from, bytes); /* who calls has waited for what came before */
  for (int r = 0; r < c->n; r++) {
    if (r == c->rank) continue;
    add(&o, c, all + (size_t)c->rank * bytes, bytes, r, true);
    add(&o, c, all + (size_t)r * bytes, bytes, r, false);
  }
  put(s, o);
  return ncclSuccess;
}
