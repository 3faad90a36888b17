/* plan.c - what --dry-run prints: each stage, with the pairs that it would leave. */
#include "curate/plan.h"

static void add_read(const curation *r, const stage *s, str *out) {
  size_t rows = 0, pairs = 0;
  for (size_t i = 0; i < r->n_inputs; i++)
    if (stage_reads(s, r->inputs[i].src)) rows += r->inputs[i].rows, pairs += r->inputs[i].n;
  str_printf(out, " | %zu rows, %zu pairs\n", rows, pairs);
}

static void add_ran(const curation *r, const stage *s, str *out) {
  stage_count n = curation_count(r, s, NULL);
  if (stage_file(s))
    str_printf(out, " | writes %zu pairs", curation_written(r, s));
  else
    str_printf(out, " | keeps %zu of %zu pairs, %zu in all", n.kept, n.read, r->stage_left[s->index]);
  if (r->found[s->index] && s->kind->plan) s->kind->plan(r->found[s->index], out);
  str_addc(out, '\n');
}

void curation_plan(const curation *r, str *out) {
  str_printf(out, "\nplan of %s\n", r->recipe.name);
  for (size_t k = 0; k < r->recipe.n; k++) {
    const stage *s = &r->recipe.stages[k];
    const char *lacks = curation_lacks(r, s);
    str_printf(out, "%s:%d: ", r->recipe.path, s->line);
    stage_describe(r, s, out);
    if (!curation_concerns(r, s))
      str_addz(out, " | not run: " FIELD(only) " leaves its sources out\n");
    else if (lacks)
      str_printf(out, " | not run: needs %s\n", lacks);
    else if (s->kind->rows)
      add_read(r, s, out);
    else
      add_ran(r, s, out);
  }
}
