/* kernels_avx512.c - the kernels (kernels_impl.h) as the compiler makes them for AVX-512. */
#define LEVEL avx512
#include "compute/cpu/kernels_impl.h"
