/* manifest.c - manifest.json: what a run has read, drawn and written, each file with its SHA-256. */
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "curate/hashes.h"
#include "curate/outputs.h"
#include "curate/publish.h"

static const char *base_name(const char *path) {
  const char *slash = strrchr(path, '/');
  return slash ? slash + 1 : path;
}

static void put_inputs(const curation *r, json_writer *w) {
  jw_array_lines(w, "inputs");
  for (const input *in = r->inputs; in < r->inputs + r->n_inputs; in++) {
    jw_object(w, NULL);
    jw_string(w, "source", in->src->name);
    jw_string(w, "file", base_name(in->path));
    jw_uint(w, "rows", in->rows);
    jw_string(w, "sha256", in->hash);
    jw_end(w);
  }
  jw_end(w);
}

static void put_samples(const curation *r, json_writer *w) {
  jw_array_lines(w, "samples");
  for (const stage *s = r->recipe.stages; s < r->recipe.stages + r->recipe.n; s++) {
    if (!s->kind->manifest || !r->stage_done[s->index]) continue;
    jw_object(w, NULL);
    jw_int(w, "line", s->line);
    s->kind->manifest(r, s, w);
    jw_end(w);
  }
  jw_end(w);
}

static void put_also_read(const curation *r, json_writer *w) {
  jw_array_lines(w, "also_read");
  for (const hashed_file *f = r->also; f < r->also + r->n_also; f++) {
    jw_object(w, NULL);
    jw_string(w, "file", base_name(f->path));
    jw_string(w, "sha256", f->hash);
    jw_end(w);
  }
  jw_end(w);
}

static rw_status put_output(const curation *r, const char *name, json_writer *w, rw_error *err) {
  char hash[SHA256_HEX], *path = file_join(r->o->out, name);
  struct stat info;
  rw_status st = path ? hashes_of(r, name, hash, err) : rw_nomem(err, name);
  if (!st && stat(path, &info) != 0) st = rw_fail(err, RW_IO, "%s: cannot read its size", path);
  mem_free(path);
  if (st) return st;
  jw_object(w, NULL);
  jw_string(w, "path", name);
  jw_uint(w, "bytes", (uint64_t)info.st_size);
  jw_string(w, "sha256", hash);
  jw_end(w);
  return RW_OK;
}

static rw_status put_outputs(const curation *r, json_writer *w, rw_error *err) {
  output_names names = {0};
  rw_status st = curation_outputs(r, &names, err);
  jw_array_lines(w, "outputs");
  for (size_t i = 0; !st && i < names.n; i++) st = put_output(r, names.items[i], w, err);
  jw_end(w);
  mem_free(names.items);
  return st;
}

static rw_status put_manifest(const curation *r, json_writer *w, rw_error *err) {
  char hash[SHA256_HEX];
  RW_TRY(sha256_file(r->recipe.path, hash, err));
  jw_object_lines(w, NULL);
  jw_string(w, "program", "reward.c " REWARD_VERSION);
  jw_object(w, "recipe");
  jw_string(w, "name", r->recipe.name);
  jw_string(w, "sha256", hash);
  jw_end(w);
  put_inputs(r, w);
  put_samples(r, w);
  put_also_read(r, w);
  if (r->model_hash[0]) {
    jw_object(w, "model");
    jw_string(w, "path", r->o->model.model);
    jw_string(w, "sha256", r->model_hash);
    jw_end(w);
  }
  RW_TRY(put_outputs(r, w, err));
  jw_uint(w, "pairs", curation_alive(r));
  jw_end(w);
  str_addc(w->out, '\n');
  return RW_OK;
}

rw_status curation_manifest(const curation *r, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  char *path = file_join(r->o->out, "manifest.json");
  rw_status st = path ? put_manifest(r, &w, err) : rw_nomem(err, r->o->out);
  if (!st) st = s.oom ? rw_nomem(err, path) : file_put(path, s.p, s.len, err);
  mem_free(path);
  str_free(&s);
  return st;
}
