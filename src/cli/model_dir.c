/* model_dir.c - `--model FILE.gguf`: the file is converted once into the user's cache, and that directory is the
 * model.
 *
 * The directory is named by the file's hash and this version, is made under another name first, and is used again
 * as long as it is there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "format/gguf.h"
#include "format/peft.h"
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

static rw_status find(cli *c, const char **path, rw_error *err) {
  size_t n = strlen(*path);
  if (!file_exists(*path))
    return rw_fail(err, RW_IO, "%s: no such model here; expected a checkpoint's folder or a .gguf file", *path);
  if (!file_is_dir(*path) && (n <= 5 || strcmp(*path + n - 5, ".gguf") != 0))
    return rw_fail(err, RW_DATA, "%s: expected a checkpoint's folder or a .gguf file, got another file", *path);
  if (n <= 5 || strcmp(*path + n - 5, ".gguf") != 0 || file_is_dir(*path)) return RW_OK;
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  bool xdg = cache && *cache;
  if (!xdg && !(home && *home))
    return rw_fail(err, RW_USAGE, "%s: no HOME or XDG_CACHE_HOME to convert it into; use reward convert", *path);
  char hash[33];
  RW_TRY(file_hash(*path, hash, err));
  char *dir = mem_printf("%s%s/reward/%s-%s", xdg ? cache : home, xdg ? "" : "/.cache", hash, REWARD_VERSION);
  if (!dir) return rw_nomem(err, *path);
  rw_status s = RW_OK;
  if (!file_is_dir(dir)) {
    log_note(c->context, "%s: converting it into %s", *path, dir);
    s = convert_into(*path, dir, err);
  }
  if (!s && !(*path = cli_keep(c, dir, strlen(dir)))) s = rw_nomem(err, "--model");
  mem_free(dir);
  return s;
}

rw_status cli_model_dir(cli *c, const char **path, rw_error *err) {
  RW_TRY(find(c, path, err));
  if (!c->common.base) return RW_OK;
  if (!peft_is(*path))
    return rw_fail(err, RW_USAGE, "--base: expected an adapter (a folder with adapter_config.json), got %s", *path);
  return find(c, &c->common.base, err);
}
