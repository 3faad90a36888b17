/* cuda.h - inside the CUDA backend: its state, and what its files give each other.
 *
 * Operations run on one stream. Each begins with cuda_begin, which gives NULL while a fault waits for sync, and
 * ends with cuda_end, which keeps the first fault with the operation's name. REWARD_CUDA_WAIT=1 waits after each
 * operation, so that a fault of the device is told where it happens.
 *
 * Bits: a row is computed by a number of threads that depends on its width alone, sums go over fixed trees, sums
 * over rows go over blocks of ROW_BLOCK rows from a piece's start and then in order, and nothing is added by
 * atomics.
 */
#ifndef COMPUTE_CUDA_CUDA_H
#define COMPUTE_CUDA_CUDA_H

#include "compute/cuda/gpu.h"

extern "C" {
#include "base/mem.h"
#include "compute/backend.h"
#include "compute/cuda/attention.h"
#include "compute/cuda/open.h"
#include "compute/cuda/product.h"
}

#include <type_traits>

enum { ROW_BLOCK = 64 };

struct cuda_state {
  reward_cuda_options options;
  cudaStream_t stream;
  products *lt;
  char name[300];
  const char *op; /* the one that runs */
  bool wait;      /* after each operation */
  rw_error fault; /* code RW_OK: none */
  void *scratch;
  size_t scratch_bytes;
};

/* A run of rows within a piece. */
struct row_block {
  int32_t first, count;
};

/* What operations need of a set of rows. */
struct row_list {
  size_t rows;
  size_t *piece_end; /* [n_pieces], host */
  size_t n_pieces;
  const row_block *blocks; /* [n_blocks] */
  size_t n_blocks;
  const uint64_t *drop_keys; /* [rows] or NULL */
};
/* Device memory but where it says host. */
struct batch {
  row_list set[2]; /* by row_set */
  const int32_t *ids, *pos, *last;
  /* Rows by id, for the embedding's gradient: id id_value[i] stands in rows id_rows[id_start[i]] … in order. */
  const int32_t *id_value, *id_start, *id_rows;
  size_t n_ids;
  const forest *f; /* host: the caller's */
  mutable attention_plan plan;
  mutable size_t plan_share;   /* 0: no plan yet */
  mutable int32_t *plan_words; /* the device's copy */
  mutable size_t plan_room;    /* bytes */
  void *device;                /* what the pointers above point into */
  size_t device_room;
  char *host;
  size_t host_room;
};

static inline cuda_state *cuda_of(backend *be) { return (cuda_state *)be->state; }
void cuda_fail(cuda_state *s, rw_status code, const char *what); /* keeps the first */
cuda_state *cuda_begin(backend *be, const char *op);
void cuda_end(cuda_state *s);
/* Working memory of the running operation; NULL after a fault. What it held before is lost. */
void *cuda_scratch(cuda_state *s, size_t bytes);
/* Device memory whatever lies in it; NULL and a fault where there is none left. */
void *cuda_room(cuda_state *s, void **io, size_t *room, size_t bytes);

/* Calls f with a null pointer of the activation's type. */
template <class F>
void by_type(tensor_type t, F f) {
  if (t == T_BF16)
    f((bf16 *)nullptr);
  else
    f((float *)nullptr);
}
template <class F>
void by_flag(bool v, F f) {
  if (v)
    f(std::true_type());
  else
    f(std::false_type());
}
#define POINTEE(p) std::remove_pointer_t<decltype(p)>

/* Can rows of it be read and written sixteen bytes at a time? */
static inline bool cuda_aligned(mat x) { return (uintptr_t)x.p % 16 == 0 && x.ld * type_size(x.type) % 16 == 0; }
static inline bool cuda_aligned(const void *p) { return (uintptr_t)p % 16 == 0; }
static inline unsigned cuda_blocks(size_t n, size_t each) { return (unsigned)((n + each - 1) / each); }

/* Each file fills in its operations. */
void cuda_norm_ops(backend *be);
void cuda_row_ops(backend *be);
void cuda_optimizer_ops(backend *be);
void cuda_product_ops(backend *be);
void cuda_batch_ops(backend *be);

#endif
