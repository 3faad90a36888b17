/* fuzz_recipe.c - any bytes as a curation recipe (YAML): refused with file and line, or stages that are whole. */
#include <string.h>

#include "curate/recipe.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz_file f = fuzz_file_of(data, size);
  recipe r;
  rw_error err;
  if (recipe_load(&r, f.path, &err) == RW_OK) {
    if (r.n == 0 || r.n > MAX_STAGES) abort();
    for (size_t i = 0; i < r.n; i++) {
      const stage *s = &r.stages[i];
      if (s->file && (strchr(s->file, '/') || s->file[0] == '.')) abort();
      if (s->n_named > MAX_NAMED || s->n_groups > MAX_GROUPS) abort();
      for (size_t k = 0; k < s->n_named; k++) fuzz_touch(s->named[k]->name, strlen(s->named[k]->name));
      for (size_t g = 0; g < s->n_groups; g++) {
        if (s->groups[g].has_keep && decimal_of(s->groups[g].keep, 1000) > 1000) abort();
        for (size_t k = 0; k < s->groups[g].n; k++)
          fuzz_touch(s->groups[g].categories[k], strlen(s->groups[g].categories[k]));
      }
    }
  }
  recipe_free(&r);
  fuzz_file_close(&f);
  return 0;
}
