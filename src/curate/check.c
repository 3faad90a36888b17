/* check.c - what can be known to be wrong before anything is read or written: names, files, options without a use.
 */
#include "curate/check.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/log.h"
#include "curate/outputs.h"
#include "format/parquet.h"

rw_status curation_check_names(const curation *r, rw_error *err) {
  char hint[RECIPE_HINT];
  for (size_t i = 0; i < r->o->n_only; i++) {
    slice name = slice_of(r->o->only[i]);
    if (recipe_source(&r->recipe, name)) continue;
    if (!curate_source(name))
      return rw_fail(err, RW_USAGE, FIELD(only) ": '%s' is no source%s", name.p,
                     recipe_near(&r->recipe, name, hint));
    return rw_fail(err, RW_USAGE, FIELD(only) ": the recipe %s has no source %s", r->recipe.path, name.p);
  }
  for (size_t i = 0; i < r->o->n_inputs; i++) {
    const char *eq = strchr(r->o->inputs[i], '=');
    slice name = {r->o->inputs[i], eq ? (size_t)(eq - r->o->inputs[i]) : 0};
    if (eq && recipe_source(&r->recipe, name)) continue;
    if (!eq || !curate_source(name))
      return rw_fail(err, RW_USAGE, FIELD(input) ": expected SOURCE=FILE with a source's name, got '%s'%s",
                     r->o->inputs[i], recipe_near(&r->recipe, name, hint));
    return rw_fail(err, RW_USAGE, FIELD(input) " %s: the recipe %s has no source %.*s", r->o->inputs[i],
                   r->recipe.path, (int)name.len, name.p);
  }
  return RW_OK;
}

/* Files are read more than once (hash, rows, texts); a pipe would be empty, or wait forever, the second time. */
static rw_status check_file(const char *option, const char *path, rw_error *err) {
  struct stat st;
  if (stat(path, &st) != 0) return rw_fail(err, RW_IO, "%s: %s: cannot open: %s", option, path, strerror(errno));
  if (S_ISREG(st.st_mode)) return RW_OK;
  return rw_fail(err, RW_USAGE, "%s: expected a file, which is read more than once, got %s: %s", option,
                 S_ISDIR(st.st_mode)    ? "a folder"
                 : S_ISFIFO(st.st_mode) ? "a pipe"
                                        : "a special file",
                 path);
}

static const char *user_of(stage_uses use) {
  size_t i = 0;
  while (stage_kinds[i + 1] && !(stage_kinds[i]->uses & use)) i++;
  return stage_kinds[i]->name;
}

/* An option that no stage uses is said, not refused: one line of options may serve several recipes and --only. */
static void warn_unused(const curation *r, const char *option, bool given, stage_uses use) {
  if (given && !curation_uses(r, use))
    log_warn(r->o->context, "%s is not used: no %s stage of %s is for the sources that are read", option,
             user_of(use), r->recipe.path);
}

static rw_status check_needs(const curation *r, rw_error *err) {
  for (const stage *s = r->recipe.stages; s < r->recipe.stages + r->recipe.n; s++) {
    if (!curation_concerns(r, s)) continue;
    if (curation_lacks(r, s))
      return rw_fail(err, RW_USAGE, "%s:%d: %s: %s", r->recipe.path, s->line, s->kind->name, s->kind->why);
    if (curation_ends(r, s)) break;
  }
  return RW_OK;
}

/* Before hours of work. */
static rw_status check_parquet(const curation *r, rw_error *err) {
  const char *what = r->o->parquet ? FIELD(format) " parquet" : NULL;
  for (const stage *s = r->recipe.stages; s < r->recipe.stages + r->recipe.n; s++) {
    const char *file = stage_file(s), *end = file ? strrchr(file, '.') : NULL;
    if (end && strcmp(end, ".parquet") == 0 && curation_concerns(r, s)) what = file;
  }
  return what ? parquet_check(what, err) : RW_OK;
}

/* --force, or --agree-pairs: a file that is read would be replaced. */
static rw_status check_apart(const curation *r, rw_error *err) {
  const curate_options *o = r->o;
  size_t n = 0;
  const char **in = arena_alloc(r->mem, r->n_inputs + o->n_bench + 2, sizeof *in);
  if (!in) return rw_nomem(err, "inputs");
  in[n++] = o->recipe;
  for (size_t i = 0; i < r->n_inputs; i++) in[n++] = r->inputs[i].path;
  for (size_t i = 0; i < o->n_bench; i++) in[n++] = o->bench[i];
  if (o->scores) in[n++] = o->scores;
  if (o->agree_pairs) return file_check_output(o->agree_pairs, in, n, err);
  return curation_makes_set(r) ? curation_check_outputs(r, in, n, err) : RW_OK;
}

rw_status curation_check(const curation *r, rw_error *err) {
  const curate_options *o = r->o;
  if (o->scores && o->model.model)
    return rw_fail(err, RW_USAGE, FIELD(scores) " and " FIELD(model) ": expected one of them, got both");
  if (o->agree_pairs && (o->dry_run || o->explain))
    return rw_fail(
        err, RW_USAGE,
        FIELD(agree_pairs) " writes a file, " FIELD(dry_run) " and " FIELD(explain) " write none: leave one out");
  RW_TRY(check_file("the recipe", r->recipe.path, err));
  for (size_t i = 0; i < r->n_inputs; i++) RW_TRY(check_file(FIELD(input), r->inputs[i].path, err));
  for (size_t i = 0; i < o->n_bench; i++) RW_TRY(check_file(FIELD(bench), o->bench[i], err));
  if (o->scores) RW_TRY(check_file(FIELD(scores), o->scores, err));
  RW_TRY(check_apart(r, err));
  if (o->agree_pairs && !curation_uses(r, USES_AGREE_PAIRS))
    return rw_fail(err, RW_USAGE, FIELD(agree_pairs) ": no %s stage of %s is for the sources that are read",
                   user_of(USES_AGREE_PAIRS), r->recipe.path);
  warn_unused(r, FIELD(bench), o->n_bench > 0, USES_BENCH);
  warn_unused(r, FIELD(scores), o->scores != NULL, USES_SCORES);
  warn_unused(r, FIELD(tokenizer), o->tokenizer != NULL, USES_TOKENIZER);
  warn_unused(r, FIELD(model), o->model.model != NULL, USES_MODEL);
  if (o->dry_run || o->explain) return RW_OK;
  RW_TRY(check_parquet(r, err));
  return check_needs(r, err);
}
