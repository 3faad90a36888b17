/* reader.c - values of a recipe's YAML (libfyaml). */
#include "curate/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"

const int64_t READER_MOST = (int64_t)1 << 40;

size_t decimal_of(decimal d, size_t n) {
  return (size_t)((unsigned __int128)d.digits * n / (unsigned __int128)d.scale);
}

double decimal_value(decimal d) { return (double)d.digits / (double)d.scale; }

static struct fy_token *token_of(struct fy_node *n) {
  return n && fy_node_is_scalar(n) ? fy_node_get_scalar_token(n) : NULL;
}

/* Goes through what is at or below `at`, in order, until n; *last: the token met last. */
static bool walk_to(struct fy_node *at, const struct fy_node *n, struct fy_token **last) {
  void *it = NULL;
  if (at == n) return true;
  if (!at || fy_node_is_scalar(at)) {
    struct fy_token *t = token_of(at);
    if (t) *last = t;
  } else if (fy_node_is_mapping(at)) {
    for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(at, &it));)
      if (walk_to(fy_node_pair_key(p), n, last) || walk_to(fy_node_pair_value(p), n, last)) return true;
  } else {
    for (struct fy_node *e; (e = fy_node_sequence_iterate(at, &it));)
      if (walk_to(e, n, last)) return true;
  }
  return false;
}

/* The line of a node without a token, as the library tells of texts only: of the first mark of its kind behind the
 * token before it; of a key's missing value, that of the key. */
static int line_between(const recipe_reader *r, struct fy_node *n) {
  struct fy_token *before = NULL;
  const struct fy_mark *m =
      walk_to(fy_document_root(r->f->doc), n, &before) && before ? fy_token_end_mark(before) : NULL;
  const char *p = r->f->text.p + (m ? m->input_pos : 0), *end = r->f->text.p + r->f->text.len;
  const char *marks = !fy_node_is_scalar(n) ? "[{" : fy_node_is_sequence(fy_node_get_parent(n)) ? "-," : "\n";
  int line = m ? m->line + 1 : 1;
  for (; p < end && !strchr(marks, *p); p++) {
    if (*p == '#') p += strcspn(p, "\n");
    line += *p == '\n';
  }
  return line;
}

static struct fy_node *first_of(struct fy_node *n) {
  void *it = NULL;
  if (!fy_node_is_mapping(n)) return fy_node_is_sequence(n) ? fy_node_sequence_iterate(n, &it) : NULL;
  struct fy_node_pair *p = fy_node_mapping_iterate(n, &it);
  return p ? fy_node_pair_key(p) : NULL;
}

/* The line of a node's first scalar, or of the empty list or mapping in its place. */
int reader_line(const recipe_reader *r, struct fy_node *n) {
  for (struct fy_node *first; (first = first_of(n));) n = first;
  struct fy_token *t = token_of(n);
  return t ? fy_token_start_mark(t)->line + 1 : line_between(r, n);
}

slice reader_scalar(struct fy_node *n) {
  size_t len = 0;
  const char *p = n && fy_node_is_scalar(n) ? fy_node_get_scalar(n, &len) : NULL;
  return (slice){p, len};
}

rw_status reader_bad(const recipe_reader *r, struct fy_node *n, const char *key, const char *expected) {
  slice s = reader_scalar(n);
  if (!token_of(n) || (fy_node_is_scalar(n) && s.len == 0)) /* an empty value has a token since libfyaml 0.8 */
    s = slice_of(fy_node_is_scalar(n)                                     ? "nothing"
                 : fy_node_is_sequence(n) && fy_node_sequence_is_empty(n) ? "an empty list"
                                                                          : "something else");
  return rw_fail(r->err, RW_DATA, "%s:%d: %s: expected %s, got %.*s", r->r->path, reader_line(r, n), key, expected,
                 (int)(s.len < 60 ? s.len : 60), s.p);
}

rw_status reader_decimal(const recipe_reader *r, struct fy_node *n, const char *key, decimal *out) {
  slice s = reader_scalar(n);
  *out = (decimal){0, 1};
  bool dot = false, any = false, ok = s.p && s.len > 0 && s.len < 18;
  for (size_t i = 0; ok && i < s.len; i++) {
    if (s.p[i] == '.' && !dot) {
      dot = true;
      continue;
    }
    ok = s.p[i] >= '0' && s.p[i] <= '9';
    out->digits = out->digits * 10 + (s.p[i] - '0');
    if (dot) out->scale *= 10;
    any = true;
  }
  return ok && any && out->digits <= out->scale ? RW_OK : reader_bad(r, n, key, "a decimal from 0 to 1, as 0.3");
}

rw_status reader_number(const recipe_reader *r, struct fy_node *n, const char *key, double *out) {
  slice s = reader_scalar(n);
  char text[64] = "", *end = text;
  if (s.p && s.len > 0 && s.len < sizeof text) {
    memcpy(text, s.p, s.len);
    text[s.len] = 0;
    *out = strtod(text, &end);
  }
  return end != text && *end == 0 && *out - *out == 0 ? RW_OK : reader_bad(r, n, key, "a number");
}

rw_status reader_int(const recipe_reader *r, struct fy_node *n, const char *key, int64_t lo, int64_t hi,
                     int64_t *out) {
  double x = -1;
  RW_TRY(reader_number(r, n, key, &x));
  bool within = x >= (double)lo && x <= (double)hi; /* before the conversion, which larger ones do not survive */
  *out = within ? (int64_t)x : lo;
  if (within && (double)*out == x) return RW_OK;
  char range[64];
  snprintf(range, sizeof range, "a whole number from %lld to %lld", (long long)lo, (long long)hi);
  return reader_bad(r, n, key, range);
}

rw_status reader_text(const recipe_reader *r, slice text, const char **out) {
  *out = arena_strndup(r->r->mem, text.p, text.len);
  return *out ? RW_OK : rw_nomem(r->err, "recipe");
}

rw_status reader_either(const recipe_reader *r, struct fy_node *n, const char *key, const char *first,
                        const char *second, const char *expected, bool *is_second) {
  *is_second = slice_is(reader_scalar(n), second);
  return *is_second || slice_is(reader_scalar(n), first) ? RW_OK : reader_bad(r, n, key, expected);
}

const source *recipe_source(const recipe *r, slice name) {
  for (const stage *s = r->stages; s < r->stages + r->n; s++)
    if (s->kind->rows && s->n_named && slice_is(name, s->named[0]->name)) return s->named[0];
  return NULL;
}

const char *recipe_near(const recipe *r, slice name, char hint[RECIPE_HINT]) {
  nearest w = NEAREST(name.p, name.len);
  for (const stage *s = r->stages; s < r->stages + r->n; s++)
    if (s->kind->rows && s->n_named) nearest_consider(&w, s->named[0]->name);
  for (const source *const *s = curate_sources; *s; s++) nearest_consider(&w, (*s)->name);
  snprintf(hint, RECIPE_HINT, "%s%s%s", w.name ? "; did you mean " : "", w.name ? w.name : "", w.name ? "?" : "");
  return hint;
}

rw_status reader_source(const recipe_reader *r, struct fy_node *n, stage *s) {
  slice name = reader_scalar(n);
  const source *src = name.p ? recipe_source(r->r, name) : NULL;
  if (!src && name.p) src = curate_source(name);
  char expected[192], hint[RECIPE_HINT];
  snprintf(expected, sizeof expected, "the name of a source (`reward curate --help` lists them)%s",
           name.p ? recipe_near(r->r, name, hint) : "");
  if (!src) return reader_bad(r, n, "source", expected);
  if (s->n_named == MAX_NAMED) return reader_bad(r, n, "sources", "at most 16 sources");
  s->named[s->n_named++] = src;
  return RW_OK;
}
rw_status reader_sources(const recipe_reader *r, struct fy_node *n, stage *s) {
  void *it = NULL;
  if (!fy_node_is_sequence(n)) return reader_source(r, n, s);
  if (fy_node_sequence_is_empty(n)) return reader_bad(r, n, "sources", "at least one source");
  for (struct fy_node *e; (e = fy_node_sequence_iterate(n, &it));) RW_TRY(reader_source(r, e, s));
  return RW_OK;
}
