/* filter.c - the filter stage: rows by one of their fields.
 *
 * A row is looked at when it is read, while its fields are at hand; the stage acts on the pairs that are left when
 * its turn comes. A pair passes when each of its rows does; a row without the field, or with null, does not. Of a
 * list, one element is enough.
 */
#include <stdlib.h>
#include <string.h>

#include "curate/curation.h"
#include "curate/reader.h"

enum { MAX_VALUES = 32 };

/* The field is one of the values, or a number from min to max. */
typedef struct {
  const char *field, *reason; /* reason: why a pair goes */
  slice values[MAX_VALUES];
  size_t n;
  bool has_min, has_max;
  double min, max;
} filter_options;

/* ---- in a recipe ---- */

static rw_status read_field(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_options *o = s->own;
  slice name = reader_scalar(v);
  if (!name.p || name.len == 0) return reader_bad(r, v, "field", "a field's name");
  return reader_text(r, name, &o->field);
}

static rw_status read_value(const recipe_reader *r, struct fy_node *v, const char *key, filter_options *o) {
  slice text = reader_scalar(v);
  if (!text.p || o->n == MAX_VALUES) return reader_bad(r, v, key, "a text, a number, true or false; at most 32");
  RW_TRY(reader_text(r, text, &o->values[o->n].p));
  o->values[o->n++].len = text.len;
  return RW_OK;
}

static rw_status read_equals(const recipe_reader *r, struct fy_node *v, stage *s) {
  return read_value(r, v, "equals", s->own);
}

static rw_status read_in(const recipe_reader *r, struct fy_node *v, stage *s) {
  void *it = NULL;
  if (fy_node_sequence_is_empty(v)) return reader_bad(r, v, "in", "at least one value");
  for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &it));) RW_TRY(read_value(r, e, "in", s->own));
  return RW_OK;
}

static rw_status read_min(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_options *o = s->own;
  o->has_min = true;
  return reader_number(r, v, "min", &o->min);
}

static rw_status read_max(const recipe_reader *r, struct fy_node *v, stage *s) {
  filter_options *o = s->own;
  o->has_max = true;
  return reader_number(r, v, "max", &o->max);
}

static rw_status filter_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  filter_options *o = s->own;
  str why = {0};
  bool range = o->has_min || o->has_max;
  if (!o->field || range == (o->n > 0))
    return reader_bad(r, n, "filter", "field, and one of: equals; in, a list; min and max");
  str_printf(&why, "%s is ", o->field);
  if (range && o->has_min) str_printf(&why, "not %.9g or more", o->min);
  if (range && o->has_max) str_printf(&why, o->has_min ? ", and %.9g or less" : "not %.9g or less", o->max);
  for (size_t i = 0; i < o->n; i++)
    str_printf(&why, "%s%.*s",
               i == 0         ? "not "
               : i + 1 < o->n ? ", "
                              : " or ",
               (int)o->values[i].len, o->values[i].p);
  rw_status st = why.oom ? rw_nomem(r->err, "recipe") : reader_text(r, (slice){why.p, why.len}, &o->reason);
  str_free(&why);
  return st;
}

static void filter_describe(const curation *r, const stage *s, str *out) {
  const filter_options *o = s->own;
  (void)r;
  str_printf(out, ": removes where %s", o->reason);
}

/* ---- in a run ---- */

/* Strings by their text, everything else as written, numbers by their value: `equals: 1` takes 1.0 too. */
static bool is_value(json_doc *d, json_val v, slice want) {
  double x;
  char text[64], *end = text;
  slice s = json_string(d, v);
  if (s.p) return slice_eq(s, want);
  if (slice_eq(json_raw(d, v), want)) return true;
  if (!json_number(d, v, &x) || want.len == 0 || want.len >= sizeof text) return false;
  memcpy(text, want.p, want.len);
  text[want.len] = 0;
  double y = strtod(text, &end);
  return *end == 0 && x == y;
}

static bool is_wanted(const filter_options *o, json_doc *d, json_val v) {
  double x;
  if (o->has_min || o->has_max)
    return json_number(d, v, &x) && (!o->has_min || x >= o->min) && (!o->has_max || x <= o->max);
  for (size_t i = 0; i < o->n; i++)
    if (is_value(d, v, o->values[i])) return true;
  return false;
}

static void filter_row(const stage *s, json_doc *d, bool *has, bool *pass) {
  const filter_options *o = s->own;
  json_val v = json_get(d, 0, o->field);
  *pass = false;
  if (!(*has = !src_null(d, 0, o->field))) return;
  if (json_kind(d, v) != JSON_ARRAY) {
    *pass = is_wanted(o, d, v);
    return;
  }
  for (json_val e = json_first(d, v); e != JSON_NONE && !*pass; e = json_next(d, e)) *pass = is_wanted(o, d, e);
}

static rw_status filter_run(curation *r, const stage *s, rw_error *err) {
  const filter_options *o = s->own;
  uint64_t bit = (uint64_t)1 << s->index;
  for (size_t i = 0; i < r->n_inputs; i++)
    if (stage_is_for(s, r->inputs[i].src) && r->inputs[i].rows > 0 && !(r->inputs[i].has & bit))
      return rw_fail(err, RW_DATA, "%s:%d: filter: no row of %s has the field %s", r->recipe.path, s->line,
                     r->inputs[i].path, o->field);
  for (size_t i = 0; i < r->n; i++)
    if (!(r->c[i].pass & bit) && curation_wants(r, s, i)) curation_remove(r, s, i, o->reason);
  return RW_OK;
}

extern const stage_kind stage_filter;
const stage_kind stage_filter = {.name = "filter",
                                 .size = sizeof(filter_options),
                                 .keys = (const stage_key[]){{"field", false, read_field},
                                                             {"equals", false, read_equals},
                                                             {"in", true, read_in},
                                                             {"min", false, read_min},
                                                             {"max", false, read_max},
                                                             {NULL}},
                                 .check = filter_check,
                                 .describe = filter_describe,
                                 .row = filter_row,
                                 .run = filter_run};
