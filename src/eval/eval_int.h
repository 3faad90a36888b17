/* eval_int.h - what the parts of the evaluation share: items, subsets, and the tally of one score set. */
#ifndef EVAL_INT_H
#define EVAL_INT_H

#include <math.h>

#include "eval/eval.h"

enum { MAX_SECTIONS = 4 + 2, LEVELS = 3, COLUMNS = 1 + LEVELS }; /* a column: total, easy, normal, hard */

typedef struct {
  const char *name;
  int section;   /* index into the suite's sections; -1: none */
  double weight; /* in its section; 0: its number of items */
  size_t n;      /* items */
} subset;

typedef struct {
  uint32_t subset;
  uint32_t n_chosen, n_branches;
  uint32_t num_correct; /* Ties: of the branches, the first so many are correct */
  bool label_b;         /* judgebench: the chosen response is response B */
  bool tied;            /* Ties: "tied:N", else "ref:N" */
  int64_t group;        /* Ties: N */
  size_t first;         /* index of its first branch */
  slice id;             /* p NULL: none */
  uint32_t file;
  uint64_t line;
} item;

struct eval_data {
  eval_suite suite;
  item *items;
  conv_row *rows; /* one an item: what is scored */
  double *length; /* one a branch: characters of the response (ids: tokens) */
  subset *subsets;
  char **paths;
  size_t n_items, cap_items, cap_rows, n_branches, cap_branches, n_subsets, cap_subsets, n_paths;
  arena *memory;
};

/* A section is given when each of its subsets has items (rewardbench, rewardbench2) or any has (rm-bench,
 * judgebench); judgebench and pairs are averaged over items, so nothing can be missing. */
typedef struct {
  const char *sections[MAX_SECTIONS + 1];
  const char *subset_field; /* "subset", "domain", "source" */
  bool fixed;               /* the subsets are those of suite_subsets() and no other */
  bool over_items;          /* overall is the mean over items, not over sections */
} suite_spec;
extern const suite_spec suite_specs[EVAL_SUITES];
/* The fixed subsets of a suite; ends with name NULL. */
const subset *suite_subsets(eval_suite s);
/* The section of a subset that the data name (rm-bench, judgebench); -1: none. */
int suite_section(eval_suite s, slice name);
size_t suite_section_count(eval_suite s);
bool is_ties(const eval_data *d, size_t subset_index);

/* ---- scores.c ---- */

rw_status scores_new(eval_scores *s, const eval_data *d, rw_error *err);

/* Warns of items that are too long, which is known before anything is scored. */
void scores_warn_overlong(const eval_data *d, scorer *model);
/* Scores n items from `from` on by a model, together. */
rw_status scores_of_items(eval_scores *s, const eval_data *d, scorer *model, size_t from, size_t n, rw_error *err);

/* Item i has no score although it should; of several reasons the first counts. */
rw_status scores_unscored(eval_scores *s, const eval_data *d, size_t i, const char *why, rw_error *err);

/* ---- formula.c ---- */

/* Two rows of the Ties subset with the same N; -1: absent. */
typedef struct {
  int64_t ref, tied;
} ties_group;

/* Which items take part, subset by subset. */
typedef struct {
  uint32_t *item;
  size_t *start;    /* n_subsets + 1 */
  size_t *unscored; /* n_subsets: items that should take part and cannot */
  ties_group *group;
  size_t n_groups, n_items, n_unscored;
} selection;
/* The items that all n score sets have scores for. */
rw_status selection_make(selection *s, const eval_data *d, const eval_scores *const *sets, size_t n, rw_error *err);
void selection_free(selection *s);

/* Where item i's comparisons begin in eval_scores.beats: nine of rm-bench (chosen c, rejected j at 3c + j), else of
 * branch 0 with branch b at b - 1. */
size_t beats_at(const eval_data *d, size_t i);

/* One score set as credits. */
typedef struct {
  const double *score;
  double *credit; /* n_items * columns */
  int columns;
  size_t ties, comparisons;
} credits;
rw_status credits_make(credits *c, const eval_data *d, const selection *s, const eval_scores *scores,
                       rw_error *err);
void credits_free(credits *c);

/* By how much item i is right, as its credit sees it: chosen - rejected; rewardbench2: the correct response - the
 * best other one, in Ties the lowest correct - the highest incorrect one; rm-bench: mean chosen - mean rejected,
 * the mean of its nine comparisons. */
double item_margin(const eval_data *d, size_t i, const double *score);

typedef struct {
  double overall, items, level[LEVELS], section[MAX_SECTIONS][COLUMNS];
  double *subset; /* n_subsets * COLUMNS, all in 0..1; NaN: no items, or unscored ones */
  double ties_part[5];
} tally;
/* The suite's formula over the selection's items (and groups); NaN wherever an unscored item is part of it. */
void tally_run(tally *t, const eval_data *d, const selection *s, const credits *c);

/* A selection of the same sizes, drawn with replacement within each subset (Ties: groups). */
void resample(selection *to, const eval_data *d, const selection *from, uint64_t seed, uint64_t round);
rw_status selection_copy(selection *to, const eval_data *d, const selection *from, rw_error *err);
/* Ends of the central 95% of v[n] (sorted in place; NaN left out; linear interpolation between ranks). */
void percentile_interval(double *v, size_t n, double *lo, double *hi);

/* ---- differ.c ---- */

/* Fills what out says of single items: counts, agreement, margins, differing. The selection has items. */
rw_status differ_find(eval_comparison *out, const eval_data *d, const selection *s, const credits *a,
                      const credits *b, rw_error *err);

#endif
