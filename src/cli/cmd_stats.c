/* cmd_stats.c - `reward stats`: the report's Table 1 and its task-category table for any pair rows. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cli/cli.h"
#include "format/json_write.h"
#include "format/rows.h"
#include "report/report.h"
#include "text/render.h"

static const char USAGE[] = "stats ROWS --model DIR [--json]";
static const char ABOUT[] =
    "Counts pairs, mean turns, mean prompt tokens and mean response tokens, by source and in all, and pairs by "
    "task\n"
    "category: the Skywork-Reward report's Table 1. Tokens are of the messages' texts by DIR's tokenizer; turns\n"
    "and responses are means over chosen and rejected; a prompt is all that stands before the response. Sources\n"
    "that are named as the report's own (helpsteer2, magpie-air, …) have the report's numbers beside them.";
static const char EXAMPLES[] =
    "  reward stats set/train.jsonl --model llama-3.1\n"
    "  reward stats set/train.jsonl --model llama-3.1 --json | jq .sources\n";

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

typedef struct {
  double turns, prompt, response;
} figures;

/* What a row adds. */
typedef struct {
  figures f;
  slice source, category; /* p NULL: none */
} counted;

typedef struct {
  tok_scratch *scratch;
  ids ids;
} lane;

typedef struct {
  size_t pairs;
  figures sum;
} tally;

typedef struct {
  rw_context *context;
  const tokenizer *t;
  map *source_ids, *category_ids;
  arena *mem;
  slice *sources, *categories;
  tally *by_source, all;
  size_t *by_category;
  str key; /* a category's name: compared without case, shown as first met */
  size_t n_sources, n_categories, cap_s, cap_t, cap_c, cap_n;
} run;

static rw_status count(lane *l, const tokenizer *t, slice text, double *sum, rw_error *err) {
  l->ids.len = 0;
  tok_span all = {0, text.len, true}; /* contents hold no control tokens */
  RW_TRY(tok_encode(t, l->scratch, text, &all, 1, &l->ids, NULL, err));
  *sum += (double)l->ids.len;
  return RW_OK;
}

static rw_status work(void *ctx, rows_lane *rl, slice row, uint64_t line, void *result, rw_error *err) {
  const run *r = ctx;
  counted *out = result;
  lane *l = rl->own;
  conv_row c;
  (void)line;
  RW_TRY(json_parse(rl->doc, row.p, row.len, err));
  RW_TRY(conv_read(&c, rl->doc, 0, r->context->map, rl->mem, err));
  if (!conv_as_pair(&c) || !c.branch[0].messages)
    return rw_fail(err, RW_DATA, "row: expected a pair of conversations (chosen, rejected)");
  for (size_t b = 0; b < c.n_branches; b++) {
    const conversation *v = &c.branch[b];
    double share = 1.0 / (double)c.n_branches, prompt = 0, response = 0;
    for (size_t i = 0; i + 1 < v->n_messages; i++) RW_TRY(count(l, r->t, v->messages[i].content, &prompt, err));
    RW_TRY(count(l, r->t, v->messages[v->n_messages - 1].content, &response, err));
    out->f.turns += share * (double)v->n_messages;
    out->f.prompt += share * prompt;
    out->f.response += share * response;
  }
  out->source = rows_keep(rl, c.source);
  out->category = rows_keep(rl, json_string(rl->doc, json_get(rl->doc, 0, "task_category")));
  return out->source.p && out->category.p ? RW_OK : rw_nomem(err, "a row");
}

static void add(tally *t, const figures *f) {
  t->pairs++;
  t->sum.turns += f->turns;
  t->sum.prompt += f->prompt;
  t->sum.response += f->response;
}

/* The index of a name, new ones at the end of *names. Names are the same whose keys are. */
static int64_t index_of(run *r, map *m, slice key, slice name, slice **names, size_t *n, size_t *cap,
                        bool *was_new) {
  int64_t *i = map_put(m, key.p, key.len, (int64_t)*n, was_new);
  if (!i) return -1;
  slice copy = {*was_new ? arena_strndup(r->mem, name.p, name.len) : "", name.len};
  return *was_new && (!copy.p || !vec_push(*names, *n, *cap, copy)) ? -1 : *i;
}

static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *err) {
  run *r = ctx;
  const counted *x = result;
  slice source = x->source, category = x->category;
  bool was_new;
  (void)row, (void)line;
  add(&r->all, &x->f);
  int64_t s = index_of(r, r->source_ids, source, source, &r->sources, &r->n_sources, &r->cap_s, &was_new);
  if (s < 0 || !mem_grow((void **)&r->by_source, &r->cap_t, r->n_sources, sizeof *r->by_source))
    return rw_nomem(err, "sources");
  if (was_new) r->by_source[s] = (tally){0};
  add(&r->by_source[s], &x->f);
  if (category.len == 0) return RW_OK;
  str_clear(&r->key);
  str_add_lower(&r->key, category.p, category.len);
  if (r->key.oom) return rw_nomem(err, "categories");
  int64_t c = index_of(r, r->category_ids, (slice){r->key.p, r->key.len}, category, &r->categories,
                       &r->n_categories, &r->cap_c, &was_new);
  if (c < 0 || !mem_grow((void **)&r->by_category, &r->cap_n, r->n_categories, sizeof *r->by_category))
    return rw_nomem(err, "categories");
  if (was_new) r->by_category[c] = 0;
  r->by_category[c]++;
  return RW_OK;
}

/* ---- the report's numbers ---- */

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

static beside what_beside(const run *r) {
  beside b = {0};
  size_t sources = 0, categories = 0;
  for (size_t i = 0; i < r->n_sources; i++) {
    const published_source *p = published_of(r->sources[i]);
    sources += p != NULL;
    if (p && strncmp(p->source, "magpie-", 7) == 0) b.categories = true;
  }
  for (size_t i = 0; i < r->n_categories; i++) categories += published_pairs(r->categories[i]) > 0;
  b.sources = sources > 0;
  b.all_sources = sources == N_PUBLISHED && r->n_sources == N_PUBLISHED;
  b.categories = b.categories && categories > 0;
  b.all_categories = b.categories && categories == N_PUBLISHED_CATEGORIES && r->n_categories == categories;
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

static void report_json(json_writer *w, const run *r) {
  beside b = what_beside(r);
  if (!b.sources) return;
  jw_object(w, "report");
  jw_object(w, "sources");
  for (size_t i = 0; i < r->n_sources; i++) {
    const published_source *p = published_of(r->sources[i]);
    if (p) published_json(w, p->source, p);
  }
  jw_end(w);
  if (b.all_sources) published_json(w, "all", &published[N_PUBLISHED]);
  jw_object(w, "task_categories");
  for (size_t i = 0; b.categories && i < r->n_categories; i++) {
    int pairs = published_pairs(r->categories[i]);
    if (pairs == 0) continue;
    jw_key(w, r->categories[i]);
    jw_int(w, NULL, pairs);
  }
  jw_end(w);
  jw_end(w);
}

static void tally_json(json_writer *w, slice name, const tally *t) {
  double n = (double)t->pairs; /* without pairs there is no mean: NaN */
  jw_key(w, name);
  jw_object(w, NULL);
  jw_uint(w, "pairs", t->pairs);
  jw_num(w, "mean_turns", t->sum.turns / n);
  jw_num(w, "mean_prompt_tokens", t->sum.prompt / n);
  jw_num(w, "mean_response_tokens", t->sum.response / n);
  jw_end(w);
}

static void print_json(const run *r) {
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  jw_object(&w, "sources");
  for (size_t i = 0; i < r->n_sources; i++) tally_json(&w, r->sources[i], &r->by_source[i]);
  jw_end(&w);
  tally_json(&w, SLICE("all"), &r->all);
  jw_object(&w, "task_categories");
  for (size_t i = 0; i < r->n_categories; i++) {
    jw_key(&w, r->categories[i]);
    jw_uint(&w, NULL, r->by_category[i]);
  }
  jw_end(&w);
  report_json(&w, r);
  jw_end(&w);
  puts(s.oom ? "" : s.p);
  str_free(&s);
}

static rep_table *source_table(const run *r, beside b) {
  static const char *const alone[] = {"source", ">pairs", ">mean turns", ">prompt tokens", ">response tokens"},
                           *const both[] = {"source",           ">pairs",  ">of 378K",       ">of 80K",
                                            ">mean turns",      ">report", ">prompt tokens", ">report",
                                            ">response tokens", ">report"};
  rep_table *t = b.sources ? rep_table_new(both, 10) : rep_table_new(alone, 5);
  for (size_t i = 0; i <= r->n_sources; i++) {
    bool all = i == r->n_sources;
    const tally *y = all ? &r->all : &r->by_source[i];
    const published_source *p = !all ? published_of(r->sources[i]) : b.all_sources ? &published[N_PUBLISHED] : NULL;
    double n = (double)y->pairs;
    if (all) rep_total(t);
    rep_cell_text(t, all ? SLICE("all") : r->sources[i].len ? r->sources[i] : SLICE("(none)"));
    rep_cell_int(t, (int64_t)y->pairs);
    if (b.sources) rep_cell_num(t, p ? p->pairs_378k : NAN, 0);
    if (b.sources) rep_cell_num(t, p ? p->pairs_80k : NAN, 0);
    rep_cell_num(t, y->sum.turns / n, 1);
    if (b.sources) rep_cell_num(t, p ? p->turns : NAN, 1);
    rep_cell_num(t, y->sum.prompt / n, 1);
    if (b.sources) rep_cell_num(t, p ? p->prompt : NAN, 1);
    rep_cell_num(t, y->sum.response / n, 1);
    if (b.sources) rep_cell_num(t, p ? p->response : NAN, 1);
  }
  return t;
}

static rep_table *category_table(const run *r, beside b) {
  rep_table *t = rep_table_new((const char *[]){"task category", ">pairs", ">report"}, b.categories ? 3 : 2);
  size_t sum = 0;
  for (size_t i = 0; i < r->n_categories; i++) {
    int pairs = published_pairs(r->categories[i]);
    rep_cell_text(t, r->categories[i]);
    rep_cell_int(t, (int64_t)r->by_category[i]);
    if (b.categories) rep_cell_num(t, pairs > 0 ? pairs : NAN, 0);
    sum += r->by_category[i];
  }
  if (b.all_categories) {
    rep_total(t);
    rep_cell_text(t, SLICE("all"));
    rep_cell_int(t, (int64_t)sum);
    rep_cell_int(t, published_categories[N_PUBLISHED_CATEGORIES].pairs);
  }
  return t;
}

static rw_status print_tables(const run *r, rw_error *err) {
  beside b = what_beside(r);
  str s = {0};
  rep_table *t = source_table(r, b);
  rw_status st = rep_table_print(t, &s, err);
  rep_table_free(t);
  if (!st && r->n_categories) {
    t = category_table(r, b);
    str_addc(&s, '\n');
    st = rep_table_print(t, &s, err);
    rep_table_free(t);
  }
  if (b.sources)
    str_addz(&s,
             "\nof 378K, of 80K, report: the Skywork-Reward report's own numbers (Preference 378K, 80K v0.1)\n");
  if (!st) cli_print(stdout, &s);
  str_free(&s);
  return st;
}

static rw_status lane_open(void *ctx, void *own, rw_error *err) {
  lane *l = own;
  l->scratch = tok_scratch_new(((const run *)ctx)->t);
  return l->scratch ? RW_OK : rw_nomem(err, "rows");
}

static void lane_close(void *ctx, void *own) {
  lane *l = own;
  (void)ctx;
  tok_scratch_free(l->scratch);
  mem_free(l->ids.p);
}

static rw_status run_file(run *r, const char *path, rw_error *err) {
  r->mem = arena_new();
  r->source_ids = map_new();
  r->category_ids = map_new();
  if (!r->mem || !r->source_ids || !r->category_ids) return rw_nomem(err, "rows");
  rows_in *in;
  const rows_job job = {.result_size = sizeof(counted),
                        .lane_size = sizeof(lane),
                        .lane_open = lane_open,
                        .lane_close = lane_close,
                        .work = work,
                        .sink = sink,
                        .ctx = r};
  RW_TRY(rows_open(&in, path, r->context, err));
  rw_status s = rows_map(in, &job, err);
  rows_close(in);
  return s;
}

static void run_free(run *r) {
  void *p[] = {r->sources, r->categories, r->by_source, r->by_category};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  map_free(r->source_ids);
  map_free(r->category_ids);
  arena_free(r->mem);
  str_free(&r->key);
}

typedef struct {
  const char *model, *data;
  bool json;
} options;

static const option table[] = {
    {"model", 'm', .kind = OPTION_TEXT, .field = offsetof(options, model), .value = "DIR",
     .help = "whose tokenizer counts"},
    {"data", .kind = OPTION_TEXT, .field = offsetof(options, data), .value = "ROWS",
     .help = "the rows, instead of naming them as a word (default: stdin)"},
    {"json", .kind = OPTION_FLAG, .field = offsetof(options, json), .help = "print JSON instead of tables"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  options *o = values;
  const char *rows = cli_rows(c, o->data);
  if (!rows) return 2;
  if (!o->model) return cli_usage(c, "--model is needed");
  if (!cli_threads(c)) return 1;
  rw_error err;
  tokenizer *t = NULL;
  run r = {.context = c->context};
  rw_status s = cli_model_dir(c, &o->model, &err);
  if (!s) s = tok_load(&t, text_dir(o->model, c->common.base), &err);
  r.t = t;
  if (!s) s = run_file(&r, rows, &err);
  if (!s && o->json) print_json(&r);
  if (!s && !o->json) s = print_tables(&r, &err);
  run_free(&r);
  tok_free(t);
  return s ? cli_fail(c, &err) : 0;
}

const cli_command cmd_stats = {.name = "stats",
                               .summary = "pairs, turns and tokens by source: Table 1 of the report",
                               .usage = USAGE,
                               .about = ABOUT,
                               .examples = EXAMPLES,
                               .parts = {{table}},
                               .values = sizeof(options),
                               .max_words = 1,
                               .common = CLI_THREADS | CLI_BASE | CLI_QUIET | CLI_ROWS,
                               .run = run_command};
