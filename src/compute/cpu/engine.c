/* engine.c - products by register tiles, and the engine of chains: each element one chain of multiply-adds, by the
 * kernels of the CPU's level. */
#include "compute/cpu/engine.h"

enum {
  ROWS = 96, /* rows of c in a task, a multiple of every level's panels; with COLUMNS 288 KB of sums */
  COLUMNS = 768,
  INNER = 192, /* so many floats of a panel of b fit the first-level cache */
  PACK_COLUMNS = 576,
  LINE = 16 /* floats of a line of the caches */
};

static void pack(const engine *e, panels to, factor_id f, const void *src, tensor_type type, size_t si, size_t sk,
                 size_t n, size_t kn) {
  size_t width = e->width[f];
  e->k->pack(to.p, to.ld, (int)width, src, type, si, sk, n, kn);
  for (size_t i = 0; e->round && i < n; i += width, to.p += to.ld) e->k->round_bf16(to.p, kn * width);
}

void engine_by_tiles(const engine *e, size_t chunks, panels a, panels b, float *c, size_t ldc, size_t m, size_t n,
                     bool acc) {
  const size_t mr = e->width[FACTOR_A], nr = e->width[FACTOR_B],
               panel = chunks * engine_chunk(e, FACTOR_B, b.parts),
               share = ceil_div(ceil_div(panel, LINE), ceil_div(m, mr));
  for (size_t j = 0; j < n; j += nr, b.p += b.ld) {
    const float *rows = a.p, *next = b.p + b.ld; /* each tile fetches its share of the panel that follows */
    size_t lines = j + nr < n ? share : 0;
    for (size_t i = 0; i < m; i += mr, rows += a.ld) {
      for (size_t l = 0; l < lines; l++, next += LINE) __builtin_prefetch(next);
      e->tile(chunks, rows, b.p, c + i * ldc + j, ldc, m - i < mr ? m - i : mr, n - j < nr ? n - j : nr, acc);
    }
  }
}

engine engine_chains(const kernels *k, bool round) {
  return (engine){.width = {(size_t)k->mr, (size_t)k->nr},
                  .inner = 1,
                  .words = 1,
                  .parts = 1,
                  .suits = {ROWS, COLUMNS / (size_t)k->nr, INNER, PACK_COLUMNS / (size_t)k->nr},
                  .pack = pack,
                  .multiply = engine_by_tiles,
                  .tile = k->tile,
                  .k = k,
                  .round = round};
}
