/* test_text_keys.c - a curation's keys of texts: two texts that were made to have one XXH3 are still two. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "curate/source.h"

enum { LENGTH = 320 };

/* XXH3 adds, of each 8 bytes, the product of its halves, each under a secret that everybody knows, to one sum, and
 * the bytes themselves to another. Where a half is the secret's, the product is 0 whatever the other half is: so
 * the other halves of two places may change by amounts that cancel. */
static void make(uint8_t text[LENGTH], uint32_t more) {
  uint32_t x = 0x61616161 + more, y = 0x62626262 - more;
  memset(text, 'a', LENGTH);
  memcpy(text, XXH3_kSecret, 4);
  memcpy(text + 4, &x, 4);
  memcpy(text + 64, XXH3_kSecret + 8, 4);
  memcpy(text + 68, &y, 4);
}

static bool same(const uint64_t a[2], const uint64_t b[2]) { return memcmp(a, b, 2 * sizeof *a) == 0; }

static void made_collisions_have_other_keys(void **state) {
  (void)state;
  uint8_t a[LENGTH], b[LENGTH];
  uint64_t ka[2], kb[2];
  make(a, 0);
  make(b, 3);
  XXH128_hash_t ha = XXH3_128bits(a, LENGTH), hb = XXH3_128bits(b, LENGTH);
  assert_true(ha.low64 == hb.low64 && ha.high64 == hb.high64); /* or this shows nothing */
  slice ta = {(char *)a, LENGTH}, tb = {(char *)b, LENGTH};
  src_hash(ta, ka);
  src_hash(tb, kb);
  assert_false(same(ka, kb));
  src_hash(ta, kb);
  assert_true(same(ka, kb));
  scan s = {0};
  src_hash_texts(&s, ta, tb);
  assert_false(same(s.texts[0], s.texts[1]));
}

/* Where one message ends and who says it counts. */
static void messages_have_places(void **state) {
  (void)state;
  message one[] = {conv_message(ROLE_USER, SLICE("ab")), conv_message(ROLE_ASSISTANT, SLICE("c"))},
          two[] = {conv_message(ROLE_USER, SLICE("a")), conv_message(ROLE_ASSISTANT, SLICE("bc"))},
          three[] = {conv_message(ROLE_USER, SLICE("ab")), conv_message(ROLE_USER, SLICE("c"))};
  uint64_t k[4][2];
  src_hash_messages(one, 2, k[0]);
  src_hash_messages(two, 2, k[1]);
  src_hash_messages(three, 2, k[2]);
  src_hash_messages(one, 1, k[3]);
  for (int i = 0; i < 4; i++)
    for (int j = 0; j < i; j++) assert_false(same(k[i], k[j]));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(made_collisions_have_other_keys),
                                     cmocka_unit_test(messages_have_places)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
