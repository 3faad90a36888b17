/* recipe.h - a recipe: the stages of a YAML file, checked. */
#ifndef CURATE_RECIPE_H
#define CURATE_RECIPE_H

#include "curate/source.h"

typedef enum {
  STAGE_SOURCE,
  STAGE_SELECT,
  STAGE_FILTER,
  STAGE_AGREE,
  STAGE_DEDUP,
  STAGE_DECONTAMINATE,
  STAGE_SAMPLE,
  STAGE_WRITE
} stage_kind;
extern const char *const stage_names[];

enum { MAX_STAGES = 64, MAX_GROUPS = 16, MAX_CATEGORIES = 16, MAX_NAMED = 16, MAX_VALUES = 32 };

/* A decimal as written: digits / 10^places; fractions of counts are taken exactly. */
typedef struct {
  int64_t digits, scale;
} decimal;

typedef struct {
  const char *categories[MAX_CATEGORIES];
  size_t n; /* 0: all others */
  bool has_keep;
  decimal keep;  /* of the group's pairs, rounded down */
  int64_t quota; /* -1: none */
} select_group;

typedef struct {
  stage_kind kind;
  int line;                       /* in the recipe */
  const source *named[MAX_NAMED]; /* source: one; else those that the stage is for; none: all */
  size_t n_named;
  double offset; /* source */
  row_form form; /* source */
  select_group groups[MAX_GROUPS];
  size_t n_groups;
  /* filter: the field is one of the values, or a number from min to max */
  const char *field, *reason; /* reason: why a pair goes */
  slice values[MAX_VALUES];
  size_t n_values;
  bool has_min, has_max;
  double min, max;
  int64_t ngram; /* decontaminate */
  bool gist;
  int64_t pairs, seed; /* sample */
  const char *file;    /* write: a name for the output folder, checked */
  /* dedup */
  bool near, of_prompt;      /* nearly the same rather than equal; of the prompt alone */
  int64_t num_perm, shingle; /* hash functions; words of a shingle */
  decimal threshold;         /* least Jaccard similarity */
} stage;

typedef struct {
  char *path, *name;
  stage stages[MAX_STAGES];
  size_t n;
  arena *mem;
} recipe;

/* An unknown key or value is RW_DATA with file and line. */
rw_status recipe_load(recipe *r, const char *path, rw_error *err);
void recipe_free(recipe *r);
bool stage_is_for(const stage *s, const source *src); /* no source named: all */
/* floor(d * n), exactly */
size_t decimal_of(decimal d, size_t n);

#endif
