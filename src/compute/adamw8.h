/* adamw8.h - the optimizer's moments in 8 bits a value (after Dettmers et al. 2022: blocks with a scale each). */
#ifndef COMPUTE_ADAMW8_H
#define COMPUTE_ADAMW8_H

#include <stdint.h>

enum { ADAMW8_BLOCK = 256 };
typedef struct {
  uint8_t *code; /* [count] */
  float *scale;  /* [ceil(count / ADAMW8_BLOCK)]: the block's largest magnitude */
} adamw8_state;

#endif
