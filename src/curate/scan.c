/* scan.c - the first reading: every row's figures, and the candidates that rows make. */
#include "curate/scan.h"

#include <math.h>
#include <string.h>

#include "base/log.h"
#include "format/rows.h"

enum { SHOWN_WRONG = 5 };

/* A pair that a row makes, or half of one; `category` and `pass` as candidates have them. */
typedef struct {
  scan s;
  uint32_t category;
  uint64_t pass;
} figures;

/* The figures of a row: one set, or more where a row of ranked answers makes more pairs. */
typedef struct {
  scan *s;
  size_t n;
  uint64_t has, pass; /* by stage */
  const char *wrong;  /* why it is of another shape */
} scanned;

/* A source's files. */
typedef struct {
  curation *r;
  input *in; /* whose rows are taken */
  uint32_t index, first_input;
  progress *p;
  size_t *done, n_wrong;
  bool keyless; /* as scan's */
  /* PAIR_CONSECUTIVE: the row that waits for its second */
  bool waiting;
  figures first;
  place first_row;
  /* PAIR_BY_PROMPT: prompt → group */
  map *groups;
  struct group {
    place of[2]; /* compliance, refusal; line 0: none yet */
    figures row;
    uint64_t texts[2][2], pass[2];
  } * g;
  size_t n_groups, cap_groups;
  struct member { /* rows of groups, to be loose unless taken */
    place row;
    uint32_t group;
  } * members;
  size_t n_members, cap_members;
} scanning;

typedef struct {
  scanning *s;
  uint32_t index;
} scanned_file;

/* The stages that look at rows while they are read. */
static rw_status look(const recipe *r, const source *src, json_doc *d, scanned *out, rw_error *err) {
  for (const stage *s = r->stages; s < r->stages + r->n; s++) {
    bool has, pass;
    if (!s->kind->row || !stage_is_for(s, src)) continue;
    rw_status st = s->kind->row(s, d, &has, &pass, err);
    if (st) return rw_prefix(err, st, "%s:%d: %s", r->path, s->line, s->kind->name);
    out->has |= (uint64_t)has << s->index;
    out->pass |= (uint64_t)pass << s->index;
  }
  return RW_OK;
}

/* The figures outlive the row's document. */
static rw_status keep(const scan *s, size_t n, arena *mem, scanned *out, rw_error *err) {
  out->s = arena_alloc(mem, n, sizeof *s);
  out->n = n;
  for (size_t i = 0; out->s && i < n; i++) {
    out->s[i] = s[i];
    slice *c = &out->s[i].category;
    c->p = c->len ? arena_strndup(mem, c->p, c->len) : "";
    if (!c->p) return rw_nomem(err, "rows");
  }
  return out->s ? RW_OK : rw_nomem(err, "rows");
}

static void close_lane(void *ctx, void *own) {
  scan_list *pairs = own;
  (void)ctx;
  mem_free(pairs->s);
}

static rw_status work(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *err) {
  const scanned_file *f = ctx;
  const scanning *s = f->s;
  const input *in = &s->r->inputs[f->index];
  scanned *out = result;
  scan_list *pairs = lane->own;
  scan found = {.score = NAN, .rank = NAN, .keyless = s->keyless};
  (void)line;
  pairs->n = 0;
  rw_status st = json_parse(lane->doc, row.p, row.len, err);
  if (!st && json_kind(lane->doc, 0) != JSON_OBJECT) st = rw_fail(err, RW_DATA, "row: expected an object");
  if (!st) st = src_scan(in->src, lane->doc, lane->mem, &found, err);
  if (!st) st = look(&s->r->recipe, in->src, lane->doc, out, err);
  if (!st && in->form != FORM_BEST_WORST) {
    RW_TRY(src_pairs(in->src, lane->doc, lane->mem, in->form, &found, pairs, err));
    return keep(pairs->s, pairs->n, lane->keep, out, err);
  }
  if (st && (st != RW_DATA || !s->r->o->lenient)) return rw_prefix(err, st, "read as %s", in->src->name);
  if (st) {
    found = (scan){.drop = "another shape", .score = NAN};
    context_spell(s->r->o->context, err->text);
    out->wrong = arena_strndup(lane->keep, err->text, strlen(err->text));
    if (!out->wrong) return rw_nomem(err, "rows");
  }
  return keep(&found, 1, lane->keep, out, err);
}

static rw_status add_loose(curation *r, place row, const char *reason, rw_error *err) {
  loose_row l = {row, reason, NULL};
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

static rw_status add_candidate(scanning *s, const figures *f, place chosen, place rejected, rw_error *err) {
  candidate c = {.chosen = f->s.chosen,
                 .rejected = f->s.rejected,
                 .row = {chosen, rejected},
                 .category = f->category,
                 .own = f->s.own,
                 .score = s->in->src->scored ? f->s.score + s->in->offset : NAN,
                 .pass = f->pass};
  memcpy(c.prompt, f->s.prompt, sizeof c.prompt);
  if (!s->keyless) {
    uint64_t keys[3][2];
    memcpy(keys[0], f->s.prompt, sizeof keys[0]);
    memcpy(keys[1], f->s.texts, sizeof f->s.texts);
    sha256_key(keys, sizeof keys, c.pair);
  }
  c.input = curation_later(&c).input;
  return vec_push(s->r->c, s->r->n, s->r->cap, c) ? RW_OK : rw_nomem(err, "candidates");
}

static rw_status group_row(scanning *s, const figures *f, place row, rw_error *err) {
  bool was_new;
  int64_t *k = map_put(s->groups, (const char *)f->s.prompt, sizeof f->s.prompt, (int64_t)s->n_groups, &was_new);
  if (!k) return rw_nomem(err, "prompts");
  if (was_new) {
    struct group g = {.row = *f};
    if (!vec_push(s->g, s->n_groups, s->cap_groups, g)) return rw_nomem(err, "prompts");
  }
  struct group *g = &s->g[*k];
  struct member m = {row, (uint32_t)*k};
  if (g->of[f->s.refusal].line == 0) {
    g->of[f->s.refusal] = row;
    memcpy(g->texts[f->s.refusal], f->s.texts[0], sizeof f->s.texts[0]);
    g->pass[f->s.refusal] = f->pass;
  }
  return vec_push(s->members, s->n_members, s->cap_members, m) ? RW_OK : rw_nomem(err, "prompts");
}

static bool same_key(const uint64_t a[2], const uint64_t b[2]) { return a[0] == b[0] && a[1] == b[1]; }

/* The row that waits gets no second. */
static rw_status end_wait(scanning *s, rw_error *err) {
  if (!s->waiting) return RW_OK;
  s->waiting = false;
  return add_loose(s->r, s->first_row, "no second response", err);
}

static rw_status consecutive_row(scanning *s, const figures *f, place row, rw_error *err) {
  if (!s->waiting) {
    s->waiting = true;
    s->first = *f;
    s->first_row = row;
    return RW_OK;
  }
  if (!same_key(s->first.s.prompt, f->s.prompt)) {
    if (!s->r->o->lenient)
      return rw_fail(
          err, RW_DATA,
          "%s:%llu: prompt: expected the prompt of the row before (two responses to a prompt stand together)",
          s->in->path, (unsigned long long)row.line);
    RW_TRY(end_wait(s, err));
    return consecutive_row(s, f, row, err);
  }
  s->waiting = false;
  bool equal = s->first.s.rank == f->s.rank, same = same_key(s->first.s.texts[0], f->s.texts[0]);
  if (equal || same) {
    const char *why = equal ? "equal scores" : "equal texts";
    RW_TRY(add_loose(s->r, s->first_row, why, err));
    return add_loose(s->r, row, why, err);
  }
  bool second = f->s.rank > s->first.s.rank;
  figures pair = *f;
  pair.pass &= s->first.pass;
  memcpy(pair.s.texts[0], second ? f->s.texts[0] : s->first.s.texts[0], sizeof pair.s.texts[0]);
  memcpy(pair.s.texts[1], second ? s->first.s.texts[0] : f->s.texts[0], sizeof pair.s.texts[1]);
  return add_candidate(s, &pair, second ? row : s->first_row, second ? s->first_row : row, err);
}

static rw_status take(scanning *s, const scan *found, uint64_t pass, place at, rw_error *err) {
  figures f = {*found, 0, pass};
  if (found->drop) {
    RW_TRY(end_wait(s, err)); /* rows around a dropped one are not consecutive */
    return add_loose(s->r, at, found->drop, err);
  }
  RW_TRY(category_of(s->r, found->category, &f.category, err));
  switch (s->in->src->pairing) {
    case PAIR_IN_ROW: return add_candidate(s, &f, at, at, err);
    case PAIR_BY_PROMPT: return group_row(s, &f, at, err);
    case PAIR_CONSECUTIVE: return consecutive_row(s, &f, at, err);
  }
  return RW_OK;
}

/* The first few rows of another shape are named; removed.jsonl says of each what is wrong. */
static rw_status note_wrong(scanning *s, uint64_t line, const char *wrong, rw_error *err) {
  curation *r = s->r;
  loose_row *l = &r->loose[r->n_loose - 1];
  if (s->n_wrong++ < SHOWN_WRONG)
    log_warn(r->o->context, "%s:%llu: %s; the row is left out", s->in->path, (unsigned long long)line, wrong);
  l->detail = arena_strndup(r->mem, wrong, strlen(wrong));
  return l->detail ? RW_OK : rw_nomem(err, "rows");
}

static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *err) {
  const scanned_file *f = ctx;
  scanning *s = f->s;
  const scanned *found = result;
  (void)row;
  s->index = f->index;
  s->in = &s->r->inputs[f->index];
  s->in->rows++;
  s->in->has |= found->has;
  progress_set(s->p, ++*s->done, NULL);
  for (size_t i = 0; i < found->n; i++) RW_TRY(take(s, &found->s[i], found->pass, (place){line, s->index}, err));
  return found->wrong ? note_wrong(s, line, found->wrong, err) : RW_OK;
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
    figures f = g->row;
    size_t chosen = f.s.harmful ? 1 : 0;
    memcpy(f.s.texts[0], g->texts[chosen], sizeof f.s.texts[0]);
    memcpy(f.s.texts[1], g->texts[1 - chosen], sizeof f.s.texts[1]);
    f.pass = g->pass[0] & g->pass[1];
    RW_TRY(add_candidate(s, &f, g->of[chosen], g->of[1 - chosen], err));
  }
  return RW_OK;
}

/* A field that a recipe names and no row of the user's own has: without effect, but not unsaid. */
static void warn_of_names(const curation *r, const source *src) {
  const row_map *maps[] = {&src->rows->map, &src->rows->keep};
  for (size_t k = 0; k < 2; k++)
    for (const row_name *n = maps[k]->names; n < maps[k]->names + maps[k]->n; n++)
      if (row_name_missing(n))
        log_warn(r->o->context, "%s: source %s: %s: no row has the field %s", r->recipe.path, src->name,
                 k ? "keep" : "map", n->field);
}

/* After a source's last file: ends what still waits, and gives each input the range of its candidates. */
static rw_status end_source(scanning *s, rw_error *err) {
  curation *r = s->r;
  if (s->in->src->rows) warn_of_names(r, s->in->src);
  if (s->waiting && !r->o->lenient)
    return rw_fail(err, RW_DATA, "%s:%llu: expected a second response to this prompt on the next row",
                   r->inputs[s->first_row.input].path, (unsigned long long)s->first_row.line);
  RW_TRY(end_wait(s, err));
  if (s->in->src->pairing == PAIR_BY_PROMPT) RW_TRY(close_groups(s, err));
  for (size_t i = s->first_input; i <= s->index; i++) {
    input *in = &r->inputs[i];
    in->first = i > 0 ? r->inputs[i - 1].first + r->inputs[i - 1].n : 0;
    while (in->first + in->n < r->n && r->c[in->first + in->n].input == i) in->n++;
  }
  return RW_OK;
}

/* A source's files are one after another: its rows make pairs across them, as the shards of one file would. */
static rw_status end_file(void *ctx, const rows_in *in, rw_error *err) {
  const scanned_file *f = ctx;
  scanning *s = f->s;
  curation *r = s->r;
  s->index = f->index;
  s->in = &r->inputs[f->index];
  rows_hash(in, s->in->hash);
  return f->index + 1 < r->n_inputs && r->inputs[f->index + 1].src == s->in->src ? RW_OK : end_source(s, err);
}

static bool asks_keys(const recipe *r) {
  for (const stage *s = r->stages; s < r->stages + r->n; s++)
    if (s->kind->asks_keys) return true;
  return false;
}

/* A scanning for each source, and a job for each file. */
static rw_status scan_files(curation *r, scanning *sources, scanned_file *files, rows_file_job *jobs, progress *p,
                            rw_error *err) {
  rows_job job = {.result_size = sizeof(scanned),
                  .lane_size = sizeof(scan_list),
                  .lane_close = close_lane,
                  .work = work,
                  .sink = sink,
                  .results_alone = true};
  size_t done = 0;
  for (size_t i = 0, n = 0; i < r->n_inputs; i++) {
    if (i == 0 || r->inputs[i].src != r->inputs[i - 1].src)
      sources[n++] = (scanning){.r = r,
                                .first_input = (uint32_t)i,
                                .p = p,
                                .done = &done,
                                .keyless = !asks_keys(&r->recipe),
                                .groups = map_new()};
    if (!sources[n - 1].groups) return rw_nomem(err, r->inputs[i].path);
    files[i] = (scanned_file){&sources[n - 1], (uint32_t)i};
    jobs[i] = (rows_file_job){
        .path = r->inputs[i].path, .hashed = curation_makes_set(r), .ctx = &files[i], .end = end_file};
  }
  return rows_map_files(jobs, r->n_inputs, &job, r->o->context, err);
}

rw_status curation_scan(curation *r, rw_error *err) {
  progress p;
  scanning *sources = mem_zalloc(r->n_inputs, sizeof *sources);
  scanned_file *files = mem_zalloc(r->n_inputs, sizeof *files);
  rows_file_job *jobs = mem_zalloc(r->n_inputs, sizeof *jobs);
  progress_start(&p, r->o->context, "reading", "rows", 0);
  rw_status s = sources && files && jobs ? scan_files(r, sources, files, jobs, &p, err) : rw_nomem(err, "inputs");
  progress_end(&p);
  for (size_t i = 0; sources && i < r->n_inputs; i++) {
    map_free(sources[i].groups);
    mem_free(sources[i].g);
    mem_free(sources[i].members);
  }
  void *all[] = {sources, files, jobs};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  return s;
}
