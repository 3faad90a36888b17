/* source.c - the source stage: the data set to read, and how its rows make pairs. */
#include <string.h>

#include "curate/reader.h"

enum { NAME_BYTES = 64, MAX_COLUMNS = 64 };

/* `rows` first: what others ask for. The rest is for rows of a user's own. */
typedef struct {
  stage_rows rows;
  bool has_form, has_own;
  const char *name;
  own_rows own;
} source_options;

static rw_status read_source(const recipe_reader *r, struct fy_node *v, stage *s) {
  slice name = reader_scalar(v);
  const source *src = name.p ? curate_source(name) : NULL;
  if (!src || !src->of_rows) return reader_source(r, v, s);
  s->named[s->n_named++] = src;
  return RW_OK;
}

static rw_status read_offset(const recipe_reader *r, struct fy_node *v, stage *s) {
  source_options *o = s->own;
  return reader_number(r, v, "offset", &o->rows.offset);
}

static rw_status read_pairs(const recipe_reader *r, struct fy_node *v, stage *s) {
  static const char *const names[] = {"best-worst", "adjacent", "all", "ranking"};
  source_options *o = s->own;
  slice name = reader_scalar(v);
  for (size_t i = 0; name.p && i < 4; i++)
    if (slice_is(name, names[i])) {
      o->rows.form = (row_form)i;
      o->has_form = true;
      if (i == 0 || s->named[0]->pairs || s->named[0]->of_rows) return RW_OK;
      return rw_fail(r->err, RW_DATA, "%s:%d: pairs: %s has no ranked answers", r->r->path, reader_line(r, v),
                     s->named[0]->name);
    }
  return reader_bad(r, v, "pairs", "best-worst, adjacent, all or ranking");
}

/* ---- rows of a user's own ---- */

/* Ids are made of it: nothing that would have to be escaped there, in JSON or on a command line. */
static rw_status read_name(const recipe_reader *r, struct fy_node *v, stage *s) {
  static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  source_options *o = s->own;
  slice name = reader_scalar(v);
  bool plain = name.p && name.len > 0 && name.len < NAME_BYTES && name.p[0] != '-';
  for (size_t i = 0; plain && i < name.len; i++) plain = memchr(allowed, name.p[i], sizeof allowed - 1) != NULL;
  if (!plain) return reader_bad(r, v, "name", "a name of letters, digits, '.', '_' and '-'");
  if (curate_source(name) && !slice_is(name, "rows"))
    return reader_bad(r, v, "name", "another name than those of the sources that are known");
  o->has_own = true;
  return reader_text(r, name, &o->name);
}

static rw_status read_map(const recipe_reader *r, struct fy_node *v, stage *s) {
  source_options *o = s->own;
  void *it = NULL;
  o->has_own = true;
  if (!fy_node_is_mapping(v)) return reader_bad(r, v, "map", "NAME: FIELD, as prompt: request.text");
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(v, &it));) {
    slice name = reader_scalar(fy_node_pair_key(p)), field = reader_scalar(fy_node_pair_value(p));
    if (!field.p || field.len == 0) return reader_bad(r, fy_node_pair_value(p), "map", "the name of a field");
    char *text = arena_alloc(r->r->mem, name.len + field.len + 2, 1);
    if (!text) return rw_nomem(r->err, "recipe");
    memcpy(text, name.p ? name.p : "", name.len);
    text[name.len] = '=';
    memcpy(text + name.len + 1, field.p, field.len);
    rw_status st = name.p ? row_map_add(&o->own.map, text, r->r->mem, NULL) : RW_USAGE;
    if (st == RW_NOMEM) return rw_nomem(r->err, "recipe");
    if (st)
      return reader_bad(r, fy_node_pair_key(p), "map",
                        "a name of docs/data.md such as prompt, chosen, rejected, responses, scores or system");
  }
  return RW_OK;
}

static rw_status read_keep(const recipe_reader *r, struct fy_node *v, stage *s) {
  source_options *o = s->own;
  void *it = NULL;
  o->has_own = true;
  if (!fy_node_is_sequence(v))
    return reader_either(r, v, "keep", "all", "none", "all, none or a list of columns", &o->own.keep_none);
  row_map *keep = &o->own.keep;
  atomic_uchar *seen = arena_alloc(r->r->mem, MAX_COLUMNS, sizeof *seen);
  keep->names = arena_alloc(r->r->mem, MAX_COLUMNS, sizeof *keep->names);
  if (!keep->names || !seen) return rw_nomem(r->err, "recipe");
  for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &it)); keep->n++) {
    slice column = reader_scalar(e);
    row_name *name = &keep->names[keep->n];
    if (!column.p || keep->n == MAX_COLUMNS) return reader_bad(r, e, "keep", "names of at most 64 columns");
    atomic_init(&seen[keep->n], 0);
    *name = (row_name){NULL, NULL, &seen[keep->n]};
    RW_TRY(reader_text(r, column, &name->field));
  }
  return keep->n > 0 ? RW_OK : reader_bad(r, v, "keep", "at least one column, or none");
}

/* Rows of a user's own become a source of their own, called as the recipe says. */
static rw_status source_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  source_options *o = s->own;
  if (!s->named[0]->of_rows) {
    if (!o->has_own) return RW_OK;
    return rw_fail(r->err, RW_DATA, "%s:%d: source: name, map and keep are for `source: rows`, got %s", r->r->path,
                   reader_line(r, n), s->named[0]->name);
  }
  source *own = arena_alloc(r->r->mem, 1, sizeof *own);
  if (!own) return rw_nomem(r->err, "recipe");
  *own = *s->named[0];
  if (o->name) own->name = o->name;
  own->rows = &o->own;
  if (!o->has_form) o->rows.form = FORM_RANKING;
  for (const stage *other = r->r->stages; other < s; other++)
    if (other->kind->rows && strcmp(other->named[0]->name, own->name) == 0)
      return rw_fail(r->err, RW_DATA, "%s:%d: source: %s stands in line %d already; give it a name: of its own",
                     r->r->path, s->line, own->name, other->line);
  s->named[0] = own;
  return RW_OK;
}

/* One stage reads a source. */
static rw_status source_takes(const recipe *r, const stage *s, const stage *from, rw_error *err) {
  if (s >= from) return RW_OK;
  return rw_fail(err, RW_DATA, "%s:%d: source: %s stands in line %d already; give its files with " FIELD(input),
                 r->path, from->line, from->named[0]->name, s->line);
}

static const stage_rows *rows_of(const stage *s) { return s->own; }

static void source_describe(const curation *r, const stage *s, str *out) {
  static const char *const forms[] = {"", ", adjacent pairs", ", all pairs", ", kept as rankings"};
  const source_options *o = s->own;
  (void)r;
  if (o->rows.offset != 0) str_printf(out, ", offset %.9g", o->rows.offset);
  if (!s->named[0]->rows || o->has_form) str_addz(out, forms[o->rows.form]);
  for (size_t i = 0; i < o->own.map.n; i++)
    str_printf(out, ", %s from %s", o->own.map.names[i].name, o->own.map.names[i].field);
}

extern const stage_kind stage_source;
const stage_kind stage_source = {.name = "source",
                                 .size = sizeof(source_options),
                                 .keys = (const stage_key[]){{"offset", false, read_offset},
                                                             {"pairs", false, read_pairs},
                                                             {"name", false, read_name},
                                                             {"map", false, read_map},
                                                             {"keep", false, read_keep},
                                                             {NULL}},
                                 .value = read_source,
                                 .check = source_check,
                                 .takes = source_takes,
                                 .rows = rows_of,
                                 .describe = source_describe};
