/* curation.h - the state of a run: inputs, possible pairs, what was removed and why, counts.
 *
 * Scanning fills it, stages mark candidates as removed, the files of the output folder are written from it. An
 * index of a candidate is its place in the order of the recipe's sources, their files, and rows.
 */
#ifndef CURATE_CURATION_H
#define CURATE_CURATION_H

#include "base/sha256.h"
#include "curate/curate.h"
#include "curate/recipe.h"

/* Where a row stands. */
typedef struct {
  uint64_t line;
  uint32_t input; /* index into inputs */
} place;

/* A possible pair: one row, or two of the same source. */
typedef struct {
  uint32_t input;              /* input of its later row */
  uint32_t chosen, rejected;   /* PAIR_IN_ROW: response numbers */
  place row[2];                /* rows of the chosen and the rejected response; equal for PAIR_IN_ROW */
  double score;                /* adjusted mean; NAN: none */
  uint64_t prompt[2], pair[2]; /* keys: of the prompt; of prompt, chosen and rejected text (scan.keyless) */
  uint32_t category;           /* index into categories */
  uint32_t own;                /* own_field bits */
  uint64_t pass;               /* by stage: those whose row() its rows pass */
  uint64_t written;            /* by stage: those with a file that it reached */
  size_t twin;                 /* dedup: 1 + the kept candidate that this one repeats; 0: none */
  double jaccard;              /* near duplicates: how alike */
  const stage *by;             /* removed: by which stage */
  const char *reason;          /* and why; NULL: alive */
  const char *counted;         /* the reason that it is counted under; NULL: the same */
  const char *matches;         /* decontaminate: a JSON list of all of them, or NULL */
} candidate;

/* A row that is part of no candidate. */
typedef struct {
  place row;
  const char *reason;
  const char *detail; /* what is wrong with a row of another shape; NULL: the reason says all */
} loose_row;

typedef struct {
  const source *src;
  const char *path;
  uint32_t number;       /* 1: the source's first file */
  size_t rows, first, n; /* rows read; its candidates */
  double offset;
  row_form form;
  uint64_t has; /* by stage: stages whose row() found its field in some row */
  char hash[SHA256_HEX];
} input;

/* Pairs of one input that a stage met and left; it removed the difference. */
typedef struct {
  size_t read, kept;
} stage_count;

/* --explain: a pair that is followed. */
typedef struct {
  size_t candidate;
  str text, note; /* its story so far; what the running stage has to say */
  bool open;      /* some stage was not run */
  const stage *removed_by;
} watched;

/* A file of --bench or --scores that stages read, or one that the run has written. */
typedef struct {
  const char *path;
  char hash[SHA256_HEX];
} hashed_file;
typedef struct hashing hashing; /* hashes what is read, beside the work (hashes.h) */

struct curation {
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
  void *found[MAX_STAGES]; /* what a stage that ran has to tell (stage_kind) */
  stage_count *counts;     /* [stages][inputs] */
  watched *watch;          /* by candidate */
  size_t n_watch;
  str told;                    /* --explain: of rows in no pair */
  hashed_file *also, *written; /* written: rows and what stages write */
  size_t n_also, n_written, cap_written;
  hashing *hashing;
  char model_hash[SHA256_HEX];    /* hash of --model's weights, once a stage has opened it */
  size_t row_bytes;               /* bytes of the kept rows as JSON */
  size_t stage_bytes[MAX_STAGES]; /* the same of the rows in a stage's file */
  size_t shards;                  /* files of the kept rows as Parquet; 0: train.jsonl */
};

/* ---- rows and pairs ---- */

int curation_order(place a, place b); /* order of two rows: < 0, 0, > 0 */
place curation_later(const candidate *c);
place curation_earlier(const candidate *c);
void curation_id(const curation *r, const candidate *c, str *out);
void curation_row_id(const curation *r, place row, str *out);
const source *curation_source(const curation *r, const candidate *c);

/* ---- for stages ---- */

/* Is candidate i alive, and the stage for its source? */
bool curation_wants(const curation *r, const stage *s, size_t i);
/* A byte for each candidate: is it wanted? For the caller to mem_free; NULL: no memory. */
uint8_t *curation_wanted(const curation *r, const stage *s, rw_error *err);
void curation_remove(curation *r, const stage *s, size_t i, const char *reason);
/* What a stage has to say of candidate i, should it be followed. */
void curation_note(curation *r, size_t i, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
int curation_cut(slice s, size_t max); /* the length of its first whole characters in at most max bytes */

/* ---- what the run is to do ---- */

bool curation_reads(const curation *r, const source *src);     /* not left out by --only */
bool curation_concerns(const curation *r, const stage *s);     /* is for a source that is read */
bool curation_uses(const curation *r, stage_uses option);      /* a stage that does so uses the option */
bool curation_writes(const curation *r, const stage *s);       /* writes a file, of such a source */
bool curation_makes_set(const curation *r);                    /* writes a folder, not only something about it */
const char *curation_lacks(const curation *r, const stage *s); /* the option without which it cannot run, or NULL */
bool curation_ends(const curation *r, const stage *s);         /* the run is over behind the stage */

/* ---- what it has done ---- */

size_t curation_alive(const curation *r);
void curation_count_stage(curation *r, const stage *s, bool after);               /* before it runs, and after */
stage_count curation_count(const curation *r, const stage *s, const source *src); /* src NULL: all it is for */
size_t curation_written(const curation *r, const stage *s);                       /* rows for its file */

#endif
