/* kernels_avx2.c - the kernels (kernels_impl.h) as the compiler makes them for AVX2. */
#define LEVEL avx2
#include "compute/cpu/kernels_impl.h"
