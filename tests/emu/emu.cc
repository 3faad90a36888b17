/* emu.cc - the fibers of emu.h. With -DEMU_TSAN and -DEMU_ASAN it tells the sanitizer of each change of stack. It
 * is itself compiled without a sanitizer and with -fno-tree-loop-distribute-patterns: what it reads and writes is
 * not to be taken for the kernel's, nor its loops turned into calls of memcpy, which the sanitizers watch. */
#include "emu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "the emulator changes stacks by x86-64 instructions"
#endif

extern "C" {
#ifdef EMU_TSAN
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags); /* 1: without an order between the two */
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
void __tsan_read8(void *addr);
void __tsan_write8(void *addr);
#endif
#ifdef EMU_ASAN
void *__asan_region_is_poisoned(void *from, size_t bytes);
void __sanitizer_start_switch_fiber(void **fake, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(void *fake, const void **bottom, size_t *size);
#endif
void emu_switch(void **save, void *to); /* saves registers and stack pointer, takes up the others */
void emu_begin(void);
}
asm(".text\n.globl emu_switch\nemu_switch:\n"
    " push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    " mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
    " pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n");

namespace emu {

enum { MAX_THREADS = 1024, STACK = 128 << 10, MAX_COPIES = 256, MAX_GROUPS = 16, BARRIERS = 16 };
enum status { READY, AT_BARRIER, AT_WARP, ENDED };

struct copy {
  void *dst;
  const void *src;
  bool valid, early;
};
struct fiber {
  thread_ctx ctx; /* first: cur points here */
  void *sp;
  char *stack;
  status st;
  int line, barrier;
  copy copies[MAX_COPIES]; /* asynchronous ones that nobody has waited for */
  int n_copies, group_end[MAX_GROUPS], n_groups;
  void *tsan, *fake;
};
struct meeting { /* at a barrier */
  unsigned here, need;
  int line;
};
struct warp { /* its operation under way; two sets of slots, for lanes that are at the next one already */
  unsigned here, round;
  op kind;
  int line;
  alignas(64) emu::slot slots[2][32];
};

thread_ctx *cur;
block_ctx blk;
static fiber *fibers;
static warp *warps;
static meeting bars[BARRIERS];
static unsigned n_threads, alive;
static void *main_sp;
static void (*entry)(void *);
static void *entry_arg;
static const char *kernel_name = "";
static enum { FORWARD, REVERSE, RANDOM } order;
static uint64_t rng = 88172645463325252u;

#ifdef EMU_ASAN
static const void *main_bottom; /* the host's stack */
static size_t main_size;
#endif
#ifdef EMU_TSAN
static void *tsan_main;
static char *sync_place; /* this block's: an address for each barrier, then one for each warp */
static void order_release(unsigned i) { __tsan_release(sync_place + 8 * i); }
static void order_acquire(unsigned i) { __tsan_acquire(sync_place + 8 * i); }
#else
static void order_release(unsigned) {}
static void order_acquire(unsigned) {}
#endif

static fiber *self() { return reinterpret_cast<fiber *>(cur); }

void fail(const char *fmt, ...) {
  va_list ap;
  fprintf(stderr, "emu: %s, block (%u, %u, %u)", kernel_name, blk.bid.x, blk.bid.y, blk.bid.z);
  if (cur) fprintf(stderr, ", thread %u", cur->linear);
  fprintf(stderr, ": ");
  va_start(ap, fmt);
  vfprintf(stderr, fmt, ap);
  va_end(ap);
  fprintf(stderr, "\n");
  abort();
}

static uint64_t next_random() {
  rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
  return rng * 0x2545f4914f6cdd1du >> 16;
}

/* ---- fibers ---- */

/* The next thread that can run: in its number's order from `after` on, down from it, or from a random one on. */
static fiber *pick(unsigned after) {
  unsigned t = order == RANDOM ? (unsigned)(next_random() % n_threads) : after;
  for (unsigned i = 0; i < n_threads; i++) {
    t = order == REVERSE ? (t + n_threads - 1) % n_threads : (t + 1) % n_threads;
    if (fibers[t].st == READY) return &fibers[t];
  }
  for (unsigned i = 0; i < n_threads; i++)
    if (fibers[i].st != ENDED && (i == 0 || fibers[i].line != fibers[i - 1].line))
      fprintf(stderr, "  thread %u waits in line %d at %s\n", i, fibers[i].line,
              fibers[i].st == AT_BARRIER ? "a barrier" : "a warp operation");
  cur = nullptr;
  fail("%u of %u threads wait for ever", alive, n_threads);
}

/* Goes from the running fiber, or from launch (cur NULL), to fiber f, or back to launch (f NULL). */
static void switch_to(fiber *f) {
  fiber *me = self();
  void **save = me ? &me->sp : &main_sp;
  if (f == me) return;
  cur = f ? &f->ctx : nullptr;
#ifdef EMU_ASAN
  static void *main_fake;
  const bool ended = me && me->st == ENDED;
  void **fake = me ? &me->fake : &main_fake;
  __sanitizer_start_switch_fiber(ended ? nullptr : fake, f ? f->stack : main_bottom, f ? (size_t)STACK : main_size);
#endif
#ifdef EMU_TSAN
  __tsan_switch_to_fiber(f ? f->tsan : tsan_main, 1);
#endif
  emu_switch(save, f ? f->sp : main_sp);
#ifdef EMU_ASAN
  __sanitizer_finish_switch_fiber(*fake, nullptr, nullptr);
#endif
}
static void give_way() { switch_to(pick(cur->linear)); }

static void open_barrier(int id) {
  bars[id].here = 0;
  for (unsigned i = 0; i < n_threads; i++)
    if (fibers[i].st == AT_BARRIER && fibers[i].barrier == id) fibers[i].st = READY;
}

extern "C" void emu_begin(void) {
#ifdef EMU_ASAN
  const void *bottom;
  size_t size;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (!main_size) main_bottom = bottom, main_size = size; /* the very first fiber comes from launch */
#endif
  entry(entry_arg);
  fiber *f = self();
  if (f->n_copies) fail("ends with %d asynchronous copies that it did not wait for", f->n_copies);
  f->st = ENDED;
  alive--;
#ifdef EMU_TSAN
  __tsan_release(&main_sp); /* the kernel's end comes before what the host does next */
#endif
  if (alive > 0 && bars[0].here == alive) open_barrier(0); /* threads that ended do not count */
  switch_to(alive > 0 ? pick(f->ctx.linear) : nullptr);
  abort();
}

static void prepare(fiber *f, unsigned t) {
  const dim3 b = blk.bdim;
  void **sp = reinterpret_cast<void **>(f->stack + STACK);
  *--sp = nullptr; /* as after a call: emu_begin's stack is aligned */
  *--sp = reinterpret_cast<void *>(emu_begin);
  for (int i = 0; i < 6; i++) *--sp = nullptr;
  f->ctx = {dim3(t % b.x, t / b.x % b.y, t / b.x / b.y), t, t % 32};
  f->sp = sp;
  f->st = READY;
  f->line = f->n_copies = f->n_groups = 0;
}

/* By the system call itself: TSan's mmap marks every byte as written, which takes a second a block; its munmap is
 * what forgets. */
static char *pages(size_t bytes) {
  const long p =
      syscall(SYS_mmap, nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == -1) abort();
  return reinterpret_cast<char *>(p);
}

/* For TSan each block has fresh pages for its stacks, shared memory and barriers: what an earlier block did there
 * is no race with this one. */
static void run_block(size_t shared) {
#ifdef EMU_TSAN
  const size_t stack_bytes = (size_t)n_threads * STACK, shared_bytes = shared + 4096, sync_bytes = 4096;
  char *stacks = pages(stack_bytes), *room = pages(shared_bytes);
  sync_place = pages(sync_bytes);
  tsan_main = __tsan_get_current_fiber();
  /* TSan tells threads apart by 255 numbers in turn, and takes what a number did before as done before: some are
   * used up, so that a thread seldom has the number that it had in an earlier block. */
  for (unsigned skip = (unsigned)(next_random() % 15); skip-- > 0;) {
    void *f = __tsan_create_fiber(0);
    static char place;
    __tsan_switch_to_fiber(f, 1);
    __tsan_release(&place);
    __tsan_switch_to_fiber(tsan_main, 1);
    __tsan_destroy_fiber(f);
  }
  for (unsigned t = 0; t < n_threads; t++) fibers[t].stack = stacks + (size_t)t * STACK;
#else
  void *room;
  if (posix_memalign(&room, 1024, shared ? shared : 1)) abort();
#endif
  blk.shared = reinterpret_cast<unsigned char *>(room);
  memset(room, 0xff, shared);
#ifdef EMU_TSAN
  for (unsigned t = 0; t < n_threads; t++) fibers[t].tsan = __tsan_create_fiber(0); /* after what was done so far */
#endif
  memset(bars, 0, sizeof bars);
  for (unsigned w = 0; w < (n_threads + 31) / 32; w++) warps[w].here = warps[w].round = 0;
  for (unsigned t = 0; t < n_threads; t++) prepare(&fibers[t], t);
  alive = n_threads;
  switch_to(pick(order == REVERSE ? 0 : n_threads - 1));
#ifdef EMU_TSAN
  for (unsigned t = 0; t < n_threads; t++) __tsan_destroy_fiber(fibers[t].tsan);
  munmap(stacks, stack_bytes), munmap(room, shared_bytes), munmap(sync_place, sync_bytes);
#else
  free(room);
#endif
}

static void setup() {
  const char *o = getenv("EMU_ORDER");
  order = !o || !*o || strcmp(o, "forward") == 0 ? FORWARD : strcmp(o, "reverse") == 0 ? REVERSE : RANDOM;
  if (order == RANDOM) rng += strtoull(o, nullptr, 10) * 0x9e3779b97f4a7c15u;
  fibers = static_cast<fiber *>(calloc(MAX_THREADS, sizeof *fibers));
  warps = static_cast<warp *>(aligned_alloc(64, MAX_THREADS / 32 * sizeof *warps));
  if (!fibers || !warps) abort();
#ifndef EMU_TSAN
  char *stacks = pages((size_t)MAX_THREADS * STACK);
  for (unsigned i = 0; i < MAX_THREADS; i++) fibers[i].stack = stacks + (size_t)i * STACK;
#endif
}

void launch(dim3 grid, dim3 block, size_t shared, void (*fn)(void *), void *arg, const char *name) {
  if (!fibers) setup();
  kernel_name = name;
  entry = fn, entry_arg = arg;
  blk.bdim = block, blk.gdim = grid;
  n_threads = block.x * block.y * block.z;
  const size_t blocks = (size_t)grid.x * grid.y * grid.z;
  if (n_threads == 0 || n_threads > MAX_THREADS) fail("%u threads a block", n_threads);
  if (blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    fail("a grid of %u x %u x %u blocks", grid.x, grid.y, grid.z);
  if (shared > 227 << 10) fail("%zu bytes of shared memory a block: sm_90 has 227 KB", shared);
  const size_t first = order == RANDOM ? next_random() % blocks : 0;
  for (size_t n = 0; n < blocks; n++) {
    const size_t at = (first + n) % blocks, i = order == REVERSE || first % 2 ? blocks - 1 - at : at;
    blk.bid = dim3((unsigned)(i % grid.x), (unsigned)(i / grid.x % grid.y), (unsigned)(i / grid.x / grid.y));
    run_block(shared);
  }
#ifdef EMU_TSAN
  __tsan_acquire(&main_sp);
#endif
}

/* ---- barriers and warp operations ---- */

void barrier(int id, unsigned threads, int line) {
  fiber *f = self();
  meeting *b = &bars[id];
  if (id < 0 || id >= BARRIERS || threads % 32) fail("line %d: barrier %d of %u threads", line, id, threads);
  if (b->here && b->line != line)
    fail("at barrier %d in line %d while others are at it in line %d", id, line, b->line);
  b->line = f->line = line;
  f->st = AT_BARRIER, f->barrier = id;
  order_release((unsigned)id);
  if (++b->here == (threads ? threads : alive)) open_barrier(id);
  give_way();
  order_acquire((unsigned)id);
}

static void copy_words(void *dst, const void *src, size_t bytes) {
  for (size_t i = 0; i < bytes; i += 4) __builtin_memcpy((char *)dst + i, (const char *)src + i, 4);
}

/* Leaves the lane's bytes; true for the last lane to come, which lets all go on by open_warp. */
static bool arrive(unsigned mask, op kind, int line, const void *mine, size_t n) {
  fiber *f = self();
  warp *w = &warps[f->ctx.linear / 32];
  if (mask != ~0u) fail("line %d: a warp operation for a part of the warp", line);
  if (n_threads % 32) fail("line %d: a warp operation in a block of %u threads", line, n_threads);
  if (w->here && (w->kind != kind || w->line != line))
    fail("a warp operation in line %d while other lanes are at one in line %d", line, w->line);
  w->kind = kind, w->line = line;
  w->here |= 1u << f->ctx.lane;
  copy_words(w->slots[w->round & 1][f->ctx.lane], mine, n);
  f->st = AT_WARP, f->line = line;
  return w->here == ~0u;
}
static void open_warp(warp *w) {
  const unsigned first = (unsigned)(w - warps) * 32;
  w->here = 0;
  w->round++;
  for (unsigned l = 0; l < 32; l++) fibers[first + l].st = READY;
}

const slot *exchange(unsigned mask, op kind, int line, const void *mine, size_t n) {
  warp *w = &warps[cur->linear / 32];
  const slot *set = w->slots[w->round & 1];
  if (arrive(mask, kind, line, mine, n)) open_warp(w);
  give_way();
  return set;
}

void sync_warp(unsigned mask, int line) {
  const unsigned place = BARRIERS + cur->linear / 32;
  uint32_t none = 0;
  order_release(place); /* the other warp operations order no memory */
  exchange(mask, SYNC, line, &none, sizeof none);
  order_acquire(place);
}

struct fragments {
  uint32_t a[4], b[2];
  float d[4];
};
static float half_of(uint32_t pair, unsigned h) {
  const uint32_t u = h ? pair & 0xffff0000u : pair << 16;
  float f;
  __builtin_memcpy(&f, &u, 4);
  return f;
}

/* The last lane to come computes for all, and leaves each lane's part of d in its slot. */
static void warp_mma(warp *w) {
  float a[16][16], b[16][8], d[16][8];
  fragments *all[32];
  for (unsigned l = 0; l < 32; l++) {
    const unsigned g = l / 4, t = l % 4;
    const fragments *f = all[l] = reinterpret_cast<fragments *>(w->slots[w->round & 1][l]);
    for (unsigned k = 0; k < 4; k++)
      for (unsigned h = 0; h < 2; h++) a[g + 8 * (k & 1)][2 * t + h + 8 * (k >> 1)] = half_of(f->a[k], h);
    for (unsigned k = 0; k < 2; k++)
      for (unsigned h = 0; h < 2; h++) b[2 * t + h + 8 * k][g] = half_of(f->b[k], h);
    for (unsigned k = 0; k < 4; k++) d[g + 8 * (k >> 1)][2 * t + (k & 1)] = f->d[k];
  }
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < 16; k++)
      for (int j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
  for (unsigned l = 0; l < 32; l++)
    for (unsigned k = 0; k < 4; k++) all[l]->d[k] = d[l / 4 + 8 * (k >> 1)][2 * (l % 4) + (k & 1)];
}

void mma_m16n8k16(float d[4], const uint32_t a[4], const uint32_t b[2], int line) {
  warp *w = &warps[cur->linear / 32];
  fragments mine;
  for (int i = 0; i < 4; i++) mine.a[i] = a[i], mine.d[i] = d[i];
  for (int i = 0; i < 2; i++) mine.b[i] = b[i];
  const slot &own = w->slots[w->round & 1][cur->lane];
  if (arrive(~0u, MMA, line, &mine, sizeof mine)) warp_mma(w), open_warp(w);
  give_way();
  __builtin_memcpy(&mine, own, sizeof mine);
  for (int i = 0; i < 4; i++) d[i] = mine.d[i];
}

/* ---- asynchronous copies: done when waited for (forward), at once (reverse), one or the other (random) ---- */

static void do_copy(const copy *c) {
  uint64_t v[2] = {0, 0};
  if (c->valid) __builtin_memcpy(v, c->src, 16);
  __builtin_memcpy(c->dst, v, 16);
}
/* TSan sees a copy when it is issued and when it is waited for: it may be made at any time between. */
static void show_copy(const copy *c) {
#ifdef EMU_TSAN
  for (int k = 0; k < 2; k++) {
    if (c->valid) __tsan_read8((char *)const_cast<void *>(c->src) + 8 * k);
    __tsan_write8((char *)c->dst + 8 * k);
  }
#else
  (void)c;
#endif
}

void cp_async16(void *dst, const void *src, bool valid, int line) {
  fiber *f = self();
  if ((uintptr_t)dst % 16 || (valid && (uintptr_t)src % 16))
    fail("line %d: cp.async with an address that is no multiple of 16", line);
  if (f->n_copies == MAX_COPIES) fail("line %d: more than %d asynchronous copies under way", line, (int)MAX_COPIES);
#ifdef EMU_ASAN
  if (__asan_region_is_poisoned(dst, 16) || (valid && __asan_region_is_poisoned(const_cast<void *>(src), 16)))
    fail("line %d: cp.async beyond a buffer", line);
#endif
  copy *c = &f->copies[f->n_copies++];
  *c = {dst, src, valid, order == REVERSE || (order == RANDOM && next_random() % 2)};
  show_copy(c);
  if (c->early) do_copy(c);
}
void cp_commit() {
  fiber *f = self();
  if (f->n_groups == MAX_GROUPS) fail("more than %d groups of copies", (int)MAX_GROUPS);
  f->group_end[f->n_groups++] = f->n_copies;
}
void cp_wait(int left) {
  fiber *f = self();
  const int gone = f->n_groups - left;
  if (gone <= 0) return;
  const int done = f->group_end[gone - 1];
  for (int i = 0; i < done; i++) {
    show_copy(&f->copies[i]);
    if (!f->copies[i].early) do_copy(&f->copies[i]);
  }
  for (int i = done; i < f->n_copies; i++) f->copies[i - done] = f->copies[i];
  for (int g = 0; g < left; g++) f->group_end[g] = f->group_end[g + gone] - done;
  f->n_copies -= done;
  f->n_groups = left;
}

}  // namespace emu
