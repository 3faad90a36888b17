/* mem.c - allocation, arenas, strings, the string map. */
#include "base/mem.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <utf8proc.h>
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { PAGE_LARGE = 1 << 21, LARGE = 4 * PAGE_LARGE };

static atomic_long fail_after = -1; /* below 0: no failure is wanted */

void mem_fail_after(long n) { fail_after = n; }

/* The product count*size as *bytes (at least 1); false when it overflows or a test wants a failure. */
static bool bytes_for(size_t count, size_t size, size_t *bytes) {
  long left = atomic_load_explicit(&fail_after, memory_order_relaxed);
  if (left == 0) return false;
  if (left > 0) atomic_store_explicit(&fail_after, left - 1, memory_order_relaxed);
  if (__builtin_mul_overflow(count, size, bytes)) return false;
  if (*bytes == 0) *bytes = 1;
  return true;
}

void *mem_alloc(size_t count, size_t size) {
  size_t n;
  return bytes_for(count, size, &n) ? malloc(n) : NULL;
}

void *mem_zalloc(size_t count, size_t size) {
  size_t n;
  return bytes_for(count, size, &n) ? calloc(1, n) : NULL;
}

void *mem_aligned(size_t count, size_t size) {
  size_t n;
  void *p = NULL;
  if (!bytes_for(count, size, &n) || n > SIZE_MAX - 64) return NULL;
  /* Large matrices in large pages, where the system gives them: their rows lie pages apart. */
  size_t large = n >= LARGE ? PAGE_LARGE : 64;
  if (posix_memalign(&p, large, (n + 63) & ~(size_t)63) != 0) return NULL;
  if (large > 64) madvise(p, n, MADV_HUGEPAGE);
  return p;
}

void *mem_realloc(void *p, size_t count, size_t size) {
  size_t n;
  return bytes_for(count, size, &n) ? realloc(p, n) : NULL;
}

void mem_free(void *p) { free(p); }

char *mem_strndup(const char *s, size_t len) {
  if (len == SIZE_MAX) return NULL;
  char *p = mem_alloc(len + 1, 1);
  if (!p) return NULL;
  if (len) memcpy(p, s, len);
  p[len] = 0;
  return p;
}

char *mem_printf(const char *fmt, ...) {
  str s = {0};
  va_list ap;
  va_start(ap, fmt);
  str_vprintf(&s, fmt, ap);
  va_end(ap);
  if (s.oom) str_free(&s);
  return s.p;
}

bool mem_grow(void **items, size_t *cap, size_t need, size_t size) {
  if (need <= *cap) return true;
  size_t n = *cap > SIZE_MAX / 2 ? need : *cap * 2;
  if (n < need) n = need;
  if (n < 8) n = 8;
  void *p = mem_realloc(*items, n, size);
  if (!p) return false;
  *items = p;
  *cap = n;
  return true;
}

slice slice_of(const char *z) { return (slice){z, strlen(z)}; }
bool slice_eq(slice a, slice b) { return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0); }
bool slice_is(slice a, const char *z) { return slice_eq(a, slice_of(z)); }

/* ---- arena ---- */

struct block {
  struct block *next;
  size_t used, size; /* bytes of data */
  _Alignas(16) char data[];
};
struct arena {
  struct block *first, *now;
};

arena *arena_new(void) { return mem_zalloc(1, sizeof(arena)); }

void *arena_room(arena *a, size_t n) {
  if (n > SIZE_MAX / 2) return NULL;
  n = (n + 15) & ~(size_t)15;
  while (a->now && a->now->size - a->now->used < n && a->now->next) {
    a->now = a->now->next;
    a->now->used = 0;
  }
  if (!a->now || a->now->size - a->now->used < n) {
    size_t want = a->now ? a->now->size * 2 : 4096;
    if (want > (size_t)1 << 22) want = (size_t)1 << 22;
    if (want < n) want = n;
    struct block *b = mem_alloc(1, sizeof *b + want);
    if (!b) return NULL;
    *b = (struct block){NULL, 0, want};
    if (a->now)
      a->now->next = b;
    else
      a->first = b;
    a->now = b;
  }
  void *p = a->now->data + a->now->used;
  a->now->used += n;
  return p;
}

void *arena_alloc(arena *a, size_t count, size_t size) {
  size_t n;
  void *p = __builtin_mul_overflow(count, size, &n) ? NULL : arena_room(a, n);
  if (p) memset(p, 0, n);
  return p;
}

char *arena_strndup(arena *a, const char *s, size_t len) {
  char *p = len < SIZE_MAX ? arena_room(a, len + 1) : NULL;
  if (!p) return NULL;
  if (len) memcpy(p, s, len);
  p[len] = 0;
  return p;
}

void arena_reset(arena *a) {
  a->now = a->first;
  if (a->now) a->now->used = 0;
}

size_t arena_bytes(const arena *a) {
  size_t n = 0;
  for (const struct block *b = a->first; b; b = b->next) n += b->size;
  return n;
}

void arena_free(arena *a) {
  if (!a) return;
  for (struct block *b = a->first, *next; b; b = next) {
    next = b->next;
    mem_free(b);
  }
  mem_free(a);
}

/* ---- str ---- */

void str_free(str *s) {
  mem_free(s->p);
  *s = (str){0};
}

void str_clear(str *s) {
  s->len = 0;
  s->oom = false;
  if (s->p) s->p[0] = 0;
}

bool str_reserve(str *s, size_t more) {
  if (s->oom) return false;
  if (more > SIZE_MAX - s->len - 1 || !mem_grow((void **)&s->p, &s->cap, s->len + more + 1, 1)) s->oom = true;
  return !s->oom;
}

void str_add(str *s, const char *p, size_t len) {
  if (!str_reserve(s, len)) return;
  if (len) memcpy(s->p + s->len, p, len);
  s->len += len;
  s->p[s->len] = 0;
}

void str_addz(str *s, const char *z) { str_add(s, z, strlen(z)); }
void str_addc(str *s, char c) { str_add(s, &c, 1); }

/* Rows of token ids are mostly digits, so printf's machinery is left out. */
void str_uint(str *s, uint64_t n) {
  char b[24], *p = b + sizeof b;
  do *--p = (char)('0' + n % 10);
  while (n /= 10);
  str_add(s, p, (size_t)(b + sizeof b - p));
}

void str_vprintf(str *s, const char *fmt, va_list ap) {
  va_list again;
  va_copy(again, ap);
  int n = vsnprintf(NULL, 0, fmt, ap);
  if (n >= 0 && str_reserve(s, (size_t)n)) {
    vsnprintf(s->p + s->len, (size_t)n + 1, fmt, again);
    s->len += (size_t)n;
  }
  va_end(again);
}

void str_printf(str *s, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  str_vprintf(s, fmt, ap);
  va_end(ap);
}

/* How many bytes at p need no escape in JSON. */
static size_t json_plain(const char *p, size_t n) {
  size_t i = 0;
#if defined(__SSE2__)
  for (; n - i >= 16; i += 16) {
    __m128i v = _mm_loadu_si128((const __m128i *)(p + i)), low = _mm_set1_epi8(0x1f);
    __m128i special = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
    special = _mm_or_si128(special, _mm_cmpeq_epi8(v, _mm_set1_epi8(0x7f)));
    special = _mm_or_si128(special, _mm_cmpeq_epi8(_mm_min_epu8(v, low), v)); /* at most 0x1f */
    int at = _mm_movemask_epi8(special);
    if (at) return i + (size_t)__builtin_ctz((unsigned)at);
  }
#endif
  while (i < n && (unsigned char)p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7f) i++;
  return i;
}

void str_json(str *s, const char *p, size_t len) {
  if (!str_reserve(s, len + 2)) return;
  str_addc(s, '"');
  for (size_t i = 0; i < len; i++) {
    size_t n = json_plain(p + i, len - i);
    str_add(s, p + i, n);
    if ((i += n) == len) break;
    unsigned char c = (unsigned char)p[i];
    switch (c) {
      case '"': str_addz(s, "\\\""); break;
      case '\\': str_addz(s, "\\\\"); break;
      case '\n': str_addz(s, "\\n"); break;
      case '\r': str_addz(s, "\\r"); break;
      case '\t': str_addz(s, "\\t"); break;
      case '\b': str_addz(s, "\\b"); break;
      case '\f': str_addz(s, "\\f"); break;
      default: str_printf(s, "\\u%04x", c);
    }
  }
  str_addc(s, '"');
}

void str_json_num(str *s, double v) {
  if (!isfinite(v)) {
    str_addz(s, "null");
    return;
  }
  char b[40];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(b, sizeof b, "%.*g", digits, v);
    if (strtod(b, NULL) == v) break;
  }
  str_addz(s, b);
}

void str_json_f32(str *s, float v) {
  if (isfinite(v))
    str_printf(s, "%.9g", (double)v);
  else
    str_addz(s, "null");
}

void str_utf8(str *s, uint32_t c) {
  char b[4];
  size_t n = 0;
  if (c < 0x80) {
    b[n++] = (char)c;
  } else if (c < 0x800) {
    b[n++] = (char)(0xC0 | (c >> 6));
    b[n++] = (char)(0x80 | (c & 63));
  } else if (c < 0x10000) {
    b[n++] = (char)(0xE0 | (c >> 12));
    b[n++] = (char)(0x80 | ((c >> 6) & 63));
    b[n++] = (char)(0x80 | (c & 63));
  } else {
    b[n++] = (char)(0xF0 | (c >> 18));
    b[n++] = (char)(0x80 | ((c >> 12) & 63));
    b[n++] = (char)(0x80 | ((c >> 6) & 63));
    b[n++] = (char)(0x80 | (c & 63));
  }
  str_add(s, b, n);
}

void str_add_lower(str *s, const char *p, size_t len) {
  for (size_t i = 0; i < len; i++) str_addc(s, p[i] >= 'A' && p[i] <= 'Z' ? (char)(p[i] - 'A' + 'a') : p[i]);
}

static bool is_space(utf8proc_int32_t c) {
  return (c >= 9 && c <= 13) || c == ' ' || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
         c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool utf8_is_blank(slice text) {
  const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text.p;
  for (size_t i = 0; i < text.len;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate(p + i, (utf8proc_ssize_t)(text.len - i), &c);
    if (n <= 0 || !is_space(c)) return false;
    i += (size_t)n;
  }
  return true;
}

void utf8_mend(char *zstr) {
  utf8proc_uint8_t *p = (utf8proc_uint8_t *)zstr;
  for (utf8proc_ssize_t n; *p; p += n) {
    utf8proc_int32_t c;
    n = utf8proc_iterate(p, -1, &c);
    if (n > 0) continue;
    *p = '?';
    n = 1;
  }
}

bool utf8_is_hidden(int32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x061c || c == 0x200e || c == 0x200f ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || (c >= 0xe0000 && c <= 0xe007f);
}

size_t utf8_show(char *zstr, bool lines) {
  char *to = zstr;
  for (const char *p = zstr; *p;) {
    utf8proc_int32_t c = (unsigned char)*p; /* the usual character without a call */
    utf8proc_ssize_t n = c < 0x80 ? 1 : utf8proc_iterate((const utf8proc_uint8_t *)p, -1, &c);
    if (n <= 0 || (utf8_is_hidden(c) && !(lines && (c == '\n' || c == '\t')))) {
      *to++ = '?';
      p += n > 0 ? n : 1;
      continue;
    }
    while (n-- > 0) *to++ = *p++;
  }
  *to = 0;
  return (size_t)(to - zstr);
}

/* ---- map: open addressing, linear probing, load at most a half ---- */

struct entry {
  uint64_t hash;
  const char *key; /* NULL: free */
  size_t len;
  int64_t value;
};
struct map {
  struct entry *e;
  size_t cap, count;
  arena *keys;
};

map *map_new(void) {
  map *m = mem_zalloc(1, sizeof *m);
  if (!m) return NULL;
  m->cap = 64;
  m->e = mem_zalloc(m->cap, sizeof *m->e);
  m->keys = arena_new();
  if (m->e && m->keys) return m;
  map_free(m);
  return NULL;
}

void map_free(map *m) {
  if (!m) return;
  mem_free(m->e);
  arena_free(m->keys);
  mem_free(m);
}

size_t map_count(const map *m) { return m->count; }

static struct entry *find(const map *m, const char *key, size_t len, uint64_t hash) {
  size_t i = hash & (m->cap - 1);
  while (m->e[i].key && !(m->e[i].hash == hash && m->e[i].len == len && memcmp(m->e[i].key, key, len) == 0))
    i = (i + 1) & (m->cap - 1);
  return &m->e[i];
}

int64_t *map_get(const map *m, const char *key, size_t len) {
  struct entry *e = find(m, key ? key : "", len, XXH3_64bits(key ? key : "", len));
  return e->key ? &e->value : NULL;
}

bool map_room(map *m, size_t n) {
  map bigger = *m;
  if (n > SIZE_MAX / 4) return false;
  while (n * 2 > bigger.cap) bigger.cap *= 2;
  if (bigger.cap == m->cap) return true;
  bigger.e = mem_zalloc(bigger.cap, sizeof *bigger.e);
  if (!bigger.e) return false;
  for (size_t i = 0; i < m->cap; i++)
    if (m->e[i].key) *find(&bigger, m->e[i].key, m->e[i].len, m->e[i].hash) = m->e[i];
  mem_free(m->e);
  *m = bigger;
  return true;
}

int64_t *map_put(map *m, const char *key, size_t len, int64_t init, bool *was_new) {
  if (!key) key = "";
  uint64_t hash = XXH3_64bits(key, len);
  struct entry *e = find(m, key, len, hash);
  if (was_new) *was_new = !e->key;
  if (e->key) return &e->value;
  if ((m->count + 1) * 2 > m->cap) {
    if (!map_room(m, m->count + 1)) return NULL;
    e = find(m, key, len, hash);
  }
  const char *copy = arena_strndup(m->keys, key, len);
  if (!copy) return NULL;
  *e = (struct entry){hash, copy, len, init};
  m->count++;
  return &e->value;
}
