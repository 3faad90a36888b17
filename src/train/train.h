/* train.h - training a reward model: options, the run, its files.
 */
#ifndef TRAIN_TRAIN_H
#define TRAIN_TRAIN_H

#include "base/option.h"
#include "format/json_write.h"
#include "model/model.h"
#include "model/score.h"

typedef enum {
  LOSS_BT,
  LOSS_FOCAL,
  LOSS_FOCAL_PENALTY,
  LOSS_HINGE,
  LOSS_MARGIN_MSE,
  LOSS_CE,
  LOSS_TEMPERED_LOG,
  LOSS_TEMPERATURE_BT,
  LOSS_PLACKETT_LUCE,
  LOSS_MSE, /* this and the next: of rows with scores of their own, no pairs */
  LOSS_BCE,
  LOSS_KINDS
} loss_kind;
extern const option_word loss_words[LOSS_KINDS + 1]; /* by loss_kind; the last ends them */

enum { RECOMPUTE_AUTO = RECOMPUTATIONS };
extern const option_word recompute_words[RECOMPUTATIONS + 2]; /* by recomputation; the last ends them */

/* What a row of more than two ordered responses is to the loss. */
typedef enum {
  RANKING_BY_LOSS,       /* plackett-luce with that loss, else all-pairs */
  RANKING_PLACKETT_LUCE, /* one draw after another, best first; pairs keep the loss */
  RANKING_ALL_PAIRS /* the mean of the loss over all ordered pairs (plackett-luce: of bt, which it is for two) */
} ranking_kind;

typedef struct {
  loss_kind kind;
  ranking_kind ranking;
  double gamma;       /* focal, focal-penalty */
  double margin;      /* hinge, margin-mse */
  double tempered_t;  /* 0 <= t < 1 */
  double temperature; /* > 0 */
  double center;      /* coefficient of the centering term; 0: none */
} train_loss;

typedef enum { SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_CONSTANT } schedule_kind;
enum { NO_DECAY_NORM = 1, NO_DECAY_BIAS = 2 };

/* Most fields are options of `reward train`, which train_option_table describes: ranges and defaults stand there.
 */

typedef struct train_options train_options;
struct train_options {
  const char *model, *out;
  const char *base; /* the base where the model is an adapter; NULL: the one that it names */
  option_list data; /* files */
  train_loss loss;
  double lr, betas[2], eps, weight_decay;
  int no_decay;         /* bits of the above: tensors that are not decayed */
  double max_grad_norm; /* 0: off */
  schedule_kind schedule;
  double warmup, min_lr; /* ratios */
  int64_t batch_size;    /* pairs a step */
  int64_t slices;        /* parts of a batch whose gradients are summed in order */
  int shard;             /* 1: no one of several ranks keeps all weights and gradients */
  int64_t epochs, steps; /* steps > 0 wins; as effective, epochs is then 0 */
  bool shuffle;
  int64_t max_length;
  overlong overlong;
  int64_t batch_tokens; /* tokens of one forward pass; 0: as suits the device */
  int64_t freeze_layers;
  int64_t lora_rank;   /* 0: everything is trained */
  double lora_alpha;   /* 0: twice the rank */
  double lora_dropout; /* below 0: none, or what the model's adapters were trained with */
  const char *lora_targets;
  const char *chat_template, *date;
  int save_dtype;       /* st_dtype or -1: the input's */
  double save_minutes;  /* between checkpoints */
  bool share;           /* prompts shared by a row's responses are computed once */
  int recompute;        /* recomputation, or RECOMPUTE_AUTO: as little as memory allows */
  int states_8bit;      /* 1: AdamW's moments in 8 bits a value */
  bool tensorboard;     /* event files in OUT/tensorboard */
  bool no_golden_check; /* start from the model whatever its golden rows score */
  int golden;           /* 1: reward.json gets a few training texts for checking */
  bool force, resume, dry_run;
  const char *config; /* a file of options, read by whoever fills this */
  option_list eval;   /* [SUITE:]FILE */
  int64_t eval_every; /* steps; 0: before the first and after the last */
  int64_t early_stop; /* evaluations without a better one that end the run; 0: none do */
  const char *keep;   /* "best", "last", or a number: that many checkpoints stay beside the final weights */
  int64_t save_every; /* steps between checkpoints, beside save_minutes; 0: by minutes alone */
  uint64_t seed;
  const char *device, *dtype;
  rw_context *context;
  /* Writes the member "arguments" of run.json; NULL: it is {}. effective: these options with what took effect
   * wherever they leave it to the data, the model or the machine. */
  void (*arguments)(void *ctx, const train_options *effective, json_writer *w);
  void *arguments_ctx;
};

extern const option train_option_table[];
void train_defaults(train_options *o);
int64_t train_kept_checkpoints(const train_options *o); /* --keep N: N; 0 for best and last */
/* Fields that make no sense together: RW_USAGE. */
rw_status train_check(const train_options *o, rw_error *err);

/* One evaluation, in percent of its n items, with its 95% interval. */
typedef struct {
  int64_t step; /* -1: there was none, and the rest is NAN */
  double percent, lo, hi, by_length;
  size_t n;
} train_figure;
typedef struct {
  train_figure first, best,
      published; /* by one --eval: the first, the highest, of the weights that are the result */
} train_figures;
typedef struct {
  int64_t steps, published; /* done; of which step the published weights are */
  double loss, accuracy;    /* means that forget a tenth a step */
  double seconds;           /* spent training, over all sittings */
  train_figures held_out;   /* by the first --eval */
  size_t texts;             /* training texts in reward.json */
} train_result;
/* What o->out holds beside the run that o describes: nothing, that run, or another, whose difference stands in err
 * (and RW_OK is returned). The model is opened and hashed; nothing is written. */
typedef enum { RUN_NONE, RUN_UNFINISHED, RUN_FINISHED, RUN_OTHER } run_state;
rw_status train_found(const train_options *o, run_state *found, rw_error *err);
rw_status train_run(const train_options *o, train_result *result, rw_error *err);

/* What a run would do, from its data and config.json alone: no weights are read. tokens: of every branch whole. */
typedef struct {
  size_t rows; /* used */
  int64_t steps, steps_per_epoch;
  uint64_t tokens_per_epoch, tokens;
} train_outlook;
rw_status train_plan(const train_options *o, train_outlook *p, rw_error *err);

/* Writes the PEFT directory `adapter` and its base (NULL: the one that it names) as one checkpoint directory, with
 * the text files and the golden rows. out: made, or empty; any with force. dtype: st_dtype, or -1: the base's. */
rw_status train_merge(const char *adapter, const char *base, const char *out, bool force, bool no_golden_check,
                      int dtype, rw_context *context, rw_error *err);
/* A checkpoint's folder with its weights as safetensors; dtype: st_dtype, or -1: as they are. */
rw_status train_convert(const char *from, const char *out, bool force, int dtype, rw_error *err);

/* Learning rate at update k (from 0) of `steps`: warm-up lr·k/w while k < w = ceil(warmup·steps), then Hugging
 * Face's cosine or linear down to min_lr·lr. */
double train_lr(const train_options *o, int64_t k, int64_t steps);

#endif
