/* fuzz_template.c - any bytes as a Jinja template: refused, or rendered over a fixed conversation within the
 * interpreter's limits, with spans that lie in the output.
 */
#include "fuzz.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  message m[] = {{ROLE_SYSTEM, SLICE("Be brief.")},
                 {ROLE_USER, SLICE("  2 + 2? {{ x }} caf\xc3\xa9\n")},
                 {ROLE_ASSISTANT, SLICE("<think>four</think>4")}};
  chat_template *t;
  rw_error err;
  if (tmpl_load(&t, fuzz_dir("chat_template.jinja", data, size), NULL, &err) == RW_OK) {
    rendered out = {0};
    bool changed = false;
    for (size_t from = 0; from < 2; from++)
      if (tmpl_render(t, m + from, 3 - from, &out, &changed, &err) == RW_OK) {
        size_t at = 0;
        for (size_t i = 0; i < out.n_spans; i++) {
          if (out.spans[i].start < at || out.spans[i].end < out.spans[i].start) abort();
          at = out.spans[i].end;
        }
        if (at > out.text.len) abort();
        fuzz_touch(out.text.p, out.text.len);
      }
    rendered_free(&out);
    tmpl_free(t);
  }
  return 0;
}
