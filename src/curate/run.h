/* run.h - the state of a curation: candidates, what was removed and why, counts. */
#ifndef CURATE_RUN_H
#define CURATE_RUN_H

#include "curate/curate.h"
#include "curate/decon_tally.h"
#include "curate/recipe.h"

/* Where a row stands. */
typedef struct {
  uint64_t line;
  uint32_t input; /* index into inputs */
} place;

/* A possible pair: one row, or two of the same source. */
typedef struct {
  uint32_t input;            /* of its later row */
  uint32_t chosen, rejected; /* PAIR_IN_ROW: response numbers */
  place row[2];              /* of the chosen and the rejected response; equal for PAIR_IN_ROW */
  double score;              /* adjusted mean; NAN: none */
  uint64_t prompt[2], texts[2];
  uint32_t category;          /* index into categories */
  uint32_t own;               /* own_field bits */
  uint64_t pass;              /* by stage: filters that its rows pass */
  uint64_t written;           /* by stage: write stages that it reached */
  size_t twin;                /* dedup: 1 + the kept candidate that this one repeats; 0: none */
  double jaccard;             /* near duplicates: how alike */
  const char *stage, *reason; /* removed: by which stage and why; NULL: alive */
  const char *matches;        /* decontaminate: a JSON list of all of them, or NULL */
} candidate;

/* A row that is part of no candidate. */
typedef struct {
  place row;
  const char *reason;
} loose_row;

typedef struct {
  const source *src;
  const char *path;
  uint32_t number;       /* 1: the source's first file */
  size_t rows, first, n; /* rows read; its candidates */
  double offset;
  row_form form;
  uint64_t has; /* by stage: filters whose field some row has */
  char hash[33];
} input;

/* Of one stage and input, in pairs; what it removes is the difference. */
typedef struct {
  size_t read, kept;
} stage_count;

/* --explain: a pair that is followed. */
typedef struct {
  size_t candidate;
  str text, note; /* its story so far; what the stage that runs has to say */
  bool open;      /* some stage was not run */
  const stage *removed_by;
} watched;

typedef struct {
  const curate_options *o;
  recipe recipe;
  input *inputs;
  size_t n_inputs;
  candidate *c;
  size_t n, cap;
  loose_row *loose;
  size_t n_loose, cap_loose;
  map *category_ids;
  slice *categories;
  size_t n_categories, cap_categories;
  arena *mem;
  size_t stage_left[MAX_STAGES]; /* candidates alive after each stage */
  bool stage_done[MAX_STAGES];
  stage_count *counts; /* [stages][inputs] */
  watched *watch;      /* by candidate */
  size_t n_watch;
  str told;     /* --explain: of rows in no pair */
  struct also { /* files of --bench and --scores that stages read, as they were before */
    const char *path;
    char hash[33];
  } * also;
  size_t n_also;
  decon_tally *contamination[MAX_STAGES]; /* of the decontaminate stages that ran */
  char model_hash[33];                    /* of --model, once a stage has opened it */
  size_t row_bytes;                       /* of the kept rows as JSON */
  size_t shards;                          /* of the kept rows as Parquet; 0: train.jsonl */
} curation;

void curation_id(const curation *r, const candidate *c, str *out);
void curation_row_id(const curation *r, place row, str *out);
int curation_order(place a, place b); /* of rows: < 0, 0, > 0 */
place curation_later(const candidate *c);
place curation_earlier(const candidate *c);
/* A byte for each candidate: is it alive, and the stage for it? For the caller to mem_free; NULL: no memory. */
uint8_t *curation_wanted(const curation *r, const stage *s, rw_error *err);
int curation_cut(slice s, size_t max); /* the length of its first whole characters in at most max bytes */

/* check.c: the names in --only and --input; then, with the inputs known, the files and the options of the stages.
 */
rw_status curation_check_names(const curation *r, rw_error *err);
rw_status curation_check(const curation *r, rw_error *err);
bool curation_reads(const curation *r, const source *src);     /* not left out by --only */
bool curation_concerns(const curation *r, const stage *s);     /* is for a source that is read */
bool curation_has(const curation *r, stage_kind kind);         /* a stage of the kind that does */
bool curation_writes(const curation *r, size_t k);             /* stage k is a write stage, for such a source */
bool curation_makes_set(const curation *r);                    /* writes a folder, not only something about it */
const char *curation_lacks(const curation *r, const stage *s); /* the option without which it cannot run, or NULL */

/* plan.c */
void curation_describe(const stage *s, str *out);
void curation_group(const select_group *g, str *out);
stage_count curation_count(const curation *r, size_t k, const source *src); /* src NULL: all it is for */
void curation_plan(const curation *r, str *out);

/* explain.c: before the stages (an id that nothing has is RW_DATA); after each; the whole. */
rw_status explain_find(curation *r, rw_error *err);
void explain_stage(curation *r, const stage *s);
void explain_end(const curation *r, str *out);
void explain_free(curation *r);
/* What a stage has to say of candidate i, should it be followed. */
void curation_note(curation *r, size_t i, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* filter.c: sets the bits of the filters whose field the row has, and of those that it passes. */
void filter_row(const recipe *r, const source *src, json_doc *d, scan *out);
rw_status stage_filter(curation *r, const stage *s, rw_error *err);
/* scan.c: reads every input once and forms the candidates. */
rw_status curation_scan(curation *r, rw_error *err);
/* fetch.c: the texts of the candidates that want[] marks, in the order of their later row. */
typedef struct {
  slice chosen, rejected; /* messages as JSON */
  slice own;              /* what source.own appends; len 0: the source has no such function */
} pair_text;
rw_status curation_fetch(curation *r, const uint8_t *want,
                         rw_status (*emit)(void *ctx, size_t i, const pair_text *t, rw_error *err), void *ctx,
                         rw_error *err);
/* select.c */
rw_status stage_select(curation *r, const stage *s, rw_error *err);
rw_status stage_dedup(curation *r, const stage *s, rw_error *err);
rw_status stage_near(curation *r, const stage *s, rw_error *err); /* near.c */
rw_status stage_sample(curation *r, const stage *s, rw_error *err);
void stage_write(curation *r, const stage *s); /* marks what write.c is to write when all is known to go well */
/* agree.c */
extern const char CURATION_UNSCORED[]; /* how the reason of a pair that could not be scored begins */
rw_status stage_agree(curation *r, const stage *s, rw_error *err);
rw_status stage_decontaminate(curation *r, const stage *s, rw_error *err); /* decon_stage.c */
/* outputs.c: names in the output folder, in r->mem; items are the caller's to mem_free. */
typedef struct {
  char **items;
  size_t n, cap;
} output_names;
/* What the run writes, but for manifest.json. */
rw_status curation_outputs(const curation *r, output_names *l, rw_error *err);
/* Is a file that is read one of those that the run is to write or remove? RW_USAGE. */
rw_status curation_check_outputs(const curation *r, const char *const *in, size_t n, rw_error *err);
/* Removes what earlier runs wrote into the folder and this one has not (--force). */
rw_status curation_remove_earlier(const curation *r, rw_error *err);
/* write.c: the rows (of the set, of the write stages), and removed.jsonl, all or none of them. */
rw_status curation_write(curation *r, rw_error *err);
/* curate_report.c */
rw_status curation_report(const curation *r, str *table, rw_error *err);
/* card.c: README.md, when the rows are written; the name of their file k inside the folder (mem_free). */
rw_status curation_card(const curation *r, rw_error *err);
char *curation_file(const curation *r, size_t k);
/* The candidate as a row of the set. */
void curation_row(const curation *r, size_t i, const pair_text *t, str *out);

#endif
