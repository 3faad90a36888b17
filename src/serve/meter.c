/* meter.c - counters and one histogram, and how Prometheus reads them. */
#include "serve/meter.h"

#include <math.h>
#include <string.h>

static const double bounds[METRIC_BUCKETS] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                                              0.5,   1,      2.5,   5,    10,    25,   50,  100};

void meter_init(meter *m, const char *const *paths, size_t n) {
  for (size_t i = 0; i < n; i++) {
    bool there = false;
    for (size_t k = 0; k < m->n_routes; k++) there |= strcmp(m->route[k].path, paths[i]) == 0;
    if (!there && m->n_routes < METRIC_ROUTES) m->route[m->n_routes++].path = paths[i];
  }
}

void meter_answer(meter *m, const char *path, int status, double seconds) {
  for (size_t k = 0; k < m->n_routes; k++)
    if (strcmp(m->route[k].path, path) == 0)
      atomic_fetch_add(status < 400   ? &m->route[k].ok
                       : status < 500 ? &m->route[k].refused
                                      : &m->route[k].failed,
                       1);
  size_t b = 0;
  while (b < METRIC_BUCKETS && seconds > bounds[b]) b++;
  atomic_fetch_add(&m->bucket[b], 1);
  atomic_fetch_add(&m->sum_us, (uint64_t)(seconds * 1e6));
}

void meter_head(str *out, const char *name, const char *type, const char *help) {
  str_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

void meter_value(str *out, const char *name, const char *label, const char *label_value, double v) {
  str_addz(out, name);
  if (label) {
    str_printf(out, "{%s=\"", label);
    for (const char *c = label_value; *c; c++) {
      if (*c == '\\' || *c == '"') str_addc(out, '\\');
      if (*c == '\n')
        str_addz(out, "\\n");
      else
        str_addc(out, *c);
    }
    str_addz(out, "\"}");
  }
  str_addc(out, ' ');
  str_json_num(out, v);
  str_addc(out, '\n');
}

void meter_write(const meter *m, str *out) {
  meter_head(out, "reward_requests_total", "counter", "Requests answered, by path and class of status.");
  for (size_t k = 0; k < m->n_routes; k++) {
    const route_count *r = &m->route[k];
    const struct {
      const char *class;
      uint64_t n;
    } of[] = {{"2xx", r->ok}, {"4xx", r->refused}, {"5xx", r->failed}};
    for (int i = 0; i < 3; i++)
      if (of[i].n)
        str_printf(out, "reward_requests_total{path=\"%s\",status=\"%s\"} %llu\n", r->path, of[i].class,
                   (unsigned long long)of[i].n);
  }
  meter_head(out, "reward_request_seconds", "histogram", "Seconds from a request's end to its answer.");
  uint64_t all = 0;
  for (size_t b = 0; b <= METRIC_BUCKETS; b++) {
    all += m->bucket[b];
    if (b < METRIC_BUCKETS)
      str_printf(out, "reward_request_seconds_bucket{le=\"%g\"} %llu\n", bounds[b], (unsigned long long)all);
    else
      str_printf(out, "reward_request_seconds_bucket{le=\"+Inf\"} %llu\n", (unsigned long long)all);
  }
  str_printf(out, "reward_request_seconds_sum %.6f\nreward_request_seconds_count %llu\n", (double)m->sum_us / 1e6,
             (unsigned long long)all);
  meter_head(out, "reward_requests_running", "gauge", "Requests that have begun and are not answered.");
  meter_value(out, "reward_requests_running", NULL, NULL, m->requests);
  meter_head(out, "reward_connections", "gauge", "Open connections.");
  meter_value(out, "reward_connections", NULL, NULL, m->connections);
  meter_head(out, "reward_connections_late_total", "counter", "Connections ended because the client was too slow.");
  meter_value(out, "reward_connections_late_total", NULL, NULL, (double)m->late);
}
