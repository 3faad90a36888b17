/* load.h - what load.c gives to heads.c: one tensor of the checkpoint by its name and shape. */
#ifndef MODEL_LOAD_H
#define MODEL_LOAD_H

#include "model/model_impl.h"

typedef struct {
  model *m;
  bool *used; /* of the file's tensors */
  const char *prefix;
  rw_error *err;
} loader;

/* Registers tensor `name` [rows, cols] (cols 0: a vector) and returns its index in *out. */
rw_status load_take(loader *l, const char *name, size_t rows, size_t cols, int *out);

/* The tensors of ArmoRM's head. */
rw_status heads_load_gated(loader *l);

#endif
