/* detect.h - what this processor has, and the system lets us use. */
#ifndef COMPUTE_CPU_DETECT_H
#define COMPUTE_CPU_DETECT_H

#include <stdbool.h>

bool detect_avx2(void);
bool detect_avx512(void);
/* AVX-512 too: */
bool detect_avx512bf16(void);
bool detect_fast_avx512bf16(void); /* twice as fast as f32's multiply-add, not half as fast */
bool detect_amx(void);

#endif
