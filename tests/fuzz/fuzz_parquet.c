/* fuzz_parquet.c - any bytes as a Parquet file: refused, or every row read as JSON. */
#include "format/json.h"
#include "format/rows.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_file f = fuzz_file_of(data, size);
  rows_in *in;
  rw_error err;
  if (size >= 4 && rows_open(&in, f.path, NULL, &err) == RW_OK) {
    json_doc *d = json_new();
    slice row;
    uint64_t line;
    for (int n = 0; n < 10000 && rows_next(in, &row, &line, &err) == RW_OK && row.p; n++)
      if (d) json_parse(d, row.p, row.len, &err);
    json_free(d);
    rows_close(in);
  }
  fuzz_file_close(&f);
  return 0;
}
