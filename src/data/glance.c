/* glance.c - a look at the first rows of a file (see glance.h). Rows that are no JSON say nothing of the others. */
#include "data/glance.h"

#include <string.h>
#include <sys/stat.h>

enum { GLANCE_ROWS = 16 };

static bool is_text(const data_form *f) {
  return f->shape != FORM_IDS_PAIR && !(f->answer && strcmp(f->answer, "input_ids") == 0);
}

static rw_status look(rows_in *in, json_doc *d, const row_map *called, bool *text, rw_error *err) {
  slice row;
  uint64_t line;
  rw_error first;
  size_t bad = 0, good = 0;
  for (int i = 0; i < GLANCE_ROWS && !rows_next(in, &row, &line, NULL) && row.p; i++) {
    if (json_parse(d, row.p, row.len, NULL) || json_kind(d, 0) != JSON_OBJECT) return RW_OK;
    rw_error e;
    const data_form *f = form_of(d, 0, called, &e);
    if (f) *text |= is_text(f);
    good += f != NULL;
    if (f || bad++) continue;
    const char *file = rows_file(in, &line);
    rw_prefix(&e, RW_DATA, "%s:%llu", file, (unsigned long long)line);
    first = e;
  }
  if (good || !bad) return RW_OK;
  if (err) *err = first;
  return RW_DATA;
}

rw_status rows_glance(const char *path, rw_context *context, bool *text, rw_error *err) {
  struct stat st;
  rows_in *in;
  if (stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode)) return RW_OK;
  if (strcmp(path, "-") == 0) return RW_OK;
  RW_TRY(rows_open(&in, path, context, err));
  json_doc *d = json_new();
  rw_status s = d ? look(in, d, context->map, text, err) : rw_nomem(err, path);
  json_free(d);
  rows_close(in);
  return s;
}
