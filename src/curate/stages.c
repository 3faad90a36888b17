/* stages.c - the table of stages, and what can be asked of a stage whatever its kind. */
#include "curate/stage.h"

/* One line a kind, in the order in which messages name them: src/curate/stages/ has a file that defines
 * stage_NAME. */
#define KINDS(X)   \
  X(source)        \
  X(select)        \
  X(filter)        \
  X(agree)         \
  X(dedup)         \
  X(decontaminate) \
  X(sample)        \
  X(split)         \
  X(write)

#define X(name) extern const stage_kind stage_##name;
KINDS(X)
#undef X
#define X(name) &stage_##name,
const stage_kind *const stage_kinds[] = {KINDS(X) NULL};
#undef X

const stage_kind *stage_kind_of(slice name) {
  for (size_t i = 0; name.p && stage_kinds[i]; i++)
    if (slice_is(name, stage_kinds[i]->name)) return stage_kinds[i];
  return NULL;
}

bool stage_is_for(const stage *s, const source *src) {
  for (size_t i = 0; i < s->n_named; i++)
    if (s->named[i] == src) return true;
  return s->n_named == 0;
}

bool stage_reads(const stage *s, const source *src) { return s->kind->rows && s->named[0] == src; }

const char *stage_file(const stage *s) { return s->kind->file ? s->kind->file(s) : NULL; }

void stage_describe(const curation *r, const stage *s, str *out) {
  str_addz(out, s->kind->name);
  for (size_t i = 0; i < s->n_named; i++)
    str_printf(out, "%s%s", i ? ", " : s->kind->rows ? " " : " of ", s->named[i]->name);
  if (s->kind->describe) s->kind->describe(r, s, out);
}
