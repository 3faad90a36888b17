/* cmd_compare.c - `reward compare`: two models, or two files of scores, on the same rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/scoring.h"
#include "format/rows.h"

enum { LONGEST_ID = 60 }; /* a longer one would push the numbers off the terminal */

static const char USAGE[] = "compare A B ROWS... [--suite SUITE] [--show N] [-o comparison.json]";
static const char ABOUT[] =
    "Compares two models on the same rows: figures of both by the suite's formula, B minus A, and the "
    "difference's\n"
    "95% interval over 2,000 paired resamples (the same items drawn for both, within subsets, by --seed).\n"
    "A and B are models (a folder or a .gguf file) or files of scores as `reward score` writes them.\n"
    "Agreement is the share of items with the same credit from both (of pairs: both right or both wrong). Of the\n"
    "others, those are shown on which the margins are farthest apart, each divided by the standard deviation of "
    "its\n"
    "own model's margins. A margin is chosen - rejected; in rewardbench2 the correct response - the best other "
    "one\n"
    "(Ties: lowest correct - highest incorrect); in rm-bench mean chosen - mean rejected.";
static const char EXAMPLES[] =
    "  reward compare base rm heldout.jsonl\n"
    "  reward compare a.scored.jsonl b.scored.jsonl heldout.jsonl --suite pairs\n"
    "  reward compare rm-bt rm-hinge filtered.jsonl --suite rewardbench --show 20 -o difference.json\n";

typedef struct {
  int suite;
  const char *out;
  int64_t show, seed;
  cli_scoring scoring;
  const char *path[2]; /* A, B */
  option_list data;
  str record[2]; /* what scored A, B: members as in results.json, a comma before each */
} options;

static void row(rep_table *t, const eval_difference *f) {
  rep_cell(t, "%s", f->name);
  rep_cell_num(t, f->a, 2);
  rep_cell_num(t, f->b, 2);
  if (isnan(f->difference)) {
    rep_cell(t, "-");
  } else {
    rep_cell(t, "%+.2f", f->difference);
  }
  if (isnan(f->lo)) {
    rep_cell(t, "-");
  } else {
    rep_cell(t, "%+.2f to %+.2f", f->lo, f->hi);
  }
}

static size_t shown(const options *o, const eval_comparison *c) {
  return (uint64_t)o->show < c->n_differing ? (size_t)o->show : c->n_differing;
}

/* An item by its id, else by its place in the data. */
static void item_cell(rep_table *t, const eval_differing *f) {
  if (f->id.p && f->id.len <= LONGEST_ID)
    rep_cell_text(t, f->id);
  else
    rep_cell(t, "%s:%llu", cli_base_name(rows_label(f->path)), (unsigned long long)f->line);
}

static rw_status print_items(const options *o, const eval_comparison *c, str *to, rw_error *err) {
  str_addz(to, "Agreement: ");
  rep_num(to, c->agreement, 1);
  str_addz(to, "% of the items. Correlation of the margins: ");
  rep_num(to, c->correlation, 3);
  str_addz(to, ".\n\n");
  size_t n = shown(o, c);
  if (n == 0) return RW_OK;
  rep_table *t = rep_table_new((const char *[]){"item", "subset", ">margin of A", ">margin of B", "better"}, 5);
  for (size_t i = 0; i < n; i++) {
    const eval_differing *f = &c->differing[i];
    item_cell(t, f);
    rep_cell(t, "%s", f->subset);
    rep_cell(t, "%+.4g", f->margin[0]);
    rep_cell(t, "%+.4g", f->margin[1]);
    rep_cell(t, f->credit[0] > f->credit[1] ? "A" : "B");
  }
  str_printf(to, "Where they differ most, %zu of the %zu items on which one is better:\n", n, c->n_differing);
  rw_status st = rep_table_print(t, to, err);
  str_addc(to, '\n');
  rep_table_free(t);
  return st;
}

static rw_status print(const options *o, const eval_comparison *c, FILE *to, rw_error *err) {
  const char *columns[] = {"percent", ">A", ">B", ">B - A", ">95% interval"};
  rep_table *t = rep_table_new(columns, 5);
  for (size_t i = 0; i < c->n_sections; i++) row(t, &c->sections[i]);
  rep_total(t);
  row(t, &c->overall);
  row(t, &c->items);
  str s = {0};
  str_printf(&s, "A: %s\nB: %s\n\n", o->path[0], o->path[1]);
  rw_status st = print_items(o, c, &s, err);
  if (!st) st = rep_table_print(t, &s, err);
  str_printf(&s, "\nItems %zu: A better on %zu, B better on %zu, equal on %zu.\n", c->n_items, c->a_better,
             c->b_better, c->equal);
  if (c->unscored)
    str_printf(&s, "Items %zu have no score of A or of B: no figure that needs them is given.\n", c->unscored);
  if (!st && s.oom) st = rw_nomem(err, "comparison");
  if (!st) cli_print(to, &s);
  str_free(&s);
  rep_table_free(t);
  return st;
}

static void difference_json(json_writer *w, const eval_difference *f) {
  jw_object(w, f->name);
  jw_num(w, "a", f->a);
  jw_num(w, "b", f->b);
  jw_num(w, "difference", f->difference);
  if (isnan(f->lo)) {
    jw_null(w, "interval");
  } else {
    jw_array(w, "interval");
    jw_num(w, NULL, f->lo);
    jw_num(w, NULL, f->hi);
    jw_end(w);
  }
  jw_end(w);
}

static const char *const side[2] = {"a", "b"};

static void item_json(json_writer *w, const eval_differing *f) {
  jw_object(w, NULL);
  if (f->id.p) jw_slice(w, "id", f->id);
  jw_string(w, "file", f->path);
  jw_uint(w, "line", f->line);
  jw_string(w, "subset", f->subset);
  jw_string(w, "better", side[f->credit[0] < f->credit[1]]);
  jw_num(w, "distance", f->distance);
  for (int m = 0; m < 2; m++) {
    jw_object(w, side[m]);
    jw_num(w, "margin", f->margin[m]);
    jw_num(w, "credit", f->credit[m]);
    jw_end(w);
  }
  jw_end(w);
}

static void items_json(json_writer *w, const options *o, const eval_comparison *c) {
  jw_num(w, "agreement", c->agreement);
  jw_object(w, "margins");
  jw_num(w, "correlation", c->correlation);
  for (int m = 0; m < 2; m++) {
    jw_object(w, side[m]);
    jw_num(w, "mean", c->margin_mean[m]);
    jw_num(w, "sd", c->margin_sd[m]);
    jw_end(w);
  }
  jw_end(w);
  jw_array(w, "differ_most");
  for (size_t i = 0, n = shown(o, c); i < n; i++) item_json(w, &c->differing[i]);
  jw_end(w);
}

static void bootstrap_json(json_writer *w, int64_t seed) {
  jw_object(w, "bootstrap");
  jw_int(w, "level", 95);
  jw_int(w, "resamples", EVAL_RESAMPLES);
  jw_int(w, "seed", seed);
  jw_end(w);
}

static rw_status write_json(const options *o, const eval_comparison *c, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_string(&w, "suite", eval_suite_words[o->suite].text);
  jw_string(&w, "unit", "percent");
  for (int m = 0; m < 2; m++) jw_string(&w, side[m], o->path[m]);
  difference_json(&w, &c->overall);
  difference_json(&w, &c->items);
  jw_object(&w, "sections");
  for (size_t i = 0; i < c->n_sections; i++) difference_json(&w, &c->sections[i]);
  jw_end(&w);
  jw_uint(&w, "n", c->n_items);
  jw_uint(&w, "unscored", c->unscored);
  jw_uint(&w, "a_better", c->a_better);
  jw_uint(&w, "b_better", c->b_better);
  jw_uint(&w, "equal", c->equal);
  bootstrap_json(&w, o->seed);
  items_json(&w, o, c);
  jw_object(&w, "scored_by");
  for (int m = 0; m < 2; m++) {
    s.oom |= o->record[m].oom;
    jw_object(&w, side[m]);
    jw_raw(&w, NULL, (slice){o->record[m].p, o->record[m].len});
    jw_end(&w);
  }
  jw_end(&w);
  cli_data_json(&w, o->data.items, o->data.n);
  jw_end(&w);
  str_addc(&s, '\n');
  rw_status st = s.oom ? rw_nomem(err, o->out) : file_put(o->out, s.p, s.len, err);
  str_free(&s);
  return st;
}

static rw_status scores_of(cli *c, eval_scores *s, const eval_data *d, const cli_scoring *sc, const char *path,
                           str *record, rw_error *err) {
  json_writer w = jw_inside(record);
  return cli_is_model(path) ? cli_score_model(c, s, d, sc, path, &w, err) : cli_score_file(c, s, d, path, &w, err);
}

static rw_status compare(cli *c, options *o, rw_error *err) {
  eval_data *d = NULL;
  eval_scores of[2] = {{0}, {0}};
  eval_comparison found = {0};
  eval_options eo = {.seed = (uint64_t)o->seed, .resamples = EVAL_RESAMPLES};
  rw_status s = eval_load(&d, (eval_suite)o->suite, o->data.items, o->data.n, c->context, err);
  for (int m = 0; !s && m < 2; m++) s = scores_of(c, &of[m], d, &o->scoring, o->path[m], &o->record[m], err);
  if (!s) s = eval_compare(&found, d, &of[0], &of[1], &eo, err);
  if (!s) s = print(o, &found, o->out && strcmp(o->out, "-") == 0 ? stderr : stdout, err);
  if (!s && o->out) s = write_json(o, &found, err);
  for (int m = 0; !s && m < 2; m++)
    if (of[m].unscored && (s = eval_scores_fail(&of[m], d, err))) rw_prefix(err, s, "%s", o->path[m]);
  eval_comparison_free(&found);
  for (int m = 0; m < 2; m++) {
    str_free(&o->record[m]);
    eval_scores_free(&of[m]);
  }
  eval_data_free(d);
  return s;
}

static const option table[] = {
    {"suite", .kind = OPTION_CHOICE, .field = offsetof(options, suite), .words = eval_suite_words,
     .initial = "pairs", .help = "which formula"},
    {"show", .kind = OPTION_INT, .field = offsetof(options, show), .value = "N", .initial = "5",
     .range = OPTION_COUNT_FROM(0),
     .help = "how many of the items to show on which they differ most, in the table and as JSON"},
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, out), .value = "FILE",
     .help = "the comparison as JSON; - is stdout (default: only the table)"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  options *o = values;
  const option_list words = c->words;
  if (words.n < 3)
    return cli_usage(c, "expected A, B and ROWS, got %zu argument%s", words.n, words.n == 1 ? "" : "s");
  int status = cli_check_output(c, o->out, words.items, words.n);
  if (status >= 0) return status;
  for (int m = 0; m < 2; m++) o->path[m] = words.items[m];
  o->data = (option_list){words.items + 2, words.n - 2};
  o->seed = c->common.seed;
  rw_error err;
  return compare(c, o, &err) ? cli_fail(c, &err) : 0;
}

const cli_command cmd_compare = {.name = "compare",
                                 .summary = "compare two models or score files on the same rows",
                                 .usage = USAGE,
                                 .about = ABOUT,
                                 .examples = EXAMPLES,
                                 .parts = {{table}, {cli_scoring_table, offsetof(options, scoring)}},
                                 .values = sizeof(options),
                                 .max_words = 1000,
                                 .common = CLI_MODEL | CLI_SEED,
                                 .run = run_command};
