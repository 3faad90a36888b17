/* spread.c - where the rewards themselves lie, in all and by subset: mean, standard deviation, mean margin.
 *
 * A reward has no unit of its own; these figures say what a score of 3 means beside others of the same model.
 */
#include "eval/eval_int.h"

typedef struct {
  size_t items, responses;
  double margin, sum, squares;
} spread;

static void add(spread *s, const eval_data *d, size_t i, const double *score) {
  const item *it = &d->items[i];
  double side[2] = {0, 0};
  for (size_t b = 0; b < it->n_branches; b++) {
    side[b >= it->n_chosen] += score[b];
    s->sum += score[b];
    s->squares += score[b] * score[b];
  }
  s->items++;
  s->responses += it->n_branches;
  s->margin += d->right ? item_margin(d, i, score - it->first)
                        : side[0] / it->n_chosen - side[1] / (it->n_branches - it->n_chosen);
}

static void members(json_writer *w, const spread *s) {
  double n = (double)s->responses, mean = s->sum / n, v = s->squares / n - mean * mean;
  jw_uint(w, "n", s->items);
  jw_num(w, "mean", mean);
  jw_num(w, "sd", sqrt(v > 0 ? v : 0));
  jw_num(w, "margin", s->margin / (double)s->items);
}

rw_status eval_rewards_json(json_writer *w, const eval_data *d, const eval_scores *scores, rw_error *err) {
  spread all = {0}, *of = mem_zalloc(d->n_subsets, sizeof *of);
  if (!of) return rw_nomem(err, "rewards");
  for (size_t i = 0; i < d->n_items; i++) {
    const item *it = &d->items[i];
    const double *score = scores->score + it->first;
    if (is_aside(it) || isnan(score[0])) continue; /* dropped */
    add(&all, d, i, score);
    add(&of[it->subset], d, i, score);
  }
  jw_object(w, "rewards");
  if (all.items) {
    members(w, &all);
    jw_object(w, "subsets");
    for (size_t k = 0; k < d->n_subsets; k++) {
      if (of[k].items == 0) continue;
      jw_object(w, d->subsets[k].name);
      members(w, &of[k]);
      jw_end(w);
    }
    jw_end(w);
  }
  jw_end(w);
  mem_free(of);
  return RW_OK;
}
