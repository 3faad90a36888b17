/* rng.c - random numbers by xoshiro256++; the same seed gives the same numbers on every machine. */
#include "base/rng.h"

#include <math.h>

static uint64_t splitmix(uint64_t *x) {
  uint64_t z = (*x += 0x9e3779b97f4a7c15u);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

rng rng_new(uint64_t seed, uint64_t stream) {
  uint64_t x = seed ^ (stream * 0xd1342543de82ef95u);
  rng r;
  for (int i = 0; i < 4; i++) r.s[i] = splitmix(&x);
  return r;
}

static uint64_t rotl(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

uint64_t rng_next(rng *r) {
  uint64_t *s = r->s, out = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotl(s[3], 45);
  return out;
}

uint64_t rng_below(rng *r, uint64_t n) {
  uint64_t limit = -n % n; /* 2^64 mod n: below it the remainder would be biased */
  for (;;) {
    uint64_t x = rng_next(r);
    if (x >= limit) return x % n;
  }
}

double rng_uniform(rng *r) { return (double)(rng_next(r) >> 11) * 0x1p-53; }

double rng_normal(rng *r) {
  double u = 1.0 - rng_uniform(r), v = rng_uniform(r);
  return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

void rng_shuffle(rng *r, size_t *items, size_t n) {
  for (size_t i = n; i > 1; i--) {
    size_t j = (size_t)rng_below(r, i), t = items[i - 1];
    items[i - 1] = items[j];
    items[j] = t;
  }
}
