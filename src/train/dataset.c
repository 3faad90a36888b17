/* dataset.c - rows to ids, each file in one ordered parallel pass. */
#include "train/dataset.h"

#include "train/loss.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/log.h"
#include "base/rng.h"
#include "format/json_write.h"
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
  const rows_in *in; /* the file that is read */
} loading;

typedef struct { /* one a thread */
  render_scratch *scratch;
  ids buf;
} lane;

/* What becomes of a row. */
typedef enum { USED, TRUNCATED, INVALID, EMPTY, OVERLONG, IDENTICAL } row_fate;
typedef struct {
  row_fate fate;
  const char *why; /* why a row is left out, in words */
  conv_row row;    /* a row that is used: n_branches, scores, source, id and margin */
  int32_t **ids;   /* [n_branches] */
  size_t *len;     /* [n_branches] */
} loaded;

/* A row whose responses have scores of their own, for a loss of these. */
static rw_status check_scored(const loading *l, const conv_row *row, rw_error *err) {
  const double *scores = row->kind == ROW_SINGLE ? &row->score : row->kind == ROW_RESPONSES ? row->scores : NULL;
  const char *loss = loss_words[l->o->loss.kind].text;
  bool unit = l->o->loss.kind == LOSS_BCE;
  if (!scores)
    return rw_fail(err, RW_DATA,
                   "expected a conversation with a score, or responses with scores, as the loss %s takes", loss);
  for (size_t b = 0; b < row->n_branches; b++)
    if (!isfinite(scores[b]) || (unit && (scores[b] < 0 || scores[b] > 1)))
      return rw_fail(err, RW_DATA, "score: expected %s for the loss %s, got %s", unit ? "0 to 1" : "a number", loss,
                     isnan(scores[b]) ? "none" : "another");
  if (row->has_margin)
    return rw_fail(err, RW_USAGE, "margin: the loss %s has no place for it; remove the field", loss);
  return RW_OK;
}

static rw_status check_row(const loading *l, const conv_row *row, rw_error *err) {
  if (loss_is_absolute(&l->o->loss)) return check_scored(l, row, err);
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
                   loss_words[k].text);
  return RW_OK;
}

/* Does the conversation end with nothing said? */
static bool is_empty(const conversation *c) {
  if (!c->messages) return c->text.p && c->text.len == 0;
  const message *last = &c->messages[c->n_messages - 1];
  return !last->json.p && utf8_is_blank(last->content);
}

/* A ranking without two different scores has no order. */
static bool no_order(const conv_row *row) {
  for (size_t b = 1; row->scores && b < row->n_branches; b++)
    if (row->scores[b] != row->scores[0]) return false;
  return row->scores != NULL;
}

static rw_status leave_out(rows_lane *rl, loaded *x, row_fate fate, const char *why, rw_error *err) {
  x->fate = fate;
  x->why = arena_strndup(rl->keep, why, strlen(why));
  return x->why ? RW_OK : rw_nomem(err, "training rows");
}

/* The ids of branch b into the lane's buffer; one that is too long is cut or, with *why, left out. */
static rw_status render_branch(const loading *l, lane *w, loaded *x, size_t b, char why[80], rw_error *err) {
  const tokenizer *t = renderer_tokenizer(l->r);
  w->buf.len = 0;
  RW_TRY(render_ids(l->r, w->scratch, &x->row.branch[b], &w->buf, err));
  if (w->buf.len == 0) return rw_fail(err, RW_DATA, "a conversation has no tokens");
  for (size_t i = 0; i < w->buf.len; i++)
    if ((size_t)w->buf.p[i] >= l->cfg->vocab)
      return rw_fail(err, RW_DATA, "token id %d: expected below %zu (vocab_size)", w->buf.p[i], l->cfg->vocab);
  if ((int64_t)w->buf.len <= l->max_length) return RW_OK;
  snprintf(why, 80, "%zu tokens, more than " FIELD(max_length) " %lld", w->buf.len, (long long)l->max_length);
  if (l->o->overlong == OVERLONG_ERROR)
    return rw_fail(err, RW_USAGE, "%s; use " FIELD(overlong) " drop or truncate", why);
  if (l->o->overlong == OVERLONG_DROP) return RW_OK;
  why[0] = 0;
  x->fate = TRUNCATED;
  w->buf.len = overlong_cut(w->buf.p, w->buf.len, (size_t)l->max_length, t ? tok_bos(t) : -1);
  return RW_OK;
}

/* What outlives the row's document. */
static rw_status keep_row(rows_lane *rl, loaded *x, rw_error *err) {
  conv_row *row = &x->row;
  if (row->id.len > 200) row->id.len = 200;
  row->source = rows_keep(rl, row->source);
  row->id = rows_keep(rl, row->id);
  const double *scores = row->scores;
  if (scores) row->scores = arena_alloc(rl->keep, row->n_branches, sizeof *row->scores);
  x->ids = arena_alloc(rl->keep, row->n_branches, sizeof *x->ids);
  x->len = arena_alloc(rl->keep, row->n_branches, sizeof *x->len);
  if (!row->source.p || !row->id.p || (scores && !row->scores) || !x->ids || !x->len)
    return rw_nomem(err, "training rows");
  if (scores) memcpy(row->scores, scores, row->n_branches * sizeof *scores);
  return RW_OK;
}

static rw_status load_row(const loading *l, rows_lane *rl, loaded *x, rw_error *err) {
  lane *w = rl->own;
  conv_row *row = &x->row;
  RW_TRY(check_row(l, row, err));
  if (row->kind == ROW_SINGLE) row->scores = &row->score;
  for (size_t b = 0; b < row->n_branches; b++)
    if (is_empty(&row->branch[b])) return leave_out(rl, x, EMPTY, "a response is empty", err);
  bool same = true; /* all branches' ids */
  RW_TRY(keep_row(rl, x, err));
  for (size_t b = 0; b < row->n_branches; b++) {
    char why[80] = "";
    RW_TRY(render_branch(l, w, x, b, why, err));
    context_spell(l->o->context, why);
    if (why[0]) return leave_out(rl, x, OVERLONG, why, err);
    size_t n = x->len[b] = w->buf.len;
    x->ids[b] = arena_alloc(rl->keep, n, sizeof **x->ids);
    if (!x->ids[b]) return rw_nomem(err, "training rows");
    memcpy(x->ids[b], w->buf.p, n * sizeof **x->ids);
    same &= n == x->len[0] && memcmp(x->ids[0], x->ids[b], n * sizeof **x->ids) == 0;
  }
  if (!loss_is_absolute(&l->o->loss) && (same || no_order(row))) /* teaches nothing */
    return leave_out(rl, x, IDENTICAL, "its sides, or all its scores, are the same", err);
  return RW_OK;
}

static rw_status work(void *ctx, rows_lane *rl, slice row, uint64_t line, void *result, rw_error *err) {
  const loading *l = ctx;
  loaded *x = result;
  rw_error e;
  (void)line;
  rw_status s = json_parse(rl->doc, row.p, row.len, &e);
  if (!s) s = conv_read(&x->row, rl->doc, 0, l->o->context->map, rl->mem, &e);
  if (!s) s = load_row(l, rl, x, &e);
  if (s == RW_USAGE || s == RW_NOMEM) {
    if (err) *err = e;
    return s;
  }
  if (!s) return RW_OK;
  context_spell(l->o->context, e.text);
  return leave_out(rl, x, INVALID, e.text, err);
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

/* Counts a row that is left out, lists it, and names the first few. */
static rw_status note_dropped(loading *l, uint64_t line, const loaded *x, rw_error *err) {
  dataset_counts *c = &l->d->counts;
  const struct {
    const char *count; /* in run.json */
    size_t *n;
  } kinds[] = {[INVALID] = {"invalid", &c->invalid},
               [EMPTY] = {"empty_dropped", &c->empty},
               [OVERLONG] = {"overlong_dropped", &c->overlong},
               [IDENTICAL] = {"identical_dropped", &c->identical}};
  size_t *n = kinds[x->fate].n;
  const char *file = rows_file(l->in, &line);
  if (n && (*n)++ < SHOWN_BAD_ROWS)
    log_warn(l->o->context, "%s:%llu: %s; the row is left out", file, (unsigned long long)line, x->why);
  str *s = &l->d->dropped;
  json_writer w = {.out = s};
  jw_object(&w, NULL);
  jw_string(&w, "file", file);
  jw_uint(&w, "line", line);
  jw_string(&w, "count", kinds[x->fate].count);
  jw_string(&w, "reason", x->why);
  jw_end(&w);
  str_addc(s, '\n');
  return s->oom ? rw_nomem(err, "rows left out") : RW_OK;
}

static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *err) {
  (void)row;
  loading *l = ctx;
  const loaded *in = result;
  const conv_row *r = &in->row;
  dataset *d = l->d;
  dataset_counts *c = &d->counts;
  c->rows++;
  if (in->fate != USED && in->fate != TRUNCATED) return note_dropped(l, line, in, err);
  c->truncated += in->fate == TRUNCATED;
  if (!mem_grow((void **)&d->rows, &d->cap, d->n + 1, sizeof *d->rows)) return rw_nomem(err, "training rows");
  example *x = &d->rows[d->n];
  *x = (example){.n = r->n_branches, .margin = r->has_margin ? r->margin : NAN};
  RW_TRY(source_id(d, r->source.p, r->source.len, &x->source, err));
  char where[800];
  const char *file = rows_file(l->in, &line);
  int wl = snprintf(where, sizeof where, "%.500s:%llu", file, (unsigned long long)line);
  if (r->id.len) wl += snprintf(where + wl, sizeof where - (size_t)wl, " (id %.*s)", (int)r->id.len, r->id.p);
  x->where = arena_strndup(d->mem, where, (size_t)wl);
  x->ids = arena_alloc(d->mem, x->n, sizeof *x->ids);
  x->len = arena_alloc(d->mem, x->n, sizeof *x->len);
  if (r->scores) x->scores = arena_alloc(d->mem, x->n, sizeof(double));
  if (!x->where || !x->ids || !x->len || (r->scores && !x->scores)) return rw_nomem(err, "training rows");
  if (r->scores) memcpy(x->scores, r->scores, x->n * sizeof(double));
  for (size_t b = 0; b < x->n; b++) {
    size_t n = in->len[b];
    int32_t *copy = arena_alloc(d->mem, n, sizeof *copy);
    if (!copy) return rw_nomem(err, "training rows");
    memcpy(copy, in->ids[b], n * sizeof *copy);
    x->ids[b] = copy;
    x->len[b] = n;
    c->tokens += n;
    if (n > c->longest) c->longest = n;
  }
  d->n++;
  c->used++;
  return RW_OK;
}

static rw_status lane_open(void *ctx, void *own, rw_error *err) {
  lane *w = own;
  w->scratch = render_scratch_new(((const loading *)ctx)->r);
  return w->scratch ? RW_OK : rw_nomem(err, "training rows");
}

static void lane_close(void *ctx, void *own) {
  loading *l = ctx;
  lane *w = own;
  if (w->scratch) render_notes_add(&l->d->counts.notes, render_scratch_notes(w->scratch));
  render_scratch_free(w->scratch);
  mem_free(w->buf.p);
}

static rw_status load_file(loading *l, const char *path, rw_error *err) {
  rows_in *in;
  const rows_job job = {.result_size = sizeof(loaded),
                        .lane_size = sizeof(lane),
                        .lane_open = lane_open,
                        .lane_close = lane_close,
                        .work = work,
                        .sink = sink,
                        .ctx = l};
  RW_TRY(rows_open(&in, path, l->o->context, err));
  l->in = in;
  rw_status s = rows_map(in, &job, err);
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
  d->source_ids = map_new();
  rw_status s = d->mem && d->source_ids ? RW_OK : rw_nomem(err, "training rows");
  for (size_t i = 0; !s && i < o->data.n; i++) s = load_file(&l, o->data.items[i], err);
  const dataset_counts *n = &d->counts;
  if (!s && d->n == 0)
    s = rw_fail(err, RW_DATA,
                "%s: no usable row: of %zu, %zu are invalid, %zu empty, %zu too long, %zu have equal sides",
                rows_label(o->data.items[0]), n->rows, n->invalid, n->empty, n->overlong, n->identical);
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

void dataset_sha256(const dataset *d, char out[SHA256_HEX]) {
  sha256 all;
  sha256_begin(&all);
  for (size_t i = 0; i < d->n; i++) {
    const example *x = &d->rows[i];
    uint64_t sizes[] = {x->n, x->scores != NULL};
    sha256_add(&all, sizes, sizeof sizes);
    sha256_add(&all, &x->margin, sizeof x->margin);
    if (x->scores) sha256_add(&all, x->scores, x->n * sizeof *x->scores);
    sha256_add(&all, x->len, x->n * sizeof *x->len);
    for (size_t b = 0; b < x->n; b++) sha256_add(&all, x->ids[b], x->len[b] * sizeof **x->ids);
  }
  sha256_end_hex(&all, out);
}

void dataset_order(const dataset *d, const train_options *o, int64_t epoch, size_t *order) {
  for (size_t i = 0; i < d->n; i++) order[i] = i;
  if (!o->shuffle) return;
  rng r = rng_new(o->seed, 1000 + (uint64_t)epoch);
  rng_shuffle(&r, order, d->n);
}
