/* rows_folder.h - the files of rows behind a path: itself, or those of one split of a folder, as the hub has it. */
#ifndef FORMAT_ROWS_FOLDER_H
#define FORMAT_ROWS_FOLDER_H

#include <stdbool.h>

#include "base/mem.h"
#include "base/status.h"

typedef struct {
  const char *const *paths; /* in the order of their names, as paths that open */
  size_t n;
} rows_files;

/* path: a file, "-", DIR or DIR:SPLIT. Without SPLIT it is train, or the only one. All lives in the arena. What is
 * no folder is the only file, whether it can be opened or not. */
rw_status rows_files_of(rows_files *out, const char *path, arena *a, rw_error *err);

/* Does the name end as a file of rows does (.jsonl, .json, .ndjson, .parquet, packed or not)? */
bool rows_is_name(const char *name);

#endif
