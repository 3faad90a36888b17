/* by_source.c - sums of rewards by source (see by_source.h). */
#include "train/by_source.h"

#include <math.h>
#include <string.h>

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
  s->right += pairs > 0 ? right / pairs : 0;
  s->margin += pairs > 0 ? margin / pairs : 0;
}

double reward_mean(const reward_sums *s) { return s->sum / (double)s->responses; }

double reward_sd(const reward_sums *s) {
  double mean = reward_mean(s), v = s->squares / (double)s->responses - mean * mean;
  return sqrt(v > 0 ? v : 0);
}

void by_source_json(str *out, const dataset *d, const reward_sums *sums) {
  const char *const *names;
  size_t n = dataset_sources(d, &names);
  bool any = false;
  for (size_t i = 0; i < n; i++) any |= *names[i] != 0;
  if (!any) return;
  const char *lead = ", \"sources\": {";
  for (size_t i = 0; i < n; i++) {
    const reward_sums *s = &sums[i];
    if (s->rows == 0) continue;
    str_addz(out, lead);
    lead = ", ";
    str_json(out, names[i], strlen(names[i]));
    const char *const fields[] = {"accuracy", "margin", "mean_reward", "reward_sd"};
    const double v[] = {s->right / (double)s->rows, s->margin / (double)s->rows, reward_mean(s), reward_sd(s)};
    str_printf(out, ": {\"n\": %zu", s->rows);
    for (int k = 0; k < 4; k++) {
      str_printf(out, ", \"%s\": ", fields[k]);
      str_json_num(out, v[k]);
    }
    str_addc(out, '}');
  }
  str_addc(out, '}');
}
