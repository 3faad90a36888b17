/* status.c - filling rw_error. */
#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

rw_status rw_fail(rw_error *err, rw_status code, const char *fmt, ...) {
  if (err) {
    va_list ap;
    va_start(ap, fmt);
    err->code = code;
    vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
  }
  return code;
}

rw_status rw_prefix(rw_error *err, rw_status code, const char *fmt, ...) {
  if (err) {
    rw_error inner = *err; /* a copy: the text moves */
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    err->code = code;
    if (n >= 0 && (size_t)n < sizeof err->text)
      snprintf(err->text + n, sizeof err->text - (size_t)n, ": %.900s", inner.text);
  }
  return code;
}

rw_status rw_nomem(rw_error *err, const char *what) {
  return rw_fail(err, RW_NOMEM, "%s: memory ran out; free some or use smaller batches", what);
}

size_t field_spell(char *text, bool options) {
  char *to = text;
  for (const char *c = text; *c; c++) {
    size_t n = strcspn(c, "\2");
    if (*c != '\1' || c[n] == 0) {
      *to++ = *c;
      continue;
    }
    size_t dashes = options ? 2 : 0; /* as long as the two marks */
    char *name = memmove(to + dashes, c + 1, n - 1);
    memset(to, '-', dashes);
    to = name + n - 1;
    for (; options && name < to; name++)
      if (*name == '_') *name = '-';
    c += n;
  }
  *to = 0;
  return (size_t)(to - text);
}
