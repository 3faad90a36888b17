/* test_base_mem.c - sizes that overflow, alignment, arenas, strings that run out of memory, the map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/mem.h"

static void products_that_overflow_give_nothing(void **state) {
  (void)state;
  size_t half = SIZE_MAX / 2 + 1;
  assert_null(mem_alloc(half, 2));
  assert_null(mem_zalloc(half, 2));
  assert_null(mem_aligned(half, 2));
  assert_null(mem_aligned(SIZE_MAX, 1)); /* the rounding up overflows */
  assert_null(mem_strndup("", SIZE_MAX));
  char *p = mem_alloc(1, 8);
  assert_non_null(p);
  memcpy(p, "kept it", 8);
  assert_null(mem_realloc(p, half, 2));
  assert_string_equal(p, "kept it");
  mem_free(p);
  arena *a = arena_new();
  assert_null(arena_alloc(a, half, 2));
  assert_null(arena_alloc(a, SIZE_MAX - 3, 1));
  assert_non_null(arena_alloc(a, 1, 1));
  arena_free(a);
  void *items = NULL;
  size_t cap = 0;
  assert_false(mem_grow(&items, &cap, half, 2));
  assert_true(items == NULL && cap == 0);
}

static void nothing_asked_is_a_pointer_all_the_same(void **state) {
  (void)state;
  void *p[] = {mem_alloc(0, 8), mem_zalloc(8, 0), mem_aligned(0, 0), mem_strndup(NULL, 0)};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) {
    assert_non_null(p[i]);
    mem_free(p[i]);
  }
  mem_free(NULL);
}

static void matrices_are_aligned_and_zeros_are_zero(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 63, 64, 65, 1 << 20, (8 << 20) + 1};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    unsigned char *p = mem_aligned(sizes[i], 1), *z = mem_zalloc(sizes[i], 1);
    assert_true(p && z && (uintptr_t)p % 64 == 0);
    memset(p, 1, sizes[i]); /* under the sanitizers: all of it is ours */
    for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(z[k], 0);
    mem_free(p);
    mem_free(z);
  }
}

static void a_failure_can_be_ordered(void **state) {
  (void)state;
  mem_fail_after(1);
  void *p = mem_alloc(1, 1);
  assert_non_null(p);
  assert_null(mem_alloc(1, 1));
  assert_null(mem_zalloc(1, 1)); /* and all after it */
  mem_fail_after(-1);
  mem_free(p);
  p = mem_alloc(1, 1);
  assert_non_null(p);
  mem_free(p);
}

static void a_vector_grows_and_keeps(void **state) {
  (void)state;
  int *v = NULL;
  size_t n = 0, cap = 0;
  for (int i = 0; i < 10000; i++) assert_true(vec_push(v, n, cap, i));
  for (int i = 0; i < 10000; i++) assert_int_equal(v[i], i);
  assert_true(n == 10000 && cap >= n && cap < 4 * n);
  mem_free(v);
}

static void an_arenas_pieces_are_aligned_zeroed_and_apart(void **state) {
  (void)state;
  arena *a = arena_new();
  for (int round = 0; round < 3; round++) {
    char *piece[300];
    for (size_t i = 0; i < 300; i++) {
      size_t n = i == 150 ? 1 << 20 : i * 7; /* one beyond any block */
      piece[i] = arena_alloc(a, n, 1);
      assert_true(piece[i] && (uintptr_t)piece[i] % 16 == 0);
      for (size_t k = 0; k < n; k++) assert_int_equal(piece[i][k], 0);
      memset(piece[i], (int)(i % 100 + 1), n);
    }
    for (size_t i = 1; i < 300; i++) assert_int_equal(piece[i][0], i % 100 + 1);
    arena_reset(a); /* dirty memory is zeroed again */
  }
  assert_string_equal(arena_strndup(a, "a text", 1), "a");
  arena_free(a);
  arena_free(NULL);
}

static void a_string_without_memory_stays_so(void **state) {
  (void)state;
  str s = {0};
  str_addz(&s, "before");
  mem_fail_after(0);
  for (int i = 0; i < 100; i++) str_addz(&s, "a growing text, beyond what it has");
  mem_fail_after(-1);
  assert_true(s.oom);
  size_t len = s.len;
  str_addz(&s, "after");
  str_printf(&s, "%d", 5);
  assert_true(s.oom && s.len == len);
  str_free(&s);
  assert_true(!s.p && !s.len && !s.oom);
  assert_false(str_reserve(&s, SIZE_MAX - 1));
  str_free(&s);
}

/* Every byte at every place of a text longer than what is looked at together. */
static void each_byte_is_escaped_wherever_it_stands(void **state) {
  static const char *const names[] = {['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r",
                                      ['\t'] = "\\t", ['\b'] = "\\b",  ['\f'] = "\\f"};
  (void)state;
  str s = {0}, want = {0};
  for (int c = 0; c < 256; c++)
    for (size_t at = 0; at < 37; at++) {
      char text[37];
      memset(text, 'x', sizeof text);
      text[at] = (char)c;
      str_clear(&want);
      str_printf(&want, "\"%.*s", (int)at, text);
      bool named = c < (int)(sizeof names / sizeof *names) && names[c];
      if (named)
        str_addz(&want, names[c]);
      else if (c < 0x20 || c == 0x7f)
        str_printf(&want, "\\u%04x", (unsigned)c);
      else
        str_addc(&want, (char)c);
      str_printf(&want, "%.*s\"", (int)(sizeof text - 1 - at), text + at + 1);
      str_clear(&s);
      str_json(&s, text, sizeof text);
      assert_string_equal(s.p, want.p);
    }
  str_free(&s);
  str_free(&want);
}

static void numbers_read_back_and_text_is_escaped(void **state) {
  (void)state;
  static const double values[] = {0, -0.0, 1, 0.1, 1e300, 5e-324, 123456789012345678.0, -2.5e-7};
  str s = {0};
  for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
    str_clear(&s);
    str_json_num(&s, values[i]);
    assert_true(strtod(s.p, NULL) == values[i]);
    str_clear(&s);
    str_json_f32(&s, (float)values[i]);
    assert_true(values[i] > 1e38 || strtof(s.p, NULL) == (float)values[i]);
  }
  str_clear(&s);
  str_json_num(&s, strtod("nan", NULL));
  str_addc(&s, ' ');
  str_json(&s, "a\"\\\n\x01é", sizeof "a\"\\\n\x01é" - 1);
  assert_string_equal(s.p, "null \"a\\\"\\\\\\n\\u0001é\"");
  str_clear(&s);
  str_utf8(&s, 0x7f), str_utf8(&s, 0x80), str_utf8(&s, 0x20ac), str_utf8(&s, 0x10ffff);
  assert_string_equal(s.p, "\x7f\xc2\x80\xe2\x82\xac\xf4\x8f\xbf\xbf");
  str_free(&s);
  char cut[] = "ab\xe2\x82";
  utf8_mend(cut);
  assert_string_equal(cut, "ab??");
  assert_true(utf8_is_blank(SLICE(" \t\xe3\x80\x80")) && utf8_is_blank((slice){NULL, 0}) &&
              !utf8_is_blank(SLICE(" .")));
}

static void the_map_holds_what_was_put(void **state) {
  (void)state;
  map *m = map_new();
  char key[32];
  for (int i = 0; i < 5000; i++) {
    bool fresh;
    int n = snprintf(key, sizeof key, "key %d", i % 2500);
    int64_t *v = map_put(m, key, (size_t)n, i, &fresh);
    assert_true(v && fresh == (i < 2500) && *v == i % 2500);
  }
  assert_int_equal(map_count(m), 2500);
  assert_null(map_get(m, "key", 3));
  assert_true(*map_put(m, "", 0, 9, NULL) == 9 && *map_get(m, "", 0) == 9);
  assert_non_null(map_put(m, "a\0b", 3, 1, NULL)); /* bytes, not a string */
  assert_null(map_get(m, "a", 1));
  map_free(m);
  map_free(NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(products_that_overflow_give_nothing),
      cmocka_unit_test(nothing_asked_is_a_pointer_all_the_same),
      cmocka_unit_test(matrices_are_aligned_and_zeros_are_zero),
      cmocka_unit_test(a_failure_can_be_ordered),
      cmocka_unit_test(a_vector_grows_and_keeps),
      cmocka_unit_test(an_arenas_pieces_are_aligned_zeroed_and_apart),
      cmocka_unit_test(a_string_without_memory_stays_so),
      cmocka_unit_test(each_byte_is_escaped_wherever_it_stands),
      cmocka_unit_test(numbers_read_back_and_text_is_escaped),
      cmocka_unit_test(the_map_holds_what_was_put),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
