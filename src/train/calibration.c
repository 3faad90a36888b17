/* calibration.c - calibration and golden rows of a trained checkpoint (see calibration.h).
 *
 * The figures are read back from evals.jsonl and metrics.jsonl, so that a resumed run has them too.
 */
#include "train/calibration.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "format/rows.h"
#include "model/golden.h"

enum { LIKED_LENGTH = 32 }; /* tokens of a golden row, where the data have such */

typedef struct {
  const char *eval; /* NULL: read metrics.jsonl */
  int64_t from, to; /* steps */
  double n, mean, squares;
} figures;

static void add_line(figures *f, const json_doc *d) {
  int64_t step;
  double n = 1, mean, sd;
  json_val at = 0;
  if (!json_int(d, json_get(d, 0, "step"), &step) || step < f->from || step > f->to) return;
  if (f->eval) at = json_get(d, 0, "rewards");
  if (f->eval && !json_number(d, json_get(d, at, "n"), &n)) return;
  if (!json_number(d, json_get(d, at, f->eval ? "mean" : "mean_reward"), &mean) ||
      !json_number(d, json_get(d, at, f->eval ? "sd" : "reward_sd"), &sd))
    return;
  f->n += n;
  f->mean += n * mean;
  f->squares += n * (sd * sd + mean * mean);
}

static rw_status read_lines(figures *f, const char *out, const char *name, rw_error *err) {
  char *path = file_join(out, name);
  json_doc *d = json_new();
  rows_in *in;
  rw_status s = path && d ? rows_open(&in, path, NULL, err) : rw_nomem(err, name);
  if (!s) {
    slice row;
    uint64_t line;
    while (!(s = rows_next(in, &row, &line, err)) && row.p && !(s = json_parse(d, row.p, row.len, err))) {
      slice eval = json_string(d, json_get(d, 0, "eval"));
      if (!f->eval || (eval.p && slice_is(eval, f->eval))) add_line(f, d);
    }
    rows_close(in);
  }
  json_free(d);
  mem_free(path);
  return s;
}

/* The chosen responses nearest to LIKED_LENGTH tokens, of different rows; longer ones are cut. */
static size_t pick_rows(const dataset *d, const int32_t **row, size_t *len) {
  size_t n = 0, picked[GOLDEN_ROWS];
  for (; n < GOLDEN_ROWS && n < dataset_size(d); n++) {
    size_t best = SIZE_MAX, distance = SIZE_MAX;
    for (size_t i = 0; i < dataset_size(d); i++) {
      bool taken = false;
      for (size_t k = 0; k < n; k++) taken |= picked[k] == i;
      size_t l = dataset_at(d, i)->len[0], away = l > LIKED_LENGTH ? l - LIKED_LENGTH : LIKED_LENGTH - l;
      if (!taken && away < distance) distance = away, best = i;
    }
    picked[n] = best;
    row[n] = dataset_at(d, best)->ids[0];
    len[n] = dataset_at(d, best)->len[0];
    if (len[n] > GOLDEN_TOKENS) len[n] = GOLDEN_TOKENS;
  }
  return n;
}

rw_status calibration_drop(const char *out, rw_error *err) {
  char *path = file_join(out, GOLDEN_FILE);
  rw_status s = path ? RW_OK : rw_nomem(err, out);
  if (!s && unlink(path) != 0 && errno != ENOENT)
    s = rw_fail(err, RW_IO, "%s: cannot remove: %s", path, strerror(errno));
  mem_free(path);
  return s;
}

/* The figures of the first --eval after step `kept`; where there is none, of the last quarter of the steps so far.
 */
static rw_status gather(figures *f, const train_options *o, int64_t kept, int64_t step, rw_error *err) {
  *f = (figures){.eval = o->eval.n ? o->eval.items[0] : NULL, .from = kept, .to = kept};
  if (f->eval) RW_TRY(read_lines(f, o->out, "evals.jsonl", err));
  if (f->n > 0) return RW_OK;
  *f = (figures){.from = step - step / 4, .to = step};
  return read_lines(f, o->out, "metrics.jsonl", err);
}

rw_status calibration_write(const train_options *o, const char *dir, const dataset *d, const train_state *state,
                            rw_error *err) {
  bool best = strcmp(o->keep, "best") == 0;
  int64_t kept = best ? state->best_step : state->step;
  figures f;
  RW_TRY(gather(&f, o, kept, state->step, err));
  double mean = f.n > 0 ? f.mean / f.n : NAN, v = f.n > 0 ? f.squares / f.n - mean * mean : NAN;
  char *on = f.eval ? mem_printf("%s after step %lld", f.eval, (long long)kept)
                    : mem_printf("training batches of steps %lld to %lld", (long long)f.from, (long long)f.to);
  golden_calibration c = {on, (size_t)f.n, mean, v > 0 ? sqrt(v) : v};
  model_options mo = {.device = o->device, .context = o->context, .own = true};
  const int32_t *row[GOLDEN_ROWS];
  size_t len[GOLDEN_ROWS];
  id_group rows = {row, len, o->golden ? pick_rows(d, row, len) : 0};
  model *m = NULL;
  rw_status s = on ? model_open(&m, dir, &mo, err) : rw_nomem(err, dir);
  if (!s) s = golden_write(m, dir, rows, &c, err);
  model_free(m);
  mem_free(on);
  return s;
}
