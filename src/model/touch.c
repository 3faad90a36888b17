/* touch.c - reads one byte of each piece of a model's weights that the system maps at once. The first pass would
 * wait for the page table otherwise, with all its threads and for a tenth of a second in a small model: as long as
 * its tokenizer takes to open. Of the embeddings few rows are ever read. */
#include "model/touch.h"

#include "model/model_impl.h"

enum { PIECE = 1 << 16 }; /* bytes that Linux maps around a page that is read, by default */

static void *touch(void *arg) {
  model_touch *t = arg;
  const weights *w = t->m->w;
  for (size_t i = 0; i < w->n_tensors; i++) {
    const tensor *of = &w->t[i];
    if ((int)i == w->embed || !of->file || of->data != of->file->data) continue; /* the last: in device memory */
    const volatile char *p = of->data;
    for (size_t at = 0; at < of->file->bytes; at += PIECE) {
      if (atomic_load_explicit(&t->stop, memory_order_relaxed)) return NULL;
      (void)p[at];
    }
  }
  return NULL;
}

void model_touch_begin(model_touch *t, const model *m) {
  *t = (model_touch){.m = m};
  t->runs = pool_threads(m->context->threads) > 1 && pthread_create(&t->thread, NULL, touch, t) == 0;
}

void model_touch_end(model_touch *t) {
  atomic_store_explicit(&t->stop, true, memory_order_relaxed);
  if (t->runs) pthread_join(t->thread, NULL);
}
