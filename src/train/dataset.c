/* dataset.c - rows to ids, each file in one ordered parallel pass. */
#include "train/dataset.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/log.h"
#include "base/rng.h"
#include "format/rows.h"
#include "model/scorer.h"

enum { SHOWN_BAD_ROWS = 5 };

struct dataset {
  arena *mem;
  example *rows;
  size_t n, cap;
  map *source_ids;
  const char **sources;
  size_t n_sources, cap_sources;
  dataset_counts counts;
  str dropped; /* JSON lines */
};

typedef struct {
  dataset *d;
  const train_options *o;
  const renderer *r;
  const model_config *cfg;
  int64_t max_length;
  const char *path;
  struct lane { /* one a thread */
    json_doc *doc;
    arena *mem;
    render_scratch *scratch;
    ids buf;
  } * lanes;
} loading;

/* The first byte of a row's result; what follows USED and TRUNCATED is the row, else why it is left out, in words.
 */
enum { USED = 'u', TRUNCATED = 't', OVERLONG = 'o', IDENTICAL = 'i', EMPTY = 'e', INVALID = 'x' };

static void put(str *out, const void *p, size_t n) { str_add(out, p, n); }

static rw_status check_row(const loading *l, const conv_row *row, rw_error *err) {
  bool ranking = row->kind == ROW_RESPONSES && row->scores;
  if (!ranking && (row->kind != ROW_PAIR || row->n_branches != 2))
    return rw_fail(err, RW_DATA, "expected a pair (chosen, rejected) or a ranking (responses, scores)");
  if (ranking && row->n_branches < 2)
    return rw_fail(err, RW_DATA, "responses: expected 2 or more, got %zu", row->n_branches);
  if (ranking && row->has_margin) return rw_fail(err, RW_DATA, "margin: expected none, a ranking's scores say it");
  if (row->has_margin && !isfinite(row->margin)) return rw_fail(err, RW_DATA, "margin: expected a finite number");
  loss_kind k = l->o->loss.kind;
  if (row->has_margin && k != LOSS_BT && k != LOSS_HINGE && k != LOSS_MARGIN_MSE)
    return rw_fail(err, RW_USAGE,
                   "margin: the loss %s has no place for it; use bt, hinge or margin-mse, or remove the field",
                   loss_names[k]);
  return RW_OK;
}

/* Does the conversation end with nothing said? */
static bool is_empty(const conversation *c) {
  if (!c->messages) return c->text.p && c->text.len == 0;
  return utf8_is_blank(c->messages[c->n_messages - 1].content);
}

/* A ranking without two different scores has no order. */
static bool no_order(const conv_row *row) {
  for (size_t b = 1; row->scores && b < row->n_branches; b++)
    if (row->scores[b] != row->scores[0]) return false;
  return row->scores != NULL;
}

/* The row's result, which began at `at`, becomes this status and text. */
static rw_status leave_out(str *out, size_t at, char status, const char *why, rw_error *err) {
  if (!out->oom) out->len = at;
  str_addc(out, status);
  str_addz(out, why);
  return out->oom ? rw_nomem(err, "training rows") : RW_OK;
}

/* Renders the row's branches into *out: status byte, margin, n, scores flag, source, id, then each branch's ids. */
static rw_status pack_row(const loading *l, struct lane *w, const conv_row *row, str *out, rw_error *err) {
  RW_TRY(check_row(l, row, err));
  size_t status_at = out->len;
  str_addc(out, USED);
  double margin = row->has_margin ? row->margin : NAN;
  uint64_t head[4] = {row->n_branches, row->scores != NULL, row->source.len, row->id.len < 200 ? row->id.len : 200};
  put(out, &margin, sizeof margin);
  put(out, head, sizeof head);
  put(out, row->source.p ? row->source.p : "", row->source.len);
  put(out, row->id.p ? row->id.p : "", head[3]);
  if (row->scores) put(out, row->scores, row->n_branches * sizeof(double));
  const tokenizer *t = renderer_tokenizer(l->r);
  char status = USED;
  for (size_t b = 0; b < row->n_branches; b++)
    if (is_empty(&row->branch[b])) return leave_out(out, status_at, EMPTY, "a response is empty", err);
  size_t first_at = 0, first_len = 0; /* the first branch's ids in *out */
  bool same = true;                   /* all branches' ids */
  for (size_t b = 0; b < row->n_branches; b++) {
    w->buf.len = 0;
    RW_TRY(render_ids(l->r, w->scratch, &row->branch[b], &w->buf, err));
    if (w->buf.len == 0) return rw_fail(err, RW_DATA, "a conversation has no tokens");
    for (size_t i = 0; i < w->buf.len; i++)
      if ((size_t)w->buf.p[i] >= l->cfg->vocab)
        return rw_fail(err, RW_DATA, "token id %d: expected below %zu (vocab_size)", w->buf.p[i], l->cfg->vocab);
    if ((int64_t)w->buf.len > l->max_length) {
      char why[80];
      snprintf(why, sizeof why, "%zu tokens, more than --max-length %lld", w->buf.len, (long long)l->max_length);
      if (l->o->overlong == OVERLONG_ERROR)
        return rw_fail(err, RW_USAGE, "%s; use --overlong drop or truncate", why);
      if (l->o->overlong == OVERLONG_DROP) return leave_out(out, status_at, OVERLONG, why, err);
      status = TRUNCATED;
      w->buf.len = overlong_cut(w->buf.p, w->buf.len, (size_t)l->max_length, t ? tok_bos(t) : -1);
    }
    uint64_t n = w->buf.len;
    put(out, &n, sizeof n);
    size_t at = out->len;
    put(out, w->buf.p, n * sizeof(int32_t));
    if (out->oom) return rw_nomem(err, "training rows");
    if (b == 0) {
      first_at = at;
      first_len = n;
    } else if (n != first_len || memcmp(out->p + first_at, out->p + at, n * sizeof(int32_t)) != 0) {
      same = false;
    }
  }
  if (same || no_order(row)) /* teaches nothing */
    return leave_out(out, status_at, IDENTICAL, "its sides, or all its scores, are the same", err);
  out->p[status_at] = status;
  return RW_OK;
}

static rw_status work(void *ctx, int thread, slice row, uint64_t line, str *out, rw_error *err) {
  loading *l = ctx;
  struct lane *w = &l->lanes[thread];
  rw_error e;
  conv_row cr;
  arena_reset(w->mem);
  size_t start = out->len;
  rw_status s = json_parse(w->doc, row.p, row.len, &e);
  if (!s) s = conv_read(&cr, w->doc, 0, w->mem, &e);
  if (!s) s = pack_row(l, w, &cr, out, &e);
  if (!s) return RW_OK;
  if (s == RW_USAGE || s == RW_NOMEM) {
    if (err) *err = e;
    return rw_prefix(err, s, "%s:%llu", l->path, (unsigned long long)line);
  }
  return leave_out(out, start, INVALID, e.text, err);
}

/* The index of a source's name, made when it is new. */
static rw_status source_id(dataset *d, const char *name, size_t len, size_t *id, rw_error *err) {
  bool is_new;
  int64_t *at = map_put(d->source_ids, name, len, (int64_t)d->n_sources, &is_new);
  if (!at) return rw_nomem(err, "sources");
  *id = (size_t)*at;
  if (!is_new) return RW_OK;
  const char *copy = arena_strndup(d->mem, name, len);
  return copy && vec_push(d->sources, d->n_sources, d->cap_sources, copy) ? RW_OK : rw_nomem(err, "sources");
}

/* Counts a row that is left out, lists it, and names the first few. r: its result. */
static rw_status note_dropped(loading *l, uint64_t line, slice r, rw_error *err) {
  dataset_counts *c = &l->d->counts;
  const struct {
    char status;
    const char *count; /* in run.json */
    size_t *n;
  } kinds[] = {{INVALID, "invalid", &c->invalid},
               {EMPTY, "empty_dropped", &c->empty},
               {OVERLONG, "overlong_dropped", &c->overlong},
               {IDENTICAL, "identical_dropped", &c->identical}};
  size_t k = 0;
  while (kinds[k].status != r.p[0]) k++;
  if ((*kinds[k].n)++ < SHOWN_BAD_ROWS)
    log_warn(l->o->context, "%s:%llu: %.*s; the row is left out", l->path, (unsigned long long)line,
             (int)(r.len - 1), r.p + 1);
  str *s = &l->d->dropped;
  str_addz(s, "{\"file\": ");
  str_json(s, l->path, strlen(l->path));
  str_printf(s, ", \"line\": %llu, \"count\": \"%s\", \"reason\": ", (unsigned long long)line, kinds[k].count);
  str_json(s, r.p + 1, r.len - 1);
  str_addz(s, "}\n");
  return s->oom ? rw_nomem(err, "rows left out") : RW_OK;
}

static rw_status sink(void *ctx, slice row, uint64_t line, slice r, rw_error *err) {
  (void)row;
  loading *l = ctx;
  dataset *d = l->d;
  dataset_counts *c = &d->counts;
  c->rows++;
  char status = r.p[0];
  if (status != USED && status != TRUNCATED) return note_dropped(l, line, r, err);
  c->truncated += status == TRUNCATED;
  const char *p = r.p + 1;
  uint64_t head[4];
  if (!mem_grow((void **)&d->rows, &d->cap, d->n + 1, sizeof *d->rows)) return rw_nomem(err, "training rows");
  example *x = &d->rows[d->n];
  memset(x, 0, sizeof *x);
  memcpy(&x->margin, p, sizeof x->margin);
  memcpy(head, p + 8, sizeof head);
  p += 8 + sizeof head;
  x->n = head[0];
  RW_TRY(source_id(d, p, head[2], &x->source, err));
  p += head[2];
  char where[800];
  int wl = snprintf(where, sizeof where, "%.500s:%llu", l->path, (unsigned long long)line);
  if (head[3]) wl += snprintf(where + wl, sizeof where - (size_t)wl, " (id %.*s)", (int)head[3], p);
  p += head[3];
  x->where = arena_strndup(d->mem, where, (size_t)wl);
  x->ids = arena_alloc(d->mem, x->n, sizeof *x->ids);
  x->len = arena_alloc(d->mem, x->n, sizeof *x->len);
  if (head[1]) x->scores = arena_alloc(d->mem, x->n, sizeof(double));
  if (!x->where || !x->ids || !x->len || (head[1] && !x->scores)) return rw_nomem(err, "training rows");
  if (head[1]) {
    memcpy(x->scores, p, x->n * sizeof(double));
    p += x->n * sizeof(double);
  }
  for (size_t b = 0; b < x->n; b++) {
    uint64_t n;
    memcpy(&n, p, sizeof n);
    int32_t *copy = arena_alloc(d->mem, n, sizeof *copy);
    if (!copy) return rw_nomem(err, "training rows");
    memcpy(copy, p + 8, n * sizeof *copy);
    p += 8 + n * sizeof *copy;
    x->ids[b] = copy;
    x->len[b] = n;
    c->tokens += n;
    if (n > c->longest) c->longest = n;
  }
  d->n++;
  c->used++;
  return RW_OK;
}

static void lanes_free(loading *l) {
  for (int i = 0; l->lanes && i < pool_threads(l->o->context->threads); i++) {
    struct lane *w = &l->lanes[i];
    if (w->scratch) {
      l->d->counts.escaped += render_scratch_notes(w->scratch)->escaped;
      l->d->counts.changed += render_scratch_notes(w->scratch)->changed;
    }
    json_free(w->doc);
    arena_free(w->mem);
    render_scratch_free(w->scratch);
    mem_free(w->buf.p);
  }
  mem_free(l->lanes);
}

static rw_status load_file(loading *l, const char *path, rw_error *err) {
  rows_in *in;
  rows_pass pass = {work, sink, l};
  l->path = rows_label(path);
  RW_TRY(rows_open(&in, path, l->o->context, err));
  rw_status s = rows_run(in, &pass, err);
  rows_close(in);
  return s;
}

int64_t dataset_limit(const train_options *o, const model_config *c) {
  return o->max_length > 0 ? o->max_length : c->max_positions;
}

rw_status dataset_load(dataset **out, const train_options *o, const renderer *r, const model_config *c,
                       rw_error *err) {
  *out = NULL;
  dataset *d = mem_zalloc(1, sizeof *d);
  if (!d) return rw_nomem(err, "training rows");
  loading l = {.d = d, .o = o, .r = r, .cfg = c};
  l.max_length = dataset_limit(o, c);
  d->mem = arena_new();
  l.lanes = mem_zalloc((size_t)pool_threads(o->context->threads), sizeof *l.lanes);
  d->source_ids = map_new();
  bool ok = d->mem && l.lanes && d->source_ids;
  for (int i = 0; ok && i < pool_threads(o->context->threads); i++) {
    l.lanes[i].doc = json_new();
    l.lanes[i].mem = arena_new();
    l.lanes[i].scratch = render_scratch_new(r);
    ok = l.lanes[i].doc && l.lanes[i].mem && l.lanes[i].scratch;
  }
  rw_status s = ok ? RW_OK : rw_nomem(err, "training rows");
  for (size_t i = 0; !s && i < o->n_data; i++) s = load_file(&l, o->data[i], err);
  lanes_free(&l);
  const dataset_counts *n = &d->counts;
  if (!s && d->n == 0)
    s = rw_fail(err, RW_DATA,
                "%s: no usable row: of %zu, %zu are invalid, %zu empty, %zu too long, %zu have equal sides",
                rows_label(o->data[0]), n->rows, n->invalid, n->empty, n->overlong, n->identical);
  if (s)
    dataset_free(d);
  else
    *out = d;
  return s;
}

void dataset_free(dataset *d) {
  if (!d) return;
  arena_free(d->mem);
  map_free(d->source_ids);
  str_free(&d->dropped);
  mem_free(d->sources);
  mem_free(d->rows);
  mem_free(d);
}

size_t dataset_size(const dataset *d) { return d->n; }
const example *dataset_at(const dataset *d, size_t i) { return &d->rows[i]; }
size_t dataset_sources(const dataset *d, const char *const **names) {
  *names = d->sources;
  return d->n_sources;
}
const dataset_counts *dataset_stats(const dataset *d) { return &d->counts; }
slice dataset_dropped(const dataset *d) { return (slice){d->dropped.p, d->dropped.len}; }

void dataset_hash(const dataset *d, char out[33]) {
  XXH128_hash_t h = {0, 0};
  for (size_t i = 0; i < d->n; i++) {
    const example *x = &d->rows[i];
    h = XXH3_128bits_withSeed(&x->margin, sizeof x->margin, h.low64 ^ h.high64);
    if (x->scores) h = XXH3_128bits_withSeed(x->scores, x->n * sizeof *x->scores, h.low64 ^ h.high64);
    for (size_t b = 0; b < x->n; b++)
      h = XXH3_128bits_withSeed(x->ids[b], x->len[b] * sizeof **x->ids, h.low64 ^ h.high64);
  }
  snprintf(out, 33, "%016llx%016llx", (unsigned long long)h.high64, (unsigned long long)h.low64);
}

void dataset_order(const dataset *d, const train_options *o, int64_t epoch, size_t *order) {
  for (size_t i = 0; i < d->n; i++) order[i] = i;
  if (!o->shuffle) return;
  rng r = rng_new(o->seed, 1000 + (uint64_t)epoch);
  rng_shuffle(&r, order, d->n);
}
