/* by_source.c - sums of rewards by source (see by_source.h). */
#include "train/by_source.h"

#include <math.h>

void reward_sums_add(reward_sums *s, const example *x, const float *r) {
  double right = 0, pairs = 0, margin = 0;
  for (size_t a = 0; a < x->n; a++) {
    s->sum += r[a];
    s->squares += (double)r[a] * r[a];
    for (size_t b = 0; b < x->n; b++)
      if (x->scores ? x->scores[a] > x->scores[b] : a < b) {
        right += r[a] > r[b];
        margin += (double)r[a] - (double)r[b];
        pairs++;
      }
  }
  s->rows++;
  s->responses += x->n;
  s->ordered += pairs > 0;
  s->right += pairs > 0 ? right / pairs : 0;
  s->margin += pairs > 0 ? margin / pairs : 0;
}

double reward_accuracy(const reward_sums *s) { return s->right / (double)s->ordered; }
double reward_margin(const reward_sums *s) { return s->margin / (double)s->ordered; }
double reward_mean(const reward_sums *s) { return s->sum / (double)s->responses; }

double reward_sd(const reward_sums *s) {
  double mean = reward_mean(s), v = s->squares / (double)s->responses - mean * mean;
  return sqrt(v > 0 ? v : 0);
}

void by_source_json(json_writer *w, const dataset *d, const reward_sums *sums) {
  const char *const *names;
  size_t n = dataset_sources(d, &names);
  bool any = false;
  for (size_t i = 0; i < n; i++) any |= *names[i] != 0;
  if (!any) return;
  jw_object(w, "sources");
  for (size_t i = 0; i < n; i++) {
    const reward_sums *s = &sums[i];
    if (s->rows == 0) continue;
    jw_object(w, names[i]);
    jw_uint(w, "n", s->rows);
    jw_num(w, "accuracy", reward_accuracy(s));
    jw_num(w, "margin", reward_margin(s));
    jw_num(w, "mean_reward", reward_mean(s));
    jw_num(w, "reward_sd", reward_sd(s));
    jw_end(w);
  }
  jw_end(w);
}
