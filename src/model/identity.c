/* identity.c - what a model is by its content (see identity.h). */
#include "model/identity.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/sha256.h"
#include "model/model_impl.h"
#include "text/render.h"

/* ---- weights ---- */

typedef uint8_t digest[SHA256_BYTES];

typedef struct {
  const model *m;
  digest *digests; /* [n_tensors] */
} hashing;

static void hash_tensor(void *ctx, size_t i, int thread) {
  const hashing *h = ctx;
  const st_tensor *f = h->m->w->t[i].file;
  sha256 s;
  (void)thread;
  if (!f) return;
  sha256_begin(&s);
  sha256_add(&s, st_dtype_name(f->dtype), strlen(st_dtype_name(f->dtype)) + 1);
  sha256_add(&s, f->data, f->bytes);
  sha256_end(&s, h->digests[i]);
}

/* Values that are in no file, or not in the base's. */
static rw_status hash_own(const hashing *h, size_t i, rw_error *err) {
  const tensor *t = &h->m->w->t[i];
  float *values = mem_alloc(t->pub.count, sizeof *values);
  if (!values) return rw_nomem(err, t->pub.name);
  h->m->be->get(h->m->be, values, t->copy, t->pub.count * sizeof *values);
  rw_status s = h->m->be->sync(h->m->be, err);
  sha256 sum;
  sha256_begin(&sum);
  if (!s) sha256_add(&sum, values, t->pub.count * sizeof *values);
  sha256_end(&sum, h->digests[i]);
  mem_free(values);
  return s;
}

/* Tensors are hashed side by side, and their digests in their order. */
rw_status model_weights_hash(const model *m, char out[SHA256_HEX], rw_error *err) {
  size_t n = m->w->n_tensors;
  hashing h = {m, mem_zalloc(n, sizeof(digest))};
  if (!h.digests) return rw_nomem(err, m->w->dir);
  pool_run(m->context->threads, n, hash_tensor, &h);
  rw_status s = RW_OK;
  sha256 all;
  sha256_begin(&all);
  for (size_t i = 0; !s && i < n; i++) {
    const tensor *t = &m->w->t[i];
    if (!t->file && t->made) continue;
    if (!t->file) s = hash_own(&h, i, err);
    sha256_add(&all, t->pub.name, strlen(t->pub.name) + 1);
    sha256_add(&all, &t->scale, sizeof t->scale);
    sha256_add(&all, h.digests[i], sizeof(digest));
  }
  sha256_end_hex(&all, out);
  mem_free(h.digests);
  return s;
}

uint64_t model_weight_bytes(const model *m) {
  uint64_t sum = 0;
  for (size_t i = 0; i < m->w->n_tensors; i++) sum += m->w->t[i].file ? m->w->t[i].file->bytes : 0;
  return sum;
}

/* ---- files ---- */

static rw_status add_file(json_writer *w, const char *dir, const char *name, rw_error *err) {
  char hex[SHA256_HEX], *path = file_join(dir, name);
  rw_status s = !path ? rw_nomem(err, dir) : file_exists(path) ? sha256_file(path, hex, err) : RW_OK;
  if (!s && file_exists(path)) jw_string(w, name, hex);
  mem_free(path);
  return s;
}

rw_status model_identity_begin(json_writer *w, const model *m, const char *dir, const char *template,
                               rw_error *err) {
  static const char *const texts[] = {"tokenizer.json",          "tokenizer.model",   "tokenizer_config.json",
                                      "special_tokens_map.json", "added_tokens.json", "chat_template.jinja",
                                      "chat_template.json",      TEMPLATE_OF_TOOL_USE};
  char hex[SHA256_HEX];
  jw_object(w, "model");
  RW_TRY(add_file(w, model_dir(m), "config.json", err));
  if (strcmp(dir, model_dir(m)) != 0) RW_TRY(add_file(w, dir, "adapter_config.json", err));
  size_t n = sizeof texts / sizeof *texts - (template ? 3 : 0); /* its own are not used beside another */
  for (size_t i = 0; i < n; i++) RW_TRY(add_file(w, text_dir(dir, model_dir(m)), texts[i], err));
  if (!template) return RW_OK;
  RW_TRY(sha256_file(template, hex, err));
  jw_string(w, "chat_template", hex);
  return RW_OK;
}

rw_status model_identity_end(json_writer *w, const model *m, rw_error *err) {
  char hex[SHA256_HEX];
  RW_TRY(model_weights_hash(m, hex, err));
  jw_string(w, "weights", hex);
  jw_end(w);
  if (!m->be->traits.maps_host) st_forget(m->w->file);
  return RW_OK;
}

rw_status model_identity(json_writer *w, const model *m, const char *dir, const char *template, rw_error *err) {
  RW_TRY(model_identity_begin(w, m, dir, template, err));
  RW_TRY(model_identity_end(w, m, err));
  st_forget(m->w->file); /* most of it is not read from there again */
  return RW_OK;
}

/* ---- options ---- */

void identity_options(json_writer *w, const option *table, const void *values, option_affects affects,
                      const char *but) {
  for (const option *o = table; o->name; o++) {
    str text = {0};
    if (o->affects != affects || (but && strcmp(o->name, but) == 0)) continue;
    if (o->later && option_is_initial(o, values)) continue;
    if (o->kind == OPTION_FLAG && !option_is_initial(o, values)) jw_bool(w, o->name, true);
    if (option_text(o, values, &text)) jw_slice(w, o->name, (slice){text.p, text.len});
    str_free(&text);
  }
}
