/* recorded.h - a small model beside the answers that PyTorch gave (expected.safetensors; tests/reference), and a
 * step of training on its three recorded pairs. */
#ifndef TESTS_RECORDED_H
#define TESTS_RECORDED_H

#include <math.h>

#include "model/model.h"
#include "model_values.h"
#include "unit.h"

typedef struct {
  rw_context context;
  model *m;
  st_set *want;
} fixture;

/* The model of a folder; level NULL: the best of this processor. */
static void open_recorded(fixture *f, const char *folder, const char *name, int threads, const char *level) {
  char dir[256], path[300];
  snprintf(dir, sizeof dir, "tests/data/%s/%s", folder, name);
  snprintf(path, sizeof path, "%s/expected.safetensors", dir);
  context_init(&f->context, NULL, NULL);
  OK(context_start(&f->context, threads, &err));
  OK(model_open(&f->m, dir, &(model_options){.context = &f->context, .level = level}, &err));
  OK(st_open(&f->want, path, &err));
}
static void close_recorded(fixture *f) {
  model_free(f->m);
  st_close(f->want);
  context_end(&f->context);
}
static const st_tensor *want(const fixture *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static const st_tensor *want(const fixture *f, const char *fmt, ...) {
  char name[200];
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(name, sizeof name, fmt, ap);
  va_end(ap);
  const st_tensor *t = st_find(f->want, name);
  if (!t) fail_msg("expected.safetensors lacks %s", name);
  return t;
}
static inline double distance(const float *a, const float *b, size_t n) { /* ‖a-b‖/‖b‖ */
  double d = 0, s = 0;
  for (size_t i = 0; i < n; i++) {
    d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    s += (double)b[i] * b[i];
  }
  return sqrt(d) / (sqrt(s) + 1e-30);
}

typedef struct {
  const int32_t *ids[3][2];
  size_t len[3][2];
  id_group g[3];
} pairs;
static inline void get_pairs(const fixture *f, pairs *p) {
  for (int i = 0; i < 3; i++) {
    for (int s = 0; s < 2; s++) {
      const st_tensor *t = want(f, "pair.%d.%s", i, s ? "rejected" : "chosen");
      p->ids[i][s] = t->data;
      p->len[i][s] = (size_t)t->shape[0];
    }
    p->g[i] = (id_group){p->ids[i], p->len[i], 2};
  }
}
/* Forward and backward of the mean Bradley-Terry loss, `per` pairs at a time; rewards [6], or NULL. */
static inline double bt_step(model *m, const pairs *p, bool share, size_t per, float *rewards) {
  double loss = 0;
  model_zero_grad(m);
  for (size_t at = 0; at < 3; at += per) {
    size_t n = 3 - at < per ? 3 - at : per;
    float own[6], *r = (rewards ? rewards : own) + 2 * at, d[6];
    OK(model_forward(m, p->g + at, n, share, r, &err));
    for (size_t i = 0; i < n; i++) {
      double x = (double)r[2 * i] - r[2 * i + 1];
      loss += log1p(exp(-x)) / 3;
      d[2 * i] = (float)(-1 / (1 + exp(x)) / 3);
      d[2 * i + 1] = -d[2 * i];
    }
    OK(model_backward(m, d, &err));
  }
  return loss;
}

#endif
