/* zip.h - the members of a zip file that lie in it as they are: all that torch.save writes.
 *
 * Every offset and size is checked against the file before it is used; zip64 is read. Compressed, encrypted and
 * split files are refused by name.
 */
#ifndef FORMAT_ZIP_H
#define FORMAT_ZIP_H

#include "base/file.h"

typedef struct {
  slice name;  /* in the file */
  slice bytes; /* the member's, in the file */
} zip_member;

typedef struct {
  zip_member *m; /* in the archive's own order; in the arena */
  size_t n;
} zip_dir;

bool zip_is(slice file);
rw_status zip_open(zip_dir *z, slice file, const char *path, arena *a, rw_error *err);

#endif
