/* agree.c - the agree stage: what a reward model, or a file of its scores, scores chosen above rejected. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "curate/run.h"
#include "format/rows.h"

enum { SCORE_CHUNK = 256 };

const char CURATION_UNSCORED[] = "the reward model cannot score it";

static rw_status unscored(curation *r, slice why, const char **reason, rw_error *err) {
  str s = {0};
  str_printf(&s, "%s: %.*s", CURATION_UNSCORED, curation_cut(why, 200), why.p);
  *reason = s.oom ? NULL : arena_strndup(r->mem, s.p, s.len);
  str_free(&s);
  return *reason ? RW_OK : rw_nomem(err, "scores");
}

static void judge(curation *r, size_t i, double chosen, double rejected) {
  candidate *c = &r->c[i];
  curation_note(r, i, "scored %.9g chosen, %.9g rejected", chosen, rejected);
  if (chosen > rejected) return;
  c->stage = "agree";
  c->reason = "the reward model does not score chosen above rejected";
}

/* ---- scores from a file ---- */

typedef struct {
  double chosen, rejected;
  const char *failed; /* why the pair was not scored, or NULL */
} verdict;

/* Rows with ids are matched by id; a file without any, by order. */
static rw_status read_scores(curation *r, map *by_id, verdict **list, size_t *n, bool *with_ids, rw_error *err) {
  rows_in *in;
  const char *path = r->o->scores;
  size_t cap = 0;
  RW_TRY(rows_open(&in, path, r->o->context, err));
  json_doc *d = json_new();
  rw_status s = d ? RW_OK : rw_nomem(err, path);
  slice row;
  uint64_t line;
  while (!s && !(s = rows_next(in, &row, &line, err)) && row.p) {
    verdict v = {0};
    s = json_parse(d, row.p, row.len, err);
    slice id = json_string(d, json_get(d, 0, "id")), error = json_string(d, json_get(d, 0, "error"));
    if (!s && error.p) s = unscored(r, error, &v.failed, err);
    if (!s && !v.failed &&
        (!json_number(d, json_get(d, 0, "chosen_score"), &v.chosen) ||
         !json_number(d, json_get(d, 0, "rejected_score"), &v.rejected)))
      s = rw_fail(err, RW_DATA, "chosen_score, rejected_score: expected numbers, as `reward score` writes them");
    if (!s && (*n > 0 && *with_ids != (id.p != NULL)))
      s = rw_fail(err, RW_DATA, "id: expected in all rows or in none");
    if (!s) *with_ids = id.p != NULL;
    if (!s && id.p && !map_put(by_id, id.p, id.len, (int64_t)*n, NULL)) s = rw_nomem(err, path);
    if (!s && !vec_push(*list, *n, cap, v)) s = rw_nomem(err, path);
    if (s == RW_DATA) rw_prefix(err, s, "%s:%llu", rows_path(in), (unsigned long long)line);
  }
  json_free(d);
  rows_close(in);
  return s;
}

static rw_status agree_by_file(curation *r, const uint8_t *want, rw_error *err) {
  map *by_id = map_new();
  verdict *list = NULL;
  size_t n = 0, asked = 0;
  bool with_ids = false;
  str id = {0};
  rw_status s = by_id ? read_scores(r, by_id, &list, &n, &with_ids, err) : rw_nomem(err, "scores");
  for (size_t i = 0; !s && i < r->n; i++) {
    if (!want[i]) continue;
    str_clear(&id);
    curation_id(r, &r->c[i], &id);
    int64_t *k = id.oom ? NULL : map_get(by_id, id.p, id.len), order = (int64_t)asked++;
    if (!with_ids) k = order < (int64_t)n ? &order : NULL;
    if (!k)
      s = rw_fail(err, RW_DATA,
                  "%s: no score for the pair %s; write the pairs with " FIELD(agree_pairs) " FILE and score them with "
                  "`reward score`",
                  r->o->scores, id.p ? id.p : "");
    else if (list[*k].failed)
      r->c[i].stage = "agree", r->c[i].reason = list[*k].failed;
    else
      judge(r, i, list[*k].chosen, list[*k].rejected);
  }
  if (!s && !with_ids && asked != n)
    s = rw_fail(err, RW_DATA, "%s: expected %zu rows, one a pair, got %zu", r->o->scores, asked, n);
  str_free(&id);
  mem_free(list);
  map_free(by_id);
  return s;
}

/* ---- scores by a model; and the pairs for scoring elsewhere ---- */

typedef struct {
  curation *r;
  scorer *s;
  rows_out *out; /* agree_pairs */
  str row;
  size_t n;
  struct held {
    size_t candidate;
    str text;
    json_doc *doc;
    conv_row row;
    float score[2];
  } held[SCORE_CHUNK];
  arena *mem;
} agreeing;

static rw_status score_chunk(agreeing *a, rw_error *err) {
  score_item items[SCORE_CHUNK];
  for (size_t i = 0; i < a->n; i++) items[i] = (score_item){.row = &a->held[i].row, .score = a->held[i].score};
  RW_TRY(score_items(a->s, items, a->n, err));
  for (size_t i = 0; i < a->n; i++) {
    candidate *c = &a->r->c[a->held[i].candidate];
    if (items[i].error[0]) {
      c->stage = "agree";
      RW_TRY(unscored(a->r, slice_of(items[i].error), &c->reason, err));
    } else {
      judge(a->r, a->held[i].candidate, a->held[i].score[0], a->held[i].score[1]);
    }
  }
  a->n = 0;
  arena_reset(a->mem);
  return RW_OK;
}

static rw_status agree_pair(void *ctx, size_t i, const pair_text *t, rw_error *err) {
  agreeing *a = ctx;
  if (a->out) {
    str_clear(&a->row);
    curation_row(a->r, i, t, &a->row);
    return a->row.oom ? rw_nomem(err, "a pair") : rows_write(a->out, a->row.p, a->row.len, err);
  }
  struct held *h = &a->held[a->n++];
  h->candidate = i;
  str_clear(&h->text);
  curation_row(a->r, i, t, &h->text);
  if (!h->doc && !(h->doc = json_new())) return rw_nomem(err, "a pair");
  if (h->text.oom) return rw_nomem(err, "a pair");
  RW_TRY(json_parse(h->doc, h->text.p, h->text.len, err));
  RW_TRY(conv_read(&h->row, h->doc, 0, a->mem, err));
  return a->n == SCORE_CHUNK ? score_chunk(a, err) : RW_OK;
}

static rw_status agree_by_model(curation *r, const uint8_t *want, rw_error *err) {
  agreeing *a = mem_zalloc(1, sizeof *a);
  if (!a) return rw_nomem(err, "pairs");
  a->r = r;
  a->mem = arena_new();
  rw_status s = a->mem ? RW_OK : rw_nomem(err, "pairs");
  if (!s)
    s = r->o->agree_pairs ? rows_create(&a->out, r->o->agree_pairs, err) : scorer_open(&a->s, &r->o->model, err);
  if (!s && a->s) s = scorer_hash(a->s, r->model_hash, err);
  if (!s) s = curation_fetch(r, want, agree_pair, a, err);
  if (!s && a->n > 0) s = score_chunk(a, err);
  if (!s && a->out) {
    rows_out *out = a->out;
    a->out = NULL;
    s = rows_commit(out, err);
  }
  rows_abort(a->out);
  for (size_t i = 0; i < SCORE_CHUNK; i++) {
    str_free(&a->held[i].text);
    json_free(a->held[i].doc);
  }
  str_free(&a->row);
  arena_free(a->mem);
  scorer_free(a->s);
  mem_free(a);
  return s;
}

/* With --agree-pairs a file is written although no pair is left: it is what was asked for. */
rw_status stage_agree(curation *r, const stage *s, rw_error *err) {
  uint8_t *want = curation_wanted(r, s, err);
  bool any = r->o->agree_pairs != NULL;
  for (size_t i = 0; want && i < r->n; i++) any |= want[i];
  rw_status st = want ? RW_OK : RW_NOMEM;
  if (!st && any)
    st = r->o->scores && !r->o->agree_pairs ? agree_by_file(r, want, err) : agree_by_model(r, want, err);
  mem_free(want);
  return st;
}
