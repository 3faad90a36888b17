/* test_rows_in.c - rows of one JSON array, other encodings, and folders as the hub has them. */
#include <unistd.h>

#include "row_file.h"

/* ---- one array of rows ---- */

static void arrays(void **state) {
  (void)state;
  READS("[]", "");
  READS("\xEF\xBB\xBF \n[ ]\n", "");
  READS("[{}]", "1:{}|");
  READS("[{\"a\": 1}, {\"b\":2} ,3,\"x\"]\n", "1:{\"a\": 1}|2:{\"b\":2}|3:3|4:\"x\"|");
  /* as json.dump(rows, indent=2) writes it: each row is one line, with the spaces of one line */
  READS("[\n  {\n    \"a\": [\n      1,\r\n      2\n    ],\n    \"b\": \"x,  \\\"]\\\\\"\n  },\n  {}\n]\n",
        "1:{\"a\": [1, 2], \"b\": \"x,  \\\"]\\\\\"}|2:{}|");
}

static void broken(const char *bytes, const char *says) {
  str got = {0};
  OK(file_put(in_dir("rows"), bytes, strlen(bytes), &err));
  assert_int_equal(read_all(in_dir("rows"), &got), RW_DATA);
  if (!strstr(err.text, says)) fail_msg("%s: expected \"%s\", got \"%s\"", bytes, says, err.text);
  str_free(&got);
}

static void broken_arrays_are_named(void **state) {
  (void)state;
  broken("[{}", "rows:1: expected a comma or ] behind a row, got the end of the file");
  broken("[{},\n{\"a", "rows:2: expected a comma or ] behind a row, got the end of the file");
  broken("[{},]", "rows:2: expected a row, got ] behind a comma");
  broken("[,{}]", "rows:1: expected a row, got a comma");
  broken("[1]\n[2]\n", "expected nothing behind the array of rows, got more text");
}

/* Larger than what is read at a time, plain and packed: rows come whole, whatever the cuts. */
static void long_arrays(void **state) {
  (void)state;
  str text = {0}, got = {0}, want = {0};
  str_addc(&text, '[');
  for (int i = 0; i < 30000; i++) {
    str_printf(&text, "%s{\"i\": %d,\n \"t\": \"%*s\"}", i ? ",\n" : "", i, i % 40, "]");
    str_printf(&want, "%d:{\"i\": %d, \"t\": \"%*s\"}|", i + 1, i, i % 40, "]");
  }
  str_addz(&text, "\n]");
  reads_as(text.p, text.len, want.p);
  static const char *const packed[] = {"rows.gz", "rows.zst"};
  for (int k = 0; k < 2; k++) {
    rows_out *out;
    OK(rows_create(&out, in_dir(packed[k]), &err));
    OK(rows_write(out, text.p, text.len, &err));
    OK(rows_commit(out, &err));
    OK(read_all(in_dir(packed[k]), &got));
    assert_string_equal(got.p, want.p);
  }
  str_free(&text);
  str_free(&got);
  str_free(&want);
}

static void other_encodings_are_named(void **state) {
  (void)state;
  static const struct {
    const char *bytes;
    size_t len;
  } utf16[] = {{"\xFF\xFE{\0}\0", 6}, {"\xFE\xFF\0{\0}", 6}, {"{\0}\0", 4}, {"\0[\0]", 4}};
  for (size_t i = 0; i < 4; i++) {
    rows_in *in;
    OK(file_put(in_dir("rows"), utf16[i].bytes, utf16[i].len, &err));
    assert_int_equal(rows_open(&in, in_dir("rows"), NULL, &err), RW_DATA);
    assert_non_null(strstr(err.text, "expected UTF-8, got UTF-16"));
  }
}

/* ---- folders ---- */

static void put_file(const char *name, const char *text) {
  char path[128];
  snprintf(path, sizeof path, "%s/hub/%s", dir, name);
  char *slash = strrchr(path, '/');
  *slash = 0;
  OK(file_mkdirs(path, &err));
  *slash = '/';
  OK(file_put(path, text, strlen(text), &err));
}

static void folder_reads_as(const char *path, const char *want) {
  str got = {0};
  if (read_all(in_dir(path), &got)) fail_msg("%s: %s", path, err.text);
  assert_string_equal(got.p ? got.p : "", want);
  str_free(&got);
}

static void folder_refused(const char *path, const char *says) {
  rows_in *in;
  assert_int_not_equal(rows_open(&in, in_dir(path), NULL, &err), RW_OK);
  if (!strstr(err.text, says)) fail_msg("%s: expected \"%s\", got \"%s\"", path, says, err.text);
}

static void folders(void **state) {
  (void)state;
  char a[65], b[65];
  OK(file_mkdirs(in_dir("hub"), &err));
  folder_refused("hub", "expected files of rows in the folder");
  put_file("README.md", "#");
  put_file("dataset_info.json", "{}");
  put_file("raw.json", "[{\"r\":1}]");
  folder_reads_as("hub", "1:{\"r\":1}|"); /* the only one */
  put_file("test.jsonl", "{\"t\":1}\n");
  folder_refused("hub", "got raw, test; name one");
  put_file("train.jsonl", "{\"top\":1}\n");
  folder_reads_as("hub", "1:{\"top\":1}|");
  folder_reads_as("hub:test", "1:{\"t\":1}|");
  folder_reads_as("hub/", "1:{\"top\":1}|");
  folder_refused("hub:validation", "expected a split validation in the folder, found none");
  put_file("train.jsonl.gz", "");
  folder_refused("hub", "in files of one kind");
  /* data/ goes first; its shards in the order of their names, lines counted on */
  put_file("data/train-00001-of-00002-0123456789abcdef.jsonl", "\n{\"d\":3}\n");
  put_file("data/train-00000-of-00002-0123456789abcdef.jsonl", "{\"d\":1}\n{\"d\":2}");
  put_file("data/train_prefs-00000-of-00001.jsonl", "{\"p\":1}\n");
  put_file(".cache/data/train.jsonl", "{\"hidden\":1}\n");
  folder_reads_as("hub", "1:{\"d\":1}|2:{\"d\":2}|4:{\"d\":3}|");
  folder_reads_as("hub:train_prefs", "1:{\"p\":1}|");
  OK(rows_sha256(in_dir("hub"), a, &err));
  put_file("data/train-00001-of-00002-0123456789abcdef.jsonl", "{\"d\":4}\n");
  OK(rows_sha256(in_dir("hub"), b, &err));
  assert_string_not_equal(a, b);
  put_file("default/dev/0000.jsonl", "{}"); /* two levels down: not looked for */
  put_file("test/all_of_it.jsonl", "{\"w\":1}");
  put_file("dev/0001.jsonl", "{\"v\":2}");
  put_file("dev/0000.jsonl", "{\"v\":1}\n");
  put_file("nested/dev.jsonl", "{\"v\":3}\n");
  OK(file_remove_tree(in_dir("hub/test.jsonl"), &err));
  folder_reads_as("hub:test", "1:{\"w\":1}|"); /* as wildguardmix has it */
  folder_reads_as("hub:dev", "1:{\"v\":1}|2:{\"v\":2}|3:{\"v\":3}|");
}

static void lines_of_a_folder_by_file(void **state) {
  (void)state;
  rows_in *in;
  slice row;
  uint64_t line, at[] = {1, 2, 3};
  OK(rows_open(&in, in_dir("hub"), NULL, &err));
  do OK(rows_next(in, &row, &line, &err));
  while (row.p);
  for (int i = 0; i < 3; i++) assert_non_null(strstr(rows_file(in, &at[i]), i < 2 ? "train-00000" : "train-00001"));
  assert_true(at[0] == 1 && at[1] == 2 && at[2] == 1);
  rows_close(in);
}

static void names_of_the_hub(void **state) {
  (void)state;
  rows_in *in;
  assert_int_equal(rows_open(&in, "some-org/some_set:test", NULL, &err), RW_IO);
  assert_non_null(strstr(err.text,
                         "hf download some-org/some_set --repo-type dataset --local-dir some_set, then give "
                         "some_set:test instead"));
  static const char *const paths[] = {"data/rows.jsonl", "./a", "/a/b", "a/b/c", "name", "a/"};
  for (size_t i = 0; i < 6; i++) {
    assert_int_equal(rows_open(&in, paths[i], NULL, &err), RW_IO);
    assert_null(strstr(err.text, "hf download"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(arrays),           cmocka_unit_test(broken_arrays_are_named),
      cmocka_unit_test(long_arrays),      cmocka_unit_test(other_encodings_are_named),
      cmocka_unit_test(folders),          cmocka_unit_test(lines_of_a_folder_by_file),
      cmocka_unit_test(names_of_the_hub),
  };
  return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
