/* serve.c - the server: models under their names, the front, and the watch over both until it is told to end. */
#include "serve/serve.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "serve/front.h"
#include "serve/protocols.h"

enum { MAX_MODELS = 32, UPLOAD_SECONDS = 5 /* for what has begun to come when the server is told to end */ };

struct server {
  const serve_options *o;
  rw_context *context;
  pthread_mutex_t turn; /* held by whoever uses the context's threads */
  pthread_mutex_t lock; /* guards the list of models */
  hosted *models[MAX_MODELS];
  size_t n;
  meter figures;
  atomic_bool draining;
  double started;
};

#define X(name) name##_routes,
static const route *const protocols[] = {SERVE_PROTOCOLS(X)};
#undef X
enum { PROTOCOLS = sizeof protocols / sizeof *protocols };

const serve_options *server_options(const server *s) { return s->o; }
meter *server_meter(server *s) { return &s->figures; }
bool server_draining(const server *s) { return s->draining; }
double server_started(const server *s) { return s->started; }

hosted *server_model(server *s, slice name) {
  pthread_mutex_lock(&s->lock);
  hosted *found = NULL;
  for (size_t i = 0; i < s->n && !found; i++)
    if (!name.p || slice_is(name, hosted_name(s->models[i]))) found = hosted_hold(s->models[i]);
  pthread_mutex_unlock(&s->lock);
  return found;
}

size_t server_models(server *s, hosted **out, size_t most) {
  pthread_mutex_lock(&s->lock);
  size_t n = s->n < most ? s->n : most;
  for (size_t i = 0; i < n; i++) out[i] = hosted_hold(s->models[i]);
  pthread_mutex_unlock(&s->lock);
  return n;
}

static bool takes(const route *r, const char *method) {
  const char *at = strstr(r->method, method);
  size_t n = strlen(method);
  if (strcmp(method, "HEAD") == 0) return strcmp(r->method, "GET") == 0;
  return at && (at == r->method || at[-1] == '|') && (at[n] == 0 || at[n] == '|');
}

const route *server_route(const char *path, const char *method, bool *path_known) {
  *path_known = false;
  for (int p = 0; p < PROTOCOLS; p++)
    for (const route *r = protocols[p]; r->path; r++) {
      if (strcmp(r->path, path) != 0) continue;
      *path_known = true;
      if (!method || takes(r, method)) return r;
    }
  return NULL;
}

static rw_status open_models(server *s, hosted **models, rw_error *err) {
  for (size_t i = 0; i < s->o->n_models; i++) {
    rw_status st = hosted_open(&models[i], s->context, &s->turn, &s->o->models[i], s->o, err);
    for (size_t k = 0; !st && k < i; k++)
      if (strcmp(hosted_name(models[k]), hosted_name(models[i])) == 0) {
        st = rw_fail(err, RW_USAGE, FIELD(model) ": two have the name '%s'; give them others as NAME=DIR",
                     hosted_name(models[i]));
        hosted_release(models[i]);
      }
    if (!st) continue;
    while (i-- > 0) hosted_release(models[i]);
    return st;
  }
  return RW_OK;
}

/* Opens all models again and puts them in the place of the old ones, which end what they have begun. */
static void reload(server *s) {
  hosted *fresh[MAX_MODELS];
  rw_error err;
  log_note(s->context, "opening the models anew");
  if (open_models(s, fresh, &err)) {
    log_warn(s->context, "%s; the models stay as they were", err.text);
    return;
  }
  hosted *old[MAX_MODELS];
  pthread_mutex_lock(&s->lock);
  memcpy(old, s->models, sizeof old);
  memcpy(s->models, fresh, s->n * sizeof *fresh);
  pthread_mutex_unlock(&s->lock);
  for (size_t i = 0; i < s->n; i++) hosted_release(old[i]);
  log_note(s->context, "the models were opened anew");
}

static void count_routes(server *s) {
  const char *paths[METRIC_ROUTES];
  size_t n = 0;
  for (int p = 0; p < PROTOCOLS; p++)
    for (const route *r = protocols[p]; r->path && n < METRIC_ROUTES; r++) paths[n++] = r->path;
  meter_init(&s->figures, paths, n);
}

static void nap(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

/* Until it is interrupted; SIGHUP opens the models anew. */
static void watch(server *s) {
  int seen = s->o->reload ? *s->o->reload : 0;
  while (!log_interrupted(s->context)) {
    nap(50);
    int now = s->o->reload ? *s->o->reload : 0;
    if (now == seen) continue;
    seen = now;
    reload(s);
  }
}

rw_status serve_run(rw_context *context, const serve_options *o, rw_error *err) {
  if (o->n_models == 0 || o->n_models > MAX_MODELS)
    return rw_fail(err, RW_USAGE, FIELD(model) ": expected 1 to %d, got %zu", MAX_MODELS, o->n_models);
  if (!o->tls_cert != !o->tls_key)
    return rw_fail(err, RW_USAGE, FIELD(tls_cert) " and " FIELD(tls_key) " belong together");
  server *s = mem_zalloc(1, sizeof *s);
  if (!s) return rw_nomem(err, "the server");
  *s = (server){.o = o, .context = context, .started = (double)time(NULL)};
  pthread_mutex_init(&s->turn, NULL);
  pthread_mutex_init(&s->lock, NULL);
  count_routes(s);
  front *f = NULL;
  char *url = NULL;
  rw_status st = open_models(s, s->models, err);
  if (!st) s->n = o->n_models;
  if (!st) st = front_open(&f, s, context, &url, err);
  if (!st) {
    if (o->ready) o->ready(o->ready_ctx, url);
    watch(s);
    s->draining = true;
    front_quiesce(f);
    log_note(context, "ending: %d requests are on their way", front_working(f) + front_reading(f));
    double end = clock_seconds() + UPLOAD_SECONDS;
    while (front_working(f) > 0 || (front_reading(f) > 0 && clock_seconds() < end)) nap(10);
  }
  for (size_t i = 0; i < s->n; i++) hosted_release(s->models[i]); /* their queues end what waits first */
  front_close(f);
  mem_free(url);
  pthread_mutex_destroy(&s->turn);
  pthread_mutex_destroy(&s->lock);
  mem_free(s);
  return st;
}
