/* outputs.c - the files of the output folder: those of this run, and those that earlier runs left. */
#include "curate/outputs.h"

#include <dirent.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "format/rows.h"

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

rw_status curation_outputs(const curation *r, output_names *l, rw_error *err) {
  RW_TRY(curation_row_files(r, l, err));
  for (const stage *s = r->recipe.stages; s < r->recipe.stages + r->recipe.n; s++)
    if (curation_writes(r, s)) RW_TRY(add(r, l, stage_file(s), strlen(stage_file(s)), err));
  static const char *const names[] = {"README.md", "removed.jsonl", "report.json", "report.html"};
  for (size_t i = 0; i < 4; i++) RW_TRY(add(r, l, names[i], strlen(names[i]), err));
  return RW_OK;
}

/* What runs before this one have left in the folder: what their manifest names, and rows in any of the layouts, as
 * a run that was killed has no manifest. */
static rw_status earlier_outputs(const curation *r, output_names *l, rw_error *err) {
  char *data = file_join(r->o->out, "data"), *manifest = file_join(r->o->out, "manifest.json");
  rw_status s = data && manifest ? add(r, l, "train.jsonl", strlen("train.jsonl"), err) : rw_nomem(err, r->o->out);
  json_file f;
  if (!s && json_file_open(&f, manifest, NULL) == RW_OK) { /* one that cannot be read is not of a run */
    json_val list = json_get(f.doc, 0, "outputs");
    bool ours = json_get(f.doc, 0, "program") != JSON_NONE && json_get(f.doc, 0, "recipe") != JSON_NONE;
    for (json_val v = ours && json_kind(f.doc, list) == JSON_ARRAY ? json_first(f.doc, list) : JSON_NONE;
         !s && v != JSON_NONE; v = json_next(f.doc, v)) {
      slice name = json_string(f.doc, json_get(f.doc, v, "path"));
      if (name.len && name.p[0] != '.' && !memchr(name.p, '/', name.len)) s = add(r, l, name.p, name.len, err);
    }
    json_file_close(&f);
  }
  DIR *d = s ? NULL : opendir(data);
  for (struct dirent *e; !s && d && (e = readdir(d));) {
    char name[sizeof "data/" + sizeof e->d_name];
    if (fnmatch("train-[0-9]*-of-[0-9]*.parquet", e->d_name, 0) == 0 && !strstr(e->d_name, ".partial-"))
      s = add(r, l, name, (size_t)snprintf(name, sizeof name, "data/%s", e->d_name), err);
  }
  if (d) closedir(d);
  mem_free(data);
  mem_free(manifest);
  return s;
}

rw_status curation_remove_earlier(const curation *r, rw_error *err) {
  output_names now = {0}, earlier = {0};
  rw_status s = curation_outputs(r, &now, err);
  if (!s) s = earlier_outputs(r, &earlier, err);
  for (size_t i = 0; !s && i < earlier.n; i++) {
    if (has(&now, earlier.items[i])) continue;
    char *path = file_join(r->o->out, earlier.items[i]);
    s = path ? file_remove_tree(path, err) : rw_nomem(err, r->o->out);
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
  if (!s) s = earlier_outputs(r, &l, err);
  for (size_t i = 0; !s && i < l.n; i++) {
    char *path = file_join(r->o->out, l.items[i]);
    s = path ? file_check_output(path, in, n, err) : rw_nomem(err, r->o->out);
    mem_free(path);
  }
  mem_free(l.items);
  return s;
}
