/* sha256.h - SHA-256 (FIPS 180-4): what a result was made of is known by it, not by names or times.
 *
 * With the processor's own instructions where it has them (some 1.5 GB/s a core), else in plain C.
 */
#ifndef BASE_SHA256_H
#define BASE_SHA256_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { SHA256_BYTES = 32, SHA256_HEX = 65 };

typedef struct sha256 {
  uint32_t h[8];
  uint64_t bytes;
  uint8_t rest[64]; /* bytes % 64 of them wait */
} sha256;
void sha256_begin(sha256 *s);
void sha256_add(sha256 *s, const void *p, size_t n);
/* To each its own text: with the processor's instructions at 1.8 times the rate of one after the other. */
void sha256_add_two(sha256 *a, const void *p, size_t n, sha256 *b, const void *q, size_t m);
void sha256_end(sha256 *s, uint8_t out[SHA256_BYTES]);
void sha256_end_hex(sha256 *s, char out[SHA256_HEX]);
/* The first 128 bits of a text's SHA-256: where a hash decides that two texts are one. */
void sha256_key(const void *p, size_t n, uint64_t out[2]);
/* In plain C alone, for tests and to measure. */
void sha256_blocks_plain(uint32_t sum[8], const uint8_t *p, size_t blocks);

/* Of a file's bytes; of what is no regular file RW_IO. stop (NULL: none): once it is true, RW_INTERRUPTED. */
rw_status sha256_file(const char *path, char out[SHA256_HEX], rw_error *err);
rw_status sha256_file_until(const char *path, char out[SHA256_HEX], const atomic_bool *stop, rw_error *err);

#endif
