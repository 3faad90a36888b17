/* differ.c - where two score sets of the same items differ: agreement, correlation of margins, single items.
 *
 * Rewards have no unit, so the margins of two models cannot be subtracted as they are: each set's are first divided
 * by their own standard deviation. A set whose margins are all alike tells no items apart; they count as 0 then.
 */
#include <stdlib.h>

#include "eval/eval_int.h"

/* Mean and standard deviation of v[n], n > 0. Summed from v[0], so that equal values have exactly no deviation. */
static void moments(const double *v, size_t n, double *mean, double *sd) {
  double sum = 0, squares = 0;
  for (size_t i = 0; i < n; i++) sum += v[i] - v[0];
  *mean = v[0] + sum / (double)n;
  for (size_t i = 0; i < n; i++) squares += (v[i] - *mean) * (v[i] - *mean);
  *sd = sqrt(squares / (double)n);
}

/* Pearson's, of values with these means; NaN where one of the two does not vary. */
static double correlation(const double *a, const double *b, size_t n, const double mean[2]) {
  double aa = 0, bb = 0, ab = 0;
  for (size_t i = 0; i < n; i++) {
    double x = a[i] - mean[0], y = b[i] - mean[1];
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  double r = ab / sqrt(aa * bb);
  return r > 1 ? 1 : r < -1 ? -1 : r; /* rounding */
}

static int farthest_first(const void *x, const void *y) {
  const eval_differing *a = x, *b = y;
  if (a->distance != b->distance) return a->distance < b->distance ? 1 : -1;
  return (a->item > b->item) - (a->item < b->item);
}

rw_status differ_find(eval_comparison *out, const eval_data *d, const selection *s, const credits *a,
                      const credits *b, rw_error *err) {
  size_t n = s->n_items;
  double *margin = mem_alloc(n, 2 * sizeof *margin); /* all of a, then all of b */
  out->differing = arena_alloc(out->memory, n, sizeof *out->differing);
  if (!margin || !out->differing) {
    mem_free(margin);
    return rw_nomem(err, "comparison");
  }
  const credits *const of[2] = {a, b};
  for (int m = 0; m < 2; m++) {
    double *v = margin + (size_t)m * n;
    for (size_t k = 0; k < n; k++) v[k] = item_margin(d, s->item[k], of[m]->score);
    moments(v, n, &out->margin_mean[m], &out->margin_sd[m]);
  }
  out->correlation = correlation(margin, margin + n, n, out->margin_mean);
  for (size_t k = 0; k < n; k++) {
    size_t i = s->item[k], at = i * (size_t)a->columns;
    const item *it = &d->items[i];
    eval_differing f = {.item = i,
                        .id = it->id,
                        .path = d->paths[it->file],
                        .line = it->line,
                        .subset = d->subsets[it->subset].name};
    double standard[2];
    for (int m = 0; m < 2; m++) {
      f.margin[m] = margin[(size_t)m * n + k];
      f.credit[m] = of[m]->credit[at];
      standard[m] = out->margin_sd[m] > 0 ? f.margin[m] / out->margin_sd[m] : 0;
    }
    if (f.credit[0] == f.credit[1]) {
      out->equal++;
      continue;
    }
    *(f.credit[0] > f.credit[1] ? &out->a_better : &out->b_better) += 1;
    double distance = fabs(standard[0] - standard[1]);
    f.distance = isnan(distance) ? 0 : distance; /* scores near the limit of a double */
    out->differing[out->n_differing++] = f;
  }
  out->n_items = n;
  out->agreement = 100 * (double)out->equal / (double)n;
  qsort(out->differing, out->n_differing, sizeof *out->differing, farthest_first);
  mem_free(margin);
  return RW_OK;
}
