/* gemm_amx.c - matrix products on AMX tiles, all threads: factor b is packed once; a task packs its own rows of
 * factor a, which then stay in its core's second-level cache, and multiplies them with all of b, or with a span of
 * its panels.
 *
 * The inner index is cut into chunks of at most 32 that no part of a stacked weight and no piece of rows straddles.
 * The chunks' order and place depend on nothing else, so bits do not either (see amx.h).
 */
#include <string.h>

#include "compute/cpu/amx.h"
#include "compute/cpu/cpu.h"

enum {
  MOST_ROWS = 256, /* rows of c in one task */
  LEAST_ROWS = 64, /* fewer: a task takes a span of b's panels instead */
  MOST_TILES =
      54, /* tiles of a panel of a in one go: with MOST_ROWS 864 KB, which stay in the second-level cache */
  PACK_PANELS = 8,       /* panels of b, packed by one task */
  PACK_CHUNKS = 32,      /* and chunks */
  STRIP_TILES = 1 << 16, /* packed b at a time: 64 MB */
  TILE_FLOATS = AMX_TILE / 2
};

typedef struct {
  int part;     /* part of the stacked weight, along the inner index */
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
  size_t n_chunks, first, panels; /* chunks and panels of b in this strip */
  size_t rows, span, step;        /* a task's: of c, panels of b in this strip, chunks in one go */
  size_t row_tasks;
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

/* Packs panels [p0, p1) by chunks [k0, k1) of a factor; dst: where chunk k0 of panel p0 goes, panels `ld` apart. */
static void pack(const job *j, bool is_a, uint16_t *dst, size_t ld, size_t p0, size_t p1, size_t k0, size_t k1) {
  const operand *o = is_a ? j->a : j->b;
  size_t parts = is_a ? j->a_parts : j->b_parts, unit = o->type == T_F32 ? 4 : 2;
  /* along the source's rows in the inner loop */
  size_t outer = o->sk == 1 ? p1 - p0 : k1 - k0, inner = o->sk == 1 ? k1 - k0 : p1 - p0;
  for (size_t x = 0; x < outer; x++)
    for (size_t y = 0; y < inner; y++) {
      size_t p = o->sk == 1 ? x : y, k = o->sk == 1 ? y : x, at, column, width;
      const chunk *h = &j->chunks[k0 + k];
      int part;
      operand_panel(o, AMX_ROWS, p0 + p, &part, &at, &column, &width);
      if (o->along_k) part = h->part;
      const char *src = o->part[part].p;
      src += (at * o->si + (is_a ? h->k : h->at) * o->sk) * unit;
      amx_pack(dst + p * ld + k * parts * AMX_TILE, parts, !is_a, src, o->type, o->si, o->sk, width, h->len);
    }
}

static void pack_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  size_t groups = ceil_div(j->panels, PACK_PANELS), p0 = task % groups * PACK_PANELS,
         k0 = task / groups * PACK_CHUNKS;
  size_t p1 = p0 + PACK_PANELS < j->panels ? p0 + PACK_PANELS : j->panels;
  size_t k1 = k0 + PACK_CHUNKS < j->n_chunks ? k0 + PACK_CHUNKS : j->n_chunks;
  size_t tile = j->b_parts * AMX_TILE, ld = j->n_chunks * tile;
  pack(j, false, (uint16_t *)j->s->b.p + p0 * ld + k0 * tile, ld, j->first + p0, j->first + p1, k0, k1);
}

static void block_task(void *ctx, size_t task, int thread) {
  const job *j = ctx;
  size_t r0 = task % j->row_tasks * j->rows, p0 = task / j->row_tasks * j->span;
  size_t height = j->a->n - r0 < j->rows ? j->a->n - r0 : j->rows,
         p1 = p0 + j->span < j->panels ? p0 + j->span : j->panels;
  size_t a_tile = j->a_parts * AMX_TILE, b_tile = j->b_parts * AMX_TILE, run;
  amx_factor a = {j->s->per_thread[thread].p, 0, j->a_parts}, b = {NULL, j->n_chunks * b_tile, j->b_parts};
  amx_begin();
  for (size_t k = 0; k < j->n_chunks; k += j->step) {
    size_t chunks = j->n_chunks - k < j->step ? j->n_chunks - k : j->step;
    a.ld = chunks * a_tile;
    pack(j, true, j->s->per_thread[thread].p, a.ld, r0 / AMX_ROWS, ceil_div(r0 + height, AMX_ROWS), k, k + chunks);
    for (size_t p = p0; p < p1; p += run) { /* panels of one part stand side by side in c */
      size_t at, column, width;
      int part;
      operand_panel(j->b, AMX_ROWS, j->first + p, &part, &at, &column, &width);
      size_t left = (j->b->along_k ? j->b->n : j->b->part[part].n) - at;
      run = ceil_div(left, AMX_ROWS) < p1 - p ? ceil_div(left, AMX_ROWS) : p1 - p;
      b.p = (const uint16_t *)j->s->b.p + p * b.ld + k * b_tile;
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
  size_t all = operand_panels(b, AMX_ROWS), strip = STRIP_TILES / (j.b_parts * j.n_chunks) + 1;
  if (strip > all) strip = all;
  size_t threads = (size_t)pool_threads(s->threads);
  j.step = ceil_div(j.n_chunks, ceil_div(j.n_chunks * j.a_parts, MOST_TILES));
  j.rows = ceil_div(a->n, threads * ceil_div(a->n, threads * MOST_ROWS));
  j.rows = ceil_div(j.rows < LEAST_ROWS ? LEAST_ROWS : j.rows, AMX_ROWS) * AMX_ROWS;
  j.row_tasks = ceil_div(a->n, j.rows);
  size_t spans = ceil_div(threads, j.row_tasks);
  for (size_t i = 0; i < threads; i++)
    if (!scratch_need(&s->per_thread[i], j.rows / AMX_ROWS * j.step * j.a_parts * TILE_FLOATS))
      return rw_nomem(err, "the packed factors of a matrix product");
  if (!scratch_need(&s->b, strip * j.n_chunks * j.b_parts * TILE_FLOATS) ||
      !scratch_need(&s->chunks, ceil_div(j.n_chunks * sizeof(chunk), sizeof(float))))
    return rw_nomem(err, "the packed factors of a matrix product");
  cut(a, b, rows, s->chunks.p);
  j.chunks = s->chunks.p;
  for (j.first = 0; j.first < all; j.first += strip) {
    j.panels = all - j.first < strip ? all - j.first : strip;
    j.span = ceil_div(ceil_div(j.panels, spans), 2) * 2;
    pool_run(s->threads, ceil_div(j.n_chunks, PACK_CHUNKS) * ceil_div(j.panels, PACK_PANELS), pack_task, &j);
    pool_run(s->threads, j.row_tasks * ceil_div(j.panels, j.span), block_task, &j);
  }
  return RW_OK;
}
