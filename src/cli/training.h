/* training.h - the command line of `reward train`, for commands that train. */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "cli/cli.h"
#include "train/train.h"

extern const cli_command cmd_train;

/* Is it an option of that loss? Most are of every one. */
bool cli_loss_has(const option *o, int loss);

/* Does each [SUITE:]FILE of --eval name a suite that there is and a file? -1, or the exit status. */
int cli_check_evals(const cli *c, const option_list *evals);

/* -1, or 2 and a message where the words are no such command; nothing is read or begun. */
int cli_train_check(cli_messages *messages, int argc, char **argv);
/* Parses, says what the run would do, and trains nothing; the exit status. */
int cli_train_outlook(cli_messages *messages, int argc, char **argv, train_outlook *outlook);

/* What the command's --out holds beside the run that it describes (train_found); err: what differs. The exit
 * status. */
int cli_train_found(cli_messages *messages, int argc, char **argv, run_state *found, rw_error *err);

#endif
