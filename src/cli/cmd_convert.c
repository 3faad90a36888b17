/* cmd_convert.c - `reward convert`. */
#include "cli/cli.h"
#include "format/gguf.h"
#include "format/safetensors.h"
#include "train/train.h"

typedef struct {
  const char *out;
  int dtype;
  bool force;
} options;

static const option table[] = {
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, out), .value = "DIR",
     .help = "the Hugging Face directory to make"},
    {"save-dtype", .kind = OPTION_CHOICE, .field = offsetof(options, dtype), .words = st_dtype_words,
     .help = "precision of the written weights (default: f32, which is exact, or a folder's own)"},
    {"force", .kind = OPTION_FLAG, .field = offsetof(options, force), .help = "write into a folder that has files"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  const options *o = values;
  if (c->words.n != 1 || !o->out) return cli_usage(c, "a GGUF file or a folder, and -o DIR are needed");
  rw_error err;
  out_dir dir;
  const char *from = c->words.items[0];
  rw_status s;
  if (file_is_dir(from)) {
    s = train_convert(from, o->out, o->force, o->dtype, &err);
  } else {
    s = file_dir_begin(&dir, o->out, o->force, &err);
    if (!s) s = gguf_convert(from, o->out, o->dtype < 0 ? DT_F32 : o->dtype, &err);
    file_dir_end(&dir, s == RW_OK);
  }
  if (s) return cli_fail(c, &err);
  log_note(c->context, "%s written", o->out);
  return 0;
}

const cli_command cmd_convert = {
    .name = "convert",
    .summary = "turn a GGUF file, or pytorch_model.bin, into a Hugging Face directory with safetensors",
    .usage = "convert FILE.gguf|DIR -o DIR [options]",
    .about =
        "Turns a GGUF file (Llama, Mistral, Qwen2, Qwen3, Gemma 2, Gemma 3) into a Hugging Face directory:\n"
        "config.json, model.safetensors, tokenizer.json, tokenizer_config.json. Quantized weights are dequantized "
        "exactly.\n"
        "Of a checkpoint's folder it writes the weights as safetensors, those of pytorch_model.bin too, whatever "
        "the "
        "family,\n"
        "beside its config.json and the files of its tokenizer.",
    .examples =
        "  reward convert SmolLM2-135M-Instruct.Q4_1.gguf -o smollm2\n"
        "  reward convert UltraRM-13b -o ultrarm   # pytorch_model-*.bin to model-*.safetensors\n",
    .parts = {{table}},
    .values = sizeof(options),
    .max_words = 1,
    .common = CLI_QUIET,
    .run = run_command};
