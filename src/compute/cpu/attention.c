/* attention.c - causal attention over a forest, forward and backward, one task a (tree, key-value head); forward,
 * where those are too few for the threads, one a (tree, query head).
 *
 * A branch sees its tree's prompt and itself. Keys are counted from position 0 of the conversation, whether the
 * prompt is shared or not, and a masked key contributes an exact zero, so a conversation's bits do not depend on
 * how it was packed. Queries go in blocks of QUERY_BLOCK rows whose scores are held whole (not the full matrix).
 * Gradients of shared keys and values add up in one fixed order: the prompt's queries, then each branch's.
 *
 * Products go through `packed_a`, `packed_b` and `tiles`: the kernels' chains (kernels.h) or, on AMX, its tiles,
 * whose chunks of keys are counted from position 0 too.
 */
#include <math.h>
#include <string.h>

#include "compute/cpu/amx.h"
#include "compute/cpu/cpu.h"

enum { QUERY_BLOCK = 64 }; /* at most */

/* How products are computed. */
typedef struct {
  const kernels *k;
  size_t parts; /* parts of AMX's factors (amx.h); 0: chains */
  size_t mr, nr;
  size_t step;    /* keys from a multiple of it on can be packed anew */
  size_t queries; /* in a block: a multiple of mr, at most QUERY_BLOCK */
} engine;

static engine engine_of(const cpu_state *s) {
  const kernels *k = s->k;
  if (s->products == PRODUCTS_F32_TILES || s->products == PRODUCTS_BF16_TILES)
    return (engine){k, s->products == PRODUCTS_F32_TILES ? 3 : 1, AMX_ROWS, AMX_ROWS, AMX_INNER, 64};
  return (engine){k, 0, (size_t)k->mr, (size_t)k->nr, (size_t)k->nr, 48};
}

typedef struct {
  cpu_state *s;
  engine e;
  const forest *f;
  const attention_shape *a;
  const float *qkv, *d_o, *out_in;
  float *o, *lse, *dqkv;
  const float *lse_in;
  size_t ld, ldo, ldd, lddo, ldout;
  size_t parts; /* tasks that share the query heads of a key-value head */
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

static size_t round_up(size_t n, size_t to) { return (n + to - 1) / to * to; }

/* Floats of a panel of r rows or columns and an inner index of kn. */
static size_t panel(const engine *e, size_t r, size_t kn) {
  return e->parts ? round_up(kn, AMX_INNER) / AMX_INNER * e->parts * (AMX_TILE / 2) : r * kn;
}
static size_t panels(const engine *e, size_t r, size_t n, size_t kn) {
  return round_up(n, r) / r * panel(e, r, kn);
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
static size_t carve(work *w, float *base, const engine *e, size_t keys, size_t d, bool backward, bool cap) {
  size_t used = 0, q = e->queries;
  keys = round_up(keys, e->parts ? AMX_INNER : e->nr);
  w->keys = keys;
  w->d = d;
#define TAKE(field, n) (w->field = base ? base + used : NULL, used += round_up(n, 16))
  TAKE(rows, keys * d);
  TAKE(k_cols, panels(e, e->nr, keys, d));
  TAKE(v_rows, panels(e, e->nr, d, keys));
  TAKE(query, panels(e, e->mr, q, d));
  TAKE(score, q * keys);
  size_t forward = panels(e, e->mr, q, keys), other = panels(e, e->mr, keys, q);
  TAKE(packed, forward > other ? forward : other);
  if (backward) {
    TAKE(k_rows, panels(e, e->nr, d, keys));
    TAKE(v_cols, panels(e, e->nr, keys, d));
    TAKE(dscore, q * keys);
    TAKE(grad, panels(e, e->nr, d, q));
    if (cap) TAKE(capped, q * keys);
  }
#undef TAKE
  return used;
}

/* Packs element (i, k) = src[i*si + k*sk] into AMX's panels, `ld` floats apart. */
static void pack_tiles(const engine *e, float *dst, size_t ld, bool factor_b, const float *src, size_t si,
                       size_t sk, size_t n, size_t kn) {
  for (size_t i = 0; i < n; i += AMX_ROWS, dst += ld) {
    float *at = dst;
    for (size_t k = 0; k < kn; k += AMX_INNER, at += e->parts * (AMX_TILE / 2))
      amx_pack((uint16_t *)(void *)at, e->parts, factor_b, src + i * si + k * sk, T_F32, si, sk,
               n - i < AMX_ROWS ? n - i : AMX_ROWS, kn - k < AMX_INNER ? kn - k : AMX_INNER);
  }
}
static void packed_a(const engine *e, float *dst, const float *src, size_t si, size_t sk, size_t n, size_t kn) {
  if (e->parts)
    pack_tiles(e, dst, panel(e, e->mr, kn), false, src, si, sk, n, kn);
  else
    e->k->pack(dst, e->mr * kn, (int)e->mr, src, T_F32, si, sk, n, kn);
}
/* A factor b whose panels are `ld` floats apart. */
static void packed_b(const engine *e, float *dst, size_t ld, const float *src, size_t si, size_t sk, size_t n,
                     size_t kn) {
  if (e->parts)
    pack_tiles(e, dst, ld, true, src, si, sk, n, kn);
  else
    e->k->pack(dst, ld, (int)e->nr, src, T_F32, si, sk, n, kn);
}

/* c[m, n] (+)= packed a · panels of b, `ld` floats apart. room: c may be written up to whole panels. */
static void tiles(const engine *e, size_t kn, const float *a, const float *b, size_t ld, float *c, size_t ldc,
                  size_t m, size_t n, bool acc, bool room) {
  if (e->parts) {
    amx_factor fa = {(const uint16_t *)(const void *)a, 2 * panel(e, e->mr, kn), e->parts},
               fb = {(const uint16_t *)(const void *)b, 2 * ld, e->parts};
    amx_tiles((kn + AMX_INNER - 1) / AMX_INNER, fa, fb, c, ldc, room ? round_up(m, AMX_ROWS) : m,
              room ? round_up(n, AMX_ROWS) : n, acc);
    return;
  }
  for (size_t j = 0; j < n; j += e->nr)
    for (size_t i = 0; i < m; i += e->mr)
      e->k->tile(kn, a + i * kn, b + j / e->nr * ld, c + i * ldc + j, ldc, m - i < e->mr ? m - i : e->mr,
                 n - j < e->nr ? n - j : e->nr, acc);
}

/* Keys or values of one head: `column` of qkv and of the known rows. */
typedef struct {
  const float *computed, *known;
} source;

/* The d values at position p of a conversation whose rows `seg` begin at position `base`. */
static const float *key_at(const job *j, source x, const tree *t, span seg, size_t base, size_t p) {
  if (p < t->known.len) return x.known + (t->known.first + p) * j->a->known.ld;
  return x.computed + (p < base ? t->prompt.first + p - t->known.len : seg.first + p - base) * j->ld;
}

/* Positions from `base` on, as many as seg has rows, go into panels over keys (cols) and panels over d (rows);
 * either may be NULL. A panel that they begin in the middle of is packed anew, with what stands before them. */
static void load_keys(const job *j, const work *w, source x, const tree *t, span seg, size_t base, float *cols,
                      float *rows) {
  const engine *e = &j->e;
  size_t d = w->d, from = base / e->step * e->step, n = base + seg.len - from;
  for (size_t i = 0; i < n; i++)
    memcpy(w->rows + (from + i) * d, key_at(j, x, t, seg, base, from + i), d * sizeof(float));
  if (cols)
    packed_b(e, cols + from / e->nr * panel(e, e->nr, d), panel(e, e->nr, d), w->rows + from * d, d, 1, n, d);
  if (rows) packed_b(e, rows + panel(e, e->nr, from), panel(e, e->nr, w->keys), w->rows + from * d, 1, d, d, n);
}

/* The block of queries at positions pos..pos+m sees keys [lo, hi), lo a multiple of step. */
static void key_range(const attention_shape *a, const engine *e, size_t pos, size_t m, size_t *lo, size_t *hi) {
  size_t first = a->window > 0 && pos + 1 > (size_t)a->window ? pos + 1 - (size_t)a->window : 0;
  *lo = first / e->step * e->step;
  *hi = pos + m;
}

/* out[i, lo..hi) = rows packed in w->query · keys' panels over keys. */
static void dots(const job *j, const work *w, const float *cols, float *out, size_t m, size_t lo, size_t hi) {
  const engine *e = &j->e;
  size_t each = panel(e, e->nr, w->d);
  tiles(e, w->d, w->query, cols + lo / e->nr * each, each, out + lo, w->keys, m, hi - lo, false, true);
}

/* score[i, lo..hi) = scale * q·k, soft-capped, for m queries packed in w->query. */
static void scores(const job *j, const work *w, size_t m, size_t lo, size_t hi) {
  const kernels *k = j->e.k;
  dots(j, w, w->k_cols, w->score, m, lo, hi);
  for (size_t i = 0; i < m; i++) {
    float *row = w->score + i * w->keys + lo;
    k->scale(row, hi - lo, j->a->scale);
    if (j->a->softcap > 0) k->softcap(row, hi - lo, j->a->softcap);
  }
}

/* out[m, d] = x[m, lo..hi), rows of w->keys, · panels over d. */
static void weighed(const job *j, const work *w, const float *x, const float *rows, float *out, size_t ld, size_t m,
                    size_t lo, size_t hi) {
  const engine *e = &j->e;
  packed_a(e, w->packed, x + lo, w->keys, 1, m, hi - lo);
  tiles(e, hi - lo, w->packed, rows + panel(e, e->nr, lo), panel(e, e->nr, w->keys), out, ld, m, w->d, false,
        false);
}

/* The keys that the query at position pos itself sees are [*from, pos]; the rest of [lo, hi) is set to zero. */
static size_t mask(const job *j, float *row, size_t pos, size_t lo, size_t hi) {
  size_t from = j->a->window > 0 && pos + 1 > (size_t)j->a->window ? pos + 1 - (size_t)j->a->window : 0;
  if (from > lo) memset(row + lo, 0, (from - lo) * sizeof(float));
  if (hi > pos + 1) memset(row + pos + 1, 0, (hi - pos - 1) * sizeof(float));
  return from;
}

static void forward_block(const job *j, const work *w, size_t head, size_t row, size_t pos, size_t m) {
  const kernels *k = j->e.k;
  size_t d = w->d, lo, hi;
  key_range(j->a, &j->e, pos, m, &lo, &hi);
  packed_a(&j->e, w->query, j->qkv + row * j->ld + head * d, j->ld, 1, m, d);
  scores(j, w, m, lo, hi);
  float inverse[QUERY_BLOCK];
  for (size_t i = 0; i < m; i++) {
    float *s = w->score + i * w->keys;
    size_t from = mask(j, s, pos + i, lo, hi), n = pos + i + 1 - from;
    float max = k->row_max(s + from, n), sum = k->exp_sum(s + from, n, max);
    inverse[i] = 1.0f / sum;
    if (j->lse) j->lse[(row + i) * j->a->q_heads + head] = max + logf(sum);
  }
  float *o = j->o + row * j->ldo + head * d;
  weighed(j, w, w->score, w->v_rows, o, j->ldo, m, lo, hi);
  for (size_t i = 0; i < m; i++) k->scale(o + i * j->ldo, d, inverse[i]);
}

/* dst[key] += sum over the block's queries of score[query, key] * grad[query]; keys lo..hi by position live in the
 * prompt's rows first, then in the segment's. */
static void key_gradient(const job *j, const work *w, const float *score, float *column, span prompt, span seg,
                         size_t base, size_t m, size_t lo, size_t hi) {
  const engine *e = &j->e;
  for (int part = 0; part < 2; part++) {
    size_t from = part == 0 ? lo : (lo > base ? lo : base), to = part == 0 ? (hi < base ? hi : base) : hi;
    if (from >= to) continue;
    float *dst = column + (part == 0 ? prompt.first + from : seg.first + from - base) * j->ldd;
    packed_a(e, w->packed, score + from, 1, w->keys, to - from, m);
    tiles(e, m, w->packed, w->grad, panel(e, e->nr, m), dst, j->ldd, to - from, w->d, true, false);
  }
}

static void backward_block(const job *j, const work *w, size_t head, size_t group, span prompt, span seg,
                           size_t base, size_t at, size_t m) {
  const engine *e = &j->e;
  const kernels *k = e->k;
  const attention_shape *a = j->a;
  size_t d = w->d, row = seg.first + at, pos = base + at, lo, hi;
  key_range(a, e, pos, m, &lo, &hi);
  const float *q = j->qkv + row * j->ld + head * d, *d_o = j->d_o + row * j->lddo + head * d;
  float *dk = j->dqkv + (a->q_heads + group) * d, *dv = j->dqkv + (a->q_heads + a->kv_heads + group) * d;

  packed_a(e, w->query, q, j->ld, 1, m, d);
  for (size_t i = 0; i < m; i++) /* cold, unlike what has just been computed: fetched beside the products */
    for (size_t x = 0; x < d; x += 16) {
      __builtin_prefetch(j->out_in + (row + i) * j->ldout + head * d + x);
      __builtin_prefetch(d_o + i * j->lddo + x);
    }
  scores(j, w, m, lo, hi);
  if (a->softcap > 0) memcpy(w->capped, w->score, m * w->keys * sizeof(float));
  packed_a(e, w->query, d_o, j->lddo, 1, m, d);
  dots(j, w, w->v_cols, w->dscore, m, lo, hi);
  for (size_t i = 0; i < m; i++) {
    float *p = w->score + i * w->keys, *dp = w->dscore + i * w->keys;
    size_t from = mask(j, p, pos + i, lo, hi), n = pos + i + 1 - from;
    mask(j, dp, pos + i, lo, hi);
    k->exp_sum(p + from, n, j->lse_in[(row + i) * a->q_heads + head]);
    float delta = k->dot(d_o + i * j->lddo, j->out_in + (row + i) * j->ldout + head * d, d);
    k->softmax_dx(dp + from, p + from, w->capped ? w->capped + i * w->keys + from : NULL, delta, a->scale,
                  a->softcap, n);
  }
  weighed(j, w, w->dscore, w->k_rows, j->dqkv + row * j->ldd + head * d, j->ldd, m, lo, hi);
  packed_b(e, w->grad, panel(e, e->nr, m), d_o, 1, j->lddo, d, m);
  key_gradient(j, w, w->score, dv, prompt, seg, base, m, lo, hi);
  packed_b(e, w->grad, panel(e, e->nr, m), q, 1, j->ld, d, m);
  key_gradient(j, w, w->dscore, dk, prompt, seg, base, m, lo, hi);
}

static void load_segment(const job *j, const work *w, size_t group, const tree *t, span seg, size_t base) {
  const attention_shape *a = j->a;
  size_t d = w->d;
  const float *k = j->qkv + (a->q_heads + group) * d, *known = a->known.p;
  source keys = {k, NULL}, values = {k + a->kv_heads * d, NULL};
  bool backward = j->dqkv != NULL;
  if (known) keys.known = known + group * d, values.known = known + (a->kv_heads + group) * d;
  load_keys(j, w, keys, t, seg, base, w->k_cols, backward ? w->k_rows : NULL);
  load_keys(j, w, values, t, seg, base, backward ? w->v_cols : NULL, w->v_rows);
}

/* One stretch of rows (the prompt, or a branch), which begins at position base, with the part's query heads. */
static void segment(const job *j, const work *w, size_t group, size_t part, const tree *t, span seg, size_t base) {
  const attention_shape *a = j->a;
  size_t per_group = a->q_heads / a->kv_heads;
  bool backward = j->dqkv != NULL;
  if (seg.len == 0) return;
  load_segment(j, w, group, t, seg, base);
  for (size_t at = 0; at < seg.len; at += j->e.queries) {
    size_t m = seg.len - at < j->e.queries ? seg.len - at : j->e.queries;
    for (size_t h = part; h < per_group; h += j->parts) {
      size_t head = group * per_group + h;
      if (backward)
        backward_block(j, w, head, group, t->prompt, seg, base, at, m);
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
  carve(&w, j->s->per_thread[thread].p, &j->e, longest(j->f), a->head_dim, j->dqkv != NULL, a->softcap > 0);
  if (j->dqkv) {
    clear_rows(j, group, t->prompt);
    for (size_t b = 0; b < t->n_branches; b++) clear_rows(j, group, branches[b]);
  }
  if (j->e.parts) amx_begin();
  size_t known = t->known.len, shared = known + t->prompt.len;
  if (known) load_segment(j, &w, group, t, t->known, 0);
  segment(j, &w, group, part, t, t->prompt, known);
  for (size_t b = 0; b < t->n_branches; b++) segment(j, &w, group, part, t, branches[b], shared);
  if (j->e.parts) amx_end();
}

static rw_status run(job *j, rw_error *err) {
  work w = {0};
  j->e = engine_of(j->s);
  size_t need = carve(&w, NULL, &j->e, longest(j->f), j->a->head_dim, j->dqkv != NULL, j->a->softcap > 0);
  for (int i = 0; i < pool_threads(j->s->threads); i++)
    if (!scratch_need(&j->s->per_thread[i], need)) return rw_nomem(err, "attention's working rows");
  size_t tasks = j->f->n_trees * j->a->kv_heads, threads = (size_t)pool_threads(j->s->threads);
  /* a gradient of keys is a sum over their query heads, in one order */
  j->parts = !j->dqkv && threads > 1 && tasks < 4 * threads ? j->a->q_heads / j->a->kv_heads : 1;
  pool_run(j->s->threads, tasks * j->parts, task, j);
  return RW_OK;
}

void cpu_attention(backend *be, mat o, mat qkv, const batch *b, const attention_shape *a, float *lse) {
  cpu_state *s = cpu_of(be);
  job j = {.s = s, .f = &b->l->f, .a = a, .qkv = qkv.p, .o = o.p, .lse = lse, .ld = qkv.ld, .ldo = o.ld};
  rw_error err;
  if (!cpu_faulty(s)) cpu_fault(s, "attention", run(&j, &err), &err);
}

void cpu_attention_bwd(backend *be, mat dqkv, mat d_o, mat o, mat qkv, const float *lse, const batch *b,
                       const attention_shape *a) {
  cpu_state *s = cpu_of(be);
  job j = {.s = s,
           .f = &b->l->f,
           .a = a,
           .qkv = qkv.p,
           .d_o = d_o.p,
           .out_in = o.p,
           .dqkv = dqkv.p,
           .lse_in = lse,
           .ld = qkv.ld,
           .ldd = dqkv.ld,
           .lddo = d_o.ld,
           .ldout = o.ld};
  rw_error err;
  if (!cpu_faulty(s)) cpu_fault(s, "attention_bwd", run(&j, &err), &err);
}
