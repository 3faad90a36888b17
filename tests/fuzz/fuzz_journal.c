/* fuzz_journal.c - any bytes as the rows that an interrupted run has left: refused, or gone on with, to exactly
 * those rows and the next one. */
#include <string.h>

#include "base/file.h"
#include "format/journal.h"
#include "fuzz.h"

static const char RECORD[] = "{\"model\": {\"weights\": \"ab\"}, \"options\": {\"n\": 1}}",
                  ROW[] = "{\"score\": 1}";

/* All rows that are kept, each with its newline. */
static bool read_kept(journal *j, str *rows) {
  slice row;
  rw_error err;
  for (;;) {
    if (journal_next(j, &row, &err) != RW_OK) return false;
    if (!row.p) return true;
    str_add(rows, row.p, row.len);
    str_addc(rows, '\n');
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const char *dir = fuzz_dir("out.jsonl.partial", data, size);
  char out[128];
  journal *j;
  bool kept;
  rw_error err;
  rw_context context;
  str rows = {0}, whole = {0};
  context_init(&context, NULL, NULL);
  snprintf(out, sizeof out, "%s/out.jsonl", dir);
  if (journal_open(&j, out, true, &kept, &context, &err) != RW_OK) return 0;
  if (journal_begin(j, slice_of(RECORD), &err) != RW_OK || !read_kept(j, &rows)) {
    journal_abort(j);
    return 0;
  }
  str_addz(&rows, ROW);
  str_addc(&rows, '\n');
  if (journal_write(j, ROW, strlen(ROW), &err) != RW_OK || journal_commit(j, &err) != RW_OK) abort();
  if (file_read(out, 1 << 30, &whole, &err) != RW_OK || whole.len != rows.len ||
      memcmp(whole.p, rows.p, rows.len) != 0)
    abort();
  str_free(&rows);
  str_free(&whole);
  unlink(out);
  return 0;
}
