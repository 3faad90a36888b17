/* st_values.c - the types of tensors, and values between f32, f16 and bf16. */
#include <string.h>

#include "base/half.h"
#include "format/safetensors.h"

static const struct {
  const char *name;
  size_t size;
} dtypes[] = {{"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"I16", 2}, {"F16", 2},
              {"BF16", 2}, {"I32", 4}, {"F32", 4}, {"F64", 8}, {"I64", 8}};

size_t st_dtype_size(st_dtype t) { return dtypes[t].size; }
const char *st_dtype_name(st_dtype t) { return dtypes[t].name; }
const option_word st_dtype_words[] = {{"f32", DT_F32}, {"f16", DT_F16}, {"bf16", DT_BF16}, {NULL, 0}};

static uint16_t to_f16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  uint16_t sign = (uint16_t)(u >> 16 & 0x8000);
  u &= 0x7fffffff;
  if (u >= 0x7f800000u) return (uint16_t)(sign | 0x7c00 | (u > 0x7f800000u ? 0x200 | (u >> 13 & 0x3ff) : 0));
  if (u >= 0x477ff000u) return (uint16_t)(sign | 0x7c00); /* rounds to infinity */
  if (u < 0x38800000u) {                                  /* below the smallest normal half */
    float a;
    memcpy(&a, &u, 4);
    a += 0.5f; /* the sum's last bit is 2^-24: the addition rounds to nearest even */
    memcpy(&u, &a, 4);
    return (uint16_t)(sign | (u - 0x3f000000u));
  }
  u += 0xfff + (u >> 13 & 1);
  return (uint16_t)(sign | (u - 0x38000000u) >> 13);
}

void st_to_f32(float *dst, const void *src, st_dtype t, size_t n) {
  const char *p = src;
  if (t == DT_F32) {
    memcpy(dst, src, n * 4);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    uint16_t h;
    memcpy(&h, p + 2 * i, 2);
    dst[i] = t == DT_BF16 ? half_from_bf16(h) : half_from_f16(h);
  }
}

void st_from_f32(void *dst, const float *src, st_dtype t, size_t n) {
  char *p = dst;
  if (t == DT_F32) {
    memcpy(dst, src, n * 4);
    return;
  }
  for (size_t i = 0; i < n; i++) {
    uint16_t h = t == DT_BF16 ? half_to_bf16(src[i]) : to_f16(src[i]);
    memcpy(p + 2 * i, &h, 2);
  }
}
