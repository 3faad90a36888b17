/* nonfinite.c - searches a batch for the rows behind a non-finite number (see nonfinite.h). */
#include "train/nonfinite.h"

#include <math.h>
#include <stdio.h>

#include "train/loss.h"

enum { NAMED = 5 };

/* RW_OK: this row alone is well. RW_NUMERIC: its fault, in err. */
static rw_status probe_row(const nonfinite_probe *p, const example *x, bool backward, rw_error *err) {
  id_group g = {x->ids, x->len, x->n};
  if (backward) model_begin_round(p->m, 1, true, true); /* all ranks look at the first one's gradient */
  model_zero_grad(p->m);
  RW_TRY(model_forward(p->m, &g, 1, p->share, p->rewards, err));
  if (!backward) return RW_OK;
  if (x->scores)
    loss_ranking(p->loss, p->rewards, x->scores, x->n, p->d_row);
  else
    loss_pair(p->loss, (double)p->rewards[0], (double)p->rewards[1], x->margin, p->d_row);
  loss_center(p->loss, p->rewards, x->n, p->d_row);
  for (size_t b = 0; b < x->n; b++) p->d_rewards[b] = (float)p->d_row[b];
  RW_TRY(model_backward(p->m, p->d_rewards, err));
  const char *bad = model_bad_gradient(p->m);
  if (!bad) return RW_OK;
  return rw_fail(err, RW_NUMERIC, "the gradient of %s is not finite (rewards %g, %g)", bad, (double)p->rewards[0],
                 (double)p->rewards[1]);
}

rw_status nonfinite_rows(const nonfinite_probe *p, const example *const *rows, size_t n, bool backward,
                         const char *why, rw_error *err) {
  rw_error first, e;
  str names = {0};
  size_t found = 0;
  for (size_t i = 0; i < n; i++) {
    rw_status s = probe_row(p, rows[i], backward, &e);
    if (s == RW_OK) continue;
    if (s != RW_NUMERIC) { /* memory: the fault that was seen counts for more */
      str_free(&names);
      return rw_fail(err, RW_NUMERIC, "step %lld: %s", (long long)p->step, why);
    }
    if (found == 0) first = e;
    if (found++ < NAMED) str_printf(&names, "%s%s", found > 1 ? ", " : "", rows[i]->where);
  }
  if (found == 0)
    rw_fail(err, RW_NUMERIC, "step %lld: %s; no row of the batch alone gives it (rows %s to %s)",
            (long long)p->step, why, rows[0]->where, rows[n - 1]->where);
  else
    rw_fail(err, RW_NUMERIC, "step %lld: %zu of %zu rows (%s%s): %s", (long long)p->step, found, n,
            names.p ? names.p : "", found > NAMED ? ", …" : "", first.text);
  str_free(&names);
  return RW_NUMERIC;
}
