/* immintrin.h - AVX-512, AVX512_BF16 and AMX in software, for tests on machines without them: what src/compute/cpu
 * uses of them, under the same names, over the compiler's AVX2.
 *
 * It stands before the compiler's own header (-I, -include; Makefile: emu-cpu), and the sources are compiled for
 * AVX2. Results are those of Intel's manual (volume 2 of the SDM), element by element:
 * - vdpbf16ps: to each sum first the product of the pair's second values, then that of its first, each by one fused
 *   multiply-add; tdpbf16ps: 16 pairs' first and second values in two chains from 0, their sum to the element. Both
 *   count denormals as 0 on the way in and out and round to nearest even, whatever the thread's own mode.
 * - conversions to bf16 flush denormals, keep infinities and quieten NaNs.
 * - masked loads and stores touch no byte that the mask leaves out; aligned ones end the program where they are
 * not.
 * - a tile instruction without a configuration, or with shapes that do not fit, ends the program.
 * Not seen: speed, the hardware's own faults.
 */
#ifndef EMU_CPU_IMMINTRIN_H
#define EMU_CPU_IMMINTRIN_H

#include_next <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define __AVX512F__ 1 /* for the sources; the compiler's header above has been read without it */

#define EMU static inline __attribute__((always_inline, unused))

typedef union {
  __m512 f;
  __m512i i;
  __m512d d;
  __m256 half[2];
  float f32[16];
  double f64[8];
  uint32_t u32[16];
  uint16_t u16[32];
} emu_512;

EMU void emu_must(int ok, const char *what) {
  if (ok) return;
  fprintf(stderr, "emulated CPU: %s\n", what);
  abort();
}
EMU int emu_aligned(const void *p) { return (uintptr_t)p % 64 == 0; }

/* Denormals as 0, in and out, to nearest even, between these two; what is computed must go through EMU_PIN. */
enum { EMU_FLUSH = 0x9fc0 };
#define EMU_PIN(x) __asm__ volatile("" : "+x"(x))

EMU __m256 emu_low(__m256i pairs) { return _mm256_castsi256_ps(_mm256_slli_epi32(pairs, 16)); }
EMU __m256 emu_high(__m256i pairs) {
  return _mm256_castsi256_ps(_mm256_and_si256(pairs, _mm256_set1_epi32((int)0xffff0000)));
}

EMU uint16_t emu_to_bf16(uint32_t bits) {
  uint32_t size = bits & 0x7fffffffu;
  if (size < 0x00800000u) return (uint16_t)(bits >> 16 & 0x8000u);
  if (size > 0x7f800000u) return (uint16_t)(bits >> 16 | 0x40u);
  return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

/* ---- values ---- */

EMU __m512 emu_set1_ps(float x) {
  emu_512 r;
  for (int i = 0; i < 16; i++) r.f32[i] = x;
  return r.f;
}
EMU __m512i emu_set1_epi32(int x) {
  emu_512 r;
  for (int i = 0; i < 16; i++) r.u32[i] = (uint32_t)x;
  return r.i;
}
EMU __m512 emu_setzero_ps(void) { return emu_set1_ps(0); }
EMU __m512i emu_setzero_si512(void) { return emu_set1_epi32(0); }
EMU __m512 emu_fmadd_ps(__m512 a, __m512 b, __m512 c) {
  emu_512 x = {a}, y = {b}, z = {c};
  for (int h = 0; h < 2; h++) z.half[h] = _mm256_fmadd_ps(x.half[h], y.half[h], z.half[h]);
  return z.f;
}
EMU __m512 emu_sub_ps(__m512 a, __m512 b) { return a - b; }
EMU __m512i emu_cast_si512(__m512 x) { return ((emu_512){.f = x}).i; }
EMU __m512 emu_cast_ps(__m512i x) { return ((emu_512){.i = x}).f; }
EMU __m512d emu_cast_pd(__m512 x) { return ((emu_512){.f = x}).d; }
EMU __m512 emu_castpd_ps(__m512d x) { return ((emu_512){.d = x}).f; }
EMU __m256i emu_half(__m512i x, int h) { return _mm256_castps_si256(((emu_512){.i = x}).half[h]); }
EMU __m512i emu_slli_epi32(__m512i x, unsigned n) {
  emu_512 r = {.i = x};
  for (int i = 0; i < 16; i++) r.u32[i] <<= n;
  return r.i;
}
EMU __m512i emu_cvtepu16_epi32(__m256i x) {
  emu_512 r;
  uint16_t h[16];
  memcpy(h, &x, sizeof h);
  for (int i = 0; i < 16; i++) r.u32[i] = h[i];
  return r.i;
}
EMU __m512 emu_cvtph_ps(__m256i x) {
  emu_512 r;
  r.half[0] = _mm256_cvtph_ps(_mm256_castsi256_si128(x));
  r.half[1] = _mm256_cvtph_ps(_mm256_extracti128_si256(x, 1));
  return r.f;
}

/* ---- order ---- */

EMU __m512 emu_unpack_ps(__m512 a, __m512 b, int high) {
  emu_512 x = {a}, y = {b}, r;
  for (int i = 0; i < 16; i++) {
    int from = i / 4 * 4 + 2 * high + i % 4 / 2;
    r.f32[i] = i % 2 ? y.f32[from] : x.f32[from];
  }
  return r.f;
}
EMU __m512d emu_unpack_pd(__m512d a, __m512d b, int high) {
  emu_512 x = {.d = a}, y = {.d = b}, r;
  for (int i = 0; i < 8; i++) r.f64[i] = i % 2 ? y.f64[i - 1 + high] : x.f64[i + high];
  return r.d;
}
EMU __m512 emu_shuffle_f32x4(__m512 a, __m512 b, int order) {
  emu_512 x = {a}, y = {b}, r;
  for (int lane = 0; lane < 4; lane++) /* two lanes of a, then two of b */
    memcpy(r.f32 + 4 * lane, (lane < 2 ? x.f32 : y.f32) + 4 * (order >> 2 * lane & 3), 16);
  return r.f;
}
EMU __m512i emu_permutexvar_epi16(__m512i order, __m512i x) {
  emu_512 o = {.i = order}, from = {.i = x}, r;
  for (int i = 0; i < 32; i++) r.u16[i] = from.u16[o.u16[i] & 31];
  return r.i;
}

/* ---- memory ---- */

EMU __m512 emu_loadu_ps(const void *p) {
  emu_512 r;
  memcpy(&r, p, 64);
  return r.f;
}
EMU __m512 emu_load_ps(const void *p) {
  emu_must(emu_aligned(p), "an aligned load from an address that is not");
  return emu_loadu_ps(p);
}
EMU __m512i emu_loadu_si512(const void *p) { return emu_cast_si512(emu_loadu_ps(p)); }
EMU void emu_storeu_ps(void *p, __m512 x) { memcpy(p, &x, 64); }
EMU void emu_store_ps(void *p, __m512 x) {
  emu_must(emu_aligned(p), "an aligned store to an address that is not");
  emu_storeu_ps(p, x);
}
EMU void emu_store_si512(void *p, __m512i x) { emu_store_ps(p, emu_cast_ps(x)); }
EMU __m512 emu_maskz_loadu_ps(__mmask16 some, const void *p) {
  emu_512 r;
  for (int i = 0; i < 16; i++) {
    r.u32[i] = 0;
    if (some >> i & 1) memcpy(&r.u32[i], (const char *)p + 4 * i, 4);
  }
  return r.f;
}
EMU __m256i emu_maskz_loadu_epi16(__mmask16 some, const void *p) {
  uint16_t h[16] = {0};
  __m256i r;
  for (int i = 0; i < 16; i++)
    if (some >> i & 1) memcpy(&h[i], (const char *)p + 2 * i, 2);
  memcpy(&r, h, sizeof r);
  return r;
}
EMU __m512i emu_maskz_loadu_epi16_512(__mmask32 some, const void *p) {
  emu_512 r;
  for (int i = 0; i < 32; i++) {
    r.u16[i] = 0;
    if (some >> i & 1) memcpy(&r.u16[i], (const char *)p + 2 * i, 2);
  }
  return r.i;
}
EMU void emu_mask_storeu_ps(void *p, __mmask16 some, __m512 x) {
  emu_512 r = {x};
  for (int i = 0; i < 16; i++)
    if (some >> i & 1) memcpy((char *)p + 4 * i, &r.u32[i], 4);
}

/* ---- bf16 ---- */

EMU __m512i emu_cvtne2ps_pbh(__m512 high, __m512 low) {
  emu_512 h = {high}, l = {low}, r;
  for (int i = 0; i < 16; i++) r.u16[i] = emu_to_bf16(l.u32[i]), r.u16[16 + i] = emu_to_bf16(h.u32[i]);
  return r.i;
}
EMU __m512 emu_dpbf16_ps(__m512 sum, __m512i a, __m512i b) {
  emu_512 s = {sum};
  unsigned mode = _mm_getcsr();
  _mm_setcsr(EMU_FLUSH);
  for (int h = 0; h < 2; h++) {
    __m256i x = emu_half(a, h), y = emu_half(b, h);
    __m256 t = s.half[h];
    EMU_PIN(t);
    t = _mm256_fmadd_ps(emu_high(x), emu_high(y), t);
    t = _mm256_fmadd_ps(emu_low(x), emu_low(y), t);
    EMU_PIN(t);
    s.half[h] = t;
  }
  _mm_setcsr(mode);
  return s.f;
}

/* ---- tiles ---- */

typedef struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} emu_tile_config;
typedef struct {
  int rows, bytes;
  union {
    uint32_t u32[16][16];
    float f32[16][16];
  } at;
} emu_tile;
static __thread struct {
  int configured;
  emu_tile tile[8];
} emu_tiles;

EMU void emu_tile_loadconfig(const void *p) {
  emu_tile_config c;
  memcpy(&c, p, sizeof c);
  emu_must(c.palette == 1 && c.start_row == 0, "a tile configuration of another palette or row");
  memset(&emu_tiles, 0, sizeof emu_tiles);
  for (int t = 0; t < 16; t++) {
    emu_must(c.rows[t] <= 16 && c.bytes[t] <= 64 && (t < 8 || (!c.rows[t] && !c.bytes[t])),
             "a tile of impossible shape");
    if (t < 8) emu_tiles.tile[t].rows = c.rows[t], emu_tiles.tile[t].bytes = c.bytes[t];
  }
  emu_tiles.configured = 1;
}
EMU void emu_tile_release(void) { memset(&emu_tiles, 0, sizeof emu_tiles); }
EMU emu_tile *emu_tile_of(int t) {
  emu_must(emu_tiles.configured && emu_tiles.tile[t].rows, "a tile instruction without a configuration");
  return &emu_tiles.tile[t];
}
EMU void emu_tile_zero(int t) { memset(&emu_tile_of(t)->at, 0, sizeof emu_tiles.tile->at); }
EMU void emu_tile_loadd(int t, const void *p, size_t stride) {
  emu_tile *x = emu_tile_of(t);
  emu_tile_zero(t);
  for (int r = 0; r < x->rows; r++) memcpy(x->at.u32[r], (const char *)p + (size_t)r * stride, (size_t)x->bytes);
}
EMU void emu_tile_stored(int t, void *p, size_t stride) {
  emu_tile *x = emu_tile_of(t);
  for (int r = 0; r < x->rows; r++) memcpy((char *)p + (size_t)r * stride, x->at.u32[r], (size_t)x->bytes);
}
static __attribute__((unused, noinline)) void emu_tile_dpbf16ps(int to, int of_a, int of_b) {
  emu_tile *c = emu_tile_of(to), *a = emu_tile_of(of_a), *b = emu_tile_of(of_b);
  emu_must(to != of_a && to != of_b && of_a != of_b, "tdpbf16ps with a tile named twice");
  emu_must(a->bytes == 4 * b->rows && c->bytes == b->bytes && c->rows == a->rows,
           "tdpbf16ps of shapes that do not fit");
  emu_must(b->bytes == 64, "tdpbf16ps: the emulation knows whole rows only");
  unsigned mode = _mm_getcsr();
  _mm_setcsr(EMU_FLUSH);
  for (int h = 0; h < 16; h += 8) {
    __m256 low[16], high[16];
    for (int k = 0; k < b->rows; k++) {
      __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)&b->at.u32[k][h]);
      low[k] = emu_low(pairs), high[k] = emu_high(pairs);
    }
    for (int m = 0; m < a->rows; m++) {
      __m256 even = _mm256_setzero_ps(), odd = even, sum = _mm256_loadu_ps(&c->at.f32[m][h]);
      EMU_PIN(even);
      EMU_PIN(odd);
      EMU_PIN(sum);
      for (int k = 0; k < b->rows; k++) {
        __m256i pair = _mm256_set1_epi32((int)a->at.u32[m][k]);
        even = _mm256_fmadd_ps(emu_low(pair), low[k], even);
        odd = _mm256_fmadd_ps(emu_high(pair), high[k], odd);
      }
      sum = _mm256_add_ps(sum, _mm256_add_ps(even, odd));
      EMU_PIN(sum);
      _mm256_storeu_ps(&c->at.f32[m][h], sum);
    }
  }
  _mm_setcsr(mode);
}

/* ---- under their names ---- */

#undef _mm512_slli_epi32
#undef _mm512_shuffle_f32x4
#undef _mm512_extracti64x4_epi64
#undef _tile_loadd
#undef _tile_stored
#undef _tile_zero
#undef _tile_dpbf16ps
#define _mm512_set1_ps            emu_set1_ps
#define _mm512_set1_epi32         emu_set1_epi32
#define _mm512_setzero_ps         emu_setzero_ps
#define _mm512_setzero_si512      emu_setzero_si512
#define _mm512_fmadd_ps           emu_fmadd_ps
#define _mm512_sub_ps             emu_sub_ps
#define _mm512_castps_si512       emu_cast_si512
#define _mm512_castsi512_ps       emu_cast_ps
#define _mm512_castps_pd          emu_cast_pd
#define _mm512_castpd_ps          emu_castpd_ps
#define _mm512_castsi512_si256(x) emu_half(x, 0)
#define _mm512_extracti64x4_epi64 emu_half
#define _mm512_slli_epi32         emu_slli_epi32
#define _mm512_cvtepu16_epi32     emu_cvtepu16_epi32
#define _mm512_cvtph_ps           emu_cvtph_ps
#define _mm512_unpacklo_ps(a, b)  emu_unpack_ps(a, b, 0)
#define _mm512_unpackhi_ps(a, b)  emu_unpack_ps(a, b, 1)
#define _mm512_unpacklo_pd(a, b)  emu_unpack_pd(a, b, 0)
#define _mm512_unpackhi_pd(a, b)  emu_unpack_pd(a, b, 1)
#define _mm512_shuffle_f32x4      emu_shuffle_f32x4
#define _mm512_permutexvar_epi16  emu_permutexvar_epi16
#define _mm512_loadu_ps           emu_loadu_ps
#define _mm512_load_ps            emu_load_ps
#define _mm512_loadu_si512        emu_loadu_si512
#define _mm512_storeu_ps          emu_storeu_ps
#define _mm512_store_ps           emu_store_ps
#define _mm512_store_si512        emu_store_si512
#define _mm512_maskz_loadu_ps     emu_maskz_loadu_ps
#define _mm256_maskz_loadu_epi16  emu_maskz_loadu_epi16
#define _mm512_maskz_loadu_epi16  emu_maskz_loadu_epi16_512
#define _mm512_mask_storeu_ps     emu_mask_storeu_ps
#define _mm512_cvtne2ps_pbh       emu_cvtne2ps_pbh
#define _mm512_dpbf16_ps(s, a, b) emu_dpbf16_ps(s, (__m512i)(a), (__m512i)(b))
#define _tile_loadconfig          emu_tile_loadconfig
#define _tile_release             emu_tile_release
#define _tile_loadd               emu_tile_loadd
#define _tile_stored              emu_tile_stored
#define _tile_zero                emu_tile_zero
#define _tile_dpbf16ps            emu_tile_dpbf16ps

#endif
