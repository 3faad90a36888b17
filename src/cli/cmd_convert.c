/* cmd_convert.c - `reward convert`. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "format/gguf.h"
#include "format/safetensors.h"

int cmd_convert_run(int argc, char **argv) {
  const char *out = NULL, *dtype = "f32";
  bool force = false;
  cli_list words = {0};
  const opt table[] = {{"output", 'o', OPT_STRING, &out, "DIR", "the Hugging Face directory to make", false},
                       {"save-dtype", 0, OPT_STRING, &dtype, "f32|f16|bf16",
                        "precision of the written weights; f32 is exact", false},
                       {"force", 0, OPT_FLAG, &force, NULL, "write into a folder that has files", false},
                       {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status = cli_parse(
      argc, argv, table, &words, 1, "convert FILE.gguf -o DIR [options]",
      "Turns a GGUF file (Llama, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3) into a Hugging Face directory:\n"
      "config.json, model.safetensors, tokenizer.json, tokenizer_config.json. Quantized weights are dequantized "
      "exactly.",
      "  reward convert SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2\n");
  if (status >= 0) return status;
  if (words.n != 1 || !out) return cli_usage("a GGUF file and -o DIR are needed");
  rw_error err;
  int t = strcmp(dtype, "f16") == 0 ? DT_F16 : strcmp(dtype, "bf16") == 0 ? DT_BF16 : DT_F32;
  out_dir dir;
  rw_status s = file_dir_begin(&dir, out, force, &err);
  if (!s) s = gguf_convert(words.items[0], out, t, &err);
  file_dir_end(&dir, s == RW_OK);
  if (s) return cli_fail(&err);
  log_note(&cli_context, "%s written", out);
  return 0;
}
