/* cmd_curate.c - `reward curate`. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "curate/curate.h"

static const char USAGE[] = "curate RECIPE.yaml [--input SOURCE=FILE…] -o DIR [options]";
static const char ABOUT[] =
    "Builds a preference set from public sources by a recipe (docs/recipes.md): train.jsonl (or Parquet),\n"
    "removed.jsonl (every row that was left out, and why), README.md (the data card), report.json, report.html,\n"
    "manifest.json. The same inputs and recipe give the same bytes. --seed wins over the seeds of the recipe's "
    "sample\n"
    "stages. Sources: magpie-ultra, magpie-pro-llama3.1, magpie-pro-llama3, magpie-air, wildguardmix, offsetbias,\n"
    "helpsteer2, preference-700k, nectar, hh-rlhf, ultrafeedback, pairs.";
static const char EXAMPLES[] =
    "  reward curate recipes/skywork-80k-v0.1.yaml --input helpsteer2=hs2.jsonl.gz --input … --model rm -o set\n"
    "  reward curate recipes/skywork-80k-v0.1.yaml --only offsetbias --input offsetbias=ob.jsonl -o part\n"
    "  reward curate r.yaml --input … --agree-pairs ask.jsonl   # then: reward score --model rm ask.jsonl -o "
    "scores.jsonl\n"
    "  reward curate r.yaml --input … --scores scores.jsonl -o set\n"
    "  reward curate r.yaml --input … --explain magpie-air:12\n";

int cmd_curate_run(int argc, char **argv) {
  curate_options o = {0};
  cli_list inputs = {0}, only = {0}, bench = {0}, words = {0};
  const char *only_text = NULL, *format = "jsonl";
  const opt table[] = {
      {"input", 0, OPT_LIST, &inputs, "SOURCE=FILE", "a source's rows; repeatable", true},
      {"only", 0, OPT_STRING, &only_text, "SOURCE,…", "run the recipe on these sources alone", false},
      {"bench", 0, OPT_LIST, &bench, "FILE…", "benchmark rows for the decontaminate stages", true},
      {"scores", 0, OPT_STRING, &o.scores, "FILE",
       "scored pairs for the agree stage, as `reward score` writes them", false},
      {"model", 0, OPT_STRING, &o.model.model, "DIR", "a reward model for the agree stage, instead of --scores",
       false},
      {"no-golden-check", 0, OPT_FLAG, &o.model.no_golden_check, NULL,
       "go on although the model does not give the scores recorded in its reward.json", false},
      {"agree-pairs", 0, OPT_STRING, &o.agree_pairs, "FILE",
       "write the pairs that the agree stage asks about, and stop", false},
      {"output", 'o', OPT_STRING, &o.out, "DIR", "the folder to make", false},
      {"format", 0, OPT_STRING, &format, "jsonl|parquet",
       "train.jsonl, or data/train-*.parquet as Hugging Face lays it out", false},
      {"dry-run", 0, OPT_FLAG, &o.dry_run, NULL, "show the plan and the counts, write nothing", false},
      {"explain", 0, OPT_STRING, &o.explain, "ID", "follow one row or pair through the stages, write nothing",
       false},
      {"lenient", 0, OPT_FLAG, &o.lenient, NULL, "leave out rows of another shape, and count them", false},
      {"force", 0, OPT_FLAG, &o.force, NULL, "write into a folder that has files", false},
      {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status = cli_parse(argc, argv, table, &words, 1, USAGE, ABOUT, EXAMPLES);
  if (status >= 0) return status;
  for (size_t i = 0; words.n == 0 && i < inputs.n; i++)
    if (!strchr(inputs.items[i], '='))
      return cli_usage(
          "--input: expected SOURCE=FILE, got '%s'; is that the recipe? It goes first, or behind --, as "
          "--input takes all words up to the next option",
          inputs.items[i]);
  if (words.n != 1) return cli_missing("a recipe is needed");
  o.parquet = strcmp(format, "parquet") == 0;
  for (size_t i = 0; i < inputs.n; i++) {
    const char *eq = strchr(inputs.items[i], '=');
    if (eq && strcmp(eq, "=-") == 0)
      return cli_usage("--input %s: expected a file, which is read twice, got stdin", inputs.items[i]);
  }
  if (!o.out && !o.dry_run && !o.explain && !o.agree_pairs) return cli_usage("-o DIR is needed");
  char *copy = cli_keep(only_text ? only_text : "", only_text ? strlen(only_text) : 0);
  if (!copy) return cli_usage("memory ran out");
  for (char *p = strtok(copy, ","); p; p = strtok(NULL, ","))
    if (!cli_push(&only, p)) return cli_usage("memory ran out");
  if (cli_given("only") && only.n == 0) return cli_usage("--only: expected names of sources, got '%s'", only_text);
  o.recipe = words.items[0];
  o.seed = cli_given("seed") ? &cli_opts.seed : NULL;
  o.inputs = inputs.items, o.n_inputs = inputs.n;
  o.only = only.items, o.n_only = only.n;
  o.bench = bench.items, o.n_bench = bench.n;
  if (!(o.context = cli_threads())) return 1;
  o.model.context = o.context;
  o.model.device = cli_opts.device;
  o.model.dtype = cli_opts.dtype;
  rw_error err;
  curate_counts c;
  str text = {0};
  rw_status s = o.model.model ? cli_model_dir(&o.model.model, &err) : RW_OK;
  o.model.base = cli_opts.base;
  if (!s) s = curate_run(&o, &c, &text, &err);
  if (!s && text.p) fputs(text.p, stdout);
  str_free(&text);
  if (s) return cli_fail(&err);
  if (!o.explain) log_note(&cli_context, "%zu rows read, %zu pairs kept", c.rows, c.pairs);
  return 0;
}
