/* say.c - the command's context: its messages on stderr. On a terminal a line of progress is rewritten in place;
 * otherwise a plain line comes now and then. */
#include <stdio.h>
#include <unistd.h>

#include "cli/cli.h"

rw_context cli_context;

static const double TERMINAL_SECONDS = 0.2;
static bool line_open; /* a progress line without its newline is on the terminal */

static void clear_line(void) {
  if (line_open) fputs("\r\033[K", stderr);
  line_open = false;
}

static void show_progress(const char *text) {
  if (text[0]) {
    bool terminal = isatty(STDERR_FILENO);
    fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", text);
    line_open = terminal;
  } else {
    clear_line();
  }
  fflush(stderr);
}

static void say(void *user, rw_log_level level, const char *text) {
  (void)user;
  if (cli_opts.quiet && level != RW_LOG_WARNING) return;
  if (level == RW_LOG_PROGRESS) {
    show_progress(text);
    return;
  }
  clear_line();
  fprintf(stderr, "reward %s: %s%s\n", cli_name, level == RW_LOG_WARNING ? "warning: " : "", text);
}

void cli_context_begin(void) {
  context_init(&cli_context, say, NULL);
  cli_context.options = true;
  if (isatty(STDERR_FILENO)) cli_context.progress_seconds = TERMINAL_SECONDS;
}

rw_context *cli_threads(void) {
  rw_error err;
  if (!context_start(&cli_context, (int)cli_opts.threads, &err)) return &cli_context;
  cli_fail(&err);
  return NULL;
}
