/* curate.c - running a recipe: inputs, stages in order, and the files that come out. */
#include "curate/curate.h"

#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "curate/check.h"
#include "curate/explain.h"
#include "curate/hashes.h"
#include "curate/publish.h"
#include "curate/scan.h"
#include "format/rows_folder.h"

/* ---- inputs ---- */

/* The sources' names, all of those that lack a file. */
static rw_status missing(const curation *r, const stage *first, const str *names, rw_error *err) {
  if (names->oom) return rw_nomem(err, "inputs");
  if (!strchr(names->p, ','))
    return rw_fail(err, RW_USAGE,
                   "%s:%d: source %s: no file; give " FIELD(input) " %s=FILE, or leave it out with " FIELD(only),
                   r->recipe.path, first->line, names->p, names->p);
  return rw_fail(err, RW_USAGE,
                 "%s: no files for the sources %s; give " FIELD(input) " SOURCE=FILE for each (docs/data.md says where "
                 "they come from), or leave them out with " FIELD(only),
                 r->recipe.path, names->p);
}

static rw_status find_inputs(curation *r, rw_error *err) {
  size_t cap = 0;
  str lacking = {0};
  const stage *first = NULL;
  RW_TRY(curation_check_names(r, err));
  for (size_t k = 0; k < r->recipe.n; k++) {
    const stage *s = &r->recipe.stages[k];
    if (!s->kind->rows || !curation_reads(r, s->named[0])) continue;
    const stage_rows *rows = s->kind->rows(s);
    uint32_t number = 0;
    for (size_t i = 0; i < r->o->n_inputs; i++) {
      const char *eq = strchr(r->o->inputs[i], '=');
      if (!slice_is((slice){r->o->inputs[i], (size_t)(eq - r->o->inputs[i])}, s->named[0]->name)) continue;
      rows_files files;
      RW_TRY(rows_files_of(&files, eq + 1, r->mem, err));
      for (size_t f = 0; f < files.n; f++) {
        number++;
        input in = {.src = s->named[0],
                    .path = files.paths[f],
                    .number = number,
                    .offset = rows->offset,
                    .form = rows->form};
        if (!vec_push(r->inputs, r->n_inputs, cap, in)) return rw_nomem(err, "inputs");
      }
    }
    if (number > 0) continue;
    if (!first) first = s;
    str_printf(&lacking, "%s%s", lacking.len ? ", " : "", s->named[0]->name);
  }
  rw_status st = first ? missing(r, first, &lacking, err) : RW_OK;
  str_free(&lacking);
  RW_TRY(st);
  return r->n_inputs > 0 ? RW_OK : rw_fail(err, RW_USAGE, FIELD(only) " leaves no source of %s", r->recipe.path);
}

/* ---- stages ---- */

static rw_status run_stages(curation *r, bool *stopped, rw_error *err) {
  if (!(r->counts = mem_zalloc(r->recipe.n * r->n_inputs, sizeof *r->counts))) return rw_nomem(err, "counts");
  for (size_t k = 0; k < r->recipe.n; k++) {
    const stage *s = &r->recipe.stages[k];
    if (!s->kind->run) continue;
    if (log_interrupted(r->o->context)) return rw_fail(err, RW_INTERRUPTED, "interrupted; nothing was written");
    /* --dry-run and --explain go on without a stage that lacks its option, and say so */
    if (curation_concerns(r, s) && !curation_lacks(r, s)) {
      curation_count_stage(r, s, false);
      RW_TRY(s->kind->run(r, s, err));
      curation_count_stage(r, s, true);
      r->stage_left[k] = curation_alive(r);
      r->stage_done[k] = true;
      if (curation_ends(r, s)) return *stopped = true, RW_OK;
    }
    explain_stage(r, s);
  }
  return RW_OK;
}

/* ---- the whole ---- */

/* Its file, whichever of the two the folder has. */
static rw_status list_tokenizer(curation *r, rw_error *err) {
  static const char *const names[] = {"tokenizer.json", "tokenizer.model"};
  for (size_t i = 0; i < 2; i++) {
    char *path = file_join(r->o->tokenizer, names[i]);
    const char *copy = path ? arena_strndup(r->mem, path, strlen(path)) : NULL;
    mem_free(path);
    if (!copy) return rw_nomem(err, "files");
    if (!file_exists(copy)) continue;
    r->also[r->n_also++].path = copy;
    return RW_OK;
  }
  return RW_OK;
}

static rw_status list_also(curation *r, rw_error *err) {
  const curate_options *o = r->o;
  size_t bench = curation_uses(r, USES_BENCH) ? o->n_bench : 0;
  r->also = mem_zalloc(bench + 2, sizeof *r->also);
  if (!r->also) return rw_nomem(err, "files");
  for (size_t i = 0; i < bench; i++) r->also[r->n_also++].path = o->bench[i];
  if (o->scores && curation_uses(r, USES_SCORES)) r->also[r->n_also++].path = o->scores;
  return o->tokenizer && curation_uses(r, USES_TOKENIZER) ? list_tokenizer(r, err) : RW_OK;
}

static rw_status whole(curation *r, out_dir *dir, curate_counts *counts, str *table, rw_error *err) {
  bool stopped = false;
  RW_TRY(recipe_load(&r->recipe, r->o->recipe, err));
  r->mem = arena_new();
  r->category_ids = map_new();
  if (!r->mem || !r->category_ids) return rw_nomem(err, "curation");
  RW_TRY(find_inputs(r, err));
  RW_TRY(curation_check(r, err));
  if (curation_makes_set(r)) RW_TRY(file_dir_begin(dir, r->o->out, r->o->force, err));
  RW_TRY(list_also(r, err));
  RW_TRY(curation_scan(r, err));
  if (curation_makes_set(r)) RW_TRY(hashes_begin(r, err));
  if (r->o->explain) RW_TRY(explain_find(r, err));
  RW_TRY(run_stages(r, &stopped, err));
  for (size_t i = 0; i < r->n_inputs; i++) counts->rows += r->inputs[i].rows;
  counts->pairs = curation_alive(r);
  if (r->o->explain) explain_end(r, table);
  if (stopped || r->o->explain) return RW_OK;
  if (r->o->dry_run) return curation_report(r, table, err);
  RW_TRY(curation_write(r, err));
  RW_TRY(hashes_end(r, err));
  RW_TRY(curation_report(r, table, err));
  RW_TRY(curation_card(r, err));
  return curation_manifest(r, err);
}

rw_status curate_run(const curate_options *o, curate_counts *counts, str *table, rw_error *err) {
  curation r = {.o = o};
  out_dir dir = {NULL, -1, 0};
  *counts = (curate_counts){0};
  rw_status s = whole(&r, &dir, counts, table, err);
  if (table->p) table->len = context_spell(o->context, table->p);
  hashes_free(&r);
  file_dir_end(&dir, s == RW_OK);
  void *p[] = {r.inputs, r.c, r.loose, r.categories, r.counts, r.also, r.written};
  explain_free(&r);
  for (size_t k = 0; k < r.recipe.n; k++)
    if (r.found[k]) r.recipe.stages[k].kind->release(r.found[k]);
  for (size_t i = 0; i < sizeof p / sizeof *p; i++) mem_free(p[i]);
  map_free(r.category_ids);
  arena_free(r.mem);
  recipe_free(&r.recipe);
  return s;
}
