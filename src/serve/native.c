/* native.c - POST /v1/rewards: any row of `reward score`, and the same row with its scores; POST /v1/compare. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "serve/protocols.h"
#include "serve/server.h"

typedef struct {
  score_row row;
  score_item item;
  size_t first; /* its conversations among the request's items */
} native_row;

typedef struct {
  score_form form;
  native_row *rows;
  size_t n;
  enum { ONE_ROW, ROW_LIST, ROW_LINES } shape;
} native;

static void native_end(void *own) {
  native *o = own;
  for (size_t i = 0; i < o->n; i++) score_row_free(&o->rows[i].row);
}

static rw_status add_row(request *q, native *o, slice text, rw_error *err) {
  native_row *r = &o->rows[o->n];
  RW_TRY(score_row_init(&r->row, err));
  o->n++;
  RW_TRY(score_row_read(&r->row, &o->form, text, 0, err));
  r->first = q->n;
  if (!r->row.readable) return RW_OK; /* the row says so in its answer */
  RW_TRY(score_row_item(&r->row, &o->form, &r->item, err));
  for (size_t b = 0; b < r->row.row.n_branches; b++) RW_TRY(request_add(q, &r->row.row.branch[b], false, err));
  return RW_OK;
}

static rw_status native_new(request *q, size_t rows, native **out, rw_error *err) {
  native *o = arena_alloc(q->mem, 1, sizeof *o);
  if (!o || !(o->rows = arena_alloc(q->mem, rows ? rows : 1, sizeof *o->rows))) return rw_nomem(err, "a request");
  o->form.scorer = hosted_scorer(q->model);
  score_form_init(&o->form);
  q->own = *out = o;
  q->end = native_end;
  return RW_OK;
}

/* The body's rows, a line each. */
static rw_status read_lines(request *q, rw_error *err) {
  size_t lines = 1;
  native *o;
  for (size_t i = 0; i < q->body.len; i++) lines += q->body.p[i] == '\n';
  RW_TRY(native_new(q, lines, &o, err));
  o->shape = ROW_LINES;
  for (const char *at = q->body.p, *end = at + q->body.len; at < end;) {
    const char *eol = memchr(at, '\n', (size_t)(end - at));
    slice line = {at, (size_t)((eol ? eol : end) - at)};
    if (!utf8_is_blank(line)) RW_TRY(add_row(q, o, line, err));
    at = eol ? eol + 1 : end;
  }
  return RW_OK;
}

static rw_status rewards_read(request *q, rw_error *err) {
  if (q->lines) return read_lines(q, err);
  RW_TRY(request_model(q, err));
  json_val list = request_get(q, "rows");
  native *o;
  if (list == JSON_NONE) {
    RW_TRY(native_new(q, 1, &o, err));
    return add_row(q, o, json_raw(q->doc, 0), err);
  }
  if (json_kind(q->doc, list) != JSON_ARRAY) return request_wrong(q, "rows", list, "a list of rows", err);
  RW_TRY(native_new(q, json_count(q->doc, list), &o, err));
  o->shape = ROW_LIST;
  for (json_val v = json_first(q->doc, list); v != JSON_NONE; v = json_next(q->doc, v))
    RW_TRY(add_row(q, o, json_raw(q->doc, v), err));
  return RW_OK;
}

/* What became of the row's conversations, where score_row_write looks for it. */
static void fill_item(const request *q, native_row *r, size_t n_attributes) {
  for (size_t b = 0; b < r->row.row.n_branches; b++) {
    const serve_item *it = &q->items[r->first + b];
    r->item.score[b] = it->score;
    r->item.tokens[b] = (uint32_t)it->ids.len;
    r->item.truncated |= it->truncated;
    if (it->attributes) memcpy(r->item.attributes + b * n_attributes, it->attributes, n_attributes * sizeof(float));
    if (it->error && !r->item.error[0]) {
      snprintf(r->item.error, sizeof r->item.error, "%.255s", it->error);
      utf8_mend(r->item.error);
    }
  }
}

static rw_status rewards_answer(request *q, str *out, rw_error *err) {
  native *o = q->own;
  const char *between = o->shape == ROW_LINES ? "\n" : ", ";
  if (o->shape == ROW_LIST) str_addz(out, "{\"rows\": [");
  for (size_t i = 0; i < o->n; i++) {
    native_row *r = &o->rows[i];
    if (r->row.readable) fill_item(q, r, o->form.n_names);
    if (i) str_addz(out, between);
    score_row_write(out, &o->form, &r->row, r->row.readable ? &r->item : NULL, NULL);
  }
  str_addz(out, o->shape == ROW_LIST ? "]}" : o->shape == ROW_LINES && o->n ? "\n" : "");
  return out->oom ? rw_nomem(err, "an answer") : RW_OK;
}

/* ---- /v1/compare ---- */

static rw_status compare_read(request *q, rw_error *err) {
  native *o;
  RW_TRY(request_model(q, err));
  RW_TRY(native_new(q, 1, &o, err));
  RW_TRY(add_row(q, o, json_raw(q->doc, 0), err));
  if (!o->rows[0].row.readable) return rw_fail(err, RW_DATA, "%s", o->rows[0].row.error);
  if (q->n < 2)
    return rw_fail(err, RW_DATA, "responses: expected two or more, or chosen and rejected, got %zu response", q->n);
  return RW_OK;
}

static rw_status compare_answer(request *q, str *out, rw_error *err) {
  json_writer w = {.out = out};
  size_t *order = request_ranked(q);
  if (!order) return rw_nomem(err, "an answer");
  jw_object(&w, NULL);
  jw_array(&w, "scores");
  for (size_t i = 0; i < q->n; i++) jw_f32(&w, NULL, q->items[i].score);
  jw_end(&w);
  jw_array(&w, "order");
  for (size_t i = 0; i < q->n; i++) jw_uint(&w, NULL, order[i]);
  jw_end(&w);
  jw_uint(&w, "preferred", order[0]);
  jw_array(&w, "probability");
  for (size_t i = 0; i < q->n; i++) {
    jw_array(&w, NULL);
    for (size_t k = 0; k < q->n; k++)
      jw_num(&w, NULL, 1 / (1 + exp((double)q->items[k].score - (double)q->items[i].score)));
    jw_end(&w);
  }
  jw_end(&w);
  jw_array(&w, "tokens");
  for (size_t i = 0; i < q->n; i++) jw_uint(&w, NULL, q->items[i].ids.len);
  jw_end(&w);
  jw_string(&w, "model", request_model_name(q));
  jw_end(&w);
  return RW_OK;
}

static int native_refuse(json_writer *w, int status, const char *why) {
  jw_object(w, NULL);
  jw_string(w, "error", why);
  jw_end(w);
  return status;
}

const route native_routes[] = {{.method = "POST",
                                .path = "/v1/rewards",
                                .read = rewards_read,
                                .answer = rewards_answer,
                                .refuse = native_refuse,
                                .partial = true},
                               {.method = "POST",
                                .path = "/v1/compare",
                                .read = compare_read,
                                .answer = compare_answer,
                                .refuse = native_refuse},
                               {0}};
