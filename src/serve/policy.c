/* policy.c - a policy's rendered text, cut back into the messages that it was made of. */
#include "serve/policy.h"

#include <string.h>

/* What a template puts between contents, learned from conversations of one, two and three exchanges. */
typedef struct {
  str open;    /* before the first content */
  str to_user; /* from the system's content to the user's; open to it when there is a system message */
  str answer;  /* from a user's content to the assistant's */
  str next;    /* from an assistant's content to the next user's */
  str with_system;
} seams;

struct policy {
  chat_template *tmpl;
  tokenizer *tok;
  slice bos; /* its text; len 0: none */
  seams s;
  bool has_system;
};

void policy_free(policy *p) {
  if (!p) return;
  str *all[] = {&p->s.open, &p->s.to_user, &p->s.answer, &p->s.next, &p->s.with_system};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) str_free(all[i]);
  tmpl_free(p->tmpl);
  tok_free(p->tok);
  mem_free(p);
}

/* Renders n messages of one letter each and appends what stands before content number i of them to *out[i]. false:
 * the template does not render the contents whole and in order. */
static rw_status learn(const policy *p, message *m, size_t n, str **out, bool *whole, rw_error *err) {
  rendered r = {0};
  tmpl_notes notes = {0};
  rw_status s = tmpl_render(p->tmpl, &(conversation){.messages = m, .n_messages = n}, &r, &notes, err);
  bool changed = notes.changed > 0;
  size_t found = 0, at = 0;
  for (size_t i = 0; !s && i < r.n_spans; i++) {
    const tok_span *span = &r.spans[i];
    if (!span->content) continue;
    bool same = found < n && span->end - span->start == m[found].content.len &&
                memcmp(r.text.p + span->start, m[found].content.p, m[found].content.len) == 0;
    if (!same) changed = true;
    if (same && out[found]) str_add(out[found], r.text.p + at, span->start - at);
    if (same && out[found] && out[found]->oom) s = rw_nomem(err, "a policy's template");
    at = span->end;
    found++;
  }
  *whole = !s && !changed && found == n;
  rendered_free(&r);
  return s;
}

rw_status policy_open(policy **out, const char *dir, rw_error *err) {
  policy *p = mem_zalloc(1, sizeof *p);
  if (!p) return rw_nomem(err, dir);
  rw_status s = tok_load(&p->tok, dir, err);
  if (!s) s = tmpl_load(&p->tmpl, dir, NULL, err);
  if (!s && tok_bos(p->tok) >= 0) p->bos = tok_text(p->tok, tok_bos(p->tok));
  message turns[] = {{.role = ROLE_USER, .content = SLICE("Qa")},
                     {.role = ROLE_ASSISTANT, .content = SLICE("Qb")},
                     {.role = ROLE_USER, .content = SLICE("Qc")},
                     {.role = ROLE_ASSISTANT, .content = SLICE("Qd")}},
          system[] = {{.role = ROLE_SYSTEM, .content = SLICE("Qs")},
                      {.role = ROLE_USER, .content = SLICE("Qa")},
                      {.role = ROLE_ASSISTANT, .content = SLICE("Qb")}};
  bool whole = false;
  if (!s) s = learn(p, turns, 4, (str *[]){&p->s.open, &p->s.answer, &p->s.next, NULL}, &whole, err);
  if (!s && (!whole || p->s.answer.len == 0 || p->s.next.len == 0))
    s = rw_fail(err, RW_UNSUPPORTED,
                "%s: the template does not render each message whole with a text of its own between them, so "
                "rendered texts cannot be read back; leave out " FIELD(query_template),
                dir);
  if (!s) {
    rw_error none; /* a template without system messages refuses them */
    rw_status t = learn(p, system, 3, (str *[]){&p->s.with_system, &p->s.to_user, NULL}, &p->has_system, &none);
    if (t == RW_NOMEM) s = rw_nomem(err, dir);
  }
  if (s) {
    policy_free(p);
    return s;
  }
  *out = p;
  return RW_OK;
}

static slice slice_str(const str *s) { return (slice){s->p ? s->p : "", s->len}; }

static bool begins(slice text, slice with) { return text.len >= with.len && memcmp(text.p, with.p, with.len) == 0; }

static slice drop(slice s, size_t n) { return (slice){s.p + n, s.len - n}; }

static slice without_bos(const policy *p, slice s) {
  return p->bos.len && begins(s, p->bos) ? drop(s, p->bos.len) : s;
}

/* The text up to the seam, which is passed over; false: the seam is not there. */
static bool cut(slice *text, slice seam, slice *content) {
  const char *at = seam.len ? memmem(text->p, text->len, seam.p, seam.len) : NULL;
  if (!at) return false;
  *content = (slice){text->p, (size_t)(at - text->p)};
  *text = drop(*text, content->len + seam.len);
  return true;
}

/* Cuts at every seam; the last content is all that is left, its end yet to be found. */
static rw_status cut_all(const policy *p, slice text, message **m, size_t *n, arena *a, rw_error *err) {
  size_t most = 3;
  slice rest = text, content, user_seam = slice_str(&p->s.next);
  while (cut(&rest, user_seam, &content)) most += 2;
  *m = arena_alloc(a, most, sizeof **m);
  if (!*m) return rw_nomem(err, "a request");
  rest = text;
  *n = 0;
  slice system = without_bos(p, slice_str(&p->s.with_system)), open = without_bos(p, slice_str(&p->s.open));
  if (p->has_system && begins(rest, system) && (!begins(rest, open) || open.len < system.len)) {
    slice after = drop(rest, system.len);
    if (cut(&after, slice_str(&p->s.to_user), &content)) {
      (*m)[(*n)++] = conv_message(ROLE_SYSTEM, content);
      rest = after;
    }
  }
  if (*n == 0) {
    if (!begins(rest, open))
      return rw_fail(err, RW_DATA, "the text does not begin as the policy's template begins a conversation");
    rest = drop(rest, open.len);
  }
  for (;;) {
    if (!cut(&rest, slice_str(&p->s.answer), &content))
      return rw_fail(err, RW_DATA, "the text has no assistant turn as the policy's template begins one");
    (*m)[(*n)++] = conv_message(ROLE_USER, content);
    if (!cut(&rest, user_seam, &content)) break;
    (*m)[(*n)++] = conv_message(ROLE_ASSISTANT, content);
  }
  (*m)[(*n)++] = conv_message(ROLE_ASSISTANT, rest);
  return RW_OK;
}

/* Where the template ends its last content and what it puts behind: the end of the last span of content. */
static size_t last_content_end(const rendered *r) {
  for (size_t i = r->n_spans; i-- > 0;)
    if (r->spans[i].content) return r->spans[i].end;
  return 0;
}

rw_status policy_parse(const policy *p, slice whole_text, conversation *c, arena *a, rw_error *err) {
  slice text = without_bos(p, whole_text);
  message *m;
  size_t n = 0;
  RW_TRY(cut_all(p, text, &m, &n, a, err));
  /* the tail that the template puts behind an assistant's content, or its beginning, is not part of the response */
  rendered r = {0};
  slice last = m[n - 1].content;
  m[n - 1].content = SLICE("Qz");
  *c = (conversation){.messages = m, .n_messages = n};
  rw_status s = tmpl_render(p->tmpl, c, &r, NULL, err);
  if (!s) {
    size_t end = last_content_end(&r);
    slice tail = {r.text.p + end, r.text.len - end};
    for (size_t k = tail.len; k > 0; k--)
      if (last.len >= k && memcmp(last.p + last.len - k, tail.p, k) == 0) {
        last.len -= k;
        break;
      }
    m[n - 1].content = last;
    tmpl_notes notes = {0};
    r.text.len = 0;
    r.n_spans = 0;
    s = tmpl_render(p->tmpl, c, &r, &notes, err);
    slice again = without_bos(p, (slice){r.text.p ? r.text.p : "", r.text.len});
    if (!s && (notes.changed || !begins(again, text)))
      s = rw_fail(err, RW_DATA,
                  "the text is not what the policy's template makes of the messages that seem to be in it");
  }
  rendered_free(&r);
  return s;
}
