/* curate_report.c - what a curation did: report.json, report.html (the report's figures 1 and 2), a table of
 * counts. */
#include <math.h>
#include <string.h>

#include "base/file.h"
#include "curate/plan.h"
#include "curate/publish.h"

/* The report's Table 1 (arXiv 2410.18451): pairs before and after. */
static const struct {
  const char *name;
  int before, after;
} published[] = {{"helpsteer2", 7221, 7221},         {"offsetbias", 8504, 8504},
                 {"wildguardmix", 18548, 6709},      {"magpie-ultra", 50000, 27785},
                 {"magpie-pro-llama3", 98000, 2030}, {"magpie-pro-llama3.1", 98000, 29682},
                 {"magpie-air", 98000, 42}};

static size_t published_of(const char *name) {
  size_t i = 0;
  while (i < sizeof published / sizeof *published && strcmp(published[i].name, name) != 0) i++;
  return i;
}

/* Figures of one source over all its files. */
typedef struct {
  const source *src;
  size_t rows, loose, pairs, kept;
} summary;

static size_t summarize(const curation *r, summary *out) {
  size_t n = 0;
  for (size_t i = 0; i < r->n_inputs; i++) {
    size_t k = 0;
    while (k < n && out[k].src != r->inputs[i].src) k++;
    if (k == n) out[n++] = (summary){.src = r->inputs[i].src};
    out[k].rows += r->inputs[i].rows;
    out[k].pairs += r->inputs[i].n;
    for (size_t c = r->inputs[i].first; c < r->inputs[i].first + r->inputs[i].n; c++)
      out[k].kept += r->c[c].reason == NULL;
  }
  for (size_t i = 0; i < r->n_loose; i++)
    for (size_t k = 0; k < n; k++) out[k].loose += r->inputs[r->loose[i].row.input].src == out[k].src;
  return n;
}

typedef struct {
  slice name; /* as first met */
  size_t pairs, kept;
} category_count;

/* The pairs of each task category, without case as the recipes compare them; those without one are left out. *out
 * is the caller's to mem_free. */
static rw_status count_categories(const curation *r, category_count **out, size_t *n, rw_error *err) {
  map *places = map_new();
  str key = {0};
  size_t *of = mem_alloc(r->n_categories + 1, sizeof *of); /* a spelling's place in *out */
  *out = mem_zalloc(r->n_categories + 1, sizeof **out);
  *n = 0;
  bool ok = places && of && *out;
  for (size_t k = 0; ok && k < r->n_categories; k++) {
    bool was_new = false;
    str_clear(&key);
    str_add_lower(&key, r->categories[k].p, r->categories[k].len);
    int64_t *at = key.oom ? NULL : map_put(places, key.p ? key.p : "", key.len, (int64_t)*n, &was_new);
    ok = at != NULL;
    if (ok) of[k] = (size_t)*at;
    if (was_new) (*out)[(*n)++].name = r->categories[k];
  }
  for (size_t i = 0; ok && i < r->n; i++) {
    category_count *c = &(*out)[of[r->c[i].category]];
    c->pairs++;
    c->kept += r->c[i].reason == NULL;
  }
  map_free(places);
  str_free(&key);
  mem_free(of);
  return ok ? RW_OK : rw_nomem(err, "report");
}

/* Why pairs or rows were removed, as it is counted. */
typedef struct {
  const char *by, *reason; /* by: a stage's name, or "source" */
  size_t rows;
} removed_for;
typedef struct {
  removed_for *items;
  size_t n, cap, last; /* last: many rows are removed for what the row before was */
} reasons;

static bool is_for(const removed_for *x, const char *by, const char *reason) {
  return (x->by == by && x->reason == reason) || (strcmp(x->by, by) == 0 && strcmp(x->reason, reason) == 0);
}

static bool count_reason(reasons *l, const char *by, const char *reason) {
  if (l->n == 0 || !is_for(&l->items[l->last], by, reason)) {
    for (l->last = 0; l->last < l->n && !is_for(&l->items[l->last], by, reason); l->last++) continue;
    removed_for first = {by, reason, 0};
    if (l->last == l->n && !vec_push(l->items, l->n, l->cap, first)) return false;
  }
  l->items[l->last].rows++;
  return true;
}

/* In the order in which they are met. */
static void put_reasons(const curation *r, const source *src, json_writer *w) {
  reasons l = {0};
  bool ok = true;
  for (const input *in = r->inputs; in < r->inputs + r->n_inputs; in++)
    for (const candidate *c = r->c + in->first; ok && in->src == src && c < r->c + in->first + in->n; c++)
      if (c->reason) ok = count_reason(&l, c->by->kind->name, c->counted ? c->counted : c->reason);
  for (const loose_row *x = r->loose; ok && x < r->loose + r->n_loose; x++)
    if (r->inputs[x->row.input].src == src) ok = count_reason(&l, "source", x->reason);
  str key = {0};
  for (const removed_for *x = l.items; ok && x < l.items + l.n; x++) {
    str_clear(&key);
    str_printf(&key, "%s: %s", x->by, x->reason);
    jw_key(w, (slice){key.p, key.len});
    jw_uint(w, NULL, x->rows);
  }
  w->out->oom |= !ok || key.oom;
  str_free(&key);
  mem_free(l.items);
}

static void put_source(const curation *r, const summary *t, json_writer *w) {
  jw_object(w, t->src->name);
  jw_uint(w, "rows", t->rows);
  jw_uint(w, "rows_in_no_pair", t->loose);
  jw_uint(w, "rows_in_pairs", t->rows - t->loose);
  jw_uint(w, "pairs", t->pairs);
  jw_uint(w, "kept", t->kept);
  jw_object(w, "removed");
  put_reasons(r, t->src, w);
  jw_end(w);
  jw_end(w);
}

static void put_counts(stage_count n, json_writer *w) {
  jw_uint(w, "read", n.read);
  jw_uint(w, "kept", n.kept);
  jw_uint(w, "removed", n.read - n.kept);
}

static void put_stage(const curation *r, const stage *s, const summary *t, size_t n, json_writer *w) {
  void *found = r->found[s->index];
  jw_object(w, NULL);
  jw_string(w, "stage", s->kind->name);
  jw_int(w, "line", s->line);
  jw_uint(w, "pairs_left", r->stage_left[s->index]);
  put_counts(curation_count(r, s, NULL), w);
  if (stage_file(s)) jw_string(w, "file", stage_file(s));
  jw_object(w, "sources");
  for (size_t i = 0; i < n; i++) {
    if (!stage_is_for(s, t[i].src)) continue;
    jw_object(w, t[i].src->name);
    put_counts(curation_count(r, s, t[i].src), w);
    jw_end(w);
  }
  jw_end(w);
  if (found && s->kind->json) s->kind->json(found, w);
  jw_end(w);
}

static rw_status put_categories(const curation *r, json_writer *w, rw_error *err) {
  category_count *c;
  size_t n;
  rw_status st = count_categories(r, &c, &n, err);
  jw_object_lines(w, "task_categories");
  for (size_t k = 0; !st && k < n; k++) {
    if (c[k].name.len == 0) continue;
    jw_key(w, c[k].name);
    jw_object(w, NULL);
    jw_uint(w, "pairs", c[k].pairs);
    jw_uint(w, "kept", c[k].kept);
    jw_end(w);
  }
  jw_end(w);
  mem_free(c);
  return st;
}

static rw_status write_json(const curation *r, const summary *t, size_t n, rw_error *err) {
  str s = {0};
  json_writer w = {.out = &s};
  char *path = file_join(r->o->out, "report.json");
  size_t rows = 0, kept = 0;
  jw_object_lines(&w, NULL);
  jw_string(&w, "recipe", r->recipe.name);
  jw_object_lines(&w, "sources");
  for (size_t i = 0; i < n; i++) {
    put_source(r, &t[i], &w);
    rows += t[i].rows;
    kept += t[i].kept;
  }
  jw_end(&w);
  jw_array_lines(&w, "stages");
  for (size_t k = 0; k < r->recipe.n; k++)
    if (r->stage_done[k]) put_stage(r, &r->recipe.stages[k], t, n, &w);
  jw_end(&w);
  rw_status st = put_categories(r, &w, err);
  jw_uint(&w, "rows", rows);
  jw_uint(&w, "pairs", kept);
  jw_end(&w);
  str_addc(&s, '\n');
  if (!st) st = path && !s.oom ? file_put(path, s.p, s.len, err) : rw_nomem(err, "report.json");
  mem_free(path);
  str_free(&s);
  return st;
}

/* Are they a user's own alone? Then the report has no numbers to put beside theirs. */
static bool all_own(const summary *t, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (!t[i].src->rows) return false;
  return true;
}

static rep_table *count_table(const summary *t, size_t n) {
  bool own = all_own(t, n);
  rep_table *table = rep_table_new(
      (const char *[]){"source", ">rows", ">in no pair", ">pairs", ">kept", ">report before", ">report after"},
      own ? 5 : 7);
  size_t sum[4] = {0};
  for (size_t i = 0; i < n; i++) {
    size_t k = published_of(t[i].src->name);
    /* only beside the source itself, not beside a sample of it */
    bool known = k < sizeof published / sizeof *published && t[i].rows >= (size_t)published[k].before;
    rep_cell(table, "%s", t[i].src->name);
    rep_cell_int(table, (int64_t)t[i].rows);
    rep_cell_int(table, (int64_t)t[i].loose);
    rep_cell_int(table, (int64_t)t[i].pairs);
    rep_cell_int(table, (int64_t)t[i].kept);
    if (!own) rep_cell_num(table, known ? published[k].before : NAN, 0);
    if (!own) rep_cell_num(table, known ? published[k].after : NAN, 0);
    sum[0] += t[i].rows, sum[1] += t[i].loose, sum[2] += t[i].pairs, sum[3] += t[i].kept;
  }
  rep_total(table);
  rep_cell(table, "all");
  for (int k = 0; k < 4; k++) rep_cell_int(table, (int64_t)sum[k]);
  for (int k = 0; !own && k < 2; k++) rep_cell_text(table, SLICE(""));
  return table;
}

/* Figure 2: each scored source's adjusted mean scores, before selection. */
static rw_status add_distributions(const curation *r, const summary *t, size_t n, rep_page *p, rw_error *err) {
  double *v = mem_alloc(r->n, sizeof *v);
  rep_sample *s = mem_zalloc(n, sizeof *s);
  size_t at = 0, samples = 0;
  if (!v || !s) {
    mem_free(v);
    mem_free(s);
    return rw_nomem(err, "report.html");
  }
  for (size_t k = 0; k < n; k++) {
    size_t from = at;
    for (size_t i = 0; t[k].src->scored && i < r->n; i++)
      if (r->inputs[r->c[i].input].src == t[k].src) v[at++] = r->c[i].score;
    if (at > from) s[samples++] = (rep_sample){t[k].src->name, v + from, at - from, k};
  }
  if (samples > 0)
    rep_histogram(p,
                  &(rep_chart){.title = "Adjusted mean score of each prompt's responses, before selection",
                               .x_label = "mean score + source offset",
                               .y_label = "share of the source's prompts, %",
                               .caption = "Dashed: means.",
                               .decimals = 3},
                  s, samples, 40);
  mem_free(v);
  mem_free(s);
  return RW_OK;
}

static rw_status write_html(const curation *r, const summary *t, size_t n, const rep_table *counts, rw_error *err) {
  rep_page *p = rep_page_new(r->recipe.name, "What a curation recipe read, kept and removed.");
  const char *series[64], *labels[2] = {"before", "after"};
  double values[2 * 64];
  size_t rows = 0, kept = 0, m = n < 64 ? n : 64;
  for (size_t i = 0; i < m; i++) {
    series[i] = t[i].src->name;
    values[i] = (double)t[i].pairs;
    values[m + i] = (double)t[i].kept;
  }
  for (size_t i = 0; i < n; i++) rows += t[i].rows, kept += t[i].kept;
  rep_fact_int(p, "rows read", (int64_t)rows);
  rep_fact_int(p, "pairs kept", (int64_t)kept);
  rep_put_table(
      p, counts,
      all_own(t, n)
          ? "Rows and pairs by source"
          : "Rows and pairs by source; the last columns are the Skywork-Reward report's own numbers (arXiv "
            "2410.18451).");
  rep_stacked(p, &(rep_chart){.title = "Composition by source"}, labels, 2, series, m, values);
  rw_status s = add_distributions(r, t, n, p, err);
  rep_table *c = rep_table_new((const char *[]){"task category", ">pairs", ">kept"}, 3);
  bool any = false;
  category_count *category = NULL;
  size_t n_categories;
  if (!s) s = count_categories(r, &category, &n_categories, err);
  for (size_t k = 0; !s && k < n_categories; k++) {
    if (category[k].name.len == 0) continue;
    rep_cell_text(c, category[k].name);
    rep_cell_int(c, (int64_t)category[k].pairs);
    rep_cell_int(c, (int64_t)category[k].kept);
    any = true;
  }
  mem_free(category);
  if (any) rep_put_table(p, c, "Task categories");
  for (const stage *g = r->recipe.stages; g < r->recipe.stages + r->recipe.n; g++)
    if (r->found[g->index] && g->kind->page) g->kind->page(r->found[g->index], g, p);
  char *path = file_join(r->o->out, "report.html");
  if (!s) s = path ? rep_page_write(p, path, err) : rw_nomem(err, "report.html");
  mem_free(path);
  rep_table_free(c);
  rep_page_free(p);
  return s;
}

rw_status curation_report(const curation *r, str *table, rw_error *err) {
  summary *t = mem_zalloc(r->n_inputs, sizeof *t);
  if (!t) return rw_nomem(err, "report");
  size_t n = summarize(r, t);
  rep_table *counts = count_table(t, n);
  rw_status s = rep_table_print(counts, table, err);
  if (r->o->dry_run) curation_plan(r, table);
  for (const stage *g = r->recipe.stages; !r->o->dry_run && g < r->recipe.stages + r->recipe.n; g++)
    if (curation_writes(r, g))
      str_printf(table, "wrote %-14s %zu pairs\n", stage_file(g), curation_written(r, g));
    else if (r->stage_done[g->index])
      str_printf(table, "after %-14s %zu pairs\n", g->kind->name, r->stage_left[g->index]);
  if (!s && !r->o->dry_run) s = write_json(r, t, n, err);
  if (!s && !r->o->dry_run) s = write_html(r, t, n, counts, err);
  rep_table_free(counts);
  mem_free(t);
  return s;
}
