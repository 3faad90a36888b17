/* commands.c - the subcommands, in the order of --help. */
#include "cli/cli.h"

extern const cli_command cmd_curate, cmd_train, cmd_sweep, cmd_score, cmd_serve, cmd_eval, cmd_compare, cmd_report,
    cmd_stats, cmd_decontaminate, cmd_tokenize, cmd_merge, cmd_convert, cmd_inspect;

const cli_command *const cli_commands[] = {&cmd_curate,  &cmd_train,         &cmd_sweep,    &cmd_score,
                                           &cmd_serve,   &cmd_eval,          &cmd_compare,  &cmd_report,
                                           &cmd_stats,   &cmd_decontaminate, &cmd_tokenize, &cmd_merge,
                                           &cmd_convert, &cmd_inspect,       NULL};
