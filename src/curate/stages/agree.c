/* agree.c - the agree stage: what a reward model, or a file of its scores, scores chosen above rejected; or the
 * file of pairs to be scored, behind which the run ends. */
#include <stdio.h>
#include <string.h>

#include "curate/fetch.h"
#include "curate/row.h"
#include "format/rows.h"

enum { SCORE_CHUNK = 256 };

static const char UNSCORED[] = "the reward model cannot score it";

static rw_status remove_unscored(curation *r, const stage *s, size_t i, slice why, rw_error *err) {
  str text = {0};
  str_printf(&text, "%s: %.*s", UNSCORED, curation_cut(why, 200), why.p);
  const char *reason = text.oom ? NULL : arena_strndup(r->mem, text.p, text.len);
  str_free(&text);
  if (!reason) return rw_nomem(err, "scores");
  curation_remove(r, s, i, reason);
  r->c[i].counted = UNSCORED; /* each has a reason of its own */
  return RW_OK;
}

static void judge(curation *r, const stage *s, size_t i, double chosen, double rejected) {
  curation_note(r, i, "scored %.9g chosen, %.9g rejected", chosen, rejected);
  if (!(chosen > rejected)) curation_remove(r, s, i, "the reward model does not score chosen above rejected");
}

/* ---- scores from a file ---- */

typedef struct {
  double chosen, rejected;
  slice failed; /* why the pair was not scored; p NULL: it was */
} verdict;

typedef struct {
  map *by_id;
  verdict *list;
  size_t n, cap;
  bool with_ids; /* matched by id; a file without any, by order */
  arena *mem;
} score_file;

static rw_status read_verdict(score_file *f, json_doc *d, rw_error *err) {
  verdict v = {0};
  slice id = json_string(d, json_get(d, 0, "id")), error = json_string(d, json_get(d, 0, "error"));
  if (error.p) v.failed = (slice){arena_strndup(f->mem, error.p, error.len), error.len};
  if (error.p && !v.failed.p) return rw_nomem(err, "scores");
  if (!error.p && (!json_number(d, json_get(d, 0, "chosen_score"), &v.chosen) ||
                   !json_number(d, json_get(d, 0, "rejected_score"), &v.rejected)))
    return rw_fail(err, RW_DATA, "chosen_score, rejected_score: expected numbers, as `reward score` writes them");
  if (f->n > 0 && f->with_ids != (id.p != NULL))
    return rw_fail(err, RW_DATA, "id: expected in all rows or in none");
  f->with_ids = id.p != NULL;
  if (id.p && !map_put(f->by_id, id.p, id.len, (int64_t)f->n, NULL)) return rw_nomem(err, "scores");
  return vec_push(f->list, f->n, f->cap, v) ? RW_OK : rw_nomem(err, "scores");
}

static rw_status read_scores(score_file *f, const curate_options *o, rw_error *err) {
  const char *path = o->scores;
  rows_in *in;
  RW_TRY(rows_open(&in, path, o->context, err));
  json_doc *d = json_new();
  rw_status s = d ? RW_OK : rw_nomem(err, path);
  slice row;
  uint64_t line;
  while (!s && !(s = rows_next(in, &row, &line, err)) && row.p) {
    s = json_parse(d, row.p, row.len, err);
    if (!s) s = read_verdict(f, d, err);
    if (s == RW_DATA) rw_prefix(err, s, "%s:%llu", rows_path(in), (unsigned long long)line);
  }
  json_free(d);
  rows_close(in);
  return s;
}

/* order: its place among the pairs that are asked about. */
static rw_status apply(curation *r, const stage *s, const score_file *f, size_t i, size_t order, str *id,
                       rw_error *err) {
  str_clear(id);
  curation_id(r, &r->c[i], id);
  if (id->oom) return rw_nomem(err, "scores");
  int64_t by_order = (int64_t)order, *k = &by_order;
  if (f->with_ids)
    k = map_get(f->by_id, id->p, id->len);
  else if (order >= f->n)
    k = NULL;
  if (!k)
    return rw_fail(err, RW_DATA,
                   "%s: no score for the pair %s; write the pairs with " FIELD(agree_pairs) " FILE and score them with "
                   "`reward score`",
                   r->o->scores, id->p);
  const verdict *v = &f->list[*k];
  if (v->failed.p) return remove_unscored(r, s, i, v->failed, err);
  judge(r, s, i, v->chosen, v->rejected);
  return RW_OK;
}

static rw_status agree_by_file(curation *r, const stage *s, const uint8_t *want, rw_error *err) {
  score_file f = {.by_id = map_new(), .mem = arena_new()};
  size_t asked = 0;
  str id = {0};
  rw_status st = f.by_id && f.mem ? read_scores(&f, r->o, err) : rw_nomem(err, "scores");
  for (size_t i = 0; !st && i < r->n; i++)
    if (want[i]) st = apply(r, s, &f, i, asked++, &id, err);
  if (!st && !f.with_ids && asked != f.n)
    st = rw_fail(err, RW_DATA, "%s: expected %zu rows, one a pair, got %zu", r->o->scores, asked, f.n);
  str_free(&id);
  mem_free(f.list);
  map_free(f.by_id);
  arena_free(f.mem);
  return st;
}

/* ---- scores by a model ---- */

typedef struct {
  curation *r;
  const stage *s;
  scorer *model;
  size_t n;
  size_t candidate[SCORE_CHUNK];
  conv_row row[SCORE_CHUNK];
  float score[SCORE_CHUNK][2];
  arena *mem; /* memory of the rows */
} agreeing;

static rw_status score_chunk(agreeing *a, rw_error *err) {
  score_item items[SCORE_CHUNK];
  for (size_t i = 0; i < a->n; i++) items[i] = (score_item){.row = &a->row[i], .score = a->score[i]};
  RW_TRY(score_items(a->model, items, a->n, err));
  for (size_t i = 0; i < a->n; i++) {
    if (items[i].error[0])
      RW_TRY(remove_unscored(a->r, a->s, a->candidate[i], slice_of(items[i].error), err));
    else
      judge(a->r, a->s, a->candidate[i], a->score[i][0], a->score[i][1]);
  }
  a->n = 0;
  arena_reset(a->mem);
  return RW_OK;
}

static rw_status keep_pair(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result,
                           rw_error *err) {
  (void)ctx, (void)i;
  return pair_copy(result, pair, lane->keep) ? RW_OK : rw_nomem(err, "a pair");
}

static rw_status score_pair(void *ctx, size_t i, void *result, rw_error *err) {
  agreeing *a = ctx;
  if (!pair_copy(&a->row[a->n], result, a->mem)) return rw_nomem(err, "a pair");
  a->candidate[a->n++] = i;
  return a->n == SCORE_CHUNK ? score_chunk(a, err) : RW_OK;
}

static rw_status agree_by_model(curation *r, const stage *s, const uint8_t *want, rw_error *err) {
  agreeing *a = mem_zalloc(1, sizeof *a);
  if (!a) return rw_nomem(err, "pairs");
  pair_job job = {.result_size = sizeof(conv_row), .work = keep_pair, .sink = score_pair, .ctx = a};
  a->r = r;
  a->s = s;
  a->mem = arena_new();
  rw_status st = a->mem ? scorer_open(&a->model, &r->o->model, err) : rw_nomem(err, "pairs");
  if (!st) st = scorer_hash(a->model, r->model_hash, err);
  if (!st) st = curation_fetch(r, want, &job, err);
  if (!st && a->n > 0) st = score_chunk(a, err);
  arena_free(a->mem);
  scorer_free(a->model);
  mem_free(a);
  return st;
}

/* ---- the pairs for scoring elsewhere ---- */

static rw_status write_pair(void *ctx, size_t i, slice row, rw_error *err) {
  (void)i;
  return rows_write(ctx, row.p, row.len, err);
}

static rw_status write_pairs(curation *r, const uint8_t *want, rw_error *err) {
  rows_out *out;
  RW_TRY(rows_create(&out, r->o->agree_pairs, err));
  rw_status st = curation_fetch_rows(r, want, write_pair, out, err);
  if (!st) return rows_commit(out, err);
  rows_abort(out);
  return st;
}

/* Has the candidate a chosen and a rejected response? */
static rw_status check_pair(const curation *r, const stage *s, size_t i, rw_error *err) {
  const candidate *c = &r->c[i];
  str id = {0};
  if (!(c->own & (OWN_RANKING | OWN_SINGLE))) return RW_OK;
  curation_id(r, c, &id);
  rw_status st = rw_fail(err, RW_DATA, "%s:%d: agree: expected pairs, got %s in %s; %s", r->recipe.path, s->line,
                         c->own & OWN_RANKING ? "a ranking" : "a single response", id.p ? id.p : "a row",
                         c->own & OWN_RANKING ? "`pairs: best-worst` beside its source makes pairs of rankings"
                                              : "name the sources that have pairs with `source:`");
  str_free(&id);
  return st;
}

/* With --agree-pairs a file is written although no pair is left: it is what was asked for. */
static rw_status agree_run(curation *r, const stage *s, rw_error *err) {
  uint8_t *want = curation_wanted(r, s, err);
  bool any = false;
  rw_status st = want ? RW_OK : RW_NOMEM;
  for (size_t i = 0; !st && i < r->n; i++) {
    if (want[i]) st = check_pair(r, s, i, err);
    any |= want[i];
  }
  if (!st && r->o->agree_pairs)
    st = write_pairs(r, want, err);
  else if (!st && any)
    st = r->o->scores ? agree_by_file(r, s, want, err) : agree_by_model(r, s, want, err);
  mem_free(want);
  return st;
}

static bool agree_ready(const curation *r, const stage *s) {
  (void)s;
  return r->o->scores || r->o->model.model || r->o->agree_pairs;
}
static bool agree_ends(const curation *r) { return r->o->agree_pairs != NULL; }

static rw_status agree_takes(const recipe *r, const stage *s, const stage *from, rw_error *err) {
  /* a user's own rows may be rankings or not: agree_run sees */
  if (from->kind->rows(from)->form != FORM_RANKING || from->named[0]->rows) return RW_OK;
  return rw_fail(err, RW_DATA, "%s:%d: agree: %s is kept as rankings, which have no chosen and rejected", r->path,
                 s->line, from->named[0]->name);
}

extern const stage_kind stage_agree;
const stage_kind stage_agree = {
    .name = "agree",
    .takes = agree_takes,
    .uses = USES_SCORES | USES_MODEL | USES_AGREE_PAIRS,
    .ready = agree_ready,
    .needs = FIELD(model) " or " FIELD(scores),
    .why = "this stage needs a reward model (" FIELD(model) " DIR), or its scores (" FIELD(scores) " FILE; " FIELD(
        agree_pairs) " FILE writes the pairs to score)",
    .ends = agree_ends,
    .run = agree_run};
