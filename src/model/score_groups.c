/* score_groups.c - rows of one file by group. */
#include "model/score_groups.h"

#include <string.h>

#include "base/log.h"
#include "data/conversation.h"

typedef struct {
  size_t at, len; /* in text */
  uint64_t line;
  size_t group; /* the row that began it */
  size_t next;  /* row of the group; SIZE_MAX: none */
  char *output;
  size_t output_len;
} entry;

struct score_groups {
  str text;
  entry *rows;
  size_t n, cap, grouped;
  size_t kept;   /* rows, from the first, that an earlier run has written */
  size_t *order; /* [n_order] */
  size_t n_order, at;
  size_t taken; /* rows, from the first, whose output was handed back */
};

void score_groups_free(score_groups *g) {
  if (!g) return;
  for (size_t i = 0; i < g->n; i++) mem_free(g->rows[i].output);
  str_free(&g->text);
  mem_free(g->rows);
  mem_free(g->order);
  mem_free(g);
}

typedef struct {
  score_groups *g;
  map *groups; /* value of the field to the group's last row */
  json_doc *doc;
  arena *mem;
  const char *field;
  const row_map *called;
  str key;
} reading;

/* Is it a one-candidate row with the field? Its value goes into r->key: a string's text, else the bytes as they
 * stand, and which of the two. */
static bool read_key(reading *r, slice row) {
  conv_row c;
  arena_reset(r->mem);
  str_clear(&r->key);
  if (json_parse(r->doc, row.p, row.len, NULL) || conv_read(&c, r->doc, 0, r->called, r->mem, NULL)) return false;
  json_val v = json_get(r->doc, 0, r->field);
  if (c.kind != ROW_SINGLE || json_kind(r->doc, v) == JSON_NULL) return false;
  bool text = json_kind(r->doc, v) == JSON_STRING;
  slice value = text ? json_string(r->doc, v) : json_raw(r->doc, v);
  str_addc(&r->key, text ? 't' : 'v');
  str_add(&r->key, value.p, value.len);
  return true;
}

static rw_status add_row(reading *r, slice row, uint64_t line, rw_error *err) {
  score_groups *g = r->g;
  entry e = {.at = g->text.len, .len = row.len, .line = line, .group = g->n, .next = SIZE_MAX};
  if (read_key(r, row)) {
    bool is_new;
    int64_t *last = r->key.oom ? NULL : map_put(r->groups, r->key.p, r->key.len, (int64_t)g->n, &is_new);
    if (!last) return rw_nomem(err, "groups");
    if (!is_new) {
      e.group = g->rows[*last].group;
      g->rows[*last].next = g->n;
      *last = (int64_t)g->n;
    }
    g->grouped++;
  }
  str_add(&g->text, row.p, row.len);
  return !g->text.oom && vec_push(g->rows, g->n, g->cap, e) ? RW_OK : rw_nomem(err, "rows");
}

rw_status score_groups_read(score_groups **out, rows_in *in, const char *field, rw_error *err) {
  *out = NULL;
  reading r = {mem_zalloc(1, sizeof *r.g),
               map_new(),
               json_new(),
               arena_new(),
               field,
               rows_context(in) ? rows_context(in)->map : NULL,
               {0}};
  rw_status s = r.g && r.groups && r.doc && r.mem ? RW_OK : rw_nomem(err, "rows");
  slice row;
  uint64_t line;
  while (!s && !(s = rows_next(in, &row, &line, err)) && row.p) s = add_row(&r, row, line, err);
  map_free(r.groups);
  json_free(r.doc);
  arena_free(r.mem);
  str_free(&r.key);
  if (s)
    score_groups_free(r.g);
  else
    *out = r.g;
  return s;
}

size_t score_groups_size(const score_groups *g) { return g->n; }
size_t score_groups_grouped(const score_groups *g) { return g->grouped; }

static void give(const score_groups *g, size_t i, slice *row, uint64_t *line) {
  *row = (slice){g->text.p + g->rows[i].at, g->rows[i].len};
  *line = g->rows[i].line;
}

void score_groups_kept(score_groups *g, slice *row, uint64_t *line) {
  *row = (slice){0};
  if (g->kept == g->n) return;
  give(g, g->kept++, row, line);
  g->taken = g->kept;
}

rw_status score_groups_begin(score_groups *g, rw_error *err) {
  g->order = mem_alloc(g->n, sizeof *g->order);
  if (!g->order) return rw_nomem(err, "rows");
  for (size_t i = 0; i < g->n; i++) {
    if (g->rows[i].group != i) continue; /* stands with the row that began its group */
    size_t last = i;
    while (g->rows[last].next != SIZE_MAX) last = g->rows[last].next;
    for (size_t k = i; last >= g->kept && k != SIZE_MAX; k = g->rows[k].next) g->order[g->n_order++] = k;
  }
  return RW_OK;
}

bool score_groups_more(const score_groups *g) {
  return g->at > 0 && g->at < g->n_order && g->rows[g->order[g->at]].group == g->rows[g->order[g->at - 1]].group;
}

void score_groups_next(score_groups *g, slice *row, uint64_t *line, bool *joins) {
  *row = (slice){0};
  *joins = score_groups_more(g);
  if (g->at < g->n_order) give(g, g->order[g->at++], row, line);
}

bool score_groups_was_kept(const score_groups *g, size_t back) { return g->order[g->at - 1 - back] < g->kept; }

rw_status score_groups_put(score_groups *g, size_t back, const char *text, size_t len, rw_error *err) {
  entry *e = &g->rows[g->order[g->at - 1 - back]];
  e->output = mem_strndup(text, len);
  e->output_len = len;
  return e->output ? RW_OK : rw_nomem(err, "rows");
}

slice score_groups_take(score_groups *g) {
  if (g->taken > g->kept) {
    mem_free(g->rows[g->taken - 1].output);
    g->rows[g->taken - 1].output = NULL;
  }
  if (g->taken == g->n || !g->rows[g->taken].output) return (slice){0};
  entry *e = &g->rows[g->taken++];
  return (slice){e->output, e->output_len};
}
