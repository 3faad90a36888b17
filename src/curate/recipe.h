/* recipe.h - a recipe: the stages of a YAML file, checked. */
#ifndef CURATE_RECIPE_H
#define CURATE_RECIPE_H

#include "curate/stage.h"

struct recipe {
  char *path, *name;
  stage stages[MAX_STAGES];
  size_t n;
  arena *mem;
};

/* An unknown key or value is RW_DATA with file and line. */
rw_status recipe_load(recipe *r, const char *path, rw_error *err);
void recipe_free(recipe *r);
/* What it reads by that name (reader.c); NULL: it has no such source. */
const source *recipe_source(const recipe *r, slice name);
enum { RECIPE_HINT = 96 };
/* "; did you mean SOURCE?", of those that it reads and all that are known; or "". */
const char *recipe_near(const recipe *r, slice name, char hint[RECIPE_HINT]);

#endif
