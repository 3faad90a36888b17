/* template.h - chat templates: the model's own Jinja, run by an interpreter of the subset that templates use.
 *
 * A construct that it lacks is an error naming it, at load where possible. The interpreter remembers which
 * bytes of its output came from message content. Rendering is bounded in steps, depth and output size.
 * Same environment as transformers: trim_blocks, lstrip_blocks, loop controls, raise_exception,
 * strftime_now, tojson, `messages`, `bos_token`, `eos_token`, `add_generation_prompt` = false, `tools` none.
 */
#ifndef TEXT_TEMPLATE_H
#define TEXT_TEMPLATE_H

#include "data/conversation.h"
#include "text/tokenizer.h"

enum { TEMPLATE_MAX_BYTES = 4 << 20 }; /* of a template's file */
typedef struct chat_template chat_template;

/* source: the Jinja text (UTF-8; copied). name: for messages (a file). */
rw_status tmpl_parse(chat_template **out, slice source, const char *name, rw_error *err);
/* From dir: chat_template.jinja, else chat_template in tokenizer_config.json (a string, or the list form's
 * "default"); none: RW_DATA saying to give --chat-template FILE. Also reads bos/eos/pad token texts there. */
rw_status tmpl_load(chat_template **out, const char *dir, const char *override_file, rw_error *err);
void tmpl_free(chat_template *t);
/* What strftime_now returns, as YYYY-MM-DD (default 2024-07-26); t NULL: only checks it; *used (may be NULL) tells
 * whether any render asked for it. */
rw_status tmpl_set_date(chat_template *t, const char *ymd, rw_error *err);
bool tmpl_used_date(const chat_template *t);

typedef struct {
  str text;
  tok_span *spans;
  size_t n_spans, cap_spans;
} rendered; /* zero-initialised; reused; freed by rendered_free */
void rendered_free(rendered *r);

/* Renders the messages (no generation prompt). raise_exception() in the template: RW_DATA with its message.
 * *changed (may be NULL) is set when some message's content does not appear whole in the output. */
rw_status tmpl_render(const chat_template *t, const message *m, size_t n, rendered *out, bool *changed,
                      rw_error *err);

#endif
