/* meter.h - counts of a server since it began, in Prometheus's text form. */
#ifndef SERVE_METER_H
#define SERVE_METER_H

#include <stdatomic.h>

#include "base/mem.h"

enum { METRIC_BUCKETS = 16, METRIC_ROUTES = 64 };

typedef struct {
  const char *path;
  atomic_uint_fast64_t ok, refused, failed; /* 2xx, 4xx, 5xx */
} route_count;

typedef struct {
  route_count route[METRIC_ROUTES];
  size_t n_routes;
  atomic_uint_fast64_t bucket[METRIC_BUCKETS + 1], sum_us; /* seconds from a request's end to its answer */
  atomic_uint_fast64_t late;        /* connections ended since their clients were (client.h) */
  atomic_int requests, connections; /* now */
} meter;

void meter_init(meter *m, const char *const *paths, size_t n);
void meter_answer(meter *m, const char *path, int status, double seconds);
/* All figures of the front; those of models are appended by the caller through meter_value. */
void meter_write(const meter *m, str *out);
/* One line with its HELP and TYPE before the first of its name. label: `model="x"`, or NULL. */
void meter_head(str *out, const char *name, const char *type, const char *help);
void meter_value(str *out, const char *name, const char *label, const char *label_value, double v);

#endif
