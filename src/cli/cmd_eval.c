/* cmd_eval.c - `reward eval`: a benchmark's published figures, from a model or from scores. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/eval_all.h"
#include "format/rows.h"

static const char USAGE[] =
    "eval --suite SUITE --data ROWS... (--model DIR | --scores FILE | --endpoint URL) [-o results.json]";
static const char ABOUT[] =
    "Computes a benchmark's figures by its published formula and prints them as a table. Suites and their rows:\n"
    "  rewardbench   id, subset, prompt, chosen, rejected\n"
    "  rewardbench2  id, subset, prompt, chosen[...], rejected[...], num_correct\n"
    "  rm-bench      id, domain, prompt, chosen[3], rejected[3]\n"
    "  judgebench    pair_id, source, question, response_A, response_B, label\n"
    "  pairs         pair rows; subsets by source\n"
    "  ppe-preference   question_id, prompt, response_1, response_2, winner\n"
    "  ppe-correctness  question_id, prompt, response_1 ... response_32, scores, conflict_pairs, model_name\n"
    "  rmb           conversation_input, category_path, chosen and reject or bon_best and loser_list\n"
    "  all           every one of these but pairs that the folder --data has: the table of seven benchmarks "
    "beside\n"
    "                published models; --scores is then a folder with SUITE.jsonl of each\n"
    "A section or a subset that the data lack is named, and no figure that needs it is given. An item without a\n"
    "score (an \"error\" in --scores, a row too long, a request that failed for good) is named and counted as\n"
    "unscored, no figure that it is part of is given, the others are, and the exit status is 1. Intervals: 95%,\n"
    "2,000 resamples within subsets, by --seed. Length baseline: the same formula when a response's score is its\n"
    "length in characters.\n"
    "--endpoint-kind chat makes any OpenAI-compatible chat model a judge: every comparison is asked in both orders "
    "and\n"
    "is won when both answers name the chosen response; ties, refusals and answers without one clear verdict are\n"
    "counted apart. --endpoint-kind reward reads rewards: Nemotron's attributes from .../chat/completions, one "
    "number\n"
    "from vLLM's .../classify, .../pooling and .../score or SGLang's /classify. Answers are kept as they come: an\n"
    "interrupted evaluation, started again, goes on.";
static const char EXAMPLES[] =
    "  reward eval --suite rewardbench --data filtered.jsonl --model rm -o results.json --html results.html\n"
    "  reward score --model rm filtered.jsonl -o scored.jsonl\n"
    "  reward eval --suite rewardbench --data filtered.jsonl --scores scored.jsonl\n"
    "  reward eval --suite pairs --data heldout.jsonl.gz --model rm --overlong truncate --max-length 2048\n"
    "  reward eval --suite rewardbench --data filtered.jsonl --model rm --format rewardbench -o model.json\n"
    "  reward eval --suite all --data benchmarks --model rm -o all.json --html all.html\n"
    "  reward eval --suite judgebench --data pairs.jsonl --endpoint https://api.openai.com/v1 --endpoint-kind chat "
    "\\\n"
    "      --endpoint-model gpt-4o --concurrency 16 -o judged.json\n"
    "  reward eval --suite rm-bench --data rm.jsonl --endpoint http://localhost:8000/classify --endpoint-kind "
    "reward\n"
    "  reward eval --suite pairs --data p.jsonl --endpoint http://localhost:30000/classify --endpoint-kind reward "
    "\\\n"
    "      --endpoint-format sglang --endpoint-tokenizer Skywork-Reward-V2-Qwen3-0.6B\n"
    "  reward eval --suite pairs --data p.jsonl --endpoint https://integrate.api.nvidia.com/v1 --endpoint-kind "
    "reward \\\n"
    "      --endpoint-format nemotron --endpoint-model nvidia/nemotron-4-340b-reward --api-key-env "
    "NVIDIA_API_KEY\n";

static rw_status write_json(const cli_eval *o, const eval_result *r, const str *record, rw_error *err) {
  str s = {0};
  cli_eval_json(&s, r, record, o->data.items, o->data.n);
  str_addc(&s, '\n');
  rw_status st = s.oom || record->oom ? rw_nomem(err, o->out) : file_put(o->out, s.p, s.len, err);
  str_free(&s);
  return st;
}

/* FILE.jsonl (or .gz, .zst of it): a row an item; any other name: the summary. */
static rw_status write_public(const cli_eval *o, const eval_data *d, const eval_scores *scores,
                              const eval_result *r, rw_error *err) {
  str s = {0};
  rw_status st = RW_OK;
  if (strstr(cli_base_name(o->out), ".jsonl")) {
    rows_out *out;
    RW_TRY(rows_create(&out, o->out, err));
    for (size_t i = 0; !st && i < eval_items(d); i++) {
      str_clear(&s);
      eval_public_item(&s, d, scores, i);
      st = s.oom ? rw_nomem(err, o->out) : rows_write(out, s.p, s.len, err);
    }
    if (st)
      rows_abort(out);
    else
      st = rows_commit(out, err);
  } else {
    eval_public_summary(&s, r, o->name);
    st = s.oom ? rw_nomem(err, o->out) : file_put(o->out, s.p, s.len, err);
  }
  str_free(&s);
  return st;
}

static rw_status write_html(const cli_eval *o, const eval_result *r, rw_error *err) {
  char title[256];
  snprintf(title, sizeof title, "%s: %s", eval_suite_words[r->suite].text, o->name);
  rep_page *p = rep_page_new(title, "Figures by the benchmark's published formula, made by `reward eval`.");
  rep_section(p, "Results");
  const eval_result *results[1] = {r};
  const char *names[1] = {o->name};
  if (p) eval_page(p, results, names, NULL, 1);
  rw_status st = rep_page_write(p, o->html, err);
  rep_page_free(p);
  return st;
}

static rw_status write_all(const cli_eval *o, const eval_data *d, const eval_scores *scores, const eval_result *r,
                           const str *record, rw_error *err) {
  str table = {0};
  RW_TRY(eval_print(&table, r, err));
  bool stdout_taken = (o->out && strcmp(o->out, "-") == 0) || (o->html && strcmp(o->html, "-") == 0);
  cli_print(stdout_taken ? stderr : stdout, &table);
  str_free(&table);
  if (o->out && o->public_format)
    RW_TRY(write_public(o, d, scores, r, err));
  else if (o->out)
    RW_TRY(write_json(o, r, record, err));
  return o->html ? write_html(o, r, err) : RW_OK;
}

/* Folders of these suites have their rows in folders within: as one list of files. */
static rw_status spread_folders(cli *c, cli_eval *o, arena *a, rw_error *err) {
  if (o->suite != EVAL_RMB && o->suite != EVAL_PPE_CORRECTNESS) return RW_OK;
  const char **paths = NULL;
  size_t n = 0, cap = 0;
  rw_status st = RW_OK;
  for (size_t i = 0; !st && i < o->data.n; i++) {
    eval_files found[EVAL_SUITES] = {{0}};
    if (file_is_dir(o->data.items[i])) st = eval_find(found, o->data.items[i], c->context, a, err);
    const eval_files *own = &found[o->suite];
    for (size_t k = 0; !st && k < own->n; k++)
      if (!vec_push(paths, n, cap, own->paths[k])) st = rw_nomem(err, "files");
    if (!st && !own->n && !vec_push(paths, n, cap, o->data.items[i])) st = rw_nomem(err, "files");
  }
  const char **kept = st ? NULL : arena_alloc(a, n, sizeof *kept);
  if (!st && !kept) st = rw_nomem(err, "files");
  if (kept && paths) {
    memcpy(kept, paths, n * sizeof *kept);
    o->data.items = kept;
    o->data.n = n;
  }
  mem_free(paths);
  return st;
}

static rw_status evaluate(cli *c, const cli_eval *o, rw_error *err) {
  eval_data *d;
  eval_scores scores = {0};
  eval_result r = {0};
  str record = {0};
  json_writer w = jw_inside(&record);
  comm *ranks = c->context->ranks;
  RW_TRY(comm_agree(ranks, eval_load(&d, (eval_suite)o->suite, o->data.items, o->data.n, c->context, err), err));
  rw_status s = cli_eval_score(c, o, NULL, d, &scores, &w, err);
  eval_options eo = {.seed = (uint64_t)c->common.seed, .resamples = EVAL_RESAMPLES};
  if (!s) s = eval_measure(&r, d, &scores, &eo, err);
  if (!s && ranks->rank == 0) s = write_all(o, d, &scores, &r, &record, err);
  if (!s && scores.unscored) s = eval_scores_fail(&scores, d, err); /* what did not fail is written */
  s = comm_agree(ranks, s, err);
  str_free(&record);
  eval_result_free(&r);
  eval_scores_free(&scores);
  eval_data_free(d);
  return s;
}

static const option_word formats[] = {{"json", false}, {"rewardbench", true}, {NULL, 0}};

static const option table[] = {
    {"suite", .kind = OPTION_CHOICE, .field = offsetof(cli_eval, suite), .words = eval_suite_or_all_words,
     .help = "which benchmark"},
    {"data", .kind = OPTION_LIST, .many = true, .field = offsetof(cli_eval, data), .value = "ROWS",
     .help = "its rows (.jsonl, .gz, .zst, .parquet)"},
    {"model", 'm', .kind = OPTION_TEXT, .field = offsetof(cli_eval, model), .value = "DIR",
     .help = "the reward model"},
    {"scores", .kind = OPTION_TEXT, .field = offsetof(cli_eval, scores), .value = "FILE",
     .help = "scores as `reward score` writes them, instead of a model"},
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(cli_eval, out), .value = "FILE",
     .help = "results as JSON; - is stdout (default: only the table)"},
    {"html", .kind = OPTION_TEXT, .field = offsetof(cli_eval, html), .value = "FILE",
     .help = "a page with bars and tables (default: none)"},
    {"format", .kind = OPTION_CHOICE, .field = offsetof(cli_eval, public_format), .words = formats,
     .initial = "json", .help = "of -o; rewardbench: the public tool's summary, or its rows where FILE is .jsonl"},
    {"name", .kind = OPTION_TEXT, .field = offsetof(cli_eval, name), .value = "NAME",
     .help = "the model's name in page and summary (default: its file name)"},
    {.name = NULL}};

/* Options that do not go together: -1 for none, else the exit status. */
static int check(cli *c, cli_eval *o) {
  if (o->suite < 0 || o->data.n == 0) return cli_usage(c, "--suite and --data are needed");
  if (c->context->ranks->size > 1 && !o->model)
    return cli_usage(c, "several ranks: expected --model; --scores and --endpoint are for one process");
  if (!!o->model + !!o->scores + !!o->remote.o.url != 1)
    return cli_usage(c, "expected one of --model, --scores and --endpoint, got%s%s%s%s", o->model ? " --model" : "",
                     o->scores ? " --scores" : "", o->remote.o.url ? " --endpoint" : "",
                     o->model || o->scores || o->remote.o.url ? "" : " none");
  if (o->suite == EVAL_SUITES && o->public_format)
    return cli_usage(c, "--format: expected one suite with it, got all");
  const char *const outputs[2] = {o->out, o->html};
  int status;
  for (int i = 0; i < 2; i++)
    if ((status = cli_check_output(c, outputs[i], o->data.items, o->data.n)) >= 0 ||
        (status = cli_check_output(c, outputs[i], &o->scores, o->scores != NULL)) >= 0)
      return status;
  return cli_endpoint_check(c, &o->remote, o->out);
}

/* What belongs to a model that is run here. */
static void say_unused(const cli *c, const cli_eval *o) {
  static const char *const others[] = {"device", "dtype", "base"};
  if (o->model) return;
  const char *beside = o->scores ? "--scores" : "--endpoint";
  for (const option *p = cli_scoring_table; p->name; p++)
    if (cli_given(c, p->name)) log_warn(c->context, "--%s is not used beside %s", p->name, beside);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (cli_given(c, others[i])) log_warn(c->context, "--%s is not used beside %s", others[i], beside);
}

static int run_command(cli *c, void *values) {
  cli_eval *o = values;
  int status = cli_agree(c, check(c, o));
  if (status >= 0) return status;
  say_unused(c, o);
  if (!o->name)
    o->name = o->model || o->scores ? cli_base_name(o->model ? o->model : o->scores)
              : o->remote.o.model   ? o->remote.o.model
                                    : "endpoint";
  rw_error err;
  arena *a = arena_new();
  rw_status s = a ? spread_folders(c, o, a, &err) : rw_nomem(&err, "files");
  s = comm_agree(c->context->ranks, s, &err);
  if (!s) s = o->suite == EVAL_SUITES ? cli_eval_run_all(c, o, &err) : evaluate(c, o, &err);
  arena_free(a);
  cli_endpoint_done(&o->remote, s == RW_OK);
  return s ? cli_fail(c, &err) : 0;
}

const cli_command cmd_eval = {.name = "eval",
                              .summary = "measure a reward model on published benchmarks",
                              .usage = USAGE,
                              .about = ABOUT,
                              .examples = EXAMPLES,
                              .parts = {{table},
                                        {cli_scoring_table, offsetof(cli_eval, scoring)},
                                        {cli_endpoint_table, offsetof(cli_eval, remote)}},
                              .values = sizeof(cli_eval),
                              .common = CLI_MODEL | CLI_SEED | CLI_ROWS,
                              .ranks = true,
                              .run = run_command};
