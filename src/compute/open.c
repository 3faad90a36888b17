/* open.c - the backend that a device's name stands for: this processor, or a GPU by libreward-cuda.so. */
#include <stdlib.h>
#include <string.h>

#include "base/plugin.h"
#include "compute/backend.h"
#include "compute/cuda/open.h"

/* cuda[:N][:f32][:host-states] */
static bool read_options(reward_cuda_options *o, const char *device) {
  *o = (reward_cuda_options){0};
  const char *at = device + strlen("cuda");
  char *end;
  if (*at == ':' && at[1] >= '0' && at[1] <= '9') {
    const unsigned long n = strtoul(at + 1, &end, 10);
    if (n > 1023) return false;
    o->device = (int)n, at = end;
  }
  if (strncmp(at, ":f32", 4) == 0) o->f32 = true, at += 4;
  if (strncmp(at, ":host-states", 12) == 0) o->states_on_host = true, at += 12;
  return *at == 0;
}

/* Another build of it, the tests' emulator; NULL: none is named. */
static const char *other_library(void) {
  const char *name = getenv("REWARD_CUDA_LIBRARY");
  return name && *name ? name : NULL;
}
static const char *cuda_library(void) {
  const char *other = other_library();
  return other ? other : "libreward-cuda.so";
}

const char *backend_devices(void) {
  const char *name = cuda_library();
  return name[0] == '/' || plugin_there(name) ? "cpu, cuda" : "cpu";
}

bool backend_gpu_likely(void) {
  char why[512];
  if (other_library()) return true;                            /* it may need no driver */
  return plugin_open("libcuda.so.1", why, sizeof why) != NULL; /* stays open: cuda needs it next */
}

static rw_status open_cuda(backend **out, const char *device, rw_error *err) {
  reward_cuda_options o;
  char why[512];
  if (!read_options(&o, device))
    return rw_fail(
        err, RW_USAGE,
        FIELD(device) " %s: expected cuda, cuda:N (the GPU's number), with :f32 or :host-states after it", device);
  void *library = plugin_open(cuda_library(), why, sizeof why);
  if (!library)
    return rw_fail(err, RW_UNSUPPORTED,
                   FIELD(device) " %s: %s; run `make cuda` where CUDA's nvcc is, with NVIDIA's cuBLAS 13 where the "
                   "system looks for libraries, or use " FIELD(device) " cpu",
                   device, why);
  reward_cuda_open_fn *open = NULL;
  void *symbol = plugin_symbol(library, "reward_cuda_open");
  memcpy(&open, &symbol, sizeof open);
  const rw_status code =
      open ? open(out, REWARD_CUDA_VERSION, &o, err)
           : rw_fail(err, RW_UNSUPPORTED, FIELD(device) " %s: libreward-cuda.so is of another build", device);
  if (code) plugin_close(library); /* else it stays open: the backend's code is in it */
  return code;
}

rw_status backend_open(backend **out, const char *device, pool *threads, rw_error *err) {
  *out = NULL;
  if (strcmp(device, "cpu") == 0) {
    const char *level = getenv("REWARD_CPU_LEVEL"); /* to measure a lower one, or for its bits */
    return backend_cpu(out, threads, level && *level ? level : NULL, err);
  }
  if (strncmp(device, "cuda", 4) == 0) return open_cuda(out, device, err);
  return rw_fail(err, RW_USAGE, FIELD(device) " %s: expected auto, cpu or cuda[:N]", device);
}
