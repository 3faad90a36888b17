/* own_fields.c - the warning about fields that are replaced. */
#include "format/own_fields.h"

#include "base/log.h"
#include "base/mem.h"

void own_fields_warn(rw_context *context, const own_field *f, size_t n) {
  str s = {0};
  for (size_t i = 0; i < n; i++)
    if (f[i].rows) str_printf(&s, "%s%s %zu", s.len ? ", " : "", f[i].name, f[i].rows);
  if (s.len)
    log_warn(context, "fields that rows have already are replaced (name: rows): %s; rename them to keep them", s.p);
  str_free(&s);
}
