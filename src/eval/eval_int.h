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
  uint32_t num_correct;        /* Ties: of the branches, the first so many are correct */
  bool label_b;                /* judgebench: the chosen response is response B */
  bool tied;                   /* Ties: "tied:N", else "ref:N" */
  uint16_t tags;               /* ppe-preference: the categories it is in, by bit */
  uint32_t n_pairs, n_sampled; /* ppe-correctness: of conflict_pairs and sampled_conflict_pairs */
  size_t first_pair;           /* index of its first pair; the sampled ones stand behind the others */
  int64_t group;               /* Ties: N */
  size_t first;                /* index of its first branch */
  slice id;                    /* p NULL: none */
  uint32_t file;
  uint64_t line;
} item;

/* It has no preference (ppe-preference): it has no branches and takes part in nothing. */
static inline bool is_aside(const item *it) { return it->n_branches == 0; }

/* ppe-correctness: branches of an item, of which one is right and the other wrong. */
typedef struct {
  uint16_t right, wrong;
} conflict;

struct eval_data {
  eval_suite suite;
  item *items;
  conv_row *rows;  /* one an item: what is scored */
  double *length;  /* one a branch: characters of the response (ids: tokens) */
  bool *right;     /* ppe-correctness, one a branch: is the response right? Else NULL */
  conflict *pairs; /* ppe-correctness */
  subset *subsets;
  char **paths;
  size_t n_items, cap_items, cap_rows, n_branches, cap_branches, n_subsets, cap_subsets, n_paths;
  size_t n_pairs, cap_pairs, n_right, cap_right;
  arena *memory;
};

/* A section is given when each of its subsets has items (rewardbench, rewardbench2) or any has (rm-bench, rmb,
 * ppe-correctness, judgebench); judgebench, pairs and ppe-preference are averaged over items, so nothing can be
 * missing. */
typedef struct {
  const char *sections[MAX_SECTIONS + 1];
  const char *subset_field; /* "subset", "domain", "source", …; NULL: the rows' reader tells */
  const char *ids[2];       /* fields with an item's id */
  size_t items;             /* as published; 0: not fixed */
  bool fixed;               /* the subsets are those of suite_subsets() and no other */
  bool over_items;          /* overall is the mean over items, not over sections */
} suite_spec;
extern const suite_spec suite_specs[EVAL_SUITES];
/* The fixed subsets of a suite; ends with name NULL. */
const subset *suite_subsets(eval_suite s);
/* The section of a subset that the data name (rm-bench, judgebench); -1: none. */
int suite_section(eval_suite s, slice name);
size_t suite_section_count(eval_suite s);
/* ppe-preference: the names of the bits of item.tags; ends with NULL. */
extern const char *const suite_tags[];
bool is_ties(const eval_data *d, size_t subset_index);

/* ---- load_ppe.c: what a row of PPE has beside its conversations ---- */

rw_status ppe_preference_read(json_doc *doc, conv_row *row, item *it, rw_error *err);
/* *name: the subset, SET/MODEL. path: of the file, which tells the set where the row does not. */
rw_status ppe_correctness_read(eval_data *d, json_doc *doc, const char *path, const conv_row *row, item *it,
                               slice *name, arena *a, rw_error *err);

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
  bool weighted; /* ppe-correctness: an item's credit counts its right pairs, and the second column all its pairs */
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
  double *weight; /* n_subsets: the items, or the pairs, that a subset's accuracy is of */
  double ties_part[5];
} tally;
rw_status tally_new(tally *t, const eval_data *d, rw_error *err);
void tally_free(tally *t);
/* The suite's formula over the selection's items (and groups); NaN wherever an unscored item is part of it. */
void tally_run(tally *t, const eval_data *d, const selection *s, const credits *c);

/* A selection of the same sizes, drawn with replacement within each subset (Ties: groups). */
void resample(selection *to, const eval_data *d, const selection *from, uint64_t seed, uint64_t round);
rw_status selection_copy(selection *to, const eval_data *d, const selection *from, rw_error *err);
/* Ends of the central 95% of v[n] (sorted in place; NaN left out; linear interpolation between ranks). */
void percentile_interval(double *v, size_t n, double *lo, double *hi);

/* ---- best_of.c ---- */

/* Fills r's best of K; nothing where the data have no responses of known correctness. */
rw_status best_of_measure(eval_result *r, const eval_data *d, const selection *s, const double *score,
                          rw_error *err);
void best_of_json(json_writer *w, const eval_result *r);
rw_status best_of_parse(eval_result *r, json_doc *d, rw_error *err);
/* The table for a terminal, and curves and table for a page. */
rw_status best_of_print(str *out, const eval_result *r, rw_error *err);
void best_of_page(rep_page *p, const eval_result *const *r, const char *const *names, const rep_ink *ink, size_t n);

/* ---- differ.c ---- */

/* Fills what out says of single items: counts, agreement, margins, differing. The selection has items. */
rw_status differ_find(eval_comparison *out, const eval_data *d, const selection *s, const credits *a,
                      const credits *b, rw_error *err);

#endif
