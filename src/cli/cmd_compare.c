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
  if (!st) fputs(s.p, to);
  str_free(&s);
  rep_table_free(t);
  return st;
}

static void difference_json(str *s, const eval_difference *f) {
  str_json(s, f->name, strlen(f->name));
  const double v[] = {f->a, f->b, f->difference};
  const char *const names[] = {"a", "b", "difference"};
  str_addz(s, ": {");
  for (int i = 0; i < 3; i++) {
    str_printf(s, "%s\"%s\": ", i ? ", " : "", names[i]);
    str_json_num(s, v[i]);
  }
  str_addz(s, ", \"interval\": ");
  if (isnan(f->lo)) {
    str_addz(s, "null}");
    return;
  }
  str_addc(s, '[');
  str_json_num(s, f->lo);
  str_addz(s, ", ");
  str_json_num(s, f->hi);
  str_addz(s, "]}");
}

static const char *const side[2] = {"a", "b"};

/* {"id": …, "file": …, "line": …, "subset": …, "better": "a", "distance": …, "a": {"margin": …, "credit": …}, …} */
static void item_json(str *s, const eval_differing *f) {
  str_addc(s, '{');
  if (f->id.p) {
    str_addz(s, "\"id\": ");
    str_json(s, f->id.p, f->id.len);
    str_addz(s, ", ");
  }
  str_addz(s, "\"file\": ");
  str_json(s, f->path, strlen(f->path));
  str_printf(s, ", \"line\": %llu, \"subset\": ", (unsigned long long)f->line);
  str_json(s, f->subset, strlen(f->subset));
  str_printf(s, ", \"better\": \"%s\", \"distance\": ", side[f->credit[0] < f->credit[1]]);
  str_json_num(s, f->distance);
  for (int m = 0; m < 2; m++) {
    str_printf(s, ", \"%s\": {\"margin\": ", side[m]);
    str_json_num(s, f->margin[m]);
    str_addz(s, ", \"credit\": ");
    str_json_num(s, f->credit[m]);
    str_addc(s, '}');
  }
  str_addc(s, '}');
}

static void items_json(str *s, const options *o, const eval_comparison *c) {
  str_addz(s, ", \"agreement\": ");
  str_json_num(s, c->agreement);
  str_addz(s, ", \"margins\": {\"correlation\": ");
  str_json_num(s, c->correlation);
  for (int m = 0; m < 2; m++) {
    str_printf(s, ", \"%s\": {\"mean\": ", side[m]);
    str_json_num(s, c->margin_mean[m]);
    str_addz(s, ", \"sd\": ");
    str_json_num(s, c->margin_sd[m]);
    str_addc(s, '}');
  }
  str_addz(s, "}, \"differ_most\": [");
  for (size_t i = 0, n = shown(o, c); i < n; i++) {
    if (i) str_addz(s, ", ");
    item_json(s, &c->differing[i]);
  }
  str_addc(s, ']');
}

static rw_status write_json(const options *o, const eval_comparison *c, rw_error *err) {
  str s = {0};
  str_printf(&s, "{\"suite\": \"%s\", \"unit\": \"percent\", ", eval_suite_name[o->suite]);
  for (int m = 0; m < 2; m++) {
    str_printf(&s, "\"%s\": ", side[m]);
    str_json(&s, o->path[m], strlen(o->path[m]));
    str_addz(&s, ", ");
  }
  difference_json(&s, &c->overall);
  str_addz(&s, ", ");
  difference_json(&s, &c->items);
  str_addz(&s, ", \"sections\": {");
  for (size_t i = 0; i < c->n_sections; i++) {
    if (i) str_addz(&s, ", ");
    difference_json(&s, &c->sections[i]);
  }
  str_printf(&s,
             "}, \"n\": %zu, \"unscored\": %zu, \"a_better\": %zu, \"b_better\": %zu, \"equal\": %zu, "
             "\"bootstrap\": {\"level\": 95, "
             "\"resamples\": %d, \"seed\": %lld}",
             c->n_items, c->unscored, c->a_better, c->b_better, c->equal, EVAL_RESAMPLES, (long long)o->seed);
  items_json(&s, o, c);
  str_addz(&s, ", \"scored_by\": {");
  bool oom = false;
  for (int m = 0; m < 2; m++) {
    oom |= o->record[m].oom || !o->record[m].p;
    str_printf(&s, "%s\"%s\": {%s}", m ? ", " : "", side[m], oom ? "" : o->record[m].p + strlen(", "));
  }
  str_addc(&s, '}');
  cli_data_json(&s, o->data.items, o->data.n);
  str_addz(&s, "}\n");
  rw_status st = s.oom || oom ? rw_nomem(err, o->out) : file_put(o->out, s.p, s.len, err);
  str_free(&s);
  return st;
}

static rw_status scores_of(cli *c, eval_scores *s, const eval_data *d, const cli_scoring *sc, const char *path,
                           str *record, rw_error *err) {
  return cli_is_model(path) ? cli_score_model(c, s, d, sc, path, record, err)
                            : cli_score_file(c, s, d, path, record, err);
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
    {"suite", .kind = OPTION_CHOICE, .field = offsetof(options, suite), .words = cli_suites, .initial = "pairs",
     .help = "which formula"},
    {"show", .kind = OPTION_INT, .field = offsetof(options, show), .value = "N", .initial = "5",
     .range = OPTION_COUNT_FROM(0),
     .help = "how many of the items to show on which they differ most, in the table and as JSON"},
    {"output", 'o', .kind = OPTION_TEXT, .field = offsetof(options, out), .value = "FILE",
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
