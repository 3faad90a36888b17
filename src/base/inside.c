/* inside.c - names in a folder that somebody else may have made must not lead out of it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* Is `path` in the folder, both without links? */
static bool lies_in(const char *path, const char *folder) {
  size_t n = strlen(folder);
  return strncmp(path, folder, n) == 0 && (path[n] == '/' || (n == 1 && folder[0] == '/'));
}

/* The blobs that the snapshot of a hub's cache links to: MODEL/snapshots/REVISION -> MODEL/blobs, for a file that
 * stands in `snapshot` as it is resolved. NULL: it is no such folder, or no memory. The caller frees it. */
static char *blobs_of(const char *snapshot) {
  const char *last = strrchr(snapshot, '/');
  static const char ABOVE[] = "/snapshots";
  size_t n = last ? (size_t)(last - snapshot) : 0, above = sizeof ABOVE - 1;
  if (n <= above || memcmp(last - above, ABOVE, above) != 0) return NULL;
  return mem_printf("%.*s/blobs", (int)(n - above), snapshot);
}

bool file_is_inside(const char *path, const char *dir) {
  char *at = realpath(path, NULL), *folder = realpath(dir, NULL);
  bool inside = at && folder && lies_in(at, folder);
  free(at);
  free(folder);
  return inside;
}

rw_status file_check_inside(const char *dir, const char *name, rw_error *err) {
  char *path = file_join(dir, name), *folder = realpath(dir, NULL), *at = path ? realpath(path, NULL) : NULL;
  char *blobs = folder ? blobs_of(folder) : NULL;
  rw_status s = RW_OK;
  if (!path)
    s = rw_nomem(err, name);
  else if (!folder || !at)
    s = rw_fail(err, RW_IO, "%s: cannot follow: %s", path, strerror(errno));
  else if (!lies_in(at, folder) && !(blobs && lies_in(at, blobs)))
    s = rw_fail(
        err, RW_DATA,
        "%s: is a link out of its folder, to %s, and what that holds would be copied; put the file itself there "
        "if it belongs to the model",
        path, at);
  mem_free(blobs);
  mem_free(path);
  free(folder);
  free(at);
  return s;
}
