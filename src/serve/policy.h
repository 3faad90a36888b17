/* policy.h - texts in a policy's chat template back to messages, for a reward model whose own template is another.
 *
 * RL trainers send prompt and response as the policy's tokenizer rendered them. The template's own text between
 * contents is learned from conversations rendered with it; a text is cut at those places, and taken only if the
 * policy's template renders the messages found to the same text again (but for a BOS at its beginning and what
 * follows the last content). A policy is immutable: any number of threads may parse with it.
 */
#ifndef SERVE_POLICY_H
#define SERVE_POLICY_H

#include "text/render.h"

typedef struct policy policy;
rw_status policy_open(policy **out, const char *dir, rw_error *err);
void policy_free(policy *p); /* NULL is fine */
/* *c gets messages, in the arena; a text that is no such rendering is RW_DATA. */
rw_status policy_parse(const policy *p, slice text, conversation *c, arena *a, rw_error *err);

#endif
