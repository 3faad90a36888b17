/* row.c - a pair, or a ranking, as JSON (see row.h). */
#include "curate/row.h"

#include "curate/fetch.h"

static void put_messages(json_writer *w, const char *name, const message *m, size_t n) {
  conv_write(jw_value(w, name), m, n);
}

/* Have all branches the same messages but for the last? */
static bool one_prompt(const conv_row *row) {
  const conversation *first = &row->branch[0];
  for (size_t b = 1; b < row->n_branches; b++) {
    const conversation *c = &row->branch[b];
    if (c->n_messages != first->n_messages) return false;
    for (size_t i = 0; i + 1 < c->n_messages; i++)
      if (!conv_same_message(&c->messages[i], &first->messages[i])) return false;
  }
  return true;
}

/* The prompt's messages, then each branch's last message and its score; without one prompt whole conversations. */
static void put_ranking(json_writer *w, const conv_row *row) {
  bool prompt = one_prompt(row);
  if (prompt) put_messages(w, "prompt", row->branch[0].messages, row->branch[0].n_messages - 1);
  jw_array(w, "responses");
  for (size_t b = 0; b < row->n_branches; b++) {
    const message *last = &row->branch[b].messages[row->branch[b].n_messages - 1];
    if (!prompt)
      put_messages(w, NULL, row->branch[b].messages, row->branch[b].n_messages);
    else if (last->json.p)
      put_messages(w, NULL, last, 1);
    else
      jw_slice(w, NULL, last->content);
  }
  jw_end(w);
  jw_array(w, "scores");
  for (size_t b = 0; b < row->n_branches; b++) jw_num(w, NULL, row->scores[b]);
  jw_end(w);
}

static void put_id(const curation *r, const candidate *c, json_writer *w) {
  str *out = jw_value(w, "id");
  str_addc(out, '"');
  curation_id(r, c, out);
  str_addc(out, '"');
}

static void put_row(const curation *r, size_t i, const conv_row *pair, str *out) {
  const candidate *c = &r->c[i];
  slice category = r->categories[c->category];
  json_writer w = {.out = out};
  jw_object(&w, NULL);
  if (pair->kind == ROW_PAIR) {
    put_messages(&w, "chosen", pair->branch[0].messages, pair->branch[0].n_messages);
    put_messages(&w, "rejected", pair->branch[1].messages, pair->branch[1].n_messages);
  } else if (pair->kind == ROW_RESPONSES) {
    put_ranking(&w, pair);
  } else {
    put_messages(&w, "messages", pair->branch[0].messages, pair->branch[0].n_messages);
    jw_num(&w, "score", pair->score);
  }
  if (pair->branch[0].tools.p) jw_raw(&w, "tools", pair->branch[0].tools);
  jw_slice(&w, "source", pair->source);
  if (pair->has_margin) jw_num(&w, "margin", pair->margin);
  if (pair->id.p) jw_slice(&w, "source_id", pair->id);
  put_id(r, c, &w);
  if (category.len) jw_slice(&w, "task_category", category);
  if (pair->more.p) jw_raw(&w, NULL, pair->more);
  jw_end(&w);
}

typedef struct {
  const curation *r;
  rw_status (*take)(void *ctx, size_t i, slice row, rw_error *err);
  void *ctx;
} row_reading;

static void close_lane(void *ctx, void *own) {
  (void)ctx;
  str_free(own);
}

static rw_status make_row(void *ctx, pair_lane *lane, size_t i, const conv_row *pair, void *result, rw_error *err) {
  const row_reading *x = ctx;
  str *text = lane->own;
  slice *row = result;
  str_clear(text);
  put_row(x->r, i, pair, text);
  if (text->oom) return rw_nomem(err, "a pair");
  *row = (slice){arena_strndup(lane->keep, text->p, text->len), text->len};
  return row->p ? RW_OK : rw_nomem(err, "a pair");
}

static rw_status take_row(void *ctx, size_t i, void *result, rw_error *err) {
  const row_reading *x = ctx;
  const slice *row = result;
  return x->take(x->ctx, i, *row, err);
}

rw_status curation_fetch_rows(curation *r, const uint8_t *want,
                              rw_status (*take)(void *ctx, size_t i, slice row, rw_error *err), void *ctx,
                              rw_error *err) {
  row_reading x = {r, take, ctx};
  pair_job job = {.result_size = sizeof(slice),
                  .lane_size = sizeof(str),
                  .lane_close = close_lane,
                  .work = make_row,
                  .sink = take_row,
                  .ctx = &x};
  return curation_fetch(r, want, &job, err);
}
