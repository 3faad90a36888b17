/* check_attention.c - a GPU's attention against its plain definition (ops_ref.h), on a GPU or on the emulator.
 *
 * usage: check-attention [quick | race]   quick: few forests, for the emulator; race: each kernel once, for its
 * slow sanitizer of threads.
 *
 * Forward, sums and gradients on forests of many kinds of trees; what a row gets has the same bits alone, with its
 * prompt shared, behind known rows, and wherever its tree is in a batch. The plain gradients are checked by finite
 * differences first.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/rng.h"
#include "compute/cuda/attention.h"
#include "device.h"
#include "ops_ref.h"

static int passed, failed;
static rng R;

static void report(double error, double bound, const char *fmt, ...) {
  char what[160];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(what, sizeof what, fmt, ap);
  va_end(ap);
  const bool ok = error <= bound;
  ok ? passed++ : failed++;
  printf("%s %-78s %.1e (bound %.0e)\n", ok ? "ok  " : "FAIL", what, error, bound);
  fflush(stdout);
}

static uint16_t to_bf16(double x) {
  float f = (float)x;
  uint32_t u;
  memcpy(&u, &f, sizeof u);
  return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
static double of_bf16(uint16_t h) {
  uint32_t u = (uint32_t)h << 16;
  float f;
  memcpy(&f, &u, sizeof f);
  return f;
}

/* ---- plain gradients, in double: dqkv of sum(dy · o) ---- */

static void ref_attention_bwd(double *dx, const double *dy, const double *x, const forest *f,
                              const attention_shape *a) {
  const size_t d = a->head_dim, ld = (a->q_heads + 2 * a->kv_heads) * d, ldo = a->q_heads * d;
  double *o = malloc(f->rows * ldo * sizeof *o), *p = malloc(f->rows * sizeof *p),
         *slope = malloc(f->rows * sizeof *p);
  ref_attention(o, x, f, a);
  memset(dx, 0, f->rows * ld * sizeof *dx);
  for (size_t t = 0; t < f->n_trees; t++)
    for (size_t b = 0; b < f->trees[t].n_branches; b++) {
      const tree *tr = &f->trees[t];
      const size_t n = tr->prompt.len + f->branches[tr->first_branch + b].len;
      for (size_t i = b == 0 ? 0 : tr->prompt.len; i < n; i++)
        for (size_t h = 0; h < a->q_heads; h++) {
          const size_t row = ref_row(f, tr, b, i), k = (a->q_heads + h / (a->q_heads / a->kv_heads)) * d;
          const size_t v = k + a->kv_heads * d,
                       from = a->window > 0 && i + 1 > (size_t)a->window ? i + 1 - (size_t)a->window : 0;
          const double *q = x + row * ld + h * d, *g = dy + row * ldo + h * d;
          double max = -INFINITY, sum = 0, delta = 0;
          for (size_t j = from; j <= i; j++) {
            p[j] = 0, slope[j] = 1;
            for (size_t c = 0; c < d; c++) p[j] += a->scale * q[c] * x[ref_row(f, tr, b, j) * ld + k + c];
            if (a->softcap > 0) {
              const double th = tanh(p[j] / a->softcap);
              p[j] = a->softcap * th, slope[j] = 1 - th * th;
            }
            max = fmax(max, p[j]);
          }
          for (size_t j = from; j <= i; j++) sum += p[j] = exp(p[j] - max);
          for (size_t c = 0; c < d; c++) delta += g[c] * o[row * ldo + h * d + c];
          for (size_t j = from; j <= i; j++) {
            const size_t key = ref_row(f, tr, b, j) * ld;
            double dp = 0;
            for (size_t c = 0; c < d; c++) dp += g[c] * x[key + v + c];
            const double w = p[j] / sum, ds = w * (dp - delta) * slope[j] * a->scale;
            for (size_t c = 0; c < d; c++) {
              dx[key + v + c] += w * g[c];
              dx[key + k + c] += ds * q[c];
              dx[row * ld + h * d + c] += ds * x[key + k + c];
            }
          }
        }
    }
  free(o), free(p), free(slope);
}

/* ---- forests ---- */

enum { MAX_TREES = 16, MAX_BRANCHES = 4 };
typedef struct {
  size_t prompt, n, len[MAX_BRANCHES];
} kind; /* of a tree */
typedef struct {
  forest f;
  tree trees[MAX_TREES * MAX_BRANCHES];
  span branches[MAX_TREES * MAX_BRANCHES];
} grove;

/* The trees that `order` names, `gap` rows of nothing known before each; share false: a tree for each branch. */
static void plant(grove *g, const kind *kinds, const size_t *order, size_t n, bool share) {
  size_t rows = 0, branches = 0, trees = 0;
  for (size_t i = 0; i < n; i++) {
    const kind *k = &kinds[order[i]];
    for (size_t b = 0; b < k->n; b++) {
      if (b == 0 || !share) {
        g->trees[trees++] = (tree){{rows, share ? k->prompt : 0}, branches, 0, {0, 0}};
        rows += share ? k->prompt : 0;
      }
      const size_t len = k->len[b] + (share ? 0 : k->prompt);
      g->branches[branches++] = (span){rows, len};
      rows += len;
      g->trees[trees - 1].n_branches++;
    }
  }
  g->f =
      (forest){.rows = rows, .n_trees = trees, .n_branches = branches, .trees = g->trees, .branches = g->branches};
}

/* ---- one run ---- */

/* Everything of a forest's rows, side by side in memory of this machine; `each` bytes an element. */
typedef struct {
  size_t rows, each, x_row, o_row, lse_row; /* bytes of a row */
  char *x, *dy, *o, *lse, *dx;
  char *known; /* [n_known, 2GD]; NULL: none */
  size_t n_known;
} sample;
static void sample_make(sample *s, size_t rows, const attention_shape *a, tensor_type type) {
  s->known = NULL, s->n_known = 0;
  s->rows = rows, s->each = type == T_BF16 ? 2 : 4;
  s->x_row = (a->q_heads + 2 * a->kv_heads) * a->head_dim * s->each;
  s->o_row = a->q_heads * a->head_dim * s->each;
  s->lse_row = a->q_heads * 4;
  s->x = malloc(rows * s->x_row), s->dy = malloc(rows * s->o_row), s->o = malloc(rows * s->o_row);
  s->lse = malloc(rows * s->lse_row), s->dx = malloc(rows * s->x_row);
}
static void sample_free(sample *s) {
  free(s->x), free(s->dy), free(s->o), free(s->lse), free(s->dx), free(s->known);
}

/* Rows of matrices have `pad` bytes more on the device, which must stay as they are. */
static void run(sample *s, const forest *f, const attention_shape *a, tensor_type type, bool backward) {
  const size_t pad = 32, ld = s->x_row + pad, ldo = s->o_row + pad, n = s->rows;
  attention_plan plan;
  if (!attention_takes(a, type) || attention_plan_make(&plan, f, a->q_heads / a->kv_heads, NULL)) {
    failed++;
    return;
  }
  char *x = device_alloc(n * ld), *dy = device_alloc(n * ldo), *o = device_alloc(n * ldo),
       *dx = device_alloc(n * ld);
  float *lse = device_alloc(n * s->lse_row), *delta = device_alloc(n * s->lse_row);
  int32_t *words = device_alloc(plan.n_words * sizeof *words);
  char *host = malloc(n * ld);
  device_put(words, plan.words, plan.n_words * sizeof *words);
  memset(host, 0xff, n * ld);
  for (size_t i = 0; i < n; i++) memcpy(host + i * ld, s->x + i * s->x_row, s->x_row);
  device_put(x, host, n * ld);
  for (size_t i = 0; i < n; i++)
    memcpy(host + i * ldo, s->dy + i * s->o_row, s->o_row), memset(host + i * ldo + s->o_row, 0xff, pad);
  device_put(dy, host, n * ldo);
  attention_shape shape = *a;
  const size_t known_row = s->x_row - s->o_row;
  char *known = s->n_known ? device_alloc(s->n_known * known_row) : NULL;
  if (known) device_put(known, s->known, s->n_known * known_row);
  shape.known = (mat){known, known_row / s->each, type};
  attention_call c = {.plan = &plan, .words = words, .shape = &shape, .type = type, .rows = n};
  c.qkv = x, c.ld = ld / s->each, c.o = o, c.ldo = ldo / s->each, c.lse = lse;
  c.d_o = dy, c.lddo = c.ldo, c.dqkv = dx, c.ldd = c.ld, c.delta = delta;
  attention_forward(&c);
  if (backward) attention_backward(&c);
  size_t spilt = 0;
  device_get(host, o, n * ldo);
  for (size_t i = 0; i < n; i++) {
    memcpy(s->o + i * s->o_row, host + i * ldo, s->o_row);
    for (size_t k = 0; k < pad; k++) spilt += (unsigned char)host[i * ldo + s->o_row + k] != 0xff;
  }
  device_get(host, dx, n * ld);
  for (size_t i = 0; i < n; i++) {
    memcpy(s->dx + i * s->x_row, host + i * ld, s->x_row);
    for (size_t k = 0; k < pad; k++) spilt += (unsigned char)host[i * ld + s->x_row + k] != 0xff;
  }
  device_get(s->lse, lse, n * s->lse_row);
  if (spilt) report((double)spilt, 0, "bytes written beside rows");
  void *all[] = {x, dy, o, dx, lse, delta, words, known};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) device_free(all[i]);
  free(host);
  attention_plan_free(&plan);
}

static double value(const char *p, size_t i, tensor_type type) {
  if (type == T_BF16) return of_bf16(((const uint16_t *)(const void *)p)[i]);
  return ((const float *)(const void *)p)[i];
}
static void fill(char *p, double *wide, size_t n, double scale, tensor_type type) {
  for (size_t i = 0; i < n; i++) {
    const double x = rng_normal(&R) * scale;
    if (type == T_BF16)
      ((uint16_t *)(void *)p)[i] = to_bf16(x);
    else
      ((float *)(void *)p)[i] = (float)x;
    wide[i] = value(p, i, type);
  }
}
/* Largest difference in columns [from, to) of rows, over the largest value there. */
static double distance(const char *got, const double *want, size_t rows, size_t ld, size_t from, size_t to,
                       tensor_type type) {
  double e = 0, top = 1e-2;
  for (size_t i = 0; i < rows; i++)
    for (size_t c = from; c < to; c++) {
      const double diff = fabs(value(got, i * ld + c, type) - want[i * ld + c]);
      if (!(diff <= e)) e = diff; /* NaN stays */
      top = fmax(top, fabs(want[i * ld + c]));
    }
  return e / top;
}

/* ---- the checks ---- */

/* Row `i` of kind k's conversation b in a grove, whose tree is number t (shared) or t + b. */
static size_t row_at(const grove *g, size_t t, bool share, size_t b, size_t i) {
  return ref_row(&g->f, &g->trees[share ? t : t + b], share ? b : 0, i);
}

/* Trees in another order, or with prompts of their own: the rows' results must be the same bits. all: of all
 * gradients, else those of queries. */
static void compare(const sample *s, const grove *g, const kind *kinds, const attention_shape *a, tensor_type type,
                    const size_t *order, size_t taken, bool share, const char *name) {
  static grove other;
  sample z;
  size_t tree_of[MAX_TREES], at = 0, differ[3] = {0};
  memset(&other, 0, sizeof other);
  plant(&other, kinds, order, taken, share);
  for (size_t i = 0; i < taken; i++) tree_of[i] = at, at += share ? 1 : kinds[order[i]].n;
  sample_make(&z, other.f.rows, a, type);
  for (int pass = 0; pass < 2; pass++) {
    for (size_t i = 0; i < taken; i++)
      for (size_t b = 0; b < kinds[order[i]].n; b++)
        for (size_t p = 0; p < kinds[order[i]].prompt + kinds[order[i]].len[b]; p++) {
          const size_t from = row_at(g, order[i], true, b, p), to = row_at(&other, tree_of[i], share, b, p);
          if (pass == 0) {
            memcpy(z.x + to * z.x_row, s->x + from * s->x_row, s->x_row);
            memcpy(z.dy + to * z.o_row, s->dy + from * s->o_row, s->o_row);
          } else {
            differ[0] += memcmp(z.o + to * z.o_row, s->o + from * s->o_row, s->o_row) != 0;
            differ[1] += memcmp(z.lse + to * z.lse_row, s->lse + from * s->lse_row, s->lse_row) != 0;
            differ[2] += memcmp(z.dx + to * z.x_row, s->dx + from * s->x_row, share ? s->x_row : s->o_row) != 0;
          }
        }
    if (pass == 0) run(&z, &other.f, a, type, true);
  }
  report((double)(differ[0] + differ[1] + differ[2]), 0, "  %s: rows whose bits differ (o %zu, lse %zu, dqkv %zu)",
         name, differ[0], differ[1], differ[2]);
  sample_free(&z);
}

/* The first rows of each prompt known, all of them of every second one: the others' results must be the same bits.
 */
static void compare_known(const sample *s, const grove *g, const kind *kinds, size_t n, const attention_shape *a,
                          tensor_type type) {
  static grove other;
  sample z;
  kind cut[MAX_TREES] = {{0}};
  size_t order[MAX_TREES] = {0}, known[MAX_TREES] = {0}, n_known = 0, differ[2] = {0};
  for (size_t i = 0; i < n; i++) {
    order[i] = i;
    cut[i] = kinds[i];
    known[i] = i % 2 ? kinds[i].prompt : kinds[i].prompt * 2 / 3;
    cut[i].prompt -= known[i];
  }
  memset(&other, 0, sizeof other);
  plant(&other, cut, order, n, true);
  for (size_t i = 0; i < n; n_known += known[i++]) other.trees[i].known = (span){n_known, known[i]};
  sample_make(&z, other.f.rows, a, type);
  z.n_known = n_known;
  z.known = malloc((n_known + 1) * (z.x_row - z.o_row));
  for (int pass = 0; pass < 2; pass++) {
    for (size_t i = 0; i < n; i++)
      for (size_t b = 0; b < kinds[i].n; b++)
        for (size_t p = 0; p < kinds[i].prompt + kinds[i].len[b]; p++) {
          const size_t from = row_at(g, i, true, b, p);
          const size_t to = p < known[i] ? 0 : row_at(&other, i, true, b, p - known[i]);
          if (pass == 0 && p < known[i])
            memcpy(z.known + (other.trees[i].known.first + p) * (z.x_row - z.o_row),
                   s->x + from * s->x_row + s->o_row, z.x_row - z.o_row);
          else if (pass == 0)
            memcpy(z.x + to * z.x_row, s->x + from * s->x_row, s->x_row);
          else if (p >= known[i]) {
            differ[0] += memcmp(z.o + to * z.o_row, s->o + from * s->o_row, s->o_row) != 0;
            differ[1] += memcmp(z.lse + to * z.lse_row, s->lse + from * s->lse_row, s->lse_row) != 0;
          }
        }
    if (pass == 0) memset(z.dy, 0, z.rows * z.o_row), run(&z, &other.f, a, type, false);
  }
  report((double)(differ[0] + differ[1]), 0, "  behind %zu known rows: rows whose bits differ (o %zu, lse %zu)",
         n_known, differ[0], differ[1]);
  sample_free(&z);
}

static void check(const kind *kinds, size_t n, const attention_shape *a, tensor_type type, bool bits) {
  static grove g;
  sample s;
  size_t order[MAX_TREES];
  memset(&g, 0, sizeof g);
  for (size_t i = 0; i < n; i++) order[i] = i;
  plant(&g, kinds, order, n, true);
  const size_t rows = g.f.rows, q = a->q_heads * a->head_dim, k = a->kv_heads * a->head_dim, ld = q + 2 * k;
  sample_make(&s, rows, a, type);
  double *x = malloc(rows * ld * 8), *dy = malloc(rows * q * 8), *o = malloc(rows * q * 8),
         *dx = malloc(rows * ld * 8);
  fill(s.x, x, rows * ld, a->softcap > 0 ? 1.5 : 1, type);
  fill(s.dy, dy, rows * q, 1, type);
  ref_attention(o, x, &g.f, a);
  ref_attention_bwd(dx, dy, x, &g.f, a);
  run(&s, &g.f, a, type, true);
  const double loose = type == T_BF16 ? 1 : 1e-3;
  report(distance(s.o, o, rows, q, 0, q, type), 8e-3 * loose,
         "%s, D %zu, %zu/%zu heads, window %d, cap %g, %zu rows", type == T_BF16 ? "bf16" : "f32", a->head_dim,
         a->q_heads, a->kv_heads, a->window, (double)a->softcap, rows);
  report(distance(s.dx, dx, rows, ld, 0, q, type), 1.2e-2 * loose, "  dq");
  report(distance(s.dx, dx, rows, ld, q, q + k, type), 1.2e-2 * loose, "  dk");
  report(distance(s.dx, dx, rows, ld, q + k, ld, type), 1.2e-2 * loose, "  dv");
  if (bits) {
    compare(&s, &g, kinds, a, type, order, n, false, "prompts not shared");
    for (size_t i = 0; i < n; i++) order[i] = n - 1 - i;
    compare(&s, &g, kinds, a, type, order, n, true, "trees in reverse order");
    compare(&s, &g, kinds, a, type, order + n / 2, 1, true, "one tree alone");
    compare_known(&s, &g, kinds, n, a, type);
  }
  free(x), free(dy), free(o), free(dx);
  sample_free(&s);
}

/* The plain gradients, by differences of the plain definition. */
static void check_plain(const kind *kinds, size_t n, const attention_shape *a) {
  static grove g;
  size_t order[MAX_TREES];
  memset(&g, 0, sizeof g);
  for (size_t i = 0; i < n; i++) order[i] = i;
  plant(&g, kinds, order, n, true);
  const size_t q = a->q_heads * a->head_dim, ld = q + 2 * a->kv_heads * a->head_dim, rows = g.f.rows;
  double *x = malloc(rows * ld * 8), *dy = malloc(rows * q * 8), *o = malloc(rows * q * 8),
         *dx = malloc(rows * ld * 8);
  double worst = 0, top = 0;
  for (size_t i = 0; i < rows * ld; i++) x[i] = rng_normal(&R);
  for (size_t i = 0; i < rows * q; i++) dy[i] = rng_normal(&R);
  ref_attention_bwd(dx, dy, x, &g.f, a);
  for (size_t probe = 0; probe < 60; probe++) {
    const size_t i = (size_t)rng_below(&R, rows * ld);
    const double at = x[i], h = 1e-5;
    double sum[2] = {0};
    for (int side = 0; side < 2; side++) {
      x[i] = at + (side ? h : -h);
      ref_attention(o, x, &g.f, a);
      for (size_t j = 0; j < rows * q; j++) sum[side] += dy[j] * o[j];
    }
    x[i] = at;
    worst = fmax(worst, fabs((sum[1] - sum[0]) / (2 * h) - dx[i]));
    top = fmax(top, fabs(dx[i]));
  }
  report(worst / top, 1e-7, "plain gradients, window %d, cap %g: against differences", a->window,
         (double)a->softcap);
  free(x), free(dy), free(o), free(dx);
}

static void check_random(size_t most) {
  static const size_t sizes[] = {64, 80, 96, 128, 256};
  kind kinds[4];
  const size_t n = 1 + (size_t)rng_below(&R, 4), groups = 1 + (size_t)rng_below(&R, 2);
  attention_shape a = {groups * (1 + (size_t)rng_below(&R, 8)), groups, sizes[rng_below(&R, 5)], 0, 0, 0};
  a.scale = 1 / sqrtf((float)a.head_dim);
  if (rng_below(&R, 3) == 0) a.softcap = 5;
  if (rng_below(&R, 2) == 0) a.window = 1 + (int32_t)rng_below(&R, most);
  for (size_t i = 0; i < n; i++) {
    kinds[i] = (kind){(size_t)rng_below(&R, most), 1 + (size_t)rng_below(&R, MAX_BRANCHES), {0}};
    for (size_t b = 0; b < kinds[i].n; b++) kinds[i].len[b] = 1 + (size_t)rng_below(&R, most);
  }
  check(kinds, n, &a, T_BF16, true);
}

int main(int argc, char **argv) {
  const bool quick = argc > 1 && strcmp(argv[1], "quick") == 0, race = argc > 1 && strcmp(argv[1], "race") == 0;
  static const kind mixed[] = {{50, 3, {3, 120, 1}},      {0, 1, {33}},         {7, 2, {1, 2}}, {64, 2, {64, 65}},
                               {130, 4, {1, 70, 63, 15}}, {0, 3, {1, 64, 140}}, {1, 1, {127}}};
  static const struct {
    attention_shape a;
    size_t trees, quick_trees;
  } kinds[] = {
      {{4, 1, 64, 0.125f, 0, 0, {0}}, 7, 3}, {{2, 1, 128, 0.09f, 0, 0, {0}}, 4, 3},
      {{2, 2, 80, 0.1f, 0, 40, {0}}, 7, 0},  {{3, 1, 96, 0.1f, 5, 0, {0}}, 3, 1},
      {{2, 1, 256, 0.06f, 0, 0, {0}}, 4, 0}, {{2, 1, 256, 0.06f, 5, 64, {0}}, 3, 1},
      {{8, 1, 16, 0.25f, 0, 0, {0}}, 3, 0},  {{2, 1, 128, 0.09f, 10, 65, {0}}, 4, 3},
      {{1, 1, 40, 0.2f, 0, 1, {0}}, 3, 0},   {{5, 1, 64, 0.125f, 50, 100, {0}}, 7, 0},
      {{7, 1, 128, 0.09f, 0, 0, {0}}, 3, 0}, {{1, 1, 64, 0.125f, 0, 0, {0}}, 7, 0},
  };
  R = rng_new(19, 0);
  printf("%s\n", device_name());
  if (race) { /* two tiles of queries, of keys, and a branch that sees a prompt */
    static const kind one[] = {{130, 1, {5}}};
    check(one, 1, &(attention_shape){2, 1, 64, 0.125f, 0, 0, {0}}, T_BF16, false);
    check(one, 1, &(attention_shape){1, 1, 256, 0.06f, 5, 70, {0}}, T_BF16, false);
    check(one, 1, &(attention_shape){1, 1, 8, 0.3f, 0, 0, {0}}, T_F32, false);
  } else {
    check_plain(mixed, 3, &(attention_shape){4, 2, 8, 0.35f, 0, 0, {0}});
    check_plain(mixed, 3, &(attention_shape){2, 1, 8, 0.35f, 2, 40, {0}});
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
      const size_t trees = quick ? kinds[i].quick_trees : kinds[i].trees;
      if (trees) check(mixed, trees, &kinds[i].a, T_BF16, true);
    }
    for (size_t i = 0; i < (quick ? 1 : 12); i++) check_random(quick ? 40 : 300);
    check(mixed, 3, &(attention_shape){4, 2, 24, 0.2f, 0, 0, {0}}, T_F32, true);
    check(mixed, quick ? 3 : 5, &(attention_shape){3, 1, 40, 0.15f, 3, 50, {0}}, T_F32, true);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
