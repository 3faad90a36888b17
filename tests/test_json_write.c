/* test_json_write.c - the bytes of the JSON writer. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "format/json_write.h"

static rw_error err;

/* The text is that, and the reader takes it. */
static void written(str *s, const char *expected) {
  json_doc *doc = json_new();
  assert_non_null(doc);
  assert_false(s->oom);
  assert_string_equal(s->p, expected);
  assert_int_equal(json_parse(doc, s->p, s->len, &err), RW_OK);
  json_free(doc);
  str_free(s);
}

static void the_writer_keeps_commas_and_lines(void **state) {
  (void)state;
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_string(&w, "s", "a\"b\n");
  jw_string(&w, "none", NULL);
  jw_slice(&w, "t", SLICE("\0x"));
  jw_int(&w, "i", INT64_MIN);
  jw_uint(&w, "u", UINT64_MAX);
  jw_num(&w, "n", 0.1);
  jw_num(&w, "nan", NAN);
  jw_f32(&w, "f", 0.1f);
  jw_array(&w, "list");
  jw_bool(&w, NULL, true);
  jw_null(&w, NULL);
  jw_array(&w, NULL);
  jw_end(&w);
  jw_object(&w, NULL);
  jw_raw(&w, "raw", SLICE("[1,2]"));
  jw_end(&w);
  jw_end(&w);
  jw_key(&w, SLICE("k\t"));
  jw_bool(&w, NULL, false);
  str_printf(jw_value(&w, "v"), "%.2f", 0.5);
  jw_end(&w);
  written(
      &s,
      "{\"s\": \"a\\\"b\\n\", \"none\": null, \"t\": \"\\u0000x\", \"i\": -9223372036854775808, \"u\": "
      "18446744073709551615, \"n\": 0.1, \"nan\": null, \"f\": 0.100000001, \"list\": [true, null, [], {\"raw\": "
      "[1,2]}], \"k\\t\": false, \"v\": 0.50}");

  w = (json_writer){.out = &s};
  jw_object_lines(&w, NULL);
  jw_object_lines(&w, "a");
  jw_array(&w, "x");
  jw_int(&w, NULL, 1);
  jw_int(&w, NULL, 2);
  jw_end(&w);
  jw_int(&w, "y", 3);
  jw_end(&w);
  jw_array_lines(&w, "empty");
  jw_end(&w);
  jw_end(&w);
  written(&s, "{\n  \"a\": {\n    \"x\": [1, 2],\n    \"y\": 3\n  },\n  \"empty\": []\n}");

  w = (json_writer){.out = &s, .compact = true};
  jw_object(&w, NULL);
  jw_int(&w, "a", 1);
  jw_array(&w, "b");
  jw_int(&w, NULL, 2);
  jw_int(&w, NULL, 3);
  jw_end(&w);
  jw_end(&w);
  written(&s, "{\"a\":1,\"b\":[2,3]}");
}

static bool is_b(void *ctx, slice key, json_val v) {
  (void)ctx;
  (void)v;
  return slice_is(key, "b");
}

static void the_writer_copies_members(void **state) {
  (void)state;
  static const char text[] = "{\"a\":  1.50, \"b\":2, \"\\u0063\": [ 1,2 ]}";
  json_doc *d = json_new();
  assert_non_null(d);
  assert_int_equal(json_parse(d, text, sizeof text - 1, &err), RW_OK);
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_members(&w, d, is_b, NULL);
  jw_int(&w, "d", 4);
  jw_end(&w);
  json_free(d);
  written(&s, "{\"a\": 1.50, \"c\": [ 1,2 ], \"d\": 4}");
}

static void the_writer_has_a_depth(void **state) {
  (void)state;
  str s = {0};
  json_writer w = {.out = &s};
  for (int i = 0; i < JW_DEPTH; i++) jw_array(&w, NULL);
  assert_false(s.oom);
  jw_array(&w, NULL);
  assert_true(s.oom);
  str_free(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_writer_keeps_commas_and_lines),
      cmocka_unit_test(the_writer_copies_members),
      cmocka_unit_test(the_writer_has_a_depth),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
