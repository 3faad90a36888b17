/* statistics.c - counting: a row's figures by the threads, then added in the rows' order. */
#include "curate/statistics.h"

#include "data/conversation.h"
#include "format/rows.h"

/* Names have their index in the order of their first row, categories without case. */
struct statistics_names {
  map *sources, *categories;
  arena *mem;
  str key; /* a category in lower case */
  size_t cap_sources, cap_sums, cap_categories, cap_counts;
};

/* What a row adds. */
typedef struct {
  statistics_sum sum;
  slice source, category; /* p NULL: none */
} counted;

typedef struct {
  tok_scratch *scratch;
  ids ids;
} lane;

typedef struct {
  statistics *s;
  const tokenizer *t;
  rw_context *context;
} run;

static rw_status count(lane *l, const tokenizer *t, slice text, double *sum, rw_error *err) {
  l->ids.len = 0;
  tok_span all = {0, text.len, true}; /* contents hold no control tokens */
  RW_TRY(tok_encode(t, l->scratch, text, &all, 1, &l->ids, NULL, err));
  *sum += (double)l->ids.len;
  return RW_OK;
}

static rw_status work(void *ctx, rows_lane *rl, slice row, uint64_t line, void *result, rw_error *err) {
  const run *r = ctx;
  counted *out = result;
  lane *l = rl->own;
  conv_row c;
  (void)line;
  RW_TRY(json_parse(rl->doc, row.p, row.len, err));
  RW_TRY(conv_read(&c, rl->doc, 0, r->context->map, rl->mem, err));
  if (!conv_as_pair(&c) || !c.branch[0].messages)
    return rw_fail(err, RW_DATA, "row: expected a pair of conversations (chosen, rejected)");
  out->sum.pairs = 1;
  for (size_t b = 0; b < c.n_branches; b++) {
    const conversation *v = &c.branch[b];
    double share = 1.0 / (double)c.n_branches, prompt = 0, response = 0;
    for (size_t i = 0; i + 1 < v->n_messages; i++) RW_TRY(count(l, r->t, v->messages[i].content, &prompt, err));
    RW_TRY(count(l, r->t, v->messages[v->n_messages - 1].content, &response, err));
    out->sum.turns += share * (double)v->n_messages;
    out->sum.prompt += share * prompt;
    out->sum.response += share * response;
  }
  out->source = rows_keep(rl, c.source);
  out->category = rows_keep(rl, json_string(rl->doc, json_get(rl->doc, 0, "task_category")));
  return out->source.p && out->category.p ? RW_OK : rw_nomem(err, "a row");
}

static void add(statistics_sum *s, const statistics_sum *row) {
  s->pairs += row->pairs;
  s->turns += row->turns;
  s->prompt += row->prompt;
  s->response += row->response;
}

/* The index of a name, a new one at the end of *names. Names are the same whose keys are. -1: no memory. */
static int64_t index_of(arena *mem, map *m, slice key, slice name, slice **names, size_t *n, size_t *cap,
                        bool *was_new) {
  int64_t *i = map_put(m, key.p, key.len, (int64_t)*n, was_new);
  if (!i) return -1;
  slice copy = {*was_new ? arena_strndup(mem, name.p, name.len) : "", name.len};
  return *was_new && (!copy.p || !vec_push(*names, *n, *cap, copy)) ? -1 : *i;
}

static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *err) {
  statistics *s = ((run *)ctx)->s;
  struct statistics_names *names = s->names;
  const counted *x = result;
  slice category = x->category;
  bool was_new;
  (void)row, (void)line;
  add(&s->all, &x->sum);
  int64_t i = index_of(names->mem, names->sources, x->source, x->source, &s->sources, &s->n_sources,
                       &names->cap_sources, &was_new);
  if (i < 0 || !mem_grow((void **)&s->by_source, &names->cap_sums, s->n_sources, sizeof *s->by_source))
    return rw_nomem(err, "sources");
  if (was_new) s->by_source[i] = (statistics_sum){0};
  add(&s->by_source[i], &x->sum);
  if (category.len == 0) return RW_OK;
  str_clear(&names->key);
  str_add_lower(&names->key, category.p, category.len);
  if (names->key.oom) return rw_nomem(err, "categories");
  i = index_of(names->mem, names->categories, (slice){names->key.p, names->key.len}, category, &s->categories,
               &s->n_categories, &names->cap_categories, &was_new);
  if (i < 0 || !mem_grow((void **)&s->by_category, &names->cap_counts, s->n_categories, sizeof *s->by_category))
    return rw_nomem(err, "categories");
  if (was_new) s->by_category[i] = 0;
  s->by_category[i]++;
  return RW_OK;
}

static rw_status lane_open(void *ctx, void *own, rw_error *err) {
  lane *l = own;
  l->scratch = tok_scratch_new(((const run *)ctx)->t);
  return l->scratch ? RW_OK : rw_nomem(err, "rows");
}

static void lane_close(void *ctx, void *own) {
  lane *l = own;
  (void)ctx;
  tok_scratch_free(l->scratch);
  mem_free(l->ids.p);
}

rw_status statistics_count(statistics *s, const char *path, const tokenizer *t, rw_context *context,
                           rw_error *err) {
  *s = (statistics){.names = mem_zalloc(1, sizeof *s->names)};
  if (!s->names) return rw_nomem(err, "rows");
  s->names->mem = arena_new();
  s->names->sources = map_new();
  s->names->categories = map_new();
  if (!s->names->mem || !s->names->sources || !s->names->categories) return rw_nomem(err, "rows");
  rows_in *in;
  run r = {s, t, context};
  const rows_job job = {.result_size = sizeof(counted),
                        .lane_size = sizeof(lane),
                        .lane_open = lane_open,
                        .lane_close = lane_close,
                        .work = work,
                        .sink = sink,
                        .ctx = &r};
  RW_TRY(rows_open(&in, path, context, err));
  rw_status st = rows_map(in, &job, err);
  rows_close(in);
  return st;
}

void statistics_free(statistics *s) {
  if (s->names) {
    map_free(s->names->sources);
    map_free(s->names->categories);
    arena_free(s->names->mem);
    str_free(&s->names->key);
  }
  void *p[] = {s->names, s->sources, s->categories, s->by_source, s->by_category};
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
}
