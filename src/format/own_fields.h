/* own_fields.h - a row's own fields under names that its output row writes anew: they are left out and counted. */
#ifndef FORMAT_OWN_FIELDS_H
#define FORMAT_OWN_FIELDS_H

#include <stddef.h>

#include "base/context.h"

typedef struct {
  const char *name; /* NULL: none such yet */
  size_t rows;      /* rows that had the field, and something in it */
} own_field;

/* One warning that names the fields and counts the rows; nothing where there are none. */
void own_fields_warn(rw_context *context, const own_field *f, size_t n);

#endif
