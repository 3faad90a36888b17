/* safetensors.c - reading checkpoints: safetensors, and files of torch.save where there are none (torch_file.h).
 *
 * Everything a file says is checked before any of it is used: the header's length, each tensor's type, shape,
 * offsets (in order, without gaps, to the end of the file), and that an index and its shards agree.
 */
#include "format/safetensors.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "format/json.h"
#include "format/torch_file.h"

struct st_set {
  file_map *files;
  size_t n_files, cap_files;
  st_tensor *t;
  size_t n, cap;
  map *by_name;
  arena *names;
};

static rw_status bad(const char *path, slice name, rw_error *err, const char *what) {
  return rw_fail(err, RW_DATA, "%s: tensor %.*s: %s; the file is damaged or not a safetensors file", path,
                 (int)(name.len < 200 ? name.len : 200), name.p, what);
}

static rw_status add(void *ctx, slice name, st_tensor *t, rw_error *err) {
  st_set *s = ctx;
  bool was_new;
  if (!name.p) return rw_nomem(err, t->file);
  if (memchr(name.p, 0, name.len)) return bad(t->file, name, err, "expected a name without a zero byte");
  t->name = arena_strndup(s->names, name.p, name.len);
  if (!t->name || !map_put(s->by_name, name.p, name.len, (int64_t)s->n, &was_new) ||
      !vec_push(s->t, s->n, s->cap, *t))
    return rw_nomem(err, t->file);
  return was_new ? RW_OK : bad(t->file, name, err, "stands twice in the checkpoint");
}

/* One entry of the header; *end is where the tensor before it ended. data: the byte buffer, of `room` bytes. */
static rw_status read_entry(st_set *s, const file_map *f, json_doc *d, json_val v, const uint8_t *data, size_t room,
                            rw_error *err) {
  slice name = json_key(d, v), dtype = json_string(d, json_get(d, v, "dtype"));
  json_val shape = json_get(d, v, "shape"), offsets = json_get(d, v, "data_offsets");
  st_tensor t = {.file = f->path};
  int k = 0;
  while (k <= DT_I64 && !(dtype.p && slice_is(dtype, st_dtype_name((st_dtype)k)))) k++;
  if (k > DT_I64)
    return rw_fail(err, RW_UNSUPPORTED,
                   "%s: tensor %.*s: dtype: expected F32, F16, BF16 or another plain type, got '%.*s'", f->path,
                   (int)name.len, name.p, (int)dtype.len, dtype.p ? dtype.p : "");
  t.dtype = (st_dtype)k;
  if (json_kind(d, shape) != JSON_ARRAY || json_count(d, shape) > ST_MAX_DIMS)
    return bad(f->path, name, err, "shape: expected a list of at most 8 numbers");
  size_t bytes = st_dtype_size(t.dtype);
  for (json_val e = json_first(d, shape); e != JSON_NONE; e = json_next(d, e)) {
    if (!json_int(d, e, &t.shape[t.n_dims]) || t.shape[t.n_dims] < 0 ||
        __builtin_mul_overflow(bytes, (size_t)t.shape[t.n_dims], &bytes))
      return bad(f->path, name, err, "shape: expected sizes whose product fits");
    t.n_dims++;
  }
  int64_t from, to;
  if (json_count(d, offsets) != 2 || !json_int(d, json_at(d, offsets, 0), &from) ||
      !json_int(d, json_at(d, offsets, 1), &to) || from < 0 || to < from || (uint64_t)to > room)
    return rw_fail(err, RW_DATA,
                   "%s: tensor %.*s: data_offsets: expected two offsets within the file's %zu data bytes, got "
                   "%.*s; is the file cut short?",
                   f->path, (int)name.len, name.p, room, (int)json_raw(d, offsets).len,
                   json_raw(d, offsets).p ? json_raw(d, offsets).p : "");
  if ((size_t)(to - from) != bytes)
    return bad(f->path, name, err, "data_offsets: the length does not fit shape and dtype");
  t.data = data + from;
  t.bytes = bytes;
  return add(s, name, &t, err);
}

static int by_place(const void *a, const void *b) {
  const st_tensor *x = *(const st_tensor *const *)a, *y = *(const st_tensor *const *)b;
  if (x->data != y->data) return x->data < y->data ? -1 : 1;
  return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* an empty tensor shares its place with the next */
}

/* The tensors of one file must tile its data: no gap, no overlap, nothing behind. */
static rw_status check_tiling(const st_set *s, size_t first, const char *path, const uint8_t *data, size_t room,
                              rw_error *err) {
  size_t n = s->n - first, covered = 0;
  const st_tensor **order = mem_alloc(n, sizeof *order);
  if (!order) return rw_nomem(err, path);
  for (size_t i = 0; i < n; i++) order[i] = &s->t[first + i];
  qsort(order, n, sizeof *order, by_place);
  rw_status st = RW_OK;
  for (size_t i = 0; !st && i < n; i++) {
    size_t from = (size_t)((const uint8_t *)order[i]->data - data);
    if (from != covered)
      st = bad(path, slice_of(order[i]->name), err,
               from < covered ? "overlaps another tensor" : "leaves a gap before it");
    covered = from + order[i]->bytes;
  }
  if (!st && covered != room)
    st = rw_fail(err, RW_DATA, "%s: expected %zu data bytes by its header, got %zu; the file is damaged", path,
                 covered, room);
  mem_free(order);
  return st;
}

static rw_status read_file(st_set *s, const char *path, rw_error *err) {
  file_map m;
  RW_TRY(file_map_open(&m, path, err));
  if (!vec_push(s->files, s->n_files, s->cap_files, m)) {
    file_map_close(&m);
    return rw_nomem(err, path);
  }
  const file_map *f = &s->files[s->n_files - 1];
  const slice whole = {(const char *)f->p, f->len};
  if (torch_file_is(whole)) return torch_file_read(whole, f->path, add, s, err);
  uint64_t header = 0;
  if (f->len < 8) return rw_fail(err, RW_DATA, "%s: expected a safetensors file, got %zu bytes", path, f->len);
  for (int i = 7; i >= 0; i--) header = header << 8 | f->p[i];
  if (header > f->len - 8 || header > 100 << 20)
    return rw_fail(
        err, RW_DATA,
        "%s: header: expected at most %zu bytes, got a length of %llu; is it a safetensors file, and whole?", path,
        f->len - 8, (unsigned long long)header);
  json_doc *d = json_new();
  if (!d) return rw_nomem(err, path);
  const uint8_t *data = f->p + 8 + header;
  size_t room = f->len - 8 - header, first = s->n;
  rw_status st = json_parse(d, (const char *)f->p + 8, header, err);
  if (st) st = rw_prefix(err, st, "%s: header", path);
  if (!st && json_kind(d, 0) != JSON_OBJECT) st = rw_fail(err, RW_DATA, "%s: header: expected a JSON object", path);
  for (json_val v = st ? JSON_NONE : json_first(d, 0); !st && v != JSON_NONE; v = json_next(d, v))
    if (!slice_is(json_key(d, v), "__metadata__")) st = read_entry(s, f, d, v, data, room, err);
  if (!st) st = check_tiling(s, first, f->path, data, room, err);
  json_free(d);
  return st;
}

/* The shards that an index names, each once; then every tensor it names must be where it says. */
static rw_status read_index(st_set *s, const char *dir, const char *path, rw_error *err) {
  json_file j;
  RW_TRY(json_file_open_large(&j, path, err));
  json_val list = json_get(j.doc, 0, "weight_map");
  map *seen = map_new();
  rw_status st = seen ? RW_OK : rw_nomem(err, path);
  if (!st && (json_kind(j.doc, list) != JSON_OBJECT || json_count(j.doc, list) == 0))
    st = rw_fail(err, RW_DATA, "%s: weight_map: expected an object of tensor names, got %s", path,
                 json_kind_name(json_kind(j.doc, list)));
  for (json_val v = json_first(j.doc, list); !st && v != JSON_NONE; v = json_next(j.doc, v)) {
    slice file = json_string(j.doc, v);
    bool was_new;
    if (!file.p || file.len == 0 || memchr(file.p, '/', file.len) || memchr(file.p, 0, file.len)) {
      st = rw_fail(err, RW_DATA, "%s: weight_map: expected the name of a file beside it, got %.*s", path,
                   (int)json_raw(j.doc, v).len, json_raw(j.doc, v).p);
      break;
    }
    if (!map_put(seen, file.p, file.len, 0, &was_new)) {
      st = rw_nomem(err, path);
      break;
    }
    if (!was_new) continue;
    char *shard = mem_printf("%s/%.*s", dir, (int)file.len, file.p);
    st = shard ? read_file(s, shard, err) : rw_nomem(err, path);
    mem_free(shard);
  }
  for (json_val v = json_first(j.doc, list); !st && v != JSON_NONE; v = json_next(j.doc, v)) {
    slice name = json_key(j.doc, v), file = json_string(j.doc, v);
    int64_t *i = map_get(s->by_name, name.p, name.len);
    const char *in = i ? s->t[*i].file : "", *slash = strrchr(in, '/');
    if (!i || !slice_is(file, slash ? slash + 1 : in))
      st = rw_fail(err, RW_DATA, "%s: tensor %.*s: expected in %.*s, but it is not there", path, (int)name.len,
                   name.p, (int)file.len, file.p);
  }
  if (!st && json_count(j.doc, list) != s->n)
    st =
        rw_fail(err, RW_DATA, "%s: expected %zu tensors, the shards hold %zu", path, json_count(j.doc, list), s->n);
  map_free(seen);
  json_file_close(&j);
  return st;
}

/* N where the folder has a shard model-K-of-N.safetensors; 0: none. */
static int shards_of(const char *dir) {
  int k, n = 0, end;
  DIR *d = opendir(dir);
  for (struct dirent *e; d && n == 0 && (e = readdir(d));) {
    end = 0;
    if (sscanf(e->d_name, "model-%5d-of-%5d.safetensors%n", &k, &n, &end) != 2 || end == 0 || e->d_name[end]) n = 0;
  }
  if (d) closedir(d);
  return n;
}

/* All shards by their names, where the index is missing. */
static rw_status read_shards(st_set *s, const char *dir, int n, rw_error *err) {
  for (int k = 1; k <= n; k++) {
    char *shard = mem_printf("%s/model-%05d-of-%05d.safetensors", dir, k, n);
    rw_status st =
        !shard ? rw_nomem(err, dir)
        : file_exists(shard)
            ? read_file(s, shard, err)
            : rw_fail(err, RW_DATA,
                      "%s: is missing, and there is no index; expected all of %d shards, fetch the model "
                      "again",
                      shard, n);
    mem_free(shard);
    RW_TRY(st);
  }
  return RW_OK;
}

static rw_status open_path(st_set *s, const char *path, rw_error *err) {
  if (!file_is_dir(path)) return read_file(s, path, err);
  static const char *const names[] = {
      "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors",
      "pytorch_model.bin", "pytorch_model.bin.index.json", "adapter_model.bin"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    int n = i == 3 ? shards_of(path) : 0;
    if (n > 0) return read_shards(s, path, n, err);
    char *full = file_join(path, names[i]);
    if (!full) return rw_nomem(err, path);
    bool there = file_exists(full), index = file_has_end(full, ".index.json");
    rw_status st = !there ? RW_OK : index ? read_index(s, path, full, err) : read_file(s, full, err);
    mem_free(full);
    if (there) return st;
  }
  return rw_fail(
      err, RW_DATA,
      "%s: expected model.safetensors or model.safetensors.index.json in it (or pytorch_model.bin), found "
      "neither",
      path);
}

rw_status st_open(st_set **out, const char *path, rw_error *err) {
  *out = NULL;
  st_set *s = mem_zalloc(1, sizeof *s);
  if (!s) return rw_nomem(err, path);
  s->by_name = map_new();
  s->names = arena_new();
  rw_status st = s->by_name && s->names ? open_path(s, path, err) : rw_nomem(err, path);
  if (st)
    st_close(s);
  else
    *out = s;
  return st;
}

void st_close(st_set *s) {
  if (!s) return;
  for (size_t i = 0; i < s->n_files; i++) file_map_close(&s->files[i]);
  mem_free(s->files);
  mem_free(s->t);
  map_free(s->by_name);
  arena_free(s->names);
  mem_free(s);
}

void st_forget(const st_set *s) {
  for (size_t i = 0; i < s->n_files; i++)
    if (s->files[i].p) madvise((void *)s->files[i].p, s->files[i].len, MADV_DONTNEED);
}

const file_map *st_file(const st_set *s, size_t i) { return i < s->n_files ? &s->files[i] : NULL; }
size_t st_count(const st_set *s) { return s->n; }
const st_tensor *st_at(const st_set *s, size_t i) { return &s->t[i]; }
const st_tensor *st_find(const st_set *s, const char *name) {
  int64_t *i = map_get(s->by_name, name, strlen(name));
  return i ? &s->t[*i] : NULL;
}
