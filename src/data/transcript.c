/* transcript.c - whole conversations in one text (see transcript.h). */
#include "data/transcript.h"

#include <string.h>

static const char *find_turn(slice t, size_t from, bool *human) {
  static const char H[] = "\n\nHuman:", A[] = "\n\nAssistant:";
  for (size_t i = from; i + sizeof H - 1 <= t.len; i++) {
    if (t.p[i] != '\n') continue;
    if (memcmp(t.p + i, H, sizeof H - 1) == 0) return *human = true, t.p + i;
    if (i + sizeof A - 1 <= t.len && memcmp(t.p + i, A, sizeof A - 1) == 0) return *human = false, t.p + i;
  }
  return NULL;
}

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

slice transcript_trim(slice s) {
  while (s.len && is_space(s.p[0])) s.p++, s.len--;
  while (s.len && is_space(s.p[s.len - 1])) s.len--;
  return s;
}

rw_status transcript_read(slice t, message **m, size_t *n, arena *a, rw_error *err) {
  size_t count = 0;
  bool human;
  for (const char *p = find_turn(t, 0, &human); p; p = find_turn(t, (size_t)(p - t.p) + 2, &human)) count++;
  const char *p = find_turn(t, 0, &human);
  if (!p || transcript_trim((slice){t.p, (size_t)(p - t.p)}).len > 0 || !human)
    return rw_fail(err, RW_DATA, "expected a transcript that begins with \"\\n\\nHuman:\"");
  *m = arena_alloc(a, count, sizeof **m);
  if (!*m) return rw_nomem(err, "a transcript");
  *n = 0;
  while (p) {
    bool this_human = human;
    size_t from = (size_t)(p - t.p) + (this_human ? 8 : 12);
    p = find_turn(t, from, &human);
    size_t to = p ? (size_t)(p - t.p) : t.len;
    (*m)[(*n)++] =
        conv_message(this_human ? ROLE_USER : ROLE_ASSISTANT, transcript_trim((slice){t.p + from, to - from}));
  }
  return RW_OK;
}

bool transcript_is(slice s) {
  bool human;
  const char *p = find_turn(s, 0, &human);
  return p && human && transcript_trim((slice){s.p, (size_t)(p - s.p)}).len == 0;
}
