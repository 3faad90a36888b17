/* emu.h - CUDA on the CPU, for tests: the kernels' own source, compiled by g++ and run thread by thread.
 *
 * Each CUDA thread is a fiber; blocks run one after another. A fiber gives way only at barriers and warp
 * operations, in the order that EMU_ORDER names: forward, reverse, or a number (random, from that seed). Shared
 * memory and fresh device memory are NaN. Ends the program with the kernel, block, thread and line when threads
 * meet at different barriers, when lanes miss a warp operation, when threads wait for ever, and at misaligned
 * 16-byte accesses. Under -fsanitize=thread each CUDA thread is a TSan fiber, ordered with others by barriers
 * alone: a race detector for shared and global memory, between blocks too. Under -fsanitize=address shared memory
 * ends where it was asked to. Warp operations are for whole warps: the mask must be ~0u. Not seen: the last bits of
 * tensor cores and of approximate functions, fences, bank conflicts, spills.
 */
#ifndef EMU_H
#define EMU_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __restrict__ __restrict
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};

namespace emu {
struct thread_ctx { /* the fiber that runs */
  dim3 tid;
  unsigned linear, lane;
};
struct block_ctx {
  dim3 bid, bdim, gdim;
  unsigned char *shared;
};
extern thread_ctx *cur;
extern block_ctx blk;
[[noreturn]] void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void launch(dim3 grid, dim3 block, size_t shared, void (*fn)(void *), void *arg, const char *name);
void barrier(int id, unsigned threads, int line); /* threads 0: all of the block */
enum op { SYNC, SHUFFLE_XOR, SHUFFLE_UP, SHUFFLE_DOWN, SHUFFLE, BALLOT, LDMATRIX, LDMATRIX_TRANS, MMA };
/* Brings n <= 40 bytes, a multiple of 4, to the warp's operation and waits for all lanes; then slot l holds what
 * lane l brought, until this lane's next operation. */
typedef unsigned char slot[64];
const slot *exchange(unsigned mask, op kind, int line, const void *mine, size_t n);
void sync_warp(unsigned mask, int line);
void mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2], int line);
void cp_async16(void *dst, const void *src, bool valid, int line);
void cp_commit();
void cp_wait(int left);

template <class F>
void launch_fn(dim3 g, dim3 b, size_t shared, const char *name, F f) {
  launch(
      g, b, shared, [](void *p) { (*static_cast<F *>(p))(); }, &f, name);
}
template <class T>
T shuffle(unsigned mask, T v, unsigned from, op kind, int line) {
  static_assert(sizeof v <= 40 && sizeof v % 4 == 0, "what a shuffle can carry");
  T r;
  __builtin_memcpy(&r, exchange(mask, kind, line, &v, sizeof v)[from], sizeof r);
  return r;
}
}  // namespace emu

#define threadIdx (emu::cur->tid)
#define blockIdx  (emu::blk.bid)
#define blockDim  (emu::blk.bdim)
#define gridDim   (emu::blk.gdim)
#define LAUNCH(kernel, grid, block, smem, stream, ...)                                                      \
  ((void)(stream), emu_setting("EMU_EMPTY", 0) ? (void)0 : emu::launch_fn(grid, block, smem, #kernel, [=] { \
     (kernel)(__VA_ARGS__);                                                                                 \
   }))
#define SHARED(name) unsigned char *const name = emu::blk.shared
#define UNROLL
#define UNROLL_BY(n)

static inline void __syncthreads(int line = __builtin_LINE()) { emu::barrier(0, 0, line); }
static inline void bar_sync(int id, int threads, int line = __builtin_LINE()) {
  emu::barrier(id, (unsigned)threads, line);
}
static inline void __syncwarp(unsigned mask = ~0u, int line = __builtin_LINE()) { emu::sync_warp(mask, line); }
template <class T>
static inline T __shfl_xor_sync(unsigned mask, T v, int x, int = 32, int line = __builtin_LINE()) {
  return emu::shuffle(mask, v, emu::cur->lane ^ (unsigned)x, emu::SHUFFLE_XOR, line);
}
template <class T>
static inline T __shfl_down_sync(unsigned mask, T v, unsigned d, int = 32, int line = __builtin_LINE()) {
  unsigned l = emu::cur->lane;
  return emu::shuffle(mask, v, l + d < 32 ? l + d : l, emu::SHUFFLE_DOWN, line);
}
template <class T>
static inline T __shfl_up_sync(unsigned mask, T v, unsigned d, int = 32, int line = __builtin_LINE()) {
  unsigned l = emu::cur->lane;
  return emu::shuffle(mask, v, l >= d ? l - d : l, emu::SHUFFLE_UP, line);
}
template <class T>
static inline T __shfl_sync(unsigned mask, T v, int from, int = 32, int line = __builtin_LINE()) {
  return emu::shuffle(mask, v, (unsigned)from & 31u, emu::SHUFFLE, line);
}
static inline unsigned __ballot_sync(unsigned mask, int p, int line = __builtin_LINE()) {
  const emu::slot *all = emu::exchange(mask, emu::BALLOT, line, &p, sizeof p);
  unsigned r = 0;
  for (unsigned i = 0; i < 32; i++) {
    __builtin_memcpy(&p, all[i], sizeof p);
    r |= (unsigned)(p != 0) << i;
  }
  return r;
}
static inline unsigned long long atomicMin(unsigned long long *p, unsigned long long v) {
  unsigned long long old = __atomic_load_n(p, __ATOMIC_RELAXED);
  while (v < old && !__atomic_compare_exchange_n(p, &old, v, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return old;
}
static inline float fast_exp2(float x) { return exp2f(x); }
static inline float fast_tanh(float x) { return tanhf(x); }

struct __nv_bfloat16 {
  uint16_t x;
};
static inline float __bfloat162float(__nv_bfloat16 h) {
  uint32_t u = (uint32_t)h.x << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}
static inline __nv_bfloat16 __float2bfloat16_rn(float f) {
  uint32_t u;
  __builtin_memcpy(&u, &f, 4);
  return {f != f ? (uint16_t)0x7fff : (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16)};
}

/* ---- the warp instructions that gpu.h gives the same names to ---- */

static inline void mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2], int line = __builtin_LINE()) {
  emu::mma_m16n8k16(d, a, b, line);
}
template <bool TRANS>
static inline void ldmatrix4(uint32_t r[4], const void *row, int line = __builtin_LINE()) {
  if ((uintptr_t)row % 16) emu::fail("line %d: ldmatrix from an address that is no multiple of 16", line);
#ifdef __SANITIZE_THREAD__ /* on a GPU the lane that names a row reads it, whoever gets its values */
  for (int k = 0; k < 2; k++) (void)((const volatile uint64_t *)row)[k];
#endif
  const emu::slot *rows = emu::exchange(~0u, TRANS ? emu::LDMATRIX_TRANS : emu::LDMATRIX, line, &row, sizeof row);
  const unsigned l = emu::cur->lane;
  for (unsigned m = 0; m < 4; m++) {
    uint16_t v[2];
    for (unsigned k = 0; k < 2; k++) {
      const unsigned i = TRANS ? 2 * (l % 4) + k : l / 4, j = TRANS ? l / 4 : 2 * (l % 4) + k;
      const uint16_t *from;
      __builtin_memcpy(&from, rows[8 * m + i], sizeof from);
      v[k] = from[j];
    }
    __builtin_memcpy(&r[m], v, 4);
  }
}
static inline void cp_async16(void *dst, const void *src, bool valid, int line = __builtin_LINE()) {
  emu::cp_async16(dst, src, valid, line);
}
static inline void cp_async_commit() { emu::cp_commit(); }
template <int LEFT>
static inline void cp_async_wait() {
  emu::cp_wait(LEFT);
}

#endif
