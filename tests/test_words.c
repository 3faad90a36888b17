/* test_words.c - the words of a text, whatever stands at whichever place of the steps in which texts are read:
 * against a walk over one character after another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "curate/words.h"

enum { LENGTH = 40 }; /* more than two steps of sixteen bytes */

/* ASCII and "é", which no normalization changes. */
static bool part(const char *p, bool gist, size_t *bytes) {
  *bytes = (unsigned char)*p == 0xC3 ? 2 : 1;
  return *bytes == 2 || (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'z') || (gist && *p == '_');
}

static void check(words *got, const char *text, size_t len, bool gist) {
  char low[2 * LENGTH];
  size_t n = 0;
  for (size_t i = 0; i < len; i++) low[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
  assert_true(words_of(got, (slice){text, len}, gist));
  assert_int_equal(got->text.len, len);
  assert_memory_equal(got->text.p, low, len);
  for (size_t i = 0, bytes; i < len; i += bytes) {
    if (!part(low + i, gist, &bytes)) continue;
    size_t from = i, characters = 0;
    for (; i < len && part(low + i, gist, &bytes); i += bytes) characters++;
    bytes = 0; /* what ended the word comes next */
    if (gist && characters < 2) continue;
    assert_true(n < got->n);
    const word *w = &got->w[n++];
    assert_int_equal(w->at, from);
    assert_int_equal(w->len, i - from);
    assert_int_equal(w->from, from);
    assert_int_equal(w->to, i);
  }
  assert_int_equal(n, got->n);
}

/* Every character of ASCII, and one beyond, at every place of texts of one word and of several. */
static void every_place(void **state) {
  (void)state;
  static const char *const texts[] = {"abcdefghijklmnopqrstuvwxyzabcdefghijklmn",
                                      "AB cD 7_ x, yZ\nQ  9a-bc d_e f.G hI jk lm"};
  words got = {0};
  for (size_t t = 0; t < 2; t++)
    for (int gist = 0; gist < 2; gist++)
      for (size_t at = 0; at < LENGTH; at++)
        for (int c = 0; c <= 128; c++) {
          char text[LENGTH + 2];
          size_t len = LENGTH;
          memcpy(text, texts[t], LENGTH);
          text[at] = (char)c;
          if (c == 128) {
            memmove(text + at + 2, text + at + 1, LENGTH - at - 1);
            memcpy(text + at, "\xC3\xA9", 2);
            len++;
          }
          check(&got, text, len, gist);
          check(&got, text, len - LENGTH / 2 > at + 2 ? len - LENGTH / 2 : len, gist);
        }
  words_free(&got);
}

static void two_beyond_ascii(void **state) {
  (void)state;
  words got = {0};
  for (size_t i = 0; i + 1 < LENGTH; i++)
    for (size_t k = i + 2; k + 1 < LENGTH; k++) {
      char text[LENGTH];
      for (size_t x = 0; x < LENGTH; x++) text[x] = "aB c"[x % 4];
      memcpy(text + i, "\xC3\xA9", 2);
      memcpy(text + k, "\xC3\xA9", 2);
      check(&got, text, LENGTH, false);
    }
  words_free(&got);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_place),
      cmocka_unit_test(two_beyond_ascii),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
