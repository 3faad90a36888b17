/* training.h - the command line of `reward train`, for commands that train. */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "cli/cli.h"
#include "train/train.h"

/* Of `reward train`, without the common ones. For their names and kinds: the defaults stand there only while it
 * runs. */
extern const opt cli_train_options[];

/* An option of one or two losses only. */
enum { CLI_LOSS_OPTIONS = 4 };
typedef struct {
  const char *name;
  loss_kind of[2]; /* the same twice where there is one */
} cli_loss_option;
extern const cli_loss_option cli_loss_options[CLI_LOSS_OPTIONS];

/* Does each [SUITE:]FILE of --eval name a suite that there is and a file? -1, or the exit status. */
int cli_check_evals(const cli_list *evals);

/* -1, or 2 and a message where the words are no such command; nothing is read or begun. */
int cli_train_check(int argc, char **argv);
/* Parses and runs; the exit status. outlook not NULL: parses, says what the run would do, and trains nothing. */
int cli_train(int argc, char **argv, train_outlook *outlook);

#endif
