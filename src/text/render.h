/* render.h - conversations to ids, one way for every command: template, tokenizer, BOS once.
 *
 * A renderer is what a model directory says about text: its tokenizer and chat template. Immutable once open; each
 * thread renders with a scratch of its own.
 */
#ifndef TEXT_RENDER_H
#define TEXT_RENDER_H

#include "base/context.h"
#include "data/conversation.h"
#include "text/template.h"
#include "text/tokenizer.h"

typedef struct renderer renderer;
typedef struct render_scratch render_scratch;

/* Where the tokenizer and template of `dir` are: base, where it is given and dir, an adapter, has none of its own.
 */
const char *text_dir(const char *dir, const char *base);
/* dir may lack tokenizer files: then only conversations given as ids can be rendered, and any other is an error
 * naming the missing file. template_file, date: NULL for the model's own and the default. */
rw_status renderer_open(renderer **out, const char *dir, const char *template_file, const char *date,
                        rw_error *err);
void renderer_free(renderer *r);
/* RW_DATA, what is missing, where text cannot be rendered for want of a tokenizer. */
rw_status renderer_need_text(const renderer *r, rw_error *err);
const tokenizer *renderer_tokenizer(const renderer *r); /* NULL: dir has none */
/* A token that is appended to every templated conversation from now on (InternLM2's reward token); -1: none. A
 * tokenizer with a control token <|reward|> beside it is POLAR's: conversations are compared with a reference. */
void renderer_append(renderer *r, int32_t id);
bool renderer_compares(const renderer *r);

render_scratch *render_scratch_new(const renderer *r); /* NULL: no memory */
void render_scratch_free(render_scratch *s);
/* What renders noticed since the scratch was made. */
typedef struct {
  size_t escaped; /* control tokens spelled in content, encoded as plain text */
  tmpl_notes tmpl;
  bool date; /* the template asked for the date */
} render_notes;
const render_notes *render_scratch_notes(const render_scratch *s);
void render_notes_add(render_notes *sum, const render_notes *n);
/* Warns of what was escaped, changed and ignored; says nothing of the date. */
void render_notes_warn(rw_context *context, const render_notes *n);

/* Appends the conversation's ids to *out. */
rw_status render_ids(const renderer *r, render_scratch *s, const conversation *c, ids *out, rw_error *err);

#endif
