/* scoring.h - options and steps that `eval` and `compare` share: scores by a model or from a file. */
#ifndef CLI_SCORING_H
#define CLI_SCORING_H

#include "cli/cli.h"
#include "eval/eval.h"

typedef struct {
  score_options o;
  const char *overlong;
} cli_scoring;
#define CLI_SCORING_DEFAULT \
  { .overlong = "error" }

/* Rows of an option table. */
#define CLI_SCORING_OPTIONS(s)                                                                                  \
  {                                                                                                             \
      "max-length", 0,                                                                                          \
      OPT_INT,      &(s).o.max_length,                                                                          \
      "N",          "tokens a conversation may have (default: the model's limit)",                              \
      false},                                                                                                   \
      {"overlong", 0, OPT_STRING, &(s).overlong, "error|truncate|drop", "what to do with a longer one", false}, \
      {"batch-tokens",                                                                                          \
       0,                                                                                                       \
       OPT_INT,                                                                                                 \
       &(s).o.batch_tokens,                                                                                     \
       "N",                                                                                                     \
       "tokens of one forward pass; no score depends on it (default: suits the model)",                         \
       false},                                                                                                  \
      {"no-golden-check",                                                                                       \
       0,                                                                                                       \
       OPT_FLAG,                                                                                                \
       &(s).o.no_golden_check,                                                                                  \
       NULL,                                                                                                    \
       "go on although the model does not give the scores recorded in its reward.json",                         \
       false},                                                                                                  \
      {"chat-template",                                                                                         \
       0,                                                                                                       \
       OPT_STRING,                                                                                              \
       &(s).o.chat_template,                                                                                    \
       "FILE",                                                                                                  \
       "instead of the model's own (default: its own)",                                                         \
       false},                                                                                                  \
  {                                                                                                             \
    "date", 0, OPT_STRING, &(s).o.date, "YYYY-MM-DD", "what strftime_now returns (default: 2024-07-26)", false  \
  }

/* Checks the options; -1 to go on, else the exit status. */
int cli_scoring_check(cli_scoring *s);
/* Opens the model, scores, closes it. *record (may be NULL) gets members for results.json: what it ran with. */
rw_status cli_score_model(eval_scores *out, const eval_data *d, const cli_scoring *s, const char *model,
                          str *record, rw_error *err);
/* The same from a file of scores. */
rw_status cli_score_file(eval_scores *out, const eval_data *d, const char *path, str *record, rw_error *err);
/* Members of a result: "data", the files with their hashes, and "program"; a comma before each. */
void cli_data_json(str *out, const char *const *paths, size_t n);
/* Is it a model (a folder or a .gguf file) and not a file of scores? */
bool cli_is_model(const char *path);
/* The last part of a path, as a name for people. Valid as long as path. */
const char *cli_base_name(const char *path);

#endif
