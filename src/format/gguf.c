/* gguf.c - GGUF files: metadata and tensor table, every count and offset checked against the file's size.
 *
 * Layout (versions 2 and 3, little endian): magic, version, tensor count, key count; keys with typed values; tensor
 * names, shapes, types, offsets; then the data, aligned. Source: the format's public specification in ggml.
 */
#include "format/gguf.h"

#include <stdio.h>
#include <string.h>

#include "format/gguf_types.h"

enum { T_U8, T_I8, T_U16, T_I16, T_U32, T_I32, T_F32, T_BOOL, T_STRING, T_ARRAY, T_U64, T_I64, T_F64 };
static const uint8_t scalar_size[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};

typedef struct {
  slice key;
  uint32_t type, item;     /* item: of an array */
  const uint8_t *at;       /* the value's bytes; of an array: of its first item */
  uint64_t count;          /* elements of an array */
  const uint8_t **strings; /* where each string of an array begins */
} entry;

struct gguf {
  file_map f;
  entry *keys;
  size_t n_keys;
  gguf_tensor *tensors;
  size_t n_tensors;
  map *key_at, *tensor_at; /* name to index */
  arena *mem;
};

typedef struct {
  const uint8_t *p, *end;
  const char *path;
  rw_error *err;
} cursor;

static rw_status short_file(const cursor *c, const char *what) {
  return rw_fail(c->err, RW_DATA, "%s: %s: the file ends before it does; is it cut short?", c->path, what);
}

static rw_status take(cursor *c, size_t n, const uint8_t **out, const char *what) {
  *out = NULL;
  if ((size_t)(c->end - c->p) < n) return short_file(c, what);
  *out = c->p;
  c->p += n;
  return RW_OK;
}
static uint64_t little(const uint8_t *p, size_t n) {
  uint64_t v = 0;
  for (size_t i = n; i-- > 0;) v = v << 8 | p[i];
  return v;
}
static rw_status take_int(cursor *c, size_t n, uint64_t *out, const char *what) {
  const uint8_t *p;
  RW_TRY(take(c, n, &p, what));
  *out = little(p, n);
  return RW_OK;
}
static rw_status take_string(cursor *c, slice *out, const char *what) {
  uint64_t n;
  const uint8_t *p;
  RW_TRY(take_int(c, 8, &n, what));
  if (n > (uint64_t)(c->end - c->p)) return short_file(c, what);
  RW_TRY(take(c, (size_t)n, &p, what));
  *out = (slice){(const char *)p, (size_t)n};
  return RW_OK;
}

/* Enters a name that must be new. */
static rw_status enter(cursor *c, map *m, slice name, size_t index, const char *what) {
  bool was_new;
  if (!map_put(m, name.p, name.len, (int64_t)index, &was_new)) return rw_nomem(c->err, c->path);
  if (was_new) return RW_OK;
  return rw_fail(c->err, RW_DATA, "%s: %s %.*s stands twice in the file", c->path, what,
                 (int)(name.len < 80 ? name.len : 80), name.p);
}

static rw_status read_key(gguf *g, cursor *c, entry *e) {
  uint64_t n;
  slice s;
  const uint8_t *p;
  char what[120];
  RW_TRY(take_string(c, &e->key, "keys"));
  RW_TRY(enter(c, g->key_at, e->key, g->n_keys, "key"));
  snprintf(what, sizeof what, "key %.*s", (int)(e->key.len < 80 ? e->key.len : 80), e->key.p);
  RW_TRY(take_int(c, 4, &n, what));
  e->type = (uint32_t)n;
  e->at = c->p;
  if (e->type == T_STRING) return take_string(c, &s, what);
  if (e->type > T_F64) return rw_fail(c->err, RW_DATA, "%s: %s: unknown value type %u", c->path, what, e->type);
  if (e->type != T_ARRAY) return take(c, scalar_size[e->type], &p, what);
  RW_TRY(take_int(c, 4, &n, what));
  e->item = (uint32_t)n;
  RW_TRY(take_int(c, 8, &e->count, what));
  e->at = c->p;
  if (e->item == T_ARRAY || e->item > T_F64)
    return rw_fail(c->err, RW_UNSUPPORTED, "%s: %s: arrays of type %u are not supported", c->path, what, e->item);
  size_t least = e->item == T_STRING ? 8 : scalar_size[e->item];
  if (e->count > (uint64_t)(c->end - c->p) / least) return short_file(c, what);
  if (e->item != T_STRING) return take(c, (size_t)e->count * least, &p, what);
  e->strings = arena_alloc(g->mem, (size_t)e->count, sizeof *e->strings);
  if (!e->strings) return rw_nomem(c->err, c->path);
  for (uint64_t i = 0; i < e->count; i++) {
    e->strings[i] = c->p;
    RW_TRY(take_string(c, &s, what));
  }
  return RW_OK;
}

static rw_status read_tensor(gguf *g, cursor *c, gguf_tensor *t, uint64_t *offset) {
  slice name;
  uint64_t n, dim, count = 1;
  RW_TRY(take_string(c, &name, "tensor table"));
  t->name = arena_strndup(g->mem, name.p, name.len);
  if (!t->name) return rw_nomem(c->err, c->path);
  RW_TRY(enter(c, g->tensor_at, name, g->n_tensors, "tensor"));
  RW_TRY(take_int(c, 4, &n, t->name));
  if (n < 1 || n > 4)
    return rw_fail(c->err, RW_DATA, "%s: tensor %s: expected 1 to 4 dimensions, got %llu", c->path, t->name,
                   (unsigned long long)n);
  t->n_dims = (int)n;
  for (int i = t->n_dims - 1; i >= 0; i--) { /* the file has the innermost first */
    RW_TRY(take_int(c, 8, &dim, t->name));
    if (dim == 0 || dim > INT64_MAX || __builtin_mul_overflow(count, dim, &count))
      return rw_fail(c->err, RW_DATA, "%s: tensor %s: its shape is impossible", c->path, t->name);
    t->shape[i] = (int64_t)dim;
  }
  RW_TRY(take_int(c, 4, &n, t->name));
  const gguf_type *type = gguf_type_of((uint32_t)n);
  if (!type)
    return rw_fail(c->err, RW_UNSUPPORTED, "%s: tensor %s: type %llu is not supported", c->path, t->name,
                   (unsigned long long)n);
  t->type = (uint32_t)n;
  t->type_name = type->name;
  uint64_t bytes;
  if (t->shape[t->n_dims - 1] % type->block != 0 ||
      __builtin_mul_overflow(count / type->block, type->bytes, &bytes) || bytes > g->f.len)
    return rw_fail(c->err, RW_DATA,
                   "%s: tensor %s: expected whole blocks of %u that fit the file; is it cut short?", c->path,
                   t->name, type->block);
  t->bytes = (size_t)bytes;
  return take_int(c, 8, offset, t->name);
}

/* The tensors lie in the order of the table, each at the next multiple of the alignment. */
static rw_status place_tensors(gguf *g, const cursor *c, const uint64_t *offsets) {
  int64_t align = 32;
  gguf_int(g, "general.alignment", &align);
  if (align < 1 || align > 1 << 20 || (align & (align - 1)) != 0)
    return rw_fail(c->err, RW_DATA, "%s: general.alignment: expected a power of two up to 1048576, got %lld",
                   c->path, (long long)align);
  uint64_t mask = (uint64_t)align - 1, at = 0, start = ((uint64_t)(c->p - g->f.p) + mask) & ~mask;
  for (size_t i = 0; i < g->n_tensors; i++) {
    gguf_tensor *t = &g->tensors[i];
    if (offsets[i] != at)
      return rw_fail(c->err, RW_DATA, "%s: tensor %s: expected its data at offset %llu, got %llu; %s", c->path,
                     t->name, (unsigned long long)at, (unsigned long long)offsets[i],
                     offsets[i] < at ? "tensors overlap" : "there is a gap");
    if (start > g->f.len || at > g->f.len - start || t->bytes > g->f.len - start - at)
      return rw_fail(c->err, RW_DATA, "%s: tensor %s: its data lies beyond the end of the file; is it cut short?",
                     c->path, t->name);
    t->data = g->f.p + start + at;
    at = (at + t->bytes + mask) & ~mask;
  }
  return RW_OK;
}

static rw_status read_all(gguf *g, cursor *c) {
  uint64_t magic, version, n_tensors, n_keys;
  RW_TRY(take_int(c, 4, &magic, "header"));
  if (magic != 0x46554747)
    return rw_fail(c->err, RW_DATA, "%s: expected a GGUF file, got other bytes at its beginning", c->path);
  RW_TRY(take_int(c, 4, &version, "header"));
  if (version < 2 || version > 3)
    return rw_fail(c->err, RW_UNSUPPORTED, "%s: GGUF version %llu; 2 and 3 are supported", c->path,
                   (unsigned long long)version);
  RW_TRY(take_int(c, 8, &n_tensors, "header"));
  RW_TRY(take_int(c, 8, &n_keys, "header"));
  /* the smallest key takes 13 bytes, the smallest tensor entry 32: lying counts end here */
  if (n_keys > g->f.len / 13 || n_tensors > g->f.len / 32) return short_file(c, "header");
  g->keys = arena_alloc(g->mem, (size_t)n_keys, sizeof *g->keys);
  g->tensors = arena_alloc(g->mem, (size_t)n_tensors, sizeof *g->tensors);
  uint64_t *offsets = arena_alloc(g->mem, (size_t)n_tensors, sizeof *offsets);
  if (!g->keys || !g->tensors || !offsets) return rw_nomem(c->err, c->path);
  for (; g->n_keys < n_keys; g->n_keys++) RW_TRY(read_key(g, c, &g->keys[g->n_keys]));
  for (; g->n_tensors < n_tensors; g->n_tensors++)
    RW_TRY(read_tensor(g, c, &g->tensors[g->n_tensors], &offsets[g->n_tensors]));
  return place_tensors(g, c, offsets);
}

rw_status gguf_open(gguf **out, const char *path, rw_error *err) {
  *out = NULL;
  gguf *g = mem_zalloc(1, sizeof *g);
  if (!g) return rw_nomem(err, path);
  g->mem = arena_new();
  g->key_at = map_new();
  g->tensor_at = map_new();
  rw_status s = g->mem && g->key_at && g->tensor_at ? file_map_open(&g->f, path, err) : rw_nomem(err, path);
  cursor c = {g->f.p, g->f.len ? g->f.p + g->f.len : g->f.p, path, err}; /* an empty file has no mapping */
  if (!s) s = read_all(g, &c);
  if (s)
    gguf_close(g);
  else
    *out = g;
  return s;
}

void gguf_close(gguf *g) {
  if (!g) return;
  file_map_close(&g->f);
  map_free(g->key_at);
  map_free(g->tensor_at);
  arena_free(g->mem);
  mem_free(g);
}

size_t gguf_keys(const gguf *g) { return g->n_keys; }
slice gguf_key(const gguf *g, size_t i) { return g->keys[i].key; }
static const entry *find(const gguf *g, const char *key) {
  const int64_t *i = map_get(g->key_at, key, strlen(key));
  return i ? &g->keys[*i] : NULL;
}

/* A scalar as a double and, where it is one, an integer. */
static bool scalar(uint32_t type, const uint8_t *p, double *x, int64_t *n) {
  if (type > T_F64 || type == T_STRING || type == T_ARRAY) return false;
  uint64_t u = little(p, scalar_size[type]);
  if (type == T_F32) {
    uint32_t u32 = (uint32_t)u;
    float f;
    memcpy(&f, &u32, 4);
    *x = f;
    return true;
  }
  if (type == T_F64) {
    memcpy(x, &u, 8);
    return true;
  }
  bool is_signed = type == T_I8 || type == T_I16 || type == T_I32;
  unsigned shift = 64 - 8 * scalar_size[type];
  *n = is_signed ? (int64_t)(u << shift) >> shift : (int64_t)u;
  *x = (double)*n;
  return true;
}
static bool is_int(uint32_t type) {
  return type != T_F32 && type != T_F64 && type != T_STRING && type != T_ARRAY && type != T_BOOL;
}

bool gguf_int(const gguf *g, const char *key, int64_t *out) {
  const entry *e = find(g, key);
  double x;
  return e && is_int(e->type) && scalar(e->type, e->at, &x, out);
}
bool gguf_float(const gguf *g, const char *key, double *out) {
  const entry *e = find(g, key);
  int64_t n;
  return e && (e->type == T_F32 || e->type == T_F64) && scalar(e->type, e->at, out, &n);
}
bool gguf_bool(const gguf *g, const char *key, bool *out) {
  const entry *e = find(g, key);
  if (!e || e->type != T_BOOL) return false;
  *out = e->at[0] != 0;
  return true;
}
static slice string_at(const uint8_t *p) { return (slice){(const char *)p + 8, (size_t)little(p, 8)}; }
bool gguf_string(const gguf *g, const char *key, slice *out) {
  const entry *e = find(g, key);
  if (!e || e->type != T_STRING) return false;
  *out = string_at(e->at);
  return true;
}
size_t gguf_array_len(const gguf *g, const char *key) {
  const entry *e = find(g, key);
  return e && e->type == T_ARRAY ? (size_t)e->count : 0;
}
bool gguf_array_string(const gguf *g, const char *key, size_t i, slice *out) {
  const entry *e = find(g, key);
  if (!e || e->type != T_ARRAY || e->item != T_STRING || i >= e->count) return false;
  *out = string_at(e->strings[i]);
  return true;
}
bool gguf_array_number(const gguf *g, const char *key, size_t i, double *out) {
  const entry *e = find(g, key);
  int64_t n;
  return e && e->type == T_ARRAY && i < e->count && e->item != T_STRING &&
         scalar(e->item, e->at + i * scalar_size[e->item], out, &n);
}

size_t gguf_count(const gguf *g) { return g->n_tensors; }
const gguf_tensor *gguf_at(const gguf *g, size_t i) { return &g->tensors[i]; }
const gguf_tensor *gguf_find(const gguf *g, const char *name) {
  const int64_t *i = map_get(g->tensor_at, name, strlen(name));
  return i ? &g->tensors[*i] : NULL;
}
