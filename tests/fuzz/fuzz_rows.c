/* fuzz_rows.c - any bytes as a file of rows, of lines or of one array: refused, or every row read as JSON; and an
 * element of an array ends at the same place, in whatever pieces its bytes come. */
#include <string.h>

#include "format/array_scan.h"
#include "format/json.h"
#include "format/rows.h"
#include "fuzz.h"

static void scan_in_pieces(const char *p, size_t size) {
  array_scan whole = {0}, pieces = {0};
  bool done = array_scan_on(&whole, p, size), then = false;
  for (size_t n = 0; !then && n <= size; n += 1 + n / 3) then = array_scan_on(&pieces, p, n);
  if (!then) then = array_scan_on(&pieces, p, size);
  if (then != done || whole.at != pieces.at) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_file f = fuzz_file_of(data, size);
  rows_in *in;
  rw_error err;
  scan_in_pieces((const char *)data, size);
  if (rows_open(&in, f.path, NULL, &err) == RW_OK) {
    json_doc *d = json_new();
    slice row;
    uint64_t line;
    while (rows_next(in, &row, &line, &err) == RW_OK && row.p) {
      fuzz_touch(row.p, row.len);
      if (memchr(row.p, '\n', row.len)) abort();
      if (d) json_parse(d, row.p, row.len, &err);
    }
    json_free(d);
    rows_close(in);
  }
  fuzz_file_close(&f);
  return 0;
}
