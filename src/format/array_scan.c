/* array_scan.c - the elements of a JSON array (see array_scan.h). */
#include "format/array_scan.h"

bool array_scan_on(array_scan *s, const char *p, size_t len) {
  for (; s->at < len; s->at++) {
    char c = p[s->at];
    if (s->string) {
      if (s->escaped)
        s->escaped = false;
      else if (c == '\\')
        s->escaped = true;
      else if (c == '"')
        s->string = false;
    } else if (c == '"') {
      s->string = true;
    } else if (c == '{' || c == '[') {
      s->depth++;
    } else if (s->depth == 0 && (c == ',' || c == ']')) {
      return true;
    } else if (s->depth > 0 && (c == '}' || c == ']')) {
      s->depth--;
    }
  }
  return false;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

size_t array_one_line(char *p, size_t len) {
  bool string = false, escaped = false;
  size_t n = 0;
  for (size_t i = 0; i < len; i++) {
    char c = p[i];
    if (!string && is_space(c)) {
      size_t end = i;
      bool breaks = false;
      while (end < len && is_space(p[end])) breaks |= p[end] == '\n' || p[end] == '\r', end++;
      if (breaks) { /* a comma keeps a space, as on one line */
        if (n && p[n - 1] == ',') p[n++] = ' ';
        i = end - 1;
        continue;
      }
    }
    if (escaped)
      escaped = false;
    else if (string && c == '\\')
      escaped = true;
    else if (c == '"')
      string = !string;
    p[n++] = c;
  }
  return n;
}
