/* gemm.c - the three matrix products, on all threads and by whichever engine (engine.h).
 *
 * After Goto & van de Geijn 2008. Factor b is packed by all threads, in strips of panels, so that the packed copy
 * of a weight stays small beside the weight. Then a task packs its own rows of factor a, which stay in its core's
 * second-level cache, and multiplies them with all of the strip. Where tasks have a span of the strip each, because
 * there are few rows or because the engine would have it so, a is packed by all threads, too. The inner index is
 * taken some chunks in one go; running sums wait in c.
 *
 * The inner index is cut into chunks within runs: the parts of a stacked weight, or the pieces of rows that a
 * weight's gradient adds up (backend.h). No chunk straddles two, so bits depend on what is in a run alone.
 */
#include <string.h>

#include "compute/cpu/operand.h"
#include "compute/cpu/ops.h"
#include "compute/cpu/tasks.h"

enum {
  LEAST_ROWS = 64,       /* fewer in a task: it takes a span of b's panels */
  STRIP_FLOATS = 1 << 24 /* packed b at a time: 64 MB */
};

/* Some of the inner index: `len` values from k on, whose chunks begin at chunk `first`. */
typedef struct {
  size_t k, len, first;
} run;

typedef struct {
  const engine *e;
  const scratch *per_thread; /* where a task packs its rows of a */
  const operand *a, *b;
  float *c;
  size_t ldc;
  bool acc;
  float *packed[2]; /* factor a whole (NULL: each task packs its own rows), a strip of b */
  size_t parts[2];  /* engine_parts of both */
  size_t panels[2]; /* in `packed` */
  const run *runs;
  size_t n_runs, chunks;
  size_t first;            /* the strip's first panel of b */
  size_t rows, span, step; /* a task's: of c, panels of b in this strip, chunks in one go */
  size_t row_tasks, a_tasks;
} job;

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Cuts the inner index into runs and counts the chunks. */
static size_t cut(const engine *e, const operand *b, size_t kn, const row_pieces *pieces, size_t n_runs, run *out) {
  size_t chunks = 0, k = 0;
  for (size_t i = 0; i < n_runs; i++) {
    size_t len = b->along_k ? b->part[i].n : pieces ? pieces->end[i] - k : kn;
    out[i] = (run){k, len, chunks};
    chunks += ceil_div(len, e->inner);
    k += len;
  }
  return chunks;
}

/* Packs panels [p0, p1) by chunks [c0, c1) of a factor; `to`: where chunk c0 of panel p0 goes. */
static void pack(const job *j, factor_id f, panels to, size_t p0, size_t p1, size_t c0, size_t c1) {
  const engine *e = j->e;
  const operand *o = f == FACTOR_A ? j->a : j->b;
  for (size_t p = p0, count; p < p1; p += count) { /* panels of one part along i at a time */
    operand_place from = operand_panel(o, e->width[f], p);
    count = least(ceil_div(from.left, e->width[f]), p1 - p);
    for (size_t r = 0; r < j->n_runs; r++) {
      size_t begin = j->runs[r].first, end = begin + ceil_div(j->runs[r].len, e->inner);
      size_t lo = begin > c0 ? begin : c0, hi = least(end, c1), k = (lo - begin) * e->inner;
      if (lo >= hi) continue;
      const char *src = o->part[o->along_k ? r : from.part].p;
      src += (from.at * o->si + (o->along_k ? k : j->runs[r].k + k) * o->sk) * type_size(o->type);
      panels at = {to.p + (p - p0) * to.ld + (lo - c0) * engine_chunk(e, f, to.parts), to.ld, to.parts};
      e->pack(e, at, f, src, o->type, o->si, o->sk, least(from.left, count * e->width[f]),
              least(j->runs[r].len - k, (hi - lo) * e->inner));
    }
  }
}

/* Chunks [c0, c0 + chunks), one go, of a factor that is packed whole: go after go, panel after panel. */
static panels packed_go(const job *j, factor_id f, size_t panel, size_t c0, size_t chunks) {
  size_t parts = j->parts[f], chunk = engine_chunk(j->e, f, parts);
  return (panels){j->packed[f] + (c0 * j->panels[f] + panel * chunks) * chunk, chunks * chunk, parts};
}

static void pack_task(void *ctx, size_t task, int thread) {
  (void)thread;
  const job *j = ctx;
  factor_id f = task < j->a_tasks ? FACTOR_A : FACTOR_B;
  if (f == FACTOR_B) task -= j->a_tasks;
  size_t all = j->panels[f], groups = ceil_div(all, j->e->suits.pack), first = f == FACTOR_A ? 0 : j->first;
  size_t p0 = task % groups * j->e->suits.pack, p1 = least(p0 + j->e->suits.pack, all);
  size_t c0 = task / groups * j->step, chunks = least(j->chunks - c0, j->step);
  pack(j, f, packed_go(j, f, p0, c0, chunks), first + p0, first + p1, c0, c0 + chunks);
}
static size_t pack_tasks(const job *j, factor_id f) {
  return ceil_div(j->panels[f], j->e->suits.pack) * ceil_div(j->chunks, j->step);
}

/* The task's rows of a, packed. */
static panels rows_of_a(const job *j, int thread, size_t row, size_t height, size_t c0, size_t chunks) {
  size_t width = j->e->width[FACTOR_A], parts = j->parts[FACTOR_A];
  if (j->packed[FACTOR_A]) return packed_go(j, FACTOR_A, row / width, c0, chunks);
  panels a = {j->per_thread[thread].p, chunks * engine_chunk(j->e, FACTOR_A, parts), parts};
  pack(j, FACTOR_A, a, row / width, ceil_div(row + height, width), c0, c0 + chunks);
  return a;
}

static void block_task(void *ctx, size_t task, int thread) {
  const job *j = ctx;
  const engine *e = j->e;
  size_t row = task % j->row_tasks * j->rows, height = least(j->a->n - row, j->rows), width = e->width[FACTOR_B];
  size_t p0 = task / j->row_tasks * j->span, p1 = least(p0 + j->span, j->panels[FACTOR_B]), count;
  engine_begin(e);
  for (size_t c0 = 0; c0 < j->chunks; c0 += j->step) {
    size_t chunks = least(j->chunks - c0, j->step);
    panels a = rows_of_a(j, thread, row, height, c0, chunks);
    for (size_t p = p0; p < p1; p += count) { /* panels of one part stand side by side in c */
      operand_place to = operand_panel(j->b, width, j->first + p);
      count = least(ceil_div(to.left, width), p1 - p);
      e->multiply(e, chunks, a, packed_go(j, FACTOR_B, p, c0, chunks), j->c + row * j->ldc + to.column, j->ldc,
                  height, least(to.left, count * width), j->acc || c0 > 0);
    }
  }
  engine_end(e);
}

/* How the job is cut, for so many threads. */
static void share_out(job *j, size_t threads, size_t strip) {
  const engine *e = j->e;
  size_t m = j->a->n, rows = ceil_div(m, threads * ceil_div(m, threads * e->suits.rows));
  j->rows = round_up(rows < LEAST_ROWS ? LEAST_ROWS : rows, e->width[FACTOR_A]);
  j->row_tasks = ceil_div(m, j->rows);
  size_t spans = ceil_div(threads, j->row_tasks);
  j->span = least(round_up(ceil_div(strip, spans), 2), e->suits.panels);
  /* goes of the same size, a multiple of 16 values: packed ones begin at whole lines of memory */
  j->step = round_up(ceil_div(j->chunks, ceil_div(j->chunks, e->suits.chunks)), ceil_div(16, e->inner));
}

/* Memory for what is packed: a whole if tasks have only a span of the strip each, else each task's own rows. */
static bool find_room(job *j, cpu_state *s, size_t strip) {
  size_t a_chunk = engine_chunk(j->e, FACTOR_A, j->parts[FACTOR_A]);
  if (!scratch_need(&s->b, strip * j->chunks * engine_chunk(j->e, FACTOR_B, j->parts[FACTOR_B]))) return false;
  j->packed[FACTOR_B] = s->b.p;
  j->panels[FACTOR_A] = ceil_div(j->a->n, j->e->width[FACTOR_A]);
  if (j->span < strip) {
    if (!scratch_need(&s->a, j->panels[FACTOR_A] * j->chunks * a_chunk)) return false;
    j->packed[FACTOR_A] = s->a.p;
    return true;
  }
  for (int i = 0; i < pool_threads(s->threads); i++)
    if (!scratch_need(&s->per_thread[i], j->rows / j->e->width[FACTOR_A] * j->step * a_chunk)) return false;
  return true;
}

static rw_status gemm(cpu_state *s, const engine *e, float *c, size_t ldc, const operand *a, const operand *b,
                      const row_pieces *pieces, bool acc, rw_error *err) {
  size_t threads = (size_t)pool_threads(s->threads), all = operand_panels(b, e->width[FACTOR_B]);
  if (e->inner == 1) pieces = NULL; /* no chunk can straddle two */
  job j = {.e = e, .per_thread = s->per_thread, .a = a, .b = b, .c = c, .ldc = ldc, .acc = acc};
  j.n_runs = b->along_k ? (size_t)b->parts : pieces ? pieces->n : 1;
  if (a->n == 0 || b->n == 0) return RW_OK;
  if (!scratch_need(&s->runs, ceil_div(j.n_runs * sizeof(run), sizeof(float))))
    return rw_nomem(err, "the runs of a matrix product");
  j.chunks = cut(e, b, a->kn, pieces, j.n_runs, s->runs.p);
  j.runs = s->runs.p;
  if (j.chunks == 0) {
    for (size_t i = 0; !acc && i < a->n; i++) memset(c + i * ldc, 0, b->n * sizeof(float));
    return RW_OK;
  }
  j.parts[FACTOR_A] = engine_parts(e, a->type);
  j.parts[FACTOR_B] = engine_parts(e, b->type);
  size_t strip = least(STRIP_FLOATS / (j.chunks * engine_chunk(e, FACTOR_B, j.parts[FACTOR_B])) + 1, all);
  share_out(&j, threads, strip);
  if (!find_room(&j, s, strip)) return rw_nomem(err, "the packed factors of a matrix product");
  for (j.first = 0; j.first < all; j.first += strip) {
    j.panels[FACTOR_B] = least(all - j.first, strip);
    j.a_tasks = j.packed[FACTOR_A] && j.first == 0 ? pack_tasks(&j, FACTOR_A) : 0;
    pool_run(s->threads, j.a_tasks + pack_tasks(&j, FACTOR_B), pack_task, &j);
    pool_run(s->threads, j.row_tasks * ceil_div(j.panels[FACTOR_B], j.span), block_task, &j);
  }
  return RW_OK;
}

/* Of few outputs, which are a head's: in f32 whatever the rest is in. */
static const engine *engine_of(const cpu_state *s, size_t out) {
  return out < BACKEND_FEW_OUTPUTS ? &s->engines.head : &s->engines.layers;
}

static void product(cpu_state *s, const char *operation, mat c, const operand *a, const operand *b, size_t out,
                    const row_pieces *pieces, bool acc) {
  const engine *e = engine_of(s, out);
  rw_error err;
  if (!cpu_faulty(s)) cpu_fault(s, operation, gemm(s, e, c.p, c.ld, a, b, pieces, acc, &err), &err);
}

static operand matrix(const void *p, size_t n, size_t kn, size_t si, size_t sk) {
  return (operand){1, false, {{p, n}}, T_F32, si, sk, n, kn};
}

/* stack(w) as a factor: i runs over outputs and k over inputs (forward), or the other way round. Its weights have
 * the same ld and type. */
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

/* A checkpoint may have the matrices of one input in several types. */
static bool of_one_type(const weight *w, int nw) {
  for (int i = 1; i < nw; i++)
    if (w[i].type != w[0].type) return false;
  return true;
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
  if (!of_one_type(w, nw)) {
    for (size_t i = 0, column = 0; i < (size_t)nw; column += w[i++].out)
      cpu_linear(be, mat_from(y, 0, column), x, &w[i], 1, m, acc);
    return;
  }
  operand a = matrix(x.p, m, w[0].in, x.ld, 1), b = stacked(w, nw, true);
  const engine *e = engine_of(s, b.n);
  if (e->inner != 1 || e->round || !cpu_thin(s, y, x, w, nw, m, acc))
    product(s, "linear", y, &a, &b, b.n, NULL, acc);
  bool any = false;
  for (int i = 0; i < nw; i++) any |= w[i].bias != NULL;
  struct bias_job j = {y, w, nw, s->k};
  if (any) cpu_rows(s, m, bias_row, &j);
}

void cpu_linear_dx(backend *be, mat dx, mat dy, const weight *w, int nw, size_t m, bool acc) {
  if (!of_one_type(w, nw)) {
    for (size_t i = 0, column = 0; i < (size_t)nw; column += w[i++].out)
      cpu_linear_dx(be, dx, mat_from(dy, 0, column), &w[i], 1, m, acc || i > 0);
    return;
  }
  operand b = stacked(w, nw, false), a = matrix(dy.p, m, b.kn, dy.ld, 1);
  product(cpu_of(be), "linear_dx", dx, &a, &b, b.kn, NULL, acc);
}

static void weight_gradient(backend *be, float *dw, mat dy, mat x, size_t m, const row_pieces *pieces, size_t out,
                            size_t in) {
  operand a = matrix(dy.p, out, m, 1, dy.ld), x_factor = matrix(x.p, in, m, 1, x.ld);
  product(cpu_of(be), "linear_dw", mat_f32(dw, in), &a, &x_factor, out, pieces->n ? pieces : NULL, true);
}

void cpu_linear_dw(backend *be, float *dw, mat dy, mat x, const batch *b, row_set rows, size_t out, size_t in) {
  const row_pieces *pieces = rows == ROWS_ALL ? &b->l->pieces : &b->l->last_pieces;
  weight_gradient(be, dw, dy, x, cpu_batch_rows(b, rows), pieces, out, in);
}

void cpu_linear_dw_pieces(backend *be, float *dw, mat dy, mat x, const row_pieces *pieces, size_t out, size_t in) {
  weight_gradient(be, dw, dy, x, pieces->end[pieces->n - 1], pieces, out, in);
}
