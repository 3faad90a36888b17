/* form.h - the forms that a row may have, in one table, and the fields that a user calls by other names.
 *
 * A form is known by its fields; the first of the table that a row has all fields of is its form. A field that is
 * null counts as absent: rows of Parquet files, or written by way of a table, have every column.
 */
#ifndef DATA_FORM_H
#define DATA_FORM_H

#include <stdatomic.h>

#include "base/context.h"
#include "format/json.h"

/* Names and the fields that are read where they are meant. */
typedef struct {
  const char *name, *field; /* field: "a.b" is b of the object a, where no field has that name whole */
  atomic_uchar *seen;       /* what rows showed so far (row_name_saw); NULL: nobody asks */
} row_name;
typedef struct row_map {
  row_name *names;
  size_t n;
} row_map;

/* "NAME=FIELD" as one more name; text must stay. RW_USAGE: it is none, or no form has a field NAME. */
rw_status row_map_add(row_map *m, const char *text, arena *a, rw_error *err);

/* A row was asked for the field, and had it or not; by any thread. */
void row_name_saw(const row_name *n, bool had);
/* Rows were asked for the field, and none had it. */
bool row_name_missing(const row_name *n);
/* Warns, once, of each name of --map whose field no row had. m NULL: none. */
void row_map_warn(const row_map *m, rw_context *context);

/* The field of that whole name, or going down from dot to dot: names of objects, places in lists. JSON_NONE:
 * absent.
 */
json_val row_path(json_doc *d, json_val row, const char *path);

/* The field that `name` means in the row; JSON_NONE: absent, or null. called NULL: the names are the fields'. */
json_val row_get(json_doc *d, json_val row, const row_map *called, const char *name);

typedef enum {
  FORM_IDS_PAIR,  /* chosen_ids, rejected_ids */
  FORM_PAIR,      /* chosen, rejected */
  FORM_RESPONSES, /* a list, and scores where it is a ranking */
  FORM_RANKS,     /* a list of objects with completion and rank */
  FORM_NUMBERED, /* response_1, response_2, … (PPE) or response_A, … (JudgeBench), and scores where it is a ranking
                  */
  FORM_ANSWERS, /* objects with answer: chosen and reject, or bon_best and the list loser_list (RMB) */
  FORM_SINGLE   /* one conversation */
} form_shape;

typedef struct {
  const char *title; /* in docs/data.md */
  form_shape shape;
  const char *prompt; /* field of what comes before the answers; NULL: none */
  const char *answer; /* field of the list, or of the only or the first one; NULL: chosen and rejected */
  bool beside;        /* system, input and history stand beside the prompt */
} data_form;
extern const data_form data_forms[]; /* ends without title */

/* NULL: of no form; then *err (NULL: nobody asks) says which fields it has and what to do. */
const data_form *form_of(json_doc *d, json_val row, const row_map *called, rw_error *err);

#endif
