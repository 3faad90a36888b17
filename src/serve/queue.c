/* queue.c - one thread a model: what waits becomes a forest, equal beginnings once, whichever requests they came
 * by.
 *
 * All that waits, up to MOST_ITEMS, is planned as trees (forest_plan.h), and one pass of about batch_tokens
 * computed tokens runs those with the oldest items. Items that came meanwhile join the trees that are left: a new
 * plan. So an item waits for nothing but older ones and for what is computed together with them. An idle queue
 * waits wait_ms for company after the first arrival, or until a pass is full. The bits of a score do not depend on
 * any of this.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/forest_plan.h"
#include "serve/hosted.h"
#include "serve/serve.h"

enum { MOST_ITEMS = 4096, TREE_PASSES = 4 /* a tree beyond this many passes' tokens is cut */ };

/* An item that the queue's thread has seen; item is NULL once it is done with. */
typedef struct {
  ticket *t;
  serve_item *item;
} taken;

/* Conversations that are computed together: rows order[begin .. end), sorted by ids. */
typedef struct {
  size_t begin, end;
  uint64_t tokens; /* computed: the shared beginning once */
  size_t oldest;   /* among the seen */
} tree;

struct queue {
  rw_context *context;
  pthread_mutex_t *turn;
  scorer *s;
  const serve_options *o;
  size_t n_attributes;
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t more;
  ticket *first, **last;
  bool closing;
  queue_figures figures;

  /* what only the queue's thread touches */
  taken *seen; /* the oldest first */
  size_t n_seen;
  plan_row *rows;
  size_t *order, *ends; /* as forest_plan gives them */
  tree *trees;          /* by age; those before next_tree are done with */
  size_t n_trees, next_tree;
  id_group *inputs; /* a pass's groups */
  const int32_t **ids;
  size_t *lens;
  float *rewards;
};

void queue_look(queue *u, queue_figures *f) {
  pthread_mutex_lock(&u->lock);
  *f = u->figures;
  pthread_mutex_unlock(&u->lock);
}

bool queue_add(queue *u, ticket *t, double *retry) {
  request *q = t->q;
  t->left = 0;
  t->tokens = 0;
  t->next_item = 0;
  t->next = NULL;
  for (size_t i = 0; i < q->n; i++) {
    if (q->items[i].error) continue;
    t->left++;
    t->tokens += q->items[i].ids.len;
  }
  if (t->left == 0) {
    t->done(t->ctx);
    return true;
  }
  pthread_mutex_lock(&u->lock);
  queue_figures *f = &u->figures;
  /* an idle server takes a request of any length */
  bool room = f->waiting_tokens == 0 || f->waiting_tokens + t->tokens <= (uint64_t)u->o->max_queue;
  double rate = f->busy > 0 ? (double)f->computed_tokens / f->busy : 1000;
  *retry = ceil((double)f->waiting_tokens / rate / 2) + 1;
  if (room) {
    t->since = clock_seconds();
    f->waiting_tokens += t->tokens;
    f->waiting_items += t->left;
    *u->last = t;
    u->last = &t->next;
    pthread_cond_signal(&u->more);
  }
  pthread_mutex_unlock(&u->lock);
  return room;
}

/* Waits under the lock until there is something to do; false: there will be nothing more. */
static bool await_work(queue *u) {
  if (u->n_seen) return true;
  while (!u->first && !u->closing) pthread_cond_wait(&u->more, &u->lock);
  if (!u->first) return false;
  double until = u->first->since + u->o->wait_ms / 1000;
  while (!u->closing && u->figures.waiting_tokens < (uint64_t)scorer_batch_tokens(u->s)) {
    double left = until - clock_seconds();
    if (left <= 0) break;
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_nsec += (long)(left * 1e9);
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&u->more, &u->lock, &at);
  }
  return true;
}

static void drop_done(queue *u) {
  size_t n = 0;
  for (size_t i = 0; i < u->n_seen; i++)
    if (u->seen[i].item) u->seen[n++] = u->seen[i];
  u->n_seen = n;
}

/* Sees what came, under the lock. */
static void see_new(queue *u) {
  while (u->first && u->n_seen < MOST_ITEMS) {
    ticket *t = u->first;
    request *q = t->q;
    for (; t->next_item < q->n && u->n_seen < MOST_ITEMS; t->next_item++)
      if (!q->items[t->next_item].error) u->seen[u->n_seen++] = (taken){t, &q->items[t->next_item]};
    if (t->next_item < q->n) break;
    u->first = t->next;
    if (!u->first) u->last = &u->first;
  }
}

static void fail_item(const taken *k, int status, const char *why) {
  k->item->status = status;
  k->item->error = arena_strndup(k->t->q->mem, why, strlen(why));
  if (!k->item->error) k->item->error = (char *)"memory ran out";
  k->item->score = NAN;
}

/* A request is answered with its last item. Of a seen ticket only this thread looks at `left`. */
static void end_item(taken *k) {
  ticket *t = k->t;
  k->item = NULL;
  if (--t->left == 0) t->done(t->ctx);
}

/* n items of these tokens no longer wait. */
static void count_begun(queue *u, size_t n, uint64_t tokens) {
  pthread_mutex_lock(&u->lock);
  u->figures.waiting_tokens -= tokens;
  u->figures.waiting_items -= n;
  pthread_mutex_unlock(&u->lock);
}

/* Refuses what has waited too long; returns whether there was any. */
static bool refuse_late(queue *u) {
  bool any = false;
  double now = clock_seconds();
  for (size_t i = 0; i < u->n_seen && u->o->deadline > 0; i++) {
    taken *k = &u->seen[i];
    if (!k->item || now - k->t->since <= u->o->deadline) continue;
    any = true;
    count_begun(u, 1, k->item->ids.len);
    fail_item(k, 503, "the request waited longer than the server's deadline");
    end_item(k);
  }
  return any;
}

/* Scores n trees in one pass. Where it fails, each tree is tried by itself, and then each row, so that a fault of
 * one conversation stays its own. */
static void run_pass(queue *u, const tree *trees, size_t n) {
  size_t branches = 0;
  uint64_t tokens = 0, computed = 0;
  for (size_t g = 0; g < n; g++) {
    size_t first = branches;
    for (size_t i = trees[g].begin; i < trees[g].end; i++, branches++) {
      u->ids[branches] = u->rows[u->order[i]].ids;
      u->lens[branches] = u->rows[u->order[i]].len;
      tokens += u->lens[branches];
    }
    u->inputs[g] = (id_group){u->ids + first, u->lens + first, branches - first};
    computed += model_group_tokens(&u->inputs[g], true);
  }
  rw_error err;
  double began = clock_seconds();
  pthread_mutex_lock(u->turn);
  const float *attributes = NULL;
  rw_status s = scorer_score_ids(u->s, u->inputs, n, u->rewards, &attributes, &err);
  prefix_figures prefixes = scorer_prefix_figures(u->s);
  pthread_mutex_unlock(u->turn);
  if (s && branches > 1) {
    for (size_t g = 0; n > 1 && g < n; g++) run_pass(u, &trees[g], 1);
    for (size_t i = trees[0].begin; n == 1 && i < trees[0].end; i++)
      run_pass(u, &(tree){.begin = i, .end = i + 1}, 1);
    return;
  }
  for (size_t g = 0, b = 0; g < n; g++)
    for (size_t i = trees[g].begin; i < trees[g].end; i++, b++) {
      const taken *k = &u->seen[u->order[i]];
      k->item->score = s ? NAN : u->rewards[b];
      if (s)
        fail_item(k, s == RW_DATA ? 400 : 500, err.text);
      else if (!isfinite(k->item->score))
        fail_item(k, 500, "the score is not finite");
      else if (u->n_attributes)
        memcpy(k->item->attributes, attributes + b * u->n_attributes, u->n_attributes * sizeof(float));
    }
  pthread_mutex_lock(&u->lock);
  u->figures.busy += clock_seconds() - began;
  u->figures.tokens += tokens;
  u->figures.computed_tokens += computed;
  u->figures.items += branches;
  u->figures.passes++;
  u->figures.prefixes = prefixes;
  pthread_mutex_unlock(&u->lock);
  for (size_t g = 0; g < n; g++)
    for (size_t i = trees[g].begin; i < trees[g].end; i++) end_item(&u->seen[u->order[i]]);
}

/* Ids that a tree's rows begin with alike: they are sorted, so the first and the last differ first. */
static size_t shared_ids(const queue *u, tree t) {
  const plan_row *a = &u->rows[u->order[t.begin]], *b = &u->rows[u->order[t.end - 1]];
  size_t n = 0;
  while (t.end - t.begin > 1 && n + 1 < a->len && n + 1 < b->len && a->ids[n] == b->ids[n]) n++;
  return n;
}

/* Adds the tree, cut where it has too many tokens for one pass: each piece has the shared beginning anew. */
static void add_tree(queue *u, tree t) {
  uint64_t most = TREE_PASSES * (uint64_t)scorer_batch_tokens(u->s);
  size_t shared = shared_ids(u, t);
  tree piece = {.begin = t.begin, .end = t.begin, .tokens = shared, .oldest = SIZE_MAX};
  for (; piece.end < t.end; piece.end++) {
    size_t i = u->order[piece.end];
    uint64_t own = u->rows[i].len - shared;
    if (piece.end > piece.begin && piece.tokens + own > most) {
      u->trees[u->n_trees++] = piece;
      piece = (tree){.begin = piece.end, .end = piece.end, .tokens = shared, .oldest = SIZE_MAX};
    }
    piece.tokens += own;
    if (i < piece.oldest) piece.oldest = i;
  }
  u->trees[u->n_trees++] = piece;
}

static int older(const void *a, const void *b) {
  const tree *x = a, *y = b;
  return x->oldest < y->oldest ? -1 : x->oldest > y->oldest;
}

/* All that is seen, as trees by age. */
static void plan_trees(queue *u) {
  size_t groups = 0, n = u->n_seen;
  rw_error err;
  u->n_trees = u->next_tree = 0;
  for (size_t i = 0; i < n; i++) u->rows[i] = (plan_row){u->seen[i].item->ids.p, u->seen[i].item->ids.len};
  if (n && forest_plan(u->rows, n, u->order, u->ends, &groups, &err)) { /* no memory: each by itself */
    for (size_t i = 0; i < n; i++) u->order[i] = i, u->ends[i] = i + 1;
    groups = n;
  }
  for (size_t g = 0; g < groups; g++) add_tree(u, (tree){.begin = g ? u->ends[g - 1] : 0, .end = u->ends[g]});
  qsort(u->trees, u->n_trees, sizeof *u->trees, older);
}

/* Runs the oldest trees that fill a pass. */
static void run_next(queue *u) {
  uint64_t computed = 0, waited = 0;
  size_t from = u->next_tree, items = 0;
  for (; u->next_tree < u->n_trees; u->next_tree++) {
    const tree *t = &u->trees[u->next_tree];
    if (u->next_tree > from && computed + t->tokens > (uint64_t)scorer_batch_tokens(u->s)) break;
    computed += t->tokens;
    items += t->end - t->begin;
    for (size_t i = t->begin; i < t->end; i++) waited += u->rows[u->order[i]].len;
  }
  count_begun(u, items, waited);
  run_pass(u, u->trees + from, u->next_tree - from);
}

static void *queue_thread(void *ctx) {
  queue *u = ctx;
  pthread_mutex_lock(&u->lock);
  while (await_work(u)) {
    bool new_plan = u->first != NULL;
    if (new_plan) {
      drop_done(u); /* the plan's numbers end here */
      see_new(u);
    }
    pthread_mutex_unlock(&u->lock);
    if (refuse_late(u)) {
      drop_done(u);
      new_plan = true;
    }
    if (new_plan) plan_trees(u);
    if (u->next_tree < u->n_trees) run_next(u);
    if (u->next_tree == u->n_trees) u->n_seen = 0;
    pthread_mutex_lock(&u->lock);
  }
  pthread_mutex_unlock(&u->lock);
  return NULL;
}

static void queue_free(queue *u) {
  void *p[] = {u->seen, u->rows, u->order, u->ends, u->trees, u->inputs, u->ids, u->lens, u->rewards};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  pthread_mutex_destroy(&u->lock);
  pthread_cond_destroy(&u->more);
  mem_free(u);
}

rw_status queue_open(queue **out, rw_context *context, pthread_mutex_t *turn, scorer *s, const serve_options *o,
                     rw_error *err) {
  queue *u = mem_zalloc(1, sizeof *u);
  if (!u) return rw_nomem(err, "a model's queue");
  const char *const *names;
  *u = (queue){.context = context, .turn = turn, .s = s, .o = o, .n_attributes = scorer_attributes(s, &names)};
  u->last = &u->first;
  pthread_mutex_init(&u->lock, NULL);
  pthread_cond_init(&u->more, NULL);
  u->seen = mem_alloc(MOST_ITEMS, sizeof *u->seen);
  u->rows = mem_alloc(MOST_ITEMS, sizeof *u->rows);
  u->order = mem_alloc(MOST_ITEMS, sizeof *u->order);
  u->ends = mem_alloc(MOST_ITEMS, sizeof *u->ends);
  u->trees = mem_alloc(MOST_ITEMS, sizeof *u->trees);
  u->inputs = mem_alloc(MOST_ITEMS, sizeof *u->inputs);
  u->ids = mem_alloc(MOST_ITEMS, sizeof *u->ids);
  u->lens = mem_alloc(MOST_ITEMS, sizeof *u->lens);
  u->rewards = mem_alloc(MOST_ITEMS, sizeof *u->rewards);
  bool ok = u->seen && u->rows && u->order && u->ends && u->trees && u->inputs && u->ids && u->lens && u->rewards;
  if (!ok || pthread_create(&u->thread, NULL, queue_thread, u)) {
    queue_free(u);
    return rw_nomem(err, "a model's queue");
  }
  *out = u;
  return RW_OK;
}

void queue_close(queue *u) {
  if (!u) return;
  pthread_mutex_lock(&u->lock);
  u->closing = true;
  pthread_cond_signal(&u->more);
  pthread_mutex_unlock(&u->lock);
  pthread_join(u->thread, NULL);
  queue_free(u);
}
