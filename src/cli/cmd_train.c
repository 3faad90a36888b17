/* cmd_train.c - `reward train`. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/training.h"
#include "eval/eval.h"

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

int cli_check_evals(const cli *c, const option_list *evals) {
  for (size_t i = 0; i < evals->n; i++) {
    const char *spec = evals->items[i], *colon = strchr(spec, ':');
    eval_suite suite;
    bool known = colon && eval_suite_of((slice){spec, (size_t)(colon - spec)}, &suite);
    if (file_exists(known ? colon + 1 : spec)) continue;
    if (known || !colon) return cli_usage(c, "--eval %s: expected a file, or SUITE:FILE, got none there", spec);
    str names = {0};
    for (int k = 0; k < EVAL_SUITES; k++) {
      if (k > 0) str_addz(&names, k + 1 < EVAL_SUITES ? ", " : " or ");
      str_addz(&names, eval_suite_words[k].text);
    }
    int status = cli_usage(c, "--eval %s: expected %s before the colon, or a file of that whole name, got '%.*s'",
                           spec, names.p ? names.p : "a suite", (int)(colon - spec), spec);
    str_free(&names);
    return status;
  }
  return -1;
}

/* The command that goes on, as a shell takes it. */
static void say_command(const cli *c, bool resumes) {
  char **argv = c->argv;
  str s = {0};
  str_addz(&s, "reward");
  for (int i = 0; i < c->argc; i++) {
    bool plain =
        *argv[i] && strspn(argv[i], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
                        strlen(argv[i]);
    str_addz(&s, plain ? " " : " '");
    for (const char *k = argv[i]; *k; k++) {
      if (*k == '\'')
        str_addz(&s, "'\\''");
      else
        str_addc(&s, *k);
    }
    if (!plain) str_addc(&s, '\'');
  }
  if (!resumes) str_addz(&s, " --resume");
  if (!s.oom) log_note(c->context, "to go on: %s", s.p);
  str_free(&s);
}

bool cli_loss_has(const option *o, int loss) { return !o->of || o->of_values >> loss & 1; }

/* Options that have no effect in this run. */
static void say_unused(const cli *c, const train_options *o) {
  for (const option *p = train_option_table; p->name; p++) {
    if (!cli_given(c, p->name) || cli_loss_has(p, (int)o->loss.kind)) continue;
    str losses = {0}; /* a file of options that serves several losses may name them all */
    for (int k = 0; k < LOSS_KINDS; k++)
      if (cli_loss_has(p, k)) str_printf(&losses, "%s%s", losses.len ? " and " : "", loss_words[k].text);
    log_warn(c->context, "--%s is not used: it belongs to --loss %s, not to %s", p->name, losses.p ? losses.p : "?",
             loss_words[o->loss.kind].text);
    str_free(&losses);
  }
  if (cli_given(c, "epochs") && cli_given(c, "steps")) log_warn(c->context, "--epochs is not used beside --steps");
}

/* Options that mean nothing without another, or not beside it. */
static int check_together(const cli *c, const train_options *o) {
  if (!o->model || o->data.n == 0 || (!o->out && !o->dry_run))
    return cli_usage(c, "--model, --data and --out are needed");
  int status = cli_check_evals(c, &o->eval);
  if (status >= 0) return status;
  if (cli_given(c, "lora-targets") && o->lora_rank == 0)
    return cli_usage(c, "--lora-targets: expected --lora-rank with it");
  if (cli_given(c, "eval-every") && o->eval.n == 0) return cli_usage(c, "--eval-every needs an --eval");
  rw_error err;
  if (train_check(o, &err)) return cli_usage(c, "%s", cli_text(&err));
  return -1;
}

/* run.json's "arguments": the command line, and of every option what took effect. */
static void arguments_json(void *ctx, const train_options *effective, json_writer *w) {
  const cli *c = ctx;
  jw_object_lines(w, "arguments");
  jw_array(w, "command");
  jw_string(w, NULL, "reward");
  for (int i = 0; i < c->argc; i++) jw_string(w, NULL, c->argv[i]);
  jw_end(w);
  cli_common common = c->common;
  common.device = effective->device;
  common.dtype = effective->dtype;
  common.base = effective->base;
  common.threads = pool_threads(effective->context->threads);
  jw_object(w, "effective");
  cli_options_json(w, train_option_table, effective);
  cli_options_json(w, cli_common_table, &common);
  jw_end(w);
  jw_end(w);
}

int cli_train_check(cli_messages *messages, int argc, char **argv) {
  cli c;
  int status = cli_open(&c, &cmd_train, messages, argc, argv);
  if (status < 0) status = check_together(&c, c.values);
  cli_close(&c);
  return status;
}

/* Fills what the table of options does not; -1, or the exit status. */
static int prepare(cli *c, train_options *o) {
  int status = check_together(c, o);
  if (status >= 0) return status;
  say_unused(c, o);
  o->seed = (uint64_t)c->common.seed;
  o->device = c->common.device;
  o->dtype = c->common.dtype;
  if (!(o->context = cli_threads(c))) return 1;
  o->arguments = arguments_json;
  o->arguments_ctx = c;
  return -1;
}

/* outlook: as for cli_train_outlook, or NULL. */
static int train(cli *c, train_options *o, train_outlook *outlook) {
  int status = prepare(c, o);
  if (status >= 0) return status;
  rw_error err;
  train_result r;
  rw_status s = cli_model_dir(c, &o->model, &err);
  o->base = c->common.base;
  if (!s) s = outlook ? train_plan(o, outlook, &err) : train_run(o, &r, &err);
  if (s == RW_INTERRUPTED && !outlook && !o->dry_run) say_command(c, o->resume);
  if (s) return cli_fail(c, &err);
  if (!outlook && !o->dry_run && r.steps > 0)
    log_note(c->context, "%lld steps done, loss %.4f, accuracy %.3f (recent): %s", (long long)r.steps, r.loss,
             r.accuracy, o->out);
  return 0;
}

int cli_train_outlook(cli_messages *messages, int argc, char **argv, train_outlook *outlook) {
  cli c;
  int status = cli_open(&c, &cmd_train, messages, argc, argv);
  if (status < 0) status = train(&c, c.values, outlook);
  cli_close(&c);
  return status;
}

int cli_train_found(cli_messages *messages, int argc, char **argv, run_state *found, rw_error *err) {
  cli c;
  int status = cli_open(&c, &cmd_train, messages, argc, argv);
  train_options *o = c.values;
  if (status < 0) status = prepare(&c, o);
  if (status < 0) {
    rw_status s = cli_model_dir(&c, &o->model, err);
    o->base = c.common.base;
    if (!s) s = train_found(o, found, err);
    status = s ? cli_fail(&c, err) : 0;
  }
  cli_close(&c);
  return status;
}

static int run_command(cli *c, void *values) { return train(c, values, NULL); }

const cli_command cmd_train = {.name = "train",
                               .summary = "train a reward model on preferences",
                               .usage = USAGE,
                               .about = ABOUT,
                               .examples = EXAMPLES,
                               .parts = {{train_option_table}},
                               .values = sizeof(train_options),
                               .common = CLI_MODEL | CLI_SEED | CLI_ROWS,
                               .ranks = true,
                               .run = run_command};
