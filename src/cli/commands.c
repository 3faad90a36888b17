/* commands.c - the subcommands, in the order and under the headings of --help. */
#include "cli/cli.h"

extern const cli_command cmd_curate, cmd_train, cmd_sweep, cmd_score, cmd_serve, cmd_eval, cmd_compare, cmd_report,
    cmd_stats, cmd_decontaminate, cmd_tokenize, cmd_merge, cmd_convert, cmd_inspect;

const cli_command *const cli_commands[] = {
    &cmd_curate,  &cmd_decontaminate, &cmd_stats, &cmd_train,   &cmd_sweep,   &cmd_score,    &cmd_serve, &cmd_eval,
    &cmd_compare, &cmd_report,        &cmd_merge, &cmd_convert, &cmd_inspect, &cmd_tokenize, NULL};

const char *cli_heading(const cli_command *command) {
  static const struct {
    const cli_command *first;
    const char *heading;
  } groups[] = {{&cmd_curate, "Data"},
                {&cmd_train, "Training"},
                {&cmd_score, "Using a reward model"},
                {&cmd_eval, "Measuring"},
                {&cmd_merge, "Model files"}};
  for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
    if (groups[i].first == command) return groups[i].heading;
  return NULL;
}
