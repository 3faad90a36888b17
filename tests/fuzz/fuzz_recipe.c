/* fuzz_recipe.c - any bytes as a curation recipe (YAML): refused with file and line, or stages that are whole. */
#include <string.h>

#include "curate/curation.h"
#include "curate/stages/select.h"
#include "fuzz.h"

static void touch_groups(const select_options *o) {
  if (o->n == 0 || o->n > MAX_GROUPS) abort();
  for (const select_group *g = o->groups; g < o->groups + o->n; g++) {
    if (g->has_keep && decimal_of(g->keep, 1000) > 1000) abort();
    for (size_t k = 0; k < g->n; k++) fuzz_touch(g->categories[k], strlen(g->categories[k]));
  }
}

static void touch_stage(const curation *r, const stage *s) {
  const char *file = stage_file(s);
  str words = {0};
  if (file && (strchr(file, '/') || file[0] == '.')) abort();
  if (s->n_named > MAX_NAMED || s != &r->recipe.stages[s->index]) abort();
  for (size_t k = 0; k < s->n_named; k++) fuzz_touch(s->named[k]->name, strlen(s->named[k]->name));
  if (s->kind == &stage_select) touch_groups(s->own);
  stage_describe(r, s, &words);
  fuzz_touch(words.p, words.len);
  str_free(&words);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_file f = fuzz_file_of(data, size);
  curate_options o = {0};
  curation *r = mem_zalloc(1, sizeof *r);
  rw_error err;
  if (!r) abort();
  r->o = &o;
  if (recipe_load(&r->recipe, f.path, &err) == RW_OK) {
    if (r->recipe.n == 0 || r->recipe.n > MAX_STAGES) abort();
    for (size_t i = 0; i < r->recipe.n; i++) touch_stage(r, &r->recipe.stages[i]);
  }
  recipe_free(&r->recipe);
  mem_free(r);
  fuzz_file_close(&f);
  return 0;
}
