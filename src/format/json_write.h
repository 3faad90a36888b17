/* json_write.h - one writer of JSON for rows, records and results: commas, nesting and indentation are kept here.
 *
 * Appends to a str, which knows alone whether memory ran out. A container is written on one line, ", " between its
 * members, or with each member on a line of its own, two spaces deeper than the line that the container stands on;
 * `compact` leaves out the spaces. Every call that writes a value takes its member's name, NULL where it has none:
 * an element of an array, the whole document, or the value after jw_key. Nesting of JW_DEPTH is the limit of what
 * is opened here; beyond, the str counts as out of memory. What is written is valid JSON where each begin has its
 * jw_end.
 */
#ifndef FORMAT_JSON_WRITE_H
#define FORMAT_JSON_WRITE_H

#include "format/json.h"

enum { JW_DEPTH = 32 };

typedef struct {
  str *out;     /* set by the caller, all else may be zero: json_writer w = {.out = &s} */
  bool compact; /* no space after ',' and ':' */
  bool keyed;   /* a key stands there, its value is next */
  int depth;    /* open containers */
  struct {
    char close;
    bool lines; /* a member a line */
    bool any;   /* has members */
    int indent; /* indent of the line that it ends on, in steps of two spaces */
  } level[JW_DEPTH + 1];
} json_writer;

/* A writer of members alone: jw_raw(w, NULL, …) puts what it has written into another writer's object. */
json_writer jw_inside(str *out);

void jw_object(json_writer *w, const char *name);
void jw_array(json_writer *w, const char *name);
void jw_object_lines(json_writer *w, const char *name);
void jw_array_lines(json_writer *w, const char *name);
void jw_end(json_writer *w); /* ends the innermost container */
void jw_key(json_writer *w, slice key);

void jw_string(json_writer *w, const char *name, const char *zstr); /* NULL: null */
void jw_slice(json_writer *w, const char *name, slice text);        /* p NULL: null */
void jw_int(json_writer *w, const char *name, int64_t v);
void jw_uint(json_writer *w, const char *name, uint64_t v);
void jw_num(json_writer *w, const char *name, double v); /* shortest that reads back the same; not finite: null */
void jw_f32(json_writer *w, const char *name, float v);  /* up to 9 significant digits; not finite: null */
void jw_bool(json_writer *w, const char *name, bool v);
void jw_null(json_writer *w, const char *name);
void jw_raw(json_writer *w, const char *name, slice value); /* a value's own bytes, such as json_raw's */
/* Where the caller appends one value's bytes himself, at once. */
str *jw_value(json_writer *w, const char *name);

/* The members of the document's object as they stand, but those that leave_out (NULL: none) names. */
void jw_members(json_writer *w, json_doc *d, bool (*leave_out)(void *ctx, slice key, json_val v), void *ctx);

#endif
