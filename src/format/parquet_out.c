/* parquet_out.c - JSON rows as a Parquet file.
 *
 * First pass: every row widens the tree of column types, and waits in a zstd file beside the output. Second pass,
 * at the commit: rows become columns, BATCH_BYTES of them a row group. Limits: MAX_FIELDS fields in an object,
 * whole numbers of 64 bits.
 */
#include <string.h>
#include <unistd.h>

#include "format/json.h"
#include "format/jsonl.h"
#include "format/parquet.h"
#include "format/parquet_rows.h"

enum { BATCH_BYTES = 32 << 20, MAX_FIELDS = 2000 };

typedef enum { T_NULL, T_BOOL, T_INT, T_FLOAT, T_STRING, T_LIST, T_STRUCT } type;

/* A column, or a field inside of one, and its values of the batch at hand. */
typedef struct column {
  type t;
  const char *name;
  struct column **child;
  size_t n_child, cap_child, at; /* at: where the next field is looked for first */
  json_val value;                /* value in the row at hand, in the second pass */
  str valid, data;               /* bits; values, bits or bytes */
  int32_t *offsets;
  size_t cap_offsets;
  int64_t len, nulls;
} column;

struct parquet_out {
  char *path, *waiting; /* path: the file, or the stem of the shards */
  uint64_t shard_bytes; /* 0: one file */
  size_t *n_shards;
  jsonl_out *rows; /* NULL: only checked */
  uint64_t row, bytes;
  column root;
  json_doc *doc;
  arena *mem; /* the tree */
};

/* ---- types ---- */

static const char *const type_names[] = {"null",     "a boolean", "a whole number", "a number",
                                         "a string", "a list",    "an object"};

static rw_status type_of(const parquet_out *o, json_val v, const char *name, type *t, rw_error *err) {
  static const type of[] = {[JSON_NULL] = T_NULL,     [JSON_FALSE] = T_BOOL, [JSON_TRUE] = T_BOOL,
                            [JSON_STRING] = T_STRING, [JSON_ARRAY] = T_LIST, [JSON_OBJECT] = T_STRUCT};
  json_type k = json_kind(o->doc, v);
  int64_t n;
  if (k != JSON_NUMBER) return *t = of[k], RW_OK;
  slice raw = json_raw(o->doc, v);
  bool fraction = memchr(raw.p, '.', raw.len) || memchr(raw.p, 'e', raw.len) || memchr(raw.p, 'E', raw.len);
  if (!fraction && !json_int(o->doc, v, &n))
    return rw_fail(err, RW_DATA, "%s:%llu: field %s: expected a whole number of 64 bits, got %.*s; write JSONL",
                   o->path, (unsigned long long)o->row, name, (int)(raw.len < 40 ? raw.len : 40), raw.p);
  return *t = fraction ? T_FLOAT : T_INT, RW_OK;
}

static column *field(parquet_out *o, column *c, slice key) {
  for (size_t i = 0; i < c->n_child; i++) {
    column *f = c->child[(c->at + i) % c->n_child];
    if (!slice_is(key, f->name)) continue;
    c->at = (c->at + i + 1) % c->n_child;
    return f;
  }
  column *f = arena_alloc(o->mem, 1, sizeof *f);
  if (!f || !(f->name = arena_strndup(o->mem, key.p, key.len))) return NULL;
  f->value = JSON_NONE;
  c->at = 0;
  return vec_push(c->child, c->n_child, c->cap_child, f) ? f : NULL;
}

static rw_status widen(parquet_out *o, column *c, json_val v, rw_error *err) {
  type t = T_NULL;
  RW_TRY(type_of(o, v, c->name, &t, err));
  if (t == T_NULL) return RW_OK;
  if (c->t == T_NULL || (c->t == T_INT && t == T_FLOAT)) c->t = t;
  if (c->t != t && !(c->t == T_FLOAT && t == T_INT))
    return rw_fail(
        err, RW_DATA,
        "%s:%llu: field %s: expected %s as in the rows before, got %s; write JSONL, whose rows may differ", o->path,
        (unsigned long long)o->row, c->name, type_names[c->t], type_names[t]);
  if (t != T_LIST && t != T_STRUCT) return RW_OK;
  for (json_val m = json_first(o->doc, v); m != JSON_NONE; m = json_next(o->doc, m)) {
    slice key = t == T_STRUCT ? json_key(o->doc, m) : slice_of(c->name);
    column *f = !key.p ? NULL : t == T_LIST && c->n_child ? c->child[0] : field(o, c, key);
    if (!f) return rw_nomem(err, o->path);
    if (c->n_child > MAX_FIELDS || memchr(key.p, 0, key.len))
      return rw_fail(err, RW_DATA,
                     "%s:%llu: field %s: expected at most %d different names without NUL; write JSONL", o->path,
                     (unsigned long long)o->row, c->name, MAX_FIELDS);
    RW_TRY(widen(o, f, m, err));
  }
  return RW_OK;
}

/* ---- values ---- */

static void set_bit(str *s, int64_t i, bool on) {
  if (i % 8 == 0) str_addc(s, 0);
  if (on && !s->oom) s->p[i >> 3] = (char)((unsigned char)s->p[i >> 3] | 1u << (i & 7));
}

static rw_status append(parquet_out *o, column *c, json_val v, rw_error *err);

static rw_status append_inside(parquet_out *o, column *c, json_val v, bool valid, rw_error *err) {
  json_val first = valid ? json_first(o->doc, v) : JSON_NONE;
  if (c->t == T_LIST) {
    for (json_val m = first; m != JSON_NONE; m = json_next(o->doc, m)) RW_TRY(append(o, c->child[0], m, err));
    return RW_OK;
  }
  for (json_val m = first; m != JSON_NONE; m = json_next(o->doc, m)) {
    slice key = json_key(o->doc, m);
    column *f = key.p ? field(o, c, key) : NULL;
    if (!f) return rw_nomem(err, o->path);
    f->value = m; /* where a name is repeated the last counts */
  }
  for (size_t i = 0; i < c->n_child; i++) {
    json_val m = c->child[i]->value;
    c->child[i]->value = JSON_NONE;
    RW_TRY(append(o, c->child[i], m, err));
  }
  return RW_OK;
}

static rw_status append(parquet_out *o, column *c, json_val v, rw_error *err) {
  bool valid = v != JSON_NONE && json_kind(o->doc, v) != JSON_NULL;
  int64_t n = 0;
  double x = 0;
  set_bit(&c->valid, c->len, valid);
  c->nulls += !valid;
  if (c->t == T_BOOL) set_bit(&c->data, c->len, valid && json_kind(o->doc, v) == JSON_TRUE);
  if (c->t == T_INT) {
    if (valid) json_int(o->doc, v, &n);
    str_add(&c->data, (const char *)&n, sizeof n);
  }
  if (c->t == T_FLOAT) {
    if (valid) json_number(o->doc, v, &x);
    if (valid && json_int(o->doc, v, &n) && (n > 1LL << 53 || n < -(1LL << 53)))
      return rw_fail(err, RW_DATA, "%s:%llu: field %s: %lld does not fit beside fractions; write JSONL", o->path,
                     (unsigned long long)o->row, c->name, (long long)n);
    str_add(&c->data, (const char *)&x, sizeof x);
  }
  if (c->t == T_STRING && valid) {
    slice s = json_string(o->doc, v);
    if (!s.p) return rw_nomem(err, o->path);
    str_add(&c->data, s.p, s.len);
  }
  if (c->t == T_LIST || c->t == T_STRUCT) RW_TRY(append_inside(o, c, v, valid, err));
  c->len++;
  if (c->t == T_STRING || c->t == T_LIST) {
    if (!mem_grow((void **)&c->offsets, &c->cap_offsets, (size_t)c->len + 1, sizeof *c->offsets))
      return rw_nomem(err, o->path);
    if (c->len == 1) c->offsets[0] = 0;
    c->offsets[c->len] = c->t == T_STRING ? (int32_t)c->data.len : c->n_child ? (int32_t)c->child[0]->len : 0;
  }
  return c->valid.oom || c->data.oom ? rw_nomem(err, o->path) : RW_OK;
}

static void reset(column *c) {
  str_clear(&c->valid);
  str_clear(&c->data);
  c->len = c->nulls = 0;
  for (size_t i = 0; i < c->n_child; i++) reset(c->child[i]);
}

static void column_free(column *c) {
  for (size_t i = 0; i < c->n_child; i++) column_free(c->child[i]);
  str_free(&c->valid);
  str_free(&c->data);
  mem_free(c->offsets);
  mem_free(c->child);
}

/* ---- to Arrow: all memory is the column's or the arena's, so that releasing frees nothing ---- */

static void release_schema(struct ArrowSchema *s) {
  for (int64_t i = 0; i < s->n_children; i++)
    if (s->children[i]->release) s->children[i]->release(s->children[i]);
  s->release = NULL;
}

static void release_array(struct ArrowArray *a) {
  for (int64_t i = 0; i < a->n_children; i++)
    if (a->children[i]->release) a->children[i]->release(a->children[i]);
  a->release = NULL;
}

/* A list that is empty in every row gets elements of type null. */
static rw_status complete(parquet_out *o, column *c, rw_error *err) {
  if (c->t == T_LIST && !c->n_child && !field(o, c, SLICE("element"))) return rw_nomem(err, o->path);
  if (c->t == T_STRUCT && !c->n_child && o->row > 0)
    return rw_fail(err, RW_DATA,
                   "%s: field %s: an object that is empty in every row has no Parquet form; write JSONL", o->path,
                   c->name);
  for (size_t i = 0; i < c->n_child; i++) RW_TRY(complete(o, c->child[i], err));
  return RW_OK;
}

static bool schema_of(arena *mem, const column *c, struct ArrowSchema *s) {
  static const char *const formats[] = {"n", "b", "l", "g", "u", "+l", "+s"};
  *s = (struct ArrowSchema){.format = formats[c->t],
                            .name = c->name,
                            .flags = ARROW_FLAG_NULLABLE,
                            .n_children = (int64_t)c->n_child,
                            .children = arena_alloc(mem, c->n_child + 1, sizeof *s->children),
                            .release = release_schema};
  for (size_t i = 0; s->children && i < c->n_child; i++)
    if (!(s->children[i] = arena_alloc(mem, 1, sizeof *s)) || !schema_of(mem, c->child[i], s->children[i]))
      return false;
  return s->children != NULL;
}

static bool array_of(arena *mem, column *c, struct ArrowArray *a) {
  static const int n_buffers[] = {0, 2, 2, 2, 3, 2, 1};
  const void **b = arena_alloc(mem, 3, sizeof *b);
  *a = (struct ArrowArray){.length = c->len,
                           .null_count = c->t == T_NULL ? c->len : c->nulls,
                           .n_buffers = n_buffers[c->t],
                           .n_children = (int64_t)c->n_child,
                           .buffers = b,
                           .children = arena_alloc(mem, c->n_child + 1, sizeof *a->children),
                           .release = release_array};
  if (!b || !a->children || !mem_grow((void **)&c->offsets, &c->cap_offsets, 1, sizeof *c->offsets)) return false;
  if (c->len == 0) c->offsets[0] = 0;
  b[0] = c->valid.p ? c->valid.p : "";
  b[1] = c->t == T_STRING || c->t == T_LIST ? (const void *)c->offsets : c->data.p ? c->data.p : "";
  b[2] = c->data.p ? c->data.p : "";
  for (size_t i = 0; i < c->n_child; i++)
    if (!(a->children[i] = arena_alloc(mem, 1, sizeof *a)) || !array_of(mem, c->child[i], a->children[i]))
      return false;
  return true;
}

static rw_status put_batch(parquet_out *o, parquet_writer *w, arena *mem, rw_error *err) {
  struct ArrowArray a;
  arena_reset(mem);
  if (!array_of(mem, &o->root, &a)) return rw_nomem(err, o->path);
  rw_status s = parquet_writer_put(w, &a, err);
  reset(&o->root);
  return s;
}

/* Rows up to the byte `until` of them all, as one file that is not yet committed. */
static rw_status convert(parquet_out *o, jsonl_in *in, uint64_t until, file_out *f, arena *mem, rw_error *err) {
  parquet_writer *w;
  struct ArrowSchema schema;
  arena_reset(mem);
  if (!schema_of(mem, &o->root, &schema)) return rw_nomem(err, o->path);
  RW_TRY(parquet_writer_open(&w, f, o->path, &schema, err));
  rw_status s = RW_OK;
  slice row = {0};
  for (size_t bytes = 0; !s && o->bytes < until; o->bytes += row.len) {
    s = jsonl_next(in, &row, &o->row, err);
    if (!s) s = json_parse(o->doc, row.p, row.len, err);
    if (!s) s = append(o, &o->root, 0, err);
    bytes += row.len;
    if (s || bytes < BATCH_BYTES) continue;
    s = put_batch(o, w, mem, err);
    bytes = 0;
  }
  if (!s && o->root.len) s = put_batch(o, w, mem, err);
  rw_status closed = parquet_writer_close(w, !s, s ? NULL : err);
  return s ? s : closed;
}

/* ---- the file ---- */

char *parquet_shard(const char *stem, size_t k, size_t n) {
  return mem_printf("%s-%05zu-of-%05zu.parquet", stem, k, n);
}

static void out_free(parquet_out *o) {
  jsonl_abort(o->rows);
  if (o->waiting) unlink(o->waiting);
  column_free(&o->root);
  json_free(o->doc);
  arena_free(o->mem);
  mem_free(o->waiting);
  mem_free(o->path);
  mem_free(o);
}

rw_status parquet_out_open(parquet_out **out, const char *path, rw_error *err) {
  return parquet_out_shards(out, path, 0, NULL, err);
}

rw_status parquet_out_shards(parquet_out **out, const char *path, uint64_t shard_bytes, size_t *n, rw_error *err) {
  *out = NULL;
  RW_TRY(parquet_check(path, err));
  parquet_out *o = mem_zalloc(1, sizeof *o);
  if (!o) return rw_nomem(err, path);
  o->root = (column){.t = T_STRUCT, .name = "(row)"};
  o->path = mem_strndup(path, strlen(path));
  o->shard_bytes = shard_bytes;
  o->n_shards = n;
  char *partial = file_partial_name(path);
  o->waiting = partial ? mem_printf("%s.zst", partial) : NULL;
  mem_free(partial);
  o->doc = json_new();
  o->mem = arena_new();
  rw_status s = o->path && o->waiting && o->doc && o->mem ? RW_OK : rw_nomem(err, path);
  if (!s) s = jsonl_create(&o->rows, o->waiting, err);
  if (s)
    out_free(o);
  else
    *out = o;
  return s;
}

rw_status parquet_out_check(parquet_out **out, const char *path, rw_error *err) {
  rw_status s = parquet_out_open(out, path, err);
  if (!*out) return s;
  jsonl_abort((*out)->rows);
  (*out)->rows = NULL;
  return RW_OK;
}

rw_status parquet_out_write(parquet_out *o, const char *row, size_t len, rw_error *err) {
  o->row++;
  rw_status s = json_parse(o->doc, row, len, err);
  if (s) return rw_prefix(err, s, "%s:%llu", o->path, (unsigned long long)o->row);
  if (json_kind(o->doc, 0) != JSON_OBJECT)
    return rw_fail(err, RW_DATA, "%s:%llu: row: expected an object, got %s", o->path, (unsigned long long)o->row,
                   json_kind_name(json_kind(o->doc, 0)));
  RW_TRY(widen(o, &o->root, 0, err));
  o->bytes += len;
  return o->rows ? jsonl_write(o->rows, row, len, err) : RW_OK;
}

static rw_status convert_all(parquet_out *o, jsonl_in *in, size_t n, file_out **f, rw_error *err) {
  arena *mem = arena_new(); /* the schema's, then each batch's */
  uint64_t all = o->bytes;
  rw_status s = mem ? RW_OK : rw_nomem(err, o->path);
  o->bytes = 0;
  for (size_t k = 0; !s && k < n; k++) {
    char *path = o->shard_bytes ? parquet_shard(o->path, k, n) : mem_strndup(o->path, strlen(o->path));
    s = path ? file_out_open(&f[k], path, err) : rw_nomem(err, o->path);
    mem_free(path);
    if (!s) s = convert(o, in, k + 1 < n ? all / n * (k + 1) : all, f[k], mem, err);
  }
  arena_free(mem);
  return s;
}

rw_status parquet_out_commit(parquet_out *o, rw_error *err) {
  jsonl_in *in = NULL;
  jsonl_out *rows = o->rows;
  size_t n = o->shard_bytes && o->bytes > o->shard_bytes ? (size_t)((o->bytes - 1) / o->shard_bytes + 1) : 1;
  file_out **f = mem_zalloc(n, sizeof(file_out *));
  o->rows = NULL;
  rw_status s = jsonl_commit(rows, err);
  if (!s && !f) s = rw_nomem(err, o->path);
  if (!s) s = complete(o, &o->root, err);
  if (!s) s = jsonl_open(&in, o->waiting, NULL, err);
  if (!s) s = convert_all(o, in, n, f, err);
  for (size_t k = 0; f && k < n; k++)
    if (s)
      file_out_abort(f[k]);
    else
      s = file_out_commit(f[k], err);
  if (o->n_shards) *o->n_shards = n;
  jsonl_close(in);
  mem_free(f);
  out_free(o);
  return s;
}

void parquet_out_abort(parquet_out *o) {
  if (o) out_free(o);
}
