/* gguf_dequant.c - blocks of quantized values to f32, with the operations and rounding of the gguf Python package.
 *
 * Legacy types hold 32 values with one scale (and for _1 types a minimum); K types hold 256 values in sub-blocks
 * whose scales are quantized too. Scales are f16.
 */
#include <string.h>

#include "base/half.h"
#include "format/gguf.h"
#include "format/gguf_types.h"

static float f16_at(const uint8_t *p) { return half_from_f16((uint16_t)(p[0] | p[1] << 8)); }

static void decode_f32(float *out, const uint8_t *b) { memcpy(out, b, 4); }
static void decode_f16(float *out, const uint8_t *b) { *out = f16_at(b); }
static void decode_bf16(float *out, const uint8_t *b) { *out = half_from_bf16((uint16_t)(b[0] | b[1] << 8)); }

static void decode_q8_0(float *out, const uint8_t *b) {
  float d = f16_at(b);
  for (int i = 0; i < 32; i++) out[i] = d * (float)(int8_t)b[2 + i];
}

static void decode_q4_0(float *out, const uint8_t *b) {
  float d = f16_at(b);
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)((b[2 + i] & 15) - 8);
    out[16 + i] = d * (float)((b[2 + i] >> 4) - 8);
  }
}
static void decode_q4_1(float *out, const uint8_t *b) {
  float d = f16_at(b), m = f16_at(b + 2);
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)(b[4 + i] & 15) + m;
    out[16 + i] = d * (float)(b[4 + i] >> 4) + m;
  }
}

/* The fifth bits of 32 values are one little-endian word. */
static int fifth(const uint8_t *h, int i) { return (h[i / 8] >> (i % 8) & 1) << 4; }
static void decode_q5_0(float *out, const uint8_t *b) {
  float d = f16_at(b);
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)(((b[6 + i] & 15) | fifth(b + 2, i)) - 16);
    out[16 + i] = d * (float)(((b[6 + i] >> 4) | fifth(b + 2, i + 16)) - 16);
  }
}
static void decode_q5_1(float *out, const uint8_t *b) {
  float d = f16_at(b), m = f16_at(b + 2);
  for (int i = 0; i < 16; i++) {
    out[i] = d * (float)((b[8 + i] & 15) | fifth(b + 4, i)) + m;
    out[16 + i] = d * (float)((b[8 + i] >> 4) | fifth(b + 4, i + 16)) + m;
  }
}

/* Six-bit scale and minimum of sub-block j out of 12 packed bytes (Q4_K, Q5_K). */
static void scale_min(const uint8_t *s, int j, int *scale, int *min) {
  if (j < 4) {
    *scale = s[j] & 63;
    *min = s[j + 4] & 63;
  } else {
    *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
    *min = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
  }
}
static void decode_k45(float *out, const uint8_t *b, const uint8_t *high, const uint8_t *q) {
  float d = f16_at(b), dmin = f16_at(b + 2);
  for (int j = 0; j < 8; j++) {
    int sc, mn;
    scale_min(b + 4, j, &sc, &mn);
    float ds = d * (float)sc, ms = dmin * (float)mn;
    for (int i = 0; i < 32; i++) {
      int v = j % 2 ? q[j / 2 * 32 + i] >> 4 : q[j / 2 * 32 + i] & 15;
      if (high) v |= (high[i] >> j & 1) << 4;
      out[j * 32 + i] = ds * (float)v - ms;
    }
  }
}
static void decode_q4_k(float *out, const uint8_t *b) { decode_k45(out, b, NULL, b + 16); }
static void decode_q5_k(float *out, const uint8_t *b) { decode_k45(out, b, b + 16, b + 48); }

static void decode_q6_k(float *out, const uint8_t *b) {
  const uint8_t *low = b, *high = b + 128;
  const int8_t *scales = (const int8_t *)(b + 192);
  float d = f16_at(b + 208);
  for (int i = 0; i < 256; i++) {
    int half = i / 128, r = i % 128, part = r / 32, k = r % 32;
    int lo = low[half * 64 + part % 2 * 32 + k] >> (part / 2 * 4) & 15, hi = high[half * 32 + k] >> (part * 2) & 3;
    out[i] = d * (float)scales[i >> 4] * (float)((lo | hi << 4) - 32);
  }
}

static const struct {
  uint32_t number;
  gguf_type type;
} types[] = {
    {0, {"F32", 1, 4, decode_f32}},        {1, {"F16", 1, 2, decode_f16}},
    {2, {"Q4_0", 32, 18, decode_q4_0}},    {3, {"Q4_1", 32, 20, decode_q4_1}},
    {6, {"Q5_0", 32, 22, decode_q5_0}},    {7, {"Q5_1", 32, 24, decode_q5_1}},
    {8, {"Q8_0", 32, 34, decode_q8_0}},    {12, {"Q4_K", 256, 144, decode_q4_k}},
    {13, {"Q5_K", 256, 176, decode_q5_k}}, {14, {"Q6_K", 256, 210, decode_q6_k}},
    {30, {"BF16", 1, 2, decode_bf16}},
};

const gguf_type *gguf_type_of(uint32_t type) {
  for (size_t i = 0; i < sizeof types / sizeof *types; i++)
    if (types[i].number == type) return &types[i].type;
  return NULL;
}

rw_status gguf_dequantize(const gguf_tensor *t, float *dst, rw_error *err) {
  const gguf_type *k = gguf_type_of(t->type);
  if (!k) return rw_fail(err, RW_UNSUPPORTED, "tensor %s: type %u is not supported", t->name, t->type);
  const uint8_t *p = t->data;
  for (size_t n = t->bytes / k->bytes; n > 0; n--, p += k->bytes, dst += k->block) k->decode(dst, p);
  return RW_OK;
}
