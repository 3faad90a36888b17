/* main.c - the program: finds the subcommand, sets signals, hands over. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

const cli_command cli_commands[] = {
#define X(name, summary) {#name, summary, cmd_##name##_run},
    CLI_COMMANDS(X)
#undef X
        {NULL, NULL, NULL},
};

static void on_interrupt(int sig) {
  if (log_interrupted(&cli_context)) _exit(128 + sig); /* the second Ctrl-C does not wait */
  log_interrupt(&cli_context);
}

static void print_help(FILE *f) {
  fputs(
      "usage: reward COMMAND [options]\n\nReward models in C: curate, decontaminate, train, score, "
      "evaluate.\n\nCommands:\n",
      f);
  for (const cli_command *c = cli_commands; c->name; c++) fprintf(f, "  %-14s %s\n", c->name, c->summary);
  fputs("\n`reward COMMAND --help` shows a command's options, defaults and examples.\n", f);
}

/* 0, or 1 and a message: what went to stdout has not arrived. */
static int flush_stdout(const char *who) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
  fprintf(stderr, "%s: stdout: cannot write; is the disk full or the pipe closed?\n", who);
  return 1;
}

int main(int argc, char **argv) {
  cli_context_begin();
  struct sigaction sa = {.sa_handler = on_interrupt};
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error like any other, */
  signal(SIGXFSZ, SIG_IGN); /* and so is a file beyond ulimit -f */
  if (argc < 2) {
    print_help(stderr);
    return 2;
  }
  if (strcmp(argv[1], "--version") == 0) {
    cli_print_version();
    return flush_stdout("reward");
  }
  if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
    print_help(stdout);
    return flush_stdout("reward");
  }
  for (const cli_command *c = cli_commands; c->name; c++)
    if (strcmp(argv[1], c->name) == 0) {
      cli_name = c->name;
      int status = c->run(argc - 1, argv + 1);
      cli_end();
      char who[64];
      snprintf(who, sizeof who, "reward %s", c->name);
      if (status == 0) status = flush_stdout(who);
      return status != 0 && log_interrupted(&cli_context)
                 ? 130
                 : status; /* what was finished all the same is a success */
    }
  fprintf(stderr, "reward: '%s': unknown command; `reward --help` lists them\n", argv[1]);
  return 2;
}
