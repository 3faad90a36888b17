/* ops_speed.h - for check-ops --speed: the rates of the products, and oneDNN's. */
#ifndef TESTS_OPS_SPEED_H
#define TESTS_OPS_SPEED_H

#include "base/clock.h"
#include "ops_calls.h"
#include "ops_measure.h"
#include "ops_peer.h"

static void speed(backend *be, const char *level, bool bf16, int threads) {
  static const size_t shapes[][2] = {{576, 960}, {576, 576}, {576, 3072}, {1536, 576}};
  size_t m = 1024;
  be->set_bf16(be, bf16);
  printf("GFLOP/s, %s, %d threads, %zu rows   forward       dx       dw   oneDNN\n", bf16 ? "bf16" : "f32", threads,
         m);
  for (size_t s = 0; s < 4; s++) {
    size_t in = shapes[s][0], out = shapes[s][1];
    float *x = random_f(m * in, 1), *w = random_f(out * in, 1), *y = random_f(m * out, 1),
          *dw = random_f(out * in, 1);
    weight wt = {w, T_F32, out, in, in, NULL};
    mat mx = mat_f32(x, in), my = mat_f32(y, out);
    rows_of all;
    rows_make(be, &all, m, NULL, 0, NULL);
    double best[4] = {1e9, 1e9, 1e9, 1e9};
    peer onednn = {0};
    if (bf16 && !peer_open(&onednn, m, in, out)) failed++;
    for (int r = 0; r < 10; r++)
      for (int k = 0; k < 4; k++) {
        double t = clock_seconds();
        if (k == 0) be->linear(be, my, mx, &wt, 1, m, false);
        if (k == 1) be->linear_dx(be, mx, my, &wt, 1, m, false);
        if (k == 2) be->linear_dw(be, dw, my, mx, all.b, ROWS_ALL, out, in);
        must_sync(be);
        if (k == 3 && bf16) {
          if (dnnl_primitive_execute(onednn.product, onednn.stream, 3, onednn.arg) ||
              dnnl_stream_wait(onednn.stream))
            failed++;
        } else if (k == 3)
          dnnl_sgemm('N', 'T', (dnnl_dim_t)m, (dnnl_dim_t)out, (dnnl_dim_t)in, 1, x, (dnnl_dim_t)in, w,
                     (dnnl_dim_t)in, 0, y, (dnnl_dim_t)out);
        t = clock_seconds() - t;
        if (t < best[k]) best[k] = t;
      }
    double flop = 2e-9 * (double)(m * in * out);
    printf("%-9s %4zu -> %4zu            %8.1f %8.1f %8.1f %8.1f\n", level, in, out, flop / best[0], flop / best[1],
           flop / best[2], flop / best[3]);
    be->batch_free(be, all.b);
    if (bf16) peer_close(&onednn);
    free(x), free(w), free(y), free(dw);
  }
}

#endif
