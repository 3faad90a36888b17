/* template.h - chat templates: the model's own Jinja, run by an interpreter of the subset that templates use.
 *
 * A construct that it lacks is an error naming it, at load where possible. The interpreter remembers which
 * bytes of its output came from message content. Rendering is bounded in steps, depth and output size.
 * Same environment as transformers: trim_blocks, lstrip_blocks, loop controls, raise_exception, strftime_now,
 * tojson, `messages` with all their fields, `tools`, `bos_token`, `eos_token`, `add_generation_prompt` = false.
 */
#ifndef TEXT_TEMPLATE_H
#define TEXT_TEMPLATE_H

#include "data/conversation.h"
#include "format/json_write.h"
#include "text/tokenizer.h"

enum { TEMPLATE_MAX_BYTES = 4 << 20 }; /* a template's file */
#define TEMPLATE_OF_TOOL_USE "additional_chat_templates/tool_use.jinja"
typedef struct chat_template chat_template;

/* source: the Jinja text (UTF-8; copied). name: for messages (a file). */
rw_status tmpl_parse(chat_template **out, slice source, const char *name, rw_error *err);
/* From dir: chat_template.jinja, else chat_template in tokenizer_config.json or chat_template.json (a string, or
 * the list form's "default"); none: RW_DATA saying to give --chat-template FILE. A second one named tool_use (of
 * the list, or in additional_chat_templates/) renders conversations with tools. Also reads bos/eos/pad token texts
 * there. */
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
  json_doc *doc; /* for messages with fields of their own */
} rendered;      /* zero-initialised; reused; freed by rendered_free */
void rendered_free(rendered *r);

/* What became of conversations; each render adds. */
enum { TMPL_NOTED_FIELDS = 16 };
typedef struct {
  size_t changed; /* conversations of which some message's content does not appear whole in the output */
  struct {
    char name[32];
    size_t n;                   /* conversations that have it */
  } ignored[TMPL_NOTED_FIELDS]; /* fields of messages, and `tools`, that the template never asked for, by name */
  size_t n_ignored;
} tmpl_notes;
void tmpl_notes_add(tmpl_notes *sum, const tmpl_notes *n);
/* What was noticed since `before`, which *n was then. */
tmpl_notes tmpl_notes_since(const tmpl_notes *n, const tmpl_notes *before);
/* The ignored fields as an object of counts, and back: added to *sum. */
void tmpl_ignored_write(json_writer *w, const char *name, const tmpl_notes *n);
void tmpl_ignored_read(tmpl_notes *sum, json_doc *d, json_val object);

/* Renders the conversation's messages (no generation prompt). raise_exception() in the template: RW_DATA with its
 * message. Contents that are lists of parts go to the template as lists; to one that fails on them, writes them as
 * a list or leaves them out, as texts. notes may be NULL. */
rw_status tmpl_render(const chat_template *t, const conversation *c, rendered *out, tmpl_notes *notes,
                      rw_error *err);

#endif
