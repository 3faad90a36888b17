/* sha256.c - SHA-256 in plain C and by the instructions of x86 (see sha256.h). */
#include "base/sha256.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

#include "base/file.h"
#include "base/mem.h"

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static inline uint32_t turn(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* One round; kw: its constant and word of the message. The names turn from round to round, not the values. */
static inline void round_of(uint32_t a, uint32_t b, uint32_t c, uint32_t *d, uint32_t e, uint32_t f, uint32_t g,
                            uint32_t *h, uint32_t kw) {
  uint32_t t = *h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + (g ^ (e & (f ^ g))) + kw;
  *d += t;
  *h = t + (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) | (c & (a | b)));
}

void sha256_blocks_plain(uint32_t sum[8], const uint8_t *p, size_t blocks) {
  for (; blocks > 0; blocks--, p += 64) {
    uint32_t w[64];
    for (size_t i = 0; i < 16; i++)
      w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 64; i++)
      w[i] = w[i - 16] + w[i - 7] + (turn(w[i - 15], 7) ^ turn(w[i - 15], 18) ^ w[i - 15] >> 3) +
             (turn(w[i - 2], 17) ^ turn(w[i - 2], 19) ^ w[i - 2] >> 10);
    uint32_t a = sum[0], b = sum[1], c = sum[2], d = sum[3], e = sum[4], f = sum[5], g = sum[6], h = sum[7];
    for (int i = 0; i < 64; i += 8) {
      round_of(a, b, c, &d, e, f, g, &h, K[i] + w[i]);
      round_of(h, a, b, &c, d, e, f, &g, K[i + 1] + w[i + 1]);
      round_of(g, h, a, &b, c, d, e, &f, K[i + 2] + w[i + 2]);
      round_of(f, g, h, &a, b, c, d, &e, K[i + 3] + w[i + 3]);
      round_of(e, f, g, &h, a, b, c, &d, K[i + 4] + w[i + 4]);
      round_of(d, e, f, &g, h, a, b, &c, K[i + 5] + w[i + 5]);
      round_of(c, d, e, &f, g, h, a, &b, K[i + 6] + w[i + 6]);
      round_of(b, c, d, &e, f, g, h, &a, K[i + 7] + w[i + 7]);
    }
    const uint32_t last[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) sum[i] += last[i];
  }
}

#if defined(__x86_64__)
/* Asked once: cpuid takes microseconds in a virtual machine, longer than a short text. */
static bool has_instructions(void) {
  static atomic_int known; /* 0: not yet; 1: no; 2: yes */
  int k = atomic_load_explicit(&known, memory_order_relaxed);
  if (k == 0) {
    unsigned a, b = 0, c, d;
    k = __get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1 && __builtin_cpu_supports("sse4.1") ? 2 : 1;
    atomic_store_explicit(&known, k, memory_order_relaxed);
  }
  return k == 2;
}

#define X86 __attribute__((target("sha,sse4.1")))

/* A sum as the instructions want it: ABEF and CDGH. */
typedef struct {
  __m128i abef, cdgh;
} sum_x86;

X86 static inline sum_x86 load_x86(const uint32_t h[8]) {
  __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)h), 0xb1);
  __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(h + 4)), 0x1b);
  return (sum_x86){_mm_alignr_epi8(dcba, hgfe, 8), _mm_blend_epi16(hgfe, dcba, 0xf0)};
}

X86 static inline void store_x86(uint32_t h[8], sum_x86 s) {
  s.abef = _mm_shuffle_epi32(s.abef, 0x1b);
  s.cdgh = _mm_shuffle_epi32(s.cdgh, 0xb1);
  _mm_storeu_si128((__m128i *)h, _mm_blend_epi16(s.abef, s.cdgh, 0xf0));
  _mm_storeu_si128((__m128i *)(h + 4), _mm_alignr_epi8(s.cdgh, s.abef, 8));
}

/* Rounds 4 i to 4 i + 3 of the block at p, of whose message m has the last 16 words. */
X86 static inline void four_rounds(sum_x86 *s, __m128i m[4], const uint8_t *p, size_t i) {
  const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
  __m128i *now = &m[i & 3], last = m[(i + 3) & 3];
  if (i < 4)
    *now = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(p + 16 * i)), big_endian);
  else
    *now = _mm_sha256msg2_epu32(
        _mm_add_epi32(_mm_sha256msg1_epu32(*now, m[(i + 1) & 3]), _mm_alignr_epi8(last, m[(i + 2) & 3], 4)), last);
  __m128i k = _mm_add_epi32(*now, _mm_loadu_si128((const __m128i *)(K + 4 * i)));
  s->cdgh = _mm_sha256rnds2_epu32(s->cdgh, s->abef, k);
  s->abef = _mm_sha256rnds2_epu32(s->abef, s->cdgh, _mm_shuffle_epi32(k, 0x0e));
}

X86 static inline void end_block(sum_x86 *s, sum_x86 was) {
  s->abef = _mm_add_epi32(s->abef, was.abef);
  s->cdgh = _mm_add_epi32(s->cdgh, was.cdgh);
}

X86 static void blocks_x86(uint32_t h[8], const uint8_t *p, size_t blocks) {
  sum_x86 s = load_x86(h);
  for (; blocks > 0; blocks--, p += 64) {
    __m128i m[4] = {{0}};
    sum_x86 was = s;
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i++) four_rounds(&s, m, p, i);
    end_block(&s, was);
  }
  store_x86(h, s);
}

/* A round waits for the one before it: of two texts one uses the other's waiting. */
X86 static void two_blocks_x86(uint32_t h[8], const uint8_t *p, uint32_t g[8], const uint8_t *q, size_t blocks) {
  sum_x86 s = load_x86(h), t = load_x86(g);
  for (; blocks > 0; blocks--, p += 64, q += 64) {
    __m128i m[4] = {{0}}, n[4] = {{0}};
    sum_x86 s_was = s, t_was = t;
#pragma GCC unroll 16
    for (size_t i = 0; i < 16; i++) {
      four_rounds(&s, m, p, i);
      four_rounds(&t, n, q, i);
    }
    end_block(&s, s_was);
    end_block(&t, t_was);
  }
  store_x86(h, s);
  store_x86(g, t);
}

static void add_blocks(uint32_t h[8], const uint8_t *p, size_t blocks) {
  if (has_instructions())
    blocks_x86(h, p, blocks);
  else
    sha256_blocks_plain(h, p, blocks);
}

/* Blocks of both at once; how many. */
static size_t add_two_blocks(sha256 *a, const uint8_t *p, sha256 *b, const uint8_t *q, size_t blocks) {
  if (!has_instructions()) return 0;
  two_blocks_x86(a->h, p, b->h, q, blocks);
  a->bytes += 64 * blocks;
  b->bytes += 64 * blocks;
  return blocks;
}
#else
static void add_blocks(uint32_t h[8], const uint8_t *p, size_t blocks) { sha256_blocks_plain(h, p, blocks); }
static size_t add_two_blocks(sha256 *a, const uint8_t *p, sha256 *b, const uint8_t *q, size_t blocks) {
  (void)a, (void)p, (void)b, (void)q, (void)blocks;
  return 0;
}
#endif

void sha256_begin(sha256 *s) {
  *s = (sha256){
      .h = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void sha256_add(sha256 *s, const void *data, size_t n) {
  const uint8_t *p = data;
  size_t waiting = s->bytes % 64;
  s->bytes += n;
  if (n == 0) return;
  if (waiting) {
    size_t take = 64 - waiting < n ? 64 - waiting : n;
    memcpy(s->rest + waiting, p, take);
    if (waiting + take < 64) return;
    add_blocks(s->h, s->rest, 1);
    p += take;
    n -= take;
  }
  if (n >= 64) add_blocks(s->h, p, n / 64);
  memcpy(s->rest, p + n / 64 * 64, n % 64);
}

void sha256_add_two(sha256 *a, const void *p, size_t n, sha256 *b, const void *q, size_t m) {
  size_t head = -a->bytes % 64, other = -b->bytes % 64; /* what is missing of the blocks that wait */
  if (n >= head + 64 && m >= other + 64) {
    sha256_add(a, p, head);
    sha256_add(b, q, other);
    size_t blocks = (n - head) / 64 < (m - other) / 64 ? (n - head) / 64 : (m - other) / 64;
    blocks = add_two_blocks(a, (const uint8_t *)p + head, b, (const uint8_t *)q + other, blocks);
    head += 64 * blocks;
    other += 64 * blocks;
  } else {
    head = other = 0;
  }
  sha256_add(a, (const uint8_t *)p + head, n - head);
  sha256_add(b, (const uint8_t *)q + other, m - other);
}

void sha256_end(sha256 *s, uint8_t out[SHA256_BYTES]) {
  static const uint8_t padding[64] = {0x80};
  uint64_t bits = s->bytes * 8;
  uint8_t length[8];
  for (int i = 0; i < 8; i++) length[i] = (uint8_t)(bits >> (56 - 8 * i));
  sha256_add(s, padding, 1 + (119 - s->bytes % 64) % 64);
  sha256_add(s, length, sizeof length);
  for (int i = 0; i < SHA256_BYTES; i++) out[i] = (uint8_t)(s->h[i / 4] >> (24 - i % 4 * 8));
}

void sha256_end_hex(sha256 *s, char out[SHA256_HEX]) {
  uint8_t sum[SHA256_BYTES];
  sha256_end(s, sum);
  for (size_t i = 0; i < SHA256_BYTES; i++) {
    out[2 * i] = "0123456789abcdef"[sum[i] >> 4];
    out[2 * i + 1] = "0123456789abcdef"[sum[i] & 15];
  }
  out[SHA256_HEX - 1] = 0;
}

void sha256_key(const void *p, size_t n, uint64_t out[2]) {
  uint8_t sum[SHA256_BYTES];
  sha256 s;
  sha256_begin(&s);
  sha256_add(&s, p, n);
  sha256_end(&s, sum);
  memcpy(out, sum, 2 * sizeof *out);
}

rw_status sha256_file_until(const char *path, char out[SHA256_HEX], const atomic_bool *stop, rw_error *err) {
  enum { BLOCK = 1 << 20 };
  int fd;
  uint64_t size;
  RW_TRY(file_open_input(&fd, &size, path, err)); /* a pipe would have nothing left to read */
  char *block = mem_alloc(BLOCK, 1);
  rw_status st = block ? RW_OK : rw_nomem(err, path);
  sha256 s;
  sha256_begin(&s);
  for (ssize_t n = 1; !st && n != 0;) {
    n = read(fd, block, BLOCK);
    if (n > 0) sha256_add(&s, block, (size_t)n);
    if (n < 0 && errno != EINTR) st = rw_fail(err, RW_IO, "%s: cannot read: %s", path, strerror(errno));
    if (stop && atomic_load(stop)) st = rw_fail(err, RW_INTERRUPTED, "interrupted");
  }
  sha256_end_hex(&s, out);
  mem_free(block);
  close(fd);
  return st;
}

rw_status sha256_file(const char *path, char out[SHA256_HEX], rw_error *err) {
  return sha256_file_until(path, out, NULL, err);
}
