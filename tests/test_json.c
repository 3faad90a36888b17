/* test_json.c - the JSON reader against jansson on generated and damaged texts, and where jansson is silent or
 * differs: positions, limits, surrogates, UTF-8, raw bytes.
 *
 * jansson differs as documented there: it refuses \u0000 unless allowed, numbers that overflow, and counts its own
 * depth.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
/* jansson has names of ours: they get others while it is read, and its types are asked for here. */
#define JSON_OBJECT J_OBJECT
#define JSON_ARRAY  J_ARRAY
#define JSON_STRING J_STRING
#define JSON_TRUE   J_TRUE
#define JSON_FALSE  J_FALSE
#define JSON_NULL   J_NULL
#define json_type   j_type
#define json_string j_string
#include <jansson.h>
static bool j_is_object(const json_t *j) { return json_is_object(j); }
static bool j_is_array(const json_t *j) { return json_is_array(j); }
static bool j_is_string(const json_t *j) { return json_is_string(j); }
static bool j_is_true(const json_t *j) { return json_is_true(j); }
static bool j_is_false(const json_t *j) { return json_is_false(j); }
static bool j_is_null(const json_t *j) { return json_is_null(j); }
static bool j_is_integer(const json_t *j) { return json_is_integer(j); }
static bool j_is_number(const json_t *j) { return json_is_number(j); }
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL
#undef json_type
#undef json_string

#include "base/file.h"
#include "base/rng.h"
#include "format/json.h"

static rw_error err;
static json_doc *doc;

static int setup(void **state) {
  (void)state;
  return (doc = json_new()) ? 0 : -1;
}
static int teardown(void **state) {
  (void)state;
  json_free(doc);
  return 0;
}

/* The text in a block of its own size, so that the sanitizer sees a byte read behind it. */
static char *exact;
static rw_status parse(const char *text, size_t len) {
  free(exact);
  exact = malloc(len ? len : 1);
  assert_non_null(exact);
  memcpy(exact, text, len);
  return json_parse(doc, exact, len, &err);
}
#define PARSE(lit) parse("" lit, sizeof(lit) - 1)

static void refused(const char *text, size_t len, const char *says) {
  if (parse(text, len) != RW_DATA) fail_msg("taken: %.*s", (int)len, text);
  if (!strstr(err.text, says))
    fail_msg("%.*s: expected an error with \"%s\", got \"%s\"", (int)len, text, says, err.text);
  assert_int_equal(json_kind(doc, 0), JSON_NULL); /* nothing of it is left to look at */
  assert_int_equal(json_count(doc, 0), 0);
}
#define REFUSED(lit, says) refused("" lit, sizeof(lit) - 1, says)

/* ---- against jansson ---- */

static void same(json_val v, const json_t *j) {
  slice s;
  switch (json_kind(doc, v)) {
    case JSON_NULL: assert_true(v != JSON_NONE && j_is_null(j)); return;
    case JSON_FALSE: assert_true(j_is_false(j)); return;
    case JSON_TRUE: assert_true(j_is_true(j)); return;
    case JSON_NUMBER: {
      double x;
      int64_t i;
      assert_true(json_number(doc, v, &x));
      assert_true(j_is_number(j) && x == json_number_value(j));
      assert_int_equal(json_int(doc, v, &i), j_is_integer(j));
      if (j_is_integer(j)) assert_true(i == json_integer_value(j));
      return;
    }
    case JSON_STRING:
      s = json_string(doc, v);
      assert_true(j_is_string(j) && s.p && s.len == json_string_length(j));
      assert_memory_equal(s.p, json_string_value(j), s.len);
      return;
    case JSON_ARRAY: {
      assert_true(j_is_array(j));
      assert_int_equal(json_count(doc, v), json_array_size(j));
      size_t i = 0;
      for (json_val c = json_first(doc, v); c != JSON_NONE; c = json_next(doc, c), i++) {
        assert_int_equal(c, json_at(doc, v, i));
        same(c, json_array_get(j, i));
      }
      assert_int_equal(i, json_array_size(j));
      return;
    }
    case JSON_OBJECT: {
      assert_true(j_is_object(j));
      size_t i = 0;
      for (json_val c = json_first(doc, v); c != JSON_NONE; c = json_next(doc, c), i++) {
        slice k = json_key(doc, c);
        char key[64];
        assert_non_null(k.p);
        if (k.len >= sizeof key || memchr(k.p, 0, k.len)) continue; /* json_get takes C strings */
        snprintf(key, sizeof key, "%.*s", (int)k.len, k.p);
        same(json_get(doc, v, key), json_object_get(j, key)); /* the last of equal keys in both */
      }
      assert_int_equal(i, json_count(doc, v));
      return;
    }
  }
}

static void generate(rng *g, str *out, int depth) {
  static const char *const scalars[] = {"null",
                                        "true",
                                        "false",
                                        "0",
                                        "-0",
                                        "-0.0",
                                        "1e5",
                                        "12.5E-3",
                                        "9223372036854775807",
                                        "-9223372036854775808",
                                        "0.1",
                                        "123456789012345680000.0",
                                        "\"\"",
                                        "1E+2"};
  static const char *const pieces[] = {"a",
                                       "key",
                                       "\\n",
                                       "\\\"",
                                       "\\\\",
                                       "\\/",
                                       "\\u00e9",
                                       "\\uD83D\\uDE00",
                                       "\\u20ac",
                                       "\xC3\xA9",
                                       "\xE2\x82\xAC",
                                       "\xF0\x9F\x98\x80",
                                       " ",
                                       "longer text here",
                                       "\\b\\f\\r\\t"};
  static const char *const spaces[] = {"", "", "", " ", "\n", "\t \r\n"};
#define PICK(a) (a)[rng_below(g, sizeof(a) / sizeof *(a))]
  str_addz(out, PICK(spaces));
  uint64_t kind = rng_below(g, depth > 5 ? 4 : 8);
  if (kind < 2) {
    str_addz(out, PICK(scalars));
  } else if (kind < 4) {
    str_addc(out, '"');
    for (uint64_t n = rng_below(g, 5); n > 0; n--) str_addz(out, PICK(pieces));
    str_addc(out, '"');
  } else {
    bool object = kind < 6;
    str_addc(out, object ? '{' : '[');
    for (uint64_t n = rng_below(g, 5), i = 0; i < n; i++) {
      if (i) str_addc(out, ',');
      if (object) str_printf(out, "%s\"%s%s\"%s:", PICK(spaces), PICK(pieces), PICK(pieces), PICK(spaces));
      generate(g, out, depth + 1);
    }
    str_addz(out, PICK(spaces));
    str_addc(out, object ? '}' : ']');
  }
  str_addz(out, PICK(spaces));
#undef PICK
}

static json_t *peer(const str *s) { return json_loadb(s->p, s->len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL); }

static void generated_texts_read_alike(void **state) {
  (void)state;
  rng g = rng_new(1, 0);
  str s = {0};
  for (int i = 0; i < 3000; i++) {
    str_clear(&s);
    generate(&g, &s, 0);
    json_t *j = peer(&s);
    if (!j || parse(s.p, s.len)) fail_msg("refused by %s: %s (%s)", j ? "us" : "jansson", s.p, err.text);
    same(0, j);
    json_decref(j);
  }
  str_free(&s);
}

static void damaged_texts_are_judged_alike(void **state) {
  (void)state;
  static const char bytes[] = "\"\\{}[],:0123456789eE+-.truefalsn \n\t\x01\x7f\x80\xC3\xE2\xED\xF0\xF4\xFFuDd8";
  rng g = rng_new(2, 0);
  str s = {0};
  int taken = 0, refusals = 0;
  for (int i = 0; i < 20000; i++) {
    str_clear(&s);
    generate(&g, &s, 2);
    for (uint64_t n = 1 + rng_below(&g, 3); n > 0 && s.len > 0; n--) {
      size_t at = rng_below(&g, s.len);
      switch (rng_below(&g, 4)) {
        case 0: s.p[at] = bytes[rng_below(&g, sizeof bytes - 1)]; break;
        case 1: s.len = at; break;
        case 2: memmove(s.p + at, s.p + at + 1, s.len - at - 1), s.len--; break;
        default: s.p[at] = s.p[rng_below(&g, s.len)];
      }
    }
    if (s.len == 0) continue;
    json_error_t why;
    json_t *j = json_loadb(s.p, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
    bool overflow = !j && json_error_code(&why) == json_error_numeric_overflow;
    bool ours = parse(s.p, s.len) == RW_OK;
    if (!overflow && ours != (j != NULL))
      fail_msg("%s by us alone: %.*s (%s%s)", ours ? "taken" : "refused", (int)s.len, s.p, ours ? "" : err.text,
               j ? "" : why.text);
    if (ours && j) same(0, j);
    taken += ours;
    refusals += !ours;
    json_decref(j);
  }
  assert_true(taken > 500 && refusals > 5000); /* both judgements were asked for */
  str_free(&s);
}

/* ---- by hand ---- */

static void string_is(const char *text, size_t len, const char *want, size_t n) {
  if (parse(text, len)) fail_msg("%.*s: %s", (int)len, text, err.text);
  slice s = json_string(doc, 0);
  assert_int_equal(s.len, n);
  assert_memory_equal(s.p, want, n);
}
#define STRING(lit, want) string_is("" lit, sizeof(lit) - 1, "" want, sizeof(want) - 1)

static void escapes(void **state) {
  (void)state;
  STRING("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
  STRING("\"a\\u0000b\"", "a\0b");
  STRING("\"\\u007f\\u0080\\u07ff\\u0800\\uFFFF\"", "\x7f\xC2\x80\xDF\xBF\xE0\xA0\x80\xEF\xBF\xBF");
  STRING("\"\\uD800\\uDC00\\udbff\\udfff\"", "\xF0\x90\x80\x80\xF4\x8F\xBF\xBF");
  STRING("\"\"", "");
  STRING("\"12345678\\n12345678\"", "12345678\n12345678"); /* beside the words that are looked at whole */
  REFUSED("\xEF\xBB\xBF{}", "got a byte order mark; were files put together?");
  REFUSED("\"\\x41\"", "an escape");
  REFUSED("\"\\u12G4\"", "an escape");
  REFUSED("\"\\u123\"", "an escape");
  REFUSED("\"\\u12", "an escape");
  REFUSED("\"\\", "an escape");
  REFUSED("\"\\\0\"", "an escape");
}

/* Bytes are looked at many at a time: whatever ends a run of plain ones does so at each place. */
static void every_place_of_a_run(void **state) {
  static const struct {
    const char *text, *want; /* want NULL: refused */
  } at[] = {{"\\n", "\n"},    {"\\\"", "\""}, {"\\u00e9", "é"}, {"é", "é"},
            {"\x7f", "\x7f"}, {"\x1f", NULL}, {"\x80", NULL},   {"\\", NULL}};
  (void)state;
  for (size_t n = 0; n < 50; n++)
    for (size_t place = 0; place <= n; place++)
      for (size_t k = 0; k < sizeof at / sizeof *at; k++) {
        char text[130], want[80], plain[51] = {0};
        memset(plain, 'a', n);
        int len = snprintf(text, sizeof text, "{\"%s\": \"%.*s%s%s\"}", plain, (int)place, plain, at[k].text,
                           plain + place);
        if (!at[k].want) {
          assert_int_equal(json_parse(doc, text, (size_t)len, &err), RW_DATA);
          continue;
        }
        snprintf(want, sizeof want, "%.*s%s%s", (int)place, plain, at[k].want, plain + place);
        assert_int_equal(json_parse(doc, text, (size_t)len, &err), RW_OK);
        assert_true(slice_is(json_string(doc, json_get(doc, 0, plain)), want));
        len = snprintf(text, sizeof text, "{\"%.*s%s%s\": 1}", (int)place, plain, at[k].text, plain + place);
        assert_int_equal(json_parse(doc, text, (size_t)len, &err), RW_OK);
        assert_int_equal(json_get(doc, 0, want), 1);
        assert_true(slice_is(json_key(doc, 1), want));
      }
}

static void lone_surrogates(void **state) {
  (void)state;
  REFUSED("\"\\uD800\"", "lone surrogate");
  REFUSED("\"\\uDC00\"", "lone surrogate");
  REFUSED("\"\\uD800\\n\"", "lone surrogate");
  REFUSED("\"\\uD800\\uD800\"", "lone surrogate");
  REFUSED("\"\\uD83Dxxxxxxxx\"", "lone surrogate");
  REFUSED("{\"\\uDFFF\": 1}", "lone surrogate");
}

static void utf8_is_strict(void **state) {
  (void)state;
  static const char *const bad[] = {"\x80",
                                    "\xBF",
                                    "\xC0\x80",
                                    "\xC1\xBF",
                                    "\xC3",
                                    "\xC3(",
                                    "\xE0\x9F\xBF",
                                    "\xE2\x82",
                                    "\xED\xA0\x80",
                                    "\xED\xBF\xBF",
                                    "\xF0\x8F\xBF\xBF",
                                    "\xF4\x90\x80\x80",
                                    "\xF5\x80\x80\x80",
                                    "\xF0\x9F\x98",
                                    "\xFE",
                                    "\xFF"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
    for (int pad = 0; pad < 10; pad++) { /* at every place of the words that are looked at whole */
      char text[64];
      int n = snprintf(text, sizeof text, "\"%.*s%s%.*s\"", pad, "aaaaaaaaaa", bad[i], 10 - pad, "bbbbbbbbbb");
      refused(text, (size_t)n, "invalid UTF-8");
      n = snprintf(text, sizeof text, "{\"%s\":1}", bad[i]);
      refused(text, (size_t)n, "invalid UTF-8");
    }
  STRING("\"\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF\"",
         "\xDF\xBF\xE0\xA0\x80\xED\x9F\xBF\xEE\x80\x80\xF0\x90\x80\x80\xF4\x8F\xBF\xBF");
}

static void control_characters(void **state) {
  (void)state;
  for (int c = 0; c < 0x20; c++)
    for (int pad = 0; pad < 10; pad++) {
      char text[32] = "\"aaaaaaaaaaaaaaaaaaaa\"";
      text[1 + pad] = (char)c;
      refused(text, 22, "a control character");
    }
  STRING("\"\x7f\"", "\x7f");
}

static void what_json_is_not(void **state) {
  (void)state;
  REFUSED("", "cut short");
  REFUSED("  ", "cut short");
  REFUSED("NaN", "NaN is not JSON");
  REFUSED("[Infinity]", "Infinity is not JSON");
  REFUSED("-Infinity", "Infinity is not JSON");
  REFUSED("01", "follows");
  REFUSED("-", "not a JSON number");
  REFUSED("1.", "not a JSON number");
  REFUSED(".5", "expected a value");
  REFUSED("1e", "not a JSON number");
  REFUSED("+1", "expected a value");
  REFUSED("0x10", "follows");
  REFUSED("[1,]", "after ','");
  REFUSED("{\"a\":1,}", "after ','");
  REFUSED("[1 2]", "','");
  REFUSED("{'a':1}", "a key in quotes");
  REFUSED("{\"a\" 1}", "':' after a key");
  REFUSED("{\"a\":}", "expected a value");
  REFUSED("[}", "expected a value");
  REFUSED("[1}", "','");
  REFUSED("{\"a\":1]", "','");
  REFUSED("tru", "expected a value");
  REFUSED("truex", "follows");
  REFUSED("1 2", "follows");
  REFUSED("{} //", "follows");
  REFUSED("\"abc", "closing quote");
  REFUSED("\xEF\xBB\xBF{}", "expected a value");
  REFUSED(
      "\xC2\xA0"
      "1",
      "expected a value"); /* a space of Unicode, none of JSON */
}

static void errors_have_places(void **state) {
  (void)state;
  REFUSED("{\"a\": tru}", "column 7: ");
  REFUSED("[1, 2, x]", "column 8: expected a value, got 'x'");
  REFUSED("{\n  \"a\": 1,\n  \"b\" 2\n}", "line 3, column 7: ");
  REFUSED("[\n\n\"\xff\"]", "line 3, column 2: ");
  REFUSED("\"abc", "column 1: ");
}

static void depth_has_a_limit(void **state) {
  (void)state;
  for (int object = 0; object < 2; object++)
    for (int depth = JSON_MAX_DEPTH - 1; depth <= JSON_MAX_DEPTH + 1; depth++) {
      str s = {0};
      for (int i = 0; i < depth; i++) str_addz(&s, object ? "{\"k\":" : "[");
      str_addc(&s, '1');
      for (int i = 0; i < depth; i++) str_addc(&s, object ? '}' : ']');
      if (depth <= JSON_MAX_DEPTH)
        assert_int_equal(parse(s.p, s.len), RW_OK);
      else
        refused(s.p, s.len, "nested deeper than 256");
      str_free(&s);
    }
  enum { N = 1 << 20 };
  char *deep = malloc(N);
  memset(deep, '[', N);
  refused(deep, N, "nested deeper");
  free(deep);
  str wide = {0}; /* beside each other is no depth */
  str_addc(&wide, '[');
  for (int i = 0; i < 1000; i++) str_addz(&wide, i ? ",[{}]" : "[{}]");
  str_addc(&wide, ']');
  assert_int_equal(parse(wide.p, wide.len), RW_OK);
  assert_int_equal(json_count(doc, 0), 1000);
  str_free(&wide);
}

static void of_equal_keys_the_last_counts(void **state) {
  (void)state;
  double x;
  assert_int_equal(PARSE("{\"a\": 1, \"\\u0061\": 2, \"b\": 3, \"a\\\"\": 4, \"ab\": 5}"), RW_OK);
  assert_true(json_number(doc, json_get(doc, 0, "a"), &x) && x == 2);
  assert_true(json_number(doc, json_get(doc, 0, "a\""), &x) && x == 4);
  assert_int_equal(json_get(doc, 0, "a\\"), JSON_NONE); /* the bytes before an escaped quote are no key */
  assert_int_equal(json_get(doc, 0, ""), JSON_NONE);
  assert_int_equal(json_get(doc, 0, "abc"), JSON_NONE);
  assert_int_equal(json_count(doc, 0), 5);
}

static void numbers(void **state) {
  (void)state;
  static const struct {
    const char *text;
    bool whole;
    int64_t i;
    double x;
  } cases[] = {{"0", true, 0, 0},
               {"-0", true, 0, -0.0},
               {"9223372036854775807", true, INT64_MAX, 9223372036854775807.0},
               {"-9223372036854775808", true, INT64_MIN, -9223372036854775808.0},
               {"9223372036854775808", false, 0, 9223372036854775808.0},
               {"-9223372036854775809", false, 0, -9223372036854775809.0},
               {"1.0", false, 0, 1},
               {"1e2", false, 0, 100},
               {"0.1", false, 0, 0.1},
               {"5e-324", false, 0, 5e-324},
               {"1e400", false, 0, INFINITY},
               {"1.00000000000000000000000000000000000000000000000000000000000000000000000000000001", false, 0, 1}};
  for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
    int64_t i;
    double x;
    assert_int_equal(parse(cases[k].text, strlen(cases[k].text)), RW_OK);
    assert_true(json_number(doc, 0, &x));
    if (x != cases[k].x || signbit(x) != signbit(cases[k].x)) fail_msg("%s: %.17g", cases[k].text, x);
    if (json_int(doc, 0, &i) != cases[k].whole) fail_msg("%s: a whole number?", cases[k].text);
    if (cases[k].whole && i != cases[k].i) fail_msg("%s: %lld", cases[k].text, (long long)i);
  }
  double x;
  int64_t i;
  assert_int_equal(PARSE("[\"1\", true]"), RW_OK);
  assert_false(json_number(doc, 1, &x) || json_int(doc, 1, &i) || json_number(doc, 2, &x));
}

static void raw_bytes_and_absent_values(void **state) {
  (void)state;
  assert_int_equal(PARSE(" {\"a\" : [1 , {\"x\":null}] , \"b\":\"\\n\" } "), RW_OK);
  assert_true(slice_is(json_raw(doc, 0), "{\"a\" : [1 , {\"x\":null}] , \"b\":\"\\n\" }"));
  assert_true(slice_is(json_raw(doc, json_get(doc, 0, "a")), "[1 , {\"x\":null}]"));
  assert_true(slice_is(json_raw(doc, json_get(doc, 0, "b")), "\"\\n\""));
  assert_null(json_raw(doc, JSON_NONE).p);
  assert_null(json_string(doc, JSON_NONE).p);
  assert_null(json_string(doc, 0).p);
  assert_int_equal(json_get(doc, JSON_NONE, "a"), JSON_NONE);
  assert_int_equal(json_get(doc, json_get(doc, 0, "a"), "a"), JSON_NONE); /* an array has no keys */
  assert_int_equal(json_at(doc, 0, 0), JSON_NONE);
  assert_int_equal(json_at(doc, json_get(doc, 0, "a"), 2), JSON_NONE);
  assert_int_equal(json_next(doc, 0), JSON_NONE);
  assert_int_equal(PARSE("[[],{}]"), RW_OK);
  assert_int_equal(json_first(doc, json_at(doc, 0, 0)), JSON_NONE);
  assert_int_equal(json_next(doc, json_at(doc, 0, 1)), JSON_NONE);
  assert_int_equal(json_count(doc, json_at(doc, 0, 1)), 0);
}

static void files(void **state) {
  (void)state;
  char path[] = "/tmp/reward-json-XXXXXX";
  int fd = mkstemp(path);
  assert_true(fd >= 0);
  close(fd);
  json_file f;
  static const char text[] = "\xEF\xBB\xBF{\"a\": 1}\n";
  assert_int_equal(file_put(path, text, sizeof text - 1, &err), RW_OK);
  assert_int_equal(json_file_open(&f, path, &err), RW_OK);
  assert_int_equal(json_count(f.doc, 0), 1);
  json_file_close(&f);
  assert_int_equal(file_put(path, "{\n\"a\"}", 6, &err), RW_OK);
  assert_int_equal(json_file_open(&f, path, &err), RW_DATA);
  assert_non_null(strstr(err.text, path));
  assert_non_null(strstr(err.text, "line 2, column 4"));
  assert_int_equal(file_put(path, "", 0, &err), RW_OK);
  assert_int_equal(json_file_open(&f, path, &err), RW_DATA);
  unlink(path);
  assert_int_equal(json_file_open(&f, path, &err), RW_IO);
}

static void no_memory_is_an_error(void **state) {
  (void)state;
  static const char text[] = "{\"a\": [1, 2, \"\\n\"]}";
  for (long n = 0; n < 8; n++) {
    mem_fail_after(n);
    json_doc *d = json_new();
    rw_status s = d ? json_parse(d, text, sizeof text - 1, &err) : RW_NOMEM;
    mem_fail_after(-1);
    assert_true(s == RW_OK || s == RW_NOMEM);
    if (n == 0) assert_int_equal(s, RW_NOMEM);
    json_free(d);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(generated_texts_read_alike),
      cmocka_unit_test(damaged_texts_are_judged_alike),
      cmocka_unit_test(escapes),
      cmocka_unit_test(every_place_of_a_run),
      cmocka_unit_test(lone_surrogates),
      cmocka_unit_test(utf8_is_strict),
      cmocka_unit_test(control_characters),
      cmocka_unit_test(what_json_is_not),
      cmocka_unit_test(errors_have_places),
      cmocka_unit_test(depth_has_a_limit),
      cmocka_unit_test(of_equal_keys_the_last_counts),
      cmocka_unit_test(numbers),
      cmocka_unit_test(raw_bytes_and_absent_values),
      cmocka_unit_test(files),
      cmocka_unit_test(no_memory_is_an_error),
  };
  int failed = cmocka_run_group_tests(tests, setup, teardown);
  free(exact);
  return failed;
}
