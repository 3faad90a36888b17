/* select.c - stages that look at figures only: selection by score within groups, duplicates, samples; what is to be
 * written. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/rng.h"
#include "curate/run.h"

static bool takes(const select_group *g, slice category) {
  for (size_t i = 0; i < g->n; i++)
    if (strlen(g->categories[i]) == category.len && strncasecmp(g->categories[i], category.p, category.len) == 0)
      return true;
  return false;
}

/* The group of a category: the first that names it, else the first that names none. */
static size_t group_of(const stage *s, slice category) {
  for (size_t i = 0; i < s->n_groups; i++)
    if (takes(&s->groups[i], category)) return i;
  for (size_t i = 0; i < s->n_groups; i++)
    if (s->groups[i].n == 0) return i;
  return s->n_groups;
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

static void note_rank(curation *r, const stage *s, size_t g, size_t i, size_t rank, size_t n, size_t keep) {
  str name = {0};
  if (g == s->n_groups) return;
  curation_group(&s->groups[g], &name);
  curation_note(r, i, "group %s: score %.9g, rank %zu of %zu, of which the best %zu are kept", name.p ? name.p : "",
                r->c[i].score, rank, n, keep);
  str_free(&name);
}

rw_status stage_select(curation *r, const stage *s, rw_error *err) {
  ranked *list = mem_alloc(r->n, sizeof *list);
  uint8_t *group = mem_alloc(r->n_categories, 1);
  if (!list || !group) {
    mem_free(list);
    mem_free(group);
    return rw_nomem(err, "selection");
  }
  for (size_t k = 0; k < r->n_categories; k++) group[k] = (uint8_t)group_of(s, r->categories[k]);
  for (size_t g = 0; g <= s->n_groups; g++) {
    size_t n = 0, keep = 0;
    for (size_t i = 0; i < r->n; i++) {
      const candidate *c = &r->c[i];
      if (!c->reason && stage_is_for(s, r->inputs[c->input].src) && group[c->category] == g)
        list[n++] = (ranked){c->score, i};
    }
    if (g < s->n_groups) {
      keep = s->groups[g].has_keep ? decimal_of(s->groups[g].keep, n) : n;
      if (s->groups[g].quota >= 0 && (size_t)s->groups[g].quota < keep) keep = (size_t)s->groups[g].quota;
    }
    qsort(list, n, sizeof *list, best_first);
    for (size_t i = 0; i < n && r->n_watch > 0; i++) note_rank(r, s, g, list[i].i, i + 1, n, keep);
    for (size_t i = keep; i < n; i++) {
      r->c[list[i].i].stage = "select";
      r->c[list[i].i].reason = g < s->n_groups ? "below its group's share by score" : "its category is in no group";
    }
  }
  mem_free(list);
  mem_free(group);
  return RW_OK;
}

rw_status stage_dedup(curation *r, const stage *s, rw_error *err) {
  if (s->near) return stage_near(r, s, err);
  map *seen = map_new();
  rw_status st = seen ? RW_OK : rw_nomem(err, "duplicates");
  for (size_t i = 0; !st && i < r->n; i++) {
    candidate *c = &r->c[i];
    uint64_t key[4] = {c->prompt[0], c->prompt[1], c->texts[0], c->texts[1]};
    bool was_new;
    int64_t *at;
    if (c->reason || !stage_is_for(s, r->inputs[c->input].src)) continue;
    if (!(at =
              map_put(seen, (const char *)key, s->of_prompt ? sizeof c->prompt : sizeof key, (int64_t)i, &was_new)))
      st = rw_nomem(err, "duplicates");
    if (!st && !was_new) {
      c->stage = "dedup";
      c->reason = s->of_prompt ? "the same prompt stands earlier" : "the same pair stands earlier";
      c->twin = (size_t)*at + 1;
    }
  }
  map_free(seen);
  return st;
}

void stage_write(curation *r, const stage *s) {
  for (size_t i = 0; i < r->n; i++) {
    if (r->c[i].reason || !stage_is_for(s, r->inputs[r->c[i].input].src)) continue;
    r->c[i].written |= (uint64_t)1 << (s - r->recipe.stages);
    curation_note(r, i, "written to %s", s->file);
  }
}

rw_status stage_sample(curation *r, const stage *s, rw_error *err) {
  size_t *alive = mem_alloc(r->n, sizeof *alive), n = 0;
  if (!alive) return rw_nomem(err, "a sample");
  for (size_t i = 0; i < r->n; i++)
    if (!r->c[i].reason && stage_is_for(s, r->inputs[r->c[i].input].src)) alive[n++] = i;
  rng g = rng_new((uint64_t)s->seed, 77);
  rng_shuffle(&g, alive, n);
  for (size_t i = (size_t)s->pairs; i < n; i++) {
    r->c[alive[i]].stage = "sample";
    r->c[alive[i]].reason = "not drawn";
  }
  mem_free(alive);
  return RW_OK;
}
