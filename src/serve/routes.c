/* routes.c - the routes of all protocols, in the order of protocols.h. */
#include "serve/routes.h"

#include <string.h>

#include "serve/protocols.h"

#define X(name) name##_routes,
static const route *const protocols[] = {SERVE_PROTOCOLS(X)};
#undef X
enum { PROTOCOLS = sizeof protocols / sizeof *protocols };

static bool takes(const route *r, const char *method) {
  const char *at = strstr(r->method, method);
  size_t n = strlen(method);
  if (strcmp(method, "HEAD") == 0) return strcmp(r->method, "GET") == 0;
  return at && (at == r->method || at[-1] == '|') && (at[n] == 0 || at[n] == '|');
}

const route *routes_find(const char *path, const char *method, bool *path_known) {
  *path_known = false;
  for (int p = 0; p < PROTOCOLS; p++)
    for (const route *r = protocols[p]; r->path; r++) {
      if (r->rest ? strncmp(r->path, path, strlen(r->path)) != 0 : strcmp(r->path, path) != 0) continue;
      *path_known = true;
      if (!method || takes(r, method)) return r;
    }
  return NULL;
}

size_t routes_paths(const char **paths, size_t most) {
  size_t n = 0;
  for (int p = 0; p < PROTOCOLS; p++)
    for (const route *r = protocols[p]; r->path && n < most; r++) paths[n++] = r->path;
  return n;
}
