/* guard.c - a backend that holds its callers to the rules of a device, without one.
 *
 * Device memory is mapped twice: callers see addresses without any right, the CPU's operations work on the same
 * pages by the second mapping. The program ends, saying which operation or where, when
 * - host code touches device memory, or an operation is given memory of the host;
 * - an operation's matrix reaches past its allocation, into one given back or into optimizer states;
 * - a backend is closed before its memory is given back.
 * Fresh memory is NaN. A batch is a copy: what is changed in the layout afterwards is not seen.
 *
 * Linked with --wrap of backend_cpu and backend_open, so that each backend of the program is guarded (Makefile:
 * reward-guard).
 */
#include <execinfo.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/mem.h"
#include "compute/backend.h"

enum { PAGE = 4096, MOST = 1 << 16, ROW_ALIGN = 8 };
static const size_t ROOM = (size_t)1 << 36; /* of addresses; none is used twice */

typedef struct {
  size_t at, bytes;
  mem_kind kind;
  bool live;
  const backend *owner;
} block;

static struct {
  pthread_mutex_t lock;
  int fd;
  char *device, *host; /* the same pages */
  size_t used, n;
  block blocks[MOST];
} G = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = -1};

typedef struct {
  backend *in;
  const char *op; /* that runs */
} guard;
static guard *guard_of(backend *be) { return be->state; }

/* ---- faults ---- */

static void stop(const char *operation, const char *what) {
  void *chain[32];
  dprintf(2, "guard: %s%s%s\n", operation ? operation : "", operation ? ": " : "", what);
  backtrace_symbols_fd(chain, backtrace(chain, 32), 2);
  _exit(86);
}

static void on_segv(int sig, siginfo_t *info, void *context) {
  (void)sig;
  (void)context;
  const char *p = info->si_addr;
  bool device = p >= G.device && p < G.device + ROOM;
  if (device) stop(NULL, "the host touches device memory");
  signal(SIGSEGV, SIG_DFL);
}
/* Test frameworks set handlers of their own, so again at each operation. */
static void watch(void) {
  sigaction(SIGSEGV, &(struct sigaction){.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO}, NULL);
}

static bool is_device(const void *p) { return (const char *)p >= G.device && (const char *)p < G.device + ROOM; }

static const block *find(size_t at) {
  size_t lo = 0, hi = G.n;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (G.blocks[mid].at <= at)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo ? &G.blocks[lo - 1] : NULL;
}

/* Where the operation that runs finds `bytes` at p; NULL stays. */
static void *reach(backend *be, const char *what, const void *p, size_t bytes, bool states) {
  char text[120];
  const char *wrong = NULL;
  if (!p) return NULL;
  watch();
  pthread_mutex_lock(&G.lock);
  if (!is_device(p)) {
    wrong = "is memory of the host";
  } else {
    size_t at = (size_t)((const char *)p - G.device);
    const block *b = find(at);
    if (!b || !b->live)
      wrong = "was given back";
    else if (at + bytes > b->at + b->bytes)
      wrong = "reaches past its allocation";
    else if (!states && b->kind == MEM_STATES)
      wrong = "lies among the optimizer's states";
  }
  pthread_mutex_unlock(&G.lock);
  snprintf(text, sizeof text, "%s %s", what, wrong ? wrong : "");
  if (wrong) stop(guard_of(be)->op, text);
  return G.host + ((const char *)p - G.device);
}

/* ---- memory ---- */

static void g_close(backend *be) {
  if (!be) return;
  for (size_t i = 0; i < G.n; i++)
    if (G.blocks[i].live && G.blocks[i].owner == be) stop("close", "device memory was not given back");
  backend *in = guard_of(be)->in;
  in->close(in);
  mem_free(be->state);
  mem_free(be);
}
static rw_status g_sync(backend *be, rw_error *err) { return guard_of(be)->in->sync(guard_of(be)->in, err); }
static void g_set_bf16(backend *be, bool on) { guard_of(be)->in->set_bf16(guard_of(be)->in, on); }

static void *g_alloc(backend *be, mem_kind kind, size_t bytes) {
  if (kind == MEM_STAGING) return mem_aligned(bytes, 1);
  void *p = NULL;
  watch();
  pthread_mutex_lock(&G.lock);
  size_t at = G.used, room = (bytes + 2 * PAGE - 1) / PAGE * PAGE; /* a page of its own lies behind */
  if (G.n < MOST && room <= ROOM - at) {
    G.blocks[G.n++] = (block){at, bytes, kind, true, be};
    G.used += room;
    memset(G.host + at, 0xff, bytes);
    p = G.device + at;
  }
  pthread_mutex_unlock(&G.lock);
  return p;
}
static void g_release(backend *be, mem_kind kind, void *p) {
  if (kind == MEM_STAGING) mem_free(p);
  if (kind == MEM_STAGING || !p) return;
  guard_of(be)->op = "release";
  size_t at = (size_t)((char *)reach(be, "what is given back", p, 0, true) - G.host);
  pthread_mutex_lock(&G.lock);
  block *b = (block *)(uintptr_t)find(at);
  bool whole = b->at == at && b->kind == kind;
  b->live = false;
  fallocate(G.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)at,
            (off_t)((b->bytes + PAGE - 1) / PAGE * PAGE));
  pthread_mutex_unlock(&G.lock);
  if (!whole) stop("release", "an address or a kind that alloc did not give");
}
static void g_memory(backend *be, uint64_t *free, uint64_t *total) {
  (void)be;
  *free = *total = (uint64_t)8 << 30;
}
static uint64_t g_scratch_bytes(backend *be, size_t rows, size_t width, size_t largest) {
  return guard_of(be)->in->scratch_bytes(guard_of(be)->in, rows, width, largest);
}

/* ---- arguments ---- */

/* An operation begins. */
static backend *begin(backend *be, const char *op) {
  guard_of(be)->op = op;
  return guard_of(be)->in;
}
static float *floats(backend *be, const char *what, const float *p, size_t n) {
  return reach(be, what, p, n * sizeof *p, false);
}
static mat matrix(backend *be, const char *what, mat x, size_t rows, size_t columns) {
  size_t bytes = rows ? ((rows - 1) * x.ld + columns) * type_size(x.type) : 0;
  x.p = reach(be, what, x.p, bytes, false);
  return x;
}
static const weight *weights(backend *be, const weight *w, int n, weight out[4]) {
  for (int i = 0; i < n; i++) {
    out[i] = w[i];
    out[i].data =
        reach(be, "a weight", w[i].data, ((w[i].out - 1) * w[i].ld + w[i].in) * type_size(w[i].type), false);
    out[i].bias = floats(be, "a bias", w[i].bias, w[i].out);
  }
  return out;
}
static size_t outputs(const weight *w, int n) {
  size_t out = 0;
  for (int i = 0; i < n; i++) out += w[i].out;
  return out;
}
static master value(backend *be, master w, size_t n) {
  w.value = reach(be, "w", w.value, n * type_size(w.type), false);
  w.low = reach(be, "w's low halves", w.low, 2 * n, false);
  return w;
}
static adamw8_state state8(backend *be, adamw8_state s, size_t n) {
  size_t blocks = (n + ADAMW8_BLOCK - 1) / ADAMW8_BLOCK;
  return (adamw8_state){reach(be, "codes", s.code, n, true), reach(be, "scales", s.scale, 4 * blocks, true)};
}

/* ---- moving ---- */

static void host_only(const char *op, const void *p) {
  if (is_device(p)) stop(op, "the host's side is device memory");
}
static void g_put(backend *be, void *dst, const void *src, size_t n) {
  backend *in = begin(be, "put");
  host_only("put", src);
  in->put(in, reach(be, "dst", dst, n, true), src, n);
}
static void g_get(backend *be, void *dst, const void *src, size_t n) {
  backend *in = begin(be, "get");
  host_only("get", dst);
  in->get(in, dst, reach(be, "src", src, n, true), n);
}
static void g_zero(backend *be, void *p, size_t n) {
  backend *in = begin(be, "zero");
  in->zero(in, reach(be, "p", p, n, true), n);
}
static void g_put_master(backend *be, master w, size_t at, const float *src, size_t n) {
  backend *in = begin(be, "put_master");
  host_only("put_master", src);
  in->put_master(in, value(be, w, at + n), at, src, n);
}
static void g_get_master(backend *be, float *dst, master w, size_t at, size_t n) {
  backend *in = begin(be, "get_master");
  host_only("get_master", dst);
  in->get_master(in, dst, value(be, w, at + n), at, n);
}

/* ---- the batch: a copy of the layout ---- */

typedef struct {
  batch_layout l;
  batch *in; /* over l */
  arena *a;
} copied;
static const copied *of(const batch *b) { return (const copied *)(const void *)b; }
static size_t rows_of(const batch *b, row_set rows) { return rows == ROWS_ALL ? of(b)->l.f.rows : of(b)->l.n_last; }

static void g_batch_free(backend *be, batch *b) {
  if (!b) return;
  backend *in = begin(be, "batch_free");
  in->batch_free(in, of(b)->in);
  arena_free(of(b)->a);
  mem_free(b);
}
static void *keep(arena *a, const void *p, size_t bytes) {
  void *q = p ? arena_alloc(a, bytes + 1, 1) : NULL;
  if (q) memcpy(q, p, bytes);
  return q;
}
static rw_status g_batch_make(backend *be, batch **io, const batch_layout *l, rw_error *err) {
  backend *in = begin(be, "batch_make");
  g_batch_free(be, *io);
  *io = NULL;
  copied *c = mem_zalloc(1, sizeof *c);
  if (!c || !(c->a = arena_new())) return mem_free(c), rw_nomem(err, "a batch");
  c->l = *l;
  c->l.f.ids = keep(c->a, l->f.ids, l->f.rows * sizeof *l->f.ids);
  c->l.f.pos = keep(c->a, l->f.pos, l->f.rows * sizeof *l->f.pos);
  c->l.f.trees = keep(c->a, l->f.trees, l->f.n_trees * sizeof *l->f.trees);
  c->l.f.branches = keep(c->a, l->f.branches, l->f.n_branches * sizeof *l->f.branches);
  c->l.last = keep(c->a, l->last, l->n_last * sizeof *l->last);
  c->l.pieces.end = keep(c->a, l->pieces.end, l->pieces.n * sizeof *l->pieces.end);
  c->l.last_pieces.end = keep(c->a, l->last_pieces.end, l->last_pieces.n * sizeof *l->last_pieces.end);
  c->l.drop_keys = keep(c->a, l->drop_keys, l->f.rows * sizeof *l->drop_keys);
  c->l.drop_last = keep(c->a, l->drop_last, l->n_last * sizeof *l->drop_last);
  rw_status s = in->batch_make(in, &c->in, &c->l, err);
  *io = (batch *)(void *)c;
  return s;
}

/* ---- operations ---- */

#define MAT(x, rows, columns) matrix(be, #x, x, rows, columns)
#define F32(p, n)             floats(be, #p, p, n)

static void g_linear(backend *be, mat y, mat x, const weight *w, int nw, size_t m, bool acc) {
  backend *in = begin(be, "linear");
  weight v[4];
  in->linear(in, MAT(y, m, outputs(w, nw)), MAT(x, m, w[0].in), weights(be, w, nw, v), nw, m, acc);
}
static void g_linear_dx(backend *be, mat dx, mat dy, const weight *w, int nw, size_t m, bool acc) {
  backend *in = begin(be, "linear_dx");
  weight v[4];
  in->linear_dx(in, MAT(dx, m, w[0].in), MAT(dy, m, outputs(w, nw)), weights(be, w, nw, v), nw, m, acc);
}
static void g_linear_dw(backend *be, float *dw, mat dy, mat x, const batch *b, row_set rows, size_t out, size_t n) {
  backend *in = begin(be, "linear_dw");
  size_t m = rows_of(b, rows);
  in->linear_dw(in, F32(dw, out * n), MAT(dy, m, out), MAT(x, m, n), of(b)->in, rows, out, n);
}
static void g_bias_grad(backend *be, float *db, mat dy, const batch *b, row_set rows, size_t n) {
  backend *in = begin(be, "bias_grad");
  in->bias_grad(in, F32(db, n), MAT(dy, rows_of(b, rows), n), of(b)->in, rows, n);
}
static void g_rmsnorm(backend *be, mat y, mat x, const float *w, float offset, float eps, size_t m, size_t groups,
                      size_t n, float *rstd) {
  backend *in = begin(be, "rmsnorm");
  in->rmsnorm(in, MAT(y, m, groups * n), MAT(x, m, groups * n), F32(w, n), offset, eps, m, groups, n,
              F32(rstd, m * groups));
}
static void g_rmsnorm_bwd(backend *be, mat dx, float *dw, mat dy, mat x, const float *w, float offset,
                          const float *rstd, const batch *b, row_set rows, size_t groups, size_t n, bool acc) {
  backend *in = begin(be, "rmsnorm_bwd");
  size_t m = rows_of(b, rows), wide = groups * n;
  in->rmsnorm_bwd(in, MAT(dx, m, wide), F32(dw, n), MAT(dy, m, wide), MAT(x, m, wide), F32(w, n), offset,
                  F32(rstd, m * groups), of(b)->in, rows, groups, n, acc);
}
static void g_layernorm(backend *be, mat y, mat x, const float *w, const float *b, float offset, float eps,
                        size_t m, size_t n, float *stats) {
  backend *in = begin(be, "layernorm");
  in->layernorm(in, MAT(y, m, n), MAT(x, m, n), F32(w, n), F32(b, n), offset, eps, m, n, F32(stats, 2 * m));
}
static void g_layernorm_bwd(backend *be, mat dx, float *dw, float *db, mat dy, mat x, const float *w, float offset,
                            const float *stats, const batch *b, row_set rows, size_t n, bool acc) {
  backend *in = begin(be, "layernorm_bwd");
  size_t m = rows_of(b, rows);
  in->layernorm_bwd(in, MAT(dx, m, n), F32(dw, n), F32(db, n), MAT(dy, m, n), MAT(x, m, n), F32(w, n), offset,
                    F32(stats, 2 * m), of(b)->in, rows, n, acc);
}
static void g_rope(backend *be, mat x, const batch *b, size_t heads, size_t head_dim, const float *cos,
                   const float *sin, size_t half, float sign) {
  backend *in = begin(be, "rope");
  const forest *f = &of(b)->l.f;
  size_t positions = 0;
  for (size_t i = 0; i < f->rows; i++)
    if ((size_t)f->pos[i] >= positions) positions = (size_t)f->pos[i] + 1;
  in->rope(in, MAT(x, f->rows, heads * head_dim), of(b)->in, heads, head_dim, F32(cos, positions * half),
           F32(sin, positions * half), half, sign);
}
/* Rows of the matrix of known keys and values that the forest reads. */
static size_t known_rows(const forest *f) {
  size_t n = 0;
  for (size_t t = 0; t < f->n_trees; t++) {
    const span *s = &f->trees[t].known;
    if (s->len && s->first + s->len > n) n = s->first + s->len;
  }
  return n;
}
static void g_attention(backend *be, mat o, mat qkv, const batch *b, const attention_shape *a, float *lse) {
  backend *in = begin(be, "attention");
  size_t m = rows_of(b, ROWS_ALL), q = a->q_heads * a->head_dim, kv = a->kv_heads * a->head_dim;
  attention_shape inner = *a;
  if (a->known.p) inner.known = MAT(a->known, known_rows(&of(b)->l.f), 2 * kv);
  in->attention(in, MAT(o, m, q), MAT(qkv, m, q + 2 * kv), of(b)->in, &inner, F32(lse, m * a->q_heads));
}
static void g_attention_bwd(backend *be, mat dqkv, mat d_o, mat o, mat qkv, const float *lse, const batch *b,
                            const attention_shape *a) {
  backend *in = begin(be, "attention_bwd");
  size_t m = rows_of(b, ROWS_ALL), q = a->q_heads * a->head_dim, all = q + 2 * a->kv_heads * a->head_dim;
  in->attention_bwd(in, MAT(dqkv, m, all), MAT(d_o, m, q), MAT(o, m, q), MAT(qkv, m, all), F32(lse, m * a->q_heads),
                    of(b)->in, a);
}
static size_t wide(size_t n, activation act) { return act_is_gated(act) ? 2 * n : n; }
static void g_gated(backend *be, mat y, mat gu, size_t m, size_t n, activation act) {
  backend *in = begin(be, "gated");
  in->gated(in, MAT(y, m, n), MAT(gu, m, wide(n, act)), m, n, act);
}
static void g_gated_bwd(backend *be, mat dgu, mat dy, mat gu, size_t m, size_t n, activation act) {
  backend *in = begin(be, "gated_bwd");
  in->gated_bwd(in, MAT(dgu, m, wide(n, act)), MAT(dy, m, n), MAT(gu, m, wide(n, act)), m, n, act);
}
static void g_add(backend *be, mat y, mat x, size_t m, size_t n) {
  backend *in = begin(be, "add");
  in->add(in, MAT(y, m, n), MAT(x, m, n), m, n);
}
static void g_copy(backend *be, mat y, mat x, size_t m, size_t n) {
  backend *in = begin(be, "copy");
  in->copy(in, MAT(y, m, n), MAT(x, m, n), m, n);
}
static void g_scale(backend *be, mat x, float s, size_t m, size_t n) {
  backend *in = begin(be, "scale");
  in->scale(in, MAT(x, m, n), s, m, n);
}
static void g_gather(backend *be, mat y, mat x, const batch *b, size_t n) {
  backend *in = begin(be, "gather");
  in->gather(in, MAT(y, rows_of(b, ROWS_LAST), n), MAT(x, rows_of(b, ROWS_ALL), n), of(b)->in, n);
}
static void g_scatter(backend *be, mat y, mat x, const batch *b, size_t n, bool acc) {
  backend *in = begin(be, "scatter");
  in->scatter(in, MAT(y, rows_of(b, ROWS_ALL), n), MAT(x, rows_of(b, ROWS_LAST), n), of(b)->in, n, acc);
}
/* One past the largest of n indices. */
static size_t past(const int32_t *index, size_t n) {
  size_t end = 0;
  for (size_t i = 0; i < n; i++)
    if ((size_t)index[i] >= end) end = (size_t)index[i] + 1;
  return end;
}
static const int32_t *indices(backend *be, const int32_t *index, size_t n) {
  return reach(be, "index", index, 4 * n, false);
}
static void g_pick(backend *be, mat y, mat x, const int32_t *index, size_t m, size_t n) {
  backend *in = begin(be, "pick");
  const int32_t *at = indices(be, index, m);
  in->pick(in, MAT(y, m, n), MAT(x, past(at, m), n), at, m, n);
}
static void g_mix(backend *be, mat y, mat x, const int32_t *index, const float *s, size_t m, size_t k, size_t n,
                  bool acc) {
  backend *in = begin(be, "mix");
  const int32_t *at = indices(be, index, m * k);
  in->mix(in, MAT(y, m, n), MAT(x, past(at, m * k), n), at, F32(s, m * k), m, k, n, acc);
}
static void g_row_dots(backend *be, float *d, mat x, mat y, size_t m, size_t n) {
  backend *in = begin(be, "row_dots");
  in->row_dots(in, F32(d, m), MAT(x, m, n), MAT(y, m, n), m, n);
}
static void g_row_scale(backend *be, mat x, const float *s, size_t m, size_t n) {
  backend *in = begin(be, "row_scale");
  in->row_scale(in, MAT(x, m, n), F32(s, m), m, n);
}
static void g_linear_dw_pieces(backend *be, float *dw, mat dy, mat x, const row_pieces *pieces, size_t out,
                               size_t in_) {
  backend *in = begin(be, "linear_dw_pieces");
  size_t m = pieces->end[pieces->n - 1];
  in->linear_dw_pieces(in, F32(dw, out * in_), MAT(dy, m, out), MAT(x, m, in_), pieces, out, in_);
}
static void g_embed(backend *be, mat y, const weight *table, const batch *b, float scale) {
  backend *in = begin(be, "embed");
  weight v[4];
  in->embed(in, MAT(y, rows_of(b, ROWS_ALL), table->in), weights(be, table, 1, v), of(b)->in, scale);
}
static void g_embed_bwd(backend *be, float *dtable, mat dy, const batch *b, size_t n, float scale) {
  backend *in = begin(be, "embed_bwd");
  in->embed_bwd(in, F32(dtable, n), MAT(dy, rows_of(b, ROWS_ALL), n), of(b)->in, n, scale);
}
static void g_dropout(backend *be, mat y, mat x, const batch *b, row_set rows, uint64_t key, double p, size_t n,
                      bool acc) {
  backend *in = begin(be, "dropout");
  size_t m = rows_of(b, rows);
  in->dropout(in, MAT(y, m, n), MAT(x, m, n), of(b)->in, rows, key, p, n, acc);
}
static double g_sum_squares(backend *be, const float *x, size_t n, double *blocks) {
  backend *in = begin(be, "sum_squares");
  return in->sum_squares(in, F32(x, n), n, blocks);
}
static void g_adamw(backend *be, master w, float *g, float *m, float *v, size_t n, const adamw_step *o,
                    float clip) {
  backend *in = begin(be, "adamw");
  in->adamw(in, value(be, w, n), F32(g, n), reach(be, "m", m, 4 * n, true), reach(be, "v", v, 4 * n, true), n, o,
            clip);
}
static void g_adamw8(backend *be, master w, float *g, adamw8_state m, adamw8_state v, size_t n, const adamw_step *o,
                     float clip) {
  backend *in = begin(be, "adamw8");
  in->adamw8(in, value(be, w, n), F32(g, n), state8(be, m, n), state8(be, v, n), n, o, clip);
}
static size_t g_first_bad(backend *be, mat x, size_t m, size_t n) {
  backend *in = begin(be, "first_bad");
  return in->first_bad(in, MAT(x, m, n), m, n);
}

/* ---- opening ---- */

static bool map_device(void) {
  if (G.device) return true;
  G.fd = memfd_create("device", 0);
  if (G.fd < 0 || ftruncate(G.fd, (off_t)ROOM) != 0) return false;
  char *device = mmap(NULL, ROOM, PROT_NONE, MAP_SHARED | MAP_NORESERVE, G.fd, 0),
       *host = mmap(NULL, ROOM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, G.fd, 0);
  if (device == MAP_FAILED || host == MAP_FAILED) return false;
  G.device = device;
  G.host = host;
  return true;
}

static rw_status guarded(backend **out, rw_error *err) {
  backend *in = *out;
  if (in->close == g_close) return RW_OK;
  backend *be = mem_zalloc(1, sizeof *be);
  guard *state = mem_zalloc(1, sizeof *state);
  pthread_mutex_lock(&G.lock);
  bool ok = be && state && map_device();
  pthread_mutex_unlock(&G.lock);
  if (!ok) return rw_nomem(err, "the guard's device memory");
  state->in = in;
  *be = (backend){.traits = in->traits,
                  .close = g_close,
                  .sync = g_sync,
                  .set_bf16 = g_set_bf16,
                  .alloc = g_alloc,
                  .release = g_release,
                  .memory = g_memory,
                  .scratch_bytes = g_scratch_bytes,
                  .put = g_put,
                  .get = g_get,
                  .zero = g_zero,
                  .put_master = g_put_master,
                  .get_master = g_get_master,
                  .batch_make = g_batch_make,
                  .batch_free = g_batch_free,
                  .linear = g_linear,
                  .linear_dx = g_linear_dx,
                  .linear_dw = g_linear_dw,
                  .bias_grad = g_bias_grad,
                  .rmsnorm = g_rmsnorm,
                  .rmsnorm_bwd = g_rmsnorm_bwd,
                  .layernorm = g_layernorm,
                  .layernorm_bwd = g_layernorm_bwd,
                  .rope = g_rope,
                  .attention = g_attention,
                  .attention_bwd = g_attention_bwd,
                  .gated = g_gated,
                  .gated_bwd = g_gated_bwd,
                  .add = g_add,
                  .copy = g_copy,
                  .scale = g_scale,
                  .gather = g_gather,
                  .scatter = g_scatter,
                  .pick = g_pick,
                  .mix = g_mix,
                  .row_dots = g_row_dots,
                  .row_scale = g_row_scale,
                  .linear_dw_pieces = g_linear_dw_pieces,
                  .embed = g_embed,
                  .embed_bwd = g_embed_bwd,
                  .dropout = g_dropout,
                  .sum_squares = g_sum_squares,
                  .adamw = g_adamw,
                  .adamw8 = g_adamw8,
                  .first_bad = g_first_bad,
                  .state = state};
  be->traits.maps_host = false;
  be->traits.row_align = ROW_ALIGN;
  *out = be;
  return RW_OK;
}

rw_status __real_backend_cpu(backend **out, pool *threads, const char *level, rw_error *err);
rw_status __wrap_backend_cpu(backend **out, pool *threads, const char *level, rw_error *err);
rw_status __wrap_backend_cpu(backend **out, pool *threads, const char *level, rw_error *err) {
  RW_TRY(__real_backend_cpu(out, threads, level, err));
  return guarded(out, err);
}
rw_status __real_backend_open(backend **out, const char *device, pool *threads, rw_error *err);
rw_status __wrap_backend_open(backend **out, const char *device, pool *threads, rw_error *err);
rw_status __wrap_backend_open(backend **out, const char *device, pool *threads, rw_error *err) {
  RW_TRY(__real_backend_open(out, device, threads, err));
  return guarded(out, err);
}
