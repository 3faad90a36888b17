/* prefix_figures.h - what a prefix cache (prefix_cache.h) did so far. */
#ifndef MODEL_PREFIX_FIGURES_H
#define MODEL_PREFIX_FIGURES_H

#include <stdint.h>

typedef struct {
  uint64_t bytes, blocks;              /* now */
  uint64_t asked_tokens, found_tokens; /* sums over all passes */
  uint64_t evicted_blocks;
} prefix_figures;

#endif
