/* gpu.h - what kernels are written with: CUDA under nvcc; under a host compiler the tests' emulator (tests/emu).
 *
 * LAUNCH(kernel, grid, block, shared bytes, stream, arguments…); SHARED(name) is the block's dynamic shared memory,
 * 1,024-byte aligned. Warp operations are for whole warps (mask ~0u). Both compilers keep a*b+c as two roundings:
 * a fused one is written fmaf.
 */
#ifndef COMPUTE_CUDA_GPU_H
#define COMPUTE_CUDA_GPU_H

#ifdef __CUDACC__
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#include <stdint.h>

/* clang-format off */
#define LAUNCH(kernel, grid, block, smem, stream, ...)                                                \
  ((smem) > 48 << 10                                                                                  \
       ? (void)cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)(smem)) \
       : (void)0,                                                                                     \
   (kernel) <<<grid, block, smem, stream>>>(__VA_ARGS__))
/* clang-format on */
#define SHARED(name)     extern __shared__ __align__(1024) unsigned char name[]
#define UNROLL           _Pragma("unroll")
#define GPU_PRAGMA(text) _Pragma(#text)
#define UNROLL_BY(n)     GPU_PRAGMA(unroll n)

static __device__ __forceinline__ void bar_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}
/* d[16, 8] += a[16, 16] · b[16, 8]; fragments as PTX has them: with g = lane / 4, t = lane % 4, a holds rows g, g +
 * 8 (registers 0, 1: columns 2t, 2t+1; 2, 3: the same + 8), b columns g, d rows g, g + 8 and columns 2t, 2t+1. */
static __device__ __forceinline__ void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
/* Four 8x8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix l / 8. */
template <bool TRANS>
static __device__ __forceinline__ void ldmatrix4(uint32_t r[4], const void *row) {
  const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
  if (TRANS)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(at)
                 : "memory");
}
/* 16 bytes from global to shared memory, in the background; zeros, and nothing read, where not valid. */
static __device__ __forceinline__ void cp_async16(void *dst, const void *src, bool valid) {
  const uint32_t at = (uint32_t)__cvta_generic_to_shared(dst);
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(src), "r"(valid ? 16 : 0) : "memory");
}
static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int LEFT>
static __device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}
/* The special function unit's: 2 ulp, and an absolute error below 5e-4. */
static __device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
static __device__ __forceinline__ float fast_tanh(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#else
#include "emu.h"
#include "runtime.h"
#endif

typedef __nv_bfloat16 bf16;

#endif
