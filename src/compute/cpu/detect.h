/* detect.h - what this processor has, and the system lets us use. */
#ifndef COMPUTE_CPU_DETECT_H
#define COMPUTE_CPU_DETECT_H

#include <stdbool.h>

bool detect_avx2(void);
bool detect_avx512(void);
bool detect_amx(void); /* AVX-512 too */

#endif
