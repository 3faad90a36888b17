/* scan.c - the first reading: every row's figures, and the candidates that rows make. */
#include <math.h>
#include <string.h>

#include "curate/run.h"
#include "reward/log.h"
#include "reward/rows.h"

typedef struct {
  curation *r;
  input *in;
  uint32_t index;
  struct lane {
    json_doc *doc;
    arena *mem;
  } * lanes;
  progress *p;
  size_t *done;
  /* PAIR_CONSECUTIVE: the row that waits for its second */
  bool waiting;
  scan first;
  uint64_t first_line;
  /* PAIR_BY_PROMPT: prompt → group */
  map *groups;
  struct group {
    uint64_t line[2]; /* compliance, refusal; 0: none yet */
    scan row;
    uint64_t texts[2], pass[2];
  } * g;
  size_t n_groups, cap_groups;
  struct member { /* rows of groups, to be loose unless taken */
    uint64_t line;
    uint32_t group;
  } * members;
  size_t n_members, cap_members;
} scanning;

static rw_status work(void *ctx, int thread, slice row, uint64_t line, str *out, rw_error *err) {
  scanning *s = ctx;
  struct lane *l = &s->lanes[thread];
  scan found = {.score = NAN, .rank = NAN};
  arena_reset(l->mem);
  rw_status st = json_parse(l->doc, row.p, row.len, err);
  if (!st && json_kind(l->doc, 0) != JSON_OBJECT) st = rw_fail(err, RW_DATA, "row: expected an object");
  if (!st) st = s->in->src->scan(l->doc, l->mem, &found, err);
  if (!st) filter_row(&s->r->recipe, s->in->src, l->doc, &found);
  if (!st && s->in->form != FORM_BEST_WORST) {
    st = s->in->src->pairs(l->doc, s->in->form, &found, out, err);
  } else if (!st || (st == RW_DATA && s->r->o->lenient)) {
    if (st) found = (scan){.drop = "another shape", .score = NAN};
    str_add(out, (const char *)&found, sizeof found);
    st = RW_OK;
  }
  return st ? rw_context(err, st, "%s:%llu", s->in->path, (unsigned long long)line) : RW_OK;
}

static rw_status add_loose(curation *r, uint32_t in, uint64_t line, const char *reason, rw_error *err) {
  loose_row l = {in, line, reason};
  return vec_push(r->loose, r->n_loose, r->cap_loose, l) ? RW_OK : rw_nomem(err, "rows");
}

static rw_status category_of(curation *r, const char *name, uint32_t *out, rw_error *err) {
  bool was_new;
  int64_t *i = map_put(r->category_ids, name, strlen(name), (int64_t)r->n_categories, &was_new);
  if (!i) return rw_nomem(err, "categories");
  *out = (uint32_t)*i;
  if (!was_new) return RW_OK;
  slice copy = {arena_strndup(r->mem, name, strlen(name)), strlen(name)};
  return copy.p && vec_push(r->categories, r->n_categories, r->cap_categories, copy) ? RW_OK
                                                                                     : rw_nomem(err, "categories");
}

static rw_status add_candidate(scanning *s, const scan *f, uint64_t chosen_line, uint64_t rejected_line,
                               rw_error *err) {
  candidate c = {.input = s->index,
                 .chosen = f->chosen,
                 .rejected = f->rejected,
                 .line = {chosen_line, rejected_line},
                 .score = s->in->src->scored ? f->score + s->in->offset : NAN,
                 .pass = f->pass};
  memcpy(c.prompt, f->prompt, sizeof c.prompt);
  memcpy(c.texts, f->texts, sizeof c.texts);
  RW_TRY(category_of(s->r, f->category, &c.category, err));
  return vec_push(s->r->c, s->r->n, s->r->cap, c) ? RW_OK : rw_nomem(err, "candidates");
}

static rw_status group_row(scanning *s, const scan *f, uint64_t line, rw_error *err) {
  bool was_new;
  int64_t *k = map_put(s->groups, (const char *)f->prompt, sizeof f->prompt, (int64_t)s->n_groups, &was_new);
  if (!k) return rw_nomem(err, "prompts");
  if (was_new) {
    struct group g = {.row = *f};
    if (!vec_push(s->g, s->n_groups, s->cap_groups, g)) return rw_nomem(err, "prompts");
  }
  struct group *g = &s->g[*k];
  struct member m = {line, (uint32_t)*k};
  if (g->line[f->refusal] == 0) {
    g->line[f->refusal] = line;
    g->texts[f->refusal] = f->texts[0];
    g->pass[f->refusal] = f->pass;
  }
  return vec_push(s->members, s->n_members, s->cap_members, m) ? RW_OK : rw_nomem(err, "prompts");
}

static rw_status consecutive_row(scanning *s, const scan *f, uint64_t line, rw_error *err) {
  if (!s->waiting) {
    s->waiting = true;
    s->first = *f;
    s->first_line = line;
    return RW_OK;
  }
  s->waiting = false;
  if (memcmp(s->first.prompt, f->prompt, sizeof f->prompt) != 0) {
    if (!s->r->o->lenient)
      return rw_fail(
          err, RW_DATA,
          "%s:%llu: prompt: expected the prompt of the row before (two responses to a prompt stand together)",
          s->in->path, (unsigned long long)line);
    RW_TRY(add_loose(s->r, s->index, s->first_line, "no second response", err));
    return consecutive_row(s, f, line, err);
  }
  bool equal = s->first.rank == f->rank, same = s->first.texts[0] == f->texts[0];
  if (equal || same) {
    const char *why = equal ? "equal scores" : "equal texts";
    RW_TRY(add_loose(s->r, s->index, s->first_line, why, err));
    return add_loose(s->r, s->index, line, why, err);
  }
  bool second = f->rank > s->first.rank;
  scan pair = *f;
  pair.pass &= s->first.pass;
  pair.texts[0] = second ? f->texts[0] : s->first.texts[0];
  pair.texts[1] = second ? s->first.texts[0] : f->texts[0];
  return add_candidate(s, &pair, second ? line : s->first_line, second ? s->first_line : line, err);
}

static rw_status sink(void *ctx, slice row, uint64_t line, slice result, rw_error *err) {
  scanning *s = ctx;
  scan f;
  (void)row;
  s->in->rows++;
  progress_set(s->p, ++*s->done, NULL);
  for (size_t at = 0; at < result.len;
       at += sizeof f) { /* one; more where a row of ranked answers makes more pairs */
    memcpy(&f, result.p + at, sizeof f);
    s->in->has |= f.has;
    if (f.drop)
      RW_TRY(add_loose(s->r, s->index, line, f.drop, err));
    else if (s->in->src->pairing == PAIR_IN_ROW)
      RW_TRY(add_candidate(s, &f, line, line, err));
    else if (s->in->src->pairing == PAIR_BY_PROMPT)
      RW_TRY(group_row(s, &f, line, err));
    else
      RW_TRY(consecutive_row(s, &f, line, err));
  }
  return RW_OK;
}

/* Groups with both kinds become candidates, in the order of their later rows; the other rows are loose. */
static rw_status close_groups(scanning *s, rw_error *err) {
  size_t first = s->r->n;
  for (size_t i = 0; i < s->n_members; i++) {
    const struct member *m = &s->members[i];
    struct group *g = &s->g[m->group];
    bool both = g->line[0] && g->line[1];
    if (!both || (m->line != g->line[0] && m->line != g->line[1])) {
      RW_TRY(add_loose(s->r, s->index, m->line, both ? "the pair has an earlier row" : "no row of the other kind",
                       err));
      continue;
    }
    if (m->line < g->line[0] || m->line < g->line[1]) continue; /* the later row makes the pair */
    scan f = g->row;
    size_t chosen = f.harmful ? 1 : 0;
    f.texts[0] = g->texts[chosen];
    f.texts[1] = g->texts[1 - chosen];
    f.pass = g->pass[0] & g->pass[1];
    RW_TRY(add_candidate(s, &f, g->line[chosen], g->line[1 - chosen], err));
  }
  (void)first;
  return RW_OK;
}

static rw_status scan_input(scanning *s, rw_error *err) {
  rows_in *in;
  rows_pass pass = {work, sink, s};
  RW_TRY(file_hash(s->in->path, s->in->hash, err));
  RW_TRY(rows_open(&in, s->in->path, err));
  s->in->first = s->r->n;
  s->groups = map_new();
  rw_status st = s->groups ? rows_run(in, s->r->o->threads, &pass, err) : rw_nomem(err, s->in->path);
  rows_close(in);
  if (!st && s->waiting) {
    if (!s->r->o->lenient)
      st = rw_fail(err, RW_DATA, "%s:%llu: expected a second response to this prompt on the next row", s->in->path,
                   (unsigned long long)s->first_line);
    else
      st = add_loose(s->r, s->index, s->first_line, "no second response", err);
  }
  if (!st && s->in->src->pairing == PAIR_BY_PROMPT) st = close_groups(s, err);
  s->in->n = s->r->n - s->in->first;
  map_free(s->groups);
  mem_free(s->g);
  mem_free(s->members);
  return st;
}

rw_status curation_scan(curation *r, rw_error *err) {
  int threads = pool_threads(r->o->threads);
  struct lane *lanes = mem_zalloc((size_t)threads, sizeof *lanes);
  bool ok = lanes != NULL;
  for (int i = 0; ok && i < threads; i++) ok = (lanes[i].doc = json_new()) && (lanes[i].mem = arena_new());
  rw_status s = ok ? RW_OK : rw_nomem(err, "rows");
  progress p;
  size_t done = 0;
  progress_start(&p, "reading", "rows", 0);
  for (size_t i = 0; !s && i < r->n_inputs; i++) {
    scanning sc = {.r = r, .in = &r->inputs[i], .index = (uint32_t)i, .lanes = lanes, .p = &p, .done = &done};
    s = scan_input(&sc, err);
  }
  progress_end(&p);
  for (int i = 0; lanes && i < threads; i++) {
    json_free(lanes[i].doc);
    arena_free(lanes[i].mem);
  }
  mem_free(lanes);
  return s;
}
