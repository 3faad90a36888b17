/* rows.cu - what is done value by value: activations, rotary positions, sums and copies of matrices, rows by index,
 * mixtures of rows, embeddings, dropout.
 *
 * An operation is a struct whose run<V>(row, column, left) does eight columns of a row (vec.h); a thread does one
 * such group.
 */
#include "compute/cuda/cuda.h"
#include "compute/cuda/vec.h"

enum { BLOCK = 256 };

template <class OP, bool V>
__global__ void __launch_bounds__(BLOCK) each8_kernel(OP op, unsigned groups, unsigned total, int n) {
  const unsigned i = blockIdx.x * BLOCK + threadIdx.x;
  if (i >= total) return;
  const unsigned row = i / groups;
  const int c = (int)(i - row * groups) * 8;
  op.template run<V>(row, c, n - c < 8 ? n - c : 8);
}

/* wide: all of the operation's matrices are aligned. */
template <class OP>
static void each8(cuda_state *s, const OP &op, size_t rows, size_t n, bool wide) {
  const size_t groups = (n + 7) / 8;
  if (rows == 0 || n == 0) return;
  if (rows * groups > UINT32_MAX - BLOCK || n > INT32_MAX) {
    cuda_fail(s, RW_UNSUPPORTED, "more values than one operation takes");
    return;
  }
  by_flag(wide && n % 8 == 0, [&](auto v) {
    LAUNCH((each8_kernel<OP, decltype(v)::value>), cuda_blocks(rows * groups, BLOCK), BLOCK, 0, s->stream, op,
           (unsigned)groups, (unsigned)(rows * groups), (int)n);
  });
}

template <class T>
struct rows_of {
  T *p;
  size_t ld;
  __device__ T *at(size_t row, int c) const { return p + row * ld + c; }
};
template <class T>
static rows_of<T> rows_from(mat x) {
  return {(T *)x.p, x.ld};
}

/* ---- activations: gelu by tanh (Hendrycks & Gimpel 2016) ---- */

static __device__ __forceinline__ bool has_gate(activation a) { return a < ACT_RELU2; }
static __device__ __forceinline__ float sigmoid_of(float x) { return 1.0f / (1.0f + expf(-x)); }
static __device__ __forceinline__ float gelu_tanh_of(float x) {
  return tanhf(0.7978845608028654f * (x + 0.044715f * x * x * x));
}

template <class T>
struct gated_op {
  rows_of<T> y, gu;
  int n;
  activation act;
  template <bool V>
  __device__ void run(size_t row, int c, int left) const {
    const f8 g = load8<V>(gu.at(row, c), left);
    f8 o, u = {};
    if (has_gate(act)) u = load8<V>(gu.at(row, n + c), left);
    UNROLL
    for (int k = 0; k < 8; k++) {
      const float x = g.v[k];
      if (act == ACT_SILU)
        o.v[k] = x * sigmoid_of(x) * u.v[k];
      else if (act == ACT_GELU_TANH)
        o.v[k] = 0.5f * x * (1.0f + gelu_tanh_of(x)) * u.v[k];
      else
        o.v[k] = x <= 0 ? 0.0f : act == ACT_RELU2 ? x * x : x;
    }
    store8<V>(y.at(row, c), o, left);
  }
};

/* dgu may be gu: a thread reads its own places before it writes them. */
template <class T>
struct gated_bwd_op {
  rows_of<T> dgu, dy, gu;
  int n;
  activation act;
  template <bool V>
  __device__ void run(size_t row, int c, int left) const {
    const f8 d = load8<V>(dy.at(row, c), left), g = load8<V>(gu.at(row, c), left);
    f8 dg, du, u = {};
    if (has_gate(act)) u = load8<V>(gu.at(row, n + c), left);
    UNROLL
    for (int k = 0; k < 8; k++) {
      const float x = g.v[k];
      float value = 0, slope;
      if (act == ACT_SILU) {
        const float s = sigmoid_of(x);
        value = x * s;
        slope = s * (1.0f + x * (1.0f - s));
      } else if (act == ACT_GELU_TANH) {
        const float t = gelu_tanh_of(x);
        value = 0.5f * x * (1.0f + t);
        slope =
            0.5f * (1.0f + t) + 0.5f * x * (1.0f - t * t) * 0.7978845608028654f * (1.0f + 3.0f * 0.044715f * x * x);
      } else {
        slope = x <= 0 ? 0.0f : act == ACT_RELU2 ? 2.0f * x : 1.0f;
      }
      du.v[k] = d.v[k] * value;
      dg.v[k] = !has_gate(act) ? d.v[k] * slope : d.v[k] * u.v[k] * slope;
    }
    store8<V>(dgu.at(row, c), dg, left);
    if (has_gate(act)) store8<V>(dgu.at(row, n + c), du, left);
  }
};

static void be_gated(backend *be, mat y, mat gu, size_t m, size_t n, activation act) {
  cuda_state *s = cuda_begin(be, "gated");
  if (!s) return;
  by_type(y.type, [&](auto *type) {
    typedef POINTEE(type) T;
    each8(s, gated_op<T>{rows_from<T>(y), rows_from<T>(gu), (int)n, act}, m, n,
          cuda_aligned(y) && cuda_aligned(gu));
  });
  cuda_end(s);
}
static void be_gated_bwd(backend *be, mat dgu, mat dy, mat gu, size_t m, size_t n, activation act) {
  cuda_state *s = cuda_begin(be, "gated_bwd");
  if (!s) return;
  by_type(dy.type, [&](auto *type) {
    typedef POINTEE(type) T;
    each8(s, gated_bwd_op<T>{rows_from<T>(dgu), rows_from<T>(dy), rows_from<T>(gu), (int)n, act}, m, n,
          cuda_aligned(dgu) && cuda_aligned(dy) && cuda_aligned(gu));
  });
  cuda_end(s);
}

/* ---- rotary positions: pairs (i, i + half) of each head; the columns counted here are the pairs of all heads ----
 */

template <class T>
struct rope_op {
  rows_of<T> x;
  const int32_t *pos;
  const float *cos, *sin; /* [positions, half] */
  int head_dim, half;
  float sign;
  template <bool V>
  __device__ void run(size_t row, int c, int left) const {
    if (V) { /* half is a multiple of 8: the group is in one head */
      pairs<true>(row, c / half, c % half, 8);
    } else {
      for (int k = 0; k < left; k++) pairs<false>(row, (c + k) / half, (c + k) % half, 1);
    }
  }
  template <bool V>
  __device__ void pairs(size_t row, int head, int i, int left) const {
    const size_t at = (size_t)pos[row] * half + i;
    T *pa = x.at(row, head * head_dim + i), *pb = pa + half;
    const f8 a = load8<V>(pa, left), b = load8<V>(pb, left), co = load8<V>(cos + at, left),
             si = load8<V>(sin + at, left);
    f8 oa, ob;
    UNROLL
    for (int k = 0; k < 8; k++) {
      const float sn = si.v[k] * sign;
      oa.v[k] = a.v[k] * co.v[k] - b.v[k] * sn;
      ob.v[k] = b.v[k] * co.v[k] + a.v[k] * sn;
    }
    store8<V>(pa, oa, left);
    store8<V>(pb, ob, left);
  }
};

static void be_rope(backend *be, mat x, const batch *b, size_t heads, size_t head_dim, const float *cos,
                    const float *sin, size_t half, float sign) {
  cuda_state *s = cuda_begin(be, "rope");
  if (!s) return;
  const bool wide = cuda_aligned(x) && cuda_aligned(cos) && cuda_aligned(sin) && half % 8 == 0 && head_dim % 8 == 0;
  by_type(x.type, [&](auto *type) {
    typedef POINTEE(type) T;
    each8(s, rope_op<T>{rows_from<T>(x), b->pos, cos, sin, (int)head_dim, (int)half, sign}, b->set[ROWS_ALL].rows,
          heads * half, wide);
  });
  cuda_end(s);
}

/* ---- y (+)= s · x, from a row of x to another of y ---- */

template <class TY, class TX>
struct move_op {
  rows_of<TY> y;
  rows_of<TX> x;
  const int32_t *from, *to; /* row of x for row i, row of y; NULL: i */
  float scale;
  bool acc;
  template <bool V>
  __device__ void run(size_t row, int c, int left) const {
    TY *py = y.at(to ? (size_t)to[row] : row, c);
    f8 o = load8<V>(x.at(from ? (size_t)from[row] : row, c), left);
    UNROLL
    for (int k = 0; k < 8; k++) o.v[k] *= scale;
    if (acc) {
      const f8 old = load8<V>(py, left);
      UNROLL
      for (int k = 0; k < 8; k++) o.v[k] += old.v[k];
    }
    store8<V>(py, o, left);
  }
};
struct moving {
  const int32_t *from, *to;
  float scale;
  bool acc;
};
static void move_rows(cuda_state *s, mat y, mat x, size_t m, size_t n, moving how) {
  by_type(y.type, [&](auto *ty) {
    by_type(x.type, [&](auto *tx) {
      typedef POINTEE(ty) TY;
      typedef POINTEE(tx) TX;
      each8(s, move_op<TY, TX>{rows_from<TY>(y), rows_from<TX>(x), how.from, how.to, how.scale, how.acc}, m, n,
            cuda_aligned(y) && cuda_aligned(x));
    });
  });
}
static void be_add(backend *be, mat y, mat x, size_t m, size_t n) {
  cuda_state *s = cuda_begin(be, "add");
  if (!s) return;
  move_rows(s, y, x, m, n, {nullptr, nullptr, 1, true});
  cuda_end(s);
}
static void be_copy(backend *be, mat y, mat x, size_t m, size_t n) {
  cuda_state *s = cuda_begin(be, "copy");
  if (!s) return;
  move_rows(s, y, x, m, n, {nullptr, nullptr, 1, false});
  cuda_end(s);
}
static void be_scale(backend *be, mat x, float factor, size_t m, size_t n) {
  cuda_state *s = cuda_begin(be, "scale");
  if (!s) return;
  move_rows(s, x, x, m, n, {nullptr, nullptr, factor, false});
  cuda_end(s);
}
static void be_gather(backend *be, mat y, mat x, const batch *b, size_t n) {
  cuda_state *s = cuda_begin(be, "gather");
  if (!s) return;
  move_rows(s, y, x, b->set[ROWS_LAST].rows, n, {b->last, nullptr, 1, false});
  cuda_end(s);
}
static void be_scatter(backend *be, mat y, mat x, const batch *b, size_t n, bool acc) {
  cuda_state *s = cuda_begin(be, "scatter");
  if (!s) return;
  move_rows(s, y, x, b->set[ROWS_LAST].rows, n, {nullptr, b->last, 1, acc});
  cuda_end(s);
}

/* ---- mixtures of experts ---- */

static void be_pick(backend *be, mat y, mat x, const int32_t *index, size_t m, size_t n) {
  cuda_state *s = cuda_begin(be, "pick");
  if (!s) return;
  move_rows(s, y, x, m, n, {index, nullptr, 1, false});
  cuda_end(s);
}

/* y[i] (+)= sum of s[i k + j] x[index[i k + j]], j in order, rounded once. */
template <class T>
struct mix_op {
  rows_of<T> y, x;
  const int32_t *index;
  const float *s;
  int k;
  bool acc;
  template <bool V>
  __device__ void run(size_t row, int c, int left) const {
    f8 sum = {};
    if (acc) sum = load8<V>(y.at(row, c), left);
    for (size_t j = row * k; j < (row + 1) * k; j++) {
      const f8 a = load8<V>(x.at((size_t)index[j], c), left);
      const float factor = s ? s[j] : 1.0f;
      UNROLL
      for (int i = 0; i < 8; i++) sum.v[i] = fmaf(factor, a.v[i], sum.v[i]);
    }
    store8<V>(y.at(row, c), sum, left);
  }
};
static void be_mix(backend *be, mat y, mat x, const int32_t *index, const float *factors, size_t m, size_t k,
                   size_t n, bool acc) {
  cuda_state *s = cuda_begin(be, "mix");
  if (!s) return;
  by_type(y.type, [&](auto *type) {
    typedef POINTEE(type) T;
    each8(s, mix_op<T>{rows_from<T>(y), rows_from<T>(x), index, factors, (int)k, acc}, m, n,
          cuda_aligned(y) && cuda_aligned(x));
  });
  cuda_end(s);
}

template <class T>
struct row_scale_op {
  rows_of<T> x;
  const float *s;
  template <bool V>
  __device__ void run(size_t row, int c, int left) const {
    f8 a = load8<V>(x.at(row, c), left);
    const float factor = s[row];
    UNROLL
    for (int k = 0; k < 8; k++) a.v[k] *= factor;
    store8<V>(x.at(row, c), a, left);
  }
};
static void be_row_scale(backend *be, mat x, const float *factors, size_t m, size_t n) {
  cuda_state *s = cuda_begin(be, "row_scale");
  if (!s) return;
  by_type(x.type, [&](auto *type) {
    typedef POINTEE(type) T;
    each8(s, row_scale_op<T>{rows_from<T>(x), factors}, m, n, cuda_aligned(x));
  });
  cuda_end(s);
}

/* ---- embeddings ---- */

static void be_embed(backend *be, mat y, const weight *table, const batch *b, float scale) {
  cuda_state *s = cuda_begin(be, "embed");
  if (!s) return;
  const mat x = {(void *)(uintptr_t)table->data, table->ld, table->type};
  move_rows(s, y, x, b->set[ROWS_ALL].rows, table->in, {b->ids, nullptr, scale, false});
  cuda_end(s);
}

/* dtable[id] += dy · scale over the id's rows, in their order; the rows counted here are the ids. */
template <class T>
struct embed_bwd_op {
  rows_of<float> dtable;
  rows_of<T> dy;
  const int32_t *id_value, *id_start, *id_rows;
  float scale;
  template <bool V>
  __device__ void run(size_t i, int c, int left) const {
    float *to = dtable.at((size_t)id_value[i], c);
    f8 sum = load8<V>(to, left);
    for (int j = id_start[i]; j < id_start[i + 1]; j++) {
      const f8 d = load8<V>(dy.at((size_t)id_rows[j], c), left);
      UNROLL
      for (int k = 0; k < 8; k++) sum.v[k] += d.v[k] * scale;
    }
    store8<V>(to, sum, left);
  }
};
static void be_embed_bwd(backend *be, float *dtable, mat dy, const batch *b, size_t n, float scale) {
  cuda_state *s = cuda_begin(be, "embed_bwd");
  if (!s) return;
  const mat table = {dtable, n, T_F32};
  by_type(dy.type, [&](auto *type) {
    typedef POINTEE(type) T;
    each8(s,
          embed_bwd_op<T>{rows_from<float>(table), rows_from<T>(dy), b->id_value, b->id_start, b->id_rows, scale},
          b->n_ids, n, cuda_aligned(table) && cuda_aligned(dy));
  });
  cuda_end(s);
}

/* ---- dropout: the CPU's hash (compute/cpu) ---- */

static __host__ __device__ __forceinline__ uint64_t mix64(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}
static __device__ __forceinline__ uint32_t column_hash(uint32_t j, uint32_t lo, uint32_t hi) {
  uint32_t z = j * 0x9e3779b9u + lo;
  z = (z ^ (z >> 16)) * 0x7feb352du;
  z = ((z ^ (z >> 15)) + hi) * 0x846ca68bu;
  return z ^ (z >> 16);
}

template <class T>
struct dropout_op {
  rows_of<T> y, x;
  const uint64_t *keys;
  uint64_t key;
  uint32_t below;
  float scale;
  bool acc;
  template <bool V>
  __device__ void run(size_t row, int c, int left) const {
    const uint64_t h = mix64(keys[row] ^ key);
    f8 o = load8<V>(x.at(row, c), left), old = {};
    if (acc) old = load8<V>(y.at(row, c), left);
    UNROLL
    for (int k = 0; k < 8; k++) {
      const bool drop = column_hash((uint32_t)(c + k), (uint32_t)h, (uint32_t)(h >> 32)) < below;
      o.v[k] = old.v[k] + (drop ? 0.0f : o.v[k] * scale);
    }
    store8<V>(y.at(row, c), o, left);
  }
};
static void be_dropout(backend *be, mat y, mat x, const batch *b, row_set rows, uint64_t key, double p, size_t n,
                       bool acc) {
  cuda_state *s = cuda_begin(be, "dropout");
  if (!s) return;
  const row_list *l = &b->set[rows];
  if (l->rows && !l->drop_keys)
    cuda_fail(s, RW_USAGE, "the batch has no dropout keys");
  else
    by_type(y.type, [&](auto *type) {
      typedef POINTEE(type) T;
      each8(s,
            dropout_op<T>{rows_from<T>(y), rows_from<T>(x), l->drop_keys, mix64(key + 1), (uint32_t)(p * 0x1p32),
                          (float)(1 / (1 - p)), acc},
            l->rows, n, cuda_aligned(y) && cuda_aligned(x));
    });
  cuda_end(s);
}

void cuda_row_ops(backend *be) {
  be->gated = be_gated;
  be->gated_bwd = be_gated_bwd;
  be->rope = be_rope;
  be->add = be_add;
  be->copy = be_copy;
  be->scale = be_scale;
  be->gather = be_gather;
  be->scatter = be_scatter;
  be->pick = be_pick;
  be->mix = be_mix;
  be->row_scale = be_row_scale;
  be->embed = be_embed;
  be->embed_bwd = be_embed_bwd;
  be->dropout = be_dropout;
}
