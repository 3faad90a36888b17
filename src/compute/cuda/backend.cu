/* backend.cu - the CUDA backend itself: opening a GPU, memory, copies, faults, attention's calls. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/cuda.h"

/* ---- faults ---- */

void cuda_fail(cuda_state *s, rw_status code, const char *what) {
  if (s->fault.code == RW_OK) rw_fail(&s->fault, code, "%s: %s: %s", s->name, s->op, what);
}
static bool check(cuda_state *s, cudaError_t e) {
  if (e != cudaSuccess) cuda_fail(s, RW_UNSUPPORTED, cudaGetErrorString(e));
  return e == cudaSuccess;
}

cuda_state *cuda_begin(backend *be, const char *op) {
  cuda_state *s = cuda_of(be);
  if (s->fault.code != RW_OK) return nullptr;
  s->op = op;
  return s;
}
void cuda_end(cuda_state *s) {
  check(s, cudaGetLastError());
  if (s->wait) check(s, cudaStreamSynchronize(s->stream));
}

static rw_status be_sync(backend *be, rw_error *err) {
  cuda_state *s = cuda_of(be);
  check(s, cudaStreamSynchronize(s->stream));
  const rw_status code = s->fault.code;
  if (code != RW_OK && err) *err = s->fault;
  s->fault.code = RW_OK;
  return code;
}

/* ---- memory ---- */

static bool on_host(const cuda_state *s, mem_kind kind) {
  return kind == MEM_STAGING || (kind == MEM_STATES && s->options.states_on_host);
}
static void *be_alloc(backend *be, mem_kind kind, size_t bytes) {
  cuda_state *s = cuda_of(be);
  void *p = nullptr;
  if (bytes == 0) bytes = 1;
  const cudaError_t e = on_host(s, kind) ? cudaHostAlloc(&p, bytes, cudaHostAllocMapped) : cudaMalloc(&p, bytes);
  if (e == cudaSuccess) return p;
  cudaGetLastError(); /* it is told by NULL */
  return nullptr;
}
static void be_release(backend *be, mem_kind kind, void *p) {
  cuda_state *s = cuda_of(be);
  s->op = "release";
  if (p) check(s, on_host(s, kind) ? cudaFreeHost(p) : cudaFree(p));
}
static void be_memory(backend *be, uint64_t *free_bytes, uint64_t *total) {
  size_t f = 0, t = 0;
  (void)be;
  cudaMemGetInfo(&f, &t);
  *free_bytes = f, *total = t;
}

void *cuda_room(cuda_state *s, void **io, size_t *room, size_t bytes) {
  if (bytes <= *room) return *io;
  if (*io) check(s, cudaFree(*io)); /* waits for what uses it */
  *io = nullptr, *room = 0;
  if (cudaMalloc(io, bytes) != cudaSuccess) {
    char text[96];
    cudaGetLastError();
    snprintf(text, sizeof text, "no device memory for %zu bytes to work with", bytes);
    cuda_fail(s, RW_NOMEM, text);
    *io = nullptr;
    return nullptr;
  }
  *room = bytes;
  return *io;
}
void *cuda_scratch(cuda_state *s, size_t bytes) {
  return s->fault.code == RW_OK ? cuda_room(s, &s->scratch, &s->scratch_bytes, bytes ? bytes : 1) : nullptr;
}
/* The most that any operation asks of cuda_scratch. */
static uint64_t be_scratch_bytes(backend *be, size_t rows, size_t width, size_t largest) {
  (void)be;
  const uint64_t blocks = rows / ROW_BLOCK + rows / be->traits.piece_rows + 2;
  const uint64_t uses[] = {
      blocks * width * sizeof(float),                                  /* sums over rows */
      (uint64_t)rows * width / 8 * sizeof(float),                      /* attention's delta: heads of 8 and wider */
      be->traits.act == T_BF16 ? (uint64_t)largest * sizeof(bf16) : 0, /* a weight of f32, rounded */
      (largest < (1 << 22) ? (uint64_t)largest : 1 << 22) * sizeof(float), /* masters on their way */
      (largest / 65536 + 2) * sizeof(double)};                             /* sums of squares */
  uint64_t most = 0;
  for (size_t i = 0; i < sizeof uses / sizeof *uses; i++) most = uses[i] > most ? uses[i] : most;
  return most;
}

static void be_put(backend *be, void *dst, const void *src, size_t bytes) {
  cuda_state *s = cuda_begin(be, "put");
  if (!s || !bytes) return;
  if (check(s, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyHostToDevice, s->stream)))
    check(s, cudaStreamSynchronize(s->stream)); /* src may be used again at once */
}
static void be_get(backend *be, void *dst, const void *src, size_t bytes) {
  cuda_state *s = cuda_begin(be, "get");
  if (!s || !bytes) return;
  if (check(s, cudaMemcpyAsync(dst, src, bytes, cudaMemcpyDeviceToHost, s->stream)))
    check(s, cudaStreamSynchronize(s->stream));
}
static void be_zero(backend *be, void *p, size_t bytes) {
  cuda_state *s = cuda_begin(be, "zero");
  if (!s) return;
  if (bytes) check(s, cudaMemsetAsync(p, 0, bytes, s->stream));
  cuda_end(s);
}

/* ---- attention ---- */

/* The work lists of the batch for so many query heads a key-value head, made at first use. */
static const int32_t *plan_words(cuda_state *s, const batch *b, size_t share) {
  if (b->plan_share == share) return b->plan_words;
  rw_error err;
  attention_plan_free(&b->plan);
  b->plan_share = 0;
  if (attention_plan_make(&b->plan, b->f, share, &err)) {
    cuda_fail(s, err.code, err.text);
    return nullptr;
  }
  void *words = b->plan_words;
  const size_t bytes = b->plan.n_words * sizeof *b->plan.words;
  const bool room = cuda_room(s, &words, &b->plan_room, bytes) != nullptr;
  b->plan_words = (int32_t *)words;
  if (!room || !check(s, cudaMemcpyAsync(words, b->plan.words, bytes, cudaMemcpyHostToDevice, s->stream)))
    return nullptr;
  b->plan_share = share;
  return b->plan_words;
}

static bool attention_call_of(cuda_state *s, attention_call *c, mat qkv, mat o, const batch *b,
                              const attention_shape *a) {
  if (!attention_takes(a, qkv.type)) {
    cuda_fail(s, RW_UNSUPPORTED, "heads of this size");
    return false;
  }
  *c = {};
  c->words = plan_words(s, b, a->q_heads / a->kv_heads);
  c->plan = &b->plan, c->shape = a, c->type = qkv.type;
  c->qkv = qkv.p, c->ld = qkv.ld, c->o = o.p, c->ldo = o.ld;
  c->rows = b->f->rows;
  c->stream = (void *)(uintptr_t)s->stream;
  return c->words != nullptr;
}
static void be_attention(backend *be, mat o, mat qkv, const batch *b, const attention_shape *a, float *lse) {
  cuda_state *s = cuda_begin(be, "attention");
  attention_call c;
  if (!s || b->f->rows == 0) return;
  if (attention_call_of(s, &c, qkv, o, b, a)) {
    c.lse = lse;
    attention_forward(&c);
  }
  cuda_end(s);
}
static void be_attention_bwd(backend *be, mat dqkv, mat d_o, mat o, mat qkv, const float *lse, const batch *b,
                             const attention_shape *a) {
  cuda_state *s = cuda_begin(be, "attention_bwd");
  attention_call c;
  if (!s || b->f->rows == 0) return;
  float *delta = (float *)cuda_scratch(s, b->f->rows * a->q_heads * sizeof(float));
  if (delta && attention_call_of(s, &c, qkv, o, b, a)) {
    c.lse = (float *)(uintptr_t)lse;
    c.d_o = d_o.p, c.lddo = d_o.ld, c.dqkv = dqkv.p, c.ldd = dqkv.ld, c.delta = delta;
    attention_backward(&c);
  }
  cuda_end(s);
}

/* ---- opening and closing ---- */

static void be_close(backend *be) {
  if (!be) return;
  cuda_state *s = cuda_of(be);
  cudaStreamSynchronize(s->stream);
  products_free(s->lt);
  if (s->scratch) cudaFree(s->scratch);
  cudaStreamDestroy(s->stream);
  mem_free(s);
  mem_free(be);
}

/* The GPU that the options name, ready for use, and its name. */
static rw_status device_open(cuda_state *s, rw_error *err) {
  int driver = 0, built = 0, count = 0;
  cudaDeviceProp p;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&built);
  if (driver == 0)
    return rw_fail(err, RW_UNSUPPORTED,
                   FIELD(device) " cuda: no NVIDIA driver here; install it, or use " FIELD(device) " cpu");
  if (driver / 1000 < built / 1000)
    return rw_fail(
        err, RW_UNSUPPORTED,
        FIELD(device) " cuda: the NVIDIA driver knows CUDA %d.%d at most, this build needs %d.%d; install a newer "
        "driver, or use " FIELD(device) " cpu",
        driver / 1000, driver % 1000 / 10, built / 1000, built % 1000 / 10);
  cudaError_t e = cudaGetDeviceCount(&count);
  if (e != cudaSuccess || count == 0)
    return rw_fail(err, RW_UNSUPPORTED, FIELD(device) " cuda: no GPU: %s; use " FIELD(device) " cpu",
                   e == cudaSuccess ? "the driver lists none" : cudaGetErrorString(e));
  if (s->options.device < 0 || s->options.device >= count)
    return rw_fail(err, RW_USAGE, FIELD(device) " cuda:%d: there are %d GPUs, counted from 0", s->options.device,
                   count);
  e = cudaSetDevice(s->options.device);
  if (e == cudaSuccess) e = cudaGetDeviceProperties(&p, s->options.device);
  if (e == cudaSuccess) e = cudaStreamCreateWithFlags(&s->stream, cudaStreamNonBlocking);
  if (e != cudaSuccess)
    return rw_fail(err, e == cudaErrorMemoryAllocation ? RW_NOMEM : RW_UNSUPPORTED,
                   FIELD(device) " cuda:%d: %s; is another program using the GPU?", s->options.device,
                   cudaGetErrorString(e));
  if (p.major < 8)
    return rw_fail(err, RW_UNSUPPORTED,
                   FIELD(device) " cuda:%d: %s is of compute capability %d.%d; at least 8.0 is needed",
                   s->options.device, p.name, p.major, p.minor);
  snprintf(s->name, sizeof s->name, "cuda sm_%d%d %s", p.major, p.minor, p.name);
  return RW_OK;
}

extern "C" __attribute__((visibility("default"))) rw_status reward_cuda_open(backend **out, int version,
                                                                             const reward_cuda_options *o,
                                                                             rw_error *err) {
  *out = nullptr;
  if (version != REWARD_CUDA_VERSION)
    return rw_fail(err, RW_UNSUPPORTED, "libreward-cuda.so is of another build (interface %d, the program has %d)",
                   REWARD_CUDA_VERSION, version);
  backend *be = (backend *)mem_zalloc(1, sizeof *be);
  cuda_state *s = (cuda_state *)mem_zalloc(1, sizeof *s);
  if (!be || !s) {
    mem_free(be), mem_free(s);
    return rw_nomem(err, "the CUDA backend");
  }
  const char *wait = getenv("REWARD_CUDA_WAIT");
  int status = 0;
  s->options = *o;
  s->wait = wait && *wait && *wait != '0';
  s->op = "open";
  rw_status code = device_open(s, err);
  if (code == RW_OK) s->lt = products_new((void *)(uintptr_t)s->stream, &status);
  if (code == RW_OK && !s->lt)
    code = rw_fail(err, RW_UNSUPPORTED,
                   FIELD(device) " cuda: cuBLASLt does not start (status %d); is there free memory?", status);
  if (code != RW_OK) {
    mem_free(be), mem_free(s);
    return code;
  }
  be->state = s;
  be->traits.name = s->name;
  be->traits.act = o->f32 ? T_F32 : T_BF16;
  be->traits.trained = be->traits.act;
  be->traits.weights = 1u << T_F32 | 1u << T_BF16;
  be->traits.takes_known = true;
  be->traits.row_align = 128;
  be->traits.join_align = o->f32 ? 0 : 64; /* of 128 bytes; in f32 the matrices may be bf16, adapters not */
  be->traits.piece_rows = PRODUCT_ROWS;
  be->traits.train_rows = 8192;
  be->traits.score_rows = 16384;
  be->close = be_close;
  be->sync = be_sync;
  be->alloc = be_alloc;
  be->release = be_release;
  be->memory = be_memory;
  be->scratch_bytes = be_scratch_bytes;
  be->put = be_put;
  be->get = be_get;
  be->zero = be_zero;
  be->attention = be_attention;
  be->attention_bwd = be_attention_bwd;
  cuda_norm_ops(be);
  cuda_row_ops(be);
  cuda_optimizer_ops(be);
  cuda_product_ops(be);
  cuda_batch_ops(be);
  *out = be;
  return RW_OK;
}
