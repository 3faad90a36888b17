/* score.c - models and scoring of reward.h. Whatever is scored becomes a row as `reward score` reads it, so that
 * there is one way from texts to scores. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/model.h"
#include "base/mem.h"
#include "model/model_dir.h"

enum { CHUNK_ROWS = 256 }; /* held at a time */

void rw_options_defaults(rw_options *o) { *o = (rw_options){.device = "auto", .dtype = "auto"}; }

rw_status api_check_dtype(const char *dtype, rw_error *err) {
  static const char *const dtypes[] = {"auto", "f32", "bf16"};
  bool known = !dtype;
  for (size_t i = 0; !known && i < sizeof dtypes / sizeof *dtypes; i++) known = strcmp(dtype, dtypes[i]) == 0;
  return known ? RW_OK : rw_fail(err, RW_USAGE, FIELD(dtype) ": expected auto, f32 or bf16, got '%s'", dtype);
}

static rw_status check(const rw_options *o, rw_error *err) {
  RW_TRY(api_check_dtype(o->dtype, err));
  if (o->max_length < 0 || o->batch_tokens < 0)
    return rw_fail(err, RW_USAGE, FIELD(max_length) ", " FIELD(batch_tokens) ": expected 0 or more");
  if (o->overlong > RW_OVERLONG_DROP)
    return rw_fail(err, RW_USAGE, FIELD(overlong) ": expected one of rw_overlong, got %d", (int)o->overlong);
  return RW_OK;
}

static rw_status open_scorer(rw_model *m, const char *dir, const rw_options *o, rw_context *context,
                             rw_error *err) {
  static const overlong policies[] = {OVERLONG_ERROR, OVERLONG_TRUNCATE, OVERLONG_DROP};
  char *at;
  RW_TRY(check(o, err));
  RW_TRY(model_dir_find(&at, dir, context, err));
  score_options so = {.model = at,
                      .base = o->base,
                      .chat_template = o->chat_template,
                      .date = o->date,
                      .dtype = o->dtype ? o->dtype : "auto",
                      .device = o->device ? o->device : "auto",
                      .batch_tokens = o->batch_tokens,
                      .max_length = o->max_length,
                      .overlong = policies[o->overlong],
                      .no_golden_check = o->no_golden_check,
                      .context = context};
  rw_status s = scorer_open(&m->s, &so, err);
  mem_free(at);
  if (s) return s;
  m->form.scorer = m->s;
  score_form_init(&m->form);
  return RW_OK;
}

rw_status rw_model_open(rw_model **out, const char *dir, const rw_options *options, rw_error *err) {
  *out = NULL;
  rw_options defaults;
  rw_options_defaults(&defaults);
  if (!options) options = &defaults;
  call c;
  RW_TRY(call_begin(&c, options->context, err));
  rw_model *m = mem_zalloc(1, sizeof *m);
  if (!m) return call_end(&c, rw_nomem(c.err, "model"));
  pthread_mutex_init(&m->turn, NULL);
  rw_status s = open_scorer(m, dir, options, c.context, c.err);
  m->own = c.own;
  c.own = NULL;
  if (s)
    rw_model_close(m);
  else
    *out = m;
  return call_end(&c, s);
}

void rw_model_close(rw_model *m) {
  if (!m) return;
  scorer_free(m->s);
  rw_context_free(m->own);
  pthread_mutex_destroy(&m->turn);
  mem_free(m);
}

const char *rw_model_device(const rw_model *m) { return scorer_device(m->s); }
const char *rw_model_dtype(const rw_model *m) { return scorer_dtype(m->s); }
int64_t rw_model_max_length(const rw_model *m) { return scorer_max_length(m->s); }

size_t rw_model_attributes(const rw_model *m, const char *const **names) {
  const char *const *unwanted;
  return scorer_attributes(m->s, names ? names : &unwanted);
}

/* ---- rows ---- */

/* n rows: how to get each, and who takes its scores. */
typedef struct {
  size_t n;
  rw_status (*text)(void *ctx, size_t i, str *out, rw_error *err); /* appends row i */
  /* it: its scores; NULL: h could not be read. */
  rw_status (*take)(void *ctx, size_t i, const score_row *h, const score_item *it, rw_error *err);
  void *ctx;
} work;

typedef struct {
  score_row *rows;
  score_item *items;
  size_t n;
  str text;
} chunk;

static rw_status chunk_new(chunk *k, size_t n, rw_error *err) {
  *k = (chunk){.rows = mem_zalloc(n, sizeof *k->rows), .items = mem_alloc(n, sizeof *k->items)};
  if (!k->rows || !k->items) return rw_nomem(err, "rows");
  while (k->n < n) RW_TRY(score_row_init(&k->rows[k->n++], err));
  return RW_OK;
}

static void chunk_free(chunk *k) {
  for (size_t i = 0; i < k->n; i++) score_row_free(&k->rows[i]);
  mem_free(k->rows);
  mem_free(k->items);
  str_free(&k->text);
}

/* Rows [from, from + n) of the work. */
static rw_status score_chunk(rw_model *m, const work *w, chunk *k, size_t from, size_t n, rw_error *err) {
  size_t items = 0;
  for (size_t i = 0; i < n; i++) {
    score_row *h = &k->rows[i];
    str_clear(&k->text);
    RW_TRY(w->text(w->ctx, from + i, &k->text, err));
    if (k->text.oom) return rw_nomem(err, "a row");
    RW_TRY(score_row_read(h, &m->form, (slice){k->text.p ? k->text.p : "", k->text.len}, 0, err));
    if (h->readable) RW_TRY(score_row_item(h, &m->form, &k->items[items++], err));
  }
  RW_TRY(score_items(m->s, k->items, items, err));
  const score_item *it = k->items;
  for (size_t i = 0; i < n; i++)
    RW_TRY(w->take(w->ctx, from + i, &k->rows[i], k->rows[i].readable ? it++ : NULL, err));
  return RW_OK;
}

static rw_status run(rw_model *m, const work *w, rw_error *err) {
  call c;
  RW_TRY(call_begin(&c, scorer_context(m->s), err));
  chunk k;
  pthread_mutex_lock(&m->turn);
  rw_status s = chunk_new(&k, w->n < CHUNK_ROWS ? w->n : CHUNK_ROWS, c.err);
  for (size_t i = 0; !s && i < w->n; i += CHUNK_ROWS)
    s = score_chunk(m, w, &k, i, w->n - i < CHUNK_ROWS ? w->n - i : CHUNK_ROWS, c.err);
  chunk_free(&k);
  pthread_mutex_unlock(&m->turn);
  return call_end(&c, s);
}

/* ---- conversations ---- */

typedef struct {
  rw_item *items;
  size_t n_attributes;
} item_list;

static rw_status item_text(void *ctx, size_t i, str *out, rw_error *err) {
  const rw_item *it = &((item_list *)ctx)->items[i];
  json_writer w = {.out = out};
  jw_object(&w, NULL);
  jw_array(&w, it->messages ? "messages" : "input_ids");
  for (size_t k = 0; it->messages && k < it->n_messages; k++) {
    const rw_message *x = &it->messages[k];
    if (!x->role || !x->content)
      return rw_fail(err, RW_USAGE, "item %zu: message %zu: expected a role and a content, got NULL", i, k);
    jw_object(&w, NULL);
    jw_string(&w, "role", x->role);
    jw_string(&w, "content", x->content);
    jw_end(&w);
  }
  for (size_t k = 0; !it->messages && k < it->n_ids; k++) jw_int(&w, NULL, it->ids[k]);
  jw_end(&w);
  if (it->reference) jw_string(&w, "reference", it->reference);
  jw_end(&w);
  return RW_OK;
}

static rw_status item_take(void *ctx, size_t i, const score_row *h, const score_item *scored, rw_error *err) {
  const item_list *l = ctx;
  rw_item *it = &l->items[i];
  (void)err;
  if (!scored || scored->error[0]) {
    snprintf(it->error, sizeof it->error, "%s", scored ? scored->error : h->error);
    return RW_OK;
  }
  it->score = scored->score[0];
  it->tokens = scored->tokens[0];
  it->truncated = scored->truncated;
  if (it->attributes) memcpy(it->attributes, scored->attributes, l->n_attributes * sizeof *it->attributes);
  return RW_OK;
}

rw_status rw_score_items(rw_model *m, rw_item *items, size_t n, rw_error *err) {
  for (size_t i = 0; i < n; i++) {
    items[i].score = NAN;
    items[i].tokens = 0;
    items[i].truncated = false;
    items[i].error[0] = 0;
  }
  item_list l = {items, rw_model_attributes(m, NULL)};
  return run(m, &(work){n, item_text, item_take, &l}, err);
}

rw_status rw_score(rw_model *m, const rw_message *messages, size_t n, float *score, rw_error *err) {
  rw_item it = {.messages = messages, .n_messages = n};
  *score = NAN;
  if (!messages) return rw_fail(err, RW_USAGE, "messages: expected a conversation, got NULL");
  RW_TRY(rw_score_items(m, &it, 1, err));
  if (it.error[0]) return rw_fail(err, RW_DATA, "%s", it.error);
  *score = it.score;
  return RW_OK;
}

/* ---- rows as JSON ---- */

typedef struct {
  rw_model *m;
  const char *const *json;
  char **out;
} json_rows;

static rw_status row_text(void *ctx, size_t i, str *out, rw_error *err) {
  const json_rows *r = ctx;
  (void)err;
  str_addz(out, r->json[i]);
  return RW_OK;
}

static rw_status json_take(void *ctx, size_t i, const score_row *h, const score_item *it, rw_error *err) {
  json_rows *r = ctx;
  str line = {0};
  score_row_write(&line, &r->m->form, h, it, NULL);
  if (line.oom) {
    str_free(&line);
    return rw_nomem(err, "a row");
  }
  r->out[i] = line.p;
  return RW_OK;
}

rw_status rw_score_rows(rw_model *m, const char *const *json, size_t n, char **out, rw_error *err) {
  for (size_t i = 0; i < n; i++) out[i] = NULL;
  json_rows r = {m, json, out};
  rw_status s = run(m, &(work){n, row_text, json_take, &r}, err);
  for (size_t i = 0; s && i < n; i++) {
    rw_free(out[i]);
    out[i] = NULL;
  }
  return s;
}

rw_status rw_score_row(rw_model *m, const char *json, char **out, rw_error *err) {
  return rw_score_rows(m, &json, 1, out, err);
}
