/* decontaminate.c - the decontaminate stage: pairs whose prompts a benchmark has, with all of their matches and the
 * counts that `reward decontaminate` would give of the same rows.
 */
#include <stdio.h>

#include "curate/decon_tally.h"
#include "curate/fetch.h"
#include "curate/reader.h"

/* ---- in a recipe ---- */

static rw_status read_ngram(const recipe_reader *r, struct fy_node *v, stage *s) {
  decon_options *o = s->own;
  return reader_int(r, v, "ngram", 1, 64, &o->ngram);
}

static rw_status read_preset(const recipe_reader *r, struct fy_node *v, stage *s) {
  decon_options *o = s->own;
  RW_TRY(reader_either(r, v, "preset", "default", "gist", "default or gist", &o->gist));
  if (o->gist) o->ngram = DECON_GIST_NGRAM;
  return RW_OK;
}

static void decontaminate_describe(const curation *r, const stage *s, str *out) {
  const decon_options *o = s->own;
  (void)r;
  str_printf(out, ": %lld words%s", (long long)o->ngram, o->gist ? ", gist" : "");
}

/* ---- in a run ---- */

typedef struct {
  curation *r;
  const stage *s;
  decon_index *index;
  decon_tally *all;
  str id, list;
} cleaning;

static rw_status open_lane(void *ctx, void *own, rw_error *err) {
  const cleaning *k = ctx;
  decon_scratch **scratch = own;
  *scratch = decon_scratch_new(k->index);
  return *scratch ? RW_OK : rw_nomem(err, "candidates");
}

static void close_lane(void *ctx, void *own) {
  decon_scratch **scratch = own;
  (void)ctx;
  decon_scratch_free(*scratch);
}

static rw_status check_pair(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result,
                            rw_error *err) {
  const cleaning *k = ctx;
  decon_scratch **scratch = lane->own;
  const decon_match *m;
  size_t n;
  (void)i;
  RW_TRY(decon_check(k->index, *scratch, pair, &m, &n, err));
  return decon_found_keep(result, lane->keep, pair, m, n) ? RW_OK : rw_nomem(err, "a pair");
}

static rw_status remove_pair(cleaning *k, size_t i, const decon_found *f, rw_error *err) {
  json_writer w = {.out = &k->list};
  const decon_match *first = f->m;
  for (const decon_match *m = f->m; m < f->m + f->n; m++)
    curation_note(k->r, i, "user message %zu shares %zu words with benchmark row %.*s: \"%.*s\"", m->message + 1,
                  m->words, (int)m->id.len, m->id.p, (int)m->span.len, m->span.p);
  str_clear(&k->list);
  decon_found_json(f, &w, NULL);
  char *reason = arena_alloc(k->r->mem, 160, 1);
  const char *matches = k->list.oom ? NULL : arena_strndup(k->r->mem, k->list.p, k->list.len);
  if (!reason || !matches) return rw_nomem(err, "a pair");
  snprintf(reason, 160, "its prompt shares %zu words with benchmark row %.*s", first->words,
           curation_cut(first->id, 80), first->id.p);
  curation_remove(k->r, k->s, i, reason);
  k->r->c[i].counted = "its prompt is the benchmark's"; /* each has a reason of its own */
  k->r->c[i].matches = matches;
  return RW_OK;
}

static rw_status take_pair(void *ctx, size_t i, void *result, rw_error *err) {
  cleaning *k = ctx;
  const decon_found *f = result;
  str_clear(&k->id);
  curation_id(k->r, &k->r->c[i], &k->id);
  if (k->id.oom) return rw_nomem(err, "a pair");
  RW_TRY(decon_tally_row(k->all, f, k->id.p, err));
  return f->n > 0 ? remove_pair(k, i, f, err) : RW_OK;
}

static rw_status clean(cleaning *k, rw_error *err) {
  pair_job job = {.result_size = sizeof(decon_found),
                  .lane_size = sizeof(decon_scratch *),
                  .lane_open = open_lane,
                  .lane_close = close_lane,
                  .work = check_pair,
                  .sink = take_pair,
                  .ctx = k};
  curation *r = k->r;
  const decon_options *o = k->s->own;
  uint8_t *want = curation_wanted(r, k->s, err);
  rw_status st =
      want ? decon_open(&k->index, r->o->bench, r->o->n_bench, o, r->o->context, err) : rw_nomem(err, "candidates");
  if (!st) st = decon_tally_new(&k->all, k->index, o, true, err);
  if (!st) st = curation_fetch(r, want, &job, err);
  mem_free(want);
  return st;
}

static rw_status decontaminate_run(curation *r, const stage *s, rw_error *err) {
  cleaning k = {.r = r, .s = s};
  rw_status st = clean(&k, err);
  r->found[s->index] = k.all;
  decon_free(k.index);
  str_free(&k.id);
  str_free(&k.list);
  return st;
}

static bool decontaminate_ready(const curation *r, const stage *s) {
  (void)s;
  return r->o->n_bench > 0;
}

/* ---- what is told of it ---- */

static void decontaminate_plan(const void *found, str *out) {
  decon_counts c = decon_tally_counts(found);
  str_printf(out, "; matches %zu of %zu benchmark prompts", c.matched, c.bench_rows);
}

static void decontaminate_json(const void *found, json_writer *w) {
  jw_object_lines(w, "contamination");
  decon_tally_json(found, w);
  jw_end(w);
}

static void decontaminate_page(const void *found, const stage *s, rep_page *p) {
  rep_section(p, "Contamination, by line %d of the recipe", s->line);
  decon_tally_page(found, p);
}

static void decontaminate_release(void *found) { decon_tally_free(found); }

extern const stage_kind stage_decontaminate;
const stage_kind stage_decontaminate = {
    .name = "decontaminate",
    .size = sizeof(decon_options),
    .defaults = &(const decon_options){.ngram = DECON_NGRAM},
    .keys = (const stage_key[]){{"ngram", false, read_ngram}, {"preset", false, read_preset}, {NULL}},
    .describe = decontaminate_describe,
    .uses = USES_BENCH,
    .ready = decontaminate_ready,
    .needs = FIELD(bench),
    .why = "this stage needs the benchmark's rows: " FIELD(bench) " FILE",
    .run = decontaminate_run,
    .json = decontaminate_json,
    .plan = decontaminate_plan,
    .page = decontaminate_page,
    .release = decontaminate_release};
