/* recipe.c - YAML recipes into stages. What a kind of stage takes is in its table (stages.c); here is what is the
 * same for all: the order, the sources that a stage is for, and what stages mean to one another. */
#include "curate/recipe.h"

#include <string.h>

#include "curate/reader.h"

/* ---- a stage ---- */

static rw_status get_key(const recipe_reader *r, stage *s, struct fy_node *k, struct fy_node *v) {
  slice key = reader_scalar(k);
  if (!s->kind->rows && (slice_is(key, "sources") || slice_is(key, "source"))) return reader_sources(r, v, s);
  for (const stage_key *own = s->kind->keys; own && own->name; own++)
    if (slice_is(key, own->name) && (!own->list || fy_node_is_sequence(v))) return own->read(r, v, s);
  return rw_fail(r->err, RW_DATA, "%s:%d: %.*s: a %s stage has no such key", r->r->path, reader_line(r, k),
                 (int)key.len, key.p ? key.p : "", s->kind->name);
}

static rw_status get_value(const recipe_reader *r, stage *s, struct fy_node *v) {
  void *it = NULL;
  if (s->kind->rows || !fy_node_is_mapping(v))
    return s->kind->value ? s->kind->value(r, v, s) : reader_sources(r, v, s);
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(v, &it));)
    RW_TRY(get_key(r, s, fy_node_pair_key(p), fy_node_pair_value(p)));
  return RW_OK;
}

static rw_status bad_kind(const recipe_reader *r, struct fy_node *n) {
  str names = {0};
  for (size_t i = 0; stage_kinds[i]; i++)
    str_printf(&names, "%s%s", i == 0 ? "" : stage_kinds[i + 1] ? ", " : " or ", stage_kinds[i]->name);
  str_addz(&names, " first");
  rw_status s = names.oom ? rw_nomem(r->err, "recipe") : reader_bad(r, n, "stages", names.p);
  str_free(&names);
  return s;
}

static rw_status get_stage(const recipe_reader *r, struct fy_node *n) {
  recipe *rec = r->r;
  void *it = NULL;
  struct fy_node_pair *p = fy_node_is_mapping(n) ? fy_node_mapping_iterate(n, &it) : NULL;
  const stage_kind *kind = p ? stage_kind_of(reader_scalar(fy_node_pair_key(p))) : NULL;
  if (!kind) return bad_kind(r, p ? fy_node_pair_key(p) : n);
  if (rec->n == MAX_STAGES) return reader_bad(r, n, "stages", "at most 64 stages");
  stage *s = &rec->stages[rec->n];
  *s = (stage){.kind = kind, .index = rec->n, .line = reader_line(r, n)};
  s->own = arena_alloc(rec->mem, 1, kind->size);
  if (!s->own) return rw_nomem(r->err, "recipe");
  if (kind->defaults) memcpy(s->own, kind->defaults, kind->size);
  rec->n++;
  RW_TRY(get_value(r, s, fy_node_pair_value(p)));
  while ((p = fy_node_mapping_iterate(n, &it))) RW_TRY(get_key(r, s, fy_node_pair_key(p), fy_node_pair_value(p)));
  return kind->check ? kind->check(r, n, s) : RW_OK;
}

/* ---- what stages mean to one another ---- */

/* A stage that names no source is for those before it: named where others follow. */
static rw_status name_earlier(const recipe_reader *r, stage *s) {
  const stage *end = r->r->stages + r->r->n;
  size_t earlier = 0, later = 0;
  if (s->kind->rows || s->n_named > 0) return RW_OK;
  for (const stage *a = r->r->stages; a < end; a++) {
    if (!a->kind->rows) continue;
    earlier += a < s;
    later += a > s;
  }
  if (later == 0) return RW_OK;
  if (earlier == 0)
    return rw_fail(r->err, RW_DATA, "%s:%d: %s: expected a source stage before it, got none; stages run in order",
                   r->r->path, s->line, s->kind->name);
  for (const stage *a = r->r->stages; a < s && s->n_named < MAX_NAMED; a++)
    if (a->kind->rows) s->named[s->n_named++] = a->named[0];
  return RW_OK;
}

static rw_status check_stages(const recipe_reader *r) {
  recipe *rec = r->r;
  bool any = false;
  if (rec->n == 0) return rw_fail(r->err, RW_DATA, "%s:1: stages: expected at least one, got none", rec->path);
  for (size_t i = 0; i < rec->n; i++) RW_TRY(name_earlier(r, &rec->stages[i]));
  for (const stage *from = rec->stages; from < rec->stages + rec->n; from++) {
    if (!from->kind->rows) continue;
    any = true;
    for (const stage *s = rec->stages; s < rec->stages + rec->n; s++)
      if (s->kind->takes && stage_is_for(s, from->named[0])) RW_TRY(s->kind->takes(rec, s, from, r->err));
  }
  return any ? RW_OK
             : rw_fail(r->err, RW_DATA, "%s:%d: stages: expected a source stage, got none", rec->path,
                       rec->stages[0].line);
}

/* ---- the file ---- */

static rw_status get_recipe(const recipe_reader *r, struct fy_node *root) {
  void *it = NULL, *jt;
  if (!root || !fy_node_is_mapping(root))
    return rw_fail(r->err, RW_DATA, "%s:1: expected a mapping with name and stages", r->r->path);
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(root, &it));) {
    slice key = reader_scalar(fy_node_pair_key(p)), text;
    struct fy_node *v = fy_node_pair_value(p);
    if (slice_is(key, "name") && (text = reader_scalar(v)).p) {
      r->r->name = arena_strndup(r->r->mem, text.p, text.len);
    } else if (slice_is(key, "stages") && fy_node_is_sequence(v)) {
      if (fy_node_sequence_is_empty(v)) return reader_bad(r, v, "stages", "at least one");
      jt = NULL;
      for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &jt));) RW_TRY(get_stage(r, e));
    } else if (!slice_is(key, "about")) {
      return reader_bad(r, fy_node_pair_key(p), "recipe", "name, about or stages");
    }
  }
  return r->r->name ? check_stages(r) : rw_nomem(r->err, "recipe");
}

rw_status recipe_load(recipe *r, const char *path, rw_error *err) {
  memset(r, 0, sizeof *r);
  yaml_file f;
  r->mem = arena_new();
  r->path = r->mem ? arena_strndup(r->mem, path, strlen(path)) : NULL;
  r->name = r->path;
  rw_status s = r->path ? yaml_open(&f, path, err) : rw_nomem(err, path);
  if (!s) {
    recipe_reader rd = {r, &f, err};
    s = get_recipe(&rd, fy_document_root(f.doc));
    yaml_close(&f);
  }
  if (s) recipe_free(r);
  return s;
}

void recipe_free(recipe *r) {
  for (stage *s = r->stages; s < r->stages + r->n; s++)
    if (s->kind->close) s->kind->close(s->own);
  r->n = 0;
  arena_free(r->mem);
  r->mem = NULL;
}
