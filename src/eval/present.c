/* present.c - results for people: a table for the terminal, bars and tables for a page. */
#include <string.h>

#include "eval/eval_int.h"

static void figure_row(rep_table *t, const eval_figure *f) {
  rep_cell(t, "%s", f->name);
  rep_cell_num(t, f->percent, 1);
  if (isnan(f->lo))
    rep_cell(t, "-");
  else
    rep_cell(t, "%.1f - %.1f", f->lo, f->hi);
  rep_cell_num(t, f->baseline, 1);
}

static void sections_table(rep_table *t, const eval_result *r) {
  for (size_t i = 0; i < r->n_sections; i++) figure_row(t, &r->sections[i]);
  for (int l = 0; r->suite == EVAL_RM_BENCH && l < LEVELS; l++) figure_row(t, &r->level[l]);
  rep_total(t);
  figure_row(t, &r->overall);
  if (r->suite == EVAL_JUDGEBENCH) {
    rep_cell(t, "macro: mean of sections");
    rep_cell_num(t, eval_macro(r), 1);
    rep_cell(t, "%s", "");
    rep_cell(t, "%s", "");
  }
  if (r->n_sections && !suite_specs[r->suite].over_items) figure_row(t, &r->items);
}

/* "12", or "11 of 12" where an item has no score. */
static void items_cell(rep_table *t, const eval_subset *u) {
  if (u->unscored)
    rep_cell(t, "%zu of %zu", u->n, u->n + u->unscored);
  else
    rep_cell_int(t, (int64_t)u->n);
}

static void subsets_table(rep_table *t, const eval_result *r) {
  for (size_t i = 0; i < r->n_subsets; i++) {
    const eval_subset *u = &r->subsets[i];
    rep_cell(t, "%s", u->name);
    rep_cell(t, "%s", u->section ? u->section : "");
    items_cell(t, u);
    rep_cell_num(t, u->correct, u->correct == floor(u->correct) ? 0 : 2);
    rep_cell_num(t, u->accuracy, 1);
    rep_cell_num(t, u->baseline, 1);
  }
}

/* The table for a terminal has no lines of RMB's 98 categories. */
static bool has_subset_table(const eval_result *r) { return r->suite != EVAL_RMB; }

static const char *const section_columns[] = {"", ">percent", ">95% interval", ">length baseline"};
static const char *const subset_columns[] = {"subset",   "section",  ">items",
                                             ">correct", ">percent", ">length baseline"};

enum { NAMED = 3 }; /* how many unscored items the sentences name; results.json names all */

/* Why overall is missing, and how the items went: sentences after the tables. */
static void remarks(str *out, const eval_result *r) {
  if (r->n_missing) {
    str_addz(out, "Without rows: ");
    for (size_t i = 0; i < r->n_missing; i++) str_printf(out, "%s%s", i ? ", " : "", r->missing[i]);
    str_addz(out, "; so no figure that needs them is given. ");
  }
  if (r->n_unscored) {
    str_printf(out, "Without a score: %zu of %zu items (", r->n_unscored, r->n_items + r->n_unscored);
    for (size_t i = 0; i < r->n_unscored && i < NAMED; i++) {
      const eval_unscored *u = &r->unscored[i];
      str_printf(out, "%s%s, ", i ? "; " : "", u->subset);
      if (u->id) str_printf(out, "id %.60s, ", u->id);
      str_printf(out, "%s:%llu: %s", u->path, (unsigned long long)u->line, u->why);
    }
    str_addz(out, r->n_unscored > NAMED ? "; …); so no figure that needs them is given. "
                                        : "); so no figure that needs them is given. ");
  }
  str_printf(out, "Items %zu, ties %zu of %zu comparisons", r->n_items, r->ties, r->comparisons);
  if (r->aside) str_printf(out, ", rows without a preference %zu", r->aside);
  if (r->truncated) str_printf(out, ", truncated %zu", r->truncated);
  if (r->dropped) str_printf(out, ", dropped as too long %zu", r->dropped);
  str_addz(out, ".");
  const eval_judge *j = &r->judge;
  if (j->comparisons)
    str_printf(
        out,
        " Judge, %zu comparisons asked in both orders: won %zu, lost %zu, tied %zu, swapped with the order %zu, "
        "refused %zu, unparsable %zu. Of its answers %zu named the first reply and %zu the second.",
        j->comparisons, j->won, j->lost, j->tied, j->swapped, j->refused, j->unparsable, j->said_first,
        j->said_second);
  if (j->ratings) str_printf(out, " Ratings %zu.", j->ratings);
  if (j->said_cut) str_printf(out, " Cut off at their length limit before a verdict: %zu answers.", j->said_cut);
}

rw_status eval_print(str *out, const eval_result *r, rw_error *err) {
  rep_table *t = rep_table_new(subset_columns, 6), *s = rep_table_new(section_columns, 4);
  if (t) subsets_table(t, r);
  if (s) sections_table(s, r);
  rw_status st = has_subset_table(r) ? rep_table_print(t, out, err) : RW_OK;
  if (has_subset_table(r)) str_addc(out, '\n');
  if (!st) st = best_of_print(out, r, err);
  if (!st) st = rep_table_print(s, out, err);
  str_addc(out, '\n');
  remarks(out, r);
  str_addc(out, '\n');
  rep_table_free(t);
  rep_table_free(s);
  return st ? st : out->oom ? rw_nomem(err, "table") : RW_OK;
}

/* Table 2 of the Skywork-Reward report (arXiv 2410.18451). */
static const char *const published_figures[5] = {"overall", "Chat", "Chat Hard", "Safety", "Reasoning"};
static const struct {
  const char *name;
  double percent[5];
} published[] = {
    {"Skywork-Reward-Gemma-2-27B-v0.2", {94.3, 96.1, 89.9, 93.0, 98.1}},
    {"Skywork-Reward-Gemma-2-27B", {93.8, 95.8, 91.4, 92.0, 96.1}},
    {"Skywork-Reward-Llama-3.1-8B-v0.2", {93.1, 94.7, 88.4, 92.7, 96.7}},
    {"SFR-LLaMa-3.1-70B-Judge-I", {92.7, 96.9, 84.8, 91.6, 97.6}},
    {"Gemma-2-27B + Preference 378K", {92.6, 94.4, 87.5, 91.9, 96.7}},
    {"Skywork-Reward-Llama-3.1-8B", {92.5, 95.8, 87.3, 90.6, 96.2}},
    {"Nemotron-4-340B-Reward", {92.2, 95.8, 87.1, 92.2, 93.6}},
    {"Llama-3.1-8B + Preference 378K", {91.8, 94.6, 84.5, 91.5, 96.5}},
    {"ArmoRM-Llama3-8B-v0.1", {90.8, 96.9, 76.8, 92.2, 97.3}},
    {"SFR-nemo-12B-Judge-r", {90.3, 97.2, 82.2, 86.5, 95.1}},
    {"InternLM2-20B-Reward", {90.2, 98.9, 76.5, 89.9, 95.8}},
    {"Llama-3-OffsetBias-RM-8B", {89.4, 97.2, 81.8, 86.8, 91.9}},
    {"Gemma-2-27B + Preference 700K", {88.1, 97.5, 71.7, 90.0, 93.4}},
    {"Llama-3.1-8B + Preference 700K", {86.9, 98.0, 67.3, 89.4, 93.0}},
    {"gemini-1.5-pro-0924", {86.8, 94.1, 77.0, 85.8, 90.2}},
    {"gpt-4o-2024-08-06", {86.7, 96.1, 76.1, 88.1, 86.6}},
};
enum { PUBLISHED = sizeof published / sizeof *published };

/* ---- the page ---- */

enum { MOST_BARS = 40, REWARDBENCH_ITEMS = 2985 };

/* The k-th figure that has a bar: overall (where it is missing: all items), the sections, rm-bench's levels. */
static const eval_figure *figure_at(const eval_result *r, size_t k) {
  if (k == 0) return isnan(r->overall.percent) && !isnan(r->items.percent) ? &r->items : &r->overall;
  return k <= r->n_sections ? &r->sections[k - 1] : &r->level[k - 1 - r->n_sections];
}

static size_t figure_count(const eval_result *r) {
  return 1 + r->n_sections + (r->suite == EVAL_RM_BENCH ? LEVELS : 0);
}

/* A result's figure of that name (JudgeBench's sections may differ between data sets); NULL: none. */
static const eval_figure *figure_named(const eval_result *r, const char *name) {
  for (size_t k = 0; k < figure_count(r); k++)
    if (strcmp(figure_at(r, k)->name, name) == 0) return figure_at(r, k);
  return strcmp(name, "items") == 0 ? &r->items : strcmp(name, "overall") == 0 ? &r->overall : NULL;
}

static rep_bar bar_named(const eval_result *r, const char *name) {
  const eval_figure *f = figure_named(r, name);
  return f ? (rep_bar){.value = f->percent, .lo = f->lo, .hi = f->hi} : (rep_bar){.value = NAN};
}

static const eval_subset *subset_named(const eval_result *r, const char *name) {
  for (size_t k = 0; k < r->n_subsets; k++)
    if (strcmp(r->subsets[k].name, name) == 0) return &r->subsets[k];
  return NULL;
}

/* The page then fails for memory when it is written. */
static void page_oom(rep_page *p) { rep_put_table(p, NULL, NULL); }

static bool any_given(const eval_result *const *r, size_t n, const char *name) {
  for (size_t i = 0; i < n; i++)
    if (!isnan(bar_named(r[i], name).value)) return true;
  return false;
}

static void section_bars(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink,
                         size_t n) {
  size_t all = figure_count(r[0]), have = 0;
  const char **labels = mem_alloc(all, sizeof *labels), **series = mem_alloc(n + 1, sizeof *series);
  rep_bar *bars = mem_alloc(all, (n + 1) * sizeof *bars);
  if (labels && series && bars) {
    for (size_t i = 0; i < n; i++) series[i] = names[i];
    series[n] = "length baseline";
    for (size_t k = 0; k < all; k++) {
      const eval_figure *f = figure_at(r[0], k);
      if (!any_given(r, n, f->name)) continue;
      for (size_t i = 0; i < n; i++) {
        bars[have * (n + 1) + i] = bar_named(r[i], f->name);
        bars[have * (n + 1) + i].ink = ink[i];
      }
      bars[have * (n + 1) + n] = (rep_bar){.value = f->baseline, .muted = true};
      labels[have++] = f->name;
    }
    rep_chart c = {.title = eval_suite_words[r[0]->suite].text,
                   .y_max = 100,
                   .decimals = 1,
                   .caption =
                       "Percent, with 95% bootstrap intervals (items drawn again within subsets). Grey: the same "
                       "formula when a response's score is its length."};
    rep_bars(p, &c, labels, have, series, n + 1, bars);
  } else {
    page_oom(p);
  }
  mem_free(labels);
  mem_free(series);
  mem_free(bars);
}

/* The subsets' bars, for suites whose sections do not show them (pairs: by source). */
static void subset_bars(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink,
                        size_t n) {
  size_t n_subsets = r[0]->n_subsets;
  const char **labels = mem_alloc(n_subsets, sizeof *labels);
  rep_bar *bars = mem_zalloc(n_subsets, n * sizeof *bars);
  if (labels && bars) {
    for (size_t k = 0; k < n_subsets; k++) {
      labels[k] = r[0]->subsets[k].name;
      for (size_t i = 0; i < n; i++) {
        const eval_subset *u = subset_named(r[i], labels[k]);
        bars[k * n + i] = (rep_bar){.value = u ? u->accuracy : NAN, .ink = ink[i]};
      }
    }
    rep_chart c = {.title = "By source", .y_max = 100, .decimals = 1, .caption = "Percent of each source's items."};
    rep_bars(p, &c, labels, n_subsets, names, n, bars);
  } else {
    page_oom(p);
  }
  mem_free(labels);
  mem_free(bars);
}

/* One panel a figure, all on one scale: this page's models among the published systems, best first. */
static void published_dots(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink,
                           size_t n) {
  size_t total = n + PUBLISHED;
  const char **labels = mem_alloc(total, sizeof *labels);
  rep_bar *bars = mem_alloc(total, sizeof *bars);
  double least = 100;
  for (size_t k = 0; k < 5; k++) {
    for (size_t i = 0; i < PUBLISHED; i++) least = fmin(least, published[i].percent[k]);
    for (size_t i = 0; i < n; i++) least = fmin(least, bar_named(r[i], published_figures[k]).value);
  }
  least = floor(least / 10) * 10;
  for (size_t k = 0; labels && bars && k < 5; k++) {
    size_t have = 0;
    for (size_t i = 0; i < total; i++) {
      rep_bar b = i < n ? bar_named(r[i], published_figures[k])
                        : (rep_bar){.value = published[i - n].percent[k], .muted = true};
      if (isnan(b.value)) continue;
      if (i < n) b.ink = ink[i];
      size_t at = have++;
      for (; at > 0 && bars[at - 1].value < b.value; at--) bars[at] = bars[at - 1], labels[at] = labels[at - 1];
      bars[at] = b;
      labels[at] = i < n ? names[i] : published[i - n].name;
    }
    rep_chart c = {.title = published_figures[k], .y_min = least, .y_max = 100, .decimals = 1, .dots = true};
    rep_bars(p, &c, labels, have, NULL, 1, bars);
  }
  if (!labels || !bars) page_oom(p);
  mem_free(labels);
  mem_free(bars);
}

/* Table 2 itself, below the results at hand. */
static void published_table(rep_page *p, const eval_result *const *r, const char *const *names, size_t n) {
  rep_table *t =
      rep_table_new((const char *[]){"system", ">overall", ">Chat", ">Chat Hard", ">Safety", ">Reasoning"}, 6);
  for (size_t i = 0; i < n; i++) {
    rep_cell(t, "%s (this page)", names[i]);
    for (size_t k = 0; k < 5; k++) rep_cell_num(t, bar_named(r[i], published_figures[k]).value, 1);
  }
  for (size_t i = 0; i < PUBLISHED; i++) {
    rep_cell(t, "%s", published[i].name);
    for (size_t k = 0; k < 5; k++) rep_cell_num(t, published[i].percent[k], 1);
  }
  rep_put_table(p, t, "RewardBench, percent: Table 2 of the report");
  rep_table_free(t);
}

/* A table with a column a result between the columns before and the length baseline. */
static rep_table *results_table(const char *const *before, size_t n_before, const char *const *names, size_t n) {
  const char **columns = mem_alloc(n_before + n + 1, sizeof *columns);
  char **heads = mem_zalloc(n + 1, sizeof *heads);
  rep_table *t = NULL;
  if (columns && heads) {
    bool oom = false;
    for (size_t i = 0; i < n_before; i++) columns[i] = before[i];
    for (size_t i = 0; i < n; i++) {
      columns[n_before + i] = heads[i] = mem_printf(">%s", names[i]);
      oom |= !heads[i];
    }
    columns[n_before + n] = ">length baseline";
    if (!oom) t = rep_table_new(columns, n_before + n + 1);
  }
  for (size_t i = 0; heads && i < n; i++) mem_free(heads[i]);
  mem_free(heads);
  mem_free(columns);
  return t;
}

static void page_figure(rep_table *t, const eval_result *const *r, size_t n, const char *name) {
  rep_cell(t, "%s", name);
  for (size_t i = 0; i < n; i++) {
    const rep_bar b = bar_named(r[i], name);
    if (isnan(b.value))
      rep_cell(t, "-");
    else if (b.lo < b.hi)
      rep_cell(t, "%.1f (%.1f - %.1f)", b.value, b.lo, b.hi);
    else
      rep_cell(t, "%.1f", b.value);
  }
  const eval_figure *f = figure_named(r[0], name);
  rep_cell_num(t, f ? f->baseline : NAN, 1);
}

static void page_tables(rep_page *p, const eval_result *const *r, const char *const *names, size_t n) {
  rep_table *t = results_table((const char *[]){"percent (95% interval)"}, 1, names, n);
  for (size_t k = 1; k < figure_count(r[0]); k++) page_figure(t, r, n, figure_at(r[0], k)->name);
  rep_total(t);
  page_figure(t, r, n, "overall");
  if (r[0]->n_sections && !suite_specs[r[0]->suite].over_items) page_figure(t, r, n, "items");
  rep_put_table(p, t, NULL);
  rep_table_free(t);
  t = results_table((const char *[]){"subset", "section", ">items"}, 3, names, n);
  for (size_t k = 0; k < r[0]->n_subsets; k++) {
    const eval_subset *u = &r[0]->subsets[k];
    rep_cell(t, "%s", u->name);
    rep_cell(t, "%s", u->section ? u->section : "");
    items_cell(t, u);
    for (size_t i = 0; i < n; i++) {
      const eval_subset *of = subset_named(r[i], u->name);
      rep_cell_num(t, of ? of->accuracy : NAN, 1);
    }
    rep_cell_num(t, u->baseline, 1);
  }
  rep_put_table(p, t, NULL);
  rep_table_free(t);
}

/* The systems of Table 2, beside those results that are of the same items: figures of others say nothing there. */
static void beside_published(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink,
                             size_t n) {
  const eval_result **same = mem_alloc(n, sizeof *same);
  const char **name = mem_alloc(n, sizeof *name);
  rep_ink *colour = mem_alloc(n, sizeof *colour);
  str others = {0};
  size_t have = 0;
  bool ok = same && name && colour;
  for (size_t i = 0; ok && i < n; i++) {
    size_t items = r[i]->n_items + r[i]->dropped + r[i]->n_unscored;
    if (items != REWARDBENCH_ITEMS) {
      str_printf(&others, "%s%s: %zu", others.len ? ", " : "", names[i], items);
    } else if (any_given(&r[i], 1, "overall")) {
      same[have] = r[i], name[have] = names[i], colour[have] = ink[i];
      have++;
    }
  }
  if (!ok || others.oom) page_oom(p);
  if (others.len)
    rep_note(p,
             "The systems of the report's Table 2 stand beside results of the published 2,985 items; not of others "
             "(%s).",
             others.p);
  if (ok && have > 0) {
    rep_text(p, "Beside the systems of Table 2 of the Skywork-Reward report (grey; figures as published).");
    published_dots(p, same, name, colour, have);
    published_table(p, same, name, have);
  }
  str_free(&others);
  mem_free(same);
  mem_free(name);
  mem_free(colour);
}

void eval_page(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink, size_t n) {
  rep_ink *plain = mem_zalloc(n, sizeof *plain);
  if (!plain) {
    page_oom(p);
    return;
  }
  for (size_t i = 0; i < n; i++) plain[i].colour = (int)i + 1;
  if (!ink) ink = plain;
  section_bars(p, r, names, ink, n);
  if (r[0]->suite == EVAL_PAIRS && r[0]->n_subsets > 1 && r[0]->n_subsets <= MOST_BARS)
    subset_bars(p, r, names, ink, n);
  for (size_t i = 0; i < n; i++) {
    str note = {0};
    remarks(&note, r[i]);
    rep_note(p, "%s: %s", names[i], note.p ? note.p : "");
    str_free(&note);
  }
  best_of_page(p, r, names, ink, n);
  page_tables(p, r, names, n);
  if (r[0]->suite == EVAL_REWARDBENCH) beside_published(p, r, names, ink, n);
  mem_free(plain);
}
