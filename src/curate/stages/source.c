/* source.c - the source stage: the data set to read, and how its rows make pairs. */
#include "curate/reader.h"

static rw_status read_offset(const recipe_reader *r, struct fy_node *v, stage *s) {
  stage_rows *rows = s->own;
  return reader_number(r, v, "offset", &rows->offset);
}

static rw_status read_pairs(const recipe_reader *r, struct fy_node *v, stage *s) {
  static const char *const names[] = {"best-worst", "adjacent", "all", "ranking"};
  stage_rows *rows = s->own;
  slice name = reader_scalar(v);
  for (size_t i = 0; name.p && i < 4; i++)
    if (slice_is(name, names[i])) {
      rows->form = (row_form)i;
      if (i == 0 || s->named[0]->pairs) return RW_OK;
      return rw_fail(r->err, RW_DATA, "%s:%d: pairs: %s has no ranked answers", r->r->path, reader_line(r, v),
                     s->named[0]->name);
    }
  return reader_bad(r, v, "pairs", "best-worst, adjacent, all or ranking");
}

/* One stage reads a source. */
static rw_status source_takes(const recipe *r, const stage *s, const stage *from, rw_error *err) {
  if (s >= from) return RW_OK;
  return rw_fail(err, RW_DATA, "%s:%d: source: %s stands in line %d already; give its files with " FIELD(input),
                 r->path, from->line, from->named[0]->name, s->line);
}

static const stage_rows *source_rows(const stage *s) { return s->own; }

static void source_describe(const curation *r, const stage *s, str *out) {
  static const char *const forms[] = {"", ", adjacent pairs", ", all pairs", ", kept as rankings"};
  const stage_rows *rows = s->own;
  (void)r;
  if (rows->offset != 0) str_printf(out, ", offset %.9g", rows->offset);
  str_addz(out, forms[rows->form]);
}

extern const stage_kind stage_source;
const stage_kind stage_source = {
    .name = "source",
    .size = sizeof(stage_rows),
    .keys = (const stage_key[]){{"offset", false, read_offset}, {"pairs", false, read_pairs}, {NULL}},
    .value = reader_source,
    .takes = source_takes,
    .rows = source_rows,
    .describe = source_describe};
