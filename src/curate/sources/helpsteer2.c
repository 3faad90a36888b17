/* helpsteer2.c - HelpSteer2: two responses to a prompt on consecutive rows, rated 0 to 4; the more helpful is
 * chosen.
 *
 * A prompt of several turns is one text with marks between them. (Wang et al. 2024)
 */
#include <string.h>

#include "curate/source.h"

static const char TO_ASSISTANT[] = "\n<extra_id_1>Assistant\n", TO_USER[] = "\n<extra_id_1>User\n";

static rw_status helpsteer_scan(json_doc *d, arena *a, scan *s, rw_error *err) {
  (void)a;
  slice prompt, response;
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  RW_TRY(src_text(d, 0, "response", &response, err));
  RW_TRY(src_number(d, 0, "helpfulness", &s->rank, err));
  src_hash(prompt, s->prompt);
  src_hash(response, s->texts[0]);
  return RW_OK;
}

rw_status src_helpsteer2_turns(slice prompt, size_t more, arena *a, message **m, size_t *n, rw_error *err) {
  size_t most = more + 1;
  for (const char *p = prompt.p; (p = memmem(p, prompt.len - (size_t)(p - prompt.p), "<extra_id_1>", 12)); p++)
    most++;
  *m = arena_alloc(a, most, sizeof **m);
  if (!*m) return rw_nomem(err, "a prompt");
  *n = 0;
  conv_role role = ROLE_USER;
  for (;;) {
    const char *mark = role == ROLE_USER ? TO_ASSISTANT : TO_USER,
               *p = memmem(prompt.p, prompt.len, mark, strlen(mark));
    size_t len = p ? (size_t)(p - prompt.p) : prompt.len;
    (*m)[(*n)++] = conv_message(role, (slice){prompt.p, len});
    if (!p) return RW_OK;
    prompt = (slice){p + strlen(mark), prompt.len - len - strlen(mark)};
    role = role == ROLE_USER ? ROLE_ASSISTANT : ROLE_USER;
  }
}

static rw_status helpsteer_text(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err) {
  (void)s;
  slice prompt, response;
  RW_TRY(src_text(d, 0, "prompt", &prompt, err));
  RW_TRY(src_text(d, 0, "response", &response, err));
  RW_TRY(src_branches(out, a, ROW_SINGLE, 1, err));
  conversation *c = out->branch;
  RW_TRY(src_helpsteer2_turns(prompt, 1, a, &c->messages, &c->n_messages, err));
  c->messages[c->n_messages++] = conv_message(ROLE_ASSISTANT, response);
  return RW_OK;
}

extern const source source_helpsteer2;
const source source_helpsteer2 = {
    .name = "helpsteer2", .pairing = PAIR_CONSECUTIVE, .scan = helpsteer_scan, .text = helpsteer_text};
