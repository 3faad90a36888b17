/* attention.h - attention over a forest on a GPU: the lists of its work, made on the host, and the launchers.
 *
 * A branch sees its tree's prompt and itself, causally; see backend.h for the operation and attention_tile.h for
 * how its bits are kept. Matrices are bf16 (T_BF16), or f32 (T_F32) in the slow exact mode. In bf16 head_dim is a
 * multiple of 8 up to 256, all strides are multiples of 8 elements and all matrices 16-byte aligned; f32 takes any
 * head_dim up to 256. scale > 0.
 */
#ifndef COMPUTE_CUDA_ATTENTION_H
#define COMPUTE_CUDA_ATTENTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "compute/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Rows of a queue of positions: a prompt or a branch, whose first row is at position `base`. Before it come `known`
 * positions, whose keys and values are the known rows from `known_first` on, then the prompt's rows: position p's
 * is prompt + p. The `children` stretches that follow a prompt's are its branches. */
typedef struct {
  int32_t first, len, base, prompt, children, known, known_first;
} attention_stretch;
/* Work of one block: from `at` on of a stretch. Queries count in pairs of a row and one of the query heads that
 * share its key-value head, heads fastest (see attention_tile.h); keys count in rows. */
typedef struct {
  int32_t stretch, at;
} attention_tile;
enum { ATTENTION_QUERIES = 128, ATTENTION_KEYS = 128 }; /* a tile's */

/* The lists of a forest for `share` query heads a key-value head, on the host: bytes to copy to the device, to any
 * address that is a multiple of 4. Heavy tiles come first. */
typedef struct {
  int32_t *words;
  size_t n_words, n_stretches, n_query_tiles, n_key_tiles;
} attention_plan;
rw_status attention_plan_make(attention_plan *out, const forest *f, size_t share, rw_error *err);
void attention_plan_free(attention_plan *p);

/* One call's arguments; every pointer is the device's. ld: elements from one row to the next. */
typedef struct {
  const attention_plan *plan; /* its counts are read, not its words */
  const int32_t *words;       /* the device's copy of plan->words */
  const attention_shape *shape;
  tensor_type type; /* T_BF16 or T_F32: of all matrices */
  const void *qkv;  /* [rows, ld]: q at column 0, k at Q*D, v at (Q+G)*D */
  size_t ld;
  void *o; /* [rows, ldo]: written forward, read backward */
  size_t ldo;
  float *lse;      /* [rows, Q]: written forward (NULL: not wanted), read backward */
  const void *d_o; /* [rows, lddo] */
  size_t lddo;
  void *dqkv; /* [rows, ldd]: overwritten whole */
  size_t ldd;
  float *delta; /* [rows, Q]: scratch of the backward pass */
  size_t rows;  /* the forest's, for the backward pass */
  void *stream; /* a cudaStream_t */
} attention_call;

bool attention_takes(const attention_shape *a, tensor_type type);
void attention_forward(const attention_call *c);
void attention_backward(const attention_call *c);

#ifdef __cplusplus
}
#endif
#endif
