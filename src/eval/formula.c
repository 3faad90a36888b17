/* formula.c - the published formulas, and drawing items again for intervals.
 *
 * An item earns a credit of 0..1, and a subset's accuracy is the mean credit of its items:
 *   rewardbench, pairs, ppe-preference  chosen > rejected, strictly
 *   rmb                 the chosen response above every other one, strictly
 *   ppe-correctness     of an item's conflict_pairs, those whose right response is above the wrong one, strictly; a
 *                       set's accuracy is the share of all its prompts' pairs
 *   judgebench          the same, but the public code reads equal scores as "B>A"
 *   rewardbench2        1/k when the correct response is among the k that share the highest score
 *   rm-bench            the 3x3 matrix of chosen styles (rows) against rejected styles (columns), strict >: hard is
 *                       the mean above the diagonal, normal on it, easy below it, and the credit is their mean
 * RewardBench 2's Ties is a formula of its own over groups of rows (ties_figure), as in the public package
 * (allenai/reward-bench, process_single_model). There an item's credit is whether every correct response is above
 * every incorrect one. Ties is the last of its suite's subsets: resample() relies on it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "eval/eval_int.h"

/* ---- which items ---- */

static bool has_scores(const item *it, const double *score) {
  for (size_t b = 0; b < it->n_branches; b++)
    if (isnan(score[it->first + b])) return false;
  return true;
}

static rw_status make_groups(selection *s, const eval_data *d, size_t ties, rw_error *err) {
  map *seen = map_new();
  rw_status st = seen ? RW_OK : rw_nomem(err, "Ties groups");
  for (size_t i = s->start[ties]; !st && i < s->start[ties + 1]; i++) {
    const item *it = &d->items[s->item[i]];
    bool is_new;
    int64_t *at = map_put(seen, (const char *)&it->group, sizeof it->group, (int64_t)s->n_groups, &is_new);
    if (!at) {
      st = rw_nomem(err, "Ties groups");
      break;
    }
    if (is_new) s->group[s->n_groups++] = (ties_group){-1, -1};
    *(it->tied ? &s->group[*at].tied : &s->group[*at].ref) = s->item[i];
  }
  map_free(seen);
  return st;
}

static rw_status selection_alloc(selection *s, const eval_data *d, rw_error *err) {
  /* a drawn Ties subset may hold up to two items for each group, and there are at most n_items groups */
  *s = (selection){.item = mem_alloc(3 * d->n_items, sizeof *s->item),
                   .start = mem_alloc(d->n_subsets + 1, sizeof *s->start),
                   .unscored = mem_zalloc(d->n_subsets, sizeof *s->unscored),
                   .group = mem_alloc(d->n_items, sizeof *s->group)};
  if (s->item && s->start && s->unscored && s->group) return RW_OK;
  selection_free(s);
  return rw_nomem(err, "items");
}

/* Does item i take part? Counts it where it should and cannot. */
static bool takes_part(selection *s, const eval_data *d, size_t i, const eval_scores *const *sets, size_t n) {
  const item *it = &d->items[i];
  bool all = true, unscored = false;
  if (is_aside(it)) return false;
  for (size_t k = 0; k < n; k++) {
    all &= has_scores(it, sets[k]->score);
    unscored |= sets[k]->why && sets[k]->why[i];
  }
  s->unscored[it->subset] += unscored;
  s->n_unscored += unscored;
  return all;
}

rw_status selection_make(selection *s, const eval_data *d, const eval_scores *const *sets, size_t n,
                         rw_error *err) {
  RW_TRY(selection_alloc(s, d, err));
  memset(s->start, 0, (d->n_subsets + 1) * sizeof *s->start);
  for (size_t k = 0, at = 0; k < d->n_subsets; k++) at = s->start[k + 1] = at + d->subsets[k].n;
  /* counting sort by subset; start[k] runs ahead to start[k + 1], then goes back */
  for (size_t i = 0; i < d->n_items; i++) s->item[s->start[d->items[i].subset]++] = (uint32_t)i;
  size_t end = 0;
  for (size_t k = 0, from = 0; k < d->n_subsets; k++) {
    size_t to = s->start[k];
    s->start[k] = end;
    for (size_t i = from; i < to; i++)
      if (takes_part(s, d, s->item[i], sets, n)) s->item[end++] = s->item[i];
    from = to;
  }
  s->start[d->n_subsets] = s->n_items = end;
  for (size_t k = 0; k < d->n_subsets; k++)
    if (is_ties(d, k)) {
      rw_status st = make_groups(s, d, k, err);
      if (st) selection_free(s);
      return st;
    }
  return RW_OK;
}

void selection_free(selection *s) {
  mem_free(s->item);
  mem_free(s->start);
  mem_free(s->unscored);
  mem_free(s->group);
  *s = (selection){0};
}

rw_status selection_copy(selection *to, const eval_data *d, const selection *from, rw_error *err) {
  RW_TRY(selection_alloc(to, d, err));
  memcpy(to->item, from->item, from->n_items * sizeof *to->item);
  memcpy(to->start, from->start, (d->n_subsets + 1) * sizeof *to->start);
  memcpy(to->unscored, from->unscored, d->n_subsets * sizeof *to->unscored);
  if (from->n_groups) memcpy(to->group, from->group, from->n_groups * sizeof *to->group);
  to->n_groups = from->n_groups;
  to->n_items = from->n_items;
  to->n_unscored = from->n_unscored;
  return RW_OK;
}

void resample(selection *to, const eval_data *d, const selection *from, uint64_t seed, uint64_t round) {
  rng g = rng_new(seed, round);
  for (size_t k = 0; k < d->n_subsets; k++) {
    size_t start = from->start[k], n = from->start[k + 1] - start;
    if (is_ties(d, k)) {
      size_t end = start;
      for (size_t i = 0; i < from->n_groups; i++) {
        ties_group drawn = to->group[i] = from->group[rng_below(&g, from->n_groups)];
        if (drawn.ref >= 0) to->item[end++] = (uint32_t)drawn.ref;
        if (drawn.tied >= 0) to->item[end++] = (uint32_t)drawn.tied;
      }
      to->start[k + 1] = to->n_items = end;
    } else {
      for (size_t i = 0; i < n; i++) to->item[start + i] = from->item[start + rng_below(&g, n)];
    }
  }
}

static int ascending(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

void percentile_interval(double *v, size_t n, double *lo, double *hi) {
  size_t finite = 0;
  for (size_t i = 0; i < n; i++)
    if (isfinite(v[i])) v[finite++] = v[i];
  *lo = *hi = NAN;
  if (finite == 0) return;
  qsort(v, finite, sizeof *v, ascending);
  double *const out[2] = {lo, hi};
  const double share[2] = {0.025, 0.975};
  for (int e = 0; e < 2; e++) {
    double at = share[e] * (double)(finite - 1);
    size_t i = (size_t)at;
    double next = i + 1 < finite ? v[i + 1] : v[i];
    *out[e] = v[i] + (at - (double)i) * (next - v[i]);
  }
}

/* ---- credits ---- */

/* Lowest correct and highest incorrect score of a Ties item, and how far the correct ones spread. */
typedef struct {
  double margin, spread; /* spread NaN: not defined (one correct response, or none incorrect) */
  bool accurate, equal;
} ties_item;

static ties_item ties_of(const item *it, const double *score) {
  const double *s = score + it->first;
  if (it->num_correct == it->n_branches) return (ties_item){0, NAN, false, false};
  double low = s[0], high = s[0], wrong = s[it->num_correct];
  for (size_t b = 1; b < it->num_correct; b++) low = fmin(low, s[b]), high = fmax(high, s[b]);
  for (size_t b = it->num_correct; b < it->n_branches; b++) wrong = fmax(wrong, s[b]);
  return (ties_item){low - wrong, it->num_correct > 1 ? high - low : NAN, low > wrong, low == wrong};
}

size_t beats_at(const eval_data *d, size_t i) {
  if (d->suite == EVAL_RM_BENCH) return 9 * i;
  if (d->suite == EVAL_PPE_CORRECTNESS) return i < d->n_items ? d->items[i].first_pair : d->n_pairs;
  return i < d->n_items ? d->items[i].first : d->n_branches;
}

/* How response a of an item fares against response b: 1, 0, -1. slot: of the comparison. */
static int against(const double *s, const int8_t *beats, size_t a, size_t b, size_t slot) {
  return beats ? beats[slot] : (s[a] > s[b]) - (s[a] < s[b]);
}

static void credit_matrix(credits *c, const double *s, const int8_t *beats, double *out) {
  int count[LEVELS] = {0};
  for (size_t i = 0; i < 3; i++)
    for (size_t j = 0; j < 3; j++) {
      int won = against(s, beats, i, 3 + j, 3 * i + j);
      count[i > j ? 0 : i == j ? 1 : 2] += won > 0;
      c->ties += won == 0;
    }
  out[0] = (count[0] + count[1] + count[2]) / 9.0;
  for (int l = 0; l < LEVELS; l++) out[1 + l] = count[l] / 3.0;
  c->comparisons += 9;
}

static double credit_best(credits *c, const item *it, const double *s, const int8_t *beats) {
  size_t sharing = 1;
  for (size_t b = 1; b < it->n_branches; b++) {
    int won = against(s, beats, 0, b, b - 1);
    if (won < 0) return 0;
    sharing += won == 0;
  }
  c->ties += sharing > 1;
  return 1.0 / (double)sharing;
}

/* Does the chosen response beat all others? */
static bool credit_first(credits *c, const item *it, const double *s, const int8_t *beats) {
  int least = 1;
  for (size_t b = 1; b < it->n_branches; b++) {
    int won = against(s, beats, 0, b, b - 1);
    least = won < least ? won : least;
  }
  c->ties += least == 0;
  return least > 0;
}

/* By a judge only the sampled pairs count: no others were asked. */
static void credit_conflicts(credits *c, const eval_data *d, const item *it, const double *s, const int8_t *beats,
                             double *out) {
  uint32_t from = beats ? it->n_pairs : 0, to = beats ? it->n_pairs + it->n_sampled : it->n_pairs;
  for (uint32_t k = from; k < to; k++) {
    const conflict *p = &d->pairs[it->first_pair + k];
    int won = against(s, beats, p->right, p->wrong, k);
    out[0] += won > 0;
    c->ties += won == 0;
  }
  out[1] = to - from;
  c->comparisons += to - from;
}

rw_status credits_make(credits *c, const eval_data *d, const selection *sel, const eval_scores *scores,
                       rw_error *err) {
  bool weighted = d->suite == EVAL_PPE_CORRECTNESS;
  *c = (credits){
      .score = scores->score, .columns = d->suite == EVAL_RM_BENCH ? COLUMNS : 1 + weighted, .weighted = weighted};
  c->credit = mem_zalloc(d->n_items, (size_t)c->columns * sizeof *c->credit);
  if (!c->credit) return rw_nomem(err, "credits");
  for (size_t k = 0; k < sel->n_items; k++) {
    size_t i = sel->item[k];
    const item *it = &d->items[i];
    const double *s = scores->score + it->first;
    const int8_t *beats = scores->beats ? scores->beats + beats_at(d, i) : NULL;
    double *out = c->credit + i * (size_t)c->columns;
    if (d->suite == EVAL_RM_BENCH) {
      credit_matrix(c, s, beats, out);
      continue;
    }
    if (c->weighted) {
      credit_conflicts(c, d, it, s, beats, out);
      continue;
    }
    c->comparisons++;
    if (is_ties(d, it->subset)) {
      ties_item t = ties_of(it, scores->score);
      *out = t.accurate;
      c->ties += t.equal;
    } else if (d->suite == EVAL_REWARDBENCH2) {
      *out = credit_best(c, it, s, beats);
    } else if (d->suite == EVAL_RMB) {
      *out = credit_first(c, it, s, beats);
    } else {
      int won = against(s, beats, 0, 1, 0);
      *out = won > 0 || (won == 0 && d->suite == EVAL_JUDGEBENCH && it->label_b &&
                         !beats); /* the public code's rule for equal rewards only */
      c->ties += won == 0;
    }
  }
  return RW_OK;
}

double item_margin(const eval_data *d, size_t i, const double *score) {
  const item *it = &d->items[i];
  const double *s = score + it->first;
  if (is_ties(d, it->subset)) return ties_of(it, score).margin;
  if (d->right) {
    double sum[2] = {0, 0}, n[2] = {0, 0};
    for (size_t b = 0; b < it->n_branches; b++) sum[d->right[it->first + b]] += s[b], n[d->right[it->first + b]]++;
    return n[0] > 0 && n[1] > 0 ? sum[1] / n[1] - sum[0] / n[0] : 0;
  }
  if (d->suite == EVAL_RM_BENCH) return (s[0] + s[1] + s[2] - s[3] - s[4] - s[5]) / 3;
  double best = s[1];
  for (size_t b = 2; b < it->n_branches; b++) best = fmax(best, s[b]);
  return s[0] - best;
}

void credits_free(credits *c) {
  mem_free(c->credit);
  *c = (credits){0};
}

/* ---- figures ---- */

/* 0.30 accuracy(tied) + 0.30 accuracy(ref) + 0.20 P(tied margin > spread) + 0.20 P(min(ref, tied margin) > spread)
 * + 0.01 mean tanh(min(ref, tied margin) / spread - 1) over spread > 0; the P over the groups that have both rows
 * and a spread. An accuracy without rows counts as 0, and so do the P when no group has both; both as in the public
 * code. part[5]: the five. */
static double ties_figure(const eval_data *d, const selection *s, const double *score, double part[5]) {
  size_t n_ref = 0, n_tied = 0, both = 0, spread_known = 0, ratios = 0;
  memset(part, 0, 5 * sizeof *part);
  for (size_t i = 0; i < s->n_groups; i++) {
    ties_group g = s->group[i];
    ties_item ref = {0}, tied = {0};
    if (g.ref >= 0) ref = ties_of(&d->items[g.ref], score), n_ref++, part[0] += ref.accurate;
    if (g.tied >= 0) tied = ties_of(&d->items[g.tied], score), n_tied++, part[1] += tied.accurate;
    if (g.ref < 0 || g.tied < 0) continue;
    both++;
    if (isnan(tied.spread)) continue;
    spread_known++;
    double least = fmin(ref.margin, tied.margin);
    part[2] += tied.margin > tied.spread;
    part[3] += least > tied.spread;
    if (tied.spread > 0) ratios++, part[4] += tanh(least / tied.spread - 1);
  }
  if (n_ref) part[0] /= (double)n_ref;
  if (n_tied) part[1] /= (double)n_tied;
  if (both) part[2] /= (double)spread_known, part[3] /= (double)spread_known;
  if (ratios) part[4] /= (double)ratios;
  return 0.3 * part[1] + 0.3 * part[0] + 0.2 * part[2] + 0.2 * part[3] + 0.01 * part[4];
}

static void sections_run(tally *t, const eval_data *d, const selection *s) {
  const suite_spec *spec = &suite_specs[d->suite];
  size_t n_sections = suite_section_count(d->suite);
  t->overall = 0;
  memset(t->level, 0, sizeof t->level);
  for (size_t q = 0; q < n_sections; q++) {
    double weight = 0;
    memset(t->section[q], 0, sizeof t->section[q]);
    for (size_t k = 0; k < d->n_subsets; k++) {
      const subset *u = &d->subsets[k];
      double n = t->weight[k];
      /* fixed: the NaN of an empty subset stays; and so does that of one with unscored items */
      if (u->section != (int)q || (n == 0 && !spec->fixed && s->unscored[k] == 0)) continue;
      double w = u->weight > 0 ? u->weight : n;
      weight += w;
      for (int c = 0; c < COLUMNS; c++) t->section[q][c] += w * t->subset[k * COLUMNS + (size_t)c];
    }
    for (int c = 0; c < COLUMNS; c++) t->section[q][c] /= weight; /* 0/0: no items */
    t->overall += t->section[q][0] / (double)n_sections;
    for (int l = 0; l < LEVELS; l++) t->level[l] += t->section[q][1 + l] / (double)n_sections;
  }
  if (spec->over_items) t->overall = t->items;
}

rw_status tally_new(tally *t, const eval_data *d, rw_error *err) {
  *t = (tally){.subset = mem_alloc(d->n_subsets, COLUMNS * sizeof *t->subset),
               .weight = mem_alloc(d->n_subsets, sizeof *t->weight)};
  return t->subset && t->weight ? RW_OK : rw_nomem(err, "figures");
}

void tally_free(tally *t) {
  mem_free(t->subset);
  mem_free(t->weight);
}

void tally_run(tally *t, const eval_data *d, const selection *s, const credits *c) {
  double all = 0, weight = 0;
  int shown = c->weighted ? 1 : c->columns;
  for (size_t k = 0; k < d->n_subsets; k++) {
    double sum[COLUMNS] = {0}, n = (double)(s->start[k + 1] - s->start[k]);
    for (size_t i = s->start[k]; i < s->start[k + 1]; i++)
      for (int q = 0; q < c->columns; q++) sum[q] += c->credit[s->item[i] * (size_t)c->columns + (size_t)q];
    if (c->weighted) n = sum[1];
    all += sum[0];
    weight += t->weight[k] = n;
    double *out = t->subset + k * COLUMNS;
    for (int q = 0; q < COLUMNS; q++) out[q] = q < shown && s->unscored[k] == 0 ? sum[q] / n : NAN;
    if (!is_ties(d, k) || n == 0) continue;
    double figure = ties_figure(d, s, c->score, t->ties_part);
    if (s->unscored[k] == 0)
      out[0] = figure;
    else
      for (int i = 0; i < 5; i++) t->ties_part[i] = NAN;
  }
  t->items = s->n_unscored ? NAN : all / weight;
  sections_run(t, d, s);
}
