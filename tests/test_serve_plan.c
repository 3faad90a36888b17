/* The plan of a forest beside all ways to part a few rows: none has fewer tokens. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "model/model.h"
#include "serve/forest_plan.h"

enum { MOST = 7, LONGEST = 6 };

/* Tokens of rows whose part is `part`. */
static size_t tokens_of(const plan_row *rows, const size_t *part, size_t n, size_t which) {
  const int32_t *ids[MOST];
  size_t len[MOST];
  id_group g = {ids, len, 0};
  for (size_t i = 0; i < n; i++)
    if (part[i] == which) {
      ids[g.n] = rows[i].ids;
      len[g.n++] = rows[i].len;
    }
  return g.n ? model_group_tokens(&g, true) : 0;
}

/* The least over all parts of rows at and beyond `at`. */
static size_t least(const plan_row *rows, size_t *part, size_t n, size_t at, size_t parts) {
  size_t best = SIZE_MAX, sum = 0;
  if (at == n) {
    for (size_t p = 0; p < parts; p++) sum += tokens_of(rows, part, n, p);
    return sum;
  }
  for (part[at] = 0; part[at] <= parts; part[at]++) {
    size_t keep = part[at], t = least(rows, part, n, at + 1, keep == parts ? parts + 1 : parts);
    if (t < best) best = t;
  }
  return best;
}

static void no_way_has_fewer_tokens(void **state) {
  (void)state;
  rng r = rng_new(7, 0);
  for (int round = 0; round < 400; round++) {
    int32_t ids[MOST][LONGEST];
    plan_row rows[MOST];
    size_t n = 1 + rng_below(&r, MOST - 1), order[MOST], end[MOST], groups, part[MOST], planned[MOST];
    for (size_t i = 0; i < n; i++) {
      rows[i] = (plan_row){ids[i], 1 + rng_below(&r, LONGEST)};
      for (size_t k = 0; k < rows[i].len; k++) ids[i][k] = (int32_t)rng_below(&r, 2);
    }
    assert_int_equal(forest_plan(rows, n, order, end, &groups, NULL), RW_OK);
    assert_int_equal(end[groups - 1], n);
    size_t tokens = 0;
    for (size_t g = 0, i = 0; g < groups; g++)
      for (; i < end[g]; i++) planned[order[i]] = g;
    for (size_t g = 0; g < groups; g++) tokens += tokens_of(rows, planned, n, g);
    assert_int_equal(tokens, least(rows, part, n, 0, 0));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(no_way_has_fewer_tokens)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
