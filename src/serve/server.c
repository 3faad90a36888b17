/* server.c - the models of a server under their names, and its figures. */
#include "serve/server.h"

#include <stdatomic.h>
#include <string.h>
#include <time.h>

#include "base/log.h"

enum { MAX_MODELS = 32 };

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

const serve_options *server_options(const server *s) { return s->o; }
meter *server_meter(server *s) { return &s->figures; }
bool server_draining(const server *s) { return s->draining; }
double server_started(const server *s) { return s->started; }

hosted *server_model(server *s, slice name) {
  pthread_mutex_lock(&s->lock);
  hosted *found = NULL;
  for (size_t i = 0; i < s->n && !found; i++)
    if (!name.p || slice_is(name, hosted_name(s->models[i]))) found = hosted_hold(s->models[i]);
  for (size_t i = 0; i < s->n && !found; i++)
    if (slice_is(name, s->o->models[i].dir)) found = hosted_hold(s->models[i]);
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

rw_status server_open(server **out, rw_context *context, const serve_options *o, const char *const *paths,
                      size_t n_paths, rw_error *err) {
  *out = NULL;
  if (o->n_models == 0 || o->n_models > MAX_MODELS)
    return rw_fail(err, RW_USAGE, FIELD(model) ": expected 1 to %d, got %zu", MAX_MODELS, o->n_models);
  server *s = mem_zalloc(1, sizeof *s);
  if (!s) return rw_nomem(err, "the server");
  *s = (server){.o = o, .context = context, .started = (double)time(NULL)};
  pthread_mutex_init(&s->turn, NULL);
  pthread_mutex_init(&s->lock, NULL);
  meter_init(&s->figures, paths, n_paths);
  rw_status st = open_models(s, s->models, err);
  if (st) {
    server_close(s);
    return st;
  }
  s->n = o->n_models;
  *out = s;
  return RW_OK;
}

void server_reload(server *s) {
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

void server_drain(server *s) { s->draining = true; }

void server_release(server *s) {
  pthread_mutex_lock(&s->lock);
  size_t n = s->n;
  s->n = 0;
  pthread_mutex_unlock(&s->lock);
  for (size_t i = 0; i < n; i++) hosted_release(s->models[i]);
}

void server_close(server *s) {
  if (!s) return;
  server_release(s);
  pthread_mutex_destroy(&s->turn);
  pthread_mutex_destroy(&s->lock);
  mem_free(s);
}
