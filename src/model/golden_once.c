/* golden_once.c - golden rows that scored right are not scored again while nothing has changed (see golden.h).
 *
 * A record in the user's cache tells what was checked: the build that runs, the CPU's level, and each file of the
 * model's folder and its base's by its identity (base/file.h). A file that is written, replaced or restored has
 * another one, whatever times it is given. Nothing is recorded where a file has changed in the last seconds, when
 * two changes may have one time, or is not what was opened. The record lies in a folder that this user alone can
 * write: who can forge it can as well replace the program. Where there is no such folder the rows are scored each
 * time; so are those of small models, which cost nothing, and on devices, whose build is another.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "model/golden.h"
#include "model/identity.h"
#include "model/model_impl.h"

enum { SMALL_WEIGHTS = 1 << 24, SETTLED = 2 /* seconds */ };

/* ---- the build ---- */

/* The linker's id of a build, of some notes of an object; false: it is not among them. */
static bool add_note(sha256 *sum, const char *p, size_t len, size_t align) {
  for (size_t size; len >= sizeof(ElfW(Nhdr)); p += size, len -= size) {
    const ElfW(Nhdr) *n = (const void *)p;
    size_t name = n->n_namesz, from = sizeof *n + (name + 3) / 4 * 4;
    size = (from + n->n_descsz + align - 1) / align * align;
    if (size > len) return false;
    if (n->n_type != NT_GNU_BUILD_ID) continue;
    sha256_add(sum, p + from, n->n_descsz);
    return true;
  }
  return false;
}

/* Of the object, program or library, that this function is in: 1 or, without an id, -1. */
static int add_object(struct dl_phdr_info *o, size_t size, void *sum) {
  uintptr_t here = (uintptr_t)add_object;
  bool ours = false, found = false;
  (void)size;
  for (size_t i = 0; i < o->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &o->dlpi_phdr[i];
    ours |= h->p_type == PT_LOAD && here - (o->dlpi_addr + h->p_vaddr) < h->p_memsz;
  }
  for (size_t i = 0; ours && !found && i < o->dlpi_phnum; i++) {
    const ElfW(Phdr) *h = &o->dlpi_phdr[i];
    if (h->p_type != PT_NOTE) continue;
    /* NOLINTNEXTLINE(performance-no-int-to-ptr): that is how the loader gives it */
    found = add_note(sum, (const char *)(o->dlpi_addr + h->p_vaddr), h->p_memsz, h->p_align > 4 ? h->p_align : 4);
  }
  return found ? 1 : ours ? -1 : 0;
}

/* ---- what was checked ---- */

/* The identity of each file in the folder; *newest: when the last of them changed. */
static bool add_folder(sha256 *sum, const char *dir, int64_t *newest) {
  struct dirent **e = NULL;
  int n = scandir(dir, &e, NULL, alphasort);
  bool ok = n >= 0;
  for (int i = 0; i < n; i++) {
    file_id id;
    char *path = file_join(dir, e[i]->d_name);
    ok &= path != NULL;
    if (path && file_identify(&id, path)) {
      sha256_add(sum, e[i]->d_name, strlen(e[i]->d_name) + 1);
      sha256_add(sum, &id, sizeof id);
      if (id.changed > *newest) *newest = id.changed;
    }
    mem_free(path);
    free(e[i]);
  }
  free(e);
  return ok;
}

/* The weights' files, wherever they lie; false: one is no longer what was opened. */
static bool add_weights(sha256 *sum, const model *m, int64_t *newest) {
  const file_map *f;
  for (size_t i = 0; (f = st_file(m->w->file, i)); i++) {
    file_id id;
    if (!file_identify(&id, f->path) || memcmp(&id, &f->id, sizeof id) != 0) return false;
    sha256_add(sum, &id, sizeof id);
    if (id.changed > *newest) *newest = id.changed;
  }
  return true;
}

static bool describe(const model *m, const char *dir, char out[SHA256_HEX]) {
  sha256 sum;
  int64_t newest = 0;
  sha256_begin(&sum);
  bool ok = dl_iterate_phdr(add_object, &sum) == 1 && add_weights(&sum, m, &newest) &&
            add_folder(&sum, dir, &newest) && (file_same(dir, m->w->dir) || add_folder(&sum, m->w->dir, &newest));
  sha256_end_hex(&sum, out);
  return ok && newest / 1000000000 + SETTLED < (int64_t)time(NULL);
}

/* ---- records ---- */

/* The name of the folder's record, on this level. The caller frees it; NULL: no place for one. */
static char *record_of(const model *m, const char *dir) {
  char *cache = file_cache_dir(), *folder = cache ? file_join(cache, "golden") : NULL, *real = realpath(dir, NULL),
       *path = NULL, name[SHA256_HEX];
  struct stat st;
  if (folder && real && !file_mkdirs(cache, NULL)) {
    mkdir(folder, 0700);
    sha256 sum;
    sha256_begin(&sum);
    sha256_add(&sum, m->be->traits.name, strlen(m->be->traits.name) + 1);
    sha256_add(&sum, real, strlen(real));
    sha256_end_hex(&sum, name);
    if (lstat(folder, &st) == 0 && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
        !(st.st_mode & (S_IWGRP | S_IWOTH)))
      path = file_join(folder, name);
  }
  free(real);
  mem_free(folder);
  mem_free(cache);
  return path;
}

static bool holds(const char *path, const char *text) {
  str s = {0};
  bool is = file_exists(path) && !file_read(path, SHA256_HEX, &s, NULL) && slice_is((slice){s.p, s.len}, text);
  str_free(&s);
  return is;
}

static bool worth_it(const model *m, const char *dir) {
  char *path = file_join(dir, GOLDEN_FILE);
  bool has_rows = path && file_exists(path);
  mem_free(path);
  return has_rows && m->be->traits.maps_host && !m->w->reads_logit && model_weight_bytes(m) > SMALL_WEIGHTS;
}

rw_status golden_check_once(model *m, const char *dir, rw_error *err) {
  char before[SHA256_HEX], after[SHA256_HEX];
  char *record = worth_it(m, dir) && describe(m, dir, before) ? record_of(m, dir) : NULL;
  if (record && holds(record, before)) {
    mem_free(record);
    return RW_OK;
  }
  rw_status s = golden_check(m, dir, err);
  if (!s && record && describe(m, dir, after) && strcmp(before, after) == 0)
    file_put(record, after, strlen(after), NULL);
  mem_free(record);
  return s;
}
