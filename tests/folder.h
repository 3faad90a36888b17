/* folder.h - a folder of a test's own: made before it, removed with what it holds after. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include "base/file.h"
#include "unit.h"

static char dir[] = "/tmp/reward-test-XXXXXX";
static int make_dir(void **state) {
  (void)state;
  memcpy(dir + sizeof dir - 7, "XXXXXX", 6);
  return mkdtemp(dir) ? 0 : -1;
}
static int remove_dir(void **state) {
  (void)state;
  return file_remove_tree(dir, NULL) ? -1 : 0;
}
/* A path in it; stays valid for three calls more. */
static inline const char *in_dir(const char *name) {
  static char path[4][300];
  static int turn;
  char *p = path[turn++ % 4];
  snprintf(p, sizeof *path, "%s/%s", dir, name);
  return p;
}

#endif
