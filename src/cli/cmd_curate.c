/* cmd_curate.c - `reward curate`. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "curate/curate.h"

static const char USAGE[] = "curate RECIPE.yaml [--input SOURCE=FILE…] -o DIR [options]";
static const char ABOUT[] =
    "Builds a preference set from public sources by a recipe (docs/recipes.md): train.jsonl (or Parquet),\n"
    "removed.jsonl (every row that was left out, and why), README.md (the data card), report.json, report.html,\n"
    "manifest.json. The same inputs and recipe give the same bytes. --seed wins over the seeds of the recipe's\n"
    "sample and split stages. Sources: magpie-ultra, magpie-pro-llama3.1, magpie-pro-llama3, magpie-air,\n"
    "wildguardmix, offsetbias, helpsteer2, helpsteer3, preference-700k, nectar, hh-rlhf, ultrafeedback,\n"
    "tulu3, arena, pairs; rows of your own.";
static const char EXAMPLES[] =
    "  reward curate recipes/skywork-80k-v0.1.yaml --input helpsteer2=hs2.jsonl.gz --input … --model rm -o set\n"
    "  reward curate mine.yaml --input tickets=tickets.jsonl -o set   # docs/recipes.md has mine.yaml\n"
    "  reward curate recipes/skywork-80k-v0.1.yaml --only offsetbias --input offsetbias=ob.jsonl -o part\n"
    "  reward curate r.yaml --input … --agree-pairs ask.jsonl   # then: reward score --model rm ask.jsonl -o "
    "scores.jsonl\n"
    "  reward curate r.yaml --input … --scores scores.jsonl -o set\n"
    "  reward curate r.yaml --input … --explain magpie-air:12\n";

typedef struct {
  curate_options run;
  option_list inputs, bench;
  const char *only;
  int parquet;
} options;

static const option_word formats[] = {{"jsonl", false}, {"parquet", true}, {NULL, 0}};
static const char MODEL[] = "Agreement with a reward model", OUTPUT[] = "Output";

static const option table[] = {
    {"input", .kind = OPTION_LIST, .many = true, .field = offsetof(options, inputs), .value = "SOURCE=FILE",
     .help = "a source's rows; repeatable"},
    {"only", .kind = OPTION_TEXT, .field = offsetof(options, only), .value = "SOURCE,…",
     .help = "run the recipe on these sources alone"},
    {"bench", .kind = OPTION_LIST, .many = true, .field = offsetof(options, bench), .value = "FILE…",
     .help = "benchmark rows for the decontaminate stages"},
    {"scores", .kind = OPTION_TEXT, .field = offsetof(options, run.scores), .value = "FILE", .group = MODEL,
     .help = "scored pairs for the agree stage, as `reward score` writes them"},
    {"model", 'm', .kind = OPTION_TEXT, .field = offsetof(options, run.model.model), .value = "DIR", .group = MODEL,
     .help = "a reward model for the agree stage, instead of --scores"},
    {"no-golden-check", .kind = OPTION_FLAG, .field = offsetof(options, run.model.no_golden_check), .group = MODEL,
     .help = "go on although the model does not give the scores recorded in its reward.json"},
    {"agree-pairs", .kind = OPTION_TEXT, .field = offsetof(options, run.agree_pairs), .value = "FILE",
     .group = MODEL, .help = "write the pairs that the agree stage asks about, and stop"},
    {"tokenizer", .kind = OPTION_TEXT, .field = offsetof(options, run.tokenizer), .value = "DIR",
     .help = "a model folder, or its tokenizer's files, for filters by tokens"},
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, run.out), .value = "DIR",
     .group = OUTPUT, .help = "the folder to make"},
    {"format", .kind = OPTION_CHOICE, .field = offsetof(options, parquet), .words = formats, .initial = "jsonl",
     .group = OUTPUT, .help = "train.jsonl, or data/train-*.parquet as Hugging Face lays it out"},
    {"dry-run", .kind = OPTION_FLAG, .field = offsetof(options, run.dry_run), .group = OUTPUT,
     .help = "show the plan and the counts, write nothing"},
    {"explain", .kind = OPTION_TEXT, .field = offsetof(options, run.explain), .value = "ID", .group = OUTPUT,
     .help = "follow one row or pair through the stages, write nothing"},
    {"lenient", .kind = OPTION_FLAG, .field = offsetof(options, run.lenient),
     .help = "leave out rows of another shape, and count them"},
    {"force", .kind = OPTION_FLAG, .field = offsetof(options, run.force), .group = OUTPUT,
     .help = "write into a folder that has files"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  options *given = values;
  curate_options o = given->run;
  const option_list words = c->words, inputs = given->inputs, bench = given->bench;
  option_list only = {0};
  for (size_t i = 0; words.n == 0 && i < inputs.n; i++)
    if (!strchr(inputs.items[i], '='))
      return cli_usage(
          c,
          "--input: expected SOURCE=FILE, got '%s'; is that the recipe? It goes first, or behind --, as "
          "--input takes all words up to the next option",
          inputs.items[i]);
  if (words.n != 1) return cli_missing(c, "a recipe is needed");
  o.parquet = given->parquet;
  for (size_t i = 0; i < inputs.n; i++) {
    const char *eq = strchr(inputs.items[i], '=');
    if (eq && strcmp(eq, "=-") == 0)
      return cli_usage(c, "--input %s: expected a file, which is read twice, got stdin", inputs.items[i]);
  }
  if (!o.out && !o.dry_run && !o.explain && !o.agree_pairs) return cli_usage(c, "-o DIR is needed");
  if (given->only && !cli_split(c, &only, given->only)) return cli_nomem(c);
  if (given->only && only.n == 0) return cli_usage(c, "--only: expected names of sources, got '%s'", given->only);
  o.recipe = words.items[0];
  o.seed = cli_given(c, "seed") ? &c->common.seed : NULL;
  o.inputs = inputs.items, o.n_inputs = inputs.n;
  o.only = only.items, o.n_only = only.n;
  o.bench = bench.items, o.n_bench = bench.n;
  if (!(o.context = cli_threads(c))) return 1;
  o.model.context = o.context;
  o.model.device = c->common.device;
  o.model.dtype = c->common.dtype;
  rw_error err;
  curate_counts n;
  str text = {0};
  rw_status s = o.model.model ? cli_model_dir(c, &o.model.model, &err) : RW_OK;
  o.model.base = c->common.base;
  if (!s) s = curate_run(&o, &n, &text, &err);
  if (!s) cli_print(stdout, &text);
  str_free(&text);
  if (s) return cli_fail(c, &err);
  if (!o.explain) log_note(c->context, "%zu rows read, %zu pairs kept", n.rows, n.pairs);
  return 0;
}

const cli_command cmd_curate = {.name = "curate",
                                .summary = "build a preference set from public sources by a recipe",
                                .usage = USAGE,
                                .about = ABOUT,
                                .examples = EXAMPLES,
                                .parts = {{table}},
                                .values = sizeof(options),
                                .max_words = 1,
                                .common = CLI_MODEL | CLI_SEED | (CLI_ROWS & ~CLI_MAP),
                                .run = run_command};
