/* select.c - the select stage: the best of each group of task categories by score. */
#include "curate/stages/select.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "curate/curation.h"

/* ---- in a recipe ---- */

static rw_status read_categories(const recipe_reader *r, struct fy_node *v, select_group *g) {
  void *it = NULL;
  for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &it));) {
    slice c = reader_scalar(e);
    if (!c.p || g->n == MAX_CATEGORIES) return reader_bad(r, e, "categories", "at most 16 names");
    RW_TRY(reader_text(r, c, &g->categories[g->n]));
    g->n++;
  }
  return RW_OK;
}

static rw_status read_group(const recipe_reader *r, struct fy_node *n, select_options *o) {
  void *it = NULL;
  if (!fy_node_is_mapping(n) || o->n == MAX_GROUPS)
    return reader_bad(r, n, "groups", "mappings with categories and keep");
  select_group *g = &o->groups[o->n++];
  g->quota = -1;
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it));) {
    slice key = reader_scalar(fy_node_pair_key(p));
    struct fy_node *v = fy_node_pair_value(p);
    if (slice_is(key, "keep")) {
      RW_TRY(reader_decimal(r, v, "keep", &g->keep));
      g->has_keep = true;
    } else if (slice_is(key, "quota")) {
      RW_TRY(reader_int(r, v, "quota", 0, READER_MOST, &g->quota));
    } else if (slice_is(key, "categories") && fy_node_is_sequence(v)) {
      RW_TRY(read_categories(r, v, g));
    } else {
      return reader_bad(r, fy_node_pair_key(p), "groups", "categories, keep or quota");
    }
  }
  return g->has_keep || g->quota >= 0 ? RW_OK : reader_bad(r, n, "groups", "keep or quota in each");
}

static rw_status read_groups(const recipe_reader *r, struct fy_node *v, stage *s) {
  void *it = NULL;
  if (fy_node_sequence_is_empty(v)) return reader_bad(r, v, "groups", "at least one");
  for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &it));) RW_TRY(read_group(r, e, s->own));
  return RW_OK;
}

static rw_status select_check(const recipe_reader *r, struct fy_node *n, stage *s) {
  const select_options *o = s->own;
  if (o->n == 0) return reader_bad(r, n, "select", "groups");
  for (size_t i = 0; i < s->n_named; i++)
    if (!s->named[i]->scored)
      return rw_fail(r->err, RW_DATA, "%s:%d: select: %s has no scores to select by", r->r->path, s->line,
                     s->named[i]->name);
  return RW_OK;
}

static rw_status select_takes(const recipe *r, const stage *s, const stage *from, rw_error *err) {
  if (from->named[0]->scored) return RW_OK;
  return rw_fail(err, RW_DATA, "%s:%d: select: %s has no scores to select by; name those that have: sources",
                 r->path, s->line, from->named[0]->name);
}

static void add_group(const select_group *g, str *out) {
  if (g->n == 0) str_addz(out, "all others");
  for (size_t i = 0; i < g->n; i++) str_printf(out, "%s%s", i ? ", " : "", g->categories[i]);
}

static void select_describe(const curation *r, const stage *s, str *out) {
  const select_options *o = s->own;
  (void)r;
  for (size_t i = 0; i < o->n; i++) {
    const select_group *g = &o->groups[i];
    str_addz(out, i ? "; " : ": ");
    add_group(g, out);
    if (g->has_keep) str_printf(out, " %.9g", decimal_value(g->keep));
    if (g->quota >= 0) str_printf(out, " at most %lld", (long long)g->quota);
  }
}

/* ---- in a run ---- */

static bool takes(const select_group *g, slice category) {
  for (size_t i = 0; i < g->n; i++)
    if (strlen(g->categories[i]) == category.len && strncasecmp(g->categories[i], category.p, category.len) == 0)
      return true;
  return false;
}

/* The group of a category: the first that names it, else the first without names. */
static size_t group_of(const select_options *o, slice category) {
  for (size_t i = 0; i < o->n; i++)
    if (takes(&o->groups[i], category)) return i;
  for (size_t i = 0; i < o->n; i++)
    if (o->groups[i].n == 0) return i;
  return o->n;
}

typedef struct {
  double score;
  size_t i; /* candidate: recipe order, then row order */
} ranked;

static int best_first(const void *a, const void *b) {
  const ranked *x = a, *y = b;
  if (x->score != y->score) return x->score > y->score ? -1 : 1;
  return x->i < y->i ? -1 : 1;
}

/* How many of n ranked pairs the group keeps. g NULL: their category is in no group, and none is kept. */
static size_t kept_of(const select_group *g, size_t n) {
  size_t keep = !g ? 0 : g->has_keep ? decimal_of(g->keep, n) : n;
  return g && g->quota >= 0 && (size_t)g->quota < keep ? (size_t)g->quota : keep;
}

static void note_ranks(curation *r, const select_group *g, const ranked *list, size_t n, size_t keep) {
  str name = {0};
  if (!g || r->n_watch == 0) return;
  add_group(g, &name);
  for (size_t i = 0; i < n; i++)
    curation_note(r, list[i].i, "group %s: score %.9g, rank %zu of %zu, of which the best %zu are kept",
                  name.p ? name.p : "", list[i].score, i + 1, n, keep);
  str_free(&name);
}

static rw_status select_run(curation *r, const stage *s, rw_error *err) {
  const select_options *o = s->own;
  ranked *list = mem_alloc(r->n, sizeof *list);
  uint8_t *group = mem_alloc(r->n_categories, 1);
  if (!list || !group) {
    mem_free(list);
    mem_free(group);
    return rw_nomem(err, "selection");
  }
  for (size_t k = 0; k < r->n_categories; k++) group[k] = (uint8_t)group_of(o, r->categories[k]);
  for (size_t k = 0; k <= o->n; k++) {
    const select_group *g = k < o->n ? &o->groups[k] : NULL;
    size_t n = 0;
    for (size_t i = 0; i < r->n; i++)
      if (group[r->c[i].category] == k && curation_wants(r, s, i)) list[n++] = (ranked){r->c[i].score, i};
    size_t keep = kept_of(g, n);
    qsort(list, n, sizeof *list, best_first);
    note_ranks(r, g, list, n, keep);
    for (size_t i = keep; i < n; i++)
      curation_remove(r, s, list[i].i, g ? "below its group's share by score" : "its category is in no group");
  }
  mem_free(list);
  mem_free(group);
  return RW_OK;
}

const stage_kind stage_select = {.name = "select",
                                 .size = sizeof(select_options),
                                 .keys = (const stage_key[]){{"groups", true, read_groups}, {NULL}},
                                 .check = select_check,
                                 .takes = select_takes,
                                 .describe = select_describe,
                                 .run = select_run};
