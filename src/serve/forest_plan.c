/* forest_plan.c - the groups with the fewest tokens, by dynamic programming over the rows' common beginnings.
 *
 * Rows sorted by their ids are the leaves of a tree whose inner nodes are common beginnings: node u stands for the
 * first depth(u) ids of all leaves below it. A group is a node with some of its leaves, and saves depth(u) tokens
 * for each of them but the first. So a leaf saves the depth of the group that it is in, and a group costs its depth
 * once: best(u, a) = max(sum of best(child, a), sum of best(child, depth(u)) - depth(u)),   best(leaf, a) = a,
 * where a is the depth of the deepest group that was begun above, 0 without one. Of each node best is kept for
 * every node above it. MOST_LEVELS bounds that: beyond, nodes count as the one above them, which gives up some
 * tokens.
 */
#include "serve/forest_plan.h"

#include <stdbool.h>
#include <stdlib.h>

#include "base/mem.h"

enum { MOST_LEVELS = 64 };

typedef struct {
  const plan_row *row;
  size_t index;
} place;

/* An inner node. Its members are its rows' places [first, end), and the nodes and leaves among them. */
typedef struct {
  size_t depth, first, end, level; /* level: nodes above it; the root's is 0 */
  size_t values;                   /* where best(u, ·) begins: one for each node above, and for none */
} node;

typedef struct {
  place *p;
  size_t *next; /* ids that place i has in common with place i + 1, less than either has */
  size_t n;
  node *nodes; /* a node before the nodes below it */
  size_t n_nodes, cap_nodes;
  int64_t *best;
  bool *begins; /* beside best: is a group begun there? */
  size_t n_best, cap_best, cap_begins;
  size_t *order, *end, *group_of, groups;
} plan;

static int by_ids(const void *a, const void *b) {
  const place *p = a, *q = b;
  size_t n = p->row->len < q->row->len ? p->row->len : q->row->len;
  for (size_t i = 0; i < n; i++)
    if (p->row->ids[i] != q->row->ids[i]) return p->row->ids[i] < q->row->ids[i] ? -1 : 1;
  if (p->row->len != q->row->len) return p->row->len < q->row->len ? -1 : 1;
  return p->index < q->index ? -1 : 1; /* equal rows keep their order */
}

static size_t common(const plan_row *a, const plan_row *b) {
  size_t n = (a->len < b->len ? a->len : b->len) - 1, i = 0; /* a branch has a row of its own */
  while (i < n && a->ids[i] == b->ids[i]) i++;
  return i;
}

static size_t least_common(const plan *t, size_t first, size_t end) {
  size_t least = SIZE_MAX;
  for (size_t i = first; i + 1 < end; i++)
    if (t->next[i] < least) least = t->next[i];
  return least;
}

/* Where the member that begins at place i of u ends. */
static size_t member_end(const plan *t, const node *u, size_t i) {
  while (i + 1 < u->end && t->next[i] > u->depth) i++;
  return i + 1;
}

/* Adds the node of places [first, end), two or more, and those below it; returns false when memory ran out. */
static bool add_nodes(plan *t, size_t first, size_t end, size_t level) {
  size_t at = t->n_nodes;
  node u = {least_common(t, first, end), first, end, level, t->n_best};
  size_t most = t->n_best + level + 1;
  if (!mem_grow((void **)&t->best, &t->cap_best, most, sizeof *t->best) ||
      !mem_grow((void **)&t->begins, &t->cap_begins, most, sizeof *t->begins) ||
      !vec_push(t->nodes, t->n_nodes, t->cap_nodes, u))
    return false;
  t->n_best = most;
  if (level + 1 == MOST_LEVELS) return true;
  for (size_t i = first; i < end;) {
    size_t to = member_end(t, &t->nodes[at], i);
    if (to - i > 1 && !add_nodes(t, i, to, level + 1)) return false;
    i = to;
  }
  return true;
}

/* The node that begins at place i within u, if there is one: nodes follow one another as they were added. */
static const node *member_node(const plan *t, const node *u, const node *after, size_t i, size_t to) {
  const node *v = after + 1;
  return to - i > 1 && u->level + 1 < MOST_LEVELS && v < t->nodes + t->n_nodes ? v : NULL;
}

/* Fills best(u, ·) of u and all below; returns the last node below u. above[k]: depth of the group for k. */
static const node *fill(plan *t, const node *u, size_t *above) {
  int64_t begun = -(int64_t)u->depth; /* with a group that begins here */
  int64_t *best = t->best + u->values;
  const node *last = u;
  for (size_t k = 0; k <= u->level; k++) best[k] = 0;
  above[u->level + 1] = u->depth;
  for (size_t i = u->first; i < u->end;) {
    size_t to = member_end(t, u, i);
    const node *v = member_node(t, u, last, i, to);
    if (v) last = fill(t, v, above);
    size_t leaves = v ? 0 : to - i;
    for (size_t k = 0; k <= u->level; k++) best[k] += v ? t->best[v->values + k] : (int64_t)(leaves * above[k]);
    begun += v ? t->best[v->values + u->level + 1] : (int64_t)(leaves * u->depth);
    i = to;
  }
  for (size_t k = 0; k <= u->level; k++) {
    t->begins[u->values + k] = begun > best[k];
    if (begun > best[k]) best[k] = begun;
  }
  return last;
}

/* Gives each place its group, as best says. k: the node above whose group is open, 0: none. */
static const node *assign(plan *t, const node *u, size_t k, size_t group) {
  const node *last = u;
  if (t->begins[u->values + k]) {
    group = t->groups++;
    k = u->level + 1;
  }
  for (size_t i = u->first; i < u->end;) {
    size_t to = member_end(t, u, i);
    const node *v = member_node(t, u, last, i, to);
    if (v)
      last = assign(t, v, k, group);
    else
      for (size_t j = i; j < to; j++) t->group_of[j] = k ? group : t->groups++;
    i = to;
  }
  return last;
}

/* The places group by group, each in order. */
static void collect(plan *t) {
  for (size_t g = 0; g < t->groups; g++) t->end[g] = 0;
  for (size_t i = 0; i < t->n; i++) t->end[t->group_of[i]]++;
  for (size_t g = 0, sum = 0; g < t->groups; g++) {
    size_t count = t->end[g];
    t->end[g] = sum; /* where the next of the group goes */
    sum += count;
  }
  for (size_t i = 0; i < t->n; i++) t->order[t->end[t->group_of[i]]++] = t->p[i].index;
}

rw_status forest_plan(const plan_row *rows, size_t n, size_t *order, size_t *end, size_t *groups, rw_error *err) {
  plan t = {.n = n, .order = order, .end = end};
  size_t above[MOST_LEVELS + 1] = {0};
  t.p = mem_alloc(n, sizeof *t.p);
  t.next = mem_alloc(n, sizeof *t.next);
  t.group_of = mem_zalloc(n, sizeof *t.group_of);
  bool ok = t.p && t.next && t.group_of;
  for (size_t i = 0; ok && i < n; i++) t.p[i] = (place){&rows[i], i};
  if (ok) qsort(t.p, n, sizeof *t.p, by_ids);
  for (size_t i = 0; ok && i + 1 < n; i++) t.next[i] = common(t.p[i].row, t.p[i + 1].row);
  if (n > 1 && ok) ok = add_nodes(&t, 0, n, 0);
  if (n > 1 && ok) {
    fill(&t, t.nodes, above);
    assign(&t, t.nodes, 0, 0);
  }
  if (n == 1) t.groups = 1;
  if (ok) collect(&t);
  *groups = t.groups;
  void *all[] = {t.p, t.next, t.group_of, t.nodes, t.best, t.begins};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) mem_free(all[i]);
  return ok ? RW_OK : rw_nomem(err, "a plan of waiting requests");
}
