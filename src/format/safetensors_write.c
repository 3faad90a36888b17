/* safetensors_write.c - writing checkpoints as Hugging Face does: one file, or shards and their index.
 *
 * A file's tensors are sorted as the safetensors package sorts them: by dtype from the widest, then by name. So
 * every tensor is aligned to its type, and the bytes equal the package's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/json_write.h"
#include "format/safetensors.h"

enum { DEFAULT_SHARD_GB = 5 };

static size_t spec_bytes(const st_spec *t) {
  size_t n = st_dtype_size(t->dtype);
  for (int i = 0; i < t->n_dims; i++) n *= (size_t)t->shape[i];
  return n;
}

typedef struct {
  const char *dir, *stem;
  const st_spec *specs;
  size_t n, shards;
  size_t *shard_of, *order; /* [n]; order: tensors as they lie in the files */
  rw_status (*read)(void *ctx, size_t i, void *buffer, rw_error *err);
  void *ctx;
  void *buffer;
} writer;

static void shard_name(const writer *w, size_t shard, char *out, size_t size) {
  if (w->shards == 1)
    snprintf(out, size, "%s.safetensors", w->stem);
  else
    snprintf(out, size, "%s-%05zu-of-%05zu.safetensors", w->stem, shard + 1, w->shards);
}

static int file_order(const void *a, const void *b, void *ctx) {
  const writer *w = ctx;
  size_t i = *(const size_t *)a, j = *(const size_t *)b;
  const st_spec *x = &w->specs[i], *y = &w->specs[j];
  if (w->shard_of[i] != w->shard_of[j]) return w->shard_of[i] < w->shard_of[j] ? -1 : 1;
  return x->dtype != y->dtype ? (int)y->dtype - (int)x->dtype : strcmp(x->name, y->name);
}

/* What stands before the data of the tensors order[from..to): a length, and the header. */
static void write_header(str *h, const writer *w, size_t from, size_t to) {
  uint64_t at = 0;
  json_writer hw = {.out = h, .compact = true};
  str_add(h, "\0\0\0\0\0\0\0", 8);
  jw_object(&hw, NULL);
  jw_object(&hw, "__metadata__");
  jw_string(&hw, "format", "pt");
  jw_end(&hw);
  for (size_t i = from; i < to; i++) {
    const st_spec *t = &w->specs[w->order[i]];
    jw_object(&hw, t->name);
    jw_string(&hw, "dtype", st_dtype_name(t->dtype));
    jw_array(&hw, "shape");
    for (int k = 0; k < t->n_dims; k++) jw_int(&hw, NULL, t->shape[k]);
    jw_end(&hw);
    jw_array(&hw, "data_offsets");
    jw_uint(&hw, NULL, at);
    jw_uint(&hw, NULL, at += spec_bytes(t));
    jw_end(&hw);
    jw_end(&hw);
  }
  jw_end(&hw);
  for (size_t pad = (8 - h->len % 8) % 8; pad > 0; pad--) str_addc(h, ' '); /* the data begins at a multiple of 8 */
  for (int i = 0; i < 8 && !h->oom; i++) h->p[i] = (char)(uint8_t)((uint64_t)(h->len - 8) >> (8 * i));
}

/* Writes the tensors order[from..to). */
static rw_status write_shard(const writer *w, size_t from, size_t to, rw_error *err) {
  char name[128];
  str h = {0};
  shard_name(w, from < to ? w->shard_of[w->order[from]] : 0, name, sizeof name);
  write_header(&h, w, from, to);
  char *path = file_join(w->dir, name);
  file_out *out = NULL;
  rw_status s = path && !h.oom ? file_out_open(&out, path, err) : rw_nomem(err, name);
  if (!s) s = file_out_write(out, h.p, h.len, err);
  for (size_t i = from; !s && i < to; i++) {
    s = w->read(w->ctx, w->order[i], w->buffer, err);
    if (!s) s = file_out_write(out, w->buffer, spec_bytes(&w->specs[w->order[i]]), err);
  }
  if (!s)
    s = file_out_commit(out, err);
  else
    file_out_abort(out);
  str_free(&h);
  mem_free(path);
  return s;
}

static rw_status write_index(const writer *w, uint64_t total, rw_error *err) {
  char name[128];
  str s = {0};
  json_writer sw = {.out = &s};
  jw_object_lines(&sw, NULL);
  jw_object_lines(&sw, "metadata");
  jw_uint(&sw, "total_size", total);
  jw_end(&sw);
  jw_object_lines(&sw, "weight_map");
  for (size_t i = 0; i < w->n; i++) {
    shard_name(w, w->shard_of[i], name, sizeof name);
    jw_string(&sw, w->specs[i].name, name);
  }
  jw_end(&sw);
  jw_end(&sw);
  str_addc(&s, '\n');
  char *path = mem_printf("%s/%s.safetensors.index.json", w->dir, w->stem);
  rw_status st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, w->dir);
  str_free(&s);
  mem_free(path);
  return st;
}

/* What an earlier write under the same stem left and a reader would prefer to, or mix with, the new files. */
static rw_status remove_stale(const writer *w, rw_error *err) {
  char *path = mem_printf(w->shards > 1 ? "%s/%s.safetensors" : "%s/%s.safetensors.index.json", w->dir, w->stem);
  if (!path) return rw_nomem(err, w->dir);
  rw_status s = RW_OK;
  if (file_exists(path) && unlink(path) != 0) s = rw_fail(err, RW_IO, "%s: cannot remove the old file", path);
  mem_free(path);
  return s;
}

rw_status st_write(const char *dir, const char *stem, const st_spec *specs, size_t n, uint64_t max_shard,
                   rw_status (*read)(void *ctx, size_t i, void *buffer, rw_error *err), void *ctx, rw_error *err) {
  writer w = {.dir = dir, .stem = stem, .specs = specs, .n = n, .shards = 1, .read = read, .ctx = ctx};
  w.shard_of = mem_zalloc(n, sizeof *w.shard_of);
  w.order = mem_zalloc(n, sizeof *w.order);
  if (max_shard == 0) max_shard = (uint64_t)DEFAULT_SHARD_GB * 1000000000u;
  size_t largest = 0;
  uint64_t total = 0, in_shard = 0;
  rw_status s = w.shard_of && w.order ? RW_OK : rw_nomem(err, dir);
  for (size_t i = 0; !s && i < n; i++) {
    size_t bytes = spec_bytes(&specs[i]);
    if (in_shard > 0 && (in_shard > max_shard || bytes > max_shard - in_shard)) {
      w.shards++;
      in_shard = 0;
    }
    w.shard_of[i] = w.shards - 1;
    w.order[i] = i;
    in_shard += bytes;
    total += bytes;
    if (bytes > largest) largest = bytes;
  }
  if (!s) qsort_r(w.order, n, sizeof *w.order, file_order, &w);
  w.buffer = mem_alloc(largest, 1);
  if (!s && !w.buffer) s = rw_nomem(err, dir);
  for (size_t from = 0, to; !s && (from < n || from == 0); from = to) {
    for (to = from + 1; to < n && w.shard_of[w.order[to]] == w.shard_of[w.order[from]];) to++;
    s = write_shard(&w, from, to < n ? to : n, err);
  }
  if (!s && w.shards > 1) s = write_index(&w, total, err);
  if (!s) s = remove_stale(&w, err);
  mem_free(w.shard_of);
  mem_free(w.order);
  mem_free(w.buffer);
  return s;
}

/* ---- by several ranks ---- */

enum { PART = 1 << 22 }; /* bytes at a time */

/* The file that all ranks write: rank 0 makes it, the others join it. */
static rw_status open_shared(file_out **out, const char *path, comm *ranks, rw_error *err) {
  char partial[4096] = "";
  rw_status s = ranks->rank == 0 ? file_out_open(out, path, err) : RW_OK;
  if (!s && *out && (size_t)snprintf(partial, sizeof partial, "%s", file_out_partial(*out)) >= sizeof partial)
    s = rw_fail(err, RW_IO, "%s: the path is too long", path);
  RW_TRY(comm_agree(ranks, s, err));
  RW_TRY(ranks->bcast(ranks, partial, sizeof partial, 0, err));
  return ranks->rank == 0 ? RW_OK : file_out_join(out, path, partial, err);
}

static rw_status write_own(const writer *w, const st_part *own, const str *header, file_out *out, int rank,
                           rw_status (*read)(void *ctx, size_t i, size_t at, size_t bytes, void *buffer,
                                             rw_error *err),
                           void *buffer, rw_error *err) {
  uint64_t at = header->len;
  if (rank == 0) RW_TRY(file_out_at(out, 0, header->p, header->len, err));
  for (size_t k = 0; k < w->n; k++) {
    size_t i = w->order[k], end = own[i].at + own[i].bytes;
    for (size_t from = own[i].at, bytes; from < end; from += bytes) {
      bytes = end - from < PART ? end - from : PART;
      RW_TRY(read(w->ctx, i, from, bytes, buffer, err));
      RW_TRY(file_out_at(out, at + from, buffer, bytes, err));
    }
    at += spec_bytes(&w->specs[i]);
  }
  return RW_OK;
}

rw_status st_write_ranks(const char *dir, const char *stem, const st_spec *specs, const st_part *own, size_t n,
                         comm *ranks,
                         rw_status (*read)(void *ctx, size_t i, size_t at, size_t bytes, void *buffer,
                                           rw_error *err),
                         void *ctx, rw_error *err) {
  writer w = {.dir = dir, .stem = stem, .specs = specs, .n = n, .shards = 1, .ctx = ctx};
  char name[128];
  str header = {0};
  file_out *out = NULL;
  shard_name(&w, 0, name, sizeof name);
  char *path = file_join(dir, name);
  w.shard_of = mem_zalloc(n, sizeof *w.shard_of);
  w.order = mem_alloc(n, sizeof *w.order);
  w.buffer = mem_alloc(PART, 1);
  rw_status s = path && w.shard_of && w.order && w.buffer ? RW_OK : rw_nomem(err, dir);
  for (size_t i = 0; !s && i < n; i++) w.order[i] = i;
  if (!s) qsort_r(w.order, n, sizeof *w.order, file_order, &w);
  if (!s) write_header(&header, &w, 0, n);
  if (!s && header.oom) s = rw_nomem(err, dir);
  s = comm_agree(ranks, s, err);
  if (!s) {
    s = open_shared(&out, path, ranks, err);
    if (!s) s = write_own(&w, own, &header, out, ranks->rank, read, w.buffer, err);
    if (!s && ranks->rank > 0) {
      s = file_out_leave(out, err);
      out = NULL;
    }
    s = comm_agree(ranks, s, err);
    if (!s && out) {
      s = file_out_commit(out, err);
      out = NULL;
    }
    if (out) file_out_abort(out);
    s = comm_agree(ranks, s, err);
  }
  str_free(&header);
  void *p[] = {path, w.shard_of, w.order, w.buffer};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  return s;
}
