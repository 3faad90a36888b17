/* eval.h - published reward-model benchmarks: rows and scores in, the published figures out.
 *
 * Suites (formulas in src/eval/formula.c): RewardBench, RewardBench 2, RM-Bench, JudgeBench, PPE's preferences and
 * correctness (best_of.c), RMB, and plain pairs. Rows are loaded once and can be measured any number of times. All
 * figures are percentages; NaN stands for a figure that cannot be given because a subset of it has no rows: nothing
 * is averaged without it.
 */
#ifndef EVAL_EVAL_H
#define EVAL_EVAL_H

#include "base/option.h"
#include "format/json_write.h"
#include "model/score.h"
#include "report/report.h"

typedef enum {
  EVAL_REWARDBENCH,
  EVAL_REWARDBENCH2,
  EVAL_RM_BENCH,
  EVAL_JUDGEBENCH,
  EVAL_PAIRS,
  EVAL_PPE_PREFERENCE,
  EVAL_PPE_CORRECTNESS,
  EVAL_RMB
} eval_suite;
enum { EVAL_SUITES = EVAL_RMB + 1 };
extern const option_word eval_suite_words[EVAL_SUITES + 1]; /* by eval_suite */
extern const option_word eval_suite_or_all_words[];         /* and "all": EVAL_SUITES */
bool eval_suite_of(slice name, eval_suite *out);            /* false: no such suite */
size_t eval_suite_size(eval_suite s);                       /* items as published; 0: not fixed (pairs) */

/* ---- rows ---- */

typedef struct eval_data eval_data;
/* Reads the files one after the other as one data set. An unknown subset, a repeated id within a subset (benchmarks
 * only), or a row that is no item of the suite is RW_DATA with file and line. */
rw_status eval_load(eval_data **out, eval_suite suite, const char *const *paths, size_t n_paths,
                    rw_context *context, rw_error *err);
void eval_data_free(eval_data *d); /* NULL is fine */
/* The files in a folder and the folders within it that are a suite's, known by their first row; in the order of
 * their names. Where some are named for the split that the published figures are of, the others are left out. All
 * lives in the arena. */
typedef struct {
  const char **paths;
  size_t n, cap;
} eval_files;
rw_status eval_find(eval_files found[EVAL_SUITES], const char *dir, rw_context *context, arena *a, rw_error *err);
size_t eval_items(const eval_data *d);

/* ---- scores: one a response, in the rows' order ---- */

/* How a judge (endpoint.h) judged. Each comparison counts once, in the first of these that holds: won and lost by
 * the chosen response; neither, because an answer refused, had no clear verdict, was a tie, or followed the order.
 */
typedef struct {
  size_t comparisons, won, lost, refused, unparsable, tied, swapped;
  /* single answers: which reply was named, [[C]], ratings, and those without a verdict (cut: at its length limit)
   */
  size_t said_first, said_second, said_tie, ratings, said_no, said_unparsable, said_cut;
} eval_judge;

typedef struct {
  double *score;             /* item after item, chosen responses first; NaN: the item has none */
  int8_t *beats;             /* by a judge: 1, -1, 0 for each comparison (beats_at); NULL: the scores tell */
  eval_judge judge;          /* all 0: no judge */
  size_t truncated, dropped; /* items; dropped: too long, by the user's choice (OVERLONG_DROP) */
  size_t unscored;           /* items that should have a score and have none */
  const char **why;          /* why each item is one of those; NULL: it is not */
  arena *memory;             /* memory of those texts */
} eval_scores;               /* zero-initialised; freed by eval_scores_free */
void eval_scores_free(eval_scores *s);
/* RW_DATA with how many items are unscored and the first few of them by name; only for unscored > 0. */
rw_status eval_scores_fail(const eval_scores *s, const eval_data *d, rw_error *err);
/* By a model. An item that cannot be scored is unscored. */
rw_status eval_scores_model(eval_scores *s, const eval_data *d, scorer *model, rw_error *err);
/* The same by all ranks of the scorer's context, each of which gets all scores. All call it together. */
rw_status eval_scores_ranks(eval_scores *s, const eval_data *d, scorer *model, rw_error *err);
/* From a file with one row an item, as `reward score` writes them. Count, ids where both have them, and the texts
 * where the row has them must be the item's; the item of a row with "error" or without the item's finite scores is
 * unscored. */
rw_status eval_scores_read(eval_scores *s, const eval_data *d, const char *path, rw_context *context,
                           rw_error *err);

/* Writes them as `reward score` would, one row an item with its id, so that eval_scores_read reads them back. */
rw_status eval_scores_write(const eval_scores *s, const eval_data *d, const char *path, rw_error *err);

/* ---- results ---- */

typedef struct {
  const char *name;
  double percent;
  double lo, hi;   /* ends of the 95% interval; NaN: none */
  double baseline; /* the same figure when a response's score is its length */
} eval_figure;

typedef struct {
  const char *name, *section; /* section NULL: in none */
  size_t n, unscored;         /* items with a score and without one; one of the two is > 0 */
  double correct;             /* sum of the n items' credits (each 0..1) */
  double accuracy, baseline;
  double level[3]; /* rm-bench: easy, normal, hard; else NaN */
  size_t pairs;    /* ppe-correctness: what accuracy is a share of; else 0 */
} eval_subset;

/* ppe-correctness: how far choosing the best of K by score gets, of a set's prompts, or of those of one model. */
typedef struct {
  const char *set, *model;                             /* model NULL: all of the set's */
  size_t prompts, k;                                   /* K goes from 1 to k */
  double accuracy, sampled, auc, auc_scaled, max, end; /* percent; of conflict_pairs and sampled_conflict_pairs */
  double loss;                                         /* mean square of the two curves' distance, as shares */
  double *curve, *ideal;                               /* percent: the chosen response is right; one of the K is */
} eval_best_of;

/* An item that should have a score and has none. */
typedef struct {
  const char *id, *path, *subset, *why; /* id NULL: none */
  uint64_t line;
} eval_unscored;

typedef struct {
  eval_suite suite;
  eval_figure overall;
  eval_figure items; /* mean credit of all items, whatever their subset */
  eval_figure *sections, level[3];
  eval_subset *subsets; /* those with rows */
  const char **missing; /* sections and subsets without rows */
  eval_unscored *unscored;
  size_t n_sections, n_subsets, n_missing, n_unscored;
  size_t n_items, comparisons, ties, truncated, dropped;
  size_t aside;       /* ppe-preference: rows without a preference */
  eval_best_of *best; /* ppe-correctness, by a reward model: set after set, each followed by its models */
  size_t n_best;
  double ties_part[5]; /* rewardbench2's Ties: accuracy on ref and on tied, P(tied margin > spread), P(min margin >
                          spread), mean tanh; the first four in percent */
  eval_judge judge;    /* all 0: no judge */
  int resamples;
  uint64_t seed;
  arena *memory;
} eval_result;
void eval_result_free(eval_result *r);

typedef struct {
  uint64_t seed;
  int resamples; /* 0: no intervals */
} eval_options;
enum { EVAL_RESAMPLES = 2000 };

/* No figure is made of fewer items than it stands for: those that an unscored item is part of are NaN. RW_DATA when
 * no item has a score. */
rw_status eval_measure(eval_result *r, const eval_data *d, const eval_scores *s, const eval_options *o,
                       rw_error *err);
/* eval_scores_model and eval_measure in one. */
rw_status eval_run(eval_result *r, const eval_data *d, scorer *model, const eval_options *o, rw_error *err);

/* The figure that stands for a result: the overall one, or all items' where there is none. */
double eval_macro(
    const eval_result *r); /* the mean of the sections, each counting once; NAN where one is missing */
const eval_figure *eval_main_figure(const eval_result *r);
/* Members of results.json, into an object that is open. */
void eval_result_json(json_writer *w, const eval_result *r);
/* The member "rewards" of results.json: mean, standard deviation and mean margin (of an
 * item: mean chosen - mean rejected) of the rewards, in all and by subset. */
rw_status eval_rewards_json(json_writer *w, const eval_data *d, const eval_scores *s, rw_error *err);
/* Reads them back (of any results.json); model (may be NULL) gets the member "model" or "scores", in r's memory. */
rw_status eval_result_read(eval_result *r, const char *path, const char **model, rw_error *err);
/* The same from a parsed object. */
rw_status eval_result_parse(eval_result *r, json_doc *d, const char **model, rw_error *err);
/* The summary that the public rewardbench tools write (shares of 1, not percent), as one JSON object. */
void eval_public_summary(str *out, const eval_result *r, const char *model);
/* Item i as a row of the public tool's per-item file. */
void eval_public_item(str *out, const eval_data *d, const eval_scores *s, size_t i);

/* Sections and subsets as a table for a terminal. */
rw_status eval_print(str *out, const eval_result *r, rw_error *err);
/* Adds bars of the sections of n > 0 results side by side (names[n], in the colours ink[n]; NULL: by place) and
 * tables; beside those of RewardBench's published items, also the published systems. All results must be of one
 * suite. */
void eval_page(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink, size_t n);

/* ---- two score sets of the same rows ---- */

typedef struct {
  const char *name;
  double a, b, difference, lo, hi; /* difference = b - a, with its 95% interval (paired resamples) */
} eval_difference;

/* An item on which a and b earn different credit (of pairs: exactly one is right). Pointers are into the data. */
typedef struct {
  size_t item; /* from 0 */
  slice id;    /* p NULL: none */
  const char *path, *subset;
  uint64_t line;
  double margin[2], credit[2]; /* a's, b's; margin as item_margin in src/eval/eval_int.h says */
  double distance;             /* between the two margins, each in standard deviations of its own set's */
} eval_differing;

typedef struct {
  eval_difference overall, items, *sections;
  size_t n_sections, n_items, a_better, b_better, equal; /* items by credit */
  size_t unscored;                                       /* items that a or b should have scored and has not */
  double agreement;                                      /* percent of the items: equal */
  double correlation;                  /* Pearson's, of the items' margins; NaN: those of one are all alike */
  double margin_mean[2], margin_sd[2]; /* a's, b's */
  eval_differing *differing;           /* a_better + b_better, the farthest apart first */
  size_t n_differing;
  arena *memory;
} eval_comparison;
void eval_comparison_free(eval_comparison *c);
/* Items that either set has dropped are left out of both; figures that an unscored item is part of are NaN. *c
 * refers to d. */
rw_status eval_compare(eval_comparison *c, const eval_data *d, const eval_scores *a, const eval_scores *b,
                       const eval_options *o, rw_error *err);

/* ---- two groups of score sets: the same training with several seeds ---- */

typedef struct {
  double difference, lo, hi; /* mean figure of b - mean figure of a; its 95% interval */
  size_t n_items;
} eval_group_difference;
/* a[n], b[n]: one score set a seed, the same seed at the same place. Each resample draws items (within subsets, the
 * same for all sets) and seeds (the same for both groups), so the interval holds both the benchmark's sampling and
 * the training's; with one seed it holds the items' alone. The figure is the overall one, or the share of right
 * items where the suite defines no overall figure on these data. Items dropped in any set are left out of all; with
 * an unscored item there is no difference (NaN). */
rw_status eval_compare_groups(eval_group_difference *c, const eval_data *d, const eval_scores *const *a,
                              const eval_scores *const *b, size_t n, const eval_options *o, rw_error *err);

#endif
