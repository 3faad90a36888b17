/* trained.h - what a trained tensor consists of in a backend's memory: its value, and the optimizer's moments. */
#ifndef COMPUTE_TRAINED_H
#define COMPUTE_TRAINED_H

#include <stdint.h>

typedef enum { T_F32, T_F16, T_BF16 } tensor_type;

/* The value that the optimizer updates. As bf16 it is the nearest one to an f32 value, which products read in
 * place; low then holds what that f32 value has beyond it: its bits are (value << 16) + low. Without low there is
 * nothing beyond it, and updates are rounded up or down at random, by a hash of the update's number and the index.
 */
typedef struct {
  void *value; /* NULL: not trained */
  int16_t *low;
  tensor_type type; /* T_F32 or T_BF16 */
} master;

/* A moment in 8 bits a value (after Dettmers et al. 2022: blocks with a scale each). */
enum { ADAMW8_BLOCK = 256 };
typedef struct {
  uint8_t *code; /* [count] */
  float *scale;  /* [ceil(count / ADAMW8_BLOCK)]: the block's largest magnitude */
} adamw8_state;

#endif
