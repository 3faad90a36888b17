/* touch.c - breaks each rule of guard.c in turn, so that cli_guard.sh sees that it notices: touch CASE. */
#include <stdio.h>
#include <stdlib.h>

#include "compute/backend.h"

int main(int argc, char **argv) {
  pool *threads;
  backend *be;
  rw_error err;
  enum { N = 64 };
  float host[2 * N] = {0};
  int which = argc > 1 ? atoi(argv[1]) : 0;
  if (pool_new(&threads, 1, &err) || backend_open(&be, "cpu", threads, &err)) return 1;
  float *p = be->alloc(be, MEM_DEVICE, sizeof host / 2), *states = be->alloc(be, MEM_STATES, sizeof host);
  be->put(be, p, host, sizeof host / 2);
  if (which == 1) host[0] = p[N - 1];
  if (which == 2) p[0] = host[0];
  if (which == 3) be->add(be, mat_f32(p, N), mat_f32(host, N), 1, N);
  if (which == 4) be->scale(be, mat_f32(p, N), 2, 1, N + 1);
  if (which == 5) be->get(be, states, p, N);
  if (which == 6) be->scale(be, mat_f32(states, N), 2, 1, N);
  if (which != 7) be->release(be, MEM_DEVICE, p);
  if (which == 8) be->scale(be, mat_f32(p, N), 2, 1, N);
  be->release(be, MEM_STATES, states);
  be->close(be);
  pool_free(threads);
  printf("%g\n", (double)host[0]);
  return 0;
}
