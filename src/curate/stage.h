/* stage.h - what a stage of a recipe is: one struct for each kind, which a file of src/curate/stages/ fills.
 *
 * A kind has the keys of its stages in a recipe, a function that works on the remaining pairs in its turn, and
 * functions that report afterwards. All else is the same for every kind and known elsewhere: the sources of a
 * stage, the order of stages, counts and reasons.
 */
#ifndef CURATE_STAGE_H
#define CURATE_STAGE_H

#include "curate/source.h"
#include "format/json_write.h"
#include "report/report.h"

typedef struct curation curation;           /* a run: curation.h */
typedef struct recipe recipe;               /* recipe.h */
typedef struct recipe_reader recipe_reader; /* reader.h */
typedef struct stage stage;
struct fy_node; /* a place in the recipe's YAML */

enum { MAX_STAGES = 64, MAX_NAMED = 16 };

typedef struct {
  const char *name;
  bool list; /* its value is a list; beside any other value it is no key of the stage */
  rw_status (*read)(const recipe_reader *r, struct fy_node *value, stage *s);
} stage_key;

/* What a stage that reads a source says of its rows. */
typedef struct {
  double offset; /* added to the mean scores */
  row_form form;
} stage_rows;

/* Options of a run that one kind of stage alone has a use for. */
typedef enum {
  USES_BENCH = 1,
  USES_SCORES = 2,
  USES_MODEL = 4,
  USES_AGREE_PAIRS = 8,
  USES_SEED = 16,
  USES_TOKENIZER = 32
} stage_uses;

typedef struct {
  const char *name; /* in recipes and in all that is told */

  /* ---- in a recipe ---- */

  size_t size;           /* bytes of what a stage keeps at `own` */
  const void *defaults;  /* their initial contents; NULL: zeros */
  const stage_key *keys; /* beside `sources`; the last one has no name; NULL: none */
  /* The stage's own value where that is not a mapping. NULL: names of sources. */
  rw_status (*value)(const recipe_reader *r, struct fy_node *v, stage *s);
  /* After the last key; n: the whole stage. NULL: there is nothing to check. */
  rw_status (*check)(const recipe_reader *r, struct fy_node *n, stage *s);
  /* May the rows that the stage `from` reads come to this one? NULL: any may. */
  rw_status (*takes)(const recipe *r, const stage *s, const stage *from, rw_error *err);
  /* Where the stage reads the source that it names: what it says of the rows. NULL: the kind reads none. */
  const stage_rows *(*rows)(const stage *s);
  /* The file in the output folder that the stage writes its pairs to. NULL: it writes none. */
  const char *(*file)(const stage *s);
  bool parts;               /* these leave the set: the file is a split of its own */
  void (*close)(void *own); /* frees what is not in the recipe's arena. NULL: nothing */
  /* Appends in words what it does; name and sources stand before. NULL: these say all. */
  void (*describe)(const curation *r, const stage *s, str *out);

  /* ---- in a run ---- */

  unsigned uses; /* stage_uses bits */
  /* Can it run with the options that were given? NULL: always. Else `needs` names the options that it lacks, and
   * `why` is the sentence that asks for them. */
  bool (*ready)(const curation *r, const stage *s);
  const char *needs, *why;
  bool (*ends)(const curation *r); /* is the run over behind it? NULL: no */
  bool asks_keys;                  /* run() asks candidates for their keys */
  /* Looks at a row while it is read: is there what the stage asks about, and does the row pass? On any thread. */
  rw_status (*row)(const stage *s, json_doc *d, bool *has, bool *pass, rw_error *err);
  rw_status (*run)(curation *r, const stage *s, rw_error *err); /* NULL: reading was all */

  /* ---- what is told of it, if it ran; `found` is what run() left in r->found ---- */

  void (*manifest)(const curation *r, const stage *s, json_writer *w); /* members of an object in "samples" */
  void (*plan)(const void *found, str *out);                           /* appended to its line of the plan */
  void (*json)(const void *found, json_writer *w);                     /* members of its object in report.json */
  void (*page)(const void *found, const stage *s, rep_page *p);
  void (*release)(void *found);
} stage_kind;

struct stage {
  const stage_kind *kind;
  size_t index;                   /* in the recipe */
  int line;                       /* line of the recipe */
  const source *named[MAX_NAMED]; /* those it is for; none: all */
  size_t n_named;
  void *own; /* what its keys say */
};

/* ---- stages.c ---- */

extern const stage_kind *const stage_kinds[]; /* ends with NULL */
const stage_kind *stage_kind_of(slice name);  /* NULL: there is no such kind */
bool stage_is_for(const stage *s, const source *src);
bool stage_reads(const stage *s, const source *src); /* is it the stage that reads src? */
const char *stage_file(const stage *s);              /* NULL: it writes none */
void stage_describe(const curation *r, const stage *s, str *out);

#endif
