/* row_file.h - a file's bytes, and the rows that they are read as. */
#ifndef TESTS_ROW_FILE_H
#define TESTS_ROW_FILE_H

#include "folder.h"
#include "format/rows.h"

/* The rows of a file as "LINE:row|LINE:row|…". */
static rw_status read_all(const char *path, str *out) {
  rows_in *in;
  str_clear(out);
  rw_status s = rows_open(&in, path, NULL, &err);
  if (s) return s;
  for (;;) {
    slice row;
    uint64_t line;
    if ((s = rows_next(in, &row, &line, &err)) || !row.p) break;
    str_printf(out, "%llu:", (unsigned long long)line);
    str_add(out, row.p, row.len);
    str_addc(out, '|');
  }
  rows_close(in);
  return s;
}
static void reads_as(const char *bytes, size_t len, const char *want) {
  str got = {0};
  OK(file_put(in_dir("rows"), bytes, len, &err));
  OK(read_all(in_dir("rows"), &got));
  assert_string_equal(got.p ? got.p : "", want);
  str_free(&got);
}
#define READS(lit, want) reads_as("" lit, sizeof(lit) - 1, want)

#endif
