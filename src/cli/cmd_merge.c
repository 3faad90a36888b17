/* cmd_merge.c - `reward merge`. */
#include <string.h>

#include "cli/cli.h"
#include "format/safetensors.h"
#include "train/train.h"

int cmd_merge_run(int argc, char **argv) {
  const char *out = NULL, *dtype = "";
  bool force = false, no_golden_check = false;
  cli_list words = {0};
  const opt table[] = {{"output", 'o', OPT_STRING, &out, "DIR", "the checkpoint directory to make", false},
                       {"save-dtype", 0, OPT_STRING, &dtype, "f32|f16|bf16",
                        "precision of the written weights (default: the base's)", false},
                       {"no-golden-check", 0, OPT_FLAG, &no_golden_check, NULL,
                        "take the adapter although its golden rows score otherwise", false},
                       {"force", 0, OPT_FLAG, &force, NULL, "write into a folder that has files", false},
                       {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status =
      cli_parse(argc, argv, table, &words, 1, "merge ADAPTER -o DIR [options]",
                "Puts a PEFT directory's low-rank adapters into its base model, W + (alpha / r) B A, and writes a\n"
                "checkpoint directory that needs no adapter. The base is found by the adapter's\n"
                "base_model_name_or_path, or said by --base.",
                "  reward train --model base --data train.jsonl --lora-rank 16 --out adapter\n"
                "  reward merge adapter -o rm\n");
  if (status >= 0) return status;
  if (words.n != 1 || !out) return cli_usage("an adapter's folder and -o DIR are needed");
  rw_error err;
  int t = !*dtype ? -1 : strcmp(dtype, "f16") == 0 ? DT_F16 : strcmp(dtype, "bf16") == 0 ? DT_BF16 : DT_F32;
  rw_context *context = cli_threads();
  if (!context) return 1;
  const char *adapter = words.items[0];
  if (cli_model_dir(&adapter, &err) ||
      train_merge(adapter, cli_opts.base, out, force, no_golden_check, t, context, &err))
    return cli_fail(&err);
  log_note(&cli_context, "%s written", out);
  return 0;
}
