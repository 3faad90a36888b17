/* training.h - the command line of `reward train`, for commands that train. */
#ifndef CLI_TRAINING_H
#define CLI_TRAINING_H

#include "cli/cli.h"
#include "reward/train.h"

/* Parses and runs; the exit status. outlook not NULL: parses, says what the run would do, and trains nothing. */
int cli_train(int argc, char **argv, train_outlook *outlook);

#endif
