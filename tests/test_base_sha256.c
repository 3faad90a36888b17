/* test_base_sha256.c - SHA-256 against FIPS 180-4's examples, and the two ways of computing it against each other.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/sha256.h"

static void is(const char *want, const void *p, size_t n, size_t piece) {
  sha256 s;
  char got[SHA256_HEX];
  sha256_begin(&s);
  for (size_t at = 0; at < n; at += piece) sha256_add(&s, (const char *)p + at, n - at < piece ? n - at : piece);
  sha256_end_hex(&s, got);
  assert_string_equal(got, want);
}

static void known_answers(void **state) {
  (void)state;
  const char *two = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
             *four =
                 "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrs"
                 "mnopqrstnopqrstu";
  is("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "", 0, 1);
  is("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", "abc", 3, 3);
  for (size_t piece = 1; piece < 120; piece++) {
    is("248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1", two, strlen(two), piece);
    is("cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1", four, strlen(four), piece);
  }
  char *million = malloc(1000000);
  memset(million, 'a', 1000000);
  is("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", million, 1000000, 1000000);
  is("cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0", million, 1000000, 4097);
  free(million);
}

static void of_files(void **state) {
  (void)state;
  char path[64], got[SHA256_HEX];
  snprintf(path, sizeof path, "/tmp/reward-sha256-%ld", (long)getpid());
  FILE *f = fopen(path, "w");
  assert_non_null(f);
  fputs("abc", f);
  fclose(f);
  assert_int_equal(sha256_file(path, got, NULL), RW_OK);
  assert_string_equal(got, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  unlink(path);
  assert_int_equal(sha256_file(path, got, NULL), RW_IO);
}

/* Whatever waits of a block in either, and however unequal they are. */
static void two_at_once(void **state) {
  static const size_t lengths[] = {0, 1, 63, 64, 65, 127, 128, 129, 200, 1000, 4096, 5000};
  enum { LENGTHS = sizeof lengths / sizeof *lengths };
  uint8_t text[5100];
  (void)state;
  for (size_t i = 0; i < sizeof text; i++) text[i] = (uint8_t)(i * 2654435761u >> 13);
  for (size_t before = 0; before < 100; before += 33)
    for (size_t i = 0; i < LENGTHS; i++)
      for (size_t j = 0; j < LENGTHS; j++) {
        sha256 s[2], want[2];
        for (int k = 0; k < 2; k++) {
          sha256_begin(&s[k]);
          sha256_add(&s[k], text, k ? 17 : before);
          want[k] = s[k];
          sha256_add(&want[k], text + 99 + k, lengths[k ? j : i]);
        }
        sha256_add_two(&s[0], text + 99, lengths[i], &s[1], text + 100, lengths[j]);
        for (int k = 0; k < 2; k++) {
          char got[SHA256_HEX], other[SHA256_HEX];
          sha256_end_hex(&s[k], got);
          sha256_end_hex(&want[k], other);
          assert_string_equal(got, other);
        }
      }
}

static double used(void) { return (double)clock() / CLOCKS_PER_SEC; }

/* Whatever this processor has, the plain way must give the same; the speeds are printed. */
static void both_ways(void **state) {
  (void)state;
  enum { BLOCKS = 1 << 18 };
  uint8_t *p = malloc(BLOCKS * 64);
  for (size_t i = 0; i < BLOCKS * 64; i++) p[i] = (uint8_t)(i * 2654435761u >> 13);
  sha256 s;
  sha256_begin(&s);
  uint32_t plain[8];
  memcpy(plain, s.h, sizeof plain);
  double began = used();
  sha256_blocks_plain(plain, p, BLOCKS);
  double between = used();
  sha256_add(&s, p, BLOCKS * 64);
  double end = used();
  assert_memory_equal(plain, s.h, sizeof plain);
  sha256 half[2];
  sha256_begin(&half[0]);
  sha256_begin(&half[1]);
  sha256_add_two(&half[0], p, BLOCKS * 32, &half[1], p + BLOCKS * 32, BLOCKS * 32);
  printf("plain C %.0f MB/s, as used %.0f MB/s, two at once %.0f MB/s\n", BLOCKS * 64e-6 / (between - began),
         BLOCKS * 64e-6 / (end - between), BLOCKS * 64e-6 / (used() - end));
  free(p);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(known_answers), cmocka_unit_test(of_files),
                                     cmocka_unit_test(two_at_once), cmocka_unit_test(both_ways)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
