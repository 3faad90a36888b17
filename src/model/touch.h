/* touch.h - a model's weights brought into the page table while something else is opened. */
#ifndef MODEL_TOUCH_H
#define MODEL_TOUCH_H

#include <pthread.h>
#include <stdatomic.h>

#include "model/model.h"

typedef struct {
  const model *m;
  pthread_t thread;
  bool runs;
  atomic_bool stop;
} model_touch;

/* Begins to read the weights that lie in the checkpoint's mapping, on a thread of its own; without one, or where
 * the model computes on one thread, nothing happens. m must outlive model_touch_end. */
void model_touch_begin(model_touch *t, const model *m);
/* Ends it, however far it has come. */
void model_touch_end(model_touch *t);

#endif
