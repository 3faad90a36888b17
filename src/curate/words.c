/* words.c - splitting prompts into words (see words.h). */
#include "curate/words.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

/* Unicode 15, Scripts: Han, Hiragana, Katakana, Thai, Lao, Khmer. */
static const uint32_t alone[][2] = {
    {0xE01, 0xE3A},     {0xE40, 0xE5B},     {0xE81, 0xE82},     {0xE84, 0xE84},     {0xE86, 0xE8A},
    {0xE8C, 0xEA3},     {0xEA5, 0xEA5},     {0xEA7, 0xEBD},     {0xEC0, 0xEC4},     {0xEC6, 0xEC6},
    {0xEC8, 0xECE},     {0xED0, 0xED9},     {0xEDC, 0xEDF},     {0x1780, 0x17DD},   {0x17E0, 0x17E9},
    {0x17F0, 0x17F9},   {0x19E0, 0x19FF},   {0x2E80, 0x2E99},   {0x2E9B, 0x2EF3},   {0x2F00, 0x2FD5},
    {0x3005, 0x3005},   {0x3007, 0x3007},   {0x3021, 0x3029},   {0x3038, 0x303B},   {0x3041, 0x3096},
    {0x309D, 0x309F},   {0x30A1, 0x30FA},   {0x30FD, 0x30FF},   {0x31F0, 0x31FF},   {0x32D0, 0x32FE},
    {0x3300, 0x3357},   {0x3400, 0x4DBF},   {0x4E00, 0x9FFF},   {0xF900, 0xFA6D},   {0xFA70, 0xFAD9},
    {0xFF66, 0xFF6F},   {0xFF71, 0xFF9D},   {0x16FE2, 0x16FE3}, {0x16FF0, 0x16FF6}, {0x1AFF0, 0x1AFF3},
    {0x1AFF5, 0x1AFFB}, {0x1AFFD, 0x1AFFE}, {0x1B000, 0x1B122}, {0x1B132, 0x1B132}, {0x1B150, 0x1B152},
    {0x1B155, 0x1B155}, {0x1B164, 0x1B167}, {0x1F200, 0x1F200}, {0x20000, 0x2A6DF}, {0x2A700, 0x2B81D},
    {0x2B820, 0x2CEAD}, {0x2CEB0, 0x2EBE0}, {0x2EBF0, 0x2EE5D}, {0x2F800, 0x2FA1D}, {0x30000, 0x3134A},
    {0x31350, 0x33479},
};

static bool stands_alone(uint32_t c) {
  size_t lo = 0, hi = sizeof alone / sizeof *alone;
  if (c < alone[0][0]) return false;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (c > alone[mid][1])
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo < sizeof alone / sizeof *alone && c >= alone[lo][0];
}

typedef enum { OTHER, PART, ALONE } kind;

static kind kind_of(uint32_t c, bool gist) {
  utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
  bool letter = k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
  bool mark = k >= UTF8PROC_CATEGORY_MN && k <= UTF8PROC_CATEGORY_ME;
  bool number = k >= UTF8PROC_CATEGORY_ND && k <= UTF8PROC_CATEGORY_NO;
  if (gist) return letter || number || c == '_' ? PART : OTHER;
  if (!letter && !mark && !number) return OTHER;
  return stands_alone(c) ? ALONE : PART;
}

static bool add_word(words *out, size_t at, size_t end, bool gist, size_t characters) {
  if (end == at || (gist && characters < 2)) return true;
  word w = {.hash = XXH3_64bits(out->text.p + at, end - at), .at = (uint32_t)at, .len = (uint32_t)(end - at)};
  return vec_push(out->w, out->n, out->cap, w);
}

/* What stands in words, among ASCII in lower case. */
static const bool in_words[256] = {['0' ... '9'] = true, ['a' ... 'z'] = true};
static const bool in_gist[256] = {['0' ... '9'] = true, ['a' ... 'z'] = true, ['_'] = true};

typedef unsigned char bytes16 __attribute__((vector_size(16)));

static void ascii_lower(unsigned char *to, const char *from, size_t n) {
  size_t i = 0;
  for (bytes16 c; i + sizeof c <= n; i += sizeof c) {
    memcpy(&c, from + i, sizeof c);
    c += (bytes16)(c - 'A' < 26) & 32;
    memcpy(to + i, &c, sizeof c);
  }
  for (; i < n; i++) to[i] = (unsigned char)(from[i] >= 'A' && from[i] <= 'Z' ? from[i] + 32 : from[i]);
}

/* ASCII, appended lower-cased. */
static bool ascii_words(words *out, slice s, bool gist) {
  size_t base = out->text.len, i = 0, start;
  if (!str_reserve(&out->text, s.len)) return false;
  unsigned char *p = (unsigned char *)out->text.p + base;
  const bool *in = gist ? in_gist : in_words;
  ascii_lower(p, s.p, s.len);
  out->text.len = base + s.len;
  while (i < s.len) {
    while (i < s.len && !in[p[i]]) i++;
    for (start = i; i < s.len && in[p[i]];) i++;
    if (!add_word(out, base + start, base + i, gist, i - start)) return false;
  }
  return true;
}

/* Where the next byte stands that is not ASCII. */
static size_t next_other(slice s, size_t i) {
  for (uint64_t eight; i + sizeof eight <= s.len; i += sizeof eight) {
    memcpy(&eight, s.p + i, sizeof eight);
    if (eight & 0x8080808080808080) break;
  }
  while (i < s.len && (unsigned char)s.p[i] < 0x80) i++;
  return i;
}

/* Case_Ignorable and Cased as Final_Sigma needs them (Unicode, SpecialCasing and chapter 3.13). */
static bool case_ignorable(utf8proc_int32_t c) {
  static const utf8proc_int32_t mid[] = {0x27,   0x2E,   0x3A,   0xB7,   0x387,  0x55F,  0x5F4,  0x2018, 0x2019,
                                         0x2024, 0x2027, 0xFE13, 0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
  for (size_t i = 0; i < sizeof mid / sizeof *mid; i++)
    if (c == mid[i]) return true;
  utf8proc_category_t k = utf8proc_category(c);
  return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
         k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK;
}
static bool cased(utf8proc_int32_t c) {
  utf8proc_category_t k = utf8proc_category(c);
  return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT || c == 0xAA ||
         c == 0xBA || (c >= 0x2160 && c <= 0x217F) || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
}

/* Does a cased letter follow, only case-ignorable characters between? */
static bool cased_follows(const uint8_t *p, size_t len) {
  for (size_t i = 0; i < len;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate(p + i, (utf8proc_ssize_t)(len - i), &c);
    if (n <= 0) return false;
    if (!case_ignorable(c)) return cased(c);
    i += (size_t)n;
  }
  return false;
}

/* Lower-cases a text by Unicode's full mapping: U+0130 becomes two characters, and a sigma that ends a word is the
 * final one. */
static void lower(str *out, const uint8_t *p, size_t len) {
  bool cased_before = false;
  for (size_t i = 0; i < len;) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate(p + i, (utf8proc_ssize_t)(len - i), &c);
    if (n <= 0) return;
    i += (size_t)n;
    if (c == 0x130)
      str_add(out, "i\xCC\x87", 3);
    else if (c == 0x3A3 && cased_before && !cased_follows(p + i, len - i))
      str_utf8(out, 0x3C2);
    else
      str_utf8(out, (uint32_t)utf8proc_tolower(c));
    if (!case_ignorable(c)) cased_before = cased(c);
  }
}

/* A stretch without spaces that has other characters. */
static bool unicode_words(words *out, slice s, bool gist) {
  size_t at = out->text.len, start = 0, characters = 0;
  if (gist) {
    lower(&out->text, (const uint8_t *)s.p, s.len);
  } else {
    uint8_t *mapped = NULL;
    utf8proc_ssize_t n = utf8proc_map((const uint8_t *)s.p, (utf8proc_ssize_t)s.len, &mapped,
                                      UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT);
    if (n < 0) return false;
    lower(&out->text, mapped, (size_t)n);
    free(mapped);
  }
  if (out->text.oom) return false;
  for (size_t step; at < out->text.len; at += step) {
    utf8proc_int32_t c;
    utf8proc_ssize_t n = utf8proc_iterate((uint8_t *)out->text.p + at, (utf8proc_ssize_t)(out->text.len - at), &c);
    step = n > 0 ? (size_t)n : 1;
    kind k = kind_of((uint32_t)c, gist);
    if (k == PART) {
      if (characters++ == 0) start = at;
      continue;
    }
    if (characters > 0 && !add_word(out, start, at, gist, characters)) return false;
    characters = 0;
    if (k == ALONE && !add_word(out, at, at + step, gist, 1)) return false;
  }
  return characters == 0 || add_word(out, start, at, gist, characters);
}

/* Where the words from the k-th on were in s[from, to), which gave the text from `base` on: each by itself if that
 * changed no length. */
static void place_words(words *out, size_t k, size_t base, size_t from, size_t to) {
  bool same = out->text.len - base == to - from;
  for (; k < out->n; k++) {
    word *w = &out->w[k];
    w->from = (uint32_t)(same ? from + w->at - base : from);
    w->to = (uint32_t)(same ? w->from + w->len : to);
  }
}

/* ASCII spaces and controls end every word, compose with nothing, and are neither cased nor case-ignorable, so the
 * text between them can be normalized and lower-cased by itself: only stretches with other characters need tables.
 */
bool words_of(words *out, slice s, bool gist) {
  out->n = 0;
  str_clear(&out->text);
  if (s.len >= UINT32_MAX / 4 || !str_reserve(&out->text, s.len)) return false;
  for (size_t i = 0, end; i < s.len; i = end) {
    size_t k = out->n, base = out->text.len, from = i;
    end = next_other(s, i);
    if (end < s.len) /* the stretch that it is in */
      while (end > i && (unsigned char)s.p[end - 1] > ' ') end--;
    bool plain = end > from;
    while (!plain && end < s.len && (unsigned char)s.p[end] > ' ') end++;
    slice piece = {s.p + from, end - from};
    if (!(plain ? ascii_words(out, piece, gist) : unicode_words(out, piece, gist))) return false;
    place_words(out, k, base, from, end);
  }
  return !out->text.oom;
}

void words_free(words *w) {
  str_free(&w->text);
  mem_free(w->w);
  *w = (words){0};
}
