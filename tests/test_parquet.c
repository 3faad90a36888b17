/* test_parquet.c - Parquet as rows: what pyarrow wrote in many ways reads as the JSONL beside it, what is written
 * reads back, damage at any byte is a named error. tests/data/parquet/ is by tests/reference/make_parquet.py.
 */
#include <dirent.h>

#include "base/rng.h"
#include "folder.h"
#include "format/parquet.h"
#include "format/rows.h"

#define DATA "tests/data/parquet/"

#define NEEDS_ARROW() \
  if (parquet_check("", NULL)) skip()

static int entries(void) {
  DIR *d = opendir(dir);
  int n = 0;
  assert_non_null(d);
  for (struct dirent *e; (e = readdir(d));) n += e->d_name[0] != '.';
  closedir(d);
  return n;
}

/* The rows up to the end or the failure, a newline after each; their numbers must count from 1. */
static rw_status read_rows(const char *path, str *out) {
  rows_in *in;
  str_clear(out);
  rw_status s = rows_open(&in, path, NULL, &err);
  if (s) return s;
  slice row;
  uint64_t line, n = 0, done, total;
  while (!(s = rows_next(in, &row, &line, &err)) && row.p) {
    assert_true(line == ++n);
    str_add(out, row.p, row.len);
    str_addc(out, '\n');
  }
  rows_position(in, &done, &total);
  if (!s) assert_true(done == total && total > 0);
  rows_close(in);
  return s;
}
static rw_status write_rows(const char *path, const char *rows) {
  rows_out *out;
  rw_status s = rows_create(&out, path, &err);
  if (s) return s;
  for (const char *p = rows, *nl; !s && (nl = strchr(p, '\n')); p = nl + 1)
    s = rows_write(out, p, (size_t)(nl - p), &err);
  if (!s) return rows_commit(out, &err);
  rows_abort(out);
  return s;
}

static void without_arrow_it_is_said(void **state) {
  (void)state;
  if (!parquet_check("", NULL)) skip();
  rows_in *in;
  rows_out *out;
  assert_int_equal(rows_open(&in, DATA "plain.parquet", NULL, &err), RW_UNSUPPORTED);
  assert_non_null(strstr(err.text, "make deps"));
  assert_int_equal(rows_create(&out, in_dir("x.parquet"), &err), RW_UNSUPPORTED);
  assert_non_null(strstr(err.text, "x.parquet needs Arrow"));
  assert_non_null(strstr(err.text, "make deps"));
  assert_int_equal(entries(), 0);
}

static void files_of_pyarrow_read_as_their_jsonl(void **state) {
  (void)state;
  NEEDS_ARROW();
  static const char *const names[] = {"plain", "snappy", "zstd", "gzip", "lz4", "brotli"};
  str want = {0}, got = {0};
  OK(file_read(DATA "rows.jsonl", 1 << 20, &want, &err));
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char path[64];
    snprintf(path, sizeof path, DATA "%s.parquet", names[i]);
    OK(read_rows(path, &got));
    assert_string_equal(got.p, want.p);
  }
  OK(read_rows(DATA "delta.parquet", &got));
  static const char first[] = "{\"n\": null, \"source\": null}\n{\"n\": -19, \"source\": \"magpie\"}\n";
  assert_memory_equal(got.p, first, sizeof first - 1);
  OK(read_rows(DATA "empty.parquet", &got));
  assert_int_equal(got.len, 0);
  str_free(&want);
  str_free(&got);
}

static void views_and_margins_that_are_no_numbers(void **state) {
  (void)state;
  NEEDS_ARROW();
  str got = {0};
  OK(read_rows(DATA "views.parquet", &got));
  assert_string_equal(
      got.p,
      "{\"text\": \"short\", \"parts\": [\"a\", \"a part of more than twelve bytes\"], \"margin\": 1.5}\n"
      "{\"text\": null, \"parts\": null, \"margin\": \"NaN\"}\n"
      "{\"text\": \"exactly 12 b\", \"parts\": [], \"margin\": \"Infinity\"}\n"
      "{\"text\": \"thirteen byte\", \"parts\": [\"\xC3\xA9\xE4\xB8\xAD\", null], \"margin\": null}\n");
  str_free(&got);
}

static void types_without_json_are_refused_by_name(void **state) {
  (void)state;
  NEEDS_ARROW();
  static const char *const what[][2] = {
      {"time", "times"}, {"day", "times"}, {"price", "decimal"}, {"bytes", "bytes"}, {"map", "maps"}};
  for (size_t i = 0; i < 5; i++) {
    char path[64];
    rows_in *in;
    snprintf(path, sizeof path, DATA "%s.parquet", what[i][0]);
    assert_int_equal(rows_open(&in, path, NULL, &err), RW_UNSUPPORTED);
    assert_null(in);
    assert_non_null(strstr(err.text, "column deep.in: "));
    assert_non_null(strstr(err.text, what[i][1]));
  }
}

/* Cut anywhere, or with bytes changed: an error that names the file, or the same rows; never a crash. */
static void damage_is_a_named_error(void **state) {
  (void)state;
  NEEDS_ARROW();
  static const char *const names[] = {DATA "plain.parquet", DATA "zstd.parquet"};
  str whole = {0}, got = {0};
  for (size_t k = 0; k < 2; k++) {
    str_clear(&whole);
    OK(file_read(names[k], 1 << 20, &whole, &err));
    for (size_t len = 0; len < whole.len; len += 1 + len / 40) {
      OK(file_put(in_dir("cut.parquet"), whole.p, len, &err));
      if (read_rows(in_dir("cut.parquet"), &got) == RW_OK) fail_msg("%zu bytes are read as a whole file", len);
      assert_non_null(strstr(err.text, "cut.parquet: "));
    }
    rng g = rng_new(1, k);
    for (int i = 0; i < 300; i++) {
      char *copy = malloc(whole.len);
      memcpy(copy, whole.p, whole.len);
      for (int n = 0; n <= i % 3; n++) copy[rng_below(&g, whole.len)] = (char)rng_below(&g, 256);
      OK(file_put(in_dir("hit.parquet"), copy, whole.len, &err));
      if (read_rows(in_dir("hit.parquet"), &got)) assert_non_null(strstr(err.text, "hit.parquet"));
      free(copy);
    }
  }
  OK(file_put(in_dir("not.parquet"), "{}\n", 3, &err));
  assert_int_equal(read_rows(in_dir("not.parquet"), &got), RW_DATA);
  assert_non_null(strstr(err.text, "PAR1"));
  static const char *const made[] = {"cut.parquet", "hit.parquet", "not.parquet"};
  for (size_t i = 0; i < 3; i++) remove(in_dir(made[i]));
  str_free(&whole);
  str_free(&got);
}

/* A page of it says that it is 2 GB unpacked. */
static void a_lying_page_gets_no_memory(void **state) {
  (void)state;
  NEEDS_ARROW();
  str got = {0};
  assert_int_equal(read_rows("tests/fuzz/corpus/parquet/lying_page.parquet", &got), RW_NOMEM);
  assert_non_null(strstr(err.text, "lying_page.parquet: a page asks for more memory"));
  str_free(&got);
}

/* ---- writing ---- */

static void writes(const char *rows, const char *want) {
  str got = {0};
  OK(write_rows(in_dir("w.parquet"), rows));
  OK(read_rows(in_dir("w.parquet"), &got));
  assert_string_equal(got.p ? got.p : "", want);
  assert_int_equal(entries(), 1);
  str_free(&got);
  remove(in_dir("w.parquet"));
}
static void same(const char *rows) { writes(rows, rows); }

static void what_is_written_reads_back(void **state) {
  (void)state;
  NEEDS_ARROW();
  same("");
  same("{\"a\": 1}\n");
  same(
      "{\"a\": [{\"role\": \"user\", \"content\": \"q \\\"\\\\\xC3\xA9\\u0000\"}, {\"role\": \"x\", \"content\": "
      "\"\"}], \"b\": "
      "true, \"c\": -9223372036854775808, \"d\": 0.1, \"e\": null, \"f\": [[], [1, null], null]}\n"
      "{\"a\": [], \"b\": false, \"c\": 9223372036854775807, \"d\": 1e-300, \"e\": null, \"f\": null}\n");
  same("{\"a\": []}\n{\"a\": null}\n");
  /* types widen, and what a row lacks is null */
  writes("{\"a\": null}\n{\"a\": 1}\n{\"a\": 2.5, \"b\": {\"x\": \"s\"}}\n{\"b\": {\"y\": [true]}, \"a\": 4}\n{}\n",
         "{\"a\": null, \"b\": null}\n{\"a\": 1, \"b\": null}\n{\"a\": 2.5, \"b\": {\"x\": \"s\", \"y\": null}}\n"
         "{\"a\": 4, \"b\": {\"x\": null, \"y\": [true]}}\n{\"a\": null, \"b\": null}\n");
  writes("{\"a\": 1, \"a\": 2}\n", "{\"a\": 2}\n"); /* of a repeated name the last counts */
  str s = {0}, got = {0};
  OK(file_read(DATA "rows.jsonl", 1 << 20, &s, &err));
  char *big = strstr(s.p, "18446744073709551615");
  assert_non_null(big);
  assert_int_equal(write_rows(in_dir("w.parquet"), s.p), RW_DATA); /* no 64-bit whole number with a sign */
  assert_non_null(strstr(err.text, "field big"));
  for (char *p = s.p; (p = strstr(p, "\"big\": 1"));) p[7] = '-'; /* -8446744073709551615 */
  same(s.p);
  str_free(&s);
  str_free(&got);
}

/* More than one row group, long texts, and the same bytes twice. */
static void many_rows_are_the_same_bytes_twice(void **state) {
  (void)state;
  NEEDS_ARROW();
  str rows = {0}, got = {0}, first = {0}, second = {0};
  rng g = rng_new(7, 0);
  for (int i = 0; i < 3000; i++) {
    str_printf(&rows, "{\"id\": \"%d\", \"text\": \"", i);
    for (uint64_t n = rng_below(&g, 30000); n; n--) str_addc(&rows, (char)('a' + n % 26));
    str_printf(&rows, "\", \"list\": [%d, %d]}\n", i, -i);
  }
  for (int k = 0; k < 2; k++) {
    OK(write_rows(in_dir("w.parquet"), rows.p));
    OK(file_read(in_dir("w.parquet"), 64 << 20, k ? &second : &first, &err));
  }
  OK(read_rows(in_dir("w.parquet"), &got));
  assert_true(rows.len > 33 << 20 && got.len == rows.len && memcmp(got.p, rows.p, rows.len) == 0);
  assert_true(first.len == second.len && memcmp(first.p, second.p, first.len) == 0);
  remove(in_dir("w.parquet"));
  str_free(&rows);
  str_free(&got);
  str_free(&first);
  str_free(&second);
}

/* Shards hold the rows in order, and have all columns, also those that only another shard's rows use. */
static void shards_have_the_same_columns(void **state) {
  (void)state;
  NEEDS_ARROW();
  rows_out *out;
  size_t n = 0;
  str got = {0};
  OK(rows_create_shards(&out, in_dir("train"), 800, &n, &err));
  for (int i = 0; i < 300; i++) {
    char row[40];
    int len = snprintf(row, sizeof row, i < 299 ? "{\"i\": %d}" : "{\"last\": true, \"i\": %d}", i);
    OK(rows_write(out, row, (size_t)len, &err));
  }
  assert_int_equal(entries(), 1); /* rows that wait */
  OK(rows_commit(out, &err));
  assert_int_equal(n, 4); /* about 2,900 bytes */
  int row = 0;
  for (size_t k = 0; k < n; k++) {
    char *path = rows_shard(in_dir("train"), k, n), want[60];
    assert_non_null(path);
    snprintf(want, sizeof want, "/train-%05zu-of-00004.parquet", k);
    assert_non_null(strstr(path, want));
    OK(read_rows(path, &got));
    assert_true(got.len > 0);
    for (const char *p = got.p; *p; p = strchr(p, '\n') + 1, row++) {
      snprintf(want, sizeof want, "{\"i\": %d, \"last\": %s}\n", row, row < 299 ? "null" : "true");
      assert_memory_equal(p, want, strlen(want));
    }
    remove(path);
    mem_free(path);
  }
  assert_int_equal(row, 300);
  assert_int_equal(entries(), 0);
  OK(rows_create_shards(&out, in_dir("train"), 800, &n, &err)); /* no rows: one file */
  OK(rows_commit(out, &err));
  assert_int_equal(n, 1);
  OK(read_rows(in_dir("train-00000-of-00001.parquet"), &got));
  remove(in_dir("train-00000-of-00001.parquet"));
  assert_int_equal(entries(), 0);
  str_free(&got);
}

static void cannot_write(const char *rows, const char *told) {
  rw_status s = write_rows(in_dir("w.parquet"), rows);
  if (s != RW_DATA || !strstr(err.text, told)) fail_msg("%s: %d %s", rows, s, err.text);
  assert_non_null(strstr(err.text, "w.parquet:"));
  assert_int_equal(entries(), 0);
}

static void what_has_no_columns_is_refused(void **state) {
  (void)state;
  NEEDS_ARROW();
  cannot_write("{\"a\": 1}\n{\"a\": \"x\"}\n", ":2: field a: expected a whole number");
  cannot_write("{\"p\": \"x\"}\n{\"p\": null}\n{\"p\": [\"x\"]}\n", ":3: field p: expected a string");
  cannot_write("{\"a\": [1, \"x\"]}\n", ":1: field a: ");
  cannot_write("{\"a\": 9007199254740993}\n{\"a\": 0.5}\n", ":1: field a: 9007199254740993");
  cannot_write("{\"a\": 9223372036854775808}\n", ":1: field a: ");
  cannot_write("{\"a\": {}}\n", "field a: an object that is empty");
  cannot_write("{}\n{}\n", "an object that is empty");
  cannot_write("{\"a\\u0000b\": 1}\n", "NUL");
  cannot_write("[1]\n", ":1: row: expected an object");
  cannot_write("{\"a\": \n", ":1: ");
  rows_out *out;
  assert_int_equal(rows_create(&out, in_dir("no/w.parquet"), &err), RW_IO);
  OK(rows_create(&out, in_dir("w.parquet"), &err));
  OK(rows_write(out, "{}", 2, &err));
  rows_abort(out);
  assert_int_equal(entries(), 0);
}

static void memory_that_runs_out_is_told(void **state) {
  (void)state;
  NEEDS_ARROW();
  for (long n = 0; n < 400; n++) {
    str got = {0};
    mem_fail_after(n);
    rw_status s = write_rows(in_dir("w.parquet"), "{\"a\": [1], \"b\": {\"c\": \"x\"}}\n");
    if (!s) s = read_rows(in_dir("w.parquet"), &got);
    mem_fail_after(-1);
    if (s) assert_int_equal(s, RW_NOMEM);
    bool done = s == RW_OK && !got.oom;
    str_free(&got);
    remove(in_dir("w.parquet"));
    assert_int_equal(entries(), 0);
    if (done) return;
  }
  fail_msg("never enough memory");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(without_arrow_it_is_said),
      cmocka_unit_test(files_of_pyarrow_read_as_their_jsonl),
      cmocka_unit_test(views_and_margins_that_are_no_numbers),
      cmocka_unit_test(types_without_json_are_refused_by_name),
      cmocka_unit_test(damage_is_a_named_error),
      cmocka_unit_test(a_lying_page_gets_no_memory),
      cmocka_unit_test(what_is_written_reads_back),
      cmocka_unit_test(many_rows_are_the_same_bytes_twice),
      cmocka_unit_test(shards_have_the_same_columns),
      cmocka_unit_test(what_has_no_columns_is_refused),
      cmocka_unit_test(memory_that_runs_out_is_told),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
