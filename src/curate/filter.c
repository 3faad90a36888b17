/* filter.c - the filter stage: rows by one of their fields.
 *
 * A row is looked at when it is read, while its fields are at hand; the stage acts on the pairs that are left when
 * its turn comes. A pair passes when each of its rows does; a row without the field, or with null, does not. Of a
 * list, one element is enough.
 */
#include <stdlib.h>
#include <string.h>

#include "curate/run.h"

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

static bool is_wanted(const stage *s, json_doc *d, json_val v) {
  double x;
  if (s->has_min || s->has_max)
    return json_number(d, v, &x) && (!s->has_min || x >= s->min) && (!s->has_max || x <= s->max);
  for (size_t i = 0; i < s->n_values; i++)
    if (is_value(d, v, s->values[i])) return true;
  return false;
}

static bool passes(const stage *s, json_doc *d, json_val v) {
  if (json_kind(d, v) != JSON_ARRAY) return is_wanted(s, d, v);
  for (json_val e = json_first(d, v); e != JSON_NONE; e = json_next(d, e))
    if (is_wanted(s, d, e)) return true;
  return false;
}

void filter_row(const recipe *r, const source *src, json_doc *d, scan *out) {
  for (size_t k = 0; k < r->n; k++) {
    const stage *s = &r->stages[k];
    if (s->kind != STAGE_FILTER || !stage_is_for(s, src) || src_null(d, 0, s->field)) continue;
    out->has |= (uint64_t)1 << k;
    if (passes(s, d, json_get(d, 0, s->field))) out->pass |= (uint64_t)1 << k;
  }
}

rw_status stage_filter(curation *r, const stage *s, rw_error *err) {
  uint64_t bit = (uint64_t)1 << (s - r->recipe.stages);
  for (size_t i = 0; i < r->n_inputs; i++)
    if (stage_is_for(s, r->inputs[i].src) && r->inputs[i].rows > 0 && !(r->inputs[i].has & bit))
      return rw_fail(err, RW_DATA, "%s:%d: filter: no row of %s has the field %s", r->recipe.path, s->line,
                     r->inputs[i].path, s->field);
  for (size_t i = 0; i < r->n; i++) {
    candidate *c = &r->c[i];
    if (c->reason || !stage_is_for(s, r->inputs[c->input].src) || (c->pass & bit)) continue;
    c->stage = "filter";
    c->reason = s->reason;
  }
  return RW_OK;
}
