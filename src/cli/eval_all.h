/* eval_all.h - the options of `reward eval`, and its run over all suites of a folder. */
#ifndef CLI_EVAL_ALL_H
#define CLI_EVAL_ALL_H

#include "cli/endpoint.h"
#include "cli/scoring.h"

typedef struct {
  int suite; /* eval_suite; EVAL_SUITES: all; -1: none was named */
  const char *model, *scores, *out, *html, *name;
  int public_format; /* 1: the public tool's */
  option_list data;
  cli_scoring scoring;
  cli_endpoint remote;
} cli_eval;

/* Of one suite: its rows, scores by whatever the options name, figures. *record gets members of results.json. */
rw_status cli_eval_score(cli *c, const cli_eval *o, scorer *model, const eval_data *d, eval_scores *scores,
                         json_writer *record, rw_error *err);
/* results.json of one suite, as an object. record: members in it. */
void cli_eval_json(str *out, const eval_result *r, const str *record, const char *const *paths, size_t n);
/* Every suite that the folders of --data have. */
rw_status cli_eval_run_all(cli *c, const cli_eval *o, rw_error *err);

#endif
