/* product.cu - linear, linear_dx and linear_dw: which product computes them, and the exact one of f32.
 *
 * bf16 matrices go to product() (product.h). f32 ones, heads (f32 results or gradients), and shapes that product()
 * refuses go to a kernel whose every element is one chain of fused multiply-adds in the order of the inner index,
 * from the element's old value or 0 on: the CPU's rule, and with f32 its bits.
 */
#include <stdio.h>

#include "compute/cuda/cuda.h"
#include "compute/cuda/product.h"
#include "compute/cuda/vec.h"

/* ---- exact: c[i, j] (+)= sum over k of a[i, k] · b[j, k], by tiles of 64 x 64, a thread a square of 4 x 4 ---- */

enum { TILE = 64, DEPTH = 16, THREADS = 256 };

/* Element (i, k) is at p[i · si + k · sk]. */
struct strided {
  const void *p;
  size_t si, sk;
  bool f32;
  __device__ float at(size_t i, size_t k) const {
    const size_t x = i * si + k * sk;
    return f32 ? ((const float *)p)[x] : to_float(((const bf16 *)p)[x]);
  }
};

__global__ void __launch_bounds__(THREADS) exact_kernel(void *c, size_t ldc, bool c_f32, strided a, strided b,
                                                        const float *bias, size_t m, size_t n, size_t k, bool acc) {
  SHARED(smem);
  float(*ta)[TILE + 4] = (float(*)[TILE + 4]) smem, (*tb)[TILE + 4] = ta + DEPTH;
  const int t = (int)threadIdx.x, ti = t / 16 * 4, tj = t % 16 * 4;
  const size_t i0 = (size_t)blockIdx.y * TILE, j0 = (size_t)blockIdx.x * TILE;
  float sum[4][4];
  UNROLL
  for (int i = 0; i < 4; i++) UNROLL
  for (int j = 0; j < 4; j++) {
    const size_t row = i0 + ti + i, col = j0 + tj + j;
    const bool old = acc && row < m && col < n;
    sum[i][j] = !old ? 0.0f : c_f32 ? ((float *)c)[row * ldc + col] : to_float(((bf16 *)c)[row * ldc + col]);
  }
  for (size_t k0 = 0; k0 < k; k0 += DEPTH) {
    for (int x = t; x < TILE * DEPTH; x += THREADS) { /* neighbours in the direction that lies together */
      const int ia = a.sk == 1 ? x / DEPTH : x % TILE, ka = a.sk == 1 ? x % DEPTH : x / TILE;
      const int jb = b.sk == 1 ? x / DEPTH : x % TILE, kb = b.sk == 1 ? x % DEPTH : x / TILE;
      ta[ka][ia] = i0 + ia < m && k0 + ka < k ? a.at(i0 + ia, k0 + ka) : 0.0f;
      tb[kb][jb] = j0 + jb < n && k0 + kb < k ? b.at(j0 + jb, k0 + kb) : 0.0f;
    }
    __syncthreads();
    const int depth = k - k0 < DEPTH ? (int)(k - k0) : DEPTH;
    for (int x = 0; x < depth; x++) {
      float va[4], vb[4];
      UNROLL
      for (int i = 0; i < 4; i++) va[i] = ta[x][ti + i], vb[i] = tb[x][tj + i];
      UNROLL
      for (int i = 0; i < 4; i++) UNROLL
      for (int j = 0; j < 4; j++) sum[i][j] = fmaf(va[i], vb[j], sum[i][j]);
    }
    __syncthreads();
  }
  UNROLL
  for (int i = 0; i < 4; i++) UNROLL
  for (int j = 0; j < 4; j++) {
    const size_t row = i0 + ti + i, col = j0 + tj + j;
    if (row >= m || col >= n) continue;
    const float v = bias ? sum[i][j] + bias[col] : sum[i][j];
    if (c_f32)
      ((float *)c)[row * ldc + col] = v;
    else
      set_float((bf16 *)c + row * ldc + col, v);
  }
}

static strided by_rows(const void *p, size_t ld, tensor_type t) { return {p, ld, 1, t == T_F32}; }
static strided by_columns(const void *p, size_t ld, tensor_type t) { return {p, 1, ld, t == T_F32}; }

static void exact(cuda_state *s, mat c, strided a, strided b, const float *bias, size_t m, size_t n, size_t k,
                  bool acc) {
  const dim3 grid(cuda_blocks(n, TILE), cuda_blocks(m, TILE));
  if (m == 0 || n == 0) return;
  if (grid.y > 65535) {
    cuda_fail(s, RW_UNSUPPORTED, "more rows than an exact product takes");
    return;
  }
  LAUNCH(exact_kernel, grid, THREADS, 2 * DEPTH * (TILE + 4) * sizeof(float), s->stream, c.p, c.ld, c.type == T_F32,
         a, b, bias, m, n, k, acc);
}

/* ---- bf16 ---- */

/* c (+)= …; false: by the exact kernel then. */
static bool fast(cuda_state *s, product_shape shape, size_t rows, mat c, const void *a, const void *b, bool acc) {
  int status = 0;
  if (rows == 0) return true;
  shape.out = c.type;
  shape.ldc = c.ld;
  if (product(s->lt, &shape, rows, c.p, a, b, acc, &status)) return true;
  if (status) {
    char text[64];
    snprintf(text, sizeof text, "cuBLASLt's status %d", status);
    cuda_fail(s, RW_UNSUPPORTED, text);
  }
  return status != 0;
}

/* y = bias, or y += bias: before a product that adds to y. */
__global__ void __launch_bounds__(256)
    bias_kernel(bf16 *y, size_t ld, const float *bias, unsigned n, size_t total, bool acc) {
  const size_t i = (size_t)blockIdx.x * 256 + threadIdx.x, row = i / n, c = i % n;
  if (i >= total) return;
  bf16 *to = y + row * ld + c;
  set_float(to, acc ? to_float(*to) + bias[c] : bias[c]);
}

/* The weight as bf16: itself, or rounded into scratch. */
template <class T>
__global__ void __launch_bounds__(256) round_kernel(bf16 *to, const T *from, size_t ld, unsigned n, size_t total) {
  const size_t i = (size_t)blockIdx.x * 256 + threadIdx.x;
  if (i < total) set_float(to + i, to_float(from[i / n * ld + i % n]));
}
struct matrix {
  const void *p;
  size_t ld;
};
static matrix as_bf16(cuda_state *s, const weight *w) {
  if (w->type == T_BF16) return {w->data, w->ld};
  bf16 *to = (bf16 *)cuda_scratch(s, w->out * w->in * sizeof *to);
  if (to)
    LAUNCH(round_kernel<float>, cuda_blocks(w->out * w->in, 256), 256, 0, s->stream, to, (const float *)w->data,
           w->ld, (unsigned)w->in, w->out * w->in);
  return {to, w->in};
}

static void be_linear(backend *be, mat y, mat x, const weight *w, int nw, size_t m, bool acc) {
  cuda_state *s = cuda_begin(be, "linear");
  for (int i = 0; s && i < nw && m; y = mat_from(y, 0, w[i++].out)) {
    const size_t out = w[i].out, in = w[i].in;
    const bool bf16s = x.type == T_BF16 && y.type == T_BF16;
    const float *bias = w[i].bias;
    bool add = acc;
    if (bf16s && bias) {
      LAUNCH(bias_kernel, cuda_blocks(m * out, 256), 256, 0, s->stream, (bf16 *)y.p, y.ld, bias, (unsigned)out,
             m * out, acc);
      add = true, bias = nullptr;
    }
    if (bf16s) {
      const matrix b = as_bf16(s, &w[i]);
      if (!b.p) break;
      if (fast(s, {PRODUCT_Y, out, in, x.ld, b.ld, 0, T_BF16}, m, y, x.p, b.p, add)) continue;
    }
    exact(s, y, by_rows(x.p, x.ld, x.type), by_rows(w[i].data, w[i].ld, w[i].type), bias, m, out, in, add);
  }
  if (s) cuda_end(s);
}

static void be_linear_dx(backend *be, mat dx, mat dy, const weight *w, int nw, size_t m, bool acc) {
  cuda_state *s = cuda_begin(be, "linear_dx");
  for (int i = 0; s && i < nw && m; dy = mat_from(dy, 0, w[i++].out), acc = true) {
    bool done = false;
    if (dx.type == T_BF16 && dy.type == T_BF16) {
      const matrix b = as_bf16(s, &w[i]);
      if (!b.p) break;
      done = fast(s, {PRODUCT_DX, w[i].in, w[i].out, dy.ld, b.ld, 0, T_BF16}, m, dx, dy.p, b.p, acc);
    }
    if (!done)
      exact(s, dx, by_rows(dy.p, dy.ld, dy.type), by_columns(w[i].data, w[i].ld, w[i].type), nullptr, m, w[i].in,
            w[i].out, acc);
  }
  if (s) cuda_end(s);
}

/* dw += dy^T · x, piece by piece; piece i ends before row end[i]. */
static void weight_gradient(cuda_state *s, float *dw, mat dy, mat x, const size_t *end, size_t pieces, size_t out,
                            size_t in) {
  const mat c = {dw, in, T_F32};
  for (size_t i = 0, at = 0; i < pieces; at = end[i++]) {
    const size_t count = end[i] - at;
    const mat pdy = mat_from(dy, at, 0), px = mat_from(x, at, 0);
    if (dy.type != T_BF16 || x.type != T_BF16 ||
        !fast(s, {PRODUCT_DW, out, in, dy.ld, x.ld, 0, T_F32}, count, c, pdy.p, px.p, true))
      exact(s, c, by_columns(pdy.p, dy.ld, dy.type), by_columns(px.p, x.ld, x.type), nullptr, out, in, count, true);
  }
}
static void be_linear_dw(backend *be, float *dw, mat dy, mat x, const batch *b, row_set rows, size_t out,
                         size_t in) {
  cuda_state *s = cuda_begin(be, "linear_dw");
  if (!s) return;
  weight_gradient(s, dw, dy, x, b->set[rows].piece_end, b->set[rows].n_pieces, out, in);
  cuda_end(s);
}
static void be_linear_dw_pieces(backend *be, float *dw, mat dy, mat x, const row_pieces *pieces, size_t out,
                                size_t in) {
  cuda_state *s = cuda_begin(be, "linear_dw_pieces");
  if (!s) return;
  weight_gradient(s, dw, dy, x, pieces->end, pieces->n, out, in);
  cuda_end(s);
}

void cuda_product_ops(backend *be) {
  be->linear = be_linear;
  be->linear_dx = be_linear_dx;
  be->linear_dw = be_linear_dw;
  be->linear_dw_pieces = be_linear_dw_pieces;
}
