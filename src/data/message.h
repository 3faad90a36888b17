/* message.h - messages and tools as they stand in a row: role, text, and what else there is as JSON.
 *
 * What a message has beside its role and text is kept as JSON, for the template (text/tmpl_chat.c).
 */
#ifndef DATA_MESSAGE_H
#define DATA_MESSAGE_H

#include "data/form.h"

typedef enum { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_OTHER } conv_role;

typedef struct {
  conv_role role;
  slice content; /* UTF-8; the texts of a list of parts one after another; empty where tool calls stand instead */
  slice other_role; /* ROLE_OTHER: what it is called */
  slice json;       /* the whole message as JSON where it has more than a role and a text; else p NULL */
  bool parts;       /* its content was a list of parts */
} message;
/* A message that is no more than a role and a text. */
static inline message conv_message(conv_role role, slice content) {
  return (message){.role = role, .content = content};
}
slice conv_role_name(const message *m);
/* Of the same role and text, and of the same fields where both have more? */
bool conv_same_message(const message *a, const message *b);

/* One message, of a list or alone; and whether its role and content are called from and value. */
rw_status conv_one_message(message *m, json_doc *d, json_val v, const char *field, arena *a, rw_error *err);
bool conv_is_share(const json_doc *d, json_val v);

/* A list of messages as it stands, whoever speaks last; *m lives in the arena. field: for messages. */
rw_status conv_messages(message **m, size_t *n, json_doc *d, json_val list, const char *field, arena *a,
                        rw_error *err);

/* The row's `tools` (a list of objects, or such a list as JSON in a string) as JSON; p NULL: it has none. */
rw_status conv_tools(slice *tools, json_doc *d, json_val row, const row_map *called, rw_error *err);

/* [{"role":…,"content":…},…] as JSON, with the messages' other fields. */
void conv_write(str *out, const message *m, size_t n);

#endif
