/* cmd_merge.c - `reward merge`. */
#include "cli/cli.h"
#include "format/safetensors.h"
#include "train/train.h"

typedef struct {
  const char *out;
  int dtype;
  bool force, no_golden_check;
} options;

static const option table[] = {
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, out), .value = "DIR",
     .help = "the checkpoint directory to make"},
    {"save-dtype", .kind = OPTION_CHOICE, .field = offsetof(options, dtype), .words = st_dtype_words,
     .help = "precision of the written weights (default: the base's)"},
    {"no-golden-check", .kind = OPTION_FLAG, .field = offsetof(options, no_golden_check),
     .help = "take the adapter although its golden rows score otherwise"},
    {"force", .kind = OPTION_FLAG, .field = offsetof(options, force), .help = "write into a folder that has files"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  const options *o = values;
  if (c->words.n != 1 || !o->out) return cli_usage(c, "an adapter's folder and -o DIR are needed");
  if (!cli_threads(c)) return 1;
  rw_error err;
  const char *adapter = c->words.items[0];
  if (cli_model_dir(c, &adapter, &err) ||
      train_merge(adapter, c->common.base, o->out, o->force, o->no_golden_check, o->dtype, c->context, &err))
    return cli_fail(c, &err);
  log_note(c->context, "%s written", o->out);
  return 0;
}

const cli_command cmd_merge = {
    .name = "merge",
    .summary = "put trained adapters into their base model",
    .usage = "merge ADAPTER -o DIR [options]",
    .about =
        "Puts a PEFT directory's low-rank adapters into its base model, W + (alpha / r) B A, and writes a\n"
        "checkpoint directory that needs no adapter. The base is found by the adapter's\n"
        "base_model_name_or_path, or said by --base.",
    .examples =
        "  reward train --model base --data train.jsonl --lora-rank 16 --out adapter\n"
        "  reward merge adapter -o rm\n",
    .parts = {{table}},
    .values = sizeof(options),
    .max_words = 1,
    .common = CLI_THREADS | CLI_BASE | CLI_QUIET,
    .run = run_command};
