/* plan.c - stages in words, and with their counts: --dry-run's plan. */
#include "curate/run.h"

static double value(decimal d) { return (double)d.digits / (double)d.scale; }

static void add_groups(const stage *s, str *out) {
  for (size_t g = 0; g < s->n_groups; g++) {
    str_addz(out, g ? "; " : ": ");
    curation_group(&s->groups[g], out);
    if (s->groups[g].has_keep) str_printf(out, " %.9g", value(s->groups[g].keep));
    if (s->groups[g].quota >= 0) str_printf(out, " at most %lld", (long long)s->groups[g].quota);
  }
}

void curation_group(const select_group *g, str *out) {
  if (g->n == 0) str_addz(out, "all others");
  for (size_t i = 0; i < g->n; i++) str_printf(out, "%s%s", i ? ", " : "", g->categories[i]);
}

void curation_describe(const stage *s, str *out) {
  static const char *const forms[] = {"", ", adjacent pairs", ", all pairs", ", kept as rankings"};
  str_printf(out, "%s", stage_names[s->kind]);
  for (size_t i = 0; i < s->n_named; i++)
    str_printf(out, "%s%s", i ? ", " : s->kind == STAGE_SOURCE ? " " : " of ", s->named[i]->name);
  if (s->kind == STAGE_SOURCE && s->offset != 0) str_printf(out, ", offset %.9g", s->offset);
  if (s->kind == STAGE_SOURCE) str_addz(out, forms[s->form]);
  if (s->kind == STAGE_SELECT) add_groups(s, out);
  if (s->kind == STAGE_FILTER) str_printf(out, ": removes where %s", s->reason);
  if (s->kind == STAGE_DEDUP)
    str_printf(out, ": %s, by %s", s->near ? "near" : "exact", s->of_prompt ? "prompt" : "pair");
  if (s->near)
    str_printf(out, ", %.9g of the shingles of %lld words, %lld hash functions", value(s->threshold),
               (long long)s->shingle, (long long)s->num_perm);
  if (s->kind == STAGE_DECONTAMINATE)
    str_printf(out, ": %lld words%s", (long long)s->ngram, s->gist ? ", gist" : "");
  if (s->kind == STAGE_WRITE) str_printf(out, ": %s", s->file);
  if (s->kind == STAGE_SAMPLE) str_printf(out, ": %lld pairs, seed %lld", (long long)s->pairs, (long long)s->seed);
}

stage_count curation_count(const curation *r, size_t k, const source *src) {
  stage_count n = {0};
  for (size_t i = 0; i < r->n_inputs; i++) {
    if ((src && r->inputs[i].src != src) || !stage_is_for(&r->recipe.stages[k], r->inputs[i].src)) continue;
    n.read += r->counts[k * r->n_inputs + i].read;
    n.kept += r->counts[k * r->n_inputs + i].kept;
  }
  return n;
}

void curation_plan(const curation *r, str *out) {
  str_printf(out, "\nplan of %s\n", r->recipe.name);
  for (size_t k = 0; k < r->recipe.n; k++) {
    const stage *s = &r->recipe.stages[k];
    const char *lacks = curation_lacks(r, s);
    str_printf(out, "%s:%d: ", r->recipe.path, s->line);
    curation_describe(s, out);
    if (!curation_concerns(r, s)) {
      str_addz(out, " | not run: " FIELD(only) " leaves its sources out\n");
    } else if (lacks) {
      str_printf(out, " | not run: needs %s\n", lacks);
    } else if (s->kind == STAGE_SOURCE) {
      size_t rows = 0, pairs = 0;
      for (size_t i = 0; i < r->n_inputs; i++)
        if (r->inputs[i].src == s->named[0]) rows += r->inputs[i].rows, pairs += r->inputs[i].n;
      str_printf(out, " | %zu rows, %zu pairs\n", rows, pairs);
    } else {
      stage_count n = curation_count(r, k, NULL);
      if (s->kind == STAGE_WRITE)
        str_printf(out, " | writes %zu pairs", n.kept);
      else
        str_printf(out, " | keeps %zu of %zu pairs, %zu in all", n.kept, n.read, r->stage_left[k]);
      if (r->contamination[k]) {
        decon_counts c = decon_tally_counts(r->contamination[k]);
        str_printf(out, "; matches %zu of %zu benchmark prompts", c.matched, c.bench_rows);
      }
      str_addc(out, '\n');
    }
  }
}
