/* gemm_amx.c - matrix products on AMX tiles, all threads: both factors are packed once, then blocks of 32 x 32 are
 * shared out (as gemm.c does with its own kernels).
 *
 * The inner index is cut into chunks of at most 32 that no part of a stacked weight and no piece of rows straddles.
 * The chunks' order and place depend on nothing else, so bits do not either (see amx.h).
 */
#include <string.h>

#include "compute/cpu/amx.h"
#include "compute/cpu/cpu.h"

enum {
  BLOCK_ROWS = 128,  /* rows of c in one task */
  BLOCK_PANELS = 32, /* panels of b in one task */
  PACK_PANELS = 8,   /* panels packed by one task */
  PACK_CHUNKS = 32,  /* and chunks */
  INNER_TILES = 24, /* tiles of the inner index in one go: those of two panels of b stay in the first-level cache */
  STRIP_TILES = 1 << 16, /* packed b at a time: 64 MB */
  TILE_FLOATS = AMX_TILE / 2
};

typedef struct {
  int part;     /* of the stacked weight, along the inner index */
  size_t at, k; /* first index within the part, and in all */
  size_t len;
} chunk;

typedef struct {
  cpu_state *s;
  const operand *a, *b;
  float *c;
  size_t ldc;
  bool acc;
  size_t a_parts, b_parts; /* bf16 values that a value becomes */
  const chunk *chunks;
  size_t n_chunks, a_panels, a_tasks, first, panels; /* of b, in this strip */
} job;

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Cuts the inner index; out NULL: only counts. */
static size_t cut(const operand *a, const operand *b, const row_pieces *rows, chunk *out) {
  size_t n = 0, k = 0, pieces = b->along_k ? (size_t)b->parts : rows ? rows->n : 1;
  for (size_t p = 0; p < pieces; p++) {
    size_t len = b->along_k ? b->part[p].n : rows ? rows->end[p] - k : a->kn;
    for (size_t at = 0; at < len; at += AMX_INNER, n++)
      if (out)
        out[n] = (chunk){b->along_k ? (int)p : 0, b->along_k ? at : k + at, k + at,
                         len - at < AMX_INNER ? len - at : AMX_INNER};
    k += len;
  }
  return n;
}

static void pack_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  bool is_a = task < j->a_tasks;
  if (!is_a) task -= j->a_tasks;
  const operand *o = is_a ? j->a : j->b;
  size_t panels = is_a ? j->a_panels : j->panels, groups = ceil_div(panels, PACK_PANELS);
  size_t p0 = task % groups * PACK_PANELS, p1 = p0 + PACK_PANELS < panels ? p0 + PACK_PANELS : panels;
  size_t k0 = task / groups * PACK_CHUNKS, k1 = k0 + PACK_CHUNKS < j->n_chunks ? k0 + PACK_CHUNKS : j->n_chunks;
  size_t parts = is_a ? j->a_parts : j->b_parts;
  uint16_t *packed = is_a ? j->s->a.p : j->s->b.p;
  size_t tile = parts * AMX_TILE, unit = o->type == T_F32 ? 4 : 2;
  /* along the source's rows in the inner loop */
  size_t outer = o->sk == 1 ? p1 - p0 : k1 - k0, inner = o->sk == 1 ? k1 - k0 : p1 - p0;
  for (size_t x = 0; x < outer; x++)
    for (size_t y = 0; y < inner; y++) {
      size_t p = p0 + (o->sk == 1 ? x : y), k = k0 + (o->sk == 1 ? y : x), at, column, width;
      const chunk *h = &j->chunks[k];
      int part;
      operand_panel(o, AMX_ROWS, (is_a ? 0 : j->first) + p, &part, &at, &column, &width);
      if (o->along_k) part = h->part;
      const char *src = o->part[part].p;
      src += (at * o->si + (is_a ? h->k : h->at) * o->sk) * unit;
      amx_pack(packed + (p * j->n_chunks + k) * tile, parts, !is_a, src, o->type, o->si, o->sk, width, h->len);
    }
}

static void block_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  size_t m = j->a->n, row_blocks = ceil_div(m, BLOCK_ROWS), step = INNER_TILES;
  size_t p0 = task / row_blocks * BLOCK_PANELS, r0 = task % row_blocks * BLOCK_ROWS;
  size_t p1 = p0 + BLOCK_PANELS < j->panels ? p0 + BLOCK_PANELS : j->panels;
  size_t height = m - r0 < BLOCK_ROWS ? m - r0 : BLOCK_ROWS;
  size_t a_tile = j->a_parts * AMX_TILE, b_tile = j->b_parts * AMX_TILE;
  amx_factor a = {NULL, j->n_chunks * a_tile, j->a_parts}, b = {NULL, j->n_chunks * b_tile, j->b_parts};
  const uint16_t *packed_a = j->s->a.p, *packed_b = j->s->b.p;
  amx_begin();
  for (size_t k = 0; k < j->n_chunks; k += step) {
    size_t chunks = j->n_chunks - k < step ? j->n_chunks - k : step, run;
    for (size_t p = p0; p < p1; p += run) { /* panels of one part stand side by side in c */
      size_t at, column, width;
      int part;
      operand_panel(j->b, AMX_ROWS, j->first + p, &part, &at, &column, &width);
      size_t left = (j->b->along_k ? j->b->n : j->b->part[part].n) - at;
      run = ceil_div(left, AMX_ROWS) < p1 - p ? ceil_div(left, AMX_ROWS) : p1 - p;
      a.p = packed_a + r0 / AMX_ROWS * a.ld + k * a_tile;
      b.p = packed_b + p * b.ld + k * b_tile;
      amx_tiles(chunks, a, b, j->c + r0 * j->ldc + column, j->ldc, height,
                left < run * AMX_ROWS ? left : run * AMX_ROWS, j->acc || k > 0);
    }
  }
  amx_end();
}

rw_status gemm_amx(cpu_state *s, float *c, size_t ldc, const operand *a, const operand *b, const row_pieces *rows,
                   bool acc, rw_error *err) {
  if (a->n == 0 || b->n == 0) return RW_OK;
  bool f32 = s->products == PRODUCTS_F32_TILES;
  job j = {.s = s, .a = a, .b = b, .c = c, .ldc = ldc, .acc = acc};
  j.a_parts = f32 ? 3 : 1;
  j.b_parts = f32 && b->type != T_BF16 ? 3 : 1;
  j.n_chunks = cut(a, b, rows, NULL);
  if (j.n_chunks == 0) {
    for (size_t i = 0; !acc && i < a->n; i++) memset(c + i * ldc, 0, b->n * sizeof(float));
    return RW_OK;
  }
  j.a_panels = ceil_div(a->n, AMX_ROWS);
  size_t all = operand_panels(b, AMX_ROWS), strip = STRIP_TILES / (j.b_parts * j.n_chunks) + 1;
  if (strip > all) strip = all;
  if (!scratch_need(&s->a, j.a_panels * j.n_chunks * j.a_parts * TILE_FLOATS) ||
      !scratch_need(&s->b, strip * j.n_chunks * j.b_parts * TILE_FLOATS) ||
      !scratch_need(&s->chunks, ceil_div(j.n_chunks * sizeof(chunk), sizeof(float))))
    return rw_nomem(err, "the packed factors of a matrix product");
  cut(a, b, rows, s->chunks.p);
  j.chunks = s->chunks.p;
  size_t spans = ceil_div(j.n_chunks, PACK_CHUNKS);
  for (j.first = 0; j.first < all; j.first += strip) {
    j.panels = all - j.first < strip ? all - j.first : strip;
    j.a_tasks = j.first == 0 ? spans * ceil_div(j.a_panels, PACK_PANELS) : 0;
    pool_run(s->threads, j.a_tasks + spans * ceil_div(j.panels, PACK_PANELS), pack_task, &j);
    pool_run(s->threads, ceil_div(a->n, BLOCK_ROWS) * ceil_div(j.panels, BLOCK_PANELS), block_task, &j);
  }
  return RW_OK;
}
