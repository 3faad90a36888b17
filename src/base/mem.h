/* mem.h - memory: checked allocation, arenas, growable byte strings, hash maps of strings.
 *
 * Every size is a checked product. Allocation failure is a NULL (or, for str, a sticky flag that is
 * looked at once, at the end), never an abort. mem_fail_after() injects failures for the tests.
 */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* count*size bytes, uninitialised / zeroed / 64-byte aligned; NULL on overflow or exhaustion.
 * mem_alloc(0, s) returns a valid pointer. All of them are freed by mem_free. */
void *mem_alloc(size_t count, size_t size);
void *mem_zalloc(size_t count, size_t size);
void *mem_aligned(size_t count, size_t size);
void *mem_realloc(void *p, size_t count, size_t size); /* NULL: p is still valid */
void mem_free(void *p);                                /* NULL is fine */
char *mem_strndup(const char *s, size_t len);          /* always 0-terminated */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Test hook: the n-th allocation from now (0: the next) and all after it fail; -1 turns it off. */
void mem_fail_after(long n);

/* Grows *items, an array of *cap elements of `size` bytes, to at least `need` elements. */
bool mem_grow(void **items, size_t *cap, size_t need, size_t size);
/* vec_push(array, len, cap, value): append, false when memory ran out. */
#define vec_push(a, len, cap, value) \
  (mem_grow((void **)&(a), &(cap), (len) + 1, sizeof *(a)) ? ((a)[(len)++] = (value), true) : false)

/* A slice of bytes somebody else owns; not 0-terminated. */
typedef struct {
  const char *p;
  size_t len;
} slice;
#define SLICE(lit) ((slice){"" lit, sizeof(lit) - 1})
slice slice_of(const char *zstr);
bool slice_eq(slice a, slice b);
bool slice_is(slice a, const char *zstr);

/* Arena: many small pieces, freed together. */
typedef struct arena arena;
arena *arena_new(void);                                 /* NULL: no memory */
void *arena_alloc(arena *a, size_t count, size_t size); /* 16-byte aligned, zeroed; NULL: no memory */
void *arena_room(arena *a, size_t n);                   /* the same, with whatever is in them */
char *arena_strndup(arena *a, const char *s, size_t len);
void arena_reset(arena *a);         /* forgets all pieces, keeps the memory */
size_t arena_bytes(const arena *a); /* that it has of the system, in use or not */
void arena_free(arena *a);

/* Growable byte string. After a failed growth every append does nothing and `oom` stays true. */
typedef struct {
  char *p; /* 0-terminated once anything was appended; NULL before */
  size_t len, cap;
  bool oom;
} str;
void str_free(str *s);
void str_clear(str *s);
bool str_reserve(str *s, size_t more);
void str_add(str *s, const char *p, size_t len);
void str_addz(str *s, const char *zstr);
void str_addc(str *s, char c);
void str_uint(str *s, uint64_t n);                     /* in decimal */
void str_add_lower(str *s, const char *p, size_t len); /* ASCII letters in lower case */
void str_printf(str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_vprintf(str *s, const char *fmt, va_list ap);
void str_json(str *s, const char *p, size_t len); /* a JSON string with its quotes; p is UTF-8 */
void str_json_num(str *s, double v);              /* shortest text that reads back the same double;
                                                     not finite: null */
void str_json_f32(str *s, float v);               /* up to 9 significant digits; not finite: null */
void str_utf8(str *s, uint32_t codepoint);
/* Is there nothing but white space (Unicode's White_Space), or nothing at all? */
bool utf8_is_blank(slice text);
/* Puts '?' for each byte of zstr that is part of no UTF-8 character, such as what a cut has left of one. */
void utf8_mend(char *zstr);
/* Does a terminal obey the character, or can a reader not see what it does to a line? Control characters, the C1
 * ones too, marks and overrides of direction, separators of lines. */
bool utf8_is_hidden(int32_t codepoint);
/* A stranger's text for people to read: puts '?' for each hidden character and for each byte that is part of no
 * UTF-8 character. lines: but for newlines and tabs. Returns the length, which is never more than the old. */
size_t utf8_show(char *zstr, bool lines);

/* Hash map from byte strings to 64-bit values; keys are copied into the map. */
typedef struct map map;
map *map_new(void);
void map_free(map *m);
size_t map_count(const map *m);
bool map_room(map *m, size_t n); /* so that it need not grow for n keys in all; false: no memory */
/* The value's place, for reading or writing; NULL when absent. Valid until the next map_put. */
int64_t *map_get(const map *m, const char *key, size_t len);
/* The value's place, made with `init` when absent; *was_new may be NULL. NULL: no memory. */
int64_t *map_put(map *m, const char *key, size_t len, int64_t init, bool *was_new);

#endif
