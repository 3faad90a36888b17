/* hashes.c - SHA-256 of what a run reads and writes (see hashes.h). */
#include "curate/hashes.h"

#include <string.h>

#include "base/file.h"
#include "curate/outputs.h"
#include "format/rows.h"

struct hashing {
  curation *r;
  pthread_t thread;
  atomic_bool stop;
  rw_status status;
  rw_error err;
};

static rw_status hash_rows(hashing *h, const char *path, char *out) {
  return file_is_dir(path) || !file_exists(path) ? rows_sha256(path, out, &h->err)
                                                 : sha256_file_until(path, out, &h->stop, &h->err);
}

static void *hash_read(void *ctx) {
  hashing *h = ctx;
  curation *r = h->r;
  for (size_t i = 0; !h->status && i < r->n_inputs; i++)
    if (!r->inputs[i].hash[0]) h->status = hash_rows(h, r->inputs[i].path, r->inputs[i].hash);
  for (size_t i = 0; !h->status && i < r->n_also; i++) h->status = hash_rows(h, r->also[i].path, r->also[i].hash);
  return NULL;
}

rw_status hashes_begin(curation *r, rw_error *err) {
  hashing *h = mem_zalloc(1, sizeof *h);
  if (!h) return rw_nomem(err, "hashes");
  h->r = r;
  atomic_init(&h->stop, false);
  int why = pthread_create(&h->thread, NULL, hash_read, h);
  if (!why) r->hashing = h;
  if (why) mem_free(h);
  return why ? rw_fail(err, RW_NOMEM, "cannot start a thread: %s", strerror(why)) : RW_OK;
}

static rw_status end_reading(curation *r, rw_error *err) {
  hashing *h = r->hashing;
  if (!h) return RW_OK;
  pthread_join(h->thread, NULL);
  rw_status s = h->status;
  if (s && err) *err = h->err;
  mem_free(h);
  r->hashing = NULL;
  return s;
}

void hashes_free(curation *r) {
  if (r->hashing) atomic_store(&r->hashing->stop, true);
  end_reading(r, NULL);
}

/* ---- what is written ---- */

typedef struct {
  const curation *r;
  rw_error *err;
  atomic_int status; /* the first failure's */
} hashing_written;

static void hash_written(void *ctx, size_t i, int thread) {
  hashing_written *h = ctx;
  hashed_file *f = &h->r->written[i];
  rw_error err;
  if (f->hash[0]) return;
  char *path = file_join(h->r->o->out, f->path);
  rw_status s = path ? sha256_file(path, f->hash, &err) : rw_nomem(&err, f->path);
  int none = RW_OK;
  (void)thread;
  if (s && atomic_compare_exchange_strong(&h->status, &none, s)) *h->err = err;
  mem_free(path);
}

static hashed_file *written_as(const curation *r, const char *name) {
  for (size_t i = 0; i < r->n_written; i++)
    if (strcmp(r->written[i].path, name) == 0) return &r->written[i];
  return NULL;
}

rw_status hashes_wrote(curation *r, const char *name, sha256 *sum, rw_error *err) {
  hashed_file f = {.path = arena_strndup(r->mem, name, strlen(name))};
  if (sum) sha256_end_hex(sum, f.hash);
  return f.path && vec_push(r->written, r->n_written, r->cap_written, f) ? RW_OK : rw_nomem(err, name);
}

rw_status hashes_end(curation *r, rw_error *err) {
  output_names names = {0};
  rw_error why = {0};
  hashing_written h = {.r = r, .err = &why};
  atomic_init(&h.status, RW_OK);
  RW_TRY(end_reading(r, err));
  rw_status s = curation_row_outputs(r, &names, err);
  for (size_t i = 0; !s && i < names.n; i++)
    if (!written_as(r, names.items[i])) s = hashes_wrote(r, names.items[i], NULL, err);
  if (!s) pool_run(r->o->context->threads, r->n_written, hash_written, &h);
  if (!s && (s = (rw_status)atomic_load(&h.status)) && err) *err = why;
  mem_free(names.items);
  return s;
}

rw_status hashes_of(const curation *r, const char *name, char out[SHA256_HEX], rw_error *err) {
  const hashed_file *f = written_as(r, name);
  if (f) return memcpy(out, f->hash, SHA256_HEX), RW_OK;
  char *path = file_join(r->o->out, name);
  rw_status s = path ? sha256_file(path, out, err) : rw_nomem(err, name);
  mem_free(path);
  return s;
}
