/* arrow_abi.h - the structs of Arrow's C data interface (arrow.apache.org/docs/format/CDataInterface.html), by
 * which columns are handed between C and Arrow's library. Whoever gets one calls release(), which sets release to
 * NULL. */
#ifndef FORMAT_ARROW_ABI_H
#define FORMAT_ARROW_ABI_H

#include <stdint.h>

#ifndef ARROW_C_DATA_INTERFACE
#define ARROW_C_DATA_INTERFACE
#define ARROW_FLAG_NULLABLE 2
struct ArrowSchema {
  const char *format, *name, *metadata;
  int64_t flags, n_children;
  struct ArrowSchema **children, *dictionary;
  void (*release)(struct ArrowSchema *);
  void *private_data;
};
struct ArrowArray {
  int64_t length, null_count, offset, n_buffers, n_children;
  const void **buffers;
  struct ArrowArray **children, *dictionary;
  void (*release)(struct ArrowArray *);
  void *private_data;
};
#endif

#endif
