/* main.c - the program: finds the subcommand, sets signals, hands over. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "data/form.h"

static rw_context *interruptible; /* what a Ctrl-C interrupts: a signal's handler gets no argument */

static void on_interrupt(int sig) {
  if (log_interrupted(interruptible)) _exit(128 + sig); /* the second Ctrl-C does not wait */
  log_interrupt(interruptible);
}

/* Slurm's warning of a limit, say: the work is kept, and a repeated one changes nothing. */
static void on_warning(int sig) {
  (void)sig;
  log_interrupt(interruptible);
}

static void print_help(FILE *f) {
  signal(SIGPIPE, SIG_DFL); /* a pager that was left is no error */
  fprintf(f, "usage: reward COMMAND [options]\n\n%s\n", CLI_ABOUT);
  for (const cli_command *const *c = cli_commands; *c; c++) {
    if (cli_heading(*c)) fprintf(f, "\n%s:\n", cli_heading(*c));
    fprintf(f, "  %-14s %s\n", (*c)->name, (*c)->summary);
  }
  fputs("\n`reward help COMMAND` shows a command's options, defaults and examples.\n", f);
}

/* 0, or 1 and a message: what went to stdout has not arrived. */
static int flush_stdout(const char *who) {
  if (fflush(stdout) == 0 && !ferror(stdout)) return 0;
  fprintf(stderr, "%s: stdout: cannot write; is the disk full or the pipe closed?\n", who);
  return 1;
}

/* NULL after a message. */
static const cli_command *find(const char *name) {
  for (const cli_command *const *c = cli_commands; *c; c++)
    if (strcmp(name, (*c)->name) == 0) return *c;
  const char *near = cli_nearest_command(cli_commands, name);
  fprintf(stderr, "reward: '%s': unknown command; %s%s%s`reward --help` lists them\n", name,
          near ? "did you mean " : "", near ? near : "", near ? "? " : "");
  return NULL;
}

/* --map into the context: -1 to go on, else the exit status. */
static int name_fields(cli *c) {
  rw_error err;
  row_map *called = arena_alloc(c->memory, 1, sizeof *called);
  if (!called) return cli_nomem(c);
  for (size_t i = 0; i < c->common.map.n; i++)
    if (row_map_add(called, c->common.map.items[i], c->memory, &err)) return cli_fail(c, &err);
  c->context->map = called;
  return -1;
}

static int run_command(const cli_command *command, int argc, char **argv) {
  cli_messages messages;
  cli c;
  cli_messages_begin(&messages, command->name);
  interruptible = &messages.context;
  struct sigaction sa = {.sa_handler = on_interrupt};
  sigaction(SIGINT, &sa, NULL);
  sigaction(SIGTERM, &sa, NULL);
  sigaction(SIGUSR1, &(struct sigaction){.sa_handler = on_warning}, NULL);
  struct sigaction hangup; /* a closed terminal, unless nohup has it ignored; serve has a handler of its own */
  if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) sigaction(SIGHUP, &sa, NULL);
  int status = cli_messages_ranks(&messages, command);
  if (status < 0) {
    status = cli_agree(&c, cli_open(&c, command, &messages, argc, argv));
    if (status < 0) {
      messages.quiet = c.common.quiet;
      messages.context.max_row_bytes = (size_t)c.common.max_row_bytes;
      status = name_fields(&c);
      if (status < 0) status = command->run(&c, c.values);
      row_map_warn(messages.context.map, &messages.context);
    }
    cli_close(&c);
  }
  char who[64];
  snprintf(who, sizeof who, "reward %s", command->name);
  if (status == 0) status = flush_stdout(who);
  /* what was finished all the same is a success */
  if (status != 0 && log_interrupted(&messages.context)) status = 130;
  return cli_messages_end(&messages, status);
}

/* What is asked of the program itself: help, --help, --version, --man, --completion. The exit status, or -1:
 * nothing of it. */
static int run_own(int argc, char **argv) {
  const char *word = argv[1], *more = argc > 2 ? argv[2] : NULL;
  bool help = strcmp(word, "help") == 0, man = strcmp(word, "--man") == 0;
  if (strcmp(word, "--version") == 0) {
    cli_print_version();
  } else if ((help || man) && more) {
    const cli_command *c = find(more);
    if (!c) return 2;
    if (help)
      cli_print_help(c);
    else
      cli_print_man(c);
  } else if (man) {
    cli_print_man(NULL);
  } else if (help || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
    print_help(stdout);
  } else if (strcmp(word, "--completion") == 0) {
    if (!more || !cli_print_completion(more)) {
      fprintf(stderr, "reward: --completion: expected bash|zsh|fish%s%s%s\n", more ? ", got '" : " after it",
              more ? more : "", more ? "'" : "");
      return 2;
    }
  } else {
    return -1;
  }
  return flush_stdout("reward");
}

int main(int argc, char **argv) {
  signal(SIGPIPE, SIG_IGN); /* a closed pipe is a write error like any other, */
  signal(SIGXFSZ, SIG_IGN); /* and so is a file beyond ulimit -f */
  if (argc < 2) {
    print_help(stderr);
    return 2;
  }
  int status = run_own(argc, argv);
  if (status >= 0) return status;
  const cli_command *command = find(argv[1]);
  return command ? run_command(command, argc - 1, argv + 1) : 2;
}
