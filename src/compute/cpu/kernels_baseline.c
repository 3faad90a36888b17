/* kernels_baseline.c - the kernels (kernels_impl.h) for any processor of the target; its bits are every level's. */
#define LEVEL baseline
#include "compute/cpu/kernels_impl.h"
