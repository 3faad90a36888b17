/* parquet_plugin.h - the boundary between this library and libreward-parquet.so, which alone is linked to Arrow.
 *
 * The plugin is opened when a Parquet file is first met, so that everything else works where Arrow is missing.
 * It is built together with the library and refused when its version differs: both must see the same rw_error.
 */
#ifndef FORMAT_PARQUET_PLUGIN_H
#define FORMAT_PARQUET_PLUGIN_H

#include "base/file.h"
#include "format/arrow_abi.h"

#define PARQUET_PLUGIN       "libreward-parquet.so"
#define PARQUET_PLUGIN_TABLE parquet_plugin_table /* the plugin's one exported name */

/* file_out_write of the program that opened the plugin. */
typedef rw_status (*parquet_sink)(file_out *f, const void *p, size_t len, rw_error *err);

/* Each member is the function of parquet.h whose name ends so; a reader or a writer is the plugin's own. */
typedef struct {
  const char *version; /* REWARD_VERSION */
  rw_status (*reader_open)(void **r, const char *path, struct ArrowSchema *schema, uint64_t *rows, rw_error *err);
  rw_status (*reader_next)(void *r, struct ArrowArray *batch, rw_error *err);
  void (*reader_close)(void *r);
  rw_status (*writer_open)(void **w, file_out *f, parquet_sink write, const char *path, struct ArrowSchema *schema,
                           rw_error *err);
  rw_status (*writer_put)(void *w, struct ArrowArray *batch, rw_error *err);
  rw_status (*writer_close)(void *w, bool finish, rw_error *err);
} parquet_plugin;

#endif
