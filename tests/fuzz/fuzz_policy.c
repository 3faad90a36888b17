/* fuzz_policy.c - any text read back by two policies' templates: refused, or messages that end with the assistant's
 * and lie within it. */
#include <string.h>

#include "fuzz_folder.h"
#include "serve/policy.h"

enum { POLICIES = 2 };

static policy *opened(const char *tmpl) {
  fuzz_links f;
  rw_error err;
  policy *p = NULL;
  fuzz_links_make(&f, (const char *const[]){"tokenizer.json", "tests/data/tokenizer/digits/tokenizer.json",
                                            "tokenizer_config.json", "tests/data/template/tokenizer_config.json",
                                            "chat_template.jinja", tmpl, NULL});
  rw_status s = policy_open(&p, f.path, &err);
  fuzz_links_remove(&f);
  if (s) {
    fprintf(stderr, "%s\n", err.text);
    abort();
  }
  return p;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static policy *policies[POLICIES];
  if (!policies[0]) {
    policies[0] = opened("tests/data/template/chatml.jinja");
    policies[1] = opened("tests/data/template/gemma.jinja");
  }
  arena *mem = arena_new();
  char *text = malloc(size ? size : 1); /* of its own size: a byte read behind it is seen */
  if (!mem || !text) abort();
  memcpy(text, data, size);
  for (int i = 0; i < POLICIES; i++) {
    rw_error err;
    conversation c = {0};
    arena_reset(mem);
    if (policy_parse(policies[i], (slice){text, size}, &c, mem, &err)) continue;
    if (c.n_messages < 2 || c.messages[c.n_messages - 1].role != ROLE_ASSISTANT) abort();
    for (size_t k = 0; k < c.n_messages; k++) {
      slice m = c.messages[k].content;
      if (m.len && (m.p < text || m.p + m.len > text + size)) abort();
    }
  }
  free(text);
  arena_free(mem);
  return 0;
}
