/* test_base_rng.c - the generator's published answers, and what is drawn from it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"

static void answers_are_the_published_ones(void **state) {
  (void)state;
  /* the first outputs of xoshiro256++ from the state 1, 2, 3, 4, and of splitmix64 from 0 */
  static const uint64_t want[] = {41943041u,
                                  58720359u,
                                  3588806011781223u,
                                  3591011842654386u,
                                  9228616714210784205u,
                                  9973669472204895162u,
                                  14011001112246962877u,
                                  12406186145184390807u};
  static const uint64_t seeded[] = {0xe220a8397b1dcdafu, 0x6e789e6aa1b965f4u, 0x06c45d188009454fu,
                                    0xf88bb8a8724c81ecu};
  rng r = {{1, 2, 3, 4}}, z = rng_new(0, 0);
  for (size_t i = 0; i < sizeof want / sizeof *want; i++) assert_true(rng_next(&r) == want[i]);
  assert_memory_equal(z.s, seeded, sizeof seeded);
}

static void streams_and_seeds_differ_and_a_copy_goes_on_alike(void **state) {
  (void)state;
  rng a = rng_new(7, 0), b = rng_new(7, 1), c = rng_new(8, 0), again = rng_new(7, 0);
  uint64_t x = rng_next(&a);
  assert_true(x == rng_next(&again) && x != rng_next(&b) && x != rng_next(&c));
  rng copy = a;
  for (int i = 0; i < 100; i++) assert_true(rng_next(&a) == rng_next(&copy));
}

static void below_stays_below_and_meets_each(void **state) {
  (void)state;
  rng r = rng_new(1, 0);
  int seen[7] = {0};
  for (int i = 0; i < 7000; i++) seen[rng_below(&r, 7)]++;
  for (int i = 0; i < 7; i++) assert_in_range(seen[i], 850, 1150);
  for (int i = 0; i < 10; i++) assert_true(rng_below(&r, 1) == 0);
  for (int i = 0; i < 10; i++) assert_true(rng_below(&r, UINT64_MAX) < UINT64_MAX);
  for (int i = 0; i < 10; i++) assert_true(rng_below(&r, (1ull << 63) + 1) <= 1ull << 63);
}

static void uniform_and_normal_have_their_moments(void **state) {
  (void)state;
  enum { N = 20000 };
  rng r = rng_new(2, 0);
  double u = 0, m = 0, v = 0;
  for (int i = 0; i < N; i++) {
    double x = rng_uniform(&r), n = rng_normal(&r);
    assert_true(x >= 0 && x < 1 && n > -10 && n < 10);
    u += x / N, m += n / N, v += n * n / N;
  }
  assert_true(u > 0.49 && u < 0.51 && m > -0.03 && m < 0.03 && v > 0.95 && v < 1.05);
}

static void a_shuffle_keeps_every_item(void **state) {
  (void)state;
  size_t items[50], order[50], sum = 0;
  rng r = rng_new(3, 0), again = r;
  for (size_t i = 0; i < 50; i++) items[i] = order[i] = i;
  rng_shuffle(&r, items, 50);
  assert_memory_not_equal(items, order, sizeof items);
  rng_shuffle(&again, order, 50);
  assert_memory_equal(items, order, sizeof items);
  for (size_t i = 0; i < 50; i++) sum |= (size_t)1 << items[i];
  assert_true(sum == ((size_t)1 << 50) - 1);
  rng before = r;
  rng_shuffle(&r, items, 0);
  rng_shuffle(&r, items, 1);
  assert_memory_equal(&before, &r, sizeof r); /* nothing to draw for */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(answers_are_the_published_ones),
      cmocka_unit_test(streams_and_seeds_differ_and_a_copy_goes_on_alike),
      cmocka_unit_test(below_stays_below_and_meets_each),
      cmocka_unit_test(uniform_and_normal_have_their_moments),
      cmocka_unit_test(a_shuffle_keeps_every_item),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
