/* attention.c - causal attention over a forest, forward and backward, one task a (tree, key-value head); forward,
 * where those are too few for the threads, one a (tree, query head).
 *
 * A branch sees its tree's prompt and itself. Keys are counted from position 0 of the conversation, whether the
 * prompt is shared or not, and a masked key contributes an exact zero, so a conversation's bits do not depend on
 * how it was packed. Queries go in blocks of QUERY_BLOCK rows whose scores are held whole (not the full matrix).
 * Gradients of shared keys and values add up in one fixed order: the prompt's queries, then each branch's.
 *
 * Products go through an engine (engine.h), whose chunks of keys are counted from position 0 too.
 */
#include <math.h>
#include <string.h>

#include "compute/cpu/ops.h"
#include "compute/cpu/tasks.h"

enum { QUERY_BLOCK = 64 }; /* at most */

/* What the backward pass has besides. */
typedef struct {
  mat dqkv, d_o, o;
  const float *lse;
} gradients;

typedef struct {
  const engine *e;
  const kernels *k;
  scratch *per_thread;
  const forest *f;
  const attention_shape *a;
  mat qkv;
  mat o;                 /* forward */
  float *lse;            /* forward; may be NULL */
  const gradients *back; /* NULL: forward */
  size_t parts;          /* tasks that share the query heads of a key-value head */
  size_t queries;        /* in a block: whole panels, at most QUERY_BLOCK */
  size_t step;           /* keys from a multiple of it on can be packed anew: whole panels, and whole chunks */
} job;

/* Working memory of one task, cut from the thread's scratch; keys = longest conversation, rounded up. */
typedef struct {
  size_t keys, d;
  float *rows;   /* [keys, d]: one kind of key rows of the current conversation, gathered */
  float *k_cols; /* panels over keys, inner d: for q·k */
  float *k_rows; /* panels over d, inner keys: for dS·k (backward) */
  float *v_rows; /* panels over d, inner keys: for p·v */
  float *v_cols; /* panels over keys, inner d: for dO·v (backward) */
  float *query;  /* packed rows [queries, d] */
  float *score;  /* [queries, keys] */
  float *dscore; /* [queries, keys] (backward) */
  float *capped; /* [queries, keys] (backward with a soft cap) */
  float *packed; /* a packed block of scores */
  float *grad;   /* packed rows of dO or q: panels over d, inner queries (backward) */
} work;

/* Floats of a panel for an inner index of kn, and of the panels for n rows or columns. */
static size_t panel(const engine *e, factor_id f, size_t kn) {
  return round_up(engine_panel(e, f, e->parts, kn), 16);
}
static size_t room(const engine *e, factor_id f, size_t n, size_t kn) {
  return ceil_div(n, e->width[f]) * panel(e, f, kn);
}

static size_t longest(const forest *f) {
  size_t n = 0;
  for (size_t t = 0; t < f->n_trees; t++) {
    const tree *tr = &f->trees[t];
    size_t shared = tr->known.len + tr->prompt.len;
    if (shared > n) n = shared;
    for (size_t b = 0; b < tr->n_branches; b++) {
      size_t len = shared + f->branches[tr->first_branch + b].len;
      if (len > n) n = len;
    }
  }
  return n;
}

/* Cuts the work areas out of base (NULL: only counts) and returns the floats needed. */
static size_t carve(work *w, float *base, const job *j) {
  const engine *e = j->e;
  size_t used = 0, q = j->queries, d = j->a->head_dim, keys = round_up(longest(j->f), j->step);
  w->keys = keys;
  w->d = d;
#define TAKE(field, n) (w->field = base ? base + used : NULL, used += round_up(n, 16))
  TAKE(rows, keys * d);
  TAKE(k_cols, room(e, FACTOR_B, keys, d));
  TAKE(v_rows, room(e, FACTOR_B, d, keys));
  TAKE(query, room(e, FACTOR_A, q, d));
  TAKE(score, q * keys);
  size_t forward = room(e, FACTOR_A, q, keys), other = room(e, FACTOR_A, keys, q);
  TAKE(packed, forward > other ? forward : other);
  if (j->back) {
    TAKE(k_rows, room(e, FACTOR_B, d, keys));
    TAKE(v_cols, room(e, FACTOR_B, keys, d));
    TAKE(dscore, q * keys);
    TAKE(grad, room(e, FACTOR_B, d, q));
    if (j->a->softcap > 0) TAKE(capped, q * keys);
  }
#undef TAKE
  return used;
}

/* Packs element (i, k) = src[i*si + k*sk] into panels `ld` floats apart. */
static panels packed(const engine *e, factor_id f, float *dst, size_t ld, const float *src, size_t si, size_t sk,
                     size_t n, size_t kn) {
  panels to = {dst, ld, e->parts};
  e->pack(e, to, f, src, T_F32, si, sk, n, kn);
  return to;
}
static panels packed_a(const engine *e, float *dst, const float *src, size_t si, size_t sk, size_t n, size_t kn) {
  return packed(e, FACTOR_A, dst, panel(e, FACTOR_A, kn), src, si, sk, n, kn);
}
static panels packed_b(const engine *e, float *dst, const float *src, size_t si, size_t sk, size_t n, size_t kn) {
  return packed(e, FACTOR_B, dst, panel(e, FACTOR_B, kn), src, si, sk, n, kn);
}

/* Keys or values of one head: computed rows, and known rows. */
typedef struct {
  mat computed, known;
} source;

/* The d values at position p of a conversation whose rows `seg` begin at position `base`. */
static const float *key_at(source x, const tree *t, span seg, size_t base, size_t p) {
  if (p < t->known.len) return cpu_row(x.known, t->known.first + p);
  return cpu_row(x.computed, p < base ? t->prompt.first + p - t->known.len : seg.first + p - base);
}

/* Positions from `base` on, as many as seg has rows, go into panels over keys (cols) and panels over d (rows);
 * either may be NULL. A panel that they begin in the middle of is packed anew, with what stands before them. */
static void load_keys(const job *j, const work *w, source x, const tree *t, span seg, size_t base, float *cols,
                      float *rows) {
  const engine *e = j->e;
  size_t d = w->d, from = base / j->step * j->step, n = base + seg.len - from;
  for (size_t i = 0; i < n; i++)
    memcpy(w->rows + (from + i) * d, key_at(x, t, seg, base, from + i), d * sizeof(float));
  if (cols) packed_b(e, cols + room(e, FACTOR_B, from, d), w->rows + from * d, d, 1, n, d);
  if (rows)
    packed(e, FACTOR_B, rows + engine_panel(e, FACTOR_B, e->parts, from), panel(e, FACTOR_B, w->keys),
           w->rows + from * d, 1, d, d, n);
}

/* The block of queries at positions pos..pos+m sees keys [lo, hi), lo a multiple of step. */
static void key_range(const job *j, size_t pos, size_t m, size_t *lo, size_t *hi) {
  size_t window = (size_t)j->a->window, first = window > 0 && pos + 1 > window ? pos + 1 - window : 0;
  *lo = first / j->step * j->step;
  *hi = pos + m;
}

/* out[i, lo..hi) = queries · keys' panels over keys. Written up to whole panels: nobody reads what is beyond. */
static void dots(const job *j, const work *w, panels query, const float *cols, float *out, size_t m, size_t lo,
                 size_t hi) {
  const engine *e = j->e;
  panels keys = {(float *)cols + room(e, FACTOR_B, lo, w->d), panel(e, FACTOR_B, w->d), e->parts};
  e->multiply(e, ceil_div(w->d, e->inner), query, keys, out + lo, w->keys, round_up(m, e->width[FACTOR_A]),
              round_up(hi - lo, e->width[FACTOR_B]), false);
}

/* score[i, lo..hi) = scale * q·k, soft-capped, for m queries. */
static void scores(const job *j, const work *w, panels query, size_t m, size_t lo, size_t hi) {
  dots(j, w, query, w->k_cols, w->score, m, lo, hi);
  for (size_t i = 0; i < m; i++) {
    float *row = w->score + i * w->keys + lo;
    j->k->scale(row, hi - lo, j->a->scale);
    if (j->a->softcap > 0) j->k->softcap(row, hi - lo, j->a->softcap);
  }
}

/* out[m, d] = x[m, lo..hi), rows of w->keys, · panels over d. */
static void weighed(const job *j, const work *w, const float *x, const float *rows, mat out, size_t m, size_t lo,
                    size_t hi) {
  const engine *e = j->e;
  panels weights = packed_a(e, w->packed, x + lo, w->keys, 1, m, hi - lo);
  panels values = {(float *)rows + engine_panel(e, FACTOR_B, e->parts, lo), panel(e, FACTOR_B, w->keys), e->parts};
  e->multiply(e, ceil_div(hi - lo, e->inner), weights, values, out.p, out.ld, m, w->d, false);
}

/* The keys that the query at position pos itself sees are [*from, pos]; the rest of [lo, hi) is set to zero. */
static size_t mask(const job *j, float *row, size_t pos, size_t lo, size_t hi) {
  size_t from = j->a->window > 0 && pos + 1 > (size_t)j->a->window ? pos + 1 - (size_t)j->a->window : 0;
  if (from > lo) memset(row + lo, 0, (from - lo) * sizeof(float));
  if (hi > pos + 1) memset(row + pos + 1, 0, (hi - pos - 1) * sizeof(float));
  return from;
}

static void forward_block(const job *j, const work *w, size_t head, size_t row, size_t pos, size_t m) {
  size_t d = w->d, lo, hi;
  mat q = mat_from(j->qkv, row, head * d), o = mat_from(j->o, row, head * d);
  key_range(j, pos, m, &lo, &hi);
  scores(j, w, packed_a(j->e, w->query, q.p, q.ld, 1, m, d), m, lo, hi);
  float inverse[QUERY_BLOCK];
  for (size_t i = 0; i < m; i++) {
    float *s = w->score + i * w->keys;
    size_t from = mask(j, s, pos + i, lo, hi), n = pos + i + 1 - from;
    float max = j->k->row_max(s + from, n), sum = j->k->exp_sum(s + from, n, max);
    inverse[i] = 1.0f / sum;
    if (j->lse) j->lse[(row + i) * j->a->q_heads + head] = max + logf(sum);
  }
  weighed(j, w, w->score, w->v_rows, o, m, lo, hi);
  for (size_t i = 0; i < m; i++) j->k->scale(cpu_row(o, i), d, inverse[i]);
}

/* dkv[key] += sum over the block's queries of score[query, key] * grad[query]; keys lo..hi by position live in the
 * prompt's rows first, then in the segment's. */
static void key_gradient(const job *j, const work *w, const float *score, panels grad, mat dkv, span prompt,
                         span seg, size_t base, size_t m, size_t lo, size_t hi) {
  const engine *e = j->e;
  for (int part = 0; part < 2; part++) {
    size_t from = part == 0 ? lo : (lo > base ? lo : base), to = part == 0 ? (hi < base ? hi : base) : hi;
    if (from >= to) continue;
    float *dst = cpu_row(dkv, part == 0 ? prompt.first + from : seg.first + from - base);
    panels weights = packed_a(e, w->packed, score + from, 1, w->keys, to - from, m);
    e->multiply(e, ceil_div(m, e->inner), weights, grad, dst, dkv.ld, to - from, w->d, true);
  }
}

static void backward_block(const job *j, const work *w, size_t head, size_t group, span prompt, span seg,
                           size_t base, size_t at, size_t m) {
  const engine *e = j->e;
  const attention_shape *a = j->a;
  size_t d = w->d, row = seg.first + at, pos = base + at, lo, hi;
  mat q = mat_from(j->qkv, row, head * d), d_o = mat_from(j->back->d_o, row, head * d),
      o = mat_from(j->back->o, row, head * d);
  mat dq = mat_from(j->back->dqkv, row, head * d), dk = mat_from(j->back->dqkv, 0, (a->q_heads + group) * d),
      dv = mat_from(dk, 0, a->kv_heads * d);
  key_range(j, pos, m, &lo, &hi);
  panels query = packed_a(e, w->query, q.p, q.ld, 1, m, d);
  for (size_t i = 0; i < m; i++) /* cold, unlike what has just been computed: fetched beside the products */
    for (size_t x = 0; x < d; x += 16) {
      __builtin_prefetch(cpu_row(o, i) + x);
      __builtin_prefetch(cpu_row(d_o, i) + x);
    }
  scores(j, w, query, m, lo, hi);
  if (a->softcap > 0) memcpy(w->capped, w->score, m * w->keys * sizeof(float));
  dots(j, w, packed_a(e, w->query, d_o.p, d_o.ld, 1, m, d), w->v_cols, w->dscore, m, lo, hi);
  for (size_t i = 0; i < m; i++) {
    float *p = w->score + i * w->keys, *dp = w->dscore + i * w->keys;
    size_t from = mask(j, p, pos + i, lo, hi), n = pos + i + 1 - from;
    mask(j, dp, pos + i, lo, hi);
    j->k->exp_sum(p + from, n, j->back->lse[(row + i) * a->q_heads + head]);
    float delta = j->k->dot(cpu_row(d_o, i), cpu_row(o, i), d);
    j->k->softmax_dx(dp + from, p + from, w->capped ? w->capped + i * w->keys + from : NULL, delta, a->scale,
                     a->softcap, n);
  }
  weighed(j, w, w->dscore, w->k_rows, dq, m, lo, hi);
  panels grad = packed_b(e, w->grad, d_o.p, 1, d_o.ld, d, m);
  key_gradient(j, w, w->score, grad, dv, prompt, seg, base, m, lo, hi);
  grad = packed_b(e, w->grad, q.p, 1, q.ld, d, m);
  key_gradient(j, w, w->dscore, grad, dk, prompt, seg, base, m, lo, hi);
}

static void load_segment(const job *j, const work *w, size_t group, const tree *t, span seg, size_t base) {
  const attention_shape *a = j->a;
  size_t d = w->d, k = a->q_heads + group, v = k + a->kv_heads;
  bool known = a->known.p != NULL;
  source keys = {mat_from(j->qkv, 0, k * d), known ? mat_from(a->known, 0, group * d) : (mat){0}};
  source values = {mat_from(j->qkv, 0, v * d), known ? mat_from(a->known, 0, (a->kv_heads + group) * d) : (mat){0}};
  load_keys(j, w, keys, t, seg, base, w->k_cols, j->back ? w->k_rows : NULL);
  load_keys(j, w, values, t, seg, base, j->back ? w->v_cols : NULL, w->v_rows);
}

/* One stretch of rows (the prompt, or a branch), which begins at position base, with the part's query heads. */
static void segment(const job *j, const work *w, size_t group, size_t part, const tree *t, span seg, size_t base) {
  size_t per_group = j->a->q_heads / j->a->kv_heads;
  if (seg.len == 0) return;
  load_segment(j, w, group, t, seg, base);
  for (size_t at = 0; at < seg.len; at += j->queries) {
    size_t m = seg.len - at < j->queries ? seg.len - at : j->queries;
    for (size_t h = part; h < per_group; h += j->parts) {
      size_t head = group * per_group + h;
      if (j->back)
        backward_block(j, w, head, group, t->prompt, seg, base, at, m);
      else
        forward_block(j, w, head, seg.first + at, base + at, m);
    }
  }
}

static void clear_rows(const job *j, size_t group, span seg) {
  const attention_shape *a = j->a;
  for (size_t r = seg.first; r < seg.first + seg.len; r++)
    for (size_t part = 0; part < 2; part++)
      memset(cpu_row(j->back->dqkv, r) + (a->q_heads + part * a->kv_heads + group) * a->head_dim, 0,
             a->head_dim * sizeof(float));
}

static void task(void *ctx, size_t number, int thread) {
  const job *j = ctx;
  size_t part = number % j->parts, group = number / j->parts % j->a->kv_heads;
  const tree *t = &j->f->trees[number / j->parts / j->a->kv_heads];
  const span *branches = j->f->branches + t->first_branch;
  work w = {0};
  carve(&w, j->per_thread[thread].p, j);
  if (j->back) {
    clear_rows(j, group, t->prompt);
    for (size_t b = 0; b < t->n_branches; b++) clear_rows(j, group, branches[b]);
  }
  engine_begin(j->e);
  size_t known = t->known.len, shared = known + t->prompt.len;
  if (known) load_segment(j, &w, group, t, t->known, 0);
  segment(j, &w, group, part, t, t->prompt, known);
  for (size_t b = 0; b < t->n_branches; b++) segment(j, &w, group, part, t, branches[b], shared);
  engine_end(j->e);
}

static rw_status share_out(cpu_state *s, job *j, rw_error *err) {
  work w = {0};
  const engine *e = &s->engines.attention;
  j->e = e;
  j->k = s->k;
  j->per_thread = s->per_thread;
  j->step = e->width[FACTOR_B] > e->inner ? e->width[FACTOR_B] : e->inner;
  j->queries = 48 % e->inner == 0 ? 48 : QUERY_BLOCK;
  size_t need = carve(&w, NULL, j);
  for (int i = 0; i < pool_threads(s->threads); i++)
    if (!scratch_need(&s->per_thread[i], need)) return rw_nomem(err, "attention's working rows");
  size_t tasks = j->f->n_trees * j->a->kv_heads, threads = (size_t)pool_threads(s->threads);
  /* a gradient of keys is a sum over their query heads, in one order */
  j->parts = !j->back && threads > 1 && tasks < 4 * threads ? j->a->q_heads / j->a->kv_heads : 1;
  pool_run(s->threads, tasks * j->parts, task, j);
  return RW_OK;
}
static void run(cpu_state *s, const char *operation, job j) {
  rw_error err;
  if (!cpu_faulty(s)) cpu_fault(s, operation, share_out(s, &j, &err), &err);
}

void cpu_attention(backend *be, mat o, mat qkv, const batch *b, const attention_shape *a, float *lse) {
  run(cpu_of(be), "attention", (job){.f = &b->l->f, .a = a, .qkv = qkv, .o = o, .lse = lse});
}

void cpu_attention_bwd(backend *be, mat dqkv, mat d_o, mat o, mat qkv, const float *lse, const batch *b,
                       const attention_shape *a) {
  gradients back = {dqkv, d_o, o, lse};
  run(cpu_of(be), "attention_bwd", (job){.f = &b->l->f, .a = a, .qkv = qkv, .back = &back});
}
