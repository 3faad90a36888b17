/* log.c - notes, warnings, the progress line, the interrupt flag. */
#include "base/log.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static bool quiet;
static const char *command = NULL;
static bool line_open; /* a progress line without its newline is on the terminal */
static volatile sig_atomic_t interrupted;

void log_set_quiet(bool q) { quiet = q; }
void log_set_command(const char *name) { command = name; }

static void clear_line(void) {
  if (line_open) fputs("\r\033[K", stderr);
  line_open = false;
}

static void say(const char *kind, const char *fmt, va_list ap) {
  clear_line();
  if (command) fprintf(stderr, "reward %s: ", command);
  fputs(kind, stderr);
  vfprintf(stderr, fmt, ap);
  fputc('\n', stderr);
}

void log_warn(const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  say("warning: ", fmt, ap);
  va_end(ap);
}

void log_note(const char *fmt, ...) {
  if (quiet) return;
  va_list ap;
  va_start(ap, fmt);
  say("", fmt, ap);
  va_end(ap);
}

double log_seconds(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void progress_start(progress *p, const char *what, const char *unit, uint64_t total) {
  double now = log_seconds();
  *p = (progress){.what = what, .unit = unit, .total = total, .started = now, .shown = now};
}

void progress_set(progress *p, uint64_t done, const char *extra) {
  p->done = done;
  if (quiet) return;
  bool tty = isatty(STDERR_FILENO);
  double now = log_seconds();
  if (now - p->shown < (tty ? 0.2 : 10.0)) return;
  p->shown = now;
  double spent = now - p->started, rate = spent > 0 && done > p->from ? (double)(done - p->from) / spent : 0;
  double total = p->total ? (double)p->total : p->share > 0 ? (double)done / p->share : 0;
  char eta[32] = "";
  if (rate > 0 && total >= (double)done) {
    long s = (long)((total - (double)done) / rate + 0.5);
    if (s >= 3600)
      snprintf(eta, sizeof eta, ", %ldh%02ldm left", s / 3600, s / 60 % 60);
    else
      snprintf(eta, sizeof eta, ", %ldm%02lds left", s / 60, s % 60);
  }
  char of[32] = "", percent[16] = "";
  if (p->total) snprintf(of, sizeof of, "/%llu", (unsigned long long)p->total);
  if (!p->total && p->share > 0) snprintf(percent, sizeof percent, " (%.0f%%)", 100 * p->share);
  if (tty) fputs("\r\033[K", stderr);
  fprintf(stderr, "%s: %llu%s %s%s, %.4g/s%s%s%s", p->what, (unsigned long long)done, of, p->unit, percent, rate,
          eta, extra ? ", " : "", extra ? extra : "");
  if (!tty) fputc('\n', stderr);
  fflush(stderr);
  line_open = tty;
}

void progress_end(progress *p) {
  (void)p;
  clear_line();
  fflush(stderr);
}

void log_interrupt(void) { interrupted = 1; }
bool log_interrupted(void) { return interrupted != 0; }
