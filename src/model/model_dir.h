/* model_dir.h - the directory of the model that a path names: a checkpoint's or an adapter's directory, or a .gguf
 * file.
 *
 * A .gguf file is converted once into the user's cache ($XDG_CACHE_HOME/reward or ~/.cache/reward). The directory
 * is named by the file's content (SHA-256) and this version, is made under another name first, and is used again as
 * long as it is there and is this user's own or the system's.
 */
#ifndef MODEL_MODEL_DIR_H
#define MODEL_MODEL_DIR_H

#include "base/context.h"

/* *dir is the caller's to free by mem_free. */
rw_status model_dir_find(char **dir, const char *path, rw_context *context, rw_error *err);

#endif
