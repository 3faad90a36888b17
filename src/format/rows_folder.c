/* rows_folder.c - splits of a folder: data/SPLIT-00000-of-0000N.parquet, SPLIT.jsonl, SPLIT-*.json.gz and the like
 * in data/ or the folder itself, or in folders within it (NAME/SPLIT.jsonl, SPLIT/0000.parquet). A split counts
 * where it is first found of these.
 */
#include "format/rows_folder.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

typedef struct {
  const char *path;
  slice split;
  const char *ending;
  int place; /* 0: data/, 1: the folder, 2: within it */
} entry;

typedef struct {
  const char *dir; /* as the user named it */
  arena *a;
  entry *e;
  size_t n, cap;
} listing;

/* ---- names ---- */

/* Where the ending of a file of rows begins; NULL: it is none. */
static const char *row_ending(const char *name) {
  static const char *const endings[] = {".parquet", ".jsonl", ".ndjson", ".json", NULL};
  static const char *const packed[] = {"", ".gz", ".zst", NULL};
  for (size_t i = 0; endings[i]; i++)
    for (size_t k = 0; packed[k]; k++) {
      size_t len = strlen(name), a = strlen(endings[i]), b = strlen(packed[k]);
      if (len > a + b && memcmp(name + len - b, packed[k], b) == 0 &&
          memcmp(name + len - a - b, endings[i], a) == 0)
        return name + len - a - b;
    }
  return NULL;
}

bool rows_is_name(const char *name) { return row_ending(name) != NULL; }

static size_t digits(const char *p, size_t len) {
  size_t n = 0;
  while (n < len && isdigit((unsigned char)p[len - 1 - n])) n++;
  return n;
}

/* Without "-00000-of-00002" and the hash that may follow it. */
static slice without_shard(slice s) {
  size_t len = s.len;
  size_t hash = 0;
  while (hash < len && isxdigit((unsigned char)s.p[len - 1 - hash])) hash++;
  if (hash >= 8 && hash < len && s.p[len - 1 - hash] == '-') len -= hash + 1;
  size_t of = digits(s.p, len);
  if (of < 5 || len < of + 4 || memcmp(s.p + len - of - 4, "-of-", 4) != 0) return s;
  size_t at = digits(s.p, len - of - 4);
  if (at < 5 || len < of + 4 + at + 2 || s.p[len - of - 4 - at - 1] != '-') return s;
  return (slice){s.p, len - of - 4 - at - 1};
}

/* A folder whose files are of that split, whatever they are called. */
static bool is_split(const char *folder) {
  static const char *const names[] = {"train", "validation", "test", "dev"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(folder, names[i]) == 0) return true;
  return false;
}

/* Files that programs leave beside data; a split of this name is one only when it is asked for. */
static bool is_beside(slice split) {
  static const char *const names[] = {"dataset_info", "dataset_infos", "state",  "report", "manifest",
                                      "removed",      "results",       "config", "run",    "metrics"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (slice_is(split, names[i])) return true;
  return false;
}

/* ---- folders ---- */

static rw_status add_file(listing *l, const char *dir, const char *name, const char *within, int place,
                          rw_error *err) {
  const char *ending = row_ending(name);
  char *path = ending ? file_join(dir, name) : NULL;
  if (!ending) return RW_OK;
  const char *kept = path ? arena_strndup(l->a, path, strlen(path)) : NULL;
  mem_free(path);
  if (!kept) return rw_nomem(err, l->dir);
  const char *base = kept + strlen(kept) - strlen(name);
  slice stem = {base, (size_t)(ending - name)};
  if (within && (is_split(within) || digits(stem.p, stem.len) == stem.len))
    stem = slice_of(arena_strndup(l->a, within, strlen(within)));
  entry e = {kept, without_shard(stem), base + (ending - name), place};
  return vec_push(l->e, l->n, l->cap, e) ? RW_OK : rw_nomem(err, l->dir);
}

/* The files of rows in dir; place 1: also of the folders in it. within: the folder's own name, where that may be a
 * split. */
static rw_status list(listing *l, const char *dir, const char *within, int place, rw_error *err) {
  DIR *d = opendir(dir);
  rw_status s = RW_OK;
  if (!d && errno == ENOENT) return RW_OK;
  if (!d) return rw_fail(err, RW_IO, "%s: cannot open: %s", dir, strerror(errno));
  for (struct dirent *e; !s && (e = readdir(d));) {
    char *path = e->d_name[0] == '.' ? NULL : file_join(dir, e->d_name);
    if (!path) continue;
    if (!file_is_dir(path))
      s = add_file(l, dir, e->d_name, within, place, err);
    else if (place == 1 && strcmp(e->d_name, "data") != 0)
      s = list(l, path, e->d_name, 2, err);
    mem_free(path);
  }
  closedir(d);
  return s;
}

static int by_name(const void *a, const void *b) {
  return strcmp(((const entry *)a)->path, ((const entry *)b)->path);
}

/* ---- the split ---- */

static rw_status which_split(const listing *l, rw_error *err) {
  str names = {0};
  for (size_t i = 0; i < l->n; i++) {
    bool again = is_beside(l->e[i].split);
    for (size_t k = 0; k < i; k++) again |= slice_eq(l->e[k].split, l->e[i].split);
    if (!again) str_printf(&names, "%s%.*s", names.len ? ", " : "", (int)l->e[i].split.len, l->e[i].split.p);
  }
  rw_status s = names.oom ? rw_nomem(err, l->dir)
                : names.len
                    ? rw_fail(err, RW_USAGE, "%s: expected a split train, or only one, got %s; name one: %s:SPLIT",
                              l->dir, names.p, l->dir)
                    : rw_fail(err, RW_IO,
                              "%s: expected files of rows in the folder (data/train-*.parquet, train.jsonl and the "
                              "like), found none; what save_to_disk wrote becomes one by its to_parquet",
                              l->dir);
  str_free(&names);
  return s;
}

static rw_status choose(const listing *l, slice *split, rw_error *err) {
  slice only = {0};
  bool several = false;
  for (size_t i = 0; i < l->n; i++) {
    slice s = l->e[i].split;
    if (slice_is(s, "train")) return *split = s, RW_OK;
    if (is_beside(s)) continue;
    several |= only.p && !slice_eq(only, s);
    only = s;
  }
  *split = only;
  return only.p && !several ? RW_OK : which_split(l, err);
}

static rw_status take_split(listing *l, slice split, rows_files *out, rw_error *err) {
  int place = 3;
  for (size_t i = 0; i < l->n; i++)
    if (slice_eq(l->e[i].split, split) && l->e[i].place < place) place = l->e[i].place;
  const char **paths = arena_alloc(l->a, l->n + 1, sizeof *paths);
  const entry *first = NULL;
  if (!paths) return rw_nomem(err, l->dir);
  out->paths = paths;
  for (const entry *e = l->e; e < l->e + l->n; e++) {
    if (e->place != place || !slice_eq(e->split, split)) continue;
    if (!first) first = e;
    if (strcmp(first->ending, e->ending) != 0)
      return rw_fail(err, RW_USAGE,
                     "%s: expected the split %.*s in files of one kind, got %s and %s; name the files", l->dir,
                     (int)split.len, split.p, first->path, e->path);
    paths[out->n++] = e->path;
  }
  if (out->n > 0) return RW_OK;
  return rw_fail(err, RW_USAGE, "%s: expected a split %.*s in the folder, found none", l->dir, (int)split.len,
                 split.p);
}

static rw_status folder(rows_files *out, const char *dir, const char *split, arena *a, rw_error *err) {
  listing l = {.dir = dir, .a = a};
  char *data = file_join(dir, "data");
  rw_status s = data ? list(&l, data, NULL, 0, err) : rw_nomem(err, dir);
  if (!s) s = list(&l, dir, NULL, 1, err);
  if (l.n) qsort(l.e, l.n, sizeof *l.e, by_name);
  slice name = slice_of(split ? split : "");
  if (!s && !split) s = choose(&l, &name, err);
  if (!s) s = take_split(&l, name, out, err);
  mem_free(data);
  mem_free(l.e);
  return s;
}

rw_status rows_files_of(rows_files *out, const char *path, arena *a, rw_error *err) {
  *out = (rows_files){0};
  const char *colon = strrchr(path, ':');
  if (file_is_dir(path)) return folder(out, path, NULL, a, err);
  char *dir = colon && !file_exists(path) ? arena_strndup(a, path, (size_t)(colon - path)) : NULL;
  if (dir && file_is_dir(dir)) return folder(out, dir, colon + 1, a, err);
  const char **paths = arena_alloc(a, 1, sizeof *paths);
  if (!paths || !(paths[0] = arena_strndup(a, path, strlen(path)))) return rw_nomem(err, path);
  *out = (rows_files){paths, 1};
  return RW_OK;
}
