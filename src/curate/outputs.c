/* outputs.c - the files of the output folder: those of this run, and those that earlier runs left. */
#include "curate/outputs.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "format/rows.h"

static const char SHARDS[] = "data/train-[0-9]*-of-[0-9]*.parquet";

static rw_status add(const curation *r, output_names *l, const char *name, size_t len, rw_error *err) {
  char *copy = arena_strndup(r->mem, name, len);
  return copy && vec_push(l->items, l->n, l->cap, copy) ? RW_OK : rw_nomem(err, "outputs");
}

static bool has(const output_names *l, const char *name) {
  for (size_t i = 0; i < l->n; i++)
    if (strcmp(l->items[i], name) == 0) return true;
  return false;
}

rw_status curation_row_files(const curation *r, output_names *l, rw_error *err) {
  if (!r->shards) return add(r, l, "train.jsonl", strlen("train.jsonl"), err);
  for (size_t k = 0; k < r->shards; k++) {
    char *name = rows_shard("data/train", k, r->shards);
    rw_status s = name ? add(r, l, name, strlen(name), err) : rw_nomem(err, r->o->out);
    mem_free(name);
    RW_TRY(s);
  }
  return RW_OK;
}

static rw_status add_names(const curation *r, output_names *l, const char *const *names, size_t n, rw_error *err) {
  RW_TRY(curation_row_files(r, l, err));
  for (const stage *s = r->recipe.stages; s < r->recipe.stages + r->recipe.n; s++)
    if (curation_writes(r, s)) RW_TRY(add(r, l, stage_file(s), strlen(stage_file(s)), err));
  for (size_t i = 0; i < n; i++) RW_TRY(add(r, l, names[i], strlen(names[i]), err));
  return RW_OK;
}

rw_status curation_row_outputs(const curation *r, output_names *l, rw_error *err) {
  static const char *const names[] = {"removed.jsonl"};
  return add_names(r, l, names, 1, err);
}

rw_status curation_outputs(const curation *r, output_names *l, rw_error *err) {
  static const char *const names[] = {"README.md", "removed.jsonl", "report.json", "report.html"};
  return add_names(r, l, names, 4, err);
}

/* ---- what runs before this one have left ---- */

/* Of a file that the manifest lists: is it a name that a run writes? Nothing else may be removed by it, whoever
 * wrote the manifest. */
static bool is_run_name(const char *name) {
  static const char *const names[] = {"README.md", "removed.jsonl", "report.json", "report.html",
                                      "*.jsonl",   "*.jsonl.gz",    "*.jsonl.zst", "*.parquet"};
  if (name[0] == '.' || strstr(name, ".partial-")) return false;
  if (fnmatch(SHARDS, name, FNM_PATHNAME) == 0) return true;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (!strchr(name, '/') && fnmatch(names[i], name, 0) == 0) return true;
  return false;
}

static bool is_own_file(const char *path) {
  struct stat st;
  return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Are its bytes those that the manifest records? Older programs recorded their XXH3-128. */
static bool is_as_recorded(const char *path, json_doc *d, json_val v) {
  char hash[SHA256_HEX];
  struct stat st;
  int64_t bytes;
  slice want = json_string(d, json_get(d, v, "sha256")), old = json_string(d, json_get(d, v, "xxh3_128"));
  if (!is_own_file(path) || stat(path, &st) != 0) return false;
  if (json_int(d, json_get(d, v, "bytes"), &bytes) && bytes != (int64_t)st.st_size) return false;
  if (want.p) return !sha256_file(path, hash, NULL) && slice_is(want, hash);
  return old.p && !file_hash(path, hash, NULL) && slice_is(old, hash);
}

static rw_status stays(const curation *r, const char *path) {
  log_warn(r->o->context, "%s: is not the file that manifest.json records, and stays", path);
  return RW_OK;
}

/* The files, but those of `now`, that manifest.json lists. checked: and that are still as it says; of others that
 * stand there a warning. */
static rw_status recorded_outputs(const curation *r, output_names *l, const output_names *now, bool checked,
                                  rw_error *err) {
  char *manifest = file_join(r->o->out, "manifest.json");
  json_file f;
  rw_status s = manifest ? RW_OK : rw_nomem(err, r->o->out);
  if (!s && json_file_open(&f, manifest, NULL) == RW_OK) { /* one that cannot be read is not of a run */
    json_val list = json_get(f.doc, 0, "outputs");
    bool ours = json_get(f.doc, 0, "program") != JSON_NONE && json_get(f.doc, 0, "recipe") != JSON_NONE;
    for (json_val v = ours && json_kind(f.doc, list) == JSON_ARRAY ? json_first(f.doc, list) : JSON_NONE;
         !s && v != JSON_NONE; v = json_next(f.doc, v)) {
      slice name = json_string(f.doc, json_get(f.doc, v, "path"));
      char *text = mem_strndup(name.p ? name.p : "", name.len), *path = text ? file_join(r->o->out, text) : NULL;
      if (!path)
        s = rw_nomem(err, r->o->out);
      else if (is_run_name(text) && !has(now, text) && file_exists(path))
        s = checked && !is_as_recorded(path, f.doc, v) ? stays(r, path) : add(r, l, text, name.len, err);
      mem_free(text);
      mem_free(path);
    }
    json_file_close(&f);
  }
  mem_free(manifest);
  return s;
}

/* Rows in any of the layouts, which would be read as part of the set: a run that was killed has no manifest. */
static rw_status unfinished_outputs(const curation *r, output_names *l, rw_error *err) {
  char *data = file_join(r->o->out, "data");
  rw_status s = data ? add(r, l, "train.jsonl", strlen("train.jsonl"), err) : rw_nomem(err, r->o->out);
  DIR *d = s ? NULL : opendir(data);
  for (struct dirent *e; !s && d && (e = readdir(d));) {
    char name[sizeof "data/" + sizeof e->d_name];
    int n = snprintf(name, sizeof name, "data/%s", e->d_name);
    if (fnmatch(SHARDS, name, FNM_PATHNAME) == 0 && !strstr(name, ".partial-")) s = add(r, l, name, (size_t)n, err);
  }
  if (d) closedir(d);
  mem_free(data);
  return s;
}

static rw_status remove_own(const curation *r, const char *path, rw_error *err) {
  if (unlink(path) != 0) return rw_fail(err, RW_IO, "%s: cannot remove: %s", path, strerror(errno));
  log_note(r->o->context, "%s: of an earlier run, removed", path);
  return RW_OK;
}

rw_status curation_remove_earlier(const curation *r, rw_error *err) {
  output_names now = {0}, earlier = {0};
  rw_status s = curation_outputs(r, &now, err);
  if (!s) s = recorded_outputs(r, &earlier, &now, true, err);
  if (!s) s = unfinished_outputs(r, &earlier, err);
  for (size_t i = 0; !s && i < earlier.n; i++) {
    if (has(&now, earlier.items[i])) continue;
    char *path = file_join(r->o->out, earlier.items[i]);
    if (!path)
      s = rw_nomem(err, r->o->out);
    else if (is_own_file(path))
      s = remove_own(r, path, err);
    mem_free(path);
  }
  mem_free(now.items);
  mem_free(earlier.items);
  return s;
}

rw_status curation_check_outputs(const curation *r, const char *const *in, size_t n, rw_error *err) {
  output_names l = {0};
  rw_status s = curation_outputs(r, &l, err);
  if (!s) s = add(r, &l, "manifest.json", strlen("manifest.json"), err);
  if (!s) s = recorded_outputs(r, &l, &l, false, err);
  if (!s) s = unfinished_outputs(r, &l, err);
  for (size_t i = 0; !s && i < l.n; i++) {
    char *path = file_join(r->o->out, l.items[i]);
    s = path ? file_check_output(path, in, n, err) : rw_nomem(err, r->o->out);
    mem_free(path);
  }
  mem_free(l.items);
  return s;
}
