/* json.h - one JSON reader for rows, configurations and tokenizers: one pass, positions kept.
 *
 * A document is an array of nodes in the order of the text; a container's node knows where it ends, so
 * a value can be skipped or its raw bytes copied without looking inside. Strict RFC 8259: UTF-8 checked,
 * duplicate keys allowed (the last counts, as in Python), depth at most JSON_MAX_DEPTH, lone surrogate
 * escapes are an error. Python's NaN and Infinity literals are an error that says so.
 */
#ifndef FORMAT_JSON_H
#define FORMAT_JSON_H

#include "base/mem.h"
#include "base/status.h"

enum { JSON_MAX_DEPTH = 256, JSON_MAX_NODES = 1 << 24 };

typedef enum { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT } json_type;

typedef struct json_doc json_doc;
/* A value: a node's index in its document; JSON_NONE: no such value. Node 0 is the whole document. */
typedef int32_t json_val;
#define JSON_NONE ((json_val)-1)

json_doc *json_new(void); /* reused for many texts; NULL: no memory */
void json_free(json_doc *d);
/* Parses text (kept by the caller for as long as the document is used). The error text has line:column or
 * the byte offset; the caller adds the file. */
rw_status json_parse(json_doc *d, const char *text, size_t len, rw_error *err);

json_type json_kind(const json_doc *d, json_val v); /* JSON_NULL for JSON_NONE */
const char *json_kind_name(json_type t);            /* "string", "object", … */
/* RW_DATA: "FIELD: expected EXPECTED, got KIND", or nothing where v is JSON_NONE. */
rw_status json_wrong(const json_doc *d, json_val v, const char *field, const char *expected, rw_error *err);
/* A string as text; it lives as json_string's does. RW_DATA where v is none. */
rw_status json_text(json_doc *d, json_val v, const char *field, slice *out, rw_error *err);
slice json_raw(const json_doc *d, json_val v);    /* the value's bytes in the text */
size_t json_count(const json_doc *d, json_val v); /* elements of an array, members of an object */
json_val json_get(const json_doc *d, json_val object, const char *key); /* JSON_NONE: absent or no object */
json_val json_at(const json_doc *d, json_val array, size_t i); /* O(i); iterate with json_first/json_next */
/* Children in order. For an object these are the values; json_key gives the (unescaped) key. */
json_val json_first(const json_doc *d, json_val container);
json_val json_next(const json_doc *d, json_val child); /* JSON_NONE after the last */
slice json_key(json_doc *d, json_val member);

/* The unescaped bytes of a string, owned by the document until the next json_parse; p NULL: not a string
 * (or no memory). May contain a zero byte. */
slice json_string(json_doc *d, json_val v);
bool json_number(const json_doc *d, json_val v, double *out); /* false: not a number */
bool json_int(const json_doc *d, json_val v, int64_t *out);   /* false: not an integer that fits (1.0 is not) */

/* The whole of a JSON file: its text and its document. */
typedef struct {
  str text;
  json_doc *doc;
} json_file;
enum { JSON_SMALL_BYTES = 16 << 20, JSON_LARGE_BYTES = 256 << 20 };            /* the limits of the two */
rw_status json_file_open(json_file *f, const char *path, rw_error *err);       /* config.json and its like */
rw_status json_file_open_large(json_file *f, const char *path, rw_error *err); /* a tokenizer, an index, results */
void json_file_close(json_file *f);

#endif
