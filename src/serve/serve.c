/* serve.c - runs a server: opens it and the front, watches over both until it is told to end. */
#include "serve/serve.h"

#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/front.h"
#include "serve/routes.h"

enum { UPLOAD_SECONDS = 5 /* for what has begun to come when the server is told to end */ };

static void nap(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* Until it is interrupted; SIGHUP opens the models anew. */
static void watch(server *s, rw_context *context, const volatile int *hangups) {
  int seen = hangups ? *hangups : 0;
  while (!log_interrupted(context)) {
    nap(50);
    int now = hangups ? *hangups : 0;
    if (now == seen) continue;
    seen = now;
    server_reload(s);
  }
}

rw_status serve_run(rw_context *context, const serve_options *o, rw_error *err) {
  if (!o->tls_cert != !o->tls_key)
    return rw_fail(err, RW_USAGE, FIELD(tls_cert) " and " FIELD(tls_key) " belong together");
  const char *paths[METRIC_ROUTES];
  server *s = NULL;
  front *f = NULL;
  char *url = NULL;
  rw_status st = server_open(&s, context, o, paths, routes_paths(paths, METRIC_ROUTES), err);
  if (!st) st = front_open(&f, s, context, &url, err);
  if (!st) {
    if (o->ready) o->ready(o->ready_ctx, url);
    watch(s, context, o->reload);
    server_drain(s);
    front_quiesce(f);
    log_note(context, "ending: %d requests are on their way", front_working(f) + front_reading(f));
    double end = clock_seconds() + UPLOAD_SECONDS;
    while (front_working(f) > 0 || (front_reading(f) > 0 && clock_seconds() < end)) nap(10);
  }
  if (s) server_release(s); /* the queues end what waits first */
  front_close(f);
  mem_free(url);
  server_close(s);
  return st;
}
