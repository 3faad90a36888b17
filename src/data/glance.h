/* glance.h - a look at the first rows of a file, before hours of work begin on all of them. */
#ifndef DATA_GLANCE_H
#define DATA_GLANCE_H

#include "data/form.h"
#include "format/rows.h"

/* RW_DATA: none of the first rows has a form; the message says which fields they have, and the line. *text: some
 * have text, which needs a tokenizer. Nothing is looked at, and all is well, where the input could not be read
 * again. */
rw_status rows_glance(const char *path, rw_context *context, bool *text, rw_error *err);

#endif
