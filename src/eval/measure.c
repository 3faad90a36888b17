/* measure.c - from scores to a result: figures, length baseline, intervals; and two score sets compared. */
#include <string.h>

#include "eval/eval_int.h"
#include "format/rows.h"

/* Every figure that has an interval, in one row: overall, items, the levels, the sections. */
enum { FIGURES = 2 + LEVELS + MAX_SECTIONS, TAGS = 16 };

static size_t figures_of(const tally *t, size_t n_sections, double out[FIGURES]) {
  out[0] = t->overall;
  out[1] = t->items;
  memcpy(out + 2, t->level, sizeof t->level);
  for (size_t q = 0; q < n_sections; q++) out[2 + LEVELS + q] = t->section[q][0];
  return 2 + LEVELS + n_sections;
}

/* The intervals of the figures of a, or, with b, of the differences b - a over the same draws. */
static rw_status intervals(const eval_data *d, const selection *s, const credits *a, const credits *b,
                           const eval_options *o, double lo[FIGURES], double hi[FIGURES], rw_error *err) {
  for (int f = 0; f < FIGURES; f++) lo[f] = hi[f] = NAN;
  if (o->resamples <= 0) return RW_OK;
  size_t rounds = (size_t)o->resamples, n = 0, n_sections = suite_section_count(d->suite);
  selection drawn = {0};
  tally t = {0};
  double *sample = mem_alloc(rounds, FIGURES * sizeof *sample); /* figure after figure */
  rw_status st = sample ? selection_copy(&drawn, d, s, err) : rw_nomem(err, "resamples");
  if (!st) st = tally_new(&t, d, err);
  for (size_t r = 0; !st && r < rounds; r++) {
    double of_a[FIGURES], of_b[FIGURES] = {0};
    resample(&drawn, d, s, o->seed, r);
    tally_run(&t, d, &drawn, a);
    n = figures_of(&t, n_sections, of_a);
    if (b) {
      tally_run(&t, d, &drawn, b);
      figures_of(&t, n_sections, of_b);
    }
    for (size_t f = 0; f < n; f++) sample[f * rounds + r] = b ? of_b[f] - of_a[f] : of_a[f];
  }
  for (size_t f = 0; !st && f < n; f++) percentile_interval(sample + f * rounds, rounds, &lo[f], &hi[f]);
  selection_free(&drawn);
  tally_free(&t);
  mem_free(sample);
  return st;
}

static eval_figure figure(const char *name, double value, double lo, double hi, double baseline) {
  if (isnan(value)) lo = hi = NAN;
  return (eval_figure){name, 100 * value, 100 * lo, 100 * hi, 100 * baseline};
}

static void add_missing(eval_result *r, const char *name) {
  for (size_t i = 0; i < r->n_missing; i++)
    if (strcmp(r->missing[i], name) == 0) return;
  r->missing[r->n_missing++] = name;
}

/* Items of section q that the data have and nobody dropped. */
static size_t section_items(const eval_data *d, const selection *s, size_t q) {
  size_t n = 0;
  for (size_t k = 0; k < d->n_subsets; k++)
    if (d->subsets[k].section == (int)q) n += s->start[k + 1] - s->start[k] + s->unscored[k];
  return n;
}

/* Suites averaged over items give the sections that there are, the others all. */
static bool section_given(const eval_data *d, const selection *s, size_t q) {
  return !suite_specs[d->suite].over_items || section_items(d, s, q) > 0;
}

/* Names the sections without any item, then the fixed subsets without. */
static void find_missing(eval_result *r, const eval_data *d, const selection *s) {
  if (suite_specs[d->suite].over_items) return;
  for (size_t q = 0; q < r->n_sections; q++)
    if (section_items(d, s, q) == 0) add_missing(r, suite_specs[d->suite].sections[q]);
  for (size_t k = 0; k < d->n_subsets; k++)
    if (s->start[k + 1] == s->start[k] && s->unscored[k] == 0) add_missing(r, d->subsets[k].name);
}

static const char *keep(eval_result *r, const char *name) { return arena_strndup(r->memory, name, strlen(name)); }

static rw_status name_unscored(eval_result *r, const eval_data *d, const eval_scores *scores, rw_error *err) {
  if (!(r->unscored = arena_alloc(r->memory, scores->unscored, sizeof *r->unscored)))
    return rw_nomem(err, "results");
  for (size_t i = 0; scores->unscored && i < d->n_items; i++) {
    if (!scores->why[i]) continue;
    const item *it = &d->items[i];
    eval_unscored *u = &r->unscored[r->n_unscored++];
    *u = (eval_unscored){.id = it->id.p ? arena_strndup(r->memory, it->id.p, it->id.len) : NULL,
                         .path = keep(r, rows_label(d->paths[it->file])),
                         .subset = keep(r, d->subsets[it->subset].name),
                         .why = keep(r, scores->why[i]),
                         .line = it->line};
    if ((it->id.p && !u->id) || !u->path || !u->subset || !u->why) return rw_nomem(err, "results");
  }
  return RW_OK;
}

/* ppe-preference: its categories, which overlap, as subsets of no section. */
static void fill_tags(eval_result *r, const eval_data *d, const selection *s, const eval_scores *scores,
                      const credits *c, const credits *length) {
  for (size_t i = 0; i < d->n_items; i++) r->aside += is_aside(&d->items[i]);
  for (int k = 0; d->suite == EVAL_PPE_PREFERENCE && suite_tags[k]; k++) {
    eval_subset u = {.name = suite_tags[k], .level = {NAN, NAN, NAN}};
    double baseline = 0;
    for (size_t i = 0; i < d->n_items; i++)
      u.unscored += scores->why && scores->why[i] && d->items[i].tags >> k & 1;
    for (size_t i = 0; i < s->n_items; i++) {
      if (!(d->items[s->item[i]].tags >> k & 1)) continue;
      u.n++;
      u.correct += c->credit[s->item[i]];
      baseline += length->credit[s->item[i]];
    }
    if (u.n + u.unscored == 0) continue;
    u.accuracy = u.unscored ? NAN : 100 * u.correct / (double)u.n;
    u.baseline = u.unscored ? NAN : 100 * baseline / (double)u.n;
    r->subsets[r->n_subsets++] = u;
  }
}

static rw_status fill(eval_result *r, const eval_data *d, const selection *s, const credits *c, const tally *t,
                      const tally *base, const eval_options *o, rw_error *err) {
  double v[FIGURES], b[FIGURES], lo[FIGURES], hi[FIGURES];
  size_t n_sections = suite_section_count(d->suite);
  figures_of(t, n_sections, v);
  figures_of(base, n_sections, b);
  RW_TRY(intervals(d, s, c, NULL, o, lo, hi, err));
  r->sections = arena_alloc(r->memory, n_sections, sizeof *r->sections);
  r->subsets = arena_alloc(r->memory, d->n_subsets + TAGS, sizeof *r->subsets);
  r->missing = arena_alloc(r->memory, n_sections + d->n_subsets, sizeof *r->missing);
  if (!r->sections || !r->subsets || !r->missing) return rw_nomem(err, "results");
  r->overall = figure("overall", v[0], lo[0], hi[0], b[0]);
  r->items = figure("items", v[1], lo[1], hi[1], b[1]);
  static const char *const level[LEVELS] = {"easy", "normal", "hard"};
  for (int l = 0; l < LEVELS; l++) r->level[l] = figure(level[l], v[2 + l], lo[2 + l], hi[2 + l], b[2 + l]);
  const char *const *names = suite_specs[d->suite].sections;
  for (size_t q = 0; q < n_sections; q++) {
    size_t f = 2 + LEVELS + q;
    if (section_given(d, s, q)) r->sections[r->n_sections++] = figure(names[q], v[f], lo[f], hi[f], b[f]);
  }
  find_missing(r, d, s);
  for (size_t k = 0; k < d->n_subsets; k++) {
    size_t n = s->start[k + 1] - s->start[k];
    if (n == 0 && s->unscored[k] == 0) continue;
    const double *of = t->subset + k * COLUMNS;
    eval_subset *u = &r->subsets[r->n_subsets++];
    *u = (eval_subset){.name = keep(r, d->subsets[k].name),
                       .section = d->subsets[k].section < 0 ? NULL : names[d->subsets[k].section],
                       .n = n,
                       .unscored = s->unscored[k],
                       .accuracy = 100 * of[0],
                       .pairs = c->weighted ? (size_t)t->weight[k] : 0,
                       .baseline = 100 * base->subset[k * COLUMNS]};
    if (!u->name) return rw_nomem(err, "results");
    for (size_t i = s->start[k]; i < s->start[k + 1]; i++) u->correct += c->credit[s->item[i] * (size_t)c->columns];
    for (int l = 0; l < LEVELS; l++) u->level[l] = 100 * of[1 + l];
  }
  for (int i = 0; i < 5; i++) r->ties_part[i] = (i < 4 ? 100 : 1) * t->ties_part[i];
  return RW_OK;
}

rw_status eval_measure(eval_result *r, const eval_data *d, const eval_scores *scores, const eval_options *o,
                       rw_error *err) {
  *r = (eval_result){.suite = d->suite,
                     .resamples = o->resamples,
                     .seed = o->seed,
                     .memory = arena_new(),
                     .judge = scores->judge,
                     .truncated = scores->truncated,
                     .dropped = scores->dropped};
  selection s = {0};
  credits c = {0}, length = {0};
  tally t = {0}, base = {0};
  rw_status st = r->memory ? selection_make(&s, d, &scores, 1, err) : rw_nomem(err, "results");
  if (!st && s.n_items == 0)
    st = scores->unscored ? eval_scores_fail(scores, d, err)
                          : rw_fail(err, RW_DATA,
                                    "all %zu items were dropped as too long; raise " FIELD(max_length), d->n_items);
  if (!st) st = name_unscored(r, d, scores, err);
  if (!st) st = credits_make(&c, d, &s, scores, err);
  if (!st) st = credits_make(&length, d, &s, &(eval_scores){.score = d->length}, err);
  if (!st) st = tally_new(&t, d, err);
  if (!st) st = tally_new(&base, d, err);
  if (!st) {
    tally_run(&t, d, &s, &c);
    tally_run(&base, d, &s, &length);
    r->n_items = s.n_items;
    r->comparisons = c.comparisons;
    r->ties = c.ties;
    st = fill(r, d, &s, &c, &t, &base, o, err);
    if (!st) fill_tags(r, d, &s, scores, &c, &length);
    if (!st && !scores->beats) st = best_of_measure(r, d, &s, scores->score, err);
  }
  selection_free(&s);
  credits_free(&c);
  credits_free(&length);
  tally_free(&t);
  tally_free(&base);
  if (st) eval_result_free(r);
  return st;
}

rw_status eval_run(eval_result *r, const eval_data *d, scorer *model, const eval_options *o, rw_error *err) {
  eval_scores s;
  RW_TRY(eval_scores_model(&s, d, model, err));
  rw_status st = eval_measure(r, d, &s, o, err);
  eval_scores_free(&s);
  return st;
}

void eval_result_free(eval_result *r) {
  arena_free(r->memory);
  *r = (eval_result){0};
}

/* ---- two score sets ---- */

static eval_difference difference(const char *name, double a, double b, double lo, double hi) {
  bool given = !isnan(a) && !isnan(b);
  return (eval_difference){name, 100 * a, 100 * b, 100 * (b - a), given ? 100 * lo : NAN, given ? 100 * hi : NAN};
}

rw_status eval_compare(eval_comparison *out, const eval_data *d, const eval_scores *a, const eval_scores *b,
                       const eval_options *o, rw_error *err) {
  *out = (eval_comparison){.memory = arena_new()};
  size_t n_sections = suite_section_count(d->suite);
  selection s = {0};
  credits ca = {0}, cb = {0};
  tally t = {0};
  double va[FIGURES], vb[FIGURES], lo[FIGURES], hi[FIGURES];
  const eval_scores *const sets[2] = {a, b};
  rw_status st = out->memory ? selection_make(&s, d, sets, 2, err) : rw_nomem(err, "comparison");
  if (!st && s.n_items == 0)
    st = a->unscored   ? eval_scores_fail(a, d, err)
         : b->unscored ? eval_scores_fail(b, d, err)
                       : rw_fail(err, RW_DATA, "no item is scored in both");
  if (!st) st = credits_make(&ca, d, &s, a, err);
  if (!st) st = credits_make(&cb, d, &s, b, err);
  if (!st) st = tally_new(&t, d, err);
  if (!st) st = differ_find(out, d, &s, &ca, &cb, err);
  if (!st) st = intervals(d, &s, &ca, &cb, o, lo, hi, err);
  if (!st && !(out->sections = arena_alloc(out->memory, n_sections, sizeof *out->sections)))
    st = rw_nomem(err, "comparison");
  if (!st) {
    out->unscored = s.n_unscored;
    tally_run(&t, d, &s, &ca);
    figures_of(&t, n_sections, va);
    tally_run(&t, d, &s, &cb);
    figures_of(&t, n_sections, vb);
    out->overall = difference("overall", va[0], vb[0], lo[0], hi[0]);
    out->items = difference("items", va[1], vb[1], lo[1], hi[1]);
    for (size_t q = 0; q < n_sections; q++) {
      size_t f = 2 + LEVELS + q;
      if (section_given(d, &s, q))
        out->sections[out->n_sections++] =
            difference(suite_specs[d->suite].sections[q], va[f], vb[f], lo[f], hi[f]);
    }
  }
  selection_free(&s);
  credits_free(&ca);
  credits_free(&cb);
  tally_free(&t);
  if (st) eval_comparison_free(out);
  return st;
}

void eval_comparison_free(eval_comparison *c) {
  arena_free(c->memory);
  *c = (eval_comparison){0};
}
