/* figures.c - reads evals.jsonl of a run (see figures.h). */
#include "train/figures.h"

#include <math.h>

#include "eval/eval.h"
#include "format/rows.h"

static rw_status take(train_figures *f, json_doc *d, int64_t published, rw_error *err) {
  eval_result r = {0};
  int64_t step;
  if (!json_int(d, json_get(d, 0, "step"), &step)) return RW_OK;
  RW_TRY(eval_result_parse(&r, d, NULL, err));
  const eval_figure *m = eval_main_figure(&r);
  train_figure now = {step, m->percent, m->lo, m->hi, m->baseline, r.n_items};
  eval_result_free(&r);
  if (f->first.step < 0) f->first = now;
  if (f->best.step < 0 || now.percent > f->best.percent) f->best = now;
  if (step == published) f->published = now;
  return RW_OK;
}

rw_status figures_read(train_figures *f, const char *out, const char *eval, int64_t published, rw_error *err) {
  const train_figure none = {-1, NAN, NAN, NAN, NAN, 0};
  *f = (train_figures){none, none, none};
  char *path = file_join(out, "evals.jsonl");
  json_doc *d = json_new();
  rows_in *in;
  rw_status s = path && d ? RW_OK : rw_nomem(err, out);
  if (!s && file_exists(path) && !(s = rows_open(&in, path, NULL, err))) {
    slice row;
    uint64_t line;
    while (!s && !(s = rows_next(in, &row, &line, err)) && row.p && !(s = json_parse(d, row.p, row.len, err))) {
      slice name = json_string(d, json_get(d, 0, "eval"));
      if (name.p && slice_is(name, eval)) s = take(f, d, published, err);
    }
    rows_close(in);
  }
  json_free(d);
  mem_free(path);
  return s;
}
