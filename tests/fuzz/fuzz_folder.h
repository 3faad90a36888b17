/* fuzz_folder.h - a folder of links to files of the tests' data, for targets that open a model or a tokenizer once.
 * They run in the project's folder. */
#ifndef FUZZ_FOLDER_H
#define FUZZ_FOLDER_H

#include <limits.h>

#include "fuzz.h"

enum { FUZZ_LINKS = 8 };
typedef struct {
  char path[40], link[FUZZ_LINKS][80];
} fuzz_links;

/* pairs: name in the folder, file, ..., NULL */
static inline void fuzz_links_make(fuzz_links *f, const char *const *pairs) {
  *f = (fuzz_links){.path = "/dev/shm/reward-fuzz-XXXXXX"};
  if (!mkdtemp(f->path)) abort();
  for (int i = 0; i < FUZZ_LINKS && pairs[2 * i]; i++) {
    char whole[PATH_MAX];
    snprintf(f->link[i], sizeof f->link[i], "%s/%s", f->path, pairs[2 * i]);
    if (!realpath(pairs[2 * i + 1], whole) || symlink(whole, f->link[i])) abort();
  }
}

static inline void fuzz_links_remove(fuzz_links *f) {
  for (int i = 0; i < FUZZ_LINKS && f->link[i][0]; i++) unlink(f->link[i]);
  rmdir(f->path);
}

#endif
