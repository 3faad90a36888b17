/* score_row.h - one row of `reward score`: any row of the public contract as JSON text, and the same row with its
 * scores.
 *
 * A row keeps its own fields. Left out are those that could be taken for what is written here: "error", "dropped",
 * "truncated" and the names that its kind of row gets. A row that cannot be scored gets "error" and no score.
 */
#ifndef MODEL_SCORE_ROW_H
#define MODEL_SCORE_ROW_H

#include "format/json_write.h"
#include "format/own_fields.h"
#include "model/score.h"

enum { SCORE_FIELDS = 18 };

/* How rows are written, and what was replaced in them so far. Set scorer and best, the rest zero, then call
 * score_form_init. */
typedef struct {
  scorer *scorer;
  bool best; /* rows with responses also get "best" and "best_response" */
  const char *const *names;
  size_t n_names; /* number of attributes */
  bool magpie;    /* rows of Magpie's form get rewards_armorm */
  own_field replaced[SCORE_FIELDS];
} score_form;
void score_form_init(score_form *f);

/* A row as JSON text, scored by itself, as it is to be written, without newline, appended to *out. Fails only where
 * score_items does; *failed (may be NULL): the row has "error". */
rw_status score_row_json(score_form *f, slice text, str *out, bool *failed, rw_error *err);

/* ---- the same in steps, for many rows at a time ---- */

typedef struct {
  json_doc *doc;
  arena *mem; /* what row and item hold lives here until the next read */
  uint64_t line;
  conv_row row;
  bool is_object, readable, magpie;
  char error[256]; /* why it is not readable */
} score_row;
rw_status score_row_init(score_row *h, rw_error *err);
void score_row_free(score_row *h);

/* text is copied. line: of its file; 0: none. What is wrong with the row is no failure: it stands in h->error. */
rw_status score_row_read(score_row *h, const score_form *f, slice text, uint64_t line, rw_error *err);
/* Counts so many rows more whose own field of this name was replaced. */
void score_row_replaced(own_field f[SCORE_FIELDS], slice name, size_t rows);
/* What score_items needs of a readable row. */
rw_status score_row_item(const score_row *h, const score_form *f, score_item *it, rw_error *err);
/* Opens the output row's object and writes what comes from the input row. */
void score_row_begin(json_writer *w, score_form *f, const score_row *h);
/* The best of several one-candidate rows, by its place among them. */
typedef struct {
  size_t index;
  slice response; /* p NULL: it has no text */
} score_best;
/* The whole output row. it: scored; NULL: h is not readable. best: NULL, or of the rows that this one is one of. */
void score_row_write(str *out, score_form *f, const score_row *h, const score_item *it, const score_best *best);
/* The text of the last message of a one-candidate row. */
slice score_row_response(const score_row *h);

#endif
