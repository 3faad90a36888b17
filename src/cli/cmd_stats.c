/* cmd_stats.c - `reward stats`: Table 1 of the report for any pair rows. */
#include <stdio.h>

#include "cli/cli.h"
#include "curate/statistics.h"
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
  statistics counts = {0};
  str text = {0};
  json_writer w = {.out = &text};
  rw_status s = cli_model_dir(c, &o->model, &err);
  if (!s) s = tok_load(&t, text_dir(o->model, c->common.base), &err);
  if (!s) s = statistics_count(&counts, rows, t, c->context, &err);
  if (!s && o->json) statistics_json(&counts, &w);
  if (!s && !o->json) s = statistics_tables(&counts, &text, &err);
  if (!s && o->json && !text.oom) puts(text.p);
  if (!s && !o->json) cli_print(stdout, &text);
  str_free(&text);
  statistics_free(&counts);
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
