/* detect.c - see detect.h. In a file of its own because the tests put another in its place (tests/emu/cpu). */
#include "compute/cpu/detect.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

bool detect_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

bool detect_avx512(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

bool detect_avx512bf16(void) {
  enum { AVX512_BF16 = 1 << 5 };
  unsigned a, b, c, d;
  return detect_avx512() && __get_cpuid_count(7, 1, &a, &b, &c, &d) && a & AVX512_BF16;
}

/* By who made it, so that the same processor always takes the same level, whose bits a run depends on: all of AMD's
 * that have it, and none of Intel's that was measured (bench/NOTES.md). */
bool detect_fast_avx512bf16(void) {
  unsigned a, b, c, d;
  return detect_avx512bf16() && __get_cpuid(0, &a, &b, &c, &d) && b == signature_AMD_ebx &&
         c == signature_AMD_ecx && d == signature_AMD_edx;
}

bool detect_amx(void) {
  enum { BF16 = 1 << 22, TILE = 1 << 24, REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
  unsigned a, b, c, d, low, high;
  if (!detect_avx512bf16()) return false;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (BF16 | TILE)) != (BF16 | TILE)) return false;
  if (!__get_cpuid_count(1, 0, &a, &b, &c, &d) || !(c & bit_OSXSAVE)) return false;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low >> 17 & 3) != 3) return false; /* the kernel saves the tiles */
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#else
bool detect_avx2(void) { return false; }
bool detect_avx512(void) { return false; }
bool detect_avx512bf16(void) { return false; }
bool detect_fast_avx512bf16(void) { return false; }
bool detect_amx(void) { return false; }
#endif
