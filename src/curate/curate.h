/* curate.h - building a preference set from public sources by a recipe.
 *
 * A recipe is a YAML list of stages (docs/recipes.md). Every row that is read is accounted for: it is part of a
 * kept pair, or stands in removed.jsonl with the stage and the reason. The same inputs and recipe give the same
 * bytes.
 *
 * The files of the folder call only what stands before them in this list; tables (sources.c, stages.c) alone name
 * the files whose structs they hold:
 *   sources/, source.h, sources.c     raw rows: their figures, and their conversations
 *   words.c, near.c                   words of texts, sets of shingles
 *   decontaminate.c, decon_tally.c    a benchmark's index, and what its matches come to
 *   decon_run.c                       `reward decontaminate`, beside all that follows
 *   stage.h, recipe.h                 what a stage and a recipe are
 *   reader.c, recipe.c, stages.c      a recipe's YAML
 *   curation.c                        the state of a run
 *   scan.c, fetch.c, row.c            the first reading, the second; a pair as JSON
 *   stages/                           one file a kind of stage
 *   plan.c, explain.c, outputs.c      what is told; names of files
 *   check.c                           what is refused before anything is read
 *   write.c, curate_report.c, card.c, manifest.c
 *                                     the files of the output folder
 *   curate.c                          the order of it all
 */
#ifndef CURATE_CURATE_H
#define CURATE_CURATE_H

#include "base/context.h"
#include "model/score.h"

typedef struct {
  const char *recipe;
  const char *const *inputs; /* "SOURCE=FILE"; a source may have several */
  size_t n_inputs;
  const char *const *only; /* sources to run; n_only 0: all of the recipe's */
  size_t n_only;
  const char *const *bench; /* benchmark files of the decontaminate stages */
  size_t n_bench;
  const char *out;         /* folder; NULL with dry_run */
  const char *scores;      /* rows as `reward score` writes them, for the agree stage */
  const char *agree_pairs; /* writes the pairs that the agree stage asks about to this file, and stops */
  const char *tokenizer;   /* folder with a tokenizer, for filters by tokens */
  const int64_t *seed;     /* seed of the sample and split stages; NULL: what the recipe says of each, else 0 */
  score_options model;     /* model.model NULL: none; for the agree stage */
  const char *explain;     /* id of a row to follow, or NULL */
  bool lenient, dry_run;
  bool force;   /* out may have files */
  bool parquet; /* the rows as data/train-*.parquet instead of train.jsonl */
  rw_context *context;
} curate_options;

typedef struct {
  size_t rows, pairs; /* read; kept */
} curate_counts;

/* Writes the rows, README.md, removed.jsonl, report.json, report.html, manifest.json into out; says the counts per
 * stage in *table (text, appended). */
rw_status curate_run(const curate_options *o, curate_counts *counts, str *table, rw_error *err);

#endif
