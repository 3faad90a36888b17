/* amx.c - the engine of bf16 tiles with f32 sums, by the AMX unit of recent Xeons.
 *
 * A tile is 16 x 16 pairs of bf16: of factor a 16 rows by 32 of the inner index, of factor b 32 of the inner index
 * by 16 columns. One instruction adds to 16 x 16 sums: per element the 16 even and the 16 odd products in two
 * chains of fused multiply-adds from 0, then their sum to the element (Intel's TDPBF16PS; denormals count as 0). So
 * an element's bits depend on how the inner index is cut into chunks of 32, and on nothing else.
 *
 * An f32 factor is taken whole as three bf16 parts, x = x0 + x1 + x2 to 24 bits, and a product as the six partial
 * ones down to 2^-24 of it (as in Henry, Tang & Heinecke 2019): f32 products at f32's accuracy, three times as
 * fast. A chunk of a panel is one tile a part.
 *
 * Compiled for AMX; nothing here runs where detect_amx says no.
 */
#include <string.h>

#include "compute/cpu/avx512.h"
#include "compute/cpu/engine.h"

enum {
  SIDE = 16,  /* rows of a, or columns of b, in a tile */
  INNER = 32, /* values of the inner index in a tile */
  TILE = 512, /* bf16 values of a tile */
  MAX_PARTS = 3
};

static void begin(void) {
  static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } __attribute__((aligned(64)))
  config = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};
  _tile_loadconfig(&config);
}
static void end(void) { _tile_release(); }

/* ---- packing ---- */

/* 32 values, lo's before hi's, as a sum of parts: each part is the nearest bf16 to what the parts before it left.
 */
static inline void split(__m512i *out, size_t parts, __m512 lo, __m512 hi) {
  for (size_t p = 0; p < parts; p++) {
    out[p] = (__m512i)_mm512_cvtne2ps_pbh(hi, lo);
    if (p + 1 == parts) break;
    lo = _mm512_sub_ps(lo, widen_bf16(_mm512_castsi512_si256(out[p])));
    hi = _mm512_sub_ps(hi, widen_bf16(_mm512_extracti64x4_epi64(out[p], 1)));
  }
}

/* Element (i, k) = src[i*si + k*sk], i < n <= 16, k < kn <= 32, into `parts` tiles one after another, the rest
 * zeros. factor_b: as b's tile. */
static inline void pack_chunk(uint16_t *dst, const size_t parts, bool factor_b, const void *src,
                              const tensor_type type, size_t si, size_t sk, size_t n, size_t kn) {
  __m512i x[MAX_PARTS];
  bool along_k = sk == 1;
  for (size_t r = 0; r < 16; r++) {
    if (along_k) { /* row r of the tile: pairs of the inner index */
      __m512 lo = load_some(src, r * si, type, r < n ? first(kn) : 0);
      __m512 hi = load_some(src, r * si + 16, type, r < n && kn > 16 ? first(kn - 16) : 0);
      split(x, parts, lo, hi);
    } else { /* two of the inner index, woven to pairs */
      __m512 lo = load_some(src, 2 * r * sk, type, 2 * r < kn ? first(n) : 0);
      __m512 hi = load_some(src, (2 * r + 1) * sk, type, 2 * r + 1 < kn ? first(n) : 0);
      split(x, parts, lo, hi);
      for (size_t p = 0; p < parts; p++) x[p] = woven(x[p]);
    }
    for (size_t p = 0; p < parts; p++) _mm512_store_si512(dst + p * TILE + r * 32, x[p]);
  }
  if (along_k != factor_b) return;
  for (size_t p = 0; p < parts; p++, dst += TILE) {
    __m512 t[16];
#pragma GCC unroll 16
    for (size_t r = 0; r < 16; r++) t[r] = _mm512_load_ps(dst + r * 32);
    transpose16(t);
#pragma GCC unroll 16
    for (size_t r = 0; r < 16; r++) _mm512_store_ps(dst + r * 32, t[r]);
  }
}

static void pack_type(uint16_t *dst, size_t parts, bool factor_b, const void *src, tensor_type type, size_t si,
                      size_t sk, size_t n, size_t kn) {
  if (type == T_F32 && parts == 1)
    pack_chunk(dst, 1, factor_b, src, T_F32, si, sk, n, kn);
  else if (type == T_F32)
    pack_chunk(dst, MAX_PARTS, factor_b, src, T_F32, si, sk, n, kn);
  else if (parts == 1)
    pack_chunk(dst, 1, factor_b, src, type, si, sk, n, kn);
  else
    pack_chunk(dst, MAX_PARTS, factor_b, src, type, si, sk, n, kn);
}

static void pack(const engine *e, panels to, factor_id f, const void *src, tensor_type type, size_t si, size_t sk,
                 size_t n, size_t kn) {
  (void)e;
  /* along the source's rows in the inner loop */
  size_t panel_count = ceil_div(n, SIDE), chunks = ceil_div(kn, INNER), outer = sk == 1 ? panel_count : chunks,
         inner = sk == 1 ? chunks : panel_count;
  for (size_t x = 0; x < outer; x++)
    for (size_t y = 0; y < inner; y++) {
      size_t p = sk == 1 ? x : y, c = sk == 1 ? y : x, i = p * SIDE, k = c * INNER;
      pack_type((uint16_t *)(void *)(to.p + p * to.ld) + c * to.parts * TILE, to.parts, f == FACTOR_B,
                (const char *)src + (i * si + k * sk) * type_size(type), type, si, sk, n - i < SIDE ? n - i : SIDE,
                kn - k < INNER ? kn - k : INNER);
    }
}

/* ---- products ---- */

/* A packed factor: its tiles, panels `ld` values apart. */
typedef struct {
  const uint16_t *p;
  size_t ld, parts;
} tiles;
static tiles tiles_of(panels x) { return (tiles){(const uint16_t *)(const void *)x.p, 2 * x.ld, x.parts}; }

/* Tiles 0 to 3: the sums; 4, 5: a; 6, 7: b. */
#define LOAD_A(part)                                               \
  do {                                                             \
    _tile_loadd(4, a + (size_t)(part)*TILE, 64);                   \
    if (a_two) _tile_loadd(5, a + a_ld + (size_t)(part)*TILE, 64); \
  } while (0)
#define LOAD_B(part)                                               \
  do {                                                             \
    _tile_loadd(6, b + (size_t)(part)*TILE, 64);                   \
    if (b_two) _tile_loadd(7, b + b_ld + (size_t)(part)*TILE, 64); \
  } while (0)
#define MULTIPLY()                               \
  do {                                           \
    _tile_dpbf16ps(0, 4, 6);                     \
    if (b_two) _tile_dpbf16ps(1, 4, 7);          \
    if (a_two) _tile_dpbf16ps(2, 5, 6);          \
    if (a_two && b_two) _tile_dpbf16ps(3, 5, 7); \
  } while (0)

static inline __attribute__((always_inline)) void block(size_t chunks, const uint16_t *a, size_t a_ld,
                                                        const bool a_two, const size_t a_parts, const uint16_t *b,
                                                        size_t b_ld, const bool b_two, const size_t b_parts,
                                                        float *c, size_t ldc, const float *soon, bool acc) {
  if (acc) {
    _tile_loadd(0, c, ldc * 4);
    if (b_two) _tile_loadd(1, c + 16, ldc * 4);
    if (a_two) _tile_loadd(2, c + 16 * ldc, ldc * 4);
    if (a_two && b_two) _tile_loadd(3, c + 16 * ldc + 16, ldc * 4);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (size_t k = 0; k < chunks; k++, a += a_parts * TILE, b += b_parts * TILE) {
    if (k < 16) /* lines arrive while the tiles multiply */
      for (size_t r = 2 * k; r < 2 * k + 2; r++) {
        __builtin_prefetch(soon + r * ldc, 1);
        __builtin_prefetch(soon + r * ldc + 16, 1);
      }
    if (a_parts == 3) { /* the small ones first */
      LOAD_A(2);
      LOAD_B(0);
      MULTIPLY();
      LOAD_A(1);
      MULTIPLY();
      if (b_parts == 3) {
        LOAD_B(1);
        MULTIPLY();
        LOAD_A(0);
        MULTIPLY();
        LOAD_B(2);
        MULTIPLY();
        LOAD_B(0);
        MULTIPLY();
        continue;
      }
    } else {
      LOAD_B(0);
    }
    LOAD_A(0);
    MULTIPLY();
  }
  _tile_stored(0, c, ldc * 4);
  if (b_two) _tile_stored(1, c + 16, ldc * 4);
  if (a_two) _tile_stored(2, c + 16 * ldc, ldc * 4);
  if (a_two && b_two) _tile_stored(3, c + 16 * ldc + 16, ldc * 4);
}

#define SIZED(pa, pb)                                                               \
  do {                                                                              \
    if (a_two && b_two)                                                             \
      block(chunks, a.p, a.ld, true, pa, b.p, b.ld, true, pb, c, ldc, soon, acc);   \
    else if (a_two)                                                                 \
      block(chunks, a.p, a.ld, true, pa, b.p, b.ld, false, pb, c, ldc, soon, acc);  \
    else if (b_two)                                                                 \
      block(chunks, a.p, a.ld, false, pa, b.p, b.ld, true, pb, c, ldc, soon, acc);  \
    else                                                                            \
      block(chunks, a.p, a.ld, false, pa, b.p, b.ld, false, pb, c, ldc, soon, acc); \
  } while (0)

/* c[32, 32], or 16 rows or columns where there is no second panel. soon: the block of c that is wanted next. */
static void sized_block(size_t chunks, tiles a, bool a_two, tiles b, bool b_two, float *c, size_t ldc,
                        const float *soon, bool acc) {
  if (a.parts == 1)
    SIZED(1, 1);
  else if (b.parts == 1)
    SIZED(3, 1);
  else
    SIZED(3, 3);
}

static void multiply(const engine *e, size_t chunks, panels packed_a, panels packed_b, float *c, size_t ldc,
                     size_t m, size_t n, bool acc) {
  (void)e;
  const size_t side = 2 * (size_t)SIDE;
  const tiles a = tiles_of(packed_a);
  tiles b = tiles_of(packed_b);
  for (size_t j = 0; j < n; j += side, b.p += 2 * b.ld) {
    size_t width = n - j < side ? n - j : side;
    tiles rows = a;
    for (size_t i = 0; i < m; i += side, rows.p += 2 * a.ld) {
      size_t height = m - i < side ? m - i : side;
      float *at = c + i * ldc + j;
      bool a_two = height > SIDE, b_two = width > SIDE;
      if (height % SIDE == 0 && width % SIDE == 0) {
        const float *next = i + side < m ? at + side * ldc : j + side < n ? c + j + side : at;
        sized_block(chunks, rows, a_two, b, b_two, at, ldc, acc ? next : at, acc);
        continue;
      }
      float edge[4 * SIDE * SIDE]; /* at the matrix's edge: computed beside it */
      for (size_t r = 0; acc && r < height; r++) memcpy(edge + r * side, at + r * ldc, width * sizeof(float));
      sized_block(chunks, rows, a_two, b, b_two, edge, side, edge, acc);
      for (size_t r = 0; r < height; r++) memcpy(at + r * ldc, edge + r * side, width * sizeof(float));
    }
  }
}

engine engine_tiles(size_t parts) {
  enum {
    ROWS = 256,
    MOST_TILES = 54 /* tiles of a's panel in one go: with ROWS 864 KB, which stay in the second-level cache */
  };
  return (engine){.width = {SIDE, SIDE},
                  .inner = INNER,
                  .words = TILE / 2 / SIDE,
                  .parts = parts,
                  .suits = {ROWS, SIZE_MAX, MOST_TILES / parts, 8},
                  .pack = pack,
                  .multiply = multiply,
                  .begin = begin,
                  .end = end};
}
