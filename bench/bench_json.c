/* bench_json.c - the rate of the JSON reader over rows in memory, one thread; `make bench-json ROWS=FILE`. */
#include <stdio.h>
#include <time.h>

#include "format/json.h"
#include "format/rows.h"

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The file's rows, one after another, and where each ends. */
static rw_status load(const char *path, str *text, size_t **ends, size_t *n, rw_error *err) {
  rows_in *in;
  size_t cap = 0;
  slice row;
  uint64_t line;
  RW_TRY(rows_open(&in, path, NULL, err));
  rw_status s;
  while (!(s = rows_next(in, &row, &line, err)) && row.p) {
    str_add(text, row.p, row.len);
    if (text->oom || !vec_push(*ends, *n, cap, text->len)) s = rw_nomem(err, path);
    if (s) break;
  }
  rows_close(in);
  return s;
}

int main(int argc, char **argv) {
  if (argc != 2) return fputs("usage: bench_json ROWS\n", stderr), 2;
  rw_error err;
  str text = {0};
  size_t *ends = NULL, n = 0;
  json_doc *d = json_new();
  rw_status s = d ? load(argv[1], &text, &ends, &n, &err) : rw_nomem(&err, argv[1]);
  double best = 1e30;
  for (int pass = 0; !s && pass < 7; pass++) {
    double from = now();
    for (size_t i = 0, at = 0; !s && i < n; at = ends[i++]) s = json_parse(d, text.p + at, ends[i] - at, &err);
    if (now() - from < best) best = now() - from;
  }
  if (s)
    fprintf(stderr, "bench_json: %s\n", err.text);
  else
    printf("%zu rows, %.1f MB: %.2f GB/s, best of 7 passes\n", n, (double)text.len / 1e6,
           (double)text.len / best / 1e9);
  json_free(d);
  str_free(&text);
  mem_free(ends);
  return s != RW_OK;
}
