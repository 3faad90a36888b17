/* cmd_train.c - `reward train`. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/training.h"
#include "eval/eval.h"
#include "format/safetensors.h"

static const char USAGE[] = "train --model DIR --data ROWS --out DIR [options]";
static const char ABOUT[] =
    "Trains a reward model on preference pairs or rankings: a checkpoint directory that\n"
    "transformers.AutoModelForSequenceClassification loads, with metrics.jsonl and run.json beside it.\n"
    "Same seed: the same bits, at any --threads and --batch-tokens, and across Ctrl-C and --resume.\n"
    "The defaults of the optimizer follow a public account of the Skywork-Reward 8B run; the constants\n"
    "gamma, margin, t and temperature are ours.";
static const char EXAMPLES[] =
    "  reward train --model base --data train.jsonl --out rm --lr 1e-5 --epochs 1\n"
    "  reward train --model base --data train.jsonl --out rm --eval rewardbench:bench.jsonl --eval-every 50 --keep "
    "best\n"
    "  reward train --model base --data train.jsonl --out rm --resume        # after Ctrl-C or a crash\n"
    "  reward train --model base --data train.jsonl --out rm --dry-run       # tokens, steps, memory, time\n";

static int index_of(const char *const *names, size_t n, const char *name) {
  for (size_t i = 0; i < n; i++)
    if (strcmp(names[i], name) == 0) return (int)i;
  return -1;
}

int cli_check_evals(const cli_list *evals) {
  for (size_t i = 0; i < evals->n; i++) {
    const char *spec = evals->items[i], *colon = strchr(spec, ':');
    eval_suite suite;
    bool known = colon && eval_suite_of((slice){spec, (size_t)(colon - spec)}, &suite);
    if (file_exists(known ? colon + 1 : spec)) continue;
    if (known || !colon) return cli_usage("--eval %s: expected a file, or SUITE:FILE, got none there", spec);
    str names = {0};
    for (int k = 0; k < EVAL_SUITES; k++) {
      if (k > 0) str_addz(&names, k + 1 < EVAL_SUITES ? ", " : " or ");
      str_addz(&names, eval_suite_name[k]);
    }
    int status = cli_usage("--eval %s: expected %s before the colon, or a file of that whole name, got '%.*s'",
                           spec, names.p ? names.p : "a suite", (int)(colon - spec), spec);
    str_free(&names);
    return status;
  }
  return -1;
}

/* The command that goes on, as a shell takes it. */
static void say_command(int argc, char **argv, bool resumes) {
  str s = {0};
  str_addz(&s, "reward");
  for (int i = 0; i < argc; i++) {
    bool plain =
        *argv[i] && strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
                        strlen(argv[i]);
    str_addz(&s, plain ? " " : " '");
    for (const char *c = argv[i]; *c; c++) {
      if (*c == '\'')
        str_addz(&s, "'\\''");
      else
        str_addc(&s, *c);
    }
    if (!plain) str_addc(&s, '\'');
  }
  if (!resumes) str_addz(&s, " --resume");
  if (!s.oom) log_note(&cli_context, "to go on: %s", s.p);
  str_free(&s);
}

/* What the command line fills: the run's options, and words that are read further. */
static struct train_line {
  train_options o;
  cli_list data, evals;
  const char *loss, *ranking, *schedule, *over, *shuffle, *betas, *no_decay, *save_dtype, *share, *board, *config,
      *states;
  char betas_text[64];
} line;

static const char *const schedules[] = {"cosine", "linear", "constant"},
                         *const overs[] = {"error", "truncate", "drop"},
                         *const rankings[] = {"auto", "plackett-luce", "all-pairs"},
                         *const no_decays[] = {NULL, "norm", "bias", "norm,bias"}, *const yes_no[] = {"no", "yes"},
                         *const state_types[] = {"f32", "8bit"};

/* The words that say what line.o holds. */
static void words_of_line(void) {
  const train_options *o = &line.o;
  line.loss = loss_names[o->loss.kind];
  line.ranking = rankings[o->loss.ranking];
  line.schedule = schedules[o->schedule];
  line.over = overs[o->overlong];
  line.shuffle = yes_no[o->shuffle];
  line.share = yes_no[o->share];
  line.board = yes_no[o->tensorboard];
  line.states = state_types[o->states_8bit];
  line.no_decay = no_decays[o->no_decay_norm + 2 * o->no_decay_bias];
  line.save_dtype = o->save_dtype == DT_F32    ? "f32"
                    : o->save_dtype == DT_F16  ? "f16"
                    : o->save_dtype == DT_BF16 ? "bf16"
                                               : NULL;
  snprintf(line.betas_text, sizeof line.betas_text, "%.15g,%.15g", o->beta1, o->beta2);
  line.betas = line.betas_text;
}

const opt cli_train_options[] = {
    {"model", 'm', OPT_STRING, &line.o.model, "DIR", "the model to start from; a missing head is drawn at random",
     false},
    {"data", 0, OPT_LIST, &line.data, "ROWS", "pairs or rankings (.jsonl, .gz, .zst, .parquet); may be repeated",
     true},
    {"out", 'o', OPT_STRING, &line.o.out, "DIR", "the checkpoint directory to make", false},
    {"loss", 0, OPT_STRING, &line.loss,
     "bt|focal|focal-penalty|hinge|margin-mse|ce|tempered-log|temperature-bt|plackett-luce", "the loss", false},
    {"ranking", 0, OPT_STRING, &line.ranking, "auto|plackett-luce|all-pairs",
     "rows of several responses: Plackett-Luce, or --loss over all their ordered pairs (default: as --loss says)",
     false},
    {"gamma", 0, OPT_NUMBER, &line.o.loss.gamma, "X", "of focal and focal-penalty", false},
    {"margin", 0, OPT_NUMBER, &line.o.loss.margin, "X",
     "of hinge and margin-mse; a row's own margin counts instead", false},
    {"tempered-t", 0, OPT_NUMBER, &line.o.loss.tempered_t, "X", "of tempered-log, 0 <= t < 1", false},
    {"temperature", 0, OPT_NUMBER, &line.o.loss.temperature, "X", "of temperature-bt", false},
    {"center", 0, OPT_NUMBER, &line.o.loss.center, "C", "adds C mean((r_c + r_r)^2) to the loss", false},
    {"lr", 0, OPT_NUMBER, &line.o.lr, "X", "peak learning rate", false},
    {"betas", 0, OPT_STRING, &line.betas, "A,B", "of AdamW", false},
    {"eps", 0, OPT_NUMBER, &line.o.eps, "X", "of AdamW", false},
    {"weight-decay", 0, OPT_NUMBER, &line.o.weight_decay, "X", "decoupled weight decay", false},
    {"no-decay", 0, OPT_STRING, &line.no_decay, "norm,bias", "tensors without weight decay (default: none)", false},
    {"max-grad-norm", 0, OPT_NUMBER, &line.o.max_grad_norm, "X", "clips the gradient's norm; 0: off", false},
    {"schedule", 0, OPT_STRING, &line.schedule, "cosine|linear|constant", "learning rate after the warm-up", false},
    {"warmup", 0, OPT_NUMBER, &line.o.warmup, "RATIO", "share of the steps with a rising rate", false},
    {"min-lr", 0, OPT_NUMBER, &line.o.min_lr, "RATIO", "the schedule's end, as a share of --lr", false},
    {"batch-size", 0, OPT_INT, &line.o.batch_size, "PAIRS", "rows in one update", false},
    {"epochs", 0, OPT_INT, &line.o.epochs, "N", "passes over the data", false},
    {"steps", 0, OPT_INT, &line.o.steps, "N", "updates, instead of --epochs (default: not set)", false},
    {"shuffle", 0, OPT_STRING, &line.shuffle, "yes|no", "a new order each epoch", false},
    {"max-length", 0, OPT_INT, &line.o.max_length, "N",
     "tokens a conversation may have (default: the model's limit)", false},
    {"overlong", 0, OPT_STRING, &line.over, "drop|truncate|error", "what to do with a longer row", false},
    {"batch-tokens", 0, OPT_INT, &line.o.batch_tokens, "N",
     "tokens of one forward pass; memory grows with it, the result does not change", false},
    {"recompute", 0, OPT_STRING, &line.o.recompute, "auto|no|full",
     "keep only each layer's input and run the layer again in the backward pass: less memory, the same result; "
     "auto: "
     "when memory would not do otherwise",
     false},
    {"optimizer-states", 0, OPT_STRING, &line.states, "f32|8bit", "precision of AdamW's moments", false},
    {"share", 0, OPT_STRING, &line.share, "yes|no", "compute a prompt that a row's responses share once", false},
    {"freeze-layers", 0, OPT_INT, &line.o.freeze_layers, "N", "train layers from N up (and not the embedding)",
     false},
    {"lora-rank", 0, OPT_INT, &line.o.lora_rank, "R",
     "train low-rank adapters and the head only; OUT is a PEFT directory; 0: everything", false},
    {"lora-alpha", 0, OPT_NUMBER, &line.o.lora_alpha, "A", "the adapters count A / R (default: twice the rank)",
     false},
    {"lora-targets", 0, OPT_STRING, &line.o.lora_targets, "NAMES",
     "projections with adapters, as q_proj,v_proj; all-linear: every one", false},
    {"lora-dropout", 0, OPT_NUMBER, &line.o.lora_dropout, "P",
     "share of an adapter's inputs that a training pass drops (default: 0, or as before where an adapter is "
     "trained "
     "on)",
     false},
    {"eval", 0, OPT_LIST, &line.evals, "[SUITE:]FILE", "evaluate before, during and after; may be repeated", false},
    {"eval-every", 0, OPT_INT, &line.o.eval_every, "N", "steps between evaluations; 0: only before and after",
     false},
    {"early-stop", 0, OPT_INT, &line.o.early_stop, "N",
     "ends the run after N evaluations that brought nothing better than the best before; 0: never", false},
    {"keep", 0, OPT_STRING, &line.o.keep, "best|last|N",
     "weights to publish: the best by the first --eval, or the last; N: the last, and the N checkpoints before "
     "stay",
     false},
    {"save-every", 0, OPT_INT, &line.o.save_every, "N",
     "steps between checkpoints (default: by --save-minutes alone)", false},
    {"chat-template", 0, OPT_STRING, &line.o.chat_template, "FILE", "instead of the model's own (default: its own)",
     false},
    {"date", 0, OPT_STRING, &line.o.date, "YYYY-MM-DD", "what strftime_now returns", false},
    {"save-dtype", 0, OPT_STRING, &line.save_dtype, "f32|f16|bf16",
     "precision of the written weights (default: the input's)", false},
    {"save-minutes", 0, OPT_NUMBER, &line.o.save_minutes, "X", "minutes between checkpoints to resume from", false},
    {"tensorboard", 0, OPT_STRING, &line.board, "yes|no", "event files for TensorBoard in OUT/tensorboard", false},
    {"no-golden-check", 0, OPT_FLAG, &line.o.no_golden_check, NULL,
     "start from a checkpoint although it does not give the scores recorded in its reward.json", false},
    {"config", 0, OPT_STRING, &line.config, "FILE.yaml",
     "the same names and their values; the command line wins (default: none)", false},
    {"resume", 0, OPT_FLAG, &line.o.resume, NULL, "go on from the checkpoint in --out", false},
    {"force", 0, OPT_FLAG, &line.o.force, NULL, "write into a folder that has files", false},
    {"dry-run", 0, OPT_FLAG, &line.o.dry_run, NULL, "print tokens, steps, memory and time, and stop", false},
    {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};

static int check_ranges(const train_options *o) {
  const char *any = "0 or more", *one = "1 or more", *ratio = "a ratio from 0 to 1", *above = "a number above 0";
  const struct {
    const char *name, *expected;
    double got;
    bool ok;
  } checks[] = {
      {"lr", any, o->lr, o->lr >= 0},
      {"eps", above, o->eps, o->eps > 0},
      {"weight-decay", any, o->weight_decay, o->weight_decay >= 0},
      {"max-grad-norm", any, o->max_grad_norm, o->max_grad_norm >= 0},
      {"gamma", any, o->loss.gamma, o->loss.gamma >= 0},
      {"tempered-t", "0 <= t < 1", o->loss.tempered_t, o->loss.tempered_t >= 0 && o->loss.tempered_t < 1},
      {"temperature", above, o->loss.temperature, o->loss.temperature > 0},
      {"center", any, o->loss.center, o->loss.center >= 0},
      {"betas", "numbers in [0, 1)", o->beta1, o->beta1 >= 0 && o->beta1 < 1},
      {"betas", "numbers in [0, 1)", o->beta2, o->beta2 >= 0 && o->beta2 < 1},
      {"warmup", ratio, o->warmup, o->warmup >= 0 && o->warmup <= 1},
      {"min-lr", ratio, o->min_lr, o->min_lr >= 0 && o->min_lr <= 1},
      {"batch-size", one, (double)o->batch_size, o->batch_size >= 1},
      {"batch-tokens", one, (double)o->batch_tokens, o->batch_tokens >= 1},
      {"epochs", one, (double)o->epochs, o->epochs >= 1},
      {"steps", one, (double)o->steps, o->steps >= 1 || !cli_given("steps")},
      {"max-length", one, (double)o->max_length, o->max_length >= 1 || !cli_given("max-length")},
      {"freeze-layers", any, (double)o->freeze_layers, o->freeze_layers >= 0},
      {"lora-rank", "0 to 65536", (double)o->lora_rank, o->lora_rank >= 0 && o->lora_rank <= 65536},
      {"lora-alpha", above, o->lora_alpha, o->lora_alpha > 0 || !cli_given("lora-alpha")},
      {"lora-dropout", "0 <= P < 1", o->lora_dropout,
       (o->lora_dropout >= 0 && o->lora_dropout < 1) || !cli_given("lora-dropout")},
      {"eval-every", any, (double)o->eval_every, o->eval_every >= 0},
      {"early-stop", any, (double)o->early_stop, o->early_stop >= 0},
      {"save-every", any, (double)o->save_every, o->save_every >= 0},
      {"save-minutes", any, o->save_minutes, o->save_minutes >= 0},
  };
  for (size_t i = 0; i < sizeof checks / sizeof *checks; i++)
    if (!checks[i].ok)
      return cli_usage("--%s: expected %s, got %g", checks[i].name, checks[i].expected, checks[i].got);
  return -1;
}

const cli_loss_option cli_loss_options[CLI_LOSS_OPTIONS] = {
    {"gamma", {LOSS_FOCAL, LOSS_FOCAL_PENALTY}},
    {"margin", {LOSS_HINGE, LOSS_MARGIN_MSE}},
    {"tempered-t", {LOSS_TEMPERED_LOG, LOSS_TEMPERED_LOG}},
    {"temperature", {LOSS_TEMPERATURE_BT, LOSS_TEMPERATURE_BT}}};

/* Options that have no effect in this run. */
static void say_unused(const train_options *o) {
  for (size_t i = 0; i < CLI_LOSS_OPTIONS; i++) {
    const cli_loss_option *of = &cli_loss_options[i];
    if (!cli_given(of->name) || o->loss.kind == of->of[0] || o->loss.kind == of->of[1]) continue;
    bool two = of->of[0] != of->of[1]; /* a file of options that serves several losses may name them all */
    log_warn(&cli_context, "--%s is not used: it is of --loss %s%s%s, not of %s", of->name, loss_names[of->of[0]],
             two ? " and " : "", two ? loss_names[of->of[1]] : "", loss_names[o->loss.kind]);
  }
  if (cli_given("epochs") && cli_given("steps")) log_warn(&cli_context, "--epochs is not used beside --steps");
}

/* Options that mean nothing without another, or not beside it. */
static int check_together(const train_options *o) {
  if (o->resume && o->force)
    return cli_usage("--resume, --force: expected one of them, got both; --resume goes on, --force starts anew");
  if (cli_given("lora-targets") && o->lora_rank == 0)
    return cli_usage("--lora-targets: expected --lora-rank with it");
  if (cli_given("eval-every") && o->n_eval == 0) return cli_usage("--eval-every needs an --eval");
  if (o->early_stop > 0 && (o->n_eval == 0 || o->eval_every == 0))
    return cli_usage("--early-stop needs an --eval and --eval-every");
  if (strcmp(o->keep, "best") == 0 && o->n_eval == 0) return cli_usage("--keep best needs an --eval");
  return -1;
}

typedef struct {
  int argc;
  char **argv;
} command_line;

/* run.json's "arguments": the command line, and of every option what took effect. */
static void arguments_json(void *ctx, const train_options *effective, str *out) {
  const command_line *c = ctx;
  str_addz(out, "{\n    \"command\": [\"reward\"");
  for (int i = 0; i < c->argc; i++) {
    str_addz(out, ", ");
    str_json(out, c->argv[i], strlen(c->argv[i]));
  }
  str_addz(out, "],\n    \"effective\": {");
  line.o = *effective;
  words_of_line();
  cli_opts.device = effective->device;
  cli_opts.dtype = effective->dtype;
  cli_opts.base = effective->base;
  cli_opts.threads = pool_threads(effective->context->threads);
  cli_options_json(out, cli_train_options);
  str_addz(out, "}\n  }");
}

int cmd_train_run(int argc, char **argv) { return cli_train(argc, argv, NULL); }

/* The words, and those of --config, which go into argc and argv, as options: -1, or the exit status. */
static int parse(int *argc, char ***argv, train_options *out) {
  line = (struct train_line){0};
  train_defaults(&line.o);
  words_of_line();
  cli_list words = {0};
  int status = cli_config(argc, argv, cli_train_options, NULL);
  if (status >= 0) return status;
  status = cli_parse(*argc, *argv, cli_train_options, &words, 0, USAGE, ABOUT, EXAMPLES);
  if (status >= 0) return status;
  train_options o = line.o;
  o.data = line.data.items;
  o.n_data = line.data.n;
  o.eval = line.evals.items;
  o.n_eval = line.evals.n;
  if (!o.model || line.data.n == 0 || (!o.out && !o.dry_run))
    return cli_usage("--model, --data and --out are needed");
  o.loss.kind = (loss_kind)index_of(loss_names, LOSS_KINDS, line.loss);
  o.loss.ranking = (ranking_kind)index_of(rankings, 3, line.ranking);
  o.schedule = (schedule_kind)index_of(schedules, 3, line.schedule);
  o.overlong = (overlong)index_of(overs, 3, line.over);
  o.shuffle = strcmp(line.shuffle, "yes") == 0;
  o.share = strcmp(line.share, "yes") == 0;
  o.tensorboard = strcmp(line.board, "yes") == 0;
  o.states_8bit = strcmp(line.states, "8bit") == 0;
  if (line.save_dtype)
    o.save_dtype = strcmp(line.save_dtype, "f32") == 0   ? DT_F32
                   : strcmp(line.save_dtype, "f16") == 0 ? DT_F16
                                                         : DT_BF16;
  char rest;
  if (sscanf(line.betas, "%lf,%lf%c", &o.beta1, &o.beta2, &rest) != 2)
    return cli_usage("--betas: expected two numbers as 0.9,0.999, got '%s'", line.betas);
  if ((status = cli_check_evals(&line.evals)) >= 0) return status;
  int no_decay = !line.no_decay                            ? 0
                 : strcmp(line.no_decay, "bias,norm") == 0 ? 3
                                                           : 1 + index_of(no_decays + 1, 3, line.no_decay);
  if (line.no_decay && no_decay == 0)
    return cli_usage("--no-decay: expected norm, bias or norm,bias, got '%s'", line.no_decay);
  o.no_decay_norm = no_decay & 1;
  o.no_decay_bias = no_decay & 2;
  if ((status = check_ranges(&o)) >= 0 || (status = check_together(&o)) >= 0) return status;
  if (strcmp(o.keep, "best") != 0 && strcmp(o.keep, "last") != 0 &&
      (o.keep[0] < '1' || o.keep[0] > '9' || strspn(o.keep, "0123456789") != strlen(o.keep) || strlen(o.keep) > 9))
    return cli_usage("--keep: expected best, last or a number of checkpoints from 1, got '%s'", o.keep);
  o.seed = (uint64_t)cli_opts.seed;
  o.device = cli_opts.device;
  o.dtype = cli_opts.dtype;
  *out = o;
  return -1;
}

int cli_train_check(int argc, char **argv) {
  train_options o = {0};
  cli_common before = cli_opts;
  int status = parse(&argc, &argv, &o);
  cli_opts = before;
  return status;
}

int cli_train(int argc, char **argv, train_outlook *outlook) {
  train_options o = {0};
  int status = parse(&argc, &argv, &o);
  if (status >= 0) return status;
  say_unused(&o);
  o.context = cli_threads();
  if (!o.context) return 1;
  command_line command = {argc, argv};
  o.arguments = arguments_json;
  o.arguments_ctx = &command;
  rw_error err;
  train_result r;
  rw_status s = cli_model_dir(&o.model, &err);
  o.base = cli_opts.base;
  if (!s) s = outlook ? train_plan(&o, outlook, &err) : train_run(&o, &r, &err);
  if (s == RW_INTERRUPTED && !outlook && !o.dry_run) say_command(argc, argv, o.resume);
  if (s) return cli_fail(&err);
  if (!outlook && !o.dry_run && r.steps > 0)
    log_note(&cli_context, "%lld steps done, loss %.4f, accuracy %.3f (recent): %s", (long long)r.steps, r.loss,
             r.accuracy, o.out);
  return 0;
}
