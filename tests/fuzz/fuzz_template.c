/* fuzz_template.c - any bytes as a Jinja template: refused, or rendered over a fixed conversation within the
 * interpreter's limits, with spans that lie in the output.
 */
#include "fuzz.h"
#include "text/template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  message m[] = {
      {.role = ROLE_SYSTEM, .content = SLICE("Be brief.")},
      {.role = ROLE_USER, .content = SLICE("  2 + 2? {{ x }} caf\xc3\xa9\n")},
      {.role = ROLE_ASSISTANT,
       .content = SLICE("<think>four</think>4"),
       .json = SLICE("{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"<think>four</think>\"},"
                     "{\"type\":\"text\",\"text\":\"4\"}],\"thinking\":\"2\",\"tool_calls\":[{\"function\":"
                     "{\"name\":\"f\",\"arguments\":{\"x\":1.5,\"y\":null}}}]}"),
       .parts = true}};
  const slice tools = SLICE("[{\"function\": {\"name\": \"f\", \"parameters\": {\"x\": true}}}]");
  chat_template *t;
  rw_error err;
  if (tmpl_load(&t, fuzz_dir("chat_template.jinja", data, size), NULL, &err) == RW_OK) {
    rendered out = {0};
    tmpl_notes notes = {0};
    for (size_t from = 0; from < 2; from++)
      if (tmpl_render(t, &(conversation){.messages = m + from, .n_messages = 3 - from, .tools = tools}, &out,
                      &notes, &err) == RW_OK) {
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
