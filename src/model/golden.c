/* golden.c - reward.json of a checkpoint (see golden.h). */
#include "model/golden.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "format/json_write.h"

double golden_bound(void) { return 1e-3; }

/* The rows tell whether these are the weights: bf16's noise would hide that. *f: m in f32, or a session that is,
 * where m's device computes in bf16 alone; until f32_end. */
typedef struct {
  model *m, *f;
  bool bf16;
} in_f32;

static rw_status f32_begin(in_f32 *x, model *m, rw_error *err) {
  *x = (in_f32){m, m, model_is_bf16(m)};
  model_set_bf16(m, false);
  if (!model_is_bf16(m)) return RW_OK;
  x->f = NULL;
  return model_session_f32(&x->f, m, err);
}

static void f32_end(in_f32 *x) {
  if (x->f != x->m) model_free(x->f);
  model_set_bf16(x->m, x->bf16);
}

rw_status golden_write(model *m, const char *dir, id_group rows, const golden_calibration *c, rw_error *err) {
  float score[GOLDEN_ROWS];
  in_f32 x;
  rw_status st = f32_begin(&x, m, err);
  if (!st && rows.n) st = model_score(x.f, &rows, 1, true, score, err);
  f32_end(&x);
  if (st) return st;
  str s = {0};
  char *path = file_join(dir, GOLDEN_FILE);
  json_writer w = {.out = &s};
  jw_object_lines(&w, NULL);
  jw_object(&w, "calibration");
  jw_string(&w, "on", c->on);
  jw_uint(&w, "n", c->n);
  jw_num(&w, "mean", c->mean);
  jw_num(&w, "sd", c->sd);
  jw_end(&w);
  jw_object_lines(&w, "golden");
  jw_object(&w, "bounds");
  jw_num(&w, "f32", golden_bound());
  jw_end(&w);
  jw_array_lines(&w, "rows");
  for (size_t i = 0; i < rows.n; i++) {
    jw_object(&w, NULL);
    jw_f32(&w, "score", score[i]);
    jw_array(&w, "ids");
    for (size_t k = 0; k < rows.len[i]; k++) jw_int(&w, NULL, rows.ids[i][k]);
    jw_end(&w);
    jw_end(&w);
  }
  jw_end(&w);
  jw_end(&w);
  jw_end(&w);
  str_addc(&s, '\n');
  st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, dir);
  str_free(&s);
  mem_free(path);
  return st;
}

typedef struct {
  double score;
  int32_t ids[GOLDEN_TOKENS];
  size_t len;
} golden_row;

/* One {"score", "ids"}. */
static rw_status read_row(golden_row *r, json_doc *d, json_val row, size_t index, rw_error *err) {
  json_val list = json_get(d, row, "ids");
  int64_t id = -1;
  r->len = 0;
  if (!json_number(d, json_get(d, row, "score"), &r->score) || json_kind(d, list) != JSON_ARRAY)
    return rw_fail(err, RW_DATA, "golden row %zu: expected a score and ids", index);
  for (json_val v = json_first(d, list); v != JSON_NONE; v = json_next(d, v)) {
    if (!json_int(d, v, &id) || id < 0 || id > INT32_MAX || r->len == GOLDEN_TOKENS)
      return rw_fail(err, RW_DATA, "golden row %zu: expected at most %d token ids", index, GOLDEN_TOKENS);
    r->ids[r->len++] = (int32_t)id;
  }
  return r->len ? RW_OK : rw_fail(err, RW_DATA, "golden row %zu: expected token ids, got none", index);
}

static rw_status compare(const model *m, double want, double got, size_t index, rw_error *err) {
  double allowed = golden_bound() * fmax(1, fabs(want));
  if (fabs(got - want) <= allowed) return RW_OK;
  return rw_fail(
      err, RW_DATA,
      "golden row %zu: expected the recorded score %.9g, got %.9g on %s (allowed: +-%.2g); the weights, the "
      "configuration or the program are not those that wrote it; " FIELD(no_golden_check) " goes on all the same",
      index, want, got, model_device(m), allowed);
}

/* What one pass takes of golden rows. */
typedef struct {
  golden_row row[GOLDEN_ROWS];
  const int32_t *ids[GOLDEN_ROWS];
  size_t len[GOLDEN_ROWS];
  size_t n;
} golden_pass;
static id_group group_of(const golden_pass *p) { return (id_group){p->ids, p->len, p->n}; }

/* The rows from *v on, which is row `index`; *v: the first of the next pass. */
static rw_status read_pass(golden_pass *p, json_doc *d, json_val *v, size_t index, rw_error *err) {
  for (p->n = 0; p->n < GOLDEN_ROWS && *v != JSON_NONE; p->n++, *v = json_next(d, *v)) {
    golden_row *r = &p->row[p->n];
    RW_TRY(read_row(r, d, *v, index + p->n, err));
    p->ids[p->n] = r->ids;
    p->len[p->n] = r->len;
  }
  return RW_OK;
}
static json_val first_row(json_doc *d) { return json_first(d, json_get(d, json_get(d, 0, "golden"), "rows")); }

static rw_status check_rows(model *m, json_doc *d, rw_error *err) {
  golden_pass p;
  float got[GOLDEN_ROWS];
  size_t index = 1;
  for (json_val v = first_row(d); v != JSON_NONE;) {
    RW_TRY(read_pass(&p, d, &v, index, err));
    id_group rows = group_of(&p);
    RW_TRY(model_score(m, &rows, 1, true, got, err));
    for (size_t i = 0; i < p.n; i++) RW_TRY(compare(m, p.row[i].score, (double)got[i], index++, err));
  }
  return RW_OK;
}

rw_status golden_check(model *m, const char *dir, rw_error *err) {
  char *path = file_join(dir, GOLDEN_FILE);
  json_file f;
  if (!path) return rw_nomem(err, dir);
  rw_status s = RW_OK;
  if (file_exists(path) && !(s = json_file_open(&f, path, err))) {
    in_f32 x;
    s = f32_begin(&x, m, err);
    if (!s) s = check_rows(x.f, f.doc, err);
    f32_end(&x);
    if (s) rw_prefix(err, s, "%s", path);
    json_file_close(&f);
  }
  mem_free(path);
  return s;
}

/* What golden_write takes, of an opened file. */
static rw_status carry(model *m, json_doc *d, const char *to, rw_error *err) {
  golden_pass p;
  json_val v = first_row(d);
  RW_TRY(read_pass(&p, d, &v, 1, err));
  json_val c = json_get(d, 0, "calibration");
  slice on = json_string(d, json_get(d, c, "on"));
  int64_t items = 0;
  golden_calibration known = {.mean = NAN, .sd = NAN};
  json_number(d, json_get(d, c, "mean"), &known.mean);
  json_number(d, json_get(d, c, "sd"), &known.sd);
  if (json_int(d, json_get(d, c, "n"), &items) && items > 0) known.n = (size_t)items;
  char *text = mem_strndup(on.p ? on.p : "", on.p ? on.len : 0);
  known.on = text;
  rw_status s = text ? golden_write(m, to, group_of(&p), &known, err) : rw_nomem(err, to);
  mem_free(text);
  return s;
}

rw_status golden_carry(model *m, const char *from, const char *to, rw_error *err) {
  char *path = file_join(from, GOLDEN_FILE), *old = file_join(to, GOLDEN_FILE);
  json_file f;
  rw_status s = path && old ? RW_OK : rw_nomem(err, from);
  if (!s && unlink(old) != 0 && errno != ENOENT)
    s = rw_fail(err, RW_IO, "%s: cannot remove: %s", old, strerror(errno));
  if (!s && file_exists(path) && !(s = json_file_open(&f, path, err))) {
    s = carry(m, f.doc, to, err);
    json_file_close(&f);
  }
  mem_free(path);
  mem_free(old);
  return s;
}
