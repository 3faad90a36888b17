/* messages.c - what a command says: errors, and the context's messages, on stderr. On a terminal a line of progress
 * is rewritten in place; otherwise a plain line comes now and then. */
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/cli.h"

static void say_error(cli_messages *m, const char *text, bool options) {
  const comm *ranks = m->context.ranks;
  str s = {0};
  str_printf(&s, "reward %s: ", m->name);
  if (ranks->rank > 0) str_printf(&s, "rank %d: ", ranks->rank);
  str_printf(&s, "%s\n", text);
  if (options) str_printf(&s, "`reward %s --help` shows the options.\n", m->name);
  if (ranks->rank > 0)
    str_add(&m->held, s.p ? s.p : "", s.len);
  else
    fputs(s.p && !s.oom ? s.p : "memory ran out\n", stderr);
  str_free(&s);
}

int cli_usage(const cli *c, const char *fmt, ...) {
  str text = {0};
  va_list ap;
  va_start(ap, fmt);
  str_vprintf(&text, fmt, ap);
  va_end(ap);
  if (text.p) utf8_show(text.p, false);
  say_error(c->messages, text.p && !text.oom ? text.p : "memory ran out", true);
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

const char *cli_rows(const cli *c, const char *data) {
  if (c->words.n == 0) return data ? data : "-";
  if (!data) return c->words.items[0];
  cli_usage(c, "--data %s: expected no other ROWS beside it, got %s", data, c->words.items[0]);
  return NULL;
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
  say_error(c->messages, cli_text(err), false);
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
  if (m->context.ranks->rank > 0 || (m->quiet && level != RW_LOG_WARNING)) return;
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

/* ---- ranks ---- */

/* What a rank has held back is said, or, when another has said it, forgotten. */
static void release(cli_messages *m, bool say_it) {
  if (say_it && m->held.p) fputs(m->held.p, stderr);
  str_free(&m->held);
}

static int agree(cli_messages *m, int status) {
  comm *ranks = m->context.ranks;
  rw_error err;
  int64_t v = status < 0 ? 0 : (int64_t)(ranks->size - ranks->rank) << 8 | status;
  if (ranks->size == 1) return status;
  if (ranks->most(ranks, &v, 1, &err)) {
    say_error(m, cli_text(&err), false);
    return 1; /* not agreed on: cli_messages_end ends the run */
  }
  release(m, v >> 8 == ranks->size - ranks->rank);
  ranks->agreed = (v & 255) > 0;
  return v == 0 ? -1 : (int)(v & 255);
}

int cli_agree(const cli *c, int status) { return agree(c->messages, status); }

int cli_messages_ranks(cli_messages *m, const cli_command *command) {
  rw_error err;
  if (comm_open(&m->context.ranks, &m->context.alone, &err)) {
    say_error(m, cli_text(&err), false);
    return 1;
  }
  const comm *ranks = m->context.ranks;
  if (ranks->size == 1) return -1;
  /* results are the first rank's to print */
  bool silent = ranks->rank == 0 || freopen("/dev/null", "w", stdout);
  if (!silent) say_error(m, "/dev/null: cannot open", false);
  if (!command->ranks && ranks->rank == 0) {
    str text = {0};
    str_printf(&text, "works in one process, and was started as %d ranks; leave the launcher out", ranks->size);
    say_error(m, text.p ? text.p : "memory ran out", false);
    str_free(&text);
  }
  int status = agree(m, !silent ? 1 : command->ranks ? -1 : 2);
  if (status < 0 && ranks->bound)
    log_warn(&m->context,
             "each rank is bound to one core, and other cores are idle: mpirun --bind-to none, or srun "
             "--cpus-per-task, gives it more");
  return status;
}

int cli_messages_end(cli_messages *m, int status) {
  comm *ranks = m->context.ranks;
  int64_t most = status;
  rw_error err;
  if (ranks->size > 1) {
    bool lost = status != 0 && !ranks->agreed;
    if (!lost && ranks->most(ranks, &most, 1, &err)) {
      say_error(m, cli_text(&err), false);
      most = lost = true;
    }
    release(m, lost);
    fflush(NULL);
    if (lost) ranks->abort(ranks, (int)most);
    ranks->close(ranks);
    m->context.ranks = &m->context.alone;
  }
  context_end(&m->context);
  return (int)most;
}

rw_context *cli_threads(const cli *c) {
  rw_error err;
  if (!context_start(c->context, (int)c->common.threads, &err)) return c->context;
  cli_fail(c, &err);
  return NULL;
}
