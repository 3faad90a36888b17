/* vec.h - what the row kernels share: eight values at a time as f32, and sums over a warp or a block in a fixed
 * tree.
 *
 * A thread reads and writes groups of eight columns. V: the group is whole and 16-byte aligned; else value by
 * value, `left` of them, the rest 0. Both give the same values in the same places, so bits do not depend on
 * alignment.
 */
#ifndef COMPUTE_CUDA_VEC_H
#define COMPUTE_CUDA_VEC_H

#include "compute/cuda/gpu.h"

struct f8 {
  float v[8];
};

static __device__ __forceinline__ float bits_float(uint32_t u) {
  float f;
  memcpy(&f, &u, 4);
  return f;
}
static __device__ __forceinline__ uint32_t float_bits(float f) {
  uint32_t u;
  memcpy(&u, &f, 4);
  return u;
}
static __device__ __forceinline__ uint32_t bf16_bits(bf16 h) {
  unsigned short u;
  memcpy(&u, &h, 2);
  return u;
}
static __device__ __forceinline__ float to_float(float x) { return x; }
static __device__ __forceinline__ float to_float(bf16 x) { return __bfloat162float(x); }
static __device__ __forceinline__ void set_float(float *p, float x) { *p = x; }
static __device__ __forceinline__ void set_float(bf16 *p, float x) { *p = __float2bfloat16_rn(x); }

template <bool V>
static __device__ __forceinline__ f8 load8(const float *p, int left) {
  f8 x;
  if (V) {
    const float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
    x = {{a.x, a.y, a.z, a.w, b.x, b.y, b.z, b.w}};
  } else {
    UNROLL
    for (int k = 0; k < 8; k++) x.v[k] = k < left ? p[k] : 0.0f;
  }
  return x;
}
template <bool V>
static __device__ __forceinline__ f8 load8(const bf16 *p, int left) {
  f8 x;
  if (V) {
    const uint4 a = *(const uint4 *)p;
    const uint32_t u[4] = {a.x, a.y, a.z, a.w};
    UNROLL
    for (int k = 0; k < 4; k++) {
      x.v[2 * k] = bits_float(u[k] << 16);
      x.v[2 * k + 1] = bits_float(u[k] & 0xffff0000u);
    }
  } else {
    UNROLL
    for (int k = 0; k < 8; k++) x.v[k] = k < left ? to_float(p[k]) : 0.0f;
  }
  return x;
}
template <bool V>
static __device__ __forceinline__ void store8(float *p, const f8 &x, int left) {
  if (V) {
    ((float4 *)p)[0] = {x.v[0], x.v[1], x.v[2], x.v[3]};
    ((float4 *)p)[1] = {x.v[4], x.v[5], x.v[6], x.v[7]};
  } else {
    UNROLL
    for (int k = 0; k < 8; k++)
      if (k < left) p[k] = x.v[k];
  }
}
template <bool V>
static __device__ __forceinline__ void store8(bf16 *p, const f8 &x, int left) {
  if (V) {
    uint32_t u[4];
    UNROLL
    for (int k = 0; k < 4; k++)
      u[k] = bf16_bits(__float2bfloat16_rn(x.v[2 * k])) | bf16_bits(__float2bfloat16_rn(x.v[2 * k + 1])) << 16;
    *(uint4 *)p = {u[0], u[1], u[2], u[3]};
  } else {
    UNROLL
    for (int k = 0; k < 8; k++)
      if (k < left) set_float(p + k, x.v[k]);
  }
}

template <class T>
static __device__ __forceinline__ T warp_sum(T v) {
  UNROLL
  for (int x = 16; x > 0; x >>= 1) v += __shfl_xor_sync(~0u, v, x);
  return v;
}
static __device__ __forceinline__ float warp_max(float v) {
  UNROLL
  for (int x = 16; x > 0; x >>= 1) v = fmaxf(v, __shfl_xor_sync(~0u, v, x));
  return v;
}
/* The sum over THREADS threads: a warp, or the whole block by THREADS / 32 places of shared memory that nothing
 * else has used. */
template <int THREADS, class T>
static __device__ __forceinline__ T team_sum(T v, T *place) {
  v = warp_sum(v);
  if (THREADS == 32) return v;
  if (threadIdx.x % 32 == 0) place[threadIdx.x / 32] = v;
  __syncthreads();
  T sum = place[0];
  UNROLL
  for (int i = 1; i < THREADS / 32; i++) sum += place[i];
  return sum;
}

#endif
