/* backend.h - what a device must be able to do: one struct of operations over matrices in its memory.
 *
 * The model code (src/model) knows shapes and layers and calls these; it never looks at device memory itself, but
 * moves values through put and get. cpu/ fills the struct for this machine's processor. check-ops compares a
 * backend with the plain definitions in tests/ops_ref.h.
 *
 * Letters: m rows (tokens), n/k columns; H hidden, Q query heads, G key-value heads, D head size.
 *
 * Operations return nothing and may run later: in the order of the calls, as put and get do among them. Where one
 * cannot run (no memory for its working space, a fault of the device), neither it nor what follows does anything,
 * until sync has returned that first fault. A pass calls sync once, at its end, before it believes what get gave.
 * One thread at a time calls a backend; another backend of the same device, in another thread, may read its memory.
 *
 * Promise of every implementation: a row's result has the same bits whatever other rows are in the call, at any
 * number of threads; sums over rows (weight gradients) add the rows, or the pieces of rows that the batch names, in
 * order, to what is there already.
 */
#ifndef COMPUTE_BACKEND_H
#define COMPUTE_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/thread.h"
#include "compute/trained.h"

/* Without a gate: ACT_RELU2, max(x, 0)², and ACT_RELU, max(x, 0). */
typedef enum { ACT_SILU, ACT_GELU_TANH, ACT_RELU2, ACT_RELU } activation;
static inline bool act_is_gated(activation a) { return a < ACT_RELU2; }

static inline size_t type_size(tensor_type t) { return t == T_F32 ? 4 : 2; }

/* Activations or their gradients in device memory: row-major, ld elements from one row to the next. type is the
 * backend's (traits.act), or T_F32 where an operation allows it. */
typedef struct {
  void *p;
  size_t ld;
  tensor_type type;
} mat;

/* Of values that are read, or written where the caller may. */
static inline mat mat_f32(const float *p, size_t ld) {
  union {
    const float *in;
    void *out;
  } u;
  u.in = p;
  return (mat){u.out, ld, T_F32};
}
/* x without its first rows and columns. */
static inline mat mat_from(mat x, size_t row, size_t column) {
  return (mat){(char *)x.p + (row * x.ld + column) * type_size(x.type), x.ld, x.type};
}

/* A weight matrix as PyTorch's nn.Linear has it: [out, in], row-major, rows ld elements apart. */
typedef struct {
  const void *data;
  tensor_type type; /* one of traits.weights */
  size_t out, in, ld;
  const float *bias; /* [out] or NULL */
} weight;

/* A forest of conversations without padding: rows of a tree are its shared prompt, then its branches, each a
 * continuation of the prompt. A branch has at least one row of its own; a prompt may be empty. What stands before a
 * prompt may be known: its rows are not computed, its keys and values come from attention_shape.known. */
typedef struct {
  size_t first, len; /* rows; len may be 0 for a prompt */
} span;
typedef struct {
  span prompt;
  size_t first_branch, n_branches;
  span known; /* rows of attention_shape.known, positions 0 to len - 1; len 0: nothing is known */
} tree;
typedef struct {
  size_t rows;
  const int32_t *ids; /* [rows] */
  const int32_t *pos; /* [rows]: the rotary tables' row, most often its position in its conversation, from 0 */
  size_t n_trees, n_branches;
  const tree *trees;
  const span *branches;
} forest;

/* Rows in pieces: piece i ends before row end[i]. */
typedef struct {
  const size_t *end; /* [n], ascending; the last is the number of rows */
  size_t n;
} row_pieces;

/* All that operations read about a pass's rows, in host memory. */
typedef struct {
  forest f;
  const size_t *last; /* [n_last], distinct: the rows that go through the end of the last layer, and the head */
  size_t n_last;
  row_pieces pieces, last_pieces;        /* pieces of all rows, and of those in `last`; n 0: they are one piece */
  const uint64_t *drop_keys, *drop_last; /* dropout's keys of all rows, and of those in `last`; NULL: no dropout */
} batch_layout;
/* The backend's own form of it. */
typedef struct batch batch;
/* The rows that an operation is over: all of the batch, or those in `last`, one after another. */
typedef enum { ROWS_ALL, ROWS_LAST } row_set;

typedef struct {
  size_t q_heads, kv_heads, head_dim;
  float scale;    /* multiplies q·k */
  float softcap;  /* 0: none; else cap*tanh(score/cap) */
  int32_t window; /* 0: all earlier positions; else the last `window` including itself */
  /* [known rows, 2GD]: this layer's keys, then its values, as attention takes them from qkv; p NULL: no tree has
   * known rows. Forward only, where traits.takes_known. */
  mat known;
} attention_shape;

typedef struct {
  double lr, beta1, beta2, eps, weight_decay;
  double bias1, bias2; /* 1 - beta1^t, 1 - beta2^t */
  uint64_t t;          /* update number, from 1 */
  uint64_t first;      /* index, in its tensor, of the first value; with 8-bit states at a block's beginning */
} adamw_step;

/* DEVICE: what operations read and write. STATES: the optimizer's moments, which may lie in memory of the host that
 * the device reaches. STAGING: of the host; put and get are fast from there. */
typedef enum { MEM_DEVICE, MEM_STATES, MEM_STAGING } mem_kind;

typedef struct {
  const char *name;              /* "avx512" */
  tensor_type act;               /* type of activations */
  tensor_type trained;           /* type of trained matrices; T_BF16: with their low halves */
  unsigned weights;              /* bits 1 << tensor_type: what products and embed read */
  bool maps_host;                /* device memory is the host's: weights may stay in the mapping of their file */
  bool takes_known;              /* attention reads keys and values of rows that are not computed */
  bool fast_bf16;                /* set_bf16 makes products much faster */
  size_t row_align;              /* buffers of activations have room for a multiple of so many rows */
  size_t join_align;             /* adapters stand in columns behind a matrix's, its rows then multiples of so many
                                    values; 0: they are products of their own */
  size_t piece_rows;             /* the least rows of a piece of a weight gradient, but for the last */
  size_t train_rows, score_rows; /* rows of a pass that suit it */
} backend_traits;

enum { SQUARES_BLOCK = 1 << 16, BACKEND_FEW_OUTPUTS = 16 };

typedef struct backend backend;
struct backend {
  backend_traits traits;
  void (*close)(backend *be);
  /* Waits for all that was called; then RW_OK, or the first fault since the last sync, with its operation's name.
   */
  rw_status (*sync)(backend *be, rw_error *err);
  /* Do the three products round their factors to bf16 (sums stay f32)? At first they do not. Products with fewer
   * than BACKEND_FEW_OUTPUTS, a head's, never do. NULL: traits.act decides alone. */
  void (*set_bf16)(backend *be, bool on);

  /* 64-byte aligned (more where the device wants it), uninitialised; NULL: none left. */
  void *(*alloc)(backend *be, mem_kind kind, size_t bytes);
  void (*release)(backend *be, mem_kind kind, void *p); /* NULL is fine */
  /* Bytes of the device's memory; both 0 where that is the host's. */
  void (*memory)(backend *be, uint64_t *free, uint64_t *total);
  /* What operations take for themselves at most: passes of `rows` rows, activations of at most `width` columns,
   * weights of at most `largest` values. */
  uint64_t (*scratch_bytes)(backend *be, size_t rows, size_t width, size_t largest);
  void (*put)(backend *be, void *dst, const void *src,
              size_t bytes); /* to the device; src may be used again at once */
  void (*get)(backend *be, void *dst, const void *src, size_t bytes); /* to the host; waits */
  void (*zero)(backend *be, void *p, size_t bytes);
  /* Values [at, at + n) of a trained tensor of `all` values, as f32 in host memory. */
  void (*put_master)(backend *be, master w, size_t at, const float *src, size_t n);
  void (*get_master)(backend *be, float *dst, master w, size_t at, size_t n);

  /* *io: NULL, or a batch to use again. The layout and what it points to stay as they are while the batch is used.
   */
  rw_status (*batch_make)(backend *be, batch **io, const batch_layout *l, rw_error *err);
  void (*batch_free)(backend *be, batch *b); /* NULL is fine */

  /* y[m, sum of out] (+)= x[m, in] · stack(w)^T + bias; the nw weights share `in` and ld, and stand side by side in
   * y. y may be f32. */
  void (*linear)(backend *be, mat y, mat x, const weight *w, int nw, size_t m, bool acc);
  /* dx[m, in] (+)= dy[m, sum of out] · stack(w); dy may be f32. */
  void (*linear_dx)(backend *be, mat dx, mat dy, const weight *w, int nw, size_t m, bool acc);
  /* dw[out, in] += dy^T · x over the rows, piece by piece; dy may be f32. The bits depend on the pieces and their
   * order, not on what else is in the batch. */
  void (*linear_dw)(backend *be, float *dw, mat dy, mat x, const batch *b, row_set rows, size_t out, size_t in);
  /* db[n] += column sums of dy */
  void (*bias_grad)(backend *be, float *db, mat dy, const batch *b, row_set rows, size_t n);

  /* Each row of x holds `groups` vectors of n side by side; each is normalised by itself:
   * y = x / sqrt(mean(x²) + eps) · (w + offset). rstd[m, groups] is kept for the backward pass (may be NULL).
   * (Zhang & Sennrich 2019; offset 1: Gemma; groups > 1: the per-head norms of Qwen3.) y may be x. */
  void (*rmsnorm)(backend *be, mat y, mat x, const float *w, float offset, float eps, size_t m, size_t groups,
                  size_t n, float *rstd);
  /* dx (+)= …; dw[n] += … (NULL: not wanted). dx may be dy where acc is false. */
  void (*rmsnorm_bwd)(backend *be, mat dx, float *dw, mat dy, mat x, const float *w, float offset,
                      const float *rstd, const batch *b, row_set rows, size_t groups, size_t n, bool acc);

  /* y[m, n] = (x - mean) / sqrt(variance + eps) · (w + offset) + b; stats[m, 2] (mean, 1/sqrt) may be NULL. (Ba et
   * al. 2016; offset 1: Nemotron.) */
  void (*layernorm)(backend *be, mat y, mat x, const float *w, const float *b, float offset, float eps, size_t m,
                    size_t n, float *stats);
  /* dx (+)= …; dw[n] and db[n] += … (NULL: not wanted). */
  void (*layernorm_bwd)(backend *be, mat dx, float *dw, float *db, mat dy, mat x, const float *w, float offset,
                        const float *stats, const batch *b, row_set rows, size_t n, bool acc);

  /* Rotates `heads` heads of each row in place, from column 0: pairs (i, i+half) of the first 2*half of D columns;
   * cos/sin tables [positions, half]; sign -1 is the backward rotation. (Su et al. 2021) */
  void (*rope)(backend *be, mat x, const batch *b, size_t heads, size_t head_dim, const float *cos,
               const float *sin, size_t half, float sign);

  /* o[rows, Q*D] from qkv[rows, ld]: q at column 0, k at Q*D, v at (Q+G)*D. lse[rows, Q] (may be NULL) receives
   * max + log(sum) of each row's scores for the backward pass. */
  void (*attention)(backend *be, mat o, mat qkv, const batch *b, const attention_shape *a, float *lse);
  /* dqkv[rows, ld] = …, overwritten whole. */
  void (*attention_bwd)(backend *be, mat dqkv, mat d_o, mat o, mat qkv, const float *lse, const batch *b,
                        const attention_shape *a);

  /* y[m, n] = act(gu[:, 0:n]) · gu[:, n:2n]. Without a gate: act(gu[:, 0:n]). y is not gu. */
  void (*gated)(backend *be, mat y, mat gu, size_t m, size_t n, activation act);
  /* dgu (as gu) from dy[m, n] and gu; dgu may be gu. */
  void (*gated_bwd)(backend *be, mat dgu, mat dy, mat gu, size_t m, size_t n, activation act);

  void (*add)(backend *be, mat y, mat x, size_t m, size_t n);     /* y += x */
  void (*copy)(backend *be, mat y, mat x, size_t m, size_t n);    /* y = x, also from one type to another */
  void (*scale)(backend *be, mat x, float s, size_t m, size_t n); /* x *= s */
  /* y[i] = x[last[i]], and the scatter y[last[i]] (+)= x[i]. n columns. */
  void (*gather)(backend *be, mat y, mat x, const batch *b, size_t n);
  void (*scatter)(backend *be, mat y, mat x, const batch *b, size_t n, bool acc);
  /* For mixtures of experts; indices and factors in device memory. y[i] = x[index[i]]; and y[i] (+)= sum over j of
   * s[i·k + j] · x[index[i·k + j]], j in order; s NULL: 1. */
  void (*pick)(backend *be, mat y, mat x, const int32_t *index, size_t m, size_t n);
  void (*mix)(backend *be, mat y, mat x, const int32_t *index, const float *s, size_t m, size_t k, size_t n,
              bool acc);
  /* d[i] = x[i] · y[i]; x[i] *= s[i] */
  void (*row_dots)(backend *be, float *d, mat x, mat y, size_t m, size_t n);
  void (*row_scale)(backend *be, mat x, const float *s, size_t m, size_t n);
  /* linear_dw over rows of an expert, which no batch lists; the pieces are read at once. */
  void (*linear_dw_pieces)(backend *be, float *dw, mat dy, mat x, const row_pieces *pieces, size_t out, size_t in);
  /* y[i] = table[ids[i]]·scale; and dtable[ids[i]] += dy[i]·scale in row order. */
  void (*embed)(backend *be, mat y, const weight *table, const batch *b, float scale);
  void (*embed_bwd)(backend *be, float *dtable, mat dy, const batch *b, size_t n, float scale);

  /* Inverted dropout (Srivastava et al. 2014; as torch's): y (+)= x / (1 - p), or 0 with probability p. What is
   * dropped is a hash of the row's key in the batch, `key` and the column, so it does not depend on what else is in
   * the call; p counts in steps of 2^-32. y is not x. */
  void (*dropout)(backend *be, mat y, mat x, const batch *b, row_set rows, uint64_t key, double p, size_t n,
                  bool acc);

  /* Sum of squares of n values in f64: the sums of blocks of SQUARES_BLOCK values, added in order, so that those
   * who have some blocks each make the same of them. The blocks' sums go to `blocks` (NULL: nobody asks for them).
   * Waits. */
  double (*sum_squares)(backend *be, const float *x, size_t n, double *blocks);
  /* One decoupled AdamW update (Loshchilov & Hutter 2019, as torch.optim.AdamW) of n values: g is first multiplied
   * by clip. */
  void (*adamw)(backend *be, master w, float *g, float *m, float *v, size_t n, const adamw_step *o, float clip);
  /* The same with moments of 8 bits: decoded, updated in f32 (w takes the f32 moments), and rounded up or down at
   * random, so that their mean is right (else a slow average would stand still). The choice is a hash of o->t and
   * the value's index, so it is the same in every run. Codes: m as sign, v without; then exponent and 3 bits of
   * mantissa of |x| / scale. */
  void (*adamw8)(backend *be, master w, float *g, adamw8_state m, adamw8_state v, size_t n, const adamw_step *o,
                 float clip);
  /* Index (row·n + column) of the first value that is not finite, or m·n. Waits. x may be f32. */
  size_t (*first_bad)(backend *be, mat x, size_t m, size_t n);

  void *state;
};

/* threads stays the caller's and must outlive the backend. level: NULL, or a CPU level for tests. */
rw_status backend_cpu(backend **out, pool *threads, const char *level, rw_error *err);
const char *backend_devices(void); /* those that this build has: "cpu", or "cpu, cuda" */
/* Is there a driver of GPUs? Where there is none, opening cuda loads 0.6 GB of libraries only to say so. */
bool backend_gpu_likely(void);
/* device: "cpu", or "cuda[:N][:f32][:host-states]". RW_UNSUPPORTED: this build or machine has no such device. */
rw_status backend_open(backend **out, const char *device, pool *threads, rw_error *err);

#endif
