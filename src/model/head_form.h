/* head_form.h - what stands on the decoder in checkpoints of reward models: a row of one table each, which
 * config.c, load_head.c and save.c read. A head is linear layers with ReLU between, read at a conversation's last
 * token.
 */
#ifndef MODEL_HEAD_FORM_H
#define MODEL_HEAD_FORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

/* Hidden layers: NONE; ONE, as wide as the decoder; VHEAD: by vhead_layer_type, vhead_num_layers and
 * vhead_num_neurons of config.json. */
typedef enum { HIDDEN_NONE, HIDDEN_ONE, HIDDEN_VHEAD } head_hidden;

typedef struct {
  const char *class; /* as config.json's architectures name it */
  const char *stem;  /* STEM.weight, or with hidden layers STEM.0.weight, STEM.2.weight, … */
  head_hidden hidden;
  bool bias;     /* each layer has one */
  int32_t token; /* appended to every templated conversation, and read there; 0: none */
} head_form;

const head_form *head_form_of(slice class); /* NULL: the family's own head, or one that its tensor tells */
/* The i-th form that a single tensor tells, STEM.weight, whatever the class; NULL: no more. */
const head_form *head_form_plain(size_t i);

#endif
