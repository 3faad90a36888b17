/* backend.h - what a device must be able to do: one struct of operations over f32 matrices.
 *
 * The model code (src/model) knows shapes and layers and calls these; it never looks at device memory itself
 * except through upload and download. cpu/ fills the struct; ref.c holds the plain definitions that check-ops
 * compares every backend with.
 *
 * Letters: m rows (tokens), n/k columns; H hidden, Q query heads, G key-value heads, D head size.
 * All matrices are row-major f32 with a row stride (ld) in elements; weights may be f32, f16 or bf16.
 *
 * Promise of every implementation: a row's result has the same bits whatever other rows are in the call, at
 * any number of threads; sums over rows (weight gradients) add the rows, or the pieces of rows that the caller
 * names, in order, to what is there already.
 */
#ifndef COMPUTE_BACKEND_H
#define COMPUTE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/thread.h"
#include "compute/adamw8.h"

typedef enum { T_F32, T_F16, T_BF16 } tensor_type;
/* ACT_RELU2: max(x, 0)², without a gate. */
typedef enum { ACT_SILU, ACT_GELU_TANH, ACT_RELU2 } activation;

/* A weight matrix as PyTorch's nn.Linear has it: [out, in], row-major, contiguous. */
typedef struct {
  const void *data;
  tensor_type type;
  size_t out, in;
  const float *bias; /* [out] or NULL */
} weight;

/* A forest of conversations without padding: rows of a tree are its shared prompt, then its branches, each a
 * continuation of the prompt. A branch has at least one row of its own; a prompt may be empty. */
typedef struct {
  size_t first, len; /* rows; len may be 0 for a prompt */
} span;
typedef struct {
  span prompt;
  size_t first_branch, n_branches;
} tree;
typedef struct {
  size_t rows;
  const int32_t *ids; /* [rows] */
  const int32_t *pos; /* [rows]: position in its conversation, from 0 */
  size_t n_trees, n_branches;
  const tree *trees;
  const span *branches;
} forest;

typedef struct {
  size_t q_heads, kv_heads, head_dim;
  float scale;    /* multiplies q·k */
  float softcap;  /* 0: none; else cap*tanh(score/cap) */
  int32_t window; /* 0: all earlier positions; else the last `window` including itself */
} attention_shape;

/* Rows in pieces: piece i ends before row end[i]. A piece's rows are in one call, whatever else is in it. */
typedef struct {
  const size_t *end; /* [n], ascending; the last is the number of rows */
  size_t n;
} row_pieces;

typedef struct {
  double lr, beta1, beta2, eps, weight_decay;
  double bias1, bias2; /* 1 - beta1^t, 1 - beta2^t */
  uint64_t t;          /* update number, from 1 */
} adamw_step;

typedef struct backend backend;
struct backend {
  const char *name; /* "avx512" */
  bool fast_bf16;   /* products in bf16 are much faster than in f32 */
  void (*close)(backend *be);
  /* Do the three products below round their factors to bf16 (sums stay f32)? At first they do not. Products with
   * fewer than 16 outputs, a head's, never do. */
  void (*set_bf16)(backend *be, bool on);

  void *(*alloc)(backend *be, size_t bytes); /* device memory, 64-byte aligned, uninitialised; NULL: none left */
  void (*release)(backend *be, void *p);
  void (*upload)(backend *be, void *dst, const void *src, size_t bytes);
  void (*download)(backend *be, void *dst, const void *src, size_t bytes);
  void (*zero)(backend *be, void *p, size_t bytes);

  /* y[m, sum of out] (+)= x[m, in] · stack(w)^T + bias; the nw weights share `in` and stand side by side in y. */
  rw_status (*linear)(backend *be, float *y, size_t ldy, const float *x, size_t ldx, const weight *w, int nw,
                      size_t m, bool acc, rw_error *err);
  /* dx[m, in] (+)= dy[m, sum of out] · stack(w) */
  rw_status (*linear_dx)(backend *be, float *dx, size_t lddx, const float *dy, size_t lddy, const weight *w, int nw,
                         size_t m, bool acc, rw_error *err);
  /* dw[out, in] += dy[m, out]^T · x[m, in]. The bits depend on the pieces and their order, not on how calls divide
   * them; NULL: all rows are one piece. */
  rw_status (*linear_dw)(backend *be, float *dw, const float *dy, size_t lddy, const float *x, size_t ldx, size_t m,
                         const row_pieces *pieces, size_t out, size_t in, rw_error *err);
  /* db[n] += column sums of dy[m, n] */
  void (*bias_grad)(backend *be, float *db, const float *dy, size_t lddy, size_t m, size_t n);

  /* Each row of x holds `groups` vectors of n side by side; each is normalised by itself:
   * y = x / sqrt(mean(x²) + eps) · (w + offset). rstd[m, groups] is kept for the backward pass (may be NULL).
   * (Zhang & Sennrich 2019; offset 1: Gemma; groups > 1: the per-head norms of Qwen3.) y may be x. */
  void (*rmsnorm)(backend *be, float *y, size_t ldy, const float *x, size_t ldx, const float *w, float offset,
                  float eps, size_t m, size_t groups, size_t n, float *rstd);
  /* dx (+)= …; dw[n] += … (NULL: not wanted). dx may be dy where acc is false. */
  void (*rmsnorm_bwd)(backend *be, float *dx, size_t lddx, float *dw, const float *dy, size_t lddy, const float *x,
                      size_t ldx, const float *w, float offset, const float *rstd, size_t m, size_t groups,
                      size_t n, bool acc);

  /* y[m, n] = (x - mean) / sqrt(variance + eps) · (w + offset) + b; stats[m, 2] (mean, 1/sqrt) may be NULL. (Ba et
   * al. 2016; offset 1: Nemotron.) */
  void (*layernorm)(backend *be, float *y, const float *x, const float *w, const float *b, float offset, float eps,
                    size_t m, size_t n, float *stats);
  /* dx (+)= …; dw[n] and db[n] += … (NULL: not wanted). */
  void (*layernorm_bwd)(backend *be, float *dx, float *dw, float *db, const float *dy, const float *x,
                        const float *w, float offset, const float *stats, size_t m, size_t n, bool acc);

  /* Rotates `heads` heads of each row in place: x[m, ldx] from column 0, pairs (i, i+half) of the first 2*half
   * of D columns; cos/sin tables [positions, half]; sign -1 is the backward rotation. (Su et al. 2021) */
  void (*rope)(backend *be, float *x, size_t ldx, const forest *f, size_t heads, size_t head_dim, const float *cos,
               const float *sin, size_t half, float sign);

  /* o[rows, Q*D] from qkv[rows, ld]: q at column 0, k at Q*D, v at (Q+G)*D. lse[rows, Q] (may be NULL) receives
   * max + log(sum) of each row's scores for the backward pass. */
  rw_status (*attention)(backend *be, float *o, size_t ldo, const float *qkv, size_t ld, const forest *f,
                         const attention_shape *a, float *lse, rw_error *err);
  /* dqkv[rows, ld] = …, overwritten whole. */
  rw_status (*attention_bwd)(backend *be, float *dqkv, size_t ldd, const float *d_o, size_t lddo, const float *o,
                             size_t ldo, const float *qkv, size_t ld, const float *lse, const forest *f,
                             const attention_shape *a, rw_error *err);

  /* y[m, n] = act(gu[:, 0:n]) · gu[:, n:2n]; rows of gu are 2n wide. Without a gate: act(gu), rows n wide. */
  void (*gated)(backend *be, float *y, const float *gu, size_t m, size_t n, activation act);
  /* dgu (as gu) from dy[m, n] and gu; dgu may be gu. */
  void (*gated_bwd)(backend *be, float *dgu, const float *dy, const float *gu, size_t m, size_t n, activation act);

  void (*add)(backend *be, float *y, const float *x, size_t n);  /* y += x */
  void (*copy)(backend *be, float *y, const float *x, size_t n); /* y = x */
  /* y[m, n] = the first n columns of x, rows ldy and ldx apart */
  void (*copy_columns)(backend *be, float *y, size_t ldy, const float *x, size_t ldx, size_t m, size_t n);
  /* y[i] = x[rows[i]], and the scatter y[rows[i]] (+)= x[i]; rows are distinct. n columns. */
  void (*gather)(backend *be, float *y, const float *x, const size_t *rows, size_t m, size_t n);
  void (*scatter)(backend *be, float *y, const float *x, const size_t *rows, size_t m, size_t n, bool acc);
  /* y[i] = table[ids[i]]·scale; and dtable[ids[i]] += dy[i]·scale in row order. */
  void (*embed)(backend *be, float *y, const weight *table, const int32_t *ids, size_t m, float scale);
  void (*embed_bwd)(backend *be, float *dtable, const float *dy, const int32_t *ids, size_t m, size_t n,
                    float scale);

  void (*scale)(backend *be, float *x, float s, size_t n); /* x *= s */
  /* Inverted dropout (Srivastava et al. 2014; as torch's): y[m, n] (+)= x / (1 - p), or 0 with probability p. What
   * is dropped is a hash of the row's own key, `key` and the column, so it does not depend on what else is in the
   * call; p counts in steps of 2^-32. keys: host memory. y is not x. */
  void (*dropout)(backend *be, float *y, size_t ldy, const float *x, size_t ldx, const uint64_t *keys, uint64_t key,
                  double p, size_t m, size_t n, bool acc);
  /* Sum of squares of n values in f64, in blocks of a fixed size. */
  double (*sum_squares)(backend *be, const float *x, size_t n);
  /* One decoupled AdamW update (Loshchilov & Hutter 2019, as torch.optim.AdamW): g is first multiplied by clip. */
  void (*adamw)(backend *be, float *w, float *g, float *m, float *v, size_t n, const adamw_step *o, float clip);
  /* The same with moments of 8 bits: decoded, updated in f32 (w takes the f32 moments), and rounded up or down at
   * random, so that their mean is right (else a slow average would stand still). The choice is a hash of o->t and
   * the value's index, so it is the same in every run. Codes: m as sign, v without; then exponent and 3 bits of
   * mantissa of |x| / scale. */
  void (*adamw8)(backend *be, float *w, float *g, adamw8_state m, adamw8_state v, size_t n, const adamw_step *o,
                 float clip);
  /* Index of the first value that is not finite, or n. */
  size_t (*first_bad)(backend *be, const float *x, size_t n);

  void *state;
};

/* threads stays the caller's and must outlive the backend. level: NULL, or a CPU level for tests. */
rw_status backend_cpu(backend **out, pool *threads, const char *level, rw_error *err);
/* device: "auto", "cpu", "cuda[:N]". */
rw_status backend_open(backend **out, const char *device, pool *threads, rw_error *err);

#endif
