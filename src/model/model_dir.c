/* model_dir.c - finds a model's directory, converting a .gguf file where that is none yet. */
#include "model/model_dir.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "format/gguf.h"
#include "format/safetensors.h"

static rw_status convert_into(const char *path, const char *dir, rw_error *err) {
  char *partial = mem_printf("%s.partial-%ld", dir, (long)getpid());
  if (!partial) return rw_nomem(err, path);
  rw_status s = file_mkdirs(partial, err);
  if (!s) s = gguf_convert(path, partial, DT_F32, err);
  /* another process may have made it meanwhile: then a rename onto its files fails, and its files serve as well */
  if (!s && rename(partial, dir) != 0 && !file_is_dir(dir))
    s = rw_fail(err, RW_IO, "%s: cannot rename into place", dir);
  if (file_is_dir(partial)) file_remove_tree(partial, NULL);
  mem_free(partial);
  return s;
}

rw_status model_dir_find(char **dir, const char *path, rw_context *context, rw_error *err) {
  size_t n = strlen(path);
  bool is_gguf = n > 5 && strcmp(path + n - 5, ".gguf") == 0, folder = file_is_dir(path);
  *dir = NULL;
  if (!file_exists(path))
    return rw_fail(err, RW_IO, "%s: no such model here; expected a checkpoint's folder or a .gguf file", path);
  if (!folder && !is_gguf)
    return rw_fail(err, RW_DATA, "%s: expected a checkpoint's folder or a .gguf file, got another file", path);
  if (folder) return (*dir = mem_strndup(path, n)) ? RW_OK : rw_nomem(err, path);
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  bool xdg = cache && *cache;
  if (!xdg && !(home && *home))
    return rw_fail(err, RW_USAGE, "%s: no HOME or XDG_CACHE_HOME to convert it into; use reward convert", path);
  char hash[33];
  RW_TRY(file_hash(path, hash, err));
  *dir = mem_printf("%s%s/reward/%s-%s", xdg ? cache : home, xdg ? "" : "/.cache", hash, REWARD_VERSION);
  if (!*dir) return rw_nomem(err, path);
  if (file_is_dir(*dir)) return RW_OK;
  log_note(context, "%s: converting it into %s", path, *dir);
  rw_status s = convert_into(path, *dir, err);
  if (s) {
    mem_free(*dir);
    *dir = NULL;
  }
  return s;
}
