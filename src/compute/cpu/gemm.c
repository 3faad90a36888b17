/* gemm.c - matrix products on all threads: both factors are packed once, then tiles are shared out.
 *
 * After Goto & van de Geijn 2008. The inner index is cut into blocks of KC so that a panel of b stays in the
 * first-level cache; the running sums wait in c between blocks, which changes no bit (see kernels.h). Wide products
 * go in strips of columns, so that the packed copy of a weight stays small beside the weight.
 */

#include "compute/cpu/cpu.h"

enum {
  KC = 256,              /* inner block: KC * nr floats of b fit the first-level cache */
  BLOCK_ROWS = 96,       /* rows of c in one task: a multiple of every mr */
  BLOCK_PANELS = 16,     /* panels of b in one task */
  PACK_PANELS = 24,      /* panels packed by one task */
  STRIP_FLOATS = 1 << 24 /* packed b at a time */
};

static size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Panels never straddle parts: a part of b begins a panel of its own. */
typedef struct {
  cpu_state *s;
  const operand *a, *b;
  float *c;
  size_t ldc;
  bool acc, round; /* the factors to bf16 */
  size_t a_panels, a_tasks;
  size_t first, panels; /* panels of b in this strip */
  size_t k_blocks, kc;  /* the inner index in k_blocks blocks of kc, the last may be shorter */
} job;

/* Packs panels [from, to) of one block of k into dst (panels kw*r apart, the first at dst). */
static void pack_panels(const cpu_state *s, float *dst, const operand *o, size_t r, size_t from, size_t to,
                        size_t k0, size_t kw) {
  size_t unit = type_size(o->type);
  while (from < to) { /* all panels of a part at once */
    int part;
    size_t at, column, width;
    operand_panel(o, r, from, &part, &at, &column, &width);
    size_t left = (o->along_k ? o->n : o->part[part].n) - at, count = ceil_div(left, r);
    if (count > to - from) count = to - from;
    if (left > count * r) left = count * r;
    if (!o->along_k) {
      const char *src = (const char *)o->part[part].p + (at * o->si + k0 * o->sk) * unit;
      s->k->pack(dst, kw * r, (int)r, src, o->type, o->si, o->sk, left, kw);
    }
    size_t base = 0; /* k of the part's first element */
    for (int i = 0; o->along_k && i < o->parts; base += o->part[i].n, i++) {
      size_t lo = k0 > base ? k0 : base, hi = k0 + kw < base + o->part[i].n ? k0 + kw : base + o->part[i].n;
      if (lo >= hi) continue;
      const char *src = (const char *)o->part[i].p + (at * o->si + (lo - base) * o->sk) * unit;
      s->k->pack(dst + (lo - k0) * r, kw * r, (int)r, src, o->type, o->si, o->sk, left, hi - lo);
    }
    from += count;
    dst += count * kw * r;
  }
}

static void pack_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  bool is_a = task < j->a_tasks;
  if (!is_a) task -= j->a_tasks;
  const operand *o = is_a ? j->a : j->b;
  size_t r = (size_t)(is_a ? j->s->k->mr : j->s->k->nr), panels = is_a ? j->a_panels : j->panels;
  size_t chunks = ceil_div(panels, PACK_PANELS), k0 = task / chunks * j->kc, from = task % chunks * PACK_PANELS;
  size_t kw = o->kn - k0 < j->kc ? o->kn - k0 : j->kc,
         to = from + PACK_PANELS < panels ? from + PACK_PANELS : panels;
  float *packed = is_a ? j->s->a.p : j->s->b.p, *dst = packed + k0 * panels * r + from * kw * r;
  size_t first = is_a ? 0 : j->first;
  pack_panels(j->s, dst, o, r, first + from, first + to, k0, kw);
  if (j->round) j->s->k->round_bf16(dst, (to - from) * kw * r);
}

static void tile_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  const kernels *k = j->s->k;
  size_t mr = (size_t)k->mr, nr = (size_t)k->nr, m = j->a->n, kn = j->a->kn;
  size_t row_blocks = ceil_div(m, BLOCK_ROWS);
  const float *packed_a = j->s->a.p, *packed_b = j->s->b.p;
  size_t p0 = task / row_blocks * BLOCK_PANELS, r0 = task % row_blocks * BLOCK_ROWS;
  size_t p1 = p0 + BLOCK_PANELS < j->panels ? p0 + BLOCK_PANELS : j->panels;
  size_t r1 = r0 + BLOCK_ROWS < m ? r0 + BLOCK_ROWS : m;
  for (size_t k0 = 0; k0 < kn; k0 += j->kc) {
    size_t kw = kn - k0 < j->kc ? kn - k0 : j->kc;
    const float *a = packed_a + k0 * j->a_panels * mr, *b = packed_b + k0 * j->panels * nr;
    for (size_t p = p0; p < p1; p++) {
      int part;
      size_t at, column, width;
      operand_panel(j->b, nr, j->first + p, &part, &at, &column, &width);
      for (size_t r = r0; r < r1; r += mr)
        k->tile(kw, a + r * kw, b + p * kw * nr, j->c + r * j->ldc + column, j->ldc, m - r < mr ? m - r : mr, width,
                j->acc || k0 > 0);
    }
  }
}

static rw_status gemm_chains(cpu_state *s, float *c, size_t ldc, const operand *a, const operand *b, bool acc,
                             bool round, rw_error *err) {
  size_t mr = (size_t)s->k->mr, nr = (size_t)s->k->nr, all = operand_panels(b, nr);
  if (a->n == 0 || b->n == 0) return RW_OK;
  size_t strip = STRIP_FLOATS / (nr * (a->kn ? a->kn : 1)) + 1;
  if (strip > all) strip = all;
  job j = {s, a, b, c, ldc, acc, round, ceil_div(a->n, mr), 0, 0, 0, ceil_div(a->kn, KC), 0};
  j.kc = j.k_blocks ? ceil_div(ceil_div(a->kn, j.k_blocks), 16) * 16 : 0;
  if (!scratch_need(&s->a, j.a_panels * mr * a->kn) || !scratch_need(&s->b, strip * nr * a->kn))
    return rw_nomem(err, "the packed factors of a matrix product");
  for (j.first = 0; j.first < all; j.first += strip) {
    j.panels = all - j.first < strip ? all - j.first : strip;
    j.a_tasks = j.first == 0 ? j.k_blocks * ceil_div(j.a_panels, PACK_PANELS) : 0;
    pool_run(s->threads, j.a_tasks + j.k_blocks * ceil_div(j.panels, PACK_PANELS), pack_task, &j);
    pool_run(s->threads, ceil_div(a->n, BLOCK_ROWS) * ceil_div(j.panels, BLOCK_PANELS), tile_task, &j);
  }
  return RW_OK;
}

/* A product with so few outputs is a head's: one chain in f32 whatever the rest is in. */
enum { FEW_OUTPUTS = 16 };

static void product(cpu_state *s, const char *operation, mat c, const operand *a, const operand *b, size_t out,
                    const row_pieces *rows, bool acc) {
  if (cpu_faulty(s)) return;
  bool chains = out < FEW_OUTPUTS || s->products == PRODUCTS_F32 || s->products == PRODUCTS_BF16,
       round = out >= FEW_OUTPUTS && s->products == PRODUCTS_BF16;
  rw_error err;
  cpu_fault(
      s, operation,
      chains ? gemm_chains(s, c.p, c.ld, a, b, acc, round, &err) : gemm_amx(s, c.p, c.ld, a, b, rows, acc, &err),
      &err);
}

static operand matrix(const void *p, size_t n, size_t kn, size_t si, size_t sk) {
  return (operand){1, false, {{p, n}}, T_F32, si, sk, n, kn};
}

/* stack(w) as a factor: i runs over outputs and k over inputs (forward), or the other way round. Its weights have
 * the same ld. */
static operand stacked(const weight *w, int nw, bool forward) {
  operand o = {.parts = nw, .along_k = !forward, .type = w[0].type};
  for (int i = 0; i < nw; i++) {
    o.part[i].p = w[i].data;
    o.part[i].n = w[i].out;
    *(forward ? &o.n : &o.kn) += w[i].out;
  }
  *(forward ? &o.kn : &o.n) = w[0].in;
  o.si = forward ? w[0].ld : 1;
  o.sk = forward ? 1 : w[0].ld;
  return o;
}

struct bias_job {
  mat y;
  const weight *w;
  int nw;
  const kernels *k;
};

static void bias_row(const void *call, size_t row) {
  const struct bias_job *j = call;
  float *y = cpu_row(j->y, row);
  for (int i = 0; i < j->nw; y += j->w[i].out, i++)
    if (j->w[i].bias) j->k->add(y, j->w[i].bias, j->w[i].out);
}

void cpu_linear(backend *be, mat y, mat x, const weight *w, int nw, size_t m, bool acc) {
  cpu_state *s = cpu_of(be);
  operand a = matrix(x.p, m, w[0].in, x.ld, 1), b = stacked(w, nw, true);
  product(s, "linear", y, &a, &b, b.n, NULL, acc);
  bool any = false;
  for (int i = 0; i < nw; i++) any |= w[i].bias != NULL;
  struct bias_job j = {y, w, nw, s->k};
  if (any) cpu_rows(s, m, bias_row, &j);
}

void cpu_linear_dx(backend *be, mat dx, mat dy, const weight *w, int nw, size_t m, bool acc) {
  operand b = stacked(w, nw, false), a = matrix(dy.p, m, b.kn, dy.ld, 1);
  product(cpu_of(be), "linear_dx", dx, &a, &b, b.kn, NULL, acc);
}

void cpu_linear_dw(backend *be, float *dw, mat dy, mat x, const batch *b, row_set rows, size_t out, size_t in) {
  size_t m = cpu_batch_rows(b, rows);
  const row_pieces *pieces = rows == ROWS_ALL ? &b->l->pieces : &b->l->last_pieces;
  operand a = matrix(dy.p, out, m, 1, dy.ld), x_factor = matrix(x.p, in, m, 1, x.ld);
  product(cpu_of(be), "linear_dw", mat_f32(dw, in), &a, &x_factor, out, pieces->n ? pieces : NULL, true);
}
