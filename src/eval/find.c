/* find.c - which files of a folder are which suite's, by the fields of their first row.
 *
 * Some benchmarks are published in several splits or files, of which the figures are of one: RewardBench's filtered
 * rows, JudgeBench's pairs by GPT-4o, RM-Bench's total_dataset.json.
 */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/file.h"
#include "base/log.h"
#include "eval/eval_int.h"
#include "format/rows.h"
#include "format/rows_folder.h"

enum { DEEPEST = 8 };

typedef struct {
  rw_context *context;
  arena *a;
  json_doc *doc;
  const char **paths;
  size_t n, cap;
} finder;

/* ---- files ---- */

static rw_status walk(finder *f, const char *dir, int depth, rw_error *err) {
  DIR *d = opendir(dir);
  if (!d) return rw_fail(err, RW_IO, "%s: cannot open: %s", dir, strerror(errno));
  rw_status st = RW_OK;
  const struct dirent *e;
  while (!st && (e = readdir(d))) {
    if (e->d_name[0] == '.') continue;
    char *path = file_join(dir, e->d_name);
    char *kept = path ? arena_strndup(f->a, path, strlen(path)) : NULL;
    mem_free(path);
    bool folder = kept && file_is_dir(kept), rows = !folder && rows_is_name(e->d_name);
    if (!kept || (rows && !vec_push(f->paths, f->n, f->cap, kept))) st = rw_nomem(err, dir);
    if (folder && depth < DEEPEST) st = walk(f, kept, depth + 1, err);
  }
  closedir(d);
  return st;
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* ---- rows ---- */

static bool has(const finder *f, const char *field) {
  return json_kind(f->doc, json_get(f->doc, 0, field)) != JSON_NULL;
}

/* A list of texts, or of conversations, as opposed to one list of messages. */
static size_t responses(const finder *f, const char *field) {
  json_val v = json_get(f->doc, 0, field);
  if (json_kind(f->doc, v) != JSON_ARRAY || json_kind(f->doc, json_first(f->doc, v)) == JSON_OBJECT) return 0;
  return json_count(f->doc, v);
}

static bool is_subset_of(eval_suite s, slice name) {
  for (const subset *u = suite_subsets(s); name.p && u->name; u++)
    if (strlen(u->name) == name.len && strncasecmp(u->name, name.p, name.len) == 0) return true;
  return false;
}

static int suite_of_row(const finder *f) {
  slice name = json_string(f->doc, json_get(f->doc, 0, "subset"));
  if (has(f, "category_path") && (has(f, "conversation_input") || has(f, "chosen"))) return EVAL_RMB;
  if (has(f, "winner") && has(f, "prompt") && (has(f, "response_1") || has(f, "chosen")))
    return EVAL_PPE_PREFERENCE;
  if (has(f, "conflict_pairs") && has(f, "scores")) return EVAL_PPE_CORRECTNESS;
  if (has(f, "response_A") && has(f, "response_B") && has(f, "label")) return EVAL_JUDGEBENCH;
  if (has(f, "domain") && responses(f, "chosen") == 3 && responses(f, "rejected") == 3) return EVAL_RM_BENCH;
  if (is_subset_of(EVAL_REWARDBENCH2, name) && has(f, "chosen")) return EVAL_REWARDBENCH2;
  if (is_subset_of(EVAL_REWARDBENCH, name) && has(f, "chosen")) return EVAL_REWARDBENCH;
  return -1;
}

/* -1: the file cannot be read, or is no suite's. */
static int suite_of_file(const finder *f, const char *path) {
  rows_in *in;
  slice row;
  uint64_t line;
  rw_error why;
  int suite = -1;
  if (rows_open(&in, path, f->context, &why)) {
    log_warn(f->context, "passed over: %s", why.text);
    return -1;
  }
  if (!rows_next(in, &row, &line, &why) && row.p && !json_parse(f->doc, row.p, row.len, &why) &&
      json_kind(f->doc, 0) == JSON_OBJECT)
    suite = suite_of_row(f);
  rows_close(in);
  return suite;
}

/* ---- splits ---- */

static bool is_named(const char *path, const char *piece) {
  const char *slash = strrchr(path, '/');
  return strstr(slash ? slash + 1 : path, piece) != NULL;
}

static void keep_split(eval_files *files, const char *piece) {
  size_t n = 0;
  for (size_t i = 0; i < files->n; i++)
    if (is_named(files->paths[i], piece)) files->paths[n++] = files->paths[i];
  if (n) files->n = n;
}

static rw_status add(finder *f, eval_files *to, const char *path, rw_error *err) {
  if (to->n == to->cap) {
    size_t cap = to->cap ? 2 * to->cap : 16;
    const char **more = arena_alloc(f->a, cap, sizeof *more);
    if (!more) return rw_nomem(err, "files");
    if (to->n) memcpy(more, to->paths, to->n * sizeof *more);
    to->paths = more;
    to->cap = cap;
  }
  to->paths[to->n++] = path;
  return RW_OK;
}

rw_status eval_find(eval_files found[EVAL_SUITES], const char *dir, rw_context *context, arena *a, rw_error *err) {
  finder f = {.context = context, .a = a, .doc = json_new()};
  memset(found, 0, EVAL_SUITES * sizeof *found);
  rw_status st = f.doc ? walk(&f, dir, 0, err) : rw_nomem(err, dir);
  if (!st && f.n) qsort(f.paths, f.n, sizeof *f.paths, by_name);
  for (size_t i = 0; !st && i < f.n; i++) {
    int suite = suite_of_file(&f, f.paths[i]);
    if (suite >= 0) st = add(&f, &found[suite], f.paths[i], err);
  }
  keep_split(&found[EVAL_REWARDBENCH], "filtered");
  keep_split(&found[EVAL_JUDGEBENCH], "gpt");
  keep_split(&found[EVAL_RM_BENCH], "total_dataset");
  json_free(f.doc);
  mem_free(f.paths);
  return st;
}
