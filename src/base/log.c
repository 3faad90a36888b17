/* log.c - notes, warnings, lines of progress, the interrupt flag. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/mem.h"

static void hand_over(rw_context *context, rw_log_level level, char *text) {
  context_spell(context, text);
  utf8_show(text, false); /* it may hold what a stranger wrote */
  pthread_mutex_lock(&context->saying);
  context->log(context->user, level, text);
  pthread_mutex_unlock(&context->saying);
}

static void say(rw_context *context, rw_log_level level, const char *fmt, va_list ap) {
  if (!context || !context->log) return;
  char line[1000], *whole = NULL;
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(line, sizeof line, fmt, ap);
  if (n >= (int)sizeof line && (whole = mem_alloc((size_t)n + 1, 1))) vsnprintf(whole, (size_t)n + 1, fmt, again);
  va_end(again);
  hand_over(context, level, whole ? whole : line);
  mem_free(whole);
}

void log_warn(rw_context *context, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  say(context, RW_LOG_WARNING, fmt, ap);
  va_end(ap);
}

void log_note(rw_context *context, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  say(context, RW_LOG_NOTE, fmt, ap);
  va_end(ap);
}

void progress_start(progress *p, rw_context *context, const char *what, const char *unit, uint64_t total) {
  double now = clock_seconds();
  *p = (progress){.context = context, .what = what, .unit = unit, .total = total, .started = now, .shown = now};
}

void progress_set(progress *p, uint64_t done, const char *extra) {
  p->done = done;
  if (!p->context || !p->context->log) return;
  double now = clock_seconds();
  if (now - p->shown < p->context->progress_seconds) return;
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
  char of[32] = "", percent[16] = "", line[400];
  if (p->total) snprintf(of, sizeof of, "/%llu", (unsigned long long)p->total);
  if (!p->total && p->share > 0) snprintf(percent, sizeof percent, " (%.0f%%)", 100 * p->share);
  snprintf(line, sizeof line, "%s: %llu%s %s%s, %.4g/s%s%s%s", p->what, (unsigned long long)done, of, p->unit,
           percent, rate, eta, extra ? ", " : "", extra ? extra : "");
  hand_over(p->context, RW_LOG_PROGRESS, line);
}

void progress_end(progress *p) {
  if (p->context && p->context->log) hand_over(p->context, RW_LOG_PROGRESS, (char[]){""});
}

void log_interrupt(rw_context *context) { atomic_store(&context->interrupted, true); }
bool log_interrupted(const rw_context *context) { return context && atomic_load(&context->interrupted); }
