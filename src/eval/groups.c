/* groups.c - two groups of score sets (a training method with several seeds each), compared over paired resamples.
 */
#include <string.h>

#include "base/rng.h"
#include "eval/eval_int.h"

enum { SEED_STREAM = 1 << 20 }; /* apart from the streams that draw items */

typedef struct {
  const eval_data *d;
  selection all, drawn;
  credits *sets; /* 2n: a, then b */
  double *figure;
  tally t;
  size_t n;
  bool overall;
} groups;

static void groups_free(groups *g) {
  for (size_t i = 0; g->sets && i < 2 * g->n; i++) credits_free(&g->sets[i]);
  selection_free(&g->all);
  selection_free(&g->drawn);
  mem_free(g->sets);
  mem_free(g->figure);
  tally_free(&g->t);
}

static void figures_of(groups *g, const selection *s) {
  for (size_t i = 0; i < 2 * g->n; i++) {
    tally_run(&g->t, g->d, s, &g->sets[i]);
    g->figure[i] = g->overall ? g->t.overall : g->t.items;
  }
}

/* seed: which seeds count; NULL: each once. */
static double difference(const groups *g, const size_t *seed) {
  double sum = 0;
  for (size_t i = 0; i < g->n; i++) {
    size_t k = seed ? seed[i] : i;
    sum += g->figure[g->n + k] - g->figure[k];
  }
  return 100 * sum / (double)g->n;
}

static rw_status groups_make(groups *g, const eval_scores *const *a, const eval_scores *const *b, rw_error *err) {
  const eval_data *d = g->d;
  const eval_scores **both = mem_alloc(2 * g->n, sizeof *both);
  g->sets = mem_zalloc(2 * g->n, sizeof *g->sets);
  g->figure = mem_alloc(2 * g->n, sizeof *g->figure);
  rw_status st = both && g->sets && g->figure ? tally_new(&g->t, d, err) : rw_nomem(err, "comparison");
  for (size_t i = 0; !st && i < 2 * g->n; i++) both[i] = i < g->n ? a[i] : b[i - g->n];
  if (!st) st = selection_make(&g->all, d, both, 2 * g->n, err);
  if (!st && g->all.n_items == 0) st = rw_fail(err, RW_DATA, "no item is scored in all");
  if (!st) st = selection_copy(&g->drawn, d, &g->all, err);
  for (size_t i = 0; !st && i < 2 * g->n; i++) st = credits_make(&g->sets[i], d, &g->all, both[i], err);
  mem_free(both);
  return st;
}

rw_status eval_compare_groups(eval_group_difference *c, const eval_data *d, const eval_scores *const *a,
                              const eval_scores *const *b, size_t n, const eval_options *o, rw_error *err) {
  groups g = {.d = d, .n = n};
  size_t rounds = o->resamples > 0 ? (size_t)o->resamples : 0;
  double *sample = mem_alloc(rounds, sizeof *sample);
  size_t *seed = mem_alloc(n, sizeof *seed);
  *c = (eval_group_difference){NAN, NAN, NAN, 0};
  rw_status st = sample && seed ? groups_make(&g, a, b, err) : rw_nomem(err, "comparison");
  if (!st) {
    tally_run(&g.t, d, &g.all, &g.sets[0]);
    g.overall = !isnan(g.t.overall);
    figures_of(&g, &g.all);
    c->difference = difference(&g, NULL);
    c->n_items = g.all.n_items;
    for (size_t r = 0; r < rounds; r++) {
      rng draw = rng_new(o->seed, SEED_STREAM + r);
      for (size_t i = 0; i < n; i++) seed[i] = rng_below(&draw, n);
      resample(&g.drawn, d, &g.all, o->seed, r);
      figures_of(&g, &g.drawn);
      sample[r] = difference(&g, seed);
    }
    if (rounds) percentile_interval(sample, rounds, &c->lo, &c->hi);
  }
  groups_free(&g);
  mem_free(sample);
  mem_free(seed);
  return st;
}
