/* scoring.h - options and steps that `eval` and `compare` share: scores by a model or from a file. */
#ifndef CLI_SCORING_H
#define CLI_SCORING_H

#include "cli/cli.h"
#include "eval/eval.h"

typedef struct {
  score_options o;
  int overlong;
} cli_scoring;
extern const option cli_scoring_table[];  /* fills a cli_scoring */
extern const option_word cli_overlongs[]; /* by the values of overlong */

/* Opens the model; all ranks together. */
rw_status cli_open_scorer(cli *c, scorer **out, const cli_scoring *s, const char *model, rw_error *err);
/* Scores by one that is open. *record as of cli_score_model. */
rw_status cli_score_opened(cli *c, eval_scores *out, const eval_data *d, const cli_scoring *s, const char *model,
                           scorer *sc, json_writer *record, rw_error *err);
/* Opens the model, scores, closes it. *record (may be NULL) gets members for results.json: what it ran with. */
rw_status cli_score_model(cli *c, eval_scores *out, const eval_data *d, const cli_scoring *s, const char *model,
                          json_writer *record, rw_error *err);
/* The same from a file of scores. */
rw_status cli_score_file(const cli *c, eval_scores *out, const eval_data *d, const char *path, json_writer *record,
                         rw_error *err);
/* Members of a result: "data", the files with their hashes, and "program". */
void cli_data_json(json_writer *w, const char *const *paths, size_t n);
/* Is it a model (a folder or a .gguf file) and not a file of scores? */
bool cli_is_model(const char *path);
/* The last part of a path, as a name for people. Valid as long as path. */
const char *cli_base_name(const char *path);

#endif
