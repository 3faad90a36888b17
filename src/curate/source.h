/* source.h - what a data set must tell the recipe runner: one struct of functions for each public schema.
 *
 * A file is read twice. scan() looks at each row once and says what selection needs to know; text() is called again
 * for the rows whose text is needed, as messages. How rows make pairs is said by `pairing`. Both may run on any
 * thread.
 */
#ifndef CURATE_SOURCE_H
#define CURATE_SOURCE_H

#include "data/conversation.h"

typedef enum {
  PAIR_IN_ROW,     /* a row is a pair */
  PAIR_BY_PROMPT,  /* rows with one prompt and both kinds of response (WildGuardMix) */
  PAIR_CONSECUTIVE /* two responses to a prompt on consecutive rows (HelpSteer2) */
} pairing;

/* What becomes of a row of ranked answers (a source that has pairs()). */
typedef enum {
  FORM_BEST_WORST, /* one pair */
  FORM_ADJACENT,   /* a pair of each two that follow one another in rank */
  FORM_ALL,        /* a pair of each two of unequal rank */
  FORM_RANKING     /* one row with all answers and their scores */
} row_form;

/* What rows of some sources have beside what all rows have: columns of their own, or another kind of row. */
typedef enum { OWN_MARGIN = 1, OWN_ID = 2, OWN_RANKING = 4, OWN_SINGLE = 8 } own_field;

/* What scan() finds of a row, or of one pair of it. drop: why it gives nothing (a static string), or NULL. */
typedef struct {
  const char *drop;
  uint32_t chosen, rejected; /* PAIR_IN_ROW: which responses */
  double score;              /* mean of the responses' scores; NAN: the source has none */
  double rank;               /* PAIR_CONSECUTIVE: the row's own score */
  slice category;            /* task category as written, any length; in the row's document; len 0: none */
  uint64_t prompt[2];        /* key of the prompt, for pairing and duplicates: equal for equal texts alone */
  uint64_t texts[2][2];      /* keys of chosen and rejected text, for duplicates */
  bool keyless;              /* given: no stage asks for duplicates, texts need no keys */
  bool refusal, harmful;
  bool ranking; /* FORM_RANKING: not a pair */
  uint32_t own; /* own_field bits: columns of its own that text() will give */
} scan;

typedef struct {
  scan *s; /* owned */
  size_t n, cap;
} scan_list;

/* What a recipe says of rows as a user has them (sources/rows.c). */
typedef struct {
  row_map map;  /* fields by other names */
  row_map keep; /* of their own columns; none: all of them, or with keep_none none */
  bool keep_none;
} own_rows;

typedef struct source source;
struct source {
  const char *name;
  pairing pairing;
  bool scored; /* has response scores: selection by score can use it */
  /* The row's figures. A row of another shape is RW_DATA naming the field. */
  rw_status (*scan)(json_doc *d, arena *a, scan *out, rw_error *err);
  /* Appends a scan for each pair that the form makes of the row (or one with `drop`), given scan()'s; not called
   * for FORM_BEST_WORST. NULL: rows have no ranked answers. */
  rw_status (*pairs)(json_doc *d, row_form form, const scan *row, scan_list *out, rw_error *err);
  /* The row as conversations, in the arena and the document: a pair (ROW_PAIR, one chosen and one rejected); a
   * ranking (ROW_RESPONSES, scored) where the scan says so; or its only response (ROW_SINGLE), with a score where
   * the scan has OWN_SINGLE. What *out has as source, margin and id become the pair's columns source, margin and
   * source_id, and `more` stands behind all others; by itself *out has this source's name and nothing else. */
  rw_status (*text)(json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err);
  /* Of rows of a user's own, which each recipe calls and describes as it likes, the same functions in one; asked
   * through src_scan and its like. NULL: the source has the schema that its name says. */
  const struct rows_functions *of_rows;
  const own_rows *rows;
};

struct rows_functions {
  rw_status (*scan)(const own_rows *o, json_doc *d, arena *a, scan *out, rw_error *err);
  rw_status (*pairs)(const own_rows *o, json_doc *d, arena *a, row_form form, const scan *row, scan_list *out,
                     rw_error *err);
  rw_status (*text)(const own_rows *o, json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err);
};
rw_status src_scan(const source *src, json_doc *d, arena *a, scan *out, rw_error *err);
rw_status src_pairs(const source *src, json_doc *d, arena *a, row_form form, const scan *row, scan_list *out,
                    rw_error *err);
rw_status src_conv(const source *src, json_doc *d, arena *a, const scan *s, conv_row *out, rw_error *err);

extern const source *const curate_sources[]; /* ends with NULL; in sources.c */
const source *curate_source(slice name);     /* NULL: unknown */

/* ---- for the sources' code ---- */

/* A string field; absent, null or another type is RW_DATA naming it. */
rw_status src_text(json_doc *d, json_val obj, const char *field, slice *out, rw_error *err);
rw_status src_number(json_doc *d, json_val obj, const char *field, double *out, rw_error *err);
bool src_null(json_doc *d, json_val obj, const char *field); /* absent or null */
void src_hash(slice text, uint64_t out[2]);
void src_hash_messages(const message *m, size_t n, uint64_t out[2]); /* of their roles and contents */
void src_hash_texts(scan *s, slice chosen, slice rejected);
bool src_put(scan_list *out, scan s); /* false: no memory */
/* Conversations of a user's prompt and an assistant's response: two of them as a pair; one. */
rw_status src_pair(conv_row *out, arena *a, slice prompt, slice chosen, slice rejected, rw_error *err);
rw_status src_single(conv_row *out, arena *a, slice prompt, slice response, rw_error *err);
/* n branches, empty, for the caller to fill; ROW_PAIR: two, the first chosen. */
rw_status src_branches(conv_row *out, arena *a, row_kind kind, size_t n, rw_error *err);
/* HelpSteer2's prompt of several turns in one text (helpsteer2.c): its messages, user first, with room for `more`
 * behind them. A text without its marks is one message. */
rw_status src_helpsteer2_turns(slice prompt, size_t more, arena *a, message **m, size_t *n, rw_error *err);
/* Picks the first highest and first lowest of n scored texts into *s, or its drop reason. In two steps, where texts
 * are long and only these are wanted: src_pick by the scores (false: nothing is picked), then src_picked. */
bool src_pick(scan *s, const double *score, size_t n);
void src_picked(scan *s, slice chosen, slice rejected);
void src_best_worst(scan *s, const double *score, const slice *text, size_t n);

#endif
