/* loader.h - what load.c, load_head.c and load_tensor.c share. */
#ifndef MODEL_LOADER_H
#define MODEL_LOADER_H

#include "model/model_impl.h"

typedef struct {
  model *m;
  bool *used; /* by the file's tensor: was it used? */
  const char *prefix;
  rw_error *err;
} loader;

/* load_tensor.c: appends the file's tensor [rows, cols], or a vector (cols 0), to the model's; *out is its index.
 */
rw_status load_take(loader *l, const char *name, size_t rows, size_t cols, int *out);
/* load_head.c: the head that config.json, the file's tensors or the options say; a new one where they allow it. */
rw_status load_head(loader *l, const model_options *o);

#endif
