/* ops_optimizer.h - check-ops: the updates of AdamW. */
#ifndef OPS_OPTIMIZER_H
#define OPS_OPTIMIZER_H

#include "compute/backend.h"
#include "ops_measure.h"
#include "ops_report.h"

static void check_adamw(backend *be, const char *level) {
  size_t n = 1000;
  float *w = random_f(n, 1), *g = random_f(n, 1), *m = random_f(n, 0.1), *v = random_f(n, 0.1);
  for (size_t i = 0; i < n; i++) v[i] *= v[i];
  double *wd = widen(w, n);
  adamw_step o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 1 - pow(0.9, 3), 1 - pow(0.95, 3), 3, 0};
  for (size_t i = 0; i < n; i++) { /* Loshchilov & Hutter 2019, algorithm 2 with PyTorch's placement of eps */
    double gi = (double)g[i] * 0.5, mi = 0.9 * m[i] + 0.1 * gi, vi = 0.95 * v[i] + 0.05 * gi * gi;
    wd[i] = wd[i] * (1 - 1e-2 * 0.1) - 1e-2 / o.bias1 * mi / (sqrt(vi / o.bias2) + 1e-8);
  }
  be->adamw(be, (master){.value = w}, g, m, v, n, &o, 0.5f);
  report(level, "adamw", distance(w, wd, n), 1e-6);
  free(w), free(g), free(m), free(v), free(wd);
}

/* What the codes of backend.h stand for, written another way: steps of 1/8 of a power of two below the scale. */
static double decode8(int code, bool with_sign) {
  int size = with_sign ? code & 127 : code, down = (with_sign ? 127 : 255) - size;
  double v = size == 0 ? 0 : ldexp(1 + ((1024 - down) % 8) / 8.0, -((down + 7) / 8));
  return with_sign && code & 128 ? -v : v;
}

/* Eight-bit moments: w takes the exact update; the moments come back within a step, and right on average. */
static void check_adamw8(backend *be, const char *level) {
  enum { N = 70000, BLOCKS = (N + ADAMW8_BLOCK - 1) / ADAMW8_BLOCK };
  float *w = random_f(N, 1), *g = random_f(N, 1), *w2 = malloc(N * 4), *g2 = malloc(N * 4), *m = calloc(N, 4),
        *v = calloc(N, 4);
  adamw8_state q[2];
  for (int i = 0; i < 2; i++) q[i] = (adamw8_state){calloc(N, 1), calloc(BLOCKS, 4)};
  memcpy(w2, w, N * 4), memcpy(g2, g, N * 4);
  adamw_step o = {1e-2, 0.9, 0.95, 1e-8, 0.1, 0.1, 0.05, 1, 0};
  be->adamw(be, (master){.value = w}, g, m, v, N, &o, 0.5f);
  be->adamw8(be, (master){.value = w2}, g2, q[0], q[1], N, &o, 0.5f);
  report(level, "adamw8, first update, bits", bits_differ(w, w2, N * 4), 0);
  double worst[2] = {0, 0}, mean[2] = {0, 0};
  for (size_t i = 0; i < N; i++)
    for (int k = 0; k < 2; k++) {
      double x = k ? v[i] : m[i], top = q[k].scale[i / ADAMW8_BLOCK],
             floor = top * (k ? 3e-10 : 2e-5), /* below the smallest code */
          d = (decode8(q[k].code[i], k == 0) * top - x) / fmax(fabs(x), 8 * floor);
      if (fabs(d) > worst[k]) worst[k] = fabs(d);
      mean[k] += d / N;
    }
  report(level, "adamw8, first moment, within a step", worst[0], 0.125);
  report(level, "adamw8, first moment, mean", fabs(mean[0]), 1e-3);
  report(level, "adamw8, second moment, within a step", worst[1], 0.125);
  report(level, "adamw8, second moment, mean", fabs(mean[1]), 1e-3);
  void *p[] = {w, g, w2, g2, m, v, q[0].code, q[1].code, q[0].scale, q[1].scale};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) free(p[i]);
}

#endif
