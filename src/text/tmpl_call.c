/* tmpl_call.c - calling built-in functions.
 *
 * Each function is one row in a table that also holds its parameters; names that Jinja has and the tables lack are
 * reported as such by the parser or the evaluator.
 */
#include <string.h>

#include "text/tmpl_internal.h"

const tbuiltin *tmpl_find(const tbuiltin *table, slice name) {
  for (; table->name; table++)
    if (slice_is(name, table->name)) return table;
  return NULL;
}

/* Puts the arguments at their parameters; false after an error. */
static bool bind(tctx *c, const tbuiltin *b, const char *kind, const targs *args, tv out[TMPL_MAX_PARAMS]) {
  slice params[TMPL_MAX_PARAMS] = {0};
  size_t n = 0;
  for (const char *p = b->params; *p; n++) {
    params[n] = (slice){p, strcspn(p, ",")};
    p += params[n].len + (p[params[n].len] == ',');
  }
  memset(out, 0, TMPL_MAX_PARAMS * sizeof *out);
  if (args->n > n) {
    tmpl_error(c, "%s '%s': expected at most %zu arguments, got %zu", kind, b->name, n, args->n);
    return false;
  }
  for (size_t i = 0; i < args->n; i++) out[i] = args->pos[i];
  for (size_t k = 0; k < args->n_named; k++) {
    size_t i = 0;
    while (i < n && !slice_eq(params[i], args->names[k])) i++;
    if (i == n || out[i].kind != V_ABSENT) {
      tmpl_error(c, "%s '%s': expected its arguments once each, got '%.*s'", kind, b->name, (int)args->names[k].len,
                 args->names[k].p);
      return false;
    }
    out[i] = args->named[k];
  }
  for (int i = 0; i < b->required; i++)
    if (out[i].kind == V_ABSENT) {
      tmpl_error(c, "%s '%s': expected the argument '%.*s', got none", kind, b->name, (int)params[i].len,
                 params[i].p);
      return false;
    }
  return true;
}

tv tmpl_call_builtin(tctx *c, const tbuiltin *b, const char *kind, tv self, const targs *args) {
  tv bound[TMPL_MAX_PARAMS];
  if (c->st || (b->params && !bind(c, b, kind, args, bound))) return TV_UNDEFINED;
  tv v = b->fn(c, self, b->params ? bound : NULL, args);
  return c->st ? TV_UNDEFINED : v;
}

bool tmpl_need_int(tctx *c, tv v, const char *what, int64_t otherwise, int64_t *out) {
  *out = otherwise;
  if (!given(v) || tmpl_index(v, out)) return true;
  tmpl_error(c, "%s: expected a whole number, got a value of type %s", what, tmpl_kind_name(v));
  return false;
}

/* Filters of strings take any value and work on its str(). */
tv tmpl_as_method(tctx *c, tv self, slice method, const tv *arg, size_t n) {
  tv s = self.kind == V_STRING ? self : tmpl_str(c, self);
  targs args = {.pos = (tv *)arg, .n = n};
  return c->st ? TV_UNDEFINED : tmpl_call_builtin(c, tmpl_find(tmpl_str_methods, method), "method", s, &args);
}
