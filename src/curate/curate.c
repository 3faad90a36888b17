/* curate.c - running a recipe: inputs, stages in order, and the files that come out. */
#include "curate/curate.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "curate/run.h"

int curation_order(place a, place b) {
  if (a.input != b.input) return a.input < b.input ? -1 : 1;
  return a.line < b.line ? -1 : a.line > b.line;
}
place curation_later(const candidate *c) { return c->row[curation_order(c->row[0], c->row[1]) < 0]; }
place curation_earlier(const candidate *c) { return c->row[curation_order(c->row[0], c->row[1]) > 0]; }

uint8_t *curation_wanted(const curation *r, const stage *s, rw_error *err) {
  uint8_t *want = mem_zalloc(r->n, 1);
  if (!want) rw_nomem(err, "candidates");
  for (size_t i = 0; want && i < r->n; i++)
    want[i] = !r->c[i].reason && stage_is_for(s, r->inputs[r->c[i].input].src);
  return want;
}

int curation_cut(slice s, size_t max) {
  if (s.len <= max) return (int)s.len;
  while (max > 0 && ((unsigned char)s.p[max] & 0xC0) == 0x80) max--;
  return (int)max;
}

/* "source:line", or "source:file:line" in a source's second and later files; a pair over two rows "source:a+b", or
 * "source:a+file:b" over two files; one of several pairs of a row "source:line/chosen-rejected", counting its
 * answers from 1. */
void curation_row_id(const curation *r, place row, str *out) {
  const input *i = &r->inputs[row.input];
  str_addz(out, i->src->name);
  if (i->number > 1) str_printf(out, ":%u", i->number);
  str_printf(out, ":%llu", (unsigned long long)row.line);
}
void curation_id(const curation *r, const candidate *c, str *out) {
  place a = curation_earlier(c), b = curation_later(c);
  curation_row_id(r, a, out);
  if (a.input != b.input) str_printf(out, "+%u:%llu", r->inputs[b.input].number, (unsigned long long)b.line);
  if (a.input == b.input && a.line != b.line) str_printf(out, "+%llu", (unsigned long long)b.line);
  row_form form = r->inputs[c->input].form;
  if (form == FORM_ADJACENT || form == FORM_ALL) str_printf(out, "/%u-%u", c->chosen + 1, c->rejected + 1);
}

void curation_row(const curation *r, size_t i, const pair_text *t, str *out) {
  const candidate *c = &r->c[i];
  slice category = r->categories[c->category];
  const char *name = r->inputs[c->input].src->name;
  bool ranking = r->inputs[c->input].form == FORM_RANKING;
  str_addz(out, ranking ? "{\"prompt\": " : "{\"chosen\": ");
  str_add(out, t->chosen.p, t->chosen.len);
  str_addz(out, ranking ? ", " : ", \"rejected\": ");
  str_add(out, t->rejected.p, t->rejected.len);
  str_addz(out, t->own.len ? ", " : ", \"source\": ");
  if (t->own.len)
    str_add(out, t->own.p, t->own.len);
  else
    str_json(out, name, strlen(name));
  str_addz(out, ", \"id\": \"");
  curation_id(r, c, out);
  str_addc(out, '"');
  if (category.len) {
    str_addz(out, ", \"task_category\": ");
    str_json(out, category.p, category.len);
  }
  str_addc(out, '}');
}

/* ---- inputs ---- */

static rw_status find_inputs(curation *r, rw_error *err) {
  size_t cap = 0;
  RW_TRY(curation_check_names(r, err));
  for (size_t k = 0; k < r->recipe.n; k++) {
    const stage *s = &r->recipe.stages[k];
    if (s->kind != STAGE_SOURCE || !curation_reads(r, s->named[0])) continue;
    uint32_t number = 0;
    for (size_t i = 0; i < r->o->n_inputs; i++) {
      const char *eq = strchr(r->o->inputs[i], '=');
      if (!slice_is((slice){r->o->inputs[i], (size_t)(eq - r->o->inputs[i])}, s->named[0]->name)) continue;
      input in = {.src = s->named[0], .path = eq + 1, .number = number + 1, .offset = s->offset, .form = s->form};
      number++;
      if (!vec_push(r->inputs, r->n_inputs, cap, in)) return rw_nomem(err, "inputs");
    }
    if (number == 0)
      return rw_fail(err, RW_USAGE,
                     "%s:%d: source %s: no file; give " FIELD(input) " %s=FILE, or leave it out with " FIELD(only),
                     r->recipe.path, s->line, s->named[0]->name, s->named[0]->name);
  }
  return r->n_inputs > 0 ? RW_OK : rw_fail(err, RW_USAGE, FIELD(only) " leaves no source of %s", r->recipe.path);
}

/* ---- stages ---- */

static size_t alive(const curation *r) {
  size_t n = 0;
  for (size_t i = 0; i < r->n; i++) n += r->c[i].reason == NULL;
  return n;
}

static void count(curation *r, size_t k, bool after) {
  for (size_t i = 0; i < r->n; i++) {
    stage_count *n = &r->counts[k * r->n_inputs + r->c[i].input];
    if (r->c[i].reason) continue;
    if (after)
      n->kept++;
    else
      n->read++;
  }
}

static rw_status run_stage(curation *r, const stage *s, rw_error *err) {
  switch (s->kind) {
    case STAGE_SOURCE: return RW_OK; /* it was read */
    case STAGE_SELECT: return stage_select(r, s, err);
    case STAGE_FILTER: return stage_filter(r, s, err);
    case STAGE_AGREE: return stage_agree(r, s, err);
    case STAGE_DEDUP: return stage_dedup(r, s, err);
    case STAGE_DECONTAMINATE: return stage_decontaminate(r, s, err);
    case STAGE_SAMPLE: return stage_sample(r, s, err);
    case STAGE_WRITE: return stage_write(r, s), RW_OK;
  }
  return RW_OK;
}

static rw_status run_stages(curation *r, bool *stopped, rw_error *err) {
  if (!(r->counts = mem_zalloc(r->recipe.n * r->n_inputs, sizeof *r->counts))) return rw_nomem(err, "counts");
  for (size_t k = 0; k < r->recipe.n; k++) {
    const stage *s = &r->recipe.stages[k];
    if (s->kind == STAGE_SOURCE) continue;
    if (log_interrupted(r->o->context)) return rw_fail(err, RW_INTERRUPTED, "interrupted; nothing was written");
    /* --dry-run and --explain go on without a stage that lacks its option, and say so */
    if (curation_concerns(r, s) && !curation_lacks(r, s)) {
      count(r, k, false);
      RW_TRY(run_stage(r, s, err));
      count(r, k, true);
      r->stage_left[k] = alive(r);
      r->stage_done[k] = true;
      if (s->kind == STAGE_AGREE && r->o->agree_pairs) return *stopped = true, RW_OK;
    }
    explain_stage(r, s);
  }
  return RW_OK;
}

/* ---- manifest.json ---- */

static rw_status add_file(str *s, const char *dir, const char *name, bool first, rw_error *err) {
  char hash[33], *path = file_join(dir, name);
  rw_status st = path ? file_hash(path, hash, err) : rw_nomem(err, name);
  mem_free(path);
  if (st) return st;
  str_printf(s, "%s\n    {\"path\": ", first ? "" : ",");
  str_json(s, name, strlen(name));
  str_printf(s, ", \"xxh3_128\": \"%s\"}", hash);
  return RW_OK;
}

static rw_status write_manifest(const curation *r, rw_error *err) {
  str s = {0};
  char hash[33], *path = file_join(r->o->out, "manifest.json");
  rw_status st = path ? file_hash(r->recipe.path, hash, err) : rw_nomem(err, r->o->out);
  str_addz(&s, "{\n  \"program\": \"reward.c " REWARD_VERSION "\",\n  \"recipe\": {\"name\": ");
  str_json(&s, r->recipe.name, strlen(r->recipe.name));
  str_printf(&s, ", \"xxh3_128\": \"%s\"},\n  \"inputs\": [", hash);
  for (size_t i = 0; i < r->n_inputs; i++) {
    const input *in = &r->inputs[i];
    const char *slash = strrchr(in->path, '/'), *name = slash ? slash + 1 : in->path;
    str_printf(&s, "%s\n    {\"source\": \"%s\", \"file\": ", i ? "," : "", in->src->name);
    str_json(&s, name, strlen(name));
    str_printf(&s, ", \"rows\": %zu, \"xxh3_128\": \"%s\"}", in->rows, in->hash);
  }
  str_addz(&s, "\n  ],\n  \"samples\": [");
  bool first = true;
  for (size_t k = 0; k < r->recipe.n; k++) {
    const stage *g = &r->recipe.stages[k];
    if (g->kind != STAGE_SAMPLE || !r->stage_done[k]) continue;
    str_printf(&s, "%s\n    {\"line\": %d, \"pairs\": %lld, \"seed\": %lld}", first ? "" : ",", g->line,
               (long long)g->pairs, (long long)g->seed);
    first = false;
  }
  str_addz(&s, first ? "],\n  \"also_read\": [" : "\n  ],\n  \"also_read\": [");
  for (size_t i = 0; i < r->n_also; i++) {
    const char *slash = strrchr(r->also[i].path, '/'), *name = slash ? slash + 1 : r->also[i].path;
    str_printf(&s, "%s\n    {\"file\": ", i ? "," : "");
    str_json(&s, name, strlen(name));
    str_printf(&s, ", \"xxh3_128\": \"%s\"}", r->also[i].hash);
  }
  str_addz(&s, r->n_also ? "\n  ],\n" : "],\n");
  if (r->model_hash[0]) {
    str_addz(&s, "  \"model\": {\"path\": ");
    str_json(&s, r->o->model.model, strlen(r->o->model.model));
    str_printf(&s, ", \"xxh3_128\": \"%s\"},\n", r->model_hash);
  }
  str_addz(&s, "  \"outputs\": [");
  output_names names = {0};
  if (!st) st = curation_outputs(r, &names, err);
  for (size_t i = 0; !st && i < names.n; i++) st = add_file(&s, r->o->out, names.items[i], i == 0, err);
  mem_free(names.items);
  str_printf(&s, "\n  ],\n  \"pairs\": %zu\n}\n", alive(r));
  if (!st) st = s.oom ? rw_nomem(err, path) : file_put(path, s.p, s.len, err);
  mem_free(path);
  str_free(&s);
  return st;
}

static rw_status hash_also(curation *r, rw_error *err) {
  const curate_options *o = r->o;
  size_t bench = curation_has(r, STAGE_DECONTAMINATE) ? o->n_bench : 0;
  r->also = mem_zalloc(bench + 1, sizeof *r->also);
  if (!r->also) return rw_nomem(err, "files");
  for (size_t i = 0; i < bench; i++) r->also[r->n_also++].path = o->bench[i];
  if (o->scores && curation_has(r, STAGE_AGREE)) r->also[r->n_also++].path = o->scores;
  for (size_t i = 0; i < r->n_also; i++) RW_TRY(file_hash(r->also[i].path, r->also[i].hash, err));
  return RW_OK;
}

static rw_status whole(curation *r, out_dir *dir, curate_counts *counts, str *table, rw_error *err) {
  bool stopped = false;
  RW_TRY(recipe_load(&r->recipe, r->o->recipe, err));
  for (size_t k = 0; r->o->seed && k < r->recipe.n; k++) r->recipe.stages[k].seed = *r->o->seed;
  r->mem = arena_new();
  r->category_ids = map_new();
  if (!r->mem || !r->category_ids) return rw_nomem(err, "curation");
  RW_TRY(find_inputs(r, err));
  RW_TRY(curation_check(r, err));
  if (curation_makes_set(r)) RW_TRY(file_dir_begin(dir, r->o->out, r->o->force, err));
  RW_TRY(hash_also(r, err));
  RW_TRY(curation_scan(r, err));
  if (r->o->explain) RW_TRY(explain_find(r, err));
  RW_TRY(run_stages(r, &stopped, err));
  for (size_t i = 0; i < r->n_inputs; i++) counts->rows += r->inputs[i].rows;
  counts->pairs = alive(r);
  if (r->o->explain) explain_end(r, table);
  if (stopped || r->o->explain) return RW_OK;
  if (r->o->dry_run) return curation_report(r, table, err);
  RW_TRY(curation_write(r, err));
  RW_TRY(curation_report(r, table, err));
  RW_TRY(curation_card(r, err));
  return write_manifest(r, err);
}

rw_status curate_run(const curate_options *o, curate_counts *counts, str *table, rw_error *err) {
  curation r = {.o = o};
  out_dir dir = {NULL, -1, 0};
  *counts = (curate_counts){0};
  rw_status s = whole(&r, &dir, counts, table, err);
  if (table->p) table->len = context_spell(o->context, table->p);
  file_dir_end(&dir, s == RW_OK);
  void *p[] = {r.inputs, r.c, r.loose, r.categories, r.counts, r.also};
  explain_free(&r);
  for (size_t k = 0; k < MAX_STAGES; k++) decon_tally_free(r.contamination[k]);
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  map_free(r.category_ids);
  arena_free(r.mem);
  recipe_free(&r.recipe);
  return s;
}
