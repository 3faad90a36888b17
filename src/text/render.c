/* render.c - one way from a conversation to ids, for every command. */
#include "text/render.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "format/peft.h"

#define COMPARED "<|reward|>"

struct renderer {
  tokenizer *tok;           /* NULL: dir has none */
  chat_template *tmpl;      /* NULL: none */
  rw_error no_tok, no_tmpl; /* why not; said when a row needs it */
  int32_t append;           /* -1: none */
  bool compares;            /* with a reference, behind COMPARED */
};

struct render_scratch {
  const renderer *r;
  tok_scratch *tok;
  rendered text;
  render_notes notes;
};

void renderer_free(renderer *r) {
  if (!r) return;
  tok_free(r->tok);
  tmpl_free(r->tmpl);
  mem_free(r);
}

const char *text_dir(const char *dir, const char *base) { return tok_here(dir) || !base ? dir : base; }

static rw_status open_text(renderer *r, const char *dir, const char *template_file, rw_error *err) {
  if (!tok_here(dir)) {
    rw_fail(&r->no_tok, RW_DATA,
            "%s: tokenizer.json or tokenizer.model is missing; without it only rows of token ids can be read", dir);
    return RW_OK;
  }
  RW_TRY(tok_load(&r->tok, dir, err));
  rw_status s = tmpl_load(&r->tmpl, dir, template_file, &r->no_tmpl);
  /* a model without a template still serves rows of text and ids; a template that is broken or asked for does not
   */
  if (s && (template_file || s != RW_DATA)) {
    if (err) *err = r->no_tmpl;
    return s;
  }
  return RW_OK;
}

rw_status renderer_open(renderer **out, const char *dir, const char *template_file, const char *date,
                        rw_error *err) {
  *out = mem_zalloc(1, sizeof **out);
  if (!*out) return rw_nomem(err, dir);
  (*out)->append = -1;
  peft_config p = {0};
  rw_status s = RW_OK;
  if (!tok_here(dir) && peft_is(dir)) s = peft_read(&p, dir, NULL, err); /* an adapter alone: the base's text */
  if (!s) s = open_text(*out, p.base ? p.base : dir, template_file, err);
  if (!s && date) s = tmpl_set_date((*out)->tmpl, date, err);
  peft_free(&p);
  if (s) {
    renderer_free(*out);
    *out = NULL;
  }
  return s;
}

rw_status renderer_need_text(const renderer *r, rw_error *err) {
  if (r->tok) return RW_OK;
  if (err) *err = r->no_tok;
  return RW_DATA;
}

const tokenizer *renderer_tokenizer(const renderer *r) { return r->tok; }

void renderer_append(renderer *r, int32_t id) {
  r->append = id;
  int32_t between = r->tok && id >= 0 ? tok_id(r->tok, COMPARED) : -1;
  r->compares = between >= 0 && between != id && tok_is_special(r->tok, between);
}

bool renderer_compares(const renderer *r) { return r->compares; }

render_scratch *render_scratch_new(const renderer *r) {
  render_scratch *s = mem_zalloc(1, sizeof *s);
  if (!s) return NULL;
  s->r = r;
  if (!r->tok || (s->tok = tok_scratch_new(r->tok))) return s;
  mem_free(s);
  return NULL;
}

void render_scratch_free(render_scratch *s) {
  if (!s) return;
  tok_scratch_free(s->tok);
  rendered_free(&s->text);
  mem_free(s);
}

const render_notes *render_scratch_notes(const render_scratch *s) { return &s->notes; }

void render_notes_add(render_notes *sum, const render_notes *n) {
  sum->escaped += n->escaped;
  tmpl_notes_add(&sum->tmpl, &n->tmpl);
  sum->date |= n->date;
}

void render_notes_warn(rw_context *context, const render_notes *n) {
  if (n->escaped)
    log_warn(context, "%zu control tokens spelled in contents were encoded as plain text", n->escaped);
  if (n->tmpl.changed) log_warn(context, "the template changed the contents of %zu conversations", n->tmpl.changed);
  for (size_t i = 0; i < n->tmpl.n_ignored; i++)
    log_warn(context, "the template has no place for `%s`, which %zu conversations have", n->tmpl.ignored[i].name,
             n->tmpl.ignored[i].n);
}

static rw_status render_messages(const renderer *r, render_scratch *s, const conversation *c, ids *out,
                                 rw_error *err) {
  if (!r->tmpl) {
    if (err) *err = r->no_tmpl;
    return r->no_tmpl.code;
  }
  RW_TRY(tmpl_render(r->tmpl, c, &s->text, &s->notes.tmpl, err));
  s->notes.date |= tmpl_used_date(r->tmpl);
  size_t from = out->len;
  slice text = {s->text.text.p ? s->text.text.p : "", s->text.text.len};
  RW_TRY(tok_encode(r->tok, s->tok, text, s->text.spans, s->text.n_spans, out, &s->notes.escaped, err));
  int32_t bos = tok_bos(r->tok);
  if (bos >= 0 && out->len - from > 1 && out->p[from] == bos && out->p[from + 1] == bos)
    return rw_fail(err, RW_DATA, "the template begins the conversation with two BOS tokens; one is right");
  if (r->append >= 0 && !vec_push(out->p, out->len, out->cap, r->append)) return rw_nomem(err, "token ids");
  return RW_OK;
}

static void add_span(rendered *t, slice s, bool content, bool *ok) {
  tok_span span = {t->text.len, t->text.len + s.len, content};
  str_add(&t->text, s.p ? s.p : "", s.len);
  if (t->n_spans > 0 && t->spans[t->n_spans - 1].content == content)
    t->spans[t->n_spans - 1].end = span.end;
  else
    *ok &= vec_push(t->spans, t->n_spans, t->cap_spans, span);
}

/* POLAR's text (https://github.com/InternLM/POLAR): contents one under another, without roles; those before the
 * answer with the reference, then with the answer. */
static rw_status compare_text(const conversation *c, rendered *t, rw_error *err) {
  bool ok = true;
  str_clear(&t->text);
  t->n_spans = 0;
  for (size_t i = 0; i < c->n_prompt; i++) {
    add_span(t, c->messages[i].content, true, &ok);
    add_span(t, SLICE("\n"), true, &ok);
  }
  add_span(t, c->reference, true, &ok);
  add_span(t, SLICE(COMPARED), false, &ok);
  for (size_t i = 0; i < c->n_messages; i++) {
    if (i) add_span(t, SLICE("\n"), true, &ok);
    add_span(t, c->messages[i].content, true, &ok);
  }
  return ok && !t->text.oom ? RW_OK : rw_nomem(err, "a text with its reference");
}

static rw_status render_compared(const renderer *r, render_scratch *s, const conversation *c, ids *out,
                                 rw_error *err) {
  int32_t bos = tok_bos(r->tok);
  if (!c->reference.p)
    return rw_fail(
        err, RW_DATA,
        "reference: expected a text or messages, got none; the model compares an answer with a reference");
  RW_TRY(compare_text(c, &s->text, err));
  if (bos >= 0 && !vec_push(out->p, out->len, out->cap, bos)) return rw_nomem(err, "token ids");
  RW_TRY(tok_encode(r->tok, s->tok, (slice){s->text.text.p, s->text.text.len}, s->text.spans, s->text.n_spans, out,
                    &s->notes.escaped, err));
  return vec_push(out->p, out->len, out->cap, r->append) ? RW_OK : rw_nomem(err, "token ids");
}

rw_status render_ids(const renderer *r, render_scratch *s, const conversation *c, ids *out, rw_error *err) {
  if (c->ids) {
    if (!mem_grow((void **)&out->p, &out->cap, out->len + c->n_ids, sizeof *out->p))
      return rw_nomem(err, "token ids");
    memcpy(out->p + out->len, c->ids, c->n_ids * sizeof *out->p);
    out->len += c->n_ids;
    return RW_OK;
  }
  if (!r->tok) {
    if (err) *err = r->no_tok;
    return r->no_tok.code;
  }
  if (c->messages && r->compares) return render_compared(r, s, c, out, err);
  if (c->messages) return render_messages(r, s, c, out, err);
  return tok_encode(r->tok, s->tok, c->text, NULL, 0, out, NULL, err);
}
