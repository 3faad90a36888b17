/* best_of.c - PPE's correctness: what choosing the response with the highest score among K gets, and the area under
 * the ROC curve of the scores as a test for right responses.
 *
 * Of K responses drawn from a prompt's n without repetition (Frick et al. 2024, arXiv 2410.14872, the section on
 * correctness): the curve is the chance that the one with the highest score is right, the ideal the chance that any
 * is. Both are averaged over prompts and given exactly, where the public code draws. With the n responses in groups
 * of equal score, a group of t above b others has the highest of the K with chance (C(b + t, K) - C(b, K)) / C(n,
 * K), and each of the group is as likely to be the first. max is the curve's highest value, end its last, loss the
 * mean square of its distance from the ideal.
 */
#include <stdlib.h>
#include <string.h>

#include "eval/eval_int.h"

typedef struct {
  double score, scaled; /* scaled: the prompt's least is 0, its greatest 1 */
  bool right;
} response;

static int descending(const void *a, const void *b) {
  double x = ((const response *)a)->score, y = ((const response *)b)->score;
  return (x < y) - (x > y);
}

/* out[K - 1] += C(m, K) / C(n, K) * weight, K = 1..k. */
static void add_chance(double *out, size_t k, size_t m, size_t n, double weight) {
  double chance = weight;
  for (size_t i = 0; i < k && i < m; i++) {
    chance *= (double)(m - i) / (double)(n - i);
    out[i] += chance;
  }
}

/* Adds a prompt's curves; v[n] is sorted. */
static void add_prompt(const response *v, size_t n, eval_best_of *b) {
  size_t wrong = 0;
  for (size_t i = 0, end; i < n; i = end) {
    size_t right = 0;
    for (end = i; end < n && v[end].score == v[i].score; end++) right += v[end].right;
    double share = (double)right / (double)(end - i);
    add_chance(b->curve, b->k, n - i, n, share);
    add_chance(b->curve, b->k, n - end, n, -share);
    wrong += end - i - right;
  }
  for (size_t k = 0; k < b->k; k++) b->ideal[k] += 1;
  add_chance(b->ideal, b->k, wrong, n, -1);
}

/* Chance that a right response is above a wrong one, equal scores counting half. v[n] gets sorted. */
static double area(response *v, size_t n) {
  double above = 0, right = 0, wrong = 0; /* right ones above the group at hand */
  qsort(v, n, sizeof *v, descending);
  for (size_t i = 0, end; i < n; i = end) {
    double r = 0, w = 0;
    for (end = i; end < n && v[end].score == v[i].score; end++) *(v[end].right ? &r : &w) += 1;
    above += w * (right + r / 2);
    right += r;
    wrong += w;
  }
  return above / (right * wrong); /* 0/0 where all are alike */
}

/* v[n] is sorted; equal scores are all in the middle. */
static void scale(response *v, size_t n) {
  double least = v[n - 1].score, spread = v[0].score - least;
  for (size_t i = 0; i < n; i++) v[i].scaled = spread > 0 ? (v[i].score - least) / spread : 0.5;
}

typedef struct {
  const eval_data *d;
  const selection *s;
  const double *score;
  response *v; /* all responses */
} work;

/* Of the subsets' items: those of section q, or of subset k alone (k >= 0). */
static bool within(const work *w, size_t subset_index, int q, int64_t k) {
  return k >= 0 ? subset_index == (size_t)k : w->d->subsets[subset_index].section == q;
}

static void measure_pairs(const work *w, const item *it, size_t from, size_t to, double count[2]) {
  const double *s = w->score + it->first;
  for (size_t k = from; k < to; k++) {
    const conflict *p = &w->d->pairs[it->first_pair + k];
    count[0] += s[p->right] > s[p->wrong];
  }
  count[1] += (double)(to - from);
}

static void measure_one(const work *w, eval_best_of *b, int q, int64_t k) {
  double all[2] = {0, 0}, sampled[2] = {0, 0};
  size_t n = 0;
  bool whole = true;
  for (size_t u = 0; u < w->d->n_subsets; u++) {
    if (!within(w, u, q, k)) continue;
    whole &= w->s->unscored[u] == 0;
    for (size_t i = w->s->start[u]; i < w->s->start[u + 1]; i++) {
      const item *it = &w->d->items[w->s->item[i]];
      response *v = w->v + n;
      for (size_t r = 0; r < it->n_branches; r++)
        v[r] = (response){.score = w->score[it->first + r], .right = w->d->right[it->first + r]};
      n += it->n_branches;
      qsort(v, it->n_branches, sizeof *v, descending);
      scale(v, it->n_branches);
      add_prompt(v, it->n_branches, b);
      measure_pairs(w, it, 0, it->n_pairs, all);
      measure_pairs(w, it, it->n_pairs, it->n_pairs + it->n_sampled, sampled);
    }
  }
  double loss = 0, max = 0, prompts = whole ? (double)b->prompts : NAN;
  for (size_t i = 0; i < b->k; i++) {
    double distance = (b->curve[i] - b->ideal[i]) / prompts;
    loss += distance * distance / (double)b->k;
    b->curve[i] *= 100 / prompts;
    b->ideal[i] *= 100 / prompts;
    max = fmax(max, b->curve[i]);
  }
  b->accuracy = whole ? 100 * all[0] / all[1] : NAN;
  b->sampled = whole ? 100 * sampled[0] / sampled[1] : NAN;
  b->auc = whole ? 100 * area(w->v, n) : NAN;
  for (size_t i = 0; i < n; i++) w->v[i].score = w->v[i].scaled;
  b->auc_scaled = whole ? 100 * area(w->v, n) : NAN;
  b->max = whole ? max : NAN;
  b->end = b->k ? b->curve[b->k - 1] : NAN;
  b->loss = loss;
}

/* Counts the prompts, and up to which K they go; false: there are none. */
static bool begin(const work *w, eval_best_of *b, int q, int64_t k) {
  b->k = SIZE_MAX;
  for (size_t u = 0; u < w->d->n_subsets; u++) {
    if (!within(w, u, q, k)) continue;
    b->prompts += w->s->start[u + 1] - w->s->start[u];
    for (size_t i = w->s->start[u]; i < w->s->start[u + 1]; i++) {
      size_t n = w->d->items[w->s->item[i]].n_branches;
      b->k = n < b->k ? n : b->k;
    }
  }
  return b->prompts > 0;
}

static rw_status add_one(eval_result *r, const work *w, int q, int64_t k, rw_error *err) {
  eval_best_of *b = &r->best[r->n_best];
  const char *const *sets = suite_specs[w->d->suite].sections;
  *b = (eval_best_of){.set = sets[q]};
  if (!begin(w, b, q, k)) return RW_OK;
  const char *model = k >= 0 ? strchr(w->d->subsets[k].name, '/') : NULL;
  if (model && !(b->model = arena_strndup(r->memory, model + 1, strlen(model + 1))))
    return rw_nomem(err, "results");
  b->curve = arena_alloc(r->memory, 2 * b->k, sizeof *b->curve);
  if (!b->curve) return rw_nomem(err, "results");
  b->ideal = b->curve + b->k;
  measure_one(w, b, q, k);
  r->n_best++;
  return RW_OK;
}

rw_status best_of_measure(eval_result *r, const eval_data *d, const selection *s, const double *score,
                          rw_error *err) {
  if (!d->right) return RW_OK;
  size_t n_sets = suite_section_count(d->suite);
  work w = {d, s, score, mem_alloc(d->n_branches, sizeof *w.v)};
  r->best = arena_alloc(r->memory, n_sets + d->n_subsets, sizeof *r->best);
  rw_status st = w.v && r->best ? RW_OK : rw_nomem(err, "results");
  for (int q = 0; !st && q < (int)n_sets; q++) {
    st = add_one(r, &w, q, -1, err);
    for (size_t k = 0; !st && k < d->n_subsets; k++)
      if (d->subsets[k].section == q && strchr(d->subsets[k].name, '/')) st = add_one(r, &w, q, (int64_t)k, err);
  }
  mem_free(w.v);
  return st;
}

/* ---- results.json ---- */

static void members(json_writer *w, const eval_best_of *b) {
  jw_uint(w, "prompts", b->prompts);
  jw_num(w, "accuracy", b->accuracy);
  jw_num(w, "sampled_accuracy", b->sampled);
  jw_num(w, "auc", b->auc);
  jw_num(w, "auc_scaled", b->auc_scaled);
  jw_num(w, "max", b->max);
  jw_num(w, "loss", b->loss);
  jw_num(w, "end", b->end);
  jw_array(w, "curve");
  for (size_t i = 0; i < b->k; i++) jw_num(w, NULL, b->curve[i]);
  jw_end(w);
  jw_array(w, "ideal");
  for (size_t i = 0; i < b->k; i++) jw_num(w, NULL, b->ideal[i]);
  jw_end(w);
}

void best_of_json(json_writer *w, const eval_result *r) {
  if (!r->n_best) return;
  jw_object(w, "best_of_k");
  for (size_t i = 0; i < r->n_best;) {
    jw_object(w, r->best[i].set);
    members(w, &r->best[i++]);
    jw_object(w, "models");
    for (; i < r->n_best && r->best[i].model; i++) {
      jw_object(w, r->best[i].model);
      members(w, &r->best[i]);
      jw_end(w);
    }
    jw_end(w);
    jw_end(w);
  }
  jw_end(w);
}

static rw_status parse_one(eval_result *r, json_doc *d, json_val v, const char *set, bool model, rw_error *err) {
  static const char *const names[] = {"accuracy", "sampled_accuracy", "auc", "auc_scaled", "max", "loss", "end"};
  eval_best_of *b = &r->best[r->n_best++];
  slice key = json_key(d, v);
  json_val curve = json_get(d, v, "curve"), ideal = json_get(d, v, "ideal");
  double prompts = 0;
  if (!json_number(d, json_get(d, v, "prompts"), &prompts) || !(prompts >= 0 && prompts < 1e12)) prompts = 0;
  *b = (eval_best_of){.set = set, .prompts = (size_t)prompts, .k = json_count(d, curve)};
  if (model && !(b->model = arena_strndup(r->memory, key.p, key.len))) return rw_nomem(err, "results");
  b->curve = arena_alloc(r->memory, 2 * b->k, sizeof *b->curve);
  if (!b->curve) return rw_nomem(err, "results");
  b->ideal = b->curve + b->k;
  double *const at[] = {&b->accuracy, &b->sampled, &b->auc, &b->auc_scaled, &b->max, &b->loss, &b->end};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!json_number(d, json_get(d, v, names[i]), at[i])) *at[i] = NAN;
  json_val c = json_first(d, curve), e = json_first(d, ideal);
  for (size_t i = 0; i < b->k; i++, c = json_next(d, c), e = e == JSON_NONE ? e : json_next(d, e)) {
    if (!json_number(d, c, &b->curve[i])) b->curve[i] = NAN;
    if (!json_number(d, e, &b->ideal[i])) b->ideal[i] = NAN;
  }
  return RW_OK;
}

rw_status best_of_parse(eval_result *r, json_doc *d, rw_error *err) {
  json_val sets = json_get(d, 0, "best_of_k");
  size_t n = json_count(d, sets);
  for (json_val v = json_first(d, sets); v != JSON_NONE; v = json_next(d, v))
    n += json_count(d, json_get(d, v, "models"));
  if (!(r->best = arena_alloc(r->memory, n, sizeof *r->best))) return rw_nomem(err, "results");
  for (json_val v = json_first(d, sets); v != JSON_NONE; v = json_next(d, v)) {
    slice key = json_key(d, v);
    const char *set = arena_strndup(r->memory, key.p, key.len);
    if (!set) return rw_nomem(err, "results");
    RW_TRY(parse_one(r, d, v, set, false, err));
    json_val models = json_get(d, v, "models");
    for (json_val m = json_first(d, models); m != JSON_NONE; m = json_next(d, m))
      RW_TRY(parse_one(r, d, m, set, true, err));
  }
  return RW_OK;
}

/* ---- for people ---- */

static const char *const columns[] = {
    "best of K", "model", ">prompts", ">conflict pairs", ">sampled pairs", ">ROC AUC", ">max", ">end", ">loss"};

static void table_row(rep_table *t, const eval_best_of *b) {
  rep_cell(t, "%s", b->set);
  rep_cell(t, "%s", b->model ? b->model : "all");
  rep_cell_int(t, (int64_t)b->prompts);
  const double v[] = {b->accuracy, b->sampled, b->auc, b->max, b->end};
  for (size_t i = 0; i < sizeof v / sizeof *v; i++) rep_cell_num(t, v[i], 1);
  rep_cell_num(t, b->loss, 4);
}

rw_status best_of_print(str *out, const eval_result *r, rw_error *err) {
  if (!r->n_best) return RW_OK;
  rep_table *t = rep_table_new(columns, sizeof columns / sizeof *columns);
  for (size_t i = 0; t && i < r->n_best; i++)
    if (!r->best[i].model) table_row(t, &r->best[i]);
  rw_status st = rep_table_print(t, out, err);
  str_addc(out, '\n');
  rep_table_free(t);
  return st;
}

/* One figure a set: a line a result, and the ideal. */
static void curves(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink, size_t n,
                   const eval_best_of *like) {
  rep_series *s = mem_zalloc(n + 1, sizeof *s);
  double *x = mem_alloc(like->k, sizeof *x);
  size_t have = 0;
  for (size_t i = 0; x && i < like->k; i++) x[i] = (double)(i + 1);
  for (size_t i = 0; s && x && i < n; i++)
    for (size_t k = 0; k < r[i]->n_best; k++) {
      const eval_best_of *b = &r[i]->best[k];
      if (b->model || strcmp(b->set, like->set) != 0 || b->k != like->k || !(b->end >= 0)) continue;
      s[have++] = (rep_series){.name = names[i], .x = x, .y = b->curve, .n = b->k, .colour = ink[i].colour};
    }
  if (s && x && have) {
    s[have++] = (rep_series){.name = "ideal", .x = x, .y = like->ideal, .n = like->k, .colour = REP_GREY};
    rep_chart c = {.title = like->set,
                   .x_label = "K",
                   .y_label = "right, percent",
                   .percent = true,
                   .caption =
                       "How often the response with the highest score among K is right; grey: how often one of "
                       "the K is."};
    rep_lines(p, &c, s, have);
  }
  mem_free(s);
  mem_free(x);
}

void best_of_page(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink,
                  size_t n) {
  for (size_t k = 0; k < r[0]->n_best; k++)
    if (!r[0]->best[k].model) curves(p, r, names, ink, n, &r[0]->best[k]);
  for (size_t i = 0; i < n; i++) {
    if (!r[i]->n_best) continue;
    rep_table *t = rep_table_new(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; t && k < r[i]->n_best; k++) table_row(t, &r[i]->best[k]);
    rep_put_table(p, t, names[i]);
    rep_table_free(t);
  }
}
