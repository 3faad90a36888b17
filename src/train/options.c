/* options.c - the options of a training: one row an option. Adding one is a row here, its field in train_options,
 * and its use.
 *
 * The order of the rows is that of run.json. The fingerprint keeps its own (fingerprint.c), so rows may move.
 */

#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "train/train.h"

#define AT(f)      offsetof(train_options, f)
#define ONLY(...)  .of = "loss", .of_values = __VA_ARGS__
#define LOSS(kind) (1u << LOSS_##kind)

static const char DATA[] = "Data", LOSS_GROUP[] = "Loss", OPTIMIZER[] = "Optimizer", SCHEDULE[] = "Schedule",
                  BATCHES[] = "Lengths and batches", ADAPTERS[] = "Layers and adapters",
                  EVALUATION[] = "Evaluation", CHECKPOINTS[] = "Checkpoints", RUNNING[] = "Running";

static const option_word rankings[] = {{"auto", RANKING_BY_LOSS},
                                       {"plackett-luce", RANKING_PLACKETT_LUCE},
                                       {"all-pairs", RANKING_ALL_PAIRS},
                                       {NULL, 0}},
                         schedules[] = {{"cosine", SCHEDULE_COSINE},
                                        {"linear", SCHEDULE_LINEAR},
                                        {"constant", SCHEDULE_CONSTANT},
                                        {NULL, 0}},
                         overlongs[] = {{"drop", OVERLONG_DROP},
                                        {"truncate", OVERLONG_TRUNCATE},
                                        {"error", OVERLONG_ERROR},
                                        {NULL, 0}},
                         undecayed[] = {{"norm", NO_DECAY_NORM}, {"bias", NO_DECAY_BIAS}, {NULL, 0}},
                         states[] = {{"f32", 0}, {"8bit", 1}, {NULL, 0}},
                         shards[] = {{"states", 0}, {"all", 1}, {NULL, 0}},
                         golden[] = {{"rows", 1}, {"none", 0}, {NULL, 0}};
const option_word recompute_words[] = {
    {"no", RECOMPUTE_NO}, {"mlp", RECOMPUTE_MLP}, {"full", RECOMPUTE_FULL}, {"auto", RECOMPUTE_AUTO}, {NULL, 0}};

/* clang-format off */
const option train_option_table[] = {
    {"model", 'm', .kind = OPTION_TEXT, .field = AT(model), .value = "DIR", .affects = OPTION_INPUT, .group = DATA,
     .help = "the model to start from; a missing head is drawn at random"},
    {"data", .kind = OPTION_LIST, .many = true, .field = AT(data), .value = "ROWS", .affects = OPTION_INPUT,
     .group = DATA, .help = "pairs, rankings, or rows with a score (.jsonl, .gz, .zst, .parquet); may be repeated"},
    {"out", 'o', .kind = OPTION_TEXT, .field = AT(out), .value = "DIR", .affects = OPTION_PUBLISHED, .group = DATA,
     .help = "the checkpoint directory to make"},

    {"loss", .kind = OPTION_CHOICE, .field = AT(loss.kind), .words = loss_words, .initial = "bt",
     .affects = OPTION_BITS, .group = LOSS_GROUP, .help = "the loss"},
    {"ranking", .kind = OPTION_CHOICE, .field = AT(loss.ranking), .words = rankings, .initial = "auto",
     .affects = OPTION_BITS, .group = LOSS_GROUP,
     .help = "rows of several responses: Plackett-Luce, or --loss over all their ordered pairs (default: as --loss says)"},
    {"gamma", .kind = OPTION_NUMBER, .field = AT(loss.gamma), .value = "X", .initial = "2",
     .range = OPTION_AT_LEAST(0), .affects = OPTION_BITS, .group = LOSS_GROUP, ONLY(LOSS(FOCAL) | LOSS(FOCAL_PENALTY)),
     .help = "of focal and focal-penalty"},
    {"margin", .kind = OPTION_NUMBER, .field = AT(loss.margin), .value = "X", .initial = "1",
     .affects = OPTION_BITS, .group = LOSS_GROUP, ONLY(LOSS(HINGE) | LOSS(MARGIN_MSE)),
     .help = "of hinge and margin-mse; a row's own margin counts instead"},
    {"tempered-t", .kind = OPTION_NUMBER, .field = AT(loss.tempered_t), .value = "X", .initial = "0.5",
     .range = {"0 <= t < 1", 0, 1, false, true}, .affects = OPTION_BITS, .group = LOSS_GROUP, ONLY(LOSS(TEMPERED_LOG)),
     .help = "of tempered-log, 0 <= t < 1"},
    {"temperature", .kind = OPTION_NUMBER, .field = AT(loss.temperature), .value = "X", .initial = "2",
     .range = OPTION_ABOVE_0, .affects = OPTION_BITS, .group = LOSS_GROUP, ONLY(LOSS(TEMPERATURE_BT)),
     .help = "of temperature-bt"},
    {"center", .kind = OPTION_NUMBER, .field = AT(loss.center), .value = "C", .range = OPTION_AT_LEAST(0),
     .affects = OPTION_BITS, .group = LOSS_GROUP, .help = "adds C mean((r_c + r_r)^2) to the loss"},

    /* defaults of the optimizer and the schedule: a public account of the Skywork-Reward 8B run */
    {"lr", .kind = OPTION_NUMBER, .field = AT(lr), .value = "X", .initial = "2e-6", .range = OPTION_AT_LEAST(0),
     .affects = OPTION_BITS, .group = OPTIMIZER, .help = "peak learning rate"},
    {"betas", .kind = OPTION_PAIR, .field = AT(betas), .value = "A,B", .initial = "0.9,0.999",
     .range = {"numbers in [0, 1)", 0, 1, false, true}, .affects = OPTION_BITS, .group = OPTIMIZER, .help = "of AdamW"},
    {"eps", .kind = OPTION_NUMBER, .field = AT(eps), .value = "X", .initial = "1e-8", .range = OPTION_ABOVE_0,
     .affects = OPTION_BITS, .group = OPTIMIZER, .help = "of AdamW"},
    {"weight-decay", .kind = OPTION_NUMBER, .field = AT(weight_decay), .value = "X", .initial = "0.001",
     .range = OPTION_AT_LEAST(0), .affects = OPTION_BITS, .group = OPTIMIZER, .help = "decoupled weight decay"},
    {"no-decay", .kind = OPTION_SET, .field = AT(no_decay), .words = undecayed,
     .range = {.expected = "norm, bias or norm,bias"}, .affects = OPTION_BITS, .group = OPTIMIZER,
     .help = "tensors without weight decay (default: none)"},
    {"max-grad-norm", .kind = OPTION_NUMBER, .field = AT(max_grad_norm), .value = "X", .initial = "1",
     .range = OPTION_AT_LEAST(0), .affects = OPTION_BITS, .group = OPTIMIZER,
     .help = "clips the gradient's norm; 0: off"},
    {"schedule", .kind = OPTION_CHOICE, .field = AT(schedule), .words = schedules, .initial = "cosine",
     .affects = OPTION_BITS, .group = SCHEDULE, .help = "learning rate after the warm-up"},
    {"warmup", .kind = OPTION_NUMBER, .field = AT(warmup), .value = "RATIO", .initial = "0.03",
     .range = OPTION_RATIO, .affects = OPTION_BITS, .group = SCHEDULE, .help = "share of the steps with a rising rate"},
    {"min-lr", .kind = OPTION_NUMBER, .field = AT(min_lr), .value = "RATIO", .range = OPTION_RATIO,
     .affects = OPTION_BITS, .group = SCHEDULE, .help = "the schedule's end, as a share of --lr"},

    {"batch-size", .kind = OPTION_INT, .field = AT(batch_size), .value = "PAIRS", .initial = "128",
     .range = OPTION_COUNT_FROM(1), .affects = OPTION_BITS, .group = BATCHES, .help = "rows in one update"},
    {"slices", .kind = OPTION_INT, .field = AT(slices), .value = "S", .initial = "1", .range = OPTION_COUNT_FROM(1),
     .affects = OPTION_BITS, .group = BATCHES, .later = true,
     .help = "parts of a batch whose gradients are added in order, each computed by one of the processes of a run"},
    {"shard", .kind = OPTION_CHOICE, .field = AT(shard), .words = shards, .initial = "states", .group = BATCHES, .later = true,
     .help = "what each of several processes keeps a part of: the optimizer's states, or all: weights and gradients too, "
             "and a slice is one pass; the same result"},
    {"epochs", .kind = OPTION_INT, .field = AT(epochs), .value = "N", .initial = "2", .range = OPTION_COUNT_FROM(1),
     .affects = OPTION_BITS, .group = SCHEDULE, .help = "passes over the data"},
    {"steps", .kind = OPTION_INT, .field = AT(steps), .value = "N", .range = OPTION_COUNT_FROM(1),
     .affects = OPTION_BITS, .group = SCHEDULE, .help = "updates, instead of --epochs (default: not set)"},
    {"shuffle", .kind = OPTION_YES_NO, .field = AT(shuffle), .initial = "yes", .affects = OPTION_BITS,
     .group = BATCHES, .help = "a new order each epoch"},
    {"max-length", .kind = OPTION_INT, .field = AT(max_length), .value = "N", .range = OPTION_COUNT_FROM(1),
     .affects = OPTION_BITS, .group = BATCHES, .help = "tokens a conversation may have (default: the model's limit)"},
    {"overlong", .kind = OPTION_CHOICE, .field = AT(overlong), .words = overlongs, .initial = "drop",
     .affects = OPTION_BITS, .group = BATCHES, .help = "what to do with a longer row"},
    {"batch-tokens", .kind = OPTION_INT, .field = AT(batch_tokens), .value = "N", 
     .range = OPTION_COUNT_FROM(1), .group = BATCHES,
     .help = "tokens of one forward pass; memory grows with it, the result does not change (default: suits the device; "
             "1024 on a CPU)"},
    {"recompute", .kind = OPTION_CHOICE, .field = AT(recompute), .words = recompute_words, .initial = "auto",
     .group = BATCHES,
     .help = "what a layer does not keep but runs again in the backward pass: the MLP's inner activations, or all but its "
             "input; less memory, the same result; auto: the least that memory allows"},
    {"optimizer-states", .kind = OPTION_CHOICE, .field = AT(states_8bit), .words = states, .initial = "f32",
     .affects = OPTION_BITS, .group = OPTIMIZER, .help = "precision of AdamW's moments"},
    {"share", .kind = OPTION_YES_NO, .field = AT(share), .initial = "yes", .affects = OPTION_BITS, .group = BATCHES,
     .help = "compute a prompt that a row's responses share once"},
    {"freeze-layers", .kind = OPTION_INT, .field = AT(freeze_layers), .value = "N", .range = OPTION_COUNT_FROM(0),
     .affects = OPTION_BITS, .group = ADAPTERS, .help = "train layers from N up (and not the embedding)"},
    {"lora-rank", .kind = OPTION_INT, .field = AT(lora_rank), .value = "R", .range = OPTION_BETWEEN(0, 65536),
     .affects = OPTION_BITS, .group = ADAPTERS,
     .help = "train low-rank adapters and the head only; OUT is a PEFT directory; 0: everything"},
    {"lora-alpha", .kind = OPTION_NUMBER, .field = AT(lora_alpha), .value = "A", .range = OPTION_ABOVE_0,
     .affects = OPTION_BITS, .group = ADAPTERS, .help = "the adapters count A / R (default: twice the rank)"},
    {"lora-targets", .kind = OPTION_TEXT, .field = AT(lora_targets), .value = "NAMES", .initial = "all-linear",
     .affects = OPTION_BITS, .group = ADAPTERS,
     .help = "projections with adapters, as q_proj,v_proj; all-linear: every one"},
    {"lora-dropout", .kind = OPTION_NUMBER, .field = AT(lora_dropout), .value = "P", .initial = "-1",
     .range = {"0 <= P < 1", 0, 1, false, true}, .affects = OPTION_BITS, .group = ADAPTERS,
     .help = "share of an adapter's inputs that a training pass drops (default: 0, or as before where an adapter is "
             "trained on)"},

    {"eval", .kind = OPTION_LIST, .field = AT(eval), .value = "[SUITE:]FILE", .affects = OPTION_PUBLISHED,
     .group = EVALUATION, .help = "evaluate before, during and after; may be repeated"},
    {"eval-every", .kind = OPTION_INT, .field = AT(eval_every), .value = "N", .range = OPTION_COUNT_FROM(0),
     .affects = OPTION_CHOSEN, .group = EVALUATION, .help = "steps between evaluations; 0: only before and after"},
    {"early-stop", .kind = OPTION_INT, .field = AT(early_stop), .value = "N", .range = OPTION_COUNT_FROM(0),
     .affects = OPTION_CHOSEN, .group = EVALUATION,
     .help = "ends the run after N evaluations that brought nothing better than the best before; 0: never"},
    {"keep", .kind = OPTION_TEXT, .field = AT(keep), .value = "best|last|N", .initial = "last",
     .affects = OPTION_CHOSEN, .group = CHECKPOINTS,
     .help = "weights to publish: the best by the first --eval, or the last; N: the last, and the N checkpoints before "
             "stay"},
    {"save-every", .kind = OPTION_INT, .field = AT(save_every), .value = "N", .range = OPTION_COUNT_FROM(0),
     .affects = OPTION_PUBLISHED, .group = CHECKPOINTS,
     .help = "steps between checkpoints (default: by --save-minutes alone)"},
    {"chat-template", .kind = OPTION_TEXT, .field = AT(chat_template), .value = "FILE", .affects = OPTION_INPUT,
     .group = DATA, .help = "instead of the model's own (default: its own)"},
    {"date", .kind = OPTION_TEXT, .field = AT(date), .value = "YYYY-MM-DD", .initial = "2024-07-26",
     .affects = OPTION_CHOSEN, .group = DATA, .help = "what strftime_now returns"},
    {"save-dtype", .kind = OPTION_CHOICE, .field = AT(save_dtype), .words = st_dtype_words,
     .affects = OPTION_CHOSEN, .group = CHECKPOINTS,
     .help = "precision of the written weights (default: the input's)"},
    {"save-minutes", .kind = OPTION_NUMBER, .field = AT(save_minutes), .value = "X", .initial = "10",
     .range = OPTION_AT_LEAST(0), .affects = OPTION_PUBLISHED, .group = CHECKPOINTS,
     .help = "minutes between checkpoints to resume from"},
    {"golden", .kind = OPTION_CHOICE, .field = AT(golden), .words = golden, .initial = "rows",
     .affects = OPTION_PUBLISHED, .group = CHECKPOINTS,
     .help = "four training texts in OUT/reward.json, by which every command that opens OUT checks its scores; none: "
             "no training text leaves with the model"},
    {"tensorboard", .kind = OPTION_YES_NO, .field = AT(tensorboard), .initial = "yes", .affects = OPTION_PUBLISHED,
     .group = RUNNING, .help = "event files for TensorBoard in OUT/tensorboard"},
    {"no-golden-check", .kind = OPTION_FLAG, .field = AT(no_golden_check), .group = RUNNING,
     .help = "start from a checkpoint although it does not give the scores recorded in its reward.json"},
    {"config", .kind = OPTION_TEXT, .field = AT(config), .value = "FILE.yaml", .group = RUNNING,
     .help = "the same names and their values; the command line wins (default: none)"},
    {"resume", .kind = OPTION_FLAG, .field = AT(resume), .group = CHECKPOINTS,
     .help = "go on from the checkpoint in --out"},
    {"force", .kind = OPTION_FLAG, .field = AT(force), .group = RUNNING,
     .help = "write into a folder that has files"},
    {"dry-run", .kind = OPTION_FLAG, .field = AT(dry_run), .group = RUNNING,
     .help = "print tokens, steps, memory and time, and stop"},
    {.name = NULL}};
/* clang-format on */

void train_defaults(train_options *o) {
  *o = (train_options){.device = "auto", .dtype = "auto"};
  option_defaults(train_option_table, o);
}

int64_t train_kept_checkpoints(const train_options *o) { return strtoll(o->keep, NULL, 10); }

rw_status train_check(const train_options *o, rw_error *err) {
  const char *k = o->keep;
  if (o->resume && o->force)
    return rw_fail(err, RW_USAGE,
                   FIELD(resume) ", " FIELD(force) ": expected one of them, got both; " FIELD(
                       resume) " goes on, " FIELD(force) " starts anew");
  if (o->early_stop > 0 && (o->eval.n == 0 || o->eval_every == 0))
    return rw_fail(err, RW_USAGE, FIELD(early_stop) " needs an " FIELD(eval) " and " FIELD(eval_every));
  if (strcmp(k, "best") == 0 && o->eval.n == 0)
    return rw_fail(err, RW_USAGE, FIELD(keep) " best needs an " FIELD(eval));
  if (strcmp(k, "best") != 0 && strcmp(k, "last") != 0 &&
      (k[0] < '1' || k[0] > '9' || strspn(k, "0123456789") != strlen(k) || strlen(k) > 9))
    return rw_fail(err, RW_USAGE, FIELD(keep) ": expected best, last or a number of checkpoints from 1, got '%s'",
                   k);
  return RW_OK;
}
