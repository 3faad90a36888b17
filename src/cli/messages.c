/* messages.c - what a command says: errors, and the context's messages, on stderr. On a terminal a line of progress
 * is rewritten in place; otherwise a plain line comes now and then. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"

int cli_usage(const cli *c, const char *fmt, ...) {
  str text = {0};
  va_list ap;
  va_start(ap, fmt);
  str_vprintf(&text, fmt, ap);
  va_end(ap);
  if (text.p) utf8_show(text.p, false);
  fprintf(stderr, "reward %s: %s\n`reward %s --help` shows the options.\n", c->messages->name,
          text.p && !text.oom ? text.p : "memory ran out", c->messages->name);
  str_free(&text);
  return 2;
}

int cli_nomem(const cli *c) { return cli_usage(c, "memory ran out"); }

int cli_missing(const cli *c, const char *what) {
  if (!c->greedy) return cli_usage(c, "%s", what);
  return cli_usage(c,
                   "%s; '%s' was taken as a value of --%s, which takes all words up to the next option: put other "
                   "words first, or behind --",
                   what, c->greedy_word, c->greedy->name);
}

int cli_check_output(const cli *c, const char *out, const char *const *in, size_t n) {
  rw_error err;
  return out && file_check_output(out, in, n, &err) ? cli_usage(c, "%s", cli_text(&err)) : -1;
}

const char *cli_text(rw_error *err) {
  field_spell(err->text, true);
  utf8_show(err->text, false);
  return err->text;
}

void cli_print(FILE *f, str *text) {
  if (!text->p) return;
  text->len = utf8_show(text->p, true);
  fputs(text->p, f);
}

int cli_fail(const cli *c, rw_error *err) {
  fprintf(stderr, "reward %s: %s\n", c->messages->name, cli_text(err));
  return err->code == RW_USAGE ? 2 : err->code == RW_INTERRUPTED ? 130 : 1;
}

/* ---- the context's messages ---- */

static const double TERMINAL_SECONDS = 0.2;

static void clear_line(cli_messages *m) {
  if (m->line_open) fputs("\r\033[K", stderr);
  m->line_open = false;
}

static void show_progress(cli_messages *m, const char *text) {
  if (text[0]) {
    bool terminal = isatty(STDERR_FILENO);
    fprintf(stderr, terminal ? "\r\033[K%s" : "%s\n", text);
    m->line_open = terminal;
  } else {
    clear_line(m);
  }
  fflush(stderr);
}

static void say(void *user, rw_log_level level, const char *text) {
  cli_messages *m = user;
  if (m->quiet && level != RW_LOG_WARNING) return;
  if (level == RW_LOG_PROGRESS) {
    show_progress(m, text);
    return;
  }
  clear_line(m);
  fprintf(stderr, "reward %s: %s%s\n", m->name, level == RW_LOG_WARNING ? "warning: " : "", text);
}

void cli_messages_begin(cli_messages *m, const char *name) {
  *m = (cli_messages){.name = name};
  context_init(&m->context, say, m);
  m->context.options = true;
  if (isatty(STDERR_FILENO)) m->context.progress_seconds = TERMINAL_SECONDS;
}

rw_context *cli_threads(const cli *c) {
  rw_error err;
  if (!context_start(c->context, (int)c->common.threads, &err)) return c->context;
  cli_fail(c, &err);
  return NULL;
}
