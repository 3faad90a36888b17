/* fuzz_part.c - any bytes as a part of a score run that others have left: refused, or joined with exactly the rows
 * that its last line counts.
 */
#include <string.h>

#include "fuzz.h"
#include "model/score_part.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  char out[128], joined[128];
  const char *dir = fuzz_dir("000000", data, size);
  rw_error err;
  part_in in;
  part_sum sum = {0};
  rows_out *to;
  str whole = {0};
  snprintf(out, sizeof out, "%s.jsonl", dir);
  snprintf(joined, sizeof joined, "%s.joined.jsonl", dir);
  char *folder = part_folder(out);
  if (!folder || (symlink(dir, folder) != 0 && !file_exists(folder))) abort();
  const score_file_options o = {.output = out, .part_rows = 2};
  const filing r = {.o = &o, .identity = {.p = (char *)"{\"model\": 1}", .len = 12}};
  if (part_open(&in, &r, 0, &sum, &err) == RW_OK) {
    if (rows_create(&to, joined, &err) != RW_OK) abort();
    rw_status s = part_copy(&in, to, &err);
    if (s) rows_abort(to);
    if (!s && (rows_commit(to, &err) != RW_OK || file_read(joined, 1 << 30, &whole, &err) != RW_OK)) abort();
    size_t lines = 0;
    for (size_t i = 0; i < whole.len; i++) lines += whole.p[i] == '\n';
    if (!s && (lines != in.n || sum.counts.rows != in.n || sum.n_bad > SHOWN_BAD_ROWS)) abort();
    if (!s) unlink(joined);
  }
  part_close(&in);
  str_free(&whole);
  unlink(folder);
  mem_free(folder);
  return 0;
}
