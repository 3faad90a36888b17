/* statistics_show.c - the counts as JSON and as tables, the report's own numbers beside them. */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "curate/statistics.h"
#include "report/report.h"

/* The report's own numbers (arXiv 2410.18451, Table 1 and the task categories of its 80K set); the last are all. */
typedef struct {
  const char *source;
  int pairs_378k, pairs_80k;
  double turns, prompt, response;
} published_source;
static const published_source published[] = {
    {"helpsteer2", 7221, 7221, 3.9, 21.3, 690.0},       {"offsetbias", 8504, 8504, 2, 69.1, 222.1},
    {"wildguardmix", 18548, 6709, 2, 164.3, 349.9},     {"magpie-ultra", 50000, 27785, 2, 76.7, 670.0},
    {"magpie-pro-llama3", 98000, 2030, 2, 34.2, 621.5}, {"magpie-pro-llama3.1", 98000, 29682, 2, 118.8, 584.3},
    {"magpie-air", 98000, 42, 2, 66.6, 240.0},          {"all", 378273, 81973, 2.2, 96.3, 527.2}};
static const struct {
  const char *name;
  int pairs;
} published_categories[] = {{"Math", 29657},          {"Coding & debugging", 8193}, {"Information seeking", 7837},
                            {"Advice seeking", 4546}, {"Reasoning", 3854},          {"Planning", 2185},
                            {"Brainstorming", 1081},  {"Creative writing", 794},    {"Data analysis", 725},
                            {"Editing", 337},         {"Role playing", 330},        {"all", 59539}};
enum {
  N_PUBLISHED = sizeof published / sizeof *published - 1,
  N_PUBLISHED_CATEGORIES = sizeof published_categories / sizeof *published_categories - 1
};

/* NULL: the report has no such source. */
static const published_source *published_of(slice name) {
  for (size_t i = 0; i < N_PUBLISHED; i++)
    if (slice_is(name, published[i].source)) return &published[i];
  return NULL;
}

/* Pairs of a category in the report's 80K set; 0: it names none such. */
static int published_pairs(slice category) {
  for (size_t i = 0; i < N_PUBLISHED_CATEGORIES; i++) {
    const char *name = published_categories[i].name;
    if (strlen(name) == category.len && strncasecmp(name, category.p, category.len) == 0)
      return published_categories[i].pairs;
  }
  return 0;
}

/* What of the report stands beside these rows. Its categories are of Magpie's sources; its sums only stand beside
 * the same sources or categories, all of them and no others. */
typedef struct {
  bool sources, all_sources, categories, all_categories;
} beside;

static beside what_beside(const statistics *s) {
  beside b = {0};
  size_t sources = 0, categories = 0;
  for (size_t i = 0; i < s->n_sources; i++) {
    const published_source *p = published_of(s->sources[i]);
    sources += p != NULL;
    if (p && strncmp(p->source, "magpie-", 7) == 0) b.categories = true;
  }
  for (size_t i = 0; i < s->n_categories; i++) categories += published_pairs(s->categories[i]) > 0;
  b.sources = sources > 0;
  b.all_sources = sources == N_PUBLISHED && s->n_sources == N_PUBLISHED;
  b.categories = b.categories && categories > 0;
  b.all_categories = b.categories && categories == N_PUBLISHED_CATEGORIES && s->n_categories == categories;
  return b;
}

static void published_json(json_writer *w, const char *name, const published_source *p) {
  jw_object(w, name);
  jw_int(w, "pairs_378k", p->pairs_378k);
  jw_int(w, "pairs_80k", p->pairs_80k);
  jw_num(w, "mean_turns", p->turns);
  jw_num(w, "mean_prompt_tokens", p->prompt);
  jw_num(w, "mean_response_tokens", p->response);
  jw_end(w);
}

static void report_json(json_writer *w, const statistics *s) {
  beside b = what_beside(s);
  if (!b.sources) return;
  jw_object(w, "report");
  jw_object(w, "sources");
  for (size_t i = 0; i < s->n_sources; i++) {
    const published_source *p = published_of(s->sources[i]);
    if (p) published_json(w, p->source, p);
  }
  jw_end(w);
  if (b.all_sources) published_json(w, "all", &published[N_PUBLISHED]);
  jw_object(w, "task_categories");
  for (size_t i = 0; b.categories && i < s->n_categories; i++) {
    int pairs = published_pairs(s->categories[i]);
    if (pairs == 0) continue;
    jw_key(w, s->categories[i]);
    jw_int(w, NULL, pairs);
  }
  jw_end(w);
  jw_end(w);
}

static void sum_json(json_writer *w, slice name, const statistics_sum *t) {
  double n = (double)t->pairs; /* without pairs there is no mean: NaN */
  jw_key(w, name);
  jw_object(w, NULL);
  jw_uint(w, "pairs", t->pairs);
  jw_num(w, "mean_turns", t->turns / n);
  jw_num(w, "mean_prompt_tokens", t->prompt / n);
  jw_num(w, "mean_response_tokens", t->response / n);
  jw_end(w);
}

void statistics_json(const statistics *s, json_writer *w) {
  jw_object(w, NULL);
  jw_object(w, "sources");
  for (size_t i = 0; i < s->n_sources; i++) sum_json(w, s->sources[i], &s->by_source[i]);
  jw_end(w);
  sum_json(w, SLICE("all"), &s->all);
  jw_object(w, "task_categories");
  for (size_t i = 0; i < s->n_categories; i++) {
    jw_key(w, s->categories[i]);
    jw_uint(w, NULL, s->by_category[i]);
  }
  jw_end(w);
  report_json(w, s);
  jw_end(w);
}

static rep_table *source_table(const statistics *s, beside b) {
  static const char *const alone[] = {"source", ">pairs", ">mean turns", ">prompt tokens", ">response tokens"},
                           *const both[] = {"source",           ">pairs",  ">of 378K",       ">of 80K",
                                            ">mean turns",      ">report", ">prompt tokens", ">report",
                                            ">response tokens", ">report"};
  rep_table *t = b.sources ? rep_table_new(both, 10) : rep_table_new(alone, 5);
  for (size_t i = 0; i <= s->n_sources; i++) {
    bool all = i == s->n_sources;
    const statistics_sum *y = all ? &s->all : &s->by_source[i];
    const published_source *p = !all ? published_of(s->sources[i]) : b.all_sources ? &published[N_PUBLISHED] : NULL;
    double n = (double)y->pairs;
    if (all) rep_total(t);
    rep_cell_text(t, all ? SLICE("all") : s->sources[i].len ? s->sources[i] : SLICE("(none)"));
    rep_cell_int(t, (int64_t)y->pairs);
    if (b.sources) rep_cell_num(t, p ? p->pairs_378k : NAN, 0);
    if (b.sources) rep_cell_num(t, p ? p->pairs_80k : NAN, 0);
    rep_cell_num(t, y->turns / n, 1);
    if (b.sources) rep_cell_num(t, p ? p->turns : NAN, 1);
    rep_cell_num(t, y->prompt / n, 1);
    if (b.sources) rep_cell_num(t, p ? p->prompt : NAN, 1);
    rep_cell_num(t, y->response / n, 1);
    if (b.sources) rep_cell_num(t, p ? p->response : NAN, 1);
  }
  return t;
}

static rep_table *category_table(const statistics *s, beside b) {
  rep_table *t = rep_table_new((const char *[]){"task category", ">pairs", ">report"}, b.categories ? 3 : 2);
  size_t sum = 0;
  for (size_t i = 0; i < s->n_categories; i++) {
    int pairs = published_pairs(s->categories[i]);
    rep_cell_text(t, s->categories[i]);
    rep_cell_int(t, (int64_t)s->by_category[i]);
    if (b.categories) rep_cell_num(t, pairs > 0 ? pairs : NAN, 0);
    sum += s->by_category[i];
  }
  if (b.all_categories) {
    rep_total(t);
    rep_cell_text(t, SLICE("all"));
    rep_cell_int(t, (int64_t)sum);
    rep_cell_int(t, published_categories[N_PUBLISHED_CATEGORIES].pairs);
  }
  return t;
}

rw_status statistics_tables(const statistics *s, str *out, rw_error *err) {
  beside b = what_beside(s);
  rep_table *t = source_table(s, b);
  rw_status st = rep_table_print(t, out, err);
  rep_table_free(t);
  if (!st && s->n_categories) {
    t = category_table(s, b);
    str_addc(out, '\n');
    st = rep_table_print(t, out, err);
    rep_table_free(t);
  }
  if (b.sources)
    str_addz(out,
             "\nof 378K, of 80K, report: the Skywork-Reward report's own numbers (Preference 378K, 80K v0.1)\n");
  return st;
}
