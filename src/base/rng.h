/* rng.h - seeded random numbers: the same on every machine, with a state that fits into a checkpoint.
 *
 * xoshiro256++ (Blackman & Vigna 2019) seeded by splitmix64.
 */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
  uint64_t s[4];
} rng;

/* stream: independent sequences of one seed. */
rng rng_new(uint64_t seed, uint64_t stream);
uint64_t rng_next(rng *r);
uint64_t rng_below(rng *r, uint64_t n);            /* uniform in [0, n), unbiased; n > 0 */
double rng_uniform(rng *r);                        /* [0, 1) with 53 bits */
double rng_normal(rng *r);                         /* N(0, 1), Box-Muller */
void rng_shuffle(rng *r, size_t *items, size_t n); /* Fisher-Yates */

#endif
