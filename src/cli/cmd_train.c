/* cmd_train.c - `reward train`. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/nearest.h"
#include "cli/training.h"
#include "eval/eval.h"
#include "format/json.h"
#include "format/rows_folder.h"
#include "pages/runs.h"

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
    "  reward train --out rm --resume                                        # after Ctrl-C or a crash\n"
    "  reward train --model base --data train.jsonl --out rm --dry-run       # steps, memory, disk, time\n";

int cli_check_evals(const cli *c, const option_list *evals) {
  for (size_t i = 0; i < evals->n; i++) {
    const char *spec = evals->items[i], *colon = strchr(spec, ':');
    eval_suite suite;
    bool known = colon && eval_suite_of((slice){spec, (size_t)(colon - spec)}, &suite);
    rows_files files;
    rw_error err;
    if (rows_files_of(&files, known ? colon + 1 : spec, c->memory, &err))
      return cli_usage(c, "--eval %s: %s", spec, err.text);
    if (file_exists(files.paths[0])) continue;
    if (known || !colon) return cli_usage(c, "--eval %s: expected a file, or SUITE:FILE, got none there", spec);
    str names = {0};
    nearest near = NEAREST(spec, (size_t)(colon - spec));
    for (int k = 0; k < EVAL_SUITES; k++) {
      nearest_consider(&near, eval_suite_words[k].text);
      if (k > 0) str_addz(&names, k + 1 < EVAL_SUITES ? ", " : " or ");
      str_addz(&names, eval_suite_words[k].text);
    }
    int status =
        cli_usage(c, "--eval %s: expected %s before the colon, or a file of that whole name, got '%.*s'%s%s%s",
                  spec, names.p ? names.p : "a suite", (int)(colon - spec), spec,
                  near.name ? "; did you mean " : "", near.name ? near.name : "", near.name ? "?" : "");
    str_free(&names);
    return status;
  }
  return -1;
}

/* The word as a shell takes it. */
static void add_word(str *s, const char *word) {
  bool plain = *word && strspn(word, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=./:,@%") ==
                            strlen(word);
  if (!plain) str_addc(s, '\'');
  for (const char *k = word; *k; k++) {
    if (*k == '\'')
      str_addz(s, "'\\''");
    else
      str_addc(s, *k);
  }
  if (!plain) str_addc(s, '\'');
}

/* ---- --resume alone ---- */

/* Takes the words of run.json's command that the new one does not replace. */
static bool take_words(cli *c, option_list *out, json_doc *d, json_val command) {
  static const char *const left_out[] = {"out",   "config",  "resume",
                                         "force", "dry-run", "quiet"}; /* --config's are there too */
  json_val v = json_first(d, command);
  for (int i = 0; v != JSON_NONE && i < 2; i++) v = json_next(d, v); /* reward train */
  for (bool skip = false; v != JSON_NONE; v = json_next(d, v)) {
    slice text = json_string(d, v);
    const char *word = text.p ? cli_keep(c, text.p, text.len) : NULL, *value = NULL;
    if (!word) return false;
    if (skip) {
      skip = false;
      continue;
    }
    const option *o = option_is_value(word) ? NULL : cli_option_of_word(c->command, word, &value);
    bool leave = false;
    for (size_t k = 0; o && k < sizeof left_out / sizeof *left_out; k++) leave |= strcmp(o->name, left_out[k]) == 0;
    skip = leave && o->kind != OPTION_FLAG && !value;
    if (!leave && !cli_push(c, out, word)) return false;
  }
  return true;
}

/* The command line of the run in --out, with what is given now behind it. -1, or the exit status. */
static int recall(cli *c, const char *dir, option_list *out) {
  char *path = file_join(dir, "run.json");
  json_file f;
  rw_error err;
  if (!path) return cli_nomem(c);
  int status = -1;
  if (!file_exists(path))
    status = cli_usage(c, "--resume: %s has no run.json to take the arguments from; repeat those of the run", dir);
  else if (json_file_open(&f, path, &err))
    status = cli_fail(c, &err);
  else {
    json_val command = json_get(f.doc, json_get(f.doc, 0, "arguments"), "command");
    bool ok = command != JSON_NONE && cli_push(c, out, c->argv[0]) && take_words(c, out, f.doc, command);
    for (int i = 1; ok && i < c->argc; i++) ok = cli_push(c, out, c->argv[i]);
    if (!ok)
      status =
          cli_usage(c, "--resume: %s has no command to take the arguments from; repeat those of the run", path);
    json_file_close(&f);
  }
  mem_free(path);
  return status;
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
    return cli_usage(c, "--model, --data and --out are needed, got no --%s",
                     !o->model        ? "model"
                     : o->data.n == 0 ? "data"
                                      : "out");
  for (size_t i = 0; i < o->data.n && c->context->ranks->size > 1; i++)
    if (strcmp(o->data.items[i], "-") == 0 || strncmp(o->data.items[i], "/dev/", 5) == 0)
      return cli_usage(c, "--data %s: expected a file, which each of the %d ranks can read", o->data.items[i],
                       c->context->ranks->size);
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

/* ---- the last words ---- */

/* The command that goes on. */
static void say_again(const cli *c, const train_options *o) {
  str s = {0};
  add_word(&s, o->out);
  if (!s.oom) log_note(c->context, "to go on: reward train --out %s --resume", s.p);
  str_free(&s);
}

static void say_held_out(const cli *c, const train_options *o, const train_result *r) {
  const train_figures *f = &r->held_out;
  const char *eval = o->eval.items[0];
  if (f->published.step < 0) return;
  log_note(c->context,
           "held out, %s: %.1f%% right (95%%: %.1f to %.1f), %.1f%% before training, %.1f%% by length alone", eval,
           f->published.percent, f->published.lo, f->published.hi, f->first.percent, f->published.by_length);
  if (f->best.step != r->published)
    log_note(c->context,
             "the best was after step %lld: %.1f%%; published: the last (--keep best publishes the best)",
             (long long)f->best.step, f->best.percent);
  else
    log_note(c->context, "published: the %s, after step %lld",
             r->published == r->steps ? "best, which is the last" : "best", (long long)r->published);
}

/* The run is done whatever becomes of its page. */
static void write_page(const cli *c, const train_options *o) {
  rw_error err;
  if (run_page_write(o->out, c->context, &err))
    log_warn(c->context, "the run's page is not written: %s", cli_text(&err));
  else
    log_note(c->context, "its page: %s/%s", o->out, RUN_PAGE);
  bool written;
  if (model_card_write(o->out, c->context, &written, &err))
    log_warn(c->context, "the model card is not written: %s", cli_text(&err));
  else if (!written)
    log_note(c->context, "%s/README.md is not of this program and stays as it is", o->out);
}

static void say_result(const cli *c, const train_options *o, const train_result *r) {
  str out = {0};
  char right[32] = "";
  if (!isnan(r->accuracy)) snprintf(right, sizeof right, ", %.1f%% right", 100 * r->accuracy);
  log_note(c->context, "%lld steps in %.*f %s; of the recent batches: loss %.4f%s", (long long)r->steps,
           r->seconds < 120 ? 1 : 0, r->seconds < 120 ? r->seconds : r->seconds / 60,
           r->seconds < 120 ? "seconds" : "minutes", r->loss, right);
  if (o->eval.n) say_held_out(c, o, r);
  write_page(c, o);
  if (r->texts)
    log_note(c->context,
             "%s/reward.json holds %zu training texts, by their ids, for checking; --golden none leaves them out",
             o->out, r->texts);
  add_word(&out, o->out);
  if (!out.oom && o->eval.n)
    log_note(c->context, "next: reward score --model %s ROWS.jsonl", out.p);
  else if (!out.oom)
    log_note(c->context, "next: reward eval --suite pairs --data HELD-OUT.jsonl --model %s", out.p);
  str_free(&out);
}

/* outlook: as for cli_train_outlook, or NULL: then all ranks train together. */
static int train(cli *c, train_options *o, train_outlook *outlook) {
  int status = prepare(c, o);
  if (!outlook) status = cli_agree(c, status);
  if (status >= 0) return status;
  rw_error err;
  train_result r;
  rw_status s = cli_model_dir(c, &o->model, &err);
  if (!outlook) s = comm_agree(c->context->ranks, s, &err);
  o->base = c->common.base;
  if (!s) s = outlook ? train_plan(o, outlook, &err) : train_run(o, &r, &err);
  if (s == RW_INTERRUPTED && !outlook && !o->dry_run) say_again(c, o);
  if (s) return cli_fail(c, &err);
  if (!outlook && !o->dry_run && r.steps > 0 && c->context->ranks->rank == 0) say_result(c, o, &r);
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

static int run_command(cli *c, void *values) {
  train_options *o = values;
  option_list words = {0};
  if (!o->resume || !o->out || o->model || o->data.n) return train(c, o, NULL);
  int status = recall(c, o->out, &words);
  if (status >= 0) return status;
  cli again;
  status = cli_open(&again, &cmd_train, c->messages, (int)words.n, (char **)words.items);
  c->messages->quiet = again.common.quiet;
  c->context->max_row_bytes = (size_t)again.common.max_row_bytes;
  if (status < 0) status = train(&again, again.values, NULL);
  cli_close(&again);
  return status;
}

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
