/* hosted.h - a model under a name: opened once, with the queue of what waits for it. Counted: requests on their way
 * hold it, so that another can take its name while they end. */
#ifndef SERVE_HOSTED_H
#define SERVE_HOSTED_H

#include "serve/request.h"
#include "serve/serve.h"

/* A request's conversations, waiting or being scored. */
typedef struct ticket ticket;
struct ticket {
  request *q;
  size_t left;             /* items that have no result yet */
  uint64_t tokens;         /* tokens of items that wait */
  double since;            /* when it began to wait (clock_seconds) */
  size_t next_item;        /* the first that was not taken yet */
  ticket *next;            /* in the queue */
  void (*done)(void *ctx); /* from the queue's thread, once `left` is 0 */
  void *ctx;
};

typedef struct queue queue;

/* turn: held by whoever uses the context's threads. */
rw_status hosted_open(hosted **out, rw_context *context, pthread_mutex_t *turn, const serve_model *m,
                      const serve_options *o, rw_error *err);
hosted *hosted_hold(hosted *m);
void hosted_release(hosted *m); /* the last one closes it, after its queue has ended; NULL is fine */
const char *hosted_name(const hosted *m);
scorer *hosted_scorer(const hosted *m);
queue *hosted_queue(const hosted *m);

/* Renders the request's items to ids, each by itself: one that cannot be has its status and error set. Any thread.
 */
rw_status hosted_render(hosted *m, request *q, const serve_options *o, rw_error *err);

/* queue.c: what waits for a model, and the thread that scores it. */
rw_status queue_open(queue **out, rw_context *context, pthread_mutex_t *turn, scorer *s, const serve_options *o,
                     rw_error *err);
void queue_close(queue *u); /* after what waits was scored */
/* Takes the request's items that have no error. false: more than max_queue tokens wait; *retry: seconds after which
 * there may be room. With no item to score, done is called at once. */
bool queue_add(queue *u, ticket *t, double *retry);
typedef struct {
  uint64_t waiting_tokens, waiting_items, tokens, computed_tokens, items, passes;
  double busy;             /* seconds of passes */
  prefix_figures prefixes; /* as of the last pass */
} queue_figures;
void queue_look(queue *u, queue_figures *f);

#endif
