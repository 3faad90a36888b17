/* detect.c - in place of src/compute/cpu/detect.c: a processor that has everything, where AVX2 can emulate it. */
#include "compute/cpu/detect.h"

bool detect_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
bool detect_avx512(void) { return detect_avx2() && __builtin_cpu_supports("f16c"); }
bool detect_avx512bf16(void) { return detect_avx512(); }
bool detect_fast_avx512bf16(void) { return detect_avx512(); }
bool detect_amx(void) { return detect_avx512(); }
