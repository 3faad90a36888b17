/* scan.c - the first reading: every row's figures, and the candidates that rows make. */
#include <math.h>
#include <string.h>

#include "base/log.h"
#include "curate/run.h"
#include "format/rows.h"

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
  place first_row;
  /* PAIR_BY_PROMPT: prompt → group */
  map *groups;
  struct group {
    place of[2]; /* compliance, refusal; line 0: none yet */
    scan row;
    uint64_t texts[2], pass[2];
  } * g;
  size_t n_groups, cap_groups;
  struct member { /* rows of groups, to be loose unless taken */
    place row;
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
    src_put(out, &found);
    st = RW_OK;
  }
  return st ? rw_prefix(err, st, "%s:%llu", s->in->path, (unsigned long long)line) : RW_OK;
}

static rw_status add_loose(curation *r, place row, const char *reason, rw_error *err) {
  loose_row l = {row, reason};
  return vec_push(r->loose, r->n_loose, r->cap_loose, l) ? RW_OK : rw_nomem(err, "rows");
}

static rw_status category_of(curation *r, slice name, uint32_t *out, rw_error *err) {
  bool was_new;
  int64_t *i = map_put(r->category_ids, name.p, name.len, (int64_t)r->n_categories, &was_new);
  if (!i) return rw_nomem(err, "categories");
  *out = (uint32_t)*i;
  if (!was_new) return RW_OK;
  slice copy = {arena_strndup(r->mem, name.p, name.len), name.len};
  return copy.p && vec_push(r->categories, r->n_categories, r->cap_categories, copy) ? RW_OK
                                                                                     : rw_nomem(err, "categories");
}

static rw_status add_candidate(scanning *s, const scan *f, place chosen, place rejected, rw_error *err) {
  candidate c = {.chosen = f->chosen,
                 .rejected = f->rejected,
                 .row = {chosen, rejected},
                 .category = f->category_id,
                 .own = f->own,
                 .score = s->in->src->scored ? f->score + s->in->offset : NAN,
                 .pass = f->pass};
  memcpy(c.prompt, f->prompt, sizeof c.prompt);
  memcpy(c.texts, f->texts, sizeof c.texts);
  c.input = curation_later(&c).input;
  return vec_push(s->r->c, s->r->n, s->r->cap, c) ? RW_OK : rw_nomem(err, "candidates");
}

static rw_status group_row(scanning *s, const scan *f, place row, rw_error *err) {
  bool was_new;
  int64_t *k = map_put(s->groups, (const char *)f->prompt, sizeof f->prompt, (int64_t)s->n_groups, &was_new);
  if (!k) return rw_nomem(err, "prompts");
  if (was_new) {
    struct group g = {.row = *f};
    if (!vec_push(s->g, s->n_groups, s->cap_groups, g)) return rw_nomem(err, "prompts");
  }
  struct group *g = &s->g[*k];
  struct member m = {row, (uint32_t)*k};
  if (g->of[f->refusal].line == 0) {
    g->of[f->refusal] = row;
    g->texts[f->refusal] = f->texts[0];
    g->pass[f->refusal] = f->pass;
  }
  return vec_push(s->members, s->n_members, s->cap_members, m) ? RW_OK : rw_nomem(err, "prompts");
}

/* The row that waits gets no second. */
static rw_status end_wait(scanning *s, rw_error *err) {
  if (!s->waiting) return RW_OK;
  s->waiting = false;
  return add_loose(s->r, s->first_row, "no second response", err);
}

static rw_status consecutive_row(scanning *s, const scan *f, place row, rw_error *err) {
  if (!s->waiting) {
    s->waiting = true;
    s->first = *f;
    s->first_row = row;
    return RW_OK;
  }
  if (memcmp(s->first.prompt, f->prompt, sizeof f->prompt) != 0) {
    if (!s->r->o->lenient)
      return rw_fail(
          err, RW_DATA,
          "%s:%llu: prompt: expected the prompt of the row before (two responses to a prompt stand together)",
          s->in->path, (unsigned long long)row.line);
    RW_TRY(end_wait(s, err));
    return consecutive_row(s, f, row, err);
  }
  s->waiting = false;
  bool equal = s->first.rank == f->rank, same = s->first.texts[0] == f->texts[0];
  if (equal || same) {
    const char *why = equal ? "equal scores" : "equal texts";
    RW_TRY(add_loose(s->r, s->first_row, why, err));
    return add_loose(s->r, row, why, err);
  }
  bool second = f->rank > s->first.rank;
  scan pair = *f;
  pair.pass &= s->first.pass;
  pair.texts[0] = second ? f->texts[0] : s->first.texts[0];
  pair.texts[1] = second ? s->first.texts[0] : f->texts[0];
  return add_candidate(s, &pair, second ? row : s->first_row, second ? s->first_row : row, err);
}

static rw_status sink(void *ctx, slice row, uint64_t line, slice result, rw_error *err) {
  scanning *s = ctx;
  scan f;
  place at = {line, s->index};
  (void)row;
  s->in->rows++;
  progress_set(s->p, ++*s->done, NULL);
  /* one; more where a row of ranked answers makes more pairs */
  for (const char *p = result.p; p < result.p + result.len; p += sizeof f + f.category.len) {
    memcpy(&f, p, sizeof f);
    f.category.p = p + sizeof f;
    if (!f.drop) RW_TRY(category_of(s->r, f.category, &f.category_id, err));
    s->in->has |= f.has;
    if (f.drop) {
      RW_TRY(end_wait(s, err)); /* rows around a dropped one are not consecutive */
      RW_TRY(add_loose(s->r, at, f.drop, err));
    } else if (s->in->src->pairing == PAIR_IN_ROW) {
      RW_TRY(add_candidate(s, &f, at, at, err));
    } else if (s->in->src->pairing == PAIR_BY_PROMPT) {
      RW_TRY(group_row(s, &f, at, err));
    } else {
      RW_TRY(consecutive_row(s, &f, at, err));
    }
  }
  return RW_OK;
}

/* Groups with both kinds become candidates, in the order of their later rows; the other rows are loose. */
static rw_status close_groups(scanning *s, rw_error *err) {
  for (size_t i = 0; i < s->n_members; i++) {
    const struct member *m = &s->members[i];
    struct group *g = &s->g[m->group];
    bool both = g->of[0].line && g->of[1].line;
    int order[2] = {curation_order(m->row, g->of[0]), curation_order(m->row, g->of[1])};
    if (!both || (order[0] != 0 && order[1] != 0)) {
      RW_TRY(add_loose(s->r, m->row, both ? "the pair has an earlier row" : "no row of the other kind", err));
      continue;
    }
    if (order[0] < 0 || order[1] < 0) continue; /* the later row makes the pair */
    scan f = g->row;
    size_t chosen = f.harmful ? 1 : 0;
    f.texts[0] = g->texts[chosen];
    f.texts[1] = g->texts[1 - chosen];
    f.pass = g->pass[0] & g->pass[1];
    RW_TRY(add_candidate(s, &f, g->of[chosen], g->of[1 - chosen], err));
  }
  return RW_OK;
}

static rw_status scan_input(scanning *s, rw_error *err) {
  rows_in *in;
  rows_pass pass = {work, sink, s};
  RW_TRY(file_hash(s->in->path, s->in->hash, err));
  RW_TRY(rows_open(&in, s->in->path, s->r->o->context, err));
  rw_status st = rows_run(in, &pass, err);
  rows_close(in);
  return st;
}

/* After a source's last file: rows that still wait, and which candidates are whose. */
static rw_status end_source(scanning *s, size_t inputs_from, size_t from, rw_error *err) {
  if (s->waiting && !s->r->o->lenient)
    return rw_fail(err, RW_DATA, "%s:%llu: expected a second response to this prompt on the next row",
                   s->r->inputs[s->first_row.input].path, (unsigned long long)s->first_row.line);
  RW_TRY(end_wait(s, err));
  if (s->in->src->pairing == PAIR_BY_PROMPT) RW_TRY(close_groups(s, err));
  for (size_t i = inputs_from; i <= s->index; i++) {
    input *in = &s->r->inputs[i];
    in->first = from;
    while (from < s->r->n && s->r->c[from].input == i) from++;
    in->n = from - in->first;
  }
  return RW_OK;
}

/* A source's files are one after another: its rows make pairs across them, as the shards of one file would. */
static rw_status scan_source(curation *r, size_t from, size_t *next, scanning *s, rw_error *err) {
  size_t first = r->n;
  rw_status st = (s->groups = map_new()) ? RW_OK : rw_nomem(err, r->inputs[from].path);
  for (*next = from; !st && *next < r->n_inputs && r->inputs[*next].src == r->inputs[from].src; ++*next) {
    s->in = &r->inputs[*next];
    s->index = (uint32_t)*next;
    st = scan_input(s, err);
  }
  if (!st) st = end_source(s, from, first, err);
  map_free(s->groups);
  mem_free(s->g);
  mem_free(s->members);
  return st;
}

rw_status curation_scan(curation *r, rw_error *err) {
  int threads = pool_threads(r->o->context->threads);
  struct lane *lanes = mem_zalloc((size_t)threads, sizeof *lanes);
  bool ok = lanes != NULL;
  for (int i = 0; ok && i < threads; i++) ok = (lanes[i].doc = json_new()) && (lanes[i].mem = arena_new());
  rw_status s = ok ? RW_OK : rw_nomem(err, "rows");
  progress p;
  size_t done = 0;
  progress_start(&p, r->o->context, "reading", "rows", 0);
  for (size_t i = 0; !s && i < r->n_inputs;) {
    scanning sc = {.r = r, .lanes = lanes, .p = &p, .done = &done};
    s = scan_source(r, i, &i, &sc, err);
  }
  progress_end(&p);
  for (int i = 0; lanes && i < threads; i++) {
    json_free(lanes[i].doc);
    arena_free(lanes[i].mem);
  }
  mem_free(lanes);
  return s;
}
