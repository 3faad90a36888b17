/* recipe.c - YAML recipes (libfyaml) into stages. */
#include "curate/recipe.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "format/yaml.h"

static const int64_t MOST = (int64_t)1 << 40; /* of counts */

const char *const stage_names[] = {"source", "select",        "filter", "agree",
                                   "dedup",  "decontaminate", "sample", "write"};

typedef struct {
  recipe *r;
  const yaml_file *f;
  rw_error *err;
} reader;

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
static int line_between(const reader *r, struct fy_node *n) {
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
static int line_of(const reader *r, struct fy_node *n) {
  for (struct fy_node *first; (first = first_of(n));) n = first;
  struct fy_token *t = token_of(n);
  return t ? fy_token_start_mark(t)->line + 1 : line_between(r, n);
}

static slice scalar(struct fy_node *n) {
  size_t len = 0;
  const char *p = n && fy_node_is_scalar(n) ? fy_node_get_scalar(n, &len) : NULL;
  return (slice){p, len};
}

static rw_status bad(const reader *r, struct fy_node *n, const char *key, const char *expected) {
  slice s = scalar(n);
  if (!token_of(n))
    s = slice_of(fy_node_is_scalar(n)                                     ? "nothing"
                 : fy_node_is_sequence(n) && fy_node_sequence_is_empty(n) ? "an empty list"
                                                                          : "something else");
  return rw_fail(r->err, RW_DATA, "%s:%d: %s: expected %s, got %.*s", r->r->path, line_of(r, n), key, expected,
                 (int)(s.len < 60 ? s.len : 60), s.p);
}

static rw_status get_decimal(const reader *r, struct fy_node *n, const char *key, decimal *out) {
  slice s = scalar(n);
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
  return ok && any && out->digits <= out->scale ? RW_OK : bad(r, n, key, "a decimal from 0 to 1, as 0.3");
}

bool stage_is_for(const stage *s, const source *src) {
  for (size_t i = 0; i < s->n_named; i++)
    if (s->named[i] == src) return true;
  return s->n_named == 0;
}

size_t decimal_of(decimal d, size_t n) {
  return (size_t)((unsigned __int128)d.digits * n / (unsigned __int128)d.scale);
}

static rw_status get_number(const reader *r, struct fy_node *n, const char *key, double *out) {
  slice s = scalar(n);
  char text[64] = "", *end = text;
  if (s.p && s.len > 0 && s.len < sizeof text) {
    memcpy(text, s.p, s.len);
    text[s.len] = 0;
    *out = strtod(text, &end);
  }
  return end != text && *end == 0 && *out - *out == 0 ? RW_OK : bad(r, n, key, "a number");
}
static rw_status get_int(const reader *r, struct fy_node *n, const char *key, int64_t lo, int64_t hi,
                         int64_t *out) {
  double x = -1;
  RW_TRY(get_number(r, n, key, &x));
  bool within = x >= (double)lo && x <= (double)hi; /* before the conversion, which larger ones do not survive */
  *out = within ? (int64_t)x : lo;
  if (within && (double)*out == x) return RW_OK;
  char range[64];
  snprintf(range, sizeof range, "a whole number from %lld to %lld", (long long)lo, (long long)hi);
  return bad(r, n, key, range);
}
/* A value that a filter takes. */
static rw_status get_value(const reader *r, struct fy_node *n, const char *key, stage *s) {
  slice v = scalar(n);
  if (!v.p || s->n_values == MAX_VALUES) return bad(r, n, key, "a text, a number, true or false; at most 32");
  char *copy = arena_strndup(r->r->mem, v.p, v.len);
  s->values[s->n_values++] = (slice){copy, v.len};
  return copy ? RW_OK : rw_nomem(r->err, "recipe");
}
static rw_status get_form(const reader *r, struct fy_node *n, stage *s) {
  static const char *const names[] = {"best-worst", "adjacent", "all", "ranking"};
  slice v = scalar(n);
  for (size_t i = 0; v.p && i < 4; i++)
    if (slice_is(v, names[i])) {
      s->form = (row_form)i;
      if (i == 0 || s->named[0]->pairs) return RW_OK;
      return rw_fail(r->err, RW_DATA, "%s:%d: pairs: %s has no ranked answers", r->r->path, line_of(r, n),
                     s->named[0]->name);
    }
  return bad(r, n, "pairs", "best-worst, adjacent, all or ranking");
}
static rw_status get_source(const reader *r, struct fy_node *n, stage *s) {
  slice name = scalar(n);
  const source *src = name.p ? curate_source(name) : NULL;
  if (!src) return bad(r, n, "source", "the name of a source (`reward curate --help` lists them)");
  if (s->n_named == MAX_NAMED) return bad(r, n, "sources", "at most 16 sources");
  s->named[s->n_named++] = src;
  return RW_OK;
}
static rw_status get_sources(const reader *r, struct fy_node *n, stage *s) {
  void *it = NULL;
  if (!fy_node_is_sequence(n)) return get_source(r, n, s);
  if (fy_node_sequence_is_empty(n)) return bad(r, n, "sources", "at least one source");
  for (struct fy_node *e; (e = fy_node_sequence_iterate(n, &it));) RW_TRY(get_source(r, e, s));
  return RW_OK;
}

/* A file of the output folder: no path, a name of rows, none of those that a run writes in any case. */
static rw_status get_file(const reader *r, struct fy_node *n, stage *s) {
  static const char *const endings[] = {".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet"};
  static const char *const taken[] = {"train.jsonl", "removed.jsonl"};
  slice name = scalar(n);
  bool ends = false, free = true, plain = name.len > 0 && name.p[0] != '.';
  for (size_t i = 0; i < 4; i++) {
    size_t len = strlen(endings[i]);
    ends = ends || (name.len > len && memcmp(name.p + name.len - len, endings[i], len) == 0);
  }
  for (size_t i = 0; i < 2; i++) free = free && !slice_is(name, taken[i]);
  for (size_t i = 0; i < name.len; i++)
    plain = plain && name.p[i] != '/' && (unsigned char)name.p[i] >= ' ' && name.p[i] != 127;
  if (!ends || !plain || name.len > 200 || memmem(name.p, name.len, ".partial-", 9))
    return bad(r, n, "write",
               "the name of a file in the output folder, no path, that ends in .jsonl, .jsonl.gz, .jsonl.zst or "
               ".parquet");
  if (!free) return bad(r, n, "write", "another name than those of the run's own files");
  for (const stage *other = r->r->stages; other < s; other++)
    if (other->file && slice_is(name, other->file))
      return rw_fail(r->err, RW_DATA, "%s:%d: write: %s is written by line %d already; give another name",
                     r->r->path, line_of(r, n), other->file, other->line);
  s->file = arena_strndup(r->r->mem, name.p, name.len);
  return s->file ? RW_OK : rw_nomem(r->err, "recipe");
}

static rw_status get_group(const reader *r, struct fy_node *n, stage *s) {
  void *it = NULL, *jt;
  if (!fy_node_is_mapping(n) || s->n_groups == MAX_GROUPS)
    return bad(r, n, "groups", "mappings with categories and keep");
  select_group *g = &s->groups[s->n_groups++];
  g->quota = -1;
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it));) {
    slice key = scalar(fy_node_pair_key(p));
    struct fy_node *v = fy_node_pair_value(p);
    if (slice_is(key, "keep")) {
      RW_TRY(get_decimal(r, v, "keep", &g->keep));
      g->has_keep = true;
    } else if (slice_is(key, "quota")) {
      RW_TRY(get_int(r, v, "quota", 0, MOST, &g->quota));
    } else if (slice_is(key, "categories") && fy_node_is_sequence(v)) {
      jt = NULL;
      for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &jt));) {
        slice c = scalar(e);
        if (!c.p || g->n == MAX_CATEGORIES) return bad(r, e, "categories", "at most 16 names");
        g->categories[g->n++] = arena_strndup(r->r->mem, c.p, c.len);
      }
    } else {
      return bad(r, fy_node_pair_key(p), "groups", "categories, keep or quota");
    }
  }
  return g->has_keep || g->quota >= 0 ? RW_OK : bad(r, n, "groups", "keep or quota in each");
}

/* The keys of a stage; `main` is the stage's own value when that is a mapping. */
static rw_status get_key(const reader *r, stage *s, slice key, struct fy_node *k, struct fy_node *v) {
  void *it = NULL;
  if (s->kind == STAGE_SOURCE && slice_is(key, "offset")) return get_number(r, v, "offset", &s->offset);
  if (s->kind != STAGE_SOURCE && (slice_is(key, "sources") || slice_is(key, "source"))) return get_sources(r, v, s);
  if (s->kind == STAGE_SELECT && slice_is(key, "groups") && fy_node_is_sequence(v)) {
    if (fy_node_sequence_is_empty(v)) return bad(r, v, "groups", "at least one");
    for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &it));) RW_TRY(get_group(r, e, s));
    return RW_OK;
  }
  if (s->kind == STAGE_SOURCE && slice_is(key, "pairs")) return get_form(r, v, s);
  if (s->kind == STAGE_FILTER && slice_is(key, "field")) {
    slice name = scalar(v);
    if (!name.p || name.len == 0) return bad(r, v, "field", "a field's name");
    s->field = arena_strndup(r->r->mem, name.p, name.len);
    return s->field ? RW_OK : rw_nomem(r->err, "recipe");
  }
  if (s->kind == STAGE_FILTER && slice_is(key, "equals")) return get_value(r, v, "equals", s);
  if (s->kind == STAGE_FILTER && slice_is(key, "in") && fy_node_is_sequence(v)) {
    if (fy_node_sequence_is_empty(v)) return bad(r, v, "in", "at least one value");
    for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &it));) RW_TRY(get_value(r, e, "in", s));
    return RW_OK;
  }
  if (s->kind == STAGE_FILTER && slice_is(key, "min")) return s->has_min = true, get_number(r, v, "min", &s->min);
  if (s->kind == STAGE_FILTER && slice_is(key, "max")) return s->has_max = true, get_number(r, v, "max", &s->max);
  if (s->kind == STAGE_DEDUP && slice_is(key, "by")) {
    s->near = slice_is(scalar(v), "near");
    return s->near || slice_is(scalar(v), "exact") ? RW_OK : bad(r, v, "by", "exact or near");
  }
  if (s->kind == STAGE_DEDUP && slice_is(key, "of")) {
    s->of_prompt = slice_is(scalar(v), "prompt");
    return s->of_prompt || slice_is(scalar(v), "pair") ? RW_OK : bad(r, v, "of", "pair or prompt");
  }
  if (s->kind == STAGE_DEDUP && slice_is(key, "num_perm")) return get_int(r, v, "num_perm", 1, 4096, &s->num_perm);
  if (s->kind == STAGE_DEDUP && slice_is(key, "shingle")) return get_int(r, v, "shingle", 1, 64, &s->shingle);
  if (s->kind == STAGE_DEDUP && slice_is(key, "threshold")) {
    RW_TRY(get_decimal(r, v, "threshold", &s->threshold));
    return s->threshold.digits > 0 ? RW_OK : bad(r, v, "threshold", "more than 0");
  }
  if (s->kind == STAGE_DECONTAMINATE && slice_is(key, "ngram")) return get_int(r, v, "ngram", 1, 64, &s->ngram);
  if (s->kind == STAGE_DECONTAMINATE && slice_is(key, "preset")) {
    s->gist = slice_is(scalar(v), "gist");
    if (s->gist) s->ngram = 7;
    return s->gist || slice_is(scalar(v), "default") ? RW_OK : bad(r, v, "preset", "default or gist");
  }
  if (s->kind == STAGE_SAMPLE && slice_is(key, "pairs")) return get_int(r, v, "pairs", 1, MOST, &s->pairs);
  if (s->kind == STAGE_SAMPLE && slice_is(key, "seed")) return get_int(r, v, "seed", 0, MOST, &s->seed);
  if (s->kind == STAGE_WRITE && slice_is(key, "file")) return get_file(r, v, s);
  return rw_fail(r->err, RW_DATA, "%s:%d: %.*s: a %s stage has no such key", r->r->path, line_of(r, k),
                 (int)key.len, key.p ? key.p : "", stage_names[s->kind]);
}

static rw_status get_mapping(const reader *r, stage *s, struct fy_node *n) {
  void *it = NULL;
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(n, &it));)
    RW_TRY(get_key(r, s, scalar(fy_node_pair_key(p)), fy_node_pair_key(p), fy_node_pair_value(p)));
  return RW_OK;
}

static rw_status check_filter(const reader *r, stage *s, struct fy_node *n) {
  str why = {0};
  bool range = s->has_min || s->has_max;
  if (!s->field || range == (s->n_values > 0))
    return bad(r, n, "filter", "field, and one of: equals; in, a list; min and max");
  str_printf(&why, "%s is ", s->field);
  if (range && s->has_min) str_printf(&why, "not %.9g or more", s->min);
  if (range && s->has_max) str_printf(&why, s->has_min ? ", and %.9g or less" : "not %.9g or less", s->max);
  for (size_t i = 0; i < s->n_values; i++)
    str_printf(&why, "%s%.*s",
               i == 0                ? "not "
               : i + 1 < s->n_values ? ", "
                                     : " or ",
               (int)s->values[i].len, s->values[i].p);
  s->reason = why.oom ? NULL : arena_strndup(r->r->mem, why.p, why.len);
  str_free(&why);
  return s->reason ? RW_OK : rw_nomem(r->err, "recipe");
}

static rw_status get_stage(const reader *r, struct fy_node *n) {
  recipe *rec = r->r;
  void *it = NULL;
  struct fy_node_pair *p = fy_node_is_mapping(n) ? fy_node_mapping_iterate(n, &it) : NULL;
  slice kind = p ? scalar(fy_node_pair_key(p)) : (slice){0};
  int k = 0, kinds = sizeof stage_names / sizeof *stage_names;
  while (k < kinds && !(kind.p && slice_is(kind, stage_names[k]))) k++;
  if (k == kinds)
    return bad(r, p ? fy_node_pair_key(p) : n, "stages",
               "source, select, filter, agree, dedup, decontaminate, sample or write first");
  if (rec->n == MAX_STAGES) return bad(r, n, "stages", "at most 64 stages");
  stage *s = &rec->stages[rec->n++];
  *s = (stage){.kind = (stage_kind)k, .line = line_of(r, n), .ngram = 8, .pairs = -1};
  struct fy_node *v = fy_node_pair_value(p);
  if (k == STAGE_SOURCE) {
    RW_TRY(get_source(r, v, s));
  } else if (fy_node_is_mapping(v)) {
    RW_TRY(get_mapping(r, s, v));
  } else if (k == STAGE_DEDUP && (slice_is(scalar(v), "exact") || slice_is(scalar(v), "near"))) {
    s->near = slice_is(scalar(v), "near"); /* over all sources */
  } else if (k == STAGE_WRITE) {
    RW_TRY(get_file(r, v, s)); /* of all sources */
  } else {
    RW_TRY(get_sources(r, v, s));
  }
  while ((p = fy_node_mapping_iterate(n, &it)))
    RW_TRY(get_key(r, s, scalar(fy_node_pair_key(p)), fy_node_pair_key(p), fy_node_pair_value(p)));
  if (s->near) {
    if (!s->num_perm) s->num_perm = 128;
    if (!s->shingle) s->shingle = 5;
    if (!s->threshold.digits) s->threshold = (decimal){8, 10};
  } else if (s->num_perm || s->shingle || s->threshold.digits) {
    return rw_fail(r->err, RW_DATA, "%s:%d: dedup: num_perm, shingle and threshold are for by: near", rec->path,
                   s->line);
  }
  if (k == STAGE_SELECT && s->n_groups == 0) return bad(r, n, "select", "groups");
  if (k == STAGE_SAMPLE && s->pairs < 0) return bad(r, n, "sample", "pairs");
  if (k == STAGE_WRITE && !s->file) return bad(r, n, "write", "file");
  for (size_t i = 0; k == STAGE_SELECT && i < s->n_named; i++)
    if (!s->named[i]->scored)
      return rw_fail(r->err, RW_DATA, "%s:%d: select: %s has no scores to select by", rec->path, s->line,
                     s->named[i]->name);
  return k == STAGE_FILTER ? check_filter(r, s, n) : RW_OK;
}

/* What stages mean to one another. */
static rw_status check_source(const reader *r, const stage *s) {
  const recipe *rec = r->r;
  for (const stage *a = rec->stages; a < rec->stages + rec->n; a++) {
    if (a->kind == STAGE_SOURCE && a < s && a->named[0] == s->named[0])
      return rw_fail(r->err, RW_DATA,
                     "%s:%d: source: %s stands in line %d already; give its files with " FIELD(input), rec->path,
                     s->line, s->named[0]->name, a->line);
    if (a->kind == STAGE_AGREE && s->form == FORM_RANKING && stage_is_for(a, s->named[0]))
      return rw_fail(r->err, RW_DATA, "%s:%d: agree: %s is kept as rankings, which have no chosen and rejected",
                     rec->path, a->line, s->named[0]->name);
    if (a->kind == STAGE_SELECT && stage_is_for(a, s->named[0]) && !s->named[0]->scored)
      return rw_fail(r->err, RW_DATA, "%s:%d: select: %s has no scores to select by; name those that have: sources",
                     rec->path, a->line, s->named[0]->name);
  }
  return RW_OK;
}

/* A stage that names no source is for those before it: named where others follow. */
static rw_status name_earlier(const reader *r, stage *s) {
  const stage *end = r->r->stages + r->r->n;
  size_t earlier = 0, later = 0;
  if (s->kind == STAGE_SOURCE || s->n_named > 0) return RW_OK;
  for (const stage *a = r->r->stages; a < end; a++) {
    if (a->kind != STAGE_SOURCE) continue;
    earlier += a < s;
    later += a > s;
  }
  if (later == 0) return RW_OK;
  if (earlier == 0)
    return rw_fail(r->err, RW_DATA, "%s:%d: %s: expected a source stage before it, got none; stages run in order",
                   r->r->path, s->line, stage_names[s->kind]);
  for (const stage *a = r->r->stages; a < s && s->n_named < MAX_NAMED; a++)
    if (a->kind == STAGE_SOURCE) s->named[s->n_named++] = a->named[0];
  return RW_OK;
}

static rw_status check_stages(const reader *r) {
  bool any = false;
  if (r->r->n == 0) return rw_fail(r->err, RW_DATA, "%s:1: stages: expected at least one, got none", r->r->path);
  for (size_t i = 0; i < r->r->n; i++) RW_TRY(name_earlier(r, &r->r->stages[i]));
  for (size_t i = 0; i < r->r->n; i++) {
    if (r->r->stages[i].kind != STAGE_SOURCE) continue;
    any = true;
    RW_TRY(check_source(r, &r->r->stages[i]));
  }
  return any ? RW_OK
             : rw_fail(r->err, RW_DATA, "%s:%d: stages: expected a source stage, got none", r->r->path,
                       r->r->stages[0].line);
}

static rw_status get_recipe(const reader *r, struct fy_node *root) {
  void *it = NULL, *jt;
  if (!root || !fy_node_is_mapping(root))
    return rw_fail(r->err, RW_DATA, "%s:1: expected a mapping with name and stages", r->r->path);
  for (struct fy_node_pair *p; (p = fy_node_mapping_iterate(root, &it));) {
    slice key = scalar(fy_node_pair_key(p)), text;
    struct fy_node *v = fy_node_pair_value(p);
    if (slice_is(key, "name") && (text = scalar(v)).p) {
      r->r->name = arena_strndup(r->r->mem, text.p, text.len);
    } else if (slice_is(key, "stages") && fy_node_is_sequence(v)) {
      if (fy_node_sequence_is_empty(v)) return bad(r, v, "stages", "at least one");
      jt = NULL;
      for (struct fy_node *e; (e = fy_node_sequence_iterate(v, &jt));) RW_TRY(get_stage(r, e));
    } else if (!slice_is(key, "about")) {
      return bad(r, fy_node_pair_key(p), "recipe", "name, about or stages");
    }
  }
  return check_stages(r);
}

rw_status recipe_load(recipe *r, const char *path, rw_error *err) {
  memset(r, 0, sizeof *r);
  yaml_file f;
  r->mem = arena_new();
  r->path = r->mem ? arena_strndup(r->mem, path, strlen(path)) : NULL;
  r->name = r->path;
  rw_status s = r->path ? yaml_open(&f, path, err) : rw_nomem(err, path);
  if (!s) {
    reader rd = {r, &f, err};
    s = get_recipe(&rd, fy_document_root(f.doc));
    yaml_close(&f);
  }
  if (s) recipe_free(r);
  return s;
}

void recipe_free(recipe *r) {
  arena_free(r->mem);
  r->mem = NULL;
}
