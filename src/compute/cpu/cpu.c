/* cpu.c - the CPU backend: picks the kernels for this processor, holds memory, reports faults. Operations: gemm.c,
 * attention.c, rows.c, vectors.c, optimizer.c, which share their work out by tasks.c. */
#include "compute/cpu/ops.h"
#include "compute/cpu/tasks.h"

#include <string.h>

#include "compute/cpu/detect.h"

/* ---- levels ---- */

typedef struct {
  const char *name;
  bool (*has)(void), (*suits)(void); /* may be used; is the one to use */
  const kernels *k;
  cpu_products products;
} cpu_level;

static bool always(void) { return true; }
static const cpu_level levels[] = {/* the best first */
#if defined(__x86_64__)
                                   {"amx", detect_amx, detect_amx, &kernels_avx512, CPU_TILES},
                                   {"avx512bf16", detect_avx512bf16, detect_fast_avx512bf16, &kernels_avx512,
                                    CPU_PAIRS},
                                   {"avx512", detect_avx512, detect_avx512, &kernels_avx512, CPU_CHAINS},
                                   {"avx2", detect_avx2, detect_avx2, &kernels_avx2, CPU_CHAINS},
#endif
                                   {"baseline", always, always, &kernels_baseline, CPU_CHAINS}};

/* name NULL: the best for this processor. NULL: it lacks that level. */
static const cpu_level *find_level(const char *name) {
  for (size_t i = 0; i < sizeof levels / sizeof *levels; i++)
    if (name ? strcmp(name, levels[i].name) == 0 && levels[i].has() : levels[i].suits()) return &levels[i];
  return NULL;
}

/* Chains are as fast in f32, so attention stays in it. */
static void be_set_bf16(backend *be, bool on) {
  cpu_state *s = cpu_of(be);
  s->engines.head = s->engines.attention = engine_chains(s->k, false);
  s->engines.layers = engine_chains(s->k, on);
#if defined(__x86_64__)
  if (s->products == CPU_TILES) s->engines.layers = s->engines.attention = engine_tiles(on ? 1 : 3);
  if (s->products == CPU_PAIRS && on) s->engines.layers = s->engines.attention = engine_pairs();
#endif
}

/* ---- memory: the host's ---- */

static void *be_alloc(backend *be, mem_kind kind, size_t bytes) {
  (void)be;
  (void)kind;
  return mem_aligned(bytes, 1);
}
static void be_release(backend *be, mem_kind kind, void *p) {
  (void)be;
  (void)kind;
  mem_free(p);
}
static void be_memory(backend *be, uint64_t *free, uint64_t *total) {
  (void)be;
  *free = *total = 0;
}
/* The widest product takes packed rows, and a packed weight beside what its kernels leave between panels. */
static uint64_t be_scratch_bytes(backend *be, size_t rows, size_t width, size_t largest) {
  (void)be;
  return sizeof(float) * ((uint64_t)rows * width + 2 * (uint64_t)largest);
}
static void be_move(backend *be, void *dst, const void *src, size_t bytes) {
  (void)be;
  if (bytes) memcpy(dst, src, bytes);
}
static void be_zero(backend *be, void *p, size_t bytes) {
  (void)be;
  memset(p, 0, bytes);
}

static rw_status be_batch_make(backend *be, batch **io, const batch_layout *l, rw_error *err) {
  (void)be;
  if (!*io) *io = mem_zalloc(1, sizeof **io);
  if (!*io) return rw_nomem(err, "a batch");
  (*io)->l = l;
  return RW_OK;
}
static void be_batch_free(backend *be, batch *b) {
  (void)be;
  mem_free(b);
}

static rw_status be_sync(backend *be, rw_error *err) {
  cpu_state *s = cpu_of(be);
  rw_status status = s->fault.code;
  if (status && err) *err = s->fault;
  s->fault.code = RW_OK;
  return status;
}

/* ---- the struct ---- */

static void be_close(backend *be) {
  if (!be) return;
  cpu_state *s = cpu_of(be);
  mem_free(s->a.p);
  mem_free(s->b.p);
  mem_free(s->runs.p);
  for (int i = 0; s->per_thread && i < pool_threads(s->threads); i++) mem_free(s->per_thread[i].p);
  mem_free(s->per_thread);
  mem_free(s);
  mem_free(be);
}

rw_status backend_cpu(backend **out, pool *threads, const char *level, rw_error *err) {
  *out = NULL;
  const cpu_level *l = find_level(level);
  if (!l)
    return rw_fail(err, RW_UNSUPPORTED,
                   "this processor lacks the level '%s' (amx, avx512bf16, avx512, avx2, baseline)", level);
  backend *be = mem_zalloc(1, sizeof *be);
  cpu_state *s = mem_zalloc(1, sizeof *s);
  if (s) s->per_thread = mem_zalloc((size_t)pool_threads(threads), sizeof *s->per_thread);
  if (!be || !s || !s->per_thread) {
    mem_free(be);
    if (s) mem_free(s->per_thread);
    mem_free(s);
    return rw_nomem(err, "the CPU backend");
  }
  s->k = l->k;
  s->threads = threads;
  s->products = l->products;
  *be = (backend){.traits = {.name = l->name,
                             .act = T_F32,
                             .trained = T_F32,
                             .weights = 1 << T_F32 | 1 << T_F16 | 1 << T_BF16,
                             .maps_host = true,
                             .takes_known = true,
                             .fast_bf16 = l->products != CPU_CHAINS,
                             .row_align = 1,
                             .piece_rows = 1,
                             .train_rows = 1024,
                             .score_rows = 4096},
                  .close = be_close,
                  .sync = be_sync,
                  .set_bf16 = be_set_bf16,
                  .alloc = be_alloc,
                  .release = be_release,
                  .memory = be_memory,
                  .scratch_bytes = be_scratch_bytes,
                  .put = be_move,
                  .get = be_move,
                  .zero = be_zero,
                  .batch_make = be_batch_make,
                  .batch_free = be_batch_free,
                  .linear = cpu_linear,
                  .linear_dx = cpu_linear_dx,
                  .linear_dw = cpu_linear_dw,
                  .linear_dw_pieces = cpu_linear_dw_pieces,
                  .attention = cpu_attention,
                  .attention_bwd = cpu_attention_bwd,
                  .state = s};
  cpu_rows_ops(be);
  cpu_vectors_ops(be);
  cpu_optimizer_ops(be);
  be_set_bf16(be, false);
  *out = be;
  return RW_OK;
}
