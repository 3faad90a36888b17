/* queue.c - one thread a model: what waits becomes a forest, equal beginnings once, whichever requests they came
 * by.
 *
 * A round takes the oldest waiting items, at most ROUND_PASSES passes' tokens, cuts them into trees (forest_plan.h)
 * and runs the trees in passes of about batch_tokens computed tokens, those with the oldest item first. Items that
 * come meanwhile wait for the next round. An idle queue waits wait_ms for company after the first arrival, or until
 * a pass is full. The bits of a score do not depend on any of this.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "serve/forest_plan.h"
#include "serve/hosted.h"
#include "serve/serve.h"

enum { ROUND_PASSES = 4, ROUND_ITEMS = 4096 };

/* An item that was taken from the queue. */
typedef struct {
  ticket *t;
  serve_item *item;
} taken;

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
  taken *round;
  plan_row *rows;
  size_t *order, *end;  /* the plan: groups of rows */
  size_t *by_age, *age; /* groups, those with the oldest item first; a group's oldest item */
  size_t *first_branch; /* the first branch of each of a pass's groups */
  id_group *groups;
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

/* Takes the oldest items, under the lock. */
static size_t take_round(queue *u) {
  size_t n = 0;
  uint64_t tokens = 0, most = ROUND_PASSES * (uint64_t)scorer_batch_tokens(u->s);
  while (u->first && n < ROUND_ITEMS) {
    ticket *t = u->first;
    request *q = t->q;
    for (; t->next_item < q->n && n < ROUND_ITEMS; t->next_item++) {
      serve_item *it = &q->items[t->next_item];
      if (it->error) continue;
      if (n > 0 && tokens + it->ids.len > most) goto full;
      u->round[n++] = (taken){t, it};
      tokens += it->ids.len;
      t->tokens -= it->ids.len;
    }
    if (t->next_item < q->n) break;
    u->first = t->next;
    if (!u->first) u->last = &u->first;
  }
full:
  u->figures.waiting_tokens -= tokens;
  u->figures.waiting_items -= n;
  return n;
}

static void fail_item(const taken *k, int status, const char *why) {
  k->item->status = status;
  k->item->error = arena_strndup(k->t->q->mem, why, strlen(why));
  if (!k->item->error) k->item->error = (char *)"memory ran out";
  k->item->score = NAN;
}

/* A request is answered with its last item. Of a taken ticket only this thread looks at `left`. */
static void end_item(const taken *k) {
  if (--k->t->left == 0) k->t->done(k->t->ctx);
}

/* Refuses the items of a round that have waited too long; returns how many are left. */
static size_t refuse_late(queue *u, size_t n) {
  size_t kept = 0;
  double now = clock_seconds();
  for (size_t i = 0; i < n; i++) {
    taken k = u->round[i];
    if (u->o->deadline <= 0 || now - k.t->since <= u->o->deadline) {
      u->round[kept++] = k;
      continue;
    }
    fail_item(&k, 503, "the request waited longer than the server's deadline");
    end_item(&k);
  }
  return kept;
}

/* Scores trees [from, to) of the plan in one pass. Where it fails with several trees, each is tried by itself, so
 * that a fault of one conversation stays its own. */
static void run_pass(queue *u, size_t from, size_t to) {
  size_t n = 0, branches = 0;
  uint64_t tokens = 0, computed = 0;
  for (size_t g = from; g < to; g++) {
    size_t at = u->by_age[g], begin = at ? u->end[at - 1] : 0;
    u->first_branch[n] = branches;
    for (size_t i = begin; i < u->end[at]; i++, branches++) {
      u->ids[branches] = u->rows[u->order[i]].ids;
      u->lens[branches] = u->rows[u->order[i]].len;
      tokens += u->lens[branches];
    }
    u->groups[n] =
        (id_group){u->ids + u->first_branch[n], u->lens + u->first_branch[n], branches - u->first_branch[n]};
    computed += model_group_tokens(&u->groups[n++], true);
  }
  rw_error err;
  double began = clock_seconds();
  pthread_mutex_lock(u->turn);
  const float *attributes = NULL;
  rw_status s = scorer_score_ids(u->s, u->groups, n, u->rewards, &attributes, &err);
  prefix_figures prefixes = scorer_prefix_figures(u->s);
  pthread_mutex_unlock(u->turn);
  if (s && to - from > 1) {
    for (size_t g = from; g < to; g++) run_pass(u, g, g + 1);
    return;
  }
  size_t b = 0;
  for (size_t g = from; g < to; g++) {
    size_t at = u->by_age[g], begin = at ? u->end[at - 1] : 0;
    for (size_t i = begin; i < u->end[at]; i++, b++) {
      const taken *k = &u->round[u->order[i]];
      k->item->score = s ? NAN : u->rewards[b];
      if (s)
        fail_item(k, s == RW_DATA ? 400 : 500, err.text);
      else if (!isfinite(k->item->score))
        fail_item(k, 500, "the score is not finite");
      else if (u->n_attributes)
        memcpy(k->item->attributes, attributes + b * u->n_attributes, u->n_attributes * sizeof(float));
    }
  }
  pthread_mutex_lock(&u->lock);
  u->figures.busy += clock_seconds() - began;
  u->figures.tokens += tokens;
  u->figures.computed_tokens += computed;
  u->figures.items += branches;
  u->figures.passes++;
  u->figures.prefixes = prefixes;
  pthread_mutex_unlock(&u->lock);
  for (size_t g = from; g < to; g++) {
    size_t at = u->by_age[g], begin = at ? u->end[at - 1] : 0;
    for (size_t i = begin; i < u->end[at]; i++) end_item(&u->round[u->order[i]]);
  }
}

/* The oldest item of a tree, by its place in the round. */
static size_t oldest(const queue *u, size_t g) {
  size_t first = SIZE_MAX;
  for (size_t i = g ? u->end[g - 1] : 0; i < u->end[g]; i++)
    if (u->order[i] < first) first = u->order[i];
  return first;
}

static uint64_t tree_tokens(const queue *u, size_t g) {
  uint64_t n = 0;
  size_t begin = g ? u->end[g - 1] : 0, shared = SIZE_MAX;
  for (size_t i = begin; i < u->end[g]; i++) n += u->rows[u->order[i]].len;
  if (u->end[g] - begin < 2) return n;
  const plan_row *a = &u->rows[u->order[begin]],
                 *b = &u->rows[u->order[u->end[g] - 1]]; /* sorted: the ends differ first */
  for (shared = 0; shared + 1 < a->len && shared + 1 < b->len && a->ids[shared] == b->ids[shared];) shared++;
  return n - (u->end[g] - begin - 1) * shared;
}

static int older(const void *a, const void *b, void *ctx) {
  const size_t *age = ctx, x = age[*(const size_t *)a], y = age[*(const size_t *)b];
  return x < y ? -1 : x > y;
}

static void run_round(queue *u, size_t taken_items) {
  size_t groups = 0, n = refuse_late(u, taken_items);
  rw_error err;
  for (size_t i = 0; i < n; i++) u->rows[i] = (plan_row){u->round[i].item->ids.p, u->round[i].item->ids.len};
  if (forest_plan(u->rows, n, u->order, u->end, &groups, &err)) { /* no memory: each by itself */
    for (size_t i = 0; i < n; i++) u->order[i] = i, u->end[i] = i + 1;
    groups = n;
  }
  for (size_t g = 0; g < groups; g++) {
    u->by_age[g] = g;
    u->age[g] = oldest(u, g);
  }
  qsort_r(u->by_age, groups, sizeof *u->by_age, older, u->age);
  uint64_t tokens = 0, budget = (uint64_t)scorer_batch_tokens(u->s);
  size_t from = 0;
  for (size_t g = 0; g < groups; g++) {
    uint64_t cost = tree_tokens(u, u->by_age[g]);
    if (g > from && tokens + cost > budget) {
      run_pass(u, from, g);
      from = g;
      tokens = 0;
    }
    tokens += cost;
  }
  if (groups > from) run_pass(u, from, groups);
}

static void *queue_thread(void *ctx) {
  queue *u = ctx;
  pthread_mutex_lock(&u->lock);
  while (await_work(u)) {
    size_t n = take_round(u);
    pthread_mutex_unlock(&u->lock);
    run_round(u, n);
    pthread_mutex_lock(&u->lock);
  }
  pthread_mutex_unlock(&u->lock);
  return NULL;
}

static void queue_free(queue *u) {
  void *p[] = {u->round,        u->rows,   u->order, u->end,  u->by_age, u->age,
               u->first_branch, u->groups, u->ids,   u->lens, u->rewards};
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
  u->round = mem_alloc(ROUND_ITEMS, sizeof *u->round);
  u->rows = mem_alloc(ROUND_ITEMS, sizeof *u->rows);
  u->order = mem_alloc(ROUND_ITEMS, sizeof *u->order);
  u->end = mem_alloc(ROUND_ITEMS, sizeof *u->end);
  u->age = mem_alloc(ROUND_ITEMS, sizeof *u->age);
  u->first_branch = mem_alloc(ROUND_ITEMS, sizeof *u->first_branch);
  u->by_age = mem_alloc(ROUND_ITEMS, sizeof *u->by_age);
  u->groups = mem_alloc(ROUND_ITEMS, sizeof *u->groups);
  u->ids = mem_alloc(ROUND_ITEMS, sizeof *u->ids);
  u->lens = mem_alloc(ROUND_ITEMS, sizeof *u->lens);
  u->rewards = mem_alloc(ROUND_ITEMS, sizeof *u->rewards);
  bool ok = u->round && u->rows && u->order && u->end && u->age && u->first_branch && u->by_age && u->groups &&
            u->ids && u->lens && u->rewards;
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
