/* model_dir.c - finds a model's directory, converting a .gguf file where that is none yet. */
#include "model/model_dir.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hub.h"
#include "base/log.h"
#include "base/sha256.h"
#include "format/gguf.h"
#include "format/safetensors.h"

enum { PIECE = 1 << 24 };

typedef struct {
  file_map file;
  uint8_t (*sum)[SHA256_BYTES]; /* by piece */
} pieces;

static void hash_piece(void *ctx, size_t i, int thread) {
  const pieces *p = ctx;
  size_t from = i * PIECE, left = p->file.len - from;
  sha256 s;
  (void)thread;
  sha256_begin(&s);
  sha256_add(&s, p->file.p + from, left < PIECE ? left : PIECE);
  sha256_end(&s, p->sum[i]);
}

/* SHA-256 of the SHA-256 of the file's pieces, which all threads share: a file of gigabytes is named whenever it is
 * opened. */
static rw_status hash_pieces(const char *path, rw_context *context, char out[SHA256_HEX], rw_error *err) {
  pieces p;
  RW_TRY(file_map_open(&p.file, path, err));
  size_t n = p.file.len / PIECE + 1;
  p.sum = mem_alloc(n, sizeof *p.sum);
  rw_status s = p.sum ? RW_OK : rw_nomem(err, path);
  if (!s && context->threads) pool_run(context->threads, n, hash_piece, &p);
  for (size_t i = 0; !s && !context->threads && i < n; i++) hash_piece(&p, i, 0);
  sha256 all;
  sha256_begin(&all);
  if (!s) sha256_add(&all, p.sum, n * sizeof *p.sum);
  sha256_end_hex(&all, out);
  mem_free(p.sum);
  file_map_close(&p.file);
  return s;
}

/* A conversion that stands there must be this user's own work, or the system's. */
static rw_status check_owner(const char *dir, rw_error *err) {
  struct stat st;
  if (lstat(dir, &st) != 0) return RW_OK;
  if (S_ISDIR(st.st_mode) && (st.st_uid == geteuid() || st.st_uid == 0) && !(st.st_mode & S_IWOTH)) return RW_OK;
  return rw_fail(err, RW_USAGE,
                 "%s: expected a folder of this user that others cannot write, got %s; remove it, or name another "
                 "XDG_CACHE_HOME",
                 dir,
                 !S_ISDIR(st.st_mode)   ? "a link or file"
                 : st.st_mode & S_IWOTH ? "one that they can"
                                        : "another's");
}

static rw_status convert_into(const char *path, const char *dir, rw_error *err) {
  char *partial = mem_printf("%s.partial-XXXXXX", dir),
       *cache = mem_strndup(dir, (size_t)(strrchr(dir, '/') - dir));
  rw_status s = partial && cache ? file_mkdirs(cache, err) : rw_nomem(err, path);
  bool made = !s && mkdtemp(partial);
  if (!s && !made) s = rw_fail(err, RW_IO, "%s: cannot make the folder: %s", partial, strerror(errno));
  if (!s) s = gguf_convert(path, partial, DT_F32, err);
  /* another process may have made it meanwhile: then a rename onto its files fails, and its files serve as well */
  if (!s && rename(partial, dir) != 0 && !file_is_dir(dir))
    s = rw_fail(err, RW_IO, "%s: cannot rename into place", dir);
  if (made && file_is_dir(partial)) file_remove_tree(partial, NULL);
  mem_free(partial);
  mem_free(cache);
  return s;
}

rw_status model_dir_find(char **dir, const char *path, rw_context *context, rw_error *err) {
  size_t n = strlen(path);
  bool is_gguf = n > 5 && strcmp(path + n - 5, ".gguf") == 0, folder = file_is_dir(path);
  *dir = NULL;
  if (!file_exists(path))
    return rw_fail(err, RW_IO, "%s: no such model here; expected a checkpoint's folder or a .gguf file%s", path,
                   hub_hint(path, "model", (char[HUB_HINT]){0}));
  if (!folder && !is_gguf)
    return rw_fail(err, RW_DATA, "%s: expected a checkpoint's folder or a .gguf file, got another file", path);
  if (folder) return (*dir = mem_strndup(path, n)) ? RW_OK : rw_nomem(err, path);
  char *cache = file_cache_dir(), hash[SHA256_HEX];
  if (!cache)
    return rw_fail(err, RW_USAGE, "%s: no HOME or XDG_CACHE_HOME to convert it into; use reward convert", path);
  rw_status s = hash_pieces(path, context, hash, err);
  if (!s && !(*dir = mem_printf("%s/%s-%s", cache, hash, REWARD_VERSION))) s = rw_nomem(err, path);
  mem_free(cache);
  if (!s) s = check_owner(*dir, err);
  if (!s && !file_is_dir(*dir)) {
    log_note(context, "%s: converting it into %s", path, *dir);
    s = convert_into(path, *dir, err);
  }
  if (s) {
    mem_free(*dir);
    *dir = NULL;
  }
  return s;
}
