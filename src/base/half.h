/* half.h - f16 and bf16 to f32, one value at a time, exact; f32 to bf16. */
#ifndef BASE_HALF_H
#define BASE_HALF_H

#include <stdint.h>
#include <string.h>

static inline float half_from_bf16(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, 4);
  return f;
}

/* To nearest, ties to even; a NaN stays one. */
static inline uint16_t half_to_bf16(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  uint32_t nan = u >> 16 | 0x40, rounded = (u + 0x7fff + (u >> 16 & 1)) >> 16;
  return (uint16_t)((u & 0x7fffffff) > 0x7f800000u ? nan : rounded);
}

static inline float half_from_f16(uint16_t h) {
  /* 2^112 moves the half's exponent to the float's; a denormal comes out right by the multiplication */
  uint32_t u = (uint32_t)(h & 0x7fff) << 13;
  float f;
  if ((h & 0x7c00) == 0x7c00) {
    u |= 0x7f800000u;
    memcpy(&f, &u, 4);
  } else {
    memcpy(&f, &u, 4);
    f *= 0x1p112f;
  }
  return h & 0x8000 ? -f : f;
}

#endif
