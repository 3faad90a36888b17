/* clean.c - texts and numbers as tables and pages show them. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#include "report/page.h"

size_t rep_clean(str *out, slice text, bool html) {
  size_t columns = 0;
  for (size_t i = 0; i < text.len;) {
    utf8proc_int32_t c = -1;
    size_t left = text.len - i;
    utf8proc_ssize_t n =
        utf8proc_iterate((const utf8proc_uint8_t *)text.p + i, left > 8 ? 8 : (utf8proc_ssize_t)left, &c);
    const char *entity = !html       ? NULL
                         : c == '&'  ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '"'  ? "&quot;"
                         : c == '\'' ? "&#39;"
                                     : NULL;
    if (n <= 0) n = 1, c = -1;
    if (entity)
      str_addz(out, entity);
    else if (utf8_is_hidden(c))
      str_addz(out, c == '\n' || c == '\t' ? " " : "\xEF\xBF\xBD");
    else
      str_add(out, text.p + i, (size_t)n);
    columns += c < 0x20 ? 1 : (size_t)utf8proc_charwidth(c);
    i += (size_t)n;
  }
  return columns;
}

void rep_escape(str *out, const char *z) {
  if (z) rep_clean(out, slice_of(z), true);
}

void rep_num(str *out, double v, int decimals) {
  char digits[400]; /* DBL_MAX has 309 before the point */
  if (!isfinite(v) || decimals < 0 || decimals > 60) {
    str_addc(out, '-');
    return;
  }
  int n = snprintf(digits, sizeof digits, "%.*f", decimals, fabs(v));
  int whole = n - (decimals ? decimals + 1 : 0);
  if (v < 0 && strspn(digits, "0.") < (size_t)n) str_addc(out, '-');
  for (int i = 0; i < n; i++) {
    if (i > 0 && i < whole && (whole - i) % 3 == 0) str_addc(out, ',');
    str_addc(out, digits[i]);
  }
}
