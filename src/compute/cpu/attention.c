/* attention.c - causal attention over a forest, forward and backward, one task a (tree, key-value head); forward,
 * where those are too few for the threads, one a (tree, query head).
 *
 * A branch sees its tree's prompt and itself. Keys are counted from position 0 of the conversation, whether the
 * prompt is shared or not, and a masked key contributes an exact zero, so a conversation's bits do not depend on
 * how it was packed. Queries go in blocks of QUERY_BLOCK rows whose scores are held whole (not the full matrix).
 * Gradients of shared keys and values add up in one fixed order: the prompt's queries, then each branch's.
 */
#include <math.h>
#include <string.h>

#include "compute/cpu/cpu.h"

enum { QUERY_BLOCK = 48 }; /* a multiple of every mr */

typedef struct {
  cpu_state *s;
  const forest *f;
  const attention_shape *a;
  const float *qkv, *d_o, *out_in;
  float *o, *lse, *dqkv;
  const float *lse_in;
  size_t ld, ldo, ldd, lddo, ldout;
  size_t parts; /* tasks that share the query heads of a key-value head */
} job;

/* Working memory of one task, cut from the thread's scratch; keys = longest conversation, rounded up to nr. */
typedef struct {
  size_t keys, d, d_panels;
  float *rows;   /* [keys, d]: one kind of key rows of the current conversation, gathered */
  float *k_cols; /* panels over keys, inner d: for q·k */
  float *k_rows; /* panels over d, inner keys: for dS·k (backward) */
  float *v_rows; /* panels over d, inner keys: for p·v */
  float *v_cols; /* panels over keys, inner d: for dO·v (backward) */
  float *query;  /* packed rows [QUERY_BLOCK, d] */
  float *score;  /* [QUERY_BLOCK, keys] */
  float *dscore; /* [QUERY_BLOCK, keys] (backward) */
  float *capped; /* [QUERY_BLOCK, keys] (backward with a soft cap) */
  float *packed; /* a packed block of scores */
  float *grad;   /* packed rows of dO or q: panels over d, inner queries (backward) */
} work;

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

static size_t longest(const forest *f) {
  size_t n = 0;
  for (size_t t = 0; t < f->n_trees; t++) {
    const tree *tr = &f->trees[t];
    if (tr->prompt.len > n) n = tr->prompt.len;
    for (size_t b = 0; b < tr->n_branches; b++) {
      size_t len = tr->prompt.len + f->branches[tr->first_branch + b].len;
      if (len > n) n = len;
    }
  }
  return n;
}

/* Cuts the work areas out of base (NULL: only counts) and returns the floats needed. */
static size_t carve(work *w, float *base, const kernels *k, size_t keys, size_t d, bool backward, bool cap) {
  size_t nr = (size_t)k->nr, dp = round_up(d, nr), used = 0;
  keys = round_up(keys, nr);
  w->keys = keys;
  w->d = d;
  w->d_panels = dp / nr;
#define TAKE(field, n) (w->field = base ? base + used : NULL, used += round_up(n, 16))
  TAKE(rows, keys * d);
  TAKE(k_cols, keys * d);
  TAKE(v_rows, keys * dp);
  TAKE(query, QUERY_BLOCK * d);
  TAKE(score, QUERY_BLOCK * keys);
  TAKE(packed, (QUERY_BLOCK + (size_t)k->mr) * (keys + (size_t)k->mr));
  if (backward) {
    TAKE(k_rows, keys * dp);
    TAKE(v_cols, keys * d);
    TAKE(dscore, QUERY_BLOCK * keys);
    TAKE(grad, QUERY_BLOCK * dp);
    if (cap) TAKE(capped, QUERY_BLOCK * keys);
  }
#undef TAKE
  return used;
}

/* Adds rows [seg] of the matrix at column 0 of x as keys from position `at`: into panels over keys (cols) and/or
 * panels over d (rows). `gather` keeps the earlier positions of a panel that the new rows begin in the middle of.
 */
static void load_keys(const kernels *k, const work *w, const float *x, size_t ld, span seg, size_t at, float *cols,
                      float *rows, float *gather) {
  size_t nr = (size_t)k->nr;
  const float *src = x + seg.first * ld;
  if (rows) k->pack(rows + at * nr, w->keys * nr, k->nr, src, T_F32, 1, ld, w->d, seg.len);
  if (cols) {
    for (size_t i = 0; i < seg.len; i++) memcpy(gather + (at + i) * w->d, src + i * ld, w->d * sizeof(float));
    size_t from = at / nr * nr;
    k->pack(cols + from * w->d, nr * w->d, k->nr, gather + from * w->d, T_F32, w->d, 1, at + seg.len - from, w->d);
  }
}

/* c[m, cols of panels p0..p1) (at column p*nr - shift)] = packed a [m, kn] · panels */
static void tiles(const kernels *k, size_t kn, const float *a, const float *b, size_t b_panel, float *c, size_t ldc,
                  size_t m, size_t n, bool acc) {
  size_t mr = (size_t)k->mr, nr = (size_t)k->nr;
  for (size_t j = 0; j < n; j += nr)
    for (size_t i = 0; i < m; i += mr)
      k->tile(kn, a + i * kn, b + j / nr * b_panel, c + i * ldc + j, ldc, m - i < mr ? m - i : mr,
              n - j < nr ? n - j : nr, acc);
}

/* The block of queries at positions pos..pos+m sees keys [lo, hi), both multiples of nr but for the end. */
static void key_range(const attention_shape *a, const kernels *k, size_t pos, size_t m, size_t *lo, size_t *hi) {
  size_t first = a->window > 0 && pos + 1 > (size_t)a->window ? pos + 1 - (size_t)a->window : 0;
  *lo = first / (size_t)k->nr * (size_t)k->nr;
  *hi = pos + m;
}

/* score[i, lo..hi) = scale * q·k, soft-capped, for m queries packed in w->query. */
static void scores(const job *j, const work *w, size_t m, size_t lo, size_t hi) {
  const kernels *k = j->s->k;
  tiles(k, w->d, w->query, w->k_cols + lo * w->d, (size_t)k->nr * w->d, w->score + lo, w->keys, m, hi - lo, false);
  for (size_t i = 0; i < m; i++) {
    float *row = w->score + i * w->keys + lo;
    k->scale(row, hi - lo, j->a->scale);
    if (j->a->softcap > 0) k->softcap(row, hi - lo, j->a->softcap);
  }
}

/* The keys that the query at position pos itself sees are [*from, pos]; the rest of [lo, hi) is set to zero. */
static size_t mask(const job *j, float *row, size_t pos, size_t lo, size_t hi) {
  size_t from = j->a->window > 0 && pos + 1 > (size_t)j->a->window ? pos + 1 - (size_t)j->a->window : 0;
  if (from > lo) memset(row + lo, 0, (from - lo) * sizeof(float));
  if (hi > pos + 1) memset(row + pos + 1, 0, (hi - pos - 1) * sizeof(float));
  return from;
}

static void forward_block(const job *j, const work *w, size_t head, size_t row, size_t pos, size_t m) {
  const kernels *k = j->s->k;
  size_t d = w->d, lo, hi;
  key_range(j->a, k, pos, m, &lo, &hi);
  k->pack(w->query, (size_t)k->mr * d, k->mr, j->qkv + row * j->ld + head * d, T_F32, j->ld, 1, m, d);
  scores(j, w, m, lo, hi);
  float inverse[QUERY_BLOCK];
  for (size_t i = 0; i < m; i++) {
    float *s = w->score + i * w->keys;
    size_t from = mask(j, s, pos + i, lo, hi), n = pos + i + 1 - from;
    float max = k->row_max(s + from, n), sum = k->exp_sum(s + from, n, max);
    inverse[i] = 1.0f / sum;
    if (j->lse) j->lse[(row + i) * j->a->q_heads + head] = max + logf(sum);
  }
  k->pack(w->packed, (size_t)k->mr * (hi - lo), k->mr, w->score + lo, T_F32, w->keys, 1, m, hi - lo);
  float *o = j->o + row * j->ldo + head * d;
  tiles(k, hi - lo, w->packed, w->v_rows + lo * (size_t)k->nr, w->keys * (size_t)k->nr, o, j->ldo, m, d, false);
  for (size_t i = 0; i < m; i++) k->scale(o + i * j->ldo, d, inverse[i]);
}

/* dst[key] += sum over the block's queries of score[query, key] * grad[query]; keys lo..hi by position live in the
 * prompt's rows first, then in the segment's. */
static void key_gradient(const job *j, const work *w, const float *score, float *column, span prompt, span seg,
                         size_t base, size_t m, size_t lo, size_t hi) {
  const kernels *k = j->s->k;
  for (int part = 0; part < 2; part++) {
    size_t from = part == 0 ? lo : (lo > base ? lo : base), to = part == 0 ? (hi < base ? hi : base) : hi;
    if (from >= to) continue;
    float *dst = column + (part == 0 ? prompt.first + from : seg.first + from - base) * j->ldd;
    k->pack(w->packed, (size_t)k->mr * m, k->mr, score + from, T_F32, 1, w->keys, to - from, m);
    tiles(k, m, w->packed, w->grad, m * (size_t)k->nr, dst, j->ldd, to - from, w->d, true);
  }
}

static void backward_block(const job *j, const work *w, size_t head, size_t group, span prompt, span seg,
                           size_t base, size_t at, size_t m) {
  const kernels *k = j->s->k;
  const attention_shape *a = j->a;
  size_t d = w->d, row = seg.first + at, pos = base + at, lo, hi, mr = (size_t)k->mr, nr = (size_t)k->nr;
  key_range(a, k, pos, m, &lo, &hi);
  const float *q = j->qkv + row * j->ld + head * d, *d_o = j->d_o + row * j->lddo + head * d;
  float *dk = j->dqkv + (a->q_heads + group) * d, *dv = j->dqkv + (a->q_heads + a->kv_heads + group) * d;

  k->pack(w->query, mr * d, k->mr, q, T_F32, j->ld, 1, m, d);
  scores(j, w, m, lo, hi);
  if (a->softcap > 0) memcpy(w->capped, w->score, m * w->keys * sizeof(float));
  k->pack(w->query, mr * d, k->mr, d_o, T_F32, j->lddo, 1, m, d);
  tiles(k, d, w->query, w->v_cols + lo * d, nr * d, w->dscore + lo, w->keys, m, hi - lo, false);
  for (size_t i = 0; i < m; i++) {
    float *p = w->score + i * w->keys, *dp = w->dscore + i * w->keys;
    size_t from = mask(j, p, pos + i, lo, hi), n = pos + i + 1 - from;
    mask(j, dp, pos + i, lo, hi);
    k->exp_sum(p + from, n, j->lse_in[(row + i) * a->q_heads + head]);
    float delta = k->dot(d_o + i * j->lddo, j->out_in + (row + i) * j->ldout + head * d, d);
    k->softmax_dx(dp + from, p + from, w->capped ? w->capped + i * w->keys + from : NULL, delta, a->scale,
                  a->softcap, n);
  }
  k->pack(w->packed, mr * (hi - lo), k->mr, w->dscore + lo, T_F32, w->keys, 1, m, hi - lo);
  tiles(k, hi - lo, w->packed, w->k_rows + lo * nr, w->keys * nr, j->dqkv + row * j->ldd + head * d, j->ldd, m, d,
        false);
  k->pack(w->grad, m * nr, k->nr, d_o, T_F32, 1, j->lddo, d, m);
  key_gradient(j, w, w->score, dv, prompt, seg, base, m, lo, hi);
  k->pack(w->grad, m * nr, k->nr, q, T_F32, 1, j->ld, d, m);
  key_gradient(j, w, w->dscore, dk, prompt, seg, base, m, lo, hi);
}

/* One stretch of rows (the prompt: base 0, or a branch: base = the prompt's length) with the part's query heads. */
static void segment(const job *j, const work *w, size_t group, size_t part, span prompt, span seg, size_t base) {
  const attention_shape *a = j->a;
  const kernels *k = j->s->k;
  size_t d = w->d, per_group = a->q_heads / a->kv_heads;
  const float *keys = j->qkv + (a->q_heads + group) * d, *values = keys + a->kv_heads * d;
  bool backward = j->dqkv != NULL;
  load_keys(k, w, keys, j->ld, seg, base, NULL, backward ? w->k_rows : NULL, NULL);
  load_keys(k, w, values, j->ld, seg, base, NULL, w->v_rows, NULL);
  /* a panel over keys may begin in the prompt: those rows are gathered again */
  span head_rows = {prompt.first, base};
  if (seg.len == 0) return;
  size_t nr = (size_t)k->nr, from = base / nr * nr;
  span tail = {head_rows.first + from, base - from};
  for (int which = 0; which < (backward ? 2 : 1); which++) {
    const float *x = which ? values : keys;
    float *cols = which ? w->v_cols : w->k_cols;
    for (size_t i = 0; i < tail.len; i++)
      memcpy(w->rows + (from + i) * d, x + (tail.first + i) * j->ld, d * sizeof(float));
    load_keys(k, w, x, j->ld, seg, base, cols, NULL, w->rows);
  }
  for (size_t at = 0; at < seg.len; at += QUERY_BLOCK) {
    size_t m = seg.len - at < QUERY_BLOCK ? seg.len - at : QUERY_BLOCK;
    for (size_t h = part; h < per_group; h += j->parts) {
      size_t head = group * per_group + h;
      if (backward)
        backward_block(j, w, head, group, prompt, seg, base, at, m);
      else
        forward_block(j, w, head, seg.first + at, base + at, m);
    }
  }
}

static void clear_rows(const job *j, size_t group, span seg) {
  const attention_shape *a = j->a;
  size_t d = a->head_dim;
  for (size_t r = seg.first; r < seg.first + seg.len; r++)
    for (size_t part = 0; part < 2; part++)
      memset(j->dqkv + r * j->ldd + (a->q_heads + part * a->kv_heads + group) * d, 0, d * sizeof(float));
}

static void task(void *ctx, size_t number, int thread) {
  const job *j = ctx;
  const attention_shape *a = j->a;
  size_t part = number % j->parts, group = number / j->parts % a->kv_heads;
  const tree *t = &j->f->trees[number / j->parts / a->kv_heads];
  const span *branches = j->f->branches + t->first_branch;
  work w = {0};
  carve(&w, j->s->per_thread[thread].p, j->s->k, longest(j->f), a->head_dim, j->dqkv != NULL, a->softcap > 0);
  if (j->dqkv) {
    clear_rows(j, group, t->prompt);
    for (size_t b = 0; b < t->n_branches; b++) clear_rows(j, group, branches[b]);
  }
  segment(j, &w, group, part, t->prompt, t->prompt, 0);
  for (size_t b = 0; b < t->n_branches; b++) segment(j, &w, group, part, t->prompt, branches[b], t->prompt.len);
}

static rw_status run(job *j, rw_error *err) {
  work w = {0};
  size_t need = carve(&w, NULL, j->s->k, longest(j->f), j->a->head_dim, j->dqkv != NULL, j->a->softcap > 0);
  for (int i = 0; i < pool_threads(j->s->threads); i++)
    if (!scratch_need(&j->s->per_thread[i], need)) return rw_nomem(err, "attention's working rows");
  size_t tasks = j->f->n_trees * j->a->kv_heads, threads = (size_t)pool_threads(j->s->threads);
  /* a gradient of keys is a sum over their query heads, in one order */
  j->parts = !j->dqkv && threads > 1 && tasks < 4 * threads ? j->a->q_heads / j->a->kv_heads : 1;
  pool_run(j->s->threads, tasks * j->parts, task, j);
  return RW_OK;
}

rw_status cpu_attention(backend *be, float *o, size_t ldo, const float *qkv, size_t ld, const forest *f,
                        const attention_shape *a, float *lse, rw_error *err) {
  job j = {.s = cpu_of(be), .f = f, .a = a, .qkv = qkv, .o = o, .lse = lse, .ld = ld, .ldo = ldo};
  return run(&j, err);
}

rw_status cpu_attention_bwd(backend *be, float *dqkv, size_t ldd, const float *d_o, size_t lddo, const float *o,
                            size_t ldo, const float *qkv, size_t ld, const float *lse, const forest *f,
                            const attention_shape *a, rw_error *err) {
  job j = {.s = cpu_of(be),
           .f = f,
           .a = a,
           .qkv = qkv,
           .d_o = d_o,
           .out_in = o,
           .dqkv = dqkv,
           .lse_in = lse,
           .ld = ld,
           .ldd = ldd,
           .lddo = lddo,
           .ldout = ldo};
  return run(&j, err);
}
