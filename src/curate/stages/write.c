/* write.c - the write stage: the pairs as they stand here, in a file beside the set. It marks them; the file is
 * written with the rest of the output, when all is known to go well. */
#include "curate/stages/write.h"

#include <string.h>

#include "curate/curation.h"

typedef struct {
  const char *file; /* a name for the output folder, checked */
} write_options;

static const char *write_file(const stage *s) {
  const write_options *o = s->own;
  return o->file;
}

rw_status write_read_file(const recipe_reader *r, struct fy_node *n, const char *key, const stage *s,
                          const char **file) {
  static const char *const endings[] = {".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"};
  static const char *const taken[] = {"train.jsonl", "removed.jsonl"};
  slice name = reader_scalar(n);
  bool ends = false, free = true, plain = name.len > 0 && name.p[0] != '.';
  for (size_t i = 0; i < 4; i++) {
    size_t len = strlen(endings[i]);
    ends = ends || (name.len > len && memcmp(name.p + name.len - len, endings[i], len) == 0);
  }
  for (size_t i = 0; i < 2; i++) free = free && !slice_is(name, taken[i]);
  for (size_t i = 0; i < name.len; i++)
    plain = plain && name.p[i] != '/' && (unsigned char)name.p[i] >= ' ' && name.p[i] != 127;
  if (!ends || !plain || name.len > 200 || memmem(name.p, name.len, ".partial-", 9))
    return reader_bad(r, n, key,
                      "the name of a file in the output folder, no path, that ends in .jsonl, .jsonl.gz, "
                      ".jsonl.zst or .parquet");
  if (!free) return reader_bad(r, n, key, "another name than those of the run's own files");
  for (const stage *other = r->r->stages; other < s; other++)
    if (stage_file(other) && slice_is(name, stage_file(other)))
      return rw_fail(r->err, RW_DATA, "%s:%d: %s: %s is written by line %d already; give another name", r->r->path,
                     reader_line(r, n), key, stage_file(other), other->line);
  return reader_text(r, name, file);
}

void write_mark(curation *r, const stage *s, size_t i) {
  r->c[i].written |= (uint64_t)1 << s->index;
  curation_note(r, i, "written to %s", stage_file(s));
}

static rw_status read_file(const recipe_reader *r, struct fy_node *n, stage *s) {
  write_options *o = s->own;
  return write_read_file(r, n, "write", s, &o->file);
}

static rw_status write_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  return write_file(s) ? RW_OK : reader_bad(r, n, "write", "file");
}

static void write_describe(const curation *r, const stage *s, str *out) {
  (void)r;
  str_printf(out, ": %s", write_file(s));
}

static rw_status write_run(curation *r, const stage *s, rw_error *err) {
  (void)err;
  for (size_t i = 0; i < r->n; i++)
    if (curation_wants(r, s, i)) write_mark(r, s, i);
  return RW_OK;
}

extern const stage_kind stage_write;
const stage_kind stage_write = {.name = "write",
                                .size = sizeof(write_options),
                                .keys = (const stage_key[]){{"file", false, read_file}, {NULL}},
                                .value = read_file,
                                .check = write_check,
                                .file = write_file,
                                .describe = write_describe,
                                .run = write_run};
