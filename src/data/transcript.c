/* transcript.c - whole conversations in one text (see transcript.h). */
#include "data/transcript.h"

#include <string.h>

static const char *find_turn(slice t, size_t from, bool *human) {
  static const char H[] = "\n\nHuman:", A[] = "\n\nAssistant:";
  const char *end = t.p + t.len, *p = t.p + (from < t.len ? from : t.len);
  for (; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++) {
    size_t left = (size_t)(end - p);
    if (left >= sizeof H - 1 && memcmp(p, H, sizeof H - 1) == 0) return *human = true, p;
    if (left >= sizeof A - 1 && memcmp(p, A, sizeof A - 1) == 0) return *human = false, p;
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
  static const char H[] = "\n\nHuman:"; /* after spaces, the last of which are its own */
  size_t blank = 0;
  while (blank < s.len && is_space(s.p[blank])) blank++;
  return blank >= 2 && s.len - (blank - 2) >= sizeof H - 1 && memcmp(s.p + blank - 2, H, sizeof H - 1) == 0;
}
