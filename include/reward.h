/* reward.h - libreward: reward models scored, trained, evaluated, and the preference data for them. C11 and C++.
 *
 *     rw_error err;
 *     rw_model *m;
 *     float score;
 *     rw_message chat[] = {{"user", "2+2?"}, {"assistant", "4"}};
 *     if (rw_model_open(&m, "my-reward-model", NULL, &err) || rw_score(m, chat, 2, &score, &err))
 *       fprintf(stderr, "%s\n", rw_error_text(&err));
 *
 * Build with `pkg-config --cflags --libs reward`. docs/ says what the files are; examples/embed has whole programs.
 *
 * Errors. A function that can fail returns rw_status, RW_OK (0) for success, and fills *err where that is not NULL.
 * On failure nothing that was to be made exists: *out is NULL, a file under its final name is as it was.
 * Threads. Nothing is global: any functions may run at once. One rw_model may be used from several threads, which
 * take turns; models work at the same time. A context's threads are shared by all that is open in it.
 * Memory. What is passed in stays the caller's and, unless said otherwise, is not looked at after the call. What is
 * handed out through char ** is freed by rw_free. Texts are UTF-8 and end with a zero byte. Nothing prints or
 * exits. The same build, processor features and dtype give the same bits with any number of threads. */
#ifndef REWARD_H
#define REWARD_H

#ifndef __cplusplus
#include <stdbool.h>
#endif
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define RW_API __attribute__((visibility("default")))
#else
#define RW_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- errors ---- */

typedef enum {
  RW_OK = 0,
  RW_USAGE,       /* the caller's arguments make no sense, alone or together */
  RW_DATA,        /* a file or a value in it is not what it should be */
  RW_IO,          /* the system refused: open, read, write, rename */
  RW_NOMEM,       /* memory ran out */
  RW_UNSUPPORTED, /* well formed, but not something this build can do */
  RW_INTERRUPTED, /* rw_context_interrupt was called; finished work is kept */
  RW_NUMERIC      /* a number stopped being finite */
} rw_status;

typedef struct {
  rw_status code;
  char text[1000]; /* one line: "FILE:LINE: field: expected X, got Y; what to do" */
} rw_error;

RW_API const char *rw_error_text(const rw_error *err); /* err->text; "" of NULL */
RW_API const char *rw_version(void);                   /* "0.2.0" */
RW_API void rw_free(void *p);                          /* NULL is fine */

/* ---- contexts: threads, messages, interruption ---- */

typedef struct rw_context rw_context;

typedef enum {
  RW_LOG_WARNING,
  RW_LOG_NOTE,
  RW_LOG_PROGRESS /* how far long work is; each line replaces the one before; an empty one: the work has ended */
} rw_log_level;

/* One line of text without its newline, valid during the call. Calls of one context never overlap, but come from
 * any thread that is inside a call of this library. Must not call this library with the same context or its models.
 */
typedef void (*rw_log_fn)(void *user, rw_log_level level, const char *text);

/* threads: of its pool, the calling thread among them; 0: one for each core that the process may use. log may be
 * NULL; user is passed to it. Lives until rw_context_free, which must come after all that is open in it is closed.
 */
RW_API rw_status rw_context_new(rw_context **out, int threads, rw_log_fn log, void *user, rw_error *err);
RW_API void rw_context_free(rw_context *context); /* NULL is fine */
/* Calls that work in the context, and those that begin later, end soon with RW_INTERRUPTED. From any thread or
 * signal handler. */
RW_API void rw_context_interrupt(rw_context *context);
RW_API void rw_context_resume(rw_context *context); /* takes the interruption back */
/* Bytes that a row of a file may have, unpacked, where calls in the context read one; 1 to 1073741824, 0: 67108864.
 * A longer one is RW_DATA. To be set while no call works in it. */
RW_API rw_status rw_context_set_max_row_bytes(rw_context *context, size_t bytes, rw_error *err);

/* ---- models ---- */

typedef struct rw_model rw_model;

typedef enum { RW_OVERLONG_ERROR, RW_OVERLONG_TRUNCATE, RW_OVERLONG_DROP } rw_overlong;

/* Set by rw_options_defaults, then changed: members may be added in later versions. Texts are looked at by
 * rw_model_open alone. */
typedef struct {
  rw_context *context;       /* NULL: one of the model's own, on all cores, without messages */
  const char *base;          /* an adapter's base model's directory; NULL: the one that it names */
  const char *chat_template; /* file with a Jinja template; NULL: the model's own */
  const char *date;          /* "YYYY-MM-DD", what strftime_now returns in the template; NULL: 2024-07-26 */
  const char *device;        /* "auto", "cpu", "cuda", "cuda:N" */
  const char *dtype;         /* the large products': "auto" (for scoring f32), "f32", "bf16" */
  int64_t max_length;        /* tokens a conversation may have; 0: the model's limit */
  rw_overlong overlong;      /* a longer one is an error, its beginning is cut, or it is left out with an error */
  int64_t batch_tokens;      /* tokens of one forward pass; no score depends on it; 0: a default */
  bool no_golden_check;      /* open a model although it does not give the scores that its reward.json records */
} rw_options;
RW_API void rw_options_defaults(rw_options *o);

/* dir: a Hugging Face checkpoint directory, a PEFT adapter's, or a .gguf file. options NULL: the defaults. */
RW_API rw_status rw_model_open(rw_model **out, const char *dir, const rw_options *options, rw_error *err);
RW_API void rw_model_close(rw_model *m); /* NULL is fine; no call with m may be running */

RW_API const char *rw_model_device(const rw_model *m); /* "avx512", "amx", …; as long as the model is open */
RW_API const char *rw_model_dtype(const rw_model *m);  /* "f32" or "bf16" */
RW_API int64_t rw_model_max_length(const rw_model *m); /* tokens */
/* Names of a several-headed model's attributes into *names (NULL: not wanted), as long as it is open; returns how
 * many, 0 for a model with one head. */
RW_API size_t rw_model_attributes(const rw_model *m, const char *const **names);

/* ---- scoring ---- */

typedef struct {
  const char *role; /* "system", "user", "assistant" */
  const char *content;
} rw_message;

/* *score: the raw logit of a conversation that ends with an assistant message. RW_DATA: it cannot be scored. */
RW_API rw_status rw_score(rw_model *m, const rw_message *messages, size_t n, float *score, rw_error *err);

/* One conversation of many: messages, or ids where messages is NULL. */
typedef struct {
  const rw_message *messages;
  size_t n_messages;
  const int32_t *ids; /* already tokenized, special tokens and all */
  size_t n_ids;
  const char *reference; /* beside messages: an answer to compare with, for models that do (POLAR); NULL: none */
  float *attributes;     /* room for rw_model_attributes numbers, or NULL */
  float score;           /* out: NaN with an error */
  uint32_t tokens;       /* out: that were scored */
  bool truncated;        /* out */
  char error[256];       /* out: "", or why it could not be scored */
} rw_item;
/* Scores them together, to the bits that each has alone. What is wrong with one stands in its error; the call fails
 * only where nothing can go on (memory, interruption, a number that is not finite). */
RW_API rw_status rw_score_items(rw_model *m, rw_item *items, size_t n, rw_error *err);

/* A row of `reward score` as JSON text, and *out the row as `reward score` writes it, without newline. What is
 * wrong with the row stands in its "error", and RW_OK is returned. */
RW_API rw_status rw_score_row(rw_model *m, const char *json, char **out, rw_error *err);
/* The same of n rows together: out[n], each freed by rw_free. On failure all are NULL. */
RW_API rw_status rw_score_rows(rw_model *m, const char *const *json, size_t n, char **out, rw_error *err);

/* ---- training ---- */

/* An option as the program has it, by its name with _ for -: {"lr", "1e-5"}, {"loss", "hinge"}. */
typedef struct {
  const char *name, *value;
} rw_setting;

/* Set by rw_train_defaults; model, data and out are needed. */
typedef struct {
  rw_context *context;     /* NULL: one of the call's own, on all cores, without messages */
  const char *model;       /* to start from, as for rw_model_open; a missing head is drawn at random */
  const char *base;        /* an adapter's base, where the model is one; NULL: the one that it names */
  const char *const *data; /* files of pairs or rankings: .jsonl, .gz, .zst, .parquet */
  size_t n_data;
  const char *out;         /* the checkpoint directory to make */
  const char *const *eval; /* "[SUITE:]FILE", as settings eval_every, early_stop and keep use them */
  size_t n_eval;
  const char *device, *dtype; /* dtype "auto": bf16 where the device has it fast */
  uint64_t seed;
  bool resume, force;         /* go on from out's checkpoint; write into a folder that has files */
  const rw_setting *settings; /* every other option of `reward train --help`, defaults and ranges too */
  size_t n_settings;
} rw_train_options;
RW_API void rw_train_defaults(rw_train_options *o);

typedef struct {
  int64_t steps;         /* steps made */
  double loss, accuracy; /* recent means */
} rw_train_result;
/* Writes the checkpoint with metrics.jsonl and run.json beside it. RW_INTERRUPTED: what is done is saved, and
 * resume goes on to the same bits. result may be NULL. */
RW_API rw_status rw_train(const rw_train_options *o, rw_train_result *result, rw_error *err);

/* ---- evaluation ---- */

/* Set by rw_eval_defaults; suite, data and one of model and scores are needed. */
typedef struct {
  rw_context *context;     /* with scores: as in rw_train_options. A model works in its own. */
  const char *suite;       /* one of `reward eval --help`: "rewardbench", "ppe-correctness", "rmb", "pairs", … */
  const char *const *data; /* its files */
  size_t n_data;
  rw_model *model;
  const char *scores; /* a file of rows as `reward score` writes them */
  uint64_t seed;      /* the resamples' seed */
  int resamples;      /* 2000; 0: no interval */
} rw_eval_options;
RW_API void rw_eval_defaults(rw_eval_options *o);

/* Percentages; NaN: there is none, because a subset that it stands for has no rows, or no score. */
typedef struct {
  double overall, lo, hi; /* the suite's figure and its 95% interval */
  double items_percent;   /* over all items, whatever their subset */
  size_t items, unscored;
} rw_eval_result;
/* result and json may be NULL. *json: all figures, with the members of `reward eval`'s results.json. */
RW_API rw_status rw_eval(const rw_eval_options *o, rw_eval_result *result, char **json, rw_error *err);

/* ---- curation ---- */

/* Set by rw_curate_defaults; recipe, inputs and out are needed. */
typedef struct {
  rw_context *context;       /* as in rw_train_options */
  const char *recipe;        /* YAML file (docs/recipes.md) */
  const char *const *inputs; /* "SOURCE=FILE" */
  size_t n_inputs;
  const char *const *only; /* sources to run; none: all of the recipe's */
  size_t n_only;
  const char *const *bench; /* benchmark files of the decontaminate stages */
  size_t n_bench;
  const char *out;            /* the folder to make */
  const char *model, *scores; /* for the agree stage: a reward model, or scored rows */
  const char *base, *device, *dtype;
  const int64_t *seed;          /* the sample stages' seed; NULL: what the recipe says */
  bool parquet, lenient, force; /* as the program's --format parquet, --lenient, --force */
} rw_curate_options;
RW_API void rw_curate_defaults(rw_curate_options *o);

typedef struct {
  size_t rows, pairs; /* read; kept */
} rw_curate_result;
/* Writes rows, data card and reports into out. result and table may be NULL; *table: the counts by stage, as text.
 */
RW_API rw_status rw_curate(const rw_curate_options *o, rw_curate_result *result, char **table, rw_error *err);

#ifdef __cplusplus
}
#endif

#endif
