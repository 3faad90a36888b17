/* test_slices.c - how a batch's rows are parted: evenly, and by their weights alone; and those of a slice in
 * pieces. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "train/slices.h"

enum { ROWS = 128, SLICES = 8 };

static void by_weight(void **state) {
  (void)state;
  /* 9 to 0; 7 to 1; 5 to 2; 4 to 2 (9, 7, 5); the first 3 to 1 (9, 7, 9); the second to 0, 1 or 2 of (9, 10, 9): 0
   */
  size_t weight[] = {3, 9, 4, 3, 7, 5, 0};
  int of[7], want[] = {1, 0, 2, 0, 1, 2, 2};
  assert_int_equal(slices_cut(of, weight, 7, 3, NULL), 0);
  assert_memory_equal(of, want, sizeof want);
  assert_int_equal(slices_cut(of, weight, 7, 1, NULL), 0);
  for (int i = 0; i < 7; i++) assert_int_equal(of[i], 0);
  assert_int_equal(slices_cut(of, weight, 2, 7, NULL), 0); /* fewer rows than slices */
  assert_int_equal(of[0], 1);
  assert_int_equal(of[1], 0);
  assert_int_equal(slices_cut(of, weight, 0, 7, NULL), 0);
}

/* Lengths as of conversations: the heaviest slice is within 2 % of a fair one, where neighbours would be 10 % off.
 */
static void even(void **state) {
  (void)state;
  size_t weight[ROWS], load[SLICES], all = 0, worst = 0;
  int of[ROWS];
  for (uint64_t seed = 0; seed < 20; seed++) {
    rng r = rng_new(seed, 0);
    all = worst = 0;
    memset(load, 0, sizeof load);
    for (size_t i = 0; i < ROWS; i++) all += weight[i] = 50 + (size_t)rng_below(&r, 400) * (size_t)rng_below(&r, 4);
    assert_int_equal(slices_cut(of, weight, ROWS, SLICES, NULL), 0);
    for (size_t i = 0; i < ROWS; i++) load[of[i]] += weight[i];
    for (int s = 0; s < SLICES; s++) worst = load[s] > worst ? load[s] : worst;
    assert_true(worst * SLICES * 100 < all * 102);
  }
}

static void pieces_are_filled(void **state) {
  (void)state;
  /* of at most 10: the row of 12 by itself, then 9, then 6 and 4, 3, which 4 left no room for; the row of 7 is not
   * asked for */
  size_t weight[] = {4, 9, 7, 12, 3, 6}, order[] = {0, 1, 3, 4, 5}, piece[6] = {0}, want[] = {3, 1, 0, 5, 4},
         pieces[] = {3, 2, 0, 1, 4, 3};
  assert_int_equal(pieces_cut(order, piece, weight, 5, 10, NULL), 0);
  assert_memory_equal(order, want, sizeof want);
  assert_memory_equal(piece, pieces, sizeof pieces);
  assert_int_equal(pieces_cut(order, piece, weight, 0, 10, NULL), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(by_weight), cmocka_unit_test(even),
                                     cmocka_unit_test(pieces_are_filled)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
