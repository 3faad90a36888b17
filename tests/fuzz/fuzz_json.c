/* fuzz_json.c - any bytes as JSON and as a row: refused, or every value of it read. */
#include <string.h>

#include "data/conversation.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  rw_error err;
  json_doc *d = json_new();
  arena *mem = arena_new();
  char *text = malloc(size ? size : 1); /* of its own size: a byte read behind it is seen */
  if (!d || !mem || !text) abort();
  memcpy(text, data, size);
  if (json_parse(d, text, size, &err) == RW_OK) {
    for (json_val v = 0; json_raw(d, v).p; v++) {
      slice s = json_string(d, v), k = json_key(d, v);
      double x;
      int64_t i;
      fuzz_touch(s.p, s.len);
      fuzz_touch(k.p, k.len);
      json_number(d, v, &x);
      json_int(d, v, &i);
      json_get(d, v, "a\\b");
    }
    conv_row row;
    if (conv_read(&row, d, 0, NULL, mem, &err) == RW_OK)
      for (size_t b = 0; b < row.n_branches; b++)
        for (size_t i = 0; i < row.branch[b].n_messages; i++)
          fuzz_touch(row.branch[b].messages[i].content.p, row.branch[b].messages[i].content.len);
  }
  free(text);
  arena_free(mem);
  json_free(d);
  return 0;
}
