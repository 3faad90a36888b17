/* parquet_plugin.c - parquet.h by libreward-parquet.so, found beside the program or library that this code is in.
 *
 * Nothing is remembered between calls: opening a plugin that is already open gives the same one.
 */
#include "format/parquet_plugin.h"

#include <dlfcn.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/parquet.h"

#define NAME_OF(x) #x
#define TEXT_OF(x) NAME_OF(x)

/* The folder of the program or shared library that holds this code, with a slash, into dir; "" when not known. */
static void own_dir(char dir[4096]) {
  static const char here;
  Dl_info info;
  struct link_map *loaded = NULL;
  ssize_t n = -1;
  if (dladdr1(&here, &info, (void **)&loaded, RTLD_DL_LINKMAP) && loaded && loaded->l_name[0]) {
    char *real = realpath(loaded->l_name, NULL); /* a shared library */
    if (real && strlen(real) < 4096) n = (ssize_t)strlen(strcpy(dir, real));
    free(real);
  } else {
    n = readlink("/proc/self/exe", dir, 4095);
  }
  dir[n < 0 ? 0 : n] = 0;
  char *slash = strrchr(dir, '/');
  dir[slash ? slash + 1 - dir : 0] = 0;
}

static rw_status missing(const char *what, const char *why, rw_error *err) {
  return rw_fail(err, RW_UNSUPPORTED,
                 "%s needs Arrow's library for Parquet: %s; run `make deps` and `make` (or use JSONL: plain, .gz, "
                 ".zst)",
                 what, why);
}

/* *out: the plugin's table. what: the file or option that needs it. */
static rw_status plugin(const parquet_plugin **out, const char *what, rw_error *err) {
  /* the build folder, its folder of tests; lib/ and bin/ of an installation; last, wherever the system looks */
  static const char *const places[] = {"", "../", "reward/", "../lib/reward/"};
  char dir[4096], path[4096 + 64];
  void *library = NULL;
  own_dir(dir);
  for (size_t i = 0; dir[0] && !library && i < sizeof places / sizeof *places; i++) {
    snprintf(path, sizeof path, "%s%s%s", dir, places[i], PARQUET_PLUGIN);
    if (access(path, F_OK) != 0) continue;
    library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) return missing(what, dlerror(), err);
  }
  if (!library) library = dlopen(PARQUET_PLUGIN, RTLD_NOW | RTLD_LOCAL);
  if (!library) return missing(what, "there is no " PARQUET_PLUGIN " beside this program", err);
  *out = dlsym(library, TEXT_OF(PARQUET_PLUGIN_TABLE));
  if (*out && strcmp((*out)->version, REWARD_VERSION) == 0) return RW_OK;
  dlclose(library);
  return missing(what, PARQUET_PLUGIN " is of another version than this program", err);
}

rw_status parquet_check(const char *what, rw_error *err) {
  const parquet_plugin *by;
  return plugin(&by, what, err);
}

struct parquet_reader {
  const parquet_plugin *by;
  void *r;
};

rw_status parquet_reader_open(parquet_reader **out, const char *path, struct ArrowSchema *schema, uint64_t *rows,
                              rw_error *err) {
  const parquet_plugin *by;
  *out = NULL;
  *rows = 0;
  schema->release = NULL;
  RW_TRY(plugin(&by, path, err));
  parquet_reader *r = mem_zalloc(1, sizeof *r);
  if (!r) return rw_nomem(err, path);
  r->by = by;
  rw_status s = by->reader_open(&r->r, path, schema, rows, err);
  if (!s) *out = r;
  if (s) mem_free(r);
  return s;
}

rw_status parquet_reader_next(parquet_reader *r, struct ArrowArray *batch, rw_error *err) {
  return r->by->reader_next(r->r, batch, err);
}

void parquet_reader_close(parquet_reader *r) {
  if (r) r->by->reader_close(r->r);
  mem_free(r);
}

struct parquet_writer {
  const parquet_plugin *by;
  void *w;
};

rw_status parquet_writer_open(parquet_writer **out, file_out *f, const char *path, struct ArrowSchema *schema,
                              rw_error *err) {
  const parquet_plugin *by;
  *out = NULL;
  rw_status s = plugin(&by, path, err);
  parquet_writer *w = s ? NULL : mem_zalloc(1, sizeof *w);
  if (!w) {
    if (schema->release) schema->release(schema);
    return s ? s : rw_nomem(err, path);
  }
  w->by = by;
  s = by->writer_open(&w->w, f, file_out_write, path, schema, err);
  if (!s) *out = w;
  if (s) mem_free(w);
  return s;
}

rw_status parquet_writer_put(parquet_writer *w, struct ArrowArray *batch, rw_error *err) {
  return w->by->writer_put(w->w, batch, err);
}

rw_status parquet_writer_close(parquet_writer *w, bool finish, rw_error *err) {
  if (!w) return RW_OK;
  rw_status s = w->by->writer_close(w->w, finish, err);
  mem_free(w);
  return s;
}
