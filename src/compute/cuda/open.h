/* open.h - the one function of libreward-cuda.so: a backend on an NVIDIA GPU. */
#ifndef COMPUTE_CUDA_OPEN_H
#define COMPUTE_CUDA_OPEN_H

#include "compute/backend.h"

/* Grows when this struct, backend.h or the function changes: program and library must agree. */
enum { REWARD_CUDA_VERSION = 3 };

typedef struct {
  int device;          /* as CUDA counts them */
  bool f32;            /* f32 activations and products: slow, for comparisons */
  bool states_on_host; /* the optimizer's moments in the host's memory */
} reward_cuda_options;

typedef rw_status reward_cuda_open_fn(backend **out, int version, const reward_cuda_options *o, rw_error *err);
reward_cuda_open_fn reward_cuda_open;

#endif
