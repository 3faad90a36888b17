/* all.c - the seven-benchmark table (see all.h), and the rows that are published of it.
 *
 * Published: Table 1 of Skywork-Reward-V2 (arXiv 2507.01352), as its first revision and the project's page both
 * have it. Where the second revision has another number that one stands in `revised`. Unrounded sums are not
 * published: the averages are as printed there.
 */
#include "eval/all.h"

#include <math.h>
#include <string.h>

#include "eval/eval_int.h"

const eval_suite eval_all_suites[ALL_SUITES] = {EVAL_REWARDBENCH,     EVAL_REWARDBENCH2, EVAL_PPE_PREFERENCE,
                                                EVAL_PPE_CORRECTNESS, EVAL_RMB,          EVAL_RM_BENCH,
                                                EVAL_JUDGEBENCH};

#define NO NAN
enum { FIGURES = ALL_SUITES + 1 };
static const struct {
  const char *name;
  double percent[FIGURES]; /* the seven, then their average; NO: not given */
} published[] = {
    {"Llama-3-OffsetBias-RM-8B", {89.0, 64.8, 59.2, 64.1, 57.8, 71.3, 63.5, 67.1}},
    {"ArmoRM-Llama3-8B-v0.1", {90.4, 66.5, 60.6, 60.6, 64.6, 69.3, 59.7, 67.4}},
    {"Internlm2-20b-reward", {90.2, 56.3, 61.0, 63.0, 62.9, 68.3, 64.3, 66.6}},
    {"Skywork-Reward-Llama-3.1-8B-v0.2", {93.1, 71.8, 62.2, 62.5, 66.6, 72.1, 62.9, 70.2}},
    {"LDL-Reward-Gemma-2-27B-v0.1", {95.0, 72.5, 62.4, 63.9, 67.9, 71.1, 64.2, 71.0}},
    {"Skywork-Reward-Gemma-2-27B-v0.2", {94.3, 75.3, 63.6, 61.9, 69.4, 70.0, 66.5, 71.6}},
    {"Llama-3.1-Nemotron-70B", {93.9, 76.7, 64.2, 63.2, 64.9, 72.2, 65.8, 71.6}},
    {"INF-ORM-Llama3.1-70B", {95.1, 76.5, 64.2, 64.4, 70.5, 73.8, 70.2, 73.5}},
    {"GPT-4o", {86.7, 64.9, 67.7, NO, 73.8, NO, 59.8, NO}},
    {"Claude-3.5-Sonnet", {84.2, 64.7, 67.3, NO, 70.6, NO, 64.8, NO}},
    {"DeepSeek-GRM-27B", {88.5, NO, 65.3, 60.4, 69.0, NO, NO, NO}},
    {"DeepSeek-GRM-27B (w/ MetaRM)", {90.4, NO, 67.2, 63.2, 70.3, NO, NO, NO}},
    {"RM-R1-Qwen-Instruct-32B", {92.9, NO, NO, NO, 73.0, 79.1, NO, NO}},
    {"RM-R1-DeepSeek-Distill-Qwen-32B", {90.9, NO, NO, NO, 69.8, 83.9, NO, NO}},
    {"EvalPlanner (Llama-3.1-70B)", {93.9, NO, NO, NO, NO, 80.0, 50.9, NO}},
    {"EvalPlanner (Llama-3.3-70B)", {93.8, NO, NO, NO, NO, 82.1, 56.6, NO}},
    {"J1-Llama-8B", {85.7, NO, 60.3, 59.2, NO, 73.4, 42.0, NO}},
    {"J1-Llama-8B (Maj@32)", {NO, NO, 60.6, 61.9, NO, NO, NO, NO}},
    {"J1-Llama-70B", {93.3, NO, 66.3, 72.9, NO, 82.7, 60.0, NO}},
    {"J1-Llama-70B (Maj@32)", {NO, NO, 67.0, 73.7, NO, NO, NO, NO}},
    {"Skywork-Reward-V2-Qwen3-0.6B", {85.2, 61.3, 65.3, 68.3, 74.5, 74.4, 67.6, 70.9}},
    {"Skywork-Reward-V2-Qwen3-1.7B", {90.3, 68.3, 67.6, 70.5, 78.1, 78.7, 72.9, 75.2}},
    {"Skywork-Reward-V2-Qwen3-4B", {93.4, 75.5, 69.5, 74.7, 80.6, 81.6, 69.3, 77.8}},
    {"Skywork-Reward-V2-Qwen3-8B", {93.7, 78.2, 70.6, 75.1, 81.2, 82.6, 73.4, 79.3}},
    {"Skywork-Reward-V2-Llama-3.2-1B", {89.9, 64.3, 66.6, 67.4, 76.7, 76.4, 65.0, 72.3}},
    {"Skywork-Reward-V2-Llama-3.2-3B", {93.0, 74.7, 69.1, 72.1, 80.5, 81.1, 69.2, 77.1}},
    {"Skywork-Reward-V2-Llama-3.1-8B", {96.4, 84.1, 77.3, 83.4, 86.4, 92.8, 80.0, 85.8}},
    {"Skywork-Reward-V2-Llama-3.1-8B-40M", {97.8, 86.5, 79.8, 87.2, 89.3, 96.0, 83.4, 88.6}},
};
enum { PUBLISHED = sizeof published / sizeof *published };

/* What the later revision gives instead. */
static const struct {
  int row, figure;
  double percent;
} revised[] = {{1, 5, 69.2}, {2, 5, 72.1}, {2, 7, 67.1}, {3, 5, 64.7}, {3, 7, 69.1},  {4, 5, 71.0},
               {5, 5, 67.6}, {5, 7, 71.2}, {7, 5, 75.4}, {7, 7, 73.8}, {8, 3, 67.1},  {8, 5, 73.1},
               {8, 7, 70.4}, {9, 3, 69.2}, {9, 5, 74.5}, {9, 7, 70.8}, {22, 6, 69.5}, {24, 5, 76.3}};
enum { REVISED = sizeof revised / sizeof *revised, OTHERS = 10 /* rows in it */ };

static const char *const heads[] = {"model", ">RewardBench", ">RewardBench 2", ">PPE Pref", ">PPE Corr",
                                    ">RMB",  ">RM-Bench",    ">JudgeBench",    ">Avg."};

void eval_all_free(eval_all *a) {
  for (size_t k = 0; k < ALL_SUITES; k++) {
    eval_result_free(&a->result[k]);
    str_free(&a->json[k]);
  }
  arena_free(a->memory);
}

double eval_all_figure(const eval_all *a, size_t k) {
  if (!a->have[k]) return NAN;
  return eval_all_suites[k] == EVAL_JUDGEBENCH ? eval_macro(&a->result[k]) : a->result[k].overall.percent;
}

double eval_all_average(const eval_all *a, size_t *n) {
  double sum = 0;
  *n = 0;
  for (size_t k = 0; k < ALL_SUITES; k++) {
    double v = eval_all_figure(a, k);
    if (isnan(v)) continue;
    sum += v;
    ++*n;
  }
  return sum / (double)*n; /* 0/0: none */
}

/* Rows of the benchmark, whatever became of them. */
static size_t items_of(const eval_result *r) { return r->n_items + r->dropped + r->n_unscored + r->aside; }

/* Is the figure one of other items than the published ones? */
static bool of_others(const eval_all *a, size_t k) {
  const eval_result *r = &a->result[k];
  return a->have[k] && (items_of(r) != eval_suite_size(r->suite) || r->dropped > 0);
}

/* ---- results.json ---- */

static void figures_json(json_writer *w, const double *v) {
  for (size_t k = 0; k < ALL_SUITES; k++) jw_num(w, eval_suite_words[eval_all_suites[k]].text, v[k]);
  jw_num(w, "average", v[ALL_SUITES]);
}

static void published_json(json_writer *w) {
  jw_object(w, "published");
  jw_string(w, "from", "Skywork-Reward-V2, arXiv 2507.01352, Table 1");
  jw_array(w, "rows");
  for (int i = 0; i < PUBLISHED; i++) {
    jw_object(w, NULL);
    jw_string(w, "model", published[i].name);
    figures_json(w, published[i].percent);
    double other[FIGURES];
    bool any = false;
    for (int k = 0; k < FIGURES; k++) other[k] = published[i].percent[k];
    for (int k = 0; k < REVISED; k++)
      if (revised[k].row == i) any = true, other[revised[k].figure] = revised[k].percent;
    if (any) {
      jw_object(w, "later_revision");
      figures_json(w, other);
      jw_end(w);
    }
    jw_end(w);
  }
  jw_end(w);
  jw_end(w);
}

void eval_all_json(json_writer *w, const eval_all *a) {
  size_t n;
  double average = eval_all_average(a, &n);
  jw_string(w, "suite", "all");
  jw_string(w, "unit", "percent");
  jw_num(w, "average", average);
  jw_bool(w, "complete", n == ALL_SUITES);
  jw_array(w, "average_over");
  for (size_t k = 0; k < ALL_SUITES; k++)
    if (!isnan(eval_all_figure(a, k))) jw_string(w, NULL, eval_suite_words[eval_all_suites[k]].text);
  jw_end(w);
  jw_object(w, "benchmarks");
  for (size_t k = 0; k < ALL_SUITES; k++) {
    eval_suite s = eval_all_suites[k];
    jw_object(w, eval_suite_words[s].text);
    jw_num(w, "percent", eval_all_figure(a, k));
    jw_bool(w, "complete", !isnan(eval_all_figure(a, k)));
    jw_uint(w, "items", a->have[k] ? items_of(&a->result[k]) : 0);
    jw_uint(w, "published_items", eval_suite_size(s));
    if (a->why[k]) jw_string(w, "error", a->why[k]);
    if (a->have[k])
      jw_raw(w, "result", (slice){a->json[k].p, a->json[k].len});
    else
      jw_null(w, "result");
    jw_end(w);
  }
  jw_end(w);
  published_json(w);
}

/* ---- for people ---- */

static rep_table *table(const eval_all *a, const char *name) {
  rep_table *t = rep_table_new(heads, sizeof heads / sizeof *heads);
  for (int i = 0; t && i < PUBLISHED; i++) {
    rep_cell(t, "%s", published[i].name);
    for (int k = 0; k < FIGURES; k++) rep_cell_num(t, published[i].percent[k], 1);
  }
  size_t n;
  double average = eval_all_average(a, &n);
  rep_total(t);
  rep_cell(t, "%s", name);
  for (size_t k = 0; k < ALL_SUITES; k++) {
    double v = eval_all_figure(a, k);
    if (isnan(v))
      rep_cell(t, "%s", a->have[k] ? "incomplete" : "-");
    else
      rep_cell(t, "%.1f%s", v, of_others(a, k) ? "*" : "");
  }
  if (n == ALL_SUITES || n == 0)
    rep_cell_num(t, average, 1);
  else
    rep_cell(t, "%.1f (of %zu)", average, n);
  return t;
}

static void count(str *out, size_t n) { rep_num(out, (double)n, 0); }

/* What the table cannot say: a sentence a line. */
static void remarks(str *out, const eval_all *a) {
  size_t n, marked = 0;
  eval_all_average(a, &n);
  if (n < ALL_SUITES) {
    str_printf(out, "Not complete, and in no average:");
    for (size_t k = 0; k < ALL_SUITES; k++) {
      const eval_result *r = &a->result[k];
      if (!isnan(eval_all_figure(a, k))) continue;
      str_printf(out, " %s (", eval_suite_words[eval_all_suites[k]].text);
      if (!a->have[k])
        str_printf(out, "%s", a->why[k] ? a->why[k] : "no rows");
      else if (r->n_unscored)
        str_printf(out, "%zu items without a score", r->n_unscored);
      for (size_t i = 0; a->have[k] && i < r->n_missing; i++)
        str_printf(out, "%s%s", i ? ", " : r->n_unscored ? "; without rows: " : "without rows: ", r->missing[i]);
      str_addz(out, r->n_missing || r->n_unscored || !a->have[k] ? ");" : "a section without rows);");
    }
    if (!out->oom) out->p[out->len - 1] = '.';
    str_printf(out, "\nThe average is over %zu of the %d benchmarks, so none of the published averages compares.\n",
               n, ALL_SUITES);
  }
  for (size_t k = 0; k < ALL_SUITES; k++) {
    if (!of_others(a, k)) continue;
    str_printf(out, "%s%s ", marked++ ? ", " : "* Of other items than the published figures: ",
               eval_suite_words[eval_all_suites[k]].text);
    count(out, items_of(&a->result[k]) - a->result[k].dropped);
    str_addz(out, " instead of ");
    count(out, eval_suite_size(eval_all_suites[k]));
  }
  if (marked) str_addz(out, ".\n");
  str_addz(
      out,
      "Published: Table 1 of Skywork-Reward-V2 (arXiv 2507.01352). JudgeBench is the mean of its four sections "
      "there and here, PPE Corr the mean of five accuracies.\n");
}

/* The cells that a later revision of the table has otherwise. */
static void revisions(str *out) {
  str_addz(out, "A later revision of the table has other numbers for");
  for (int i = 0, last = -1; i < REVISED; i++) {
    const char *figure = heads[1 + revised[i].figure] + 1;
    if (revised[i].row != last) str_printf(out, "%s %s:", last < 0 ? "" : ";", published[revised[i].row].name);
    str_printf(out, "%s %s %.1f", revised[i].row == last ? "," : "", figure, revised[i].percent);
    last = revised[i].row;
  }
  str_addz(out, ".\n");
}

rw_status eval_all_print(str *out, const eval_all *a, const char *name, rw_error *err) {
  rep_table *t = table(a, name);
  rw_status st = rep_table_print(t, out, err);
  rep_table_free(t);
  str_addc(out, '\n');
  if (!st && !out->oom) remarks(out, a);
  str_printf(
      out,
      "Of %d of these rows a later revision of the table has other numbers, which the page and the JSON have.\n",
      OTHERS);
  return st ? st : out->oom ? rw_nomem(err, "table") : RW_OK;
}

void eval_all_page(rep_page *p, const eval_all *a, const char *name) {
  str text = {0};
  rep_table *t = table(a, name);
  rep_section(p, "Seven benchmarks");
  rep_put_table(p, t, "Percent.");
  rep_table_free(t);
  str_addz(&text, ""); /* text.p is there */
  remarks(&text, a);
  revisions(&text);
  for (char *line = text.oom ? NULL : text.p, *end; line && (end = strchr(line, '\n')); line = end + 1) {
    *end = 0;
    rep_note(p, "%s", line);
  }
  str_free(&text);
  for (size_t k = 0; k < ALL_SUITES; k++) {
    const eval_result *r = &a->result[k];
    if (!a->have[k]) continue;
    rep_section(p, "%s", eval_suite_words[r->suite].text);
    eval_page(p, &r, &name, NULL, 1);
  }
}
