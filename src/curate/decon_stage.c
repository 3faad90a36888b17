/* decon_stage.c - the decontaminate stage of a recipe: pairs whose prompts a benchmark has, with all of their
 * matches and the counts that `reward decontaminate` would give of the same rows.
 */
#include <stdio.h>
#include <string.h>

#include "curate/decon_tally.h"
#include "curate/run.h"

typedef struct {
  curation *r;
  decon_index *index;
  decon_scratch *scratch;
  decon_tally *all;
  json_doc *doc;
  arena *mem;
  str row, put, id;
} cleaning;

static rw_status remove_pair(cleaning *k, size_t i, const decon_match *m, size_t n, slice list, rw_error *err) {
  candidate *c = &k->r->c[i];
  for (size_t j = 0; j < n; j++)
    curation_note(k->r, i, "user message %zu shares %zu words with benchmark row %.*s: \"%.*s\"", m[j].message + 1,
                  m[j].words, (int)m[j].id.len, m[j].id.p, (int)m[j].span.len, m[j].span.p);
  char *reason = arena_alloc(k->r->mem, 160, 1);
  c->matches = arena_strndup(k->r->mem, list.p, list.len);
  if (!reason || !c->matches) return rw_nomem(err, "a pair");
  snprintf(reason, 160, "its prompt shares %zu words with benchmark row %.*s", m[0].words,
           curation_cut(m[0].id, 80), m[0].id.p);
  c->stage = "decontaminate";
  c->reason = reason;
  return RW_OK;
}

static rw_status check_pair(void *ctx, size_t i, const pair_text *t, rw_error *err) {
  cleaning *k = ctx;
  conv_row row;
  const decon_match *m;
  size_t n;
  slice list;
  str_clear(&k->row);
  str_clear(&k->put);
  str_clear(&k->id);
  arena_reset(k->mem);
  curation_row(k->r, i, t, &k->row);
  curation_id(k->r, &k->r->c[i], &k->id);
  if (k->row.oom || k->id.oom) return rw_nomem(err, "a pair");
  RW_TRY(json_parse(k->doc, k->row.p, k->row.len, err));
  RW_TRY(conv_read(&row, k->doc, 0, k->mem, err));
  RW_TRY(decon_check(k->index, k->scratch, &row, &m, &n, err));
  decon_tally_put(&k->put, row.source, m, n);
  if (k->put.oom) return rw_nomem(err, "a pair");
  RW_TRY(decon_tally_row(k->all, (slice){k->put.p, k->put.len}, k->id.p, &list, err));
  return n > 0 ? remove_pair(k, i, m, n, list, err) : RW_OK;
}

rw_status stage_decontaminate(curation *r, const stage *s, rw_error *err) {
  cleaning k = {.r = r, .doc = json_new(), .mem = arena_new()};
  decon_options o = {.ngram = s->ngram, .gist = s->gist};
  uint8_t *want = curation_wanted(r, s, err);
  rw_status st = k.doc && k.mem && want ? decon_open(&k.index, r->o->bench, r->o->n_bench, &o, r->o->context, err)
                                        : rw_nomem(err, "candidates");
  if (!st && !(k.scratch = decon_scratch_new(k.index))) st = rw_nomem(err, "candidates");
  if (!st) st = decon_tally_new(&k.all, k.index, &o, true, err);
  if (!st) st = curation_fetch(r, want, check_pair, &k, err);
  r->contamination[s - r->recipe.stages] = k.all;
  mem_free(want);
  decon_scratch_free(k.scratch);
  decon_free(k.index);
  json_free(k.doc);
  arena_free(k.mem);
  str_free(&k.row);
  str_free(&k.put);
  str_free(&k.id);
  return st;
}
