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
  BLOCK_PANELS = 16, /* panels of b in one task */
  PACK_PANELS = 8,   /* panels packed by one task */
  PACK_CHUNKS = 32,  /* and chunks */
  INNER_TILES = 16, /* tiles of the inner index in one go: those of two panels of b stay in the first-level cache */
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

/* A block at an edge, or of panels that do not stand side by side in c: computed beside it. */
static void edge_block(const job *j, size_t tiles, const uint16_t *a, size_t a_ld, size_t rows, const uint16_t *b,
                       size_t b_ld, const size_t column[2], const size_t width[2], float *c, bool acc) {
  const size_t side = 2 * (size_t)AMX_ROWS;
  float edge[4 * AMX_ROWS * AMX_ROWS];
  for (size_t i = 0; acc && i < rows; i++)
    for (size_t p = 0; p < 2; p++)
      memcpy(edge + i * side + p * AMX_ROWS, c + i * j->ldc + column[p], width[p] * sizeof(float));
  amx_block(tiles, a, a_ld, rows > AMX_ROWS, j->a_parts, b, b_ld, width[1] > 0, j->b_parts, edge, side, acc);
  for (size_t i = 0; i < rows; i++)
    for (size_t p = 0; p < 2; p++)
      memcpy(c + i * j->ldc + column[p], edge + i * side + p * AMX_ROWS, width[p] * sizeof(float));
}

static void block_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  size_t m = j->a->n, pair = 2 * (size_t)AMX_ROWS, row_blocks = ceil_div(m, BLOCK_ROWS),
         step = INNER_TILES / j->b_parts;
  size_t p0 = task / row_blocks * BLOCK_PANELS, r0 = task % row_blocks * BLOCK_ROWS;
  size_t p1 = p0 + BLOCK_PANELS < j->panels ? p0 + BLOCK_PANELS : j->panels;
  size_t r1 = r0 + BLOCK_ROWS < m ? r0 + BLOCK_ROWS : m;
  size_t a_tile = j->a_parts * AMX_TILE, b_tile = j->b_parts * AMX_TILE;
  size_t a_ld = j->n_chunks * a_tile, b_ld = j->n_chunks * b_tile;
  const uint16_t *packed_a = j->s->a.p, *packed_b = j->s->b.p;
  amx_begin();
  for (size_t k = 0; k < j->n_chunks; k += step) {
    size_t tiles = j->n_chunks - k < step ? j->n_chunks - k : step;
    for (size_t p = p0; p < p1; p += 2) {
      int part;
      size_t at, column[2] = {0}, width[2] = {0};
      for (size_t i = 0; i < 2 && p + i < p1; i++)
        operand_panel(j->b, AMX_ROWS, j->first + p + i, &part, &at, &column[i], &width[i]);
      bool whole = width[0] == AMX_ROWS && width[1] == AMX_ROWS && column[1] == column[0] + AMX_ROWS;
      const uint16_t *b = packed_b + p * b_ld + k * b_tile;
      for (size_t r = r0; r < r1; r += pair) {
        const uint16_t *a = packed_a + r / AMX_ROWS * a_ld + k * a_tile;
        float *c = j->c + r * j->ldc;
        bool acc = j->acc || k > 0;
        if (whole && m - r >= pair)
          amx_block(tiles, a, a_ld, true, j->a_parts, b, b_ld, true, j->b_parts, c + column[0], j->ldc, acc);
        else
          edge_block(j, tiles, a, a_ld, m - r < pair ? m - r : pair, b, b_ld, column, width, c, acc);
      }
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
