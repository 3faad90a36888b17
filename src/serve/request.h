/* request.h - one HTTP request on its way: its body as its protocol read it, its conversations, their scores.
 *
 * A protocol is one file with functions of two kinds. `read` turns the body into conversations (request_messages,
 * request_text, request_ids, request_add) and keeps what it needs in the request's arena; it runs once on the
 * connection's thread. `answer` writes the reply after all conversations were scored. A protocol decides with
 * `partial` whether one conversation that failed leaves the others' answer whole; else the request is refused with
 * the first failure, its item named.
 */
#ifndef SERVE_REQUEST_H
#define SERVE_REQUEST_H

#include "format/json_write.h"
#include "model/score_row.h"
#include "model/scorer.h"

typedef struct server server;
typedef struct hosted hosted;
typedef struct request request;

/* How a protocol words a refusal; returns the HTTP status, where it has its own. */
typedef int (*refusal)(json_writer *w, int status, const char *why);

typedef struct {
  const char *method, *path;                    /* method "POST|PUT": either */
  rw_status (*read)(request *q, rw_error *err); /* NULL: GET, nothing is read */
  rw_status (*answer)(request *q, str *out, rw_error *err);
  refusal refuse;
  const char *type;           /* type of the reply; NULL: application/json */
  const char *const *headers; /* more of them: name, value, ..., NULL; or NULL */
  bool open;                  /* without the key, too */
  bool rest;                  /* of all paths that begin so; request.rest is how they go on */
  bool partial;               /* answer() says itself what a failed item is */
} route;

enum { REQUEST_MOST_ITEMS = 1 << 16 };

/* One conversation. */
typedef struct {
  conversation conv;
  bool add_bos; /* put the BOS before a text, where the tokenizer has one and the text does not begin so */
  ids ids;      /* as scored */
  float score;
  float *attributes; /* [attributes of the model]; NULL: it has none */
  bool truncated;
  int status;  /* HTTP's, where it failed; 0: it did not */
  char *error; /* in the request's arena; NULL: none */
} serve_item;

typedef enum { OUTPUT_OPEN, OUTPUT_RAW, OUTPUT_SIGMOID } output_kind;

struct request {
  const route *route;
  refusal refuse; /* of the protocol that the body is in, where the route has several; NULL: the route's */
  server *server;
  hosted *model; /* the model of the name asked for, or the first; held until the request ends */
  str body;
  const char *key_arg;       /* ?key= of the URL, in mem; NULL: none */
  const char *rest;          /* of the path, where the route has one; in mem */
  const char *format_header; /* the header reward_format; NULL: none */
  json_doc *doc;
  arena *mem;
  serve_item *items;
  size_t n, cap;
  output_kind output;     /* as the request asks */
  bool sigmoid;           /* what OUTPUT_OPEN means here */
  void *own;              /* the protocol's own, in mem */
  void (*end)(void *own); /* frees what `own` holds outside of mem; NULL: nothing */
  uint64_t tokens;        /* tokens of all items, once rendered */
  uint64_t number;        /* number among this process's requests */
  int refused;            /* HTTP status of what read() refused; 0: 400 */
  slice reference;        /* what conversations of the body are compared with, by models that do; p NULL: none */
  bool lines;             /* the body is JSON lines (application/x-ndjson): doc is not read */
  bool many;              /* for the protocol: a list was given, or what it likes */
  bool cut;               /* over-long conversations are truncated, whatever the server is set to */
  int64_t most_tokens;    /* truncated to so many; 0: as the server is set */
};

/* The body, parsed and read by its route. */
rw_status request_read(request *q, rw_error *err);
void request_free(request *q); /* all that it holds */

/* ---- for the protocols ---- */

json_val request_get(request *q, const char *field);
/* The body's value of a field that must be there, or RW_DATA naming it. */
rw_status request_need(request *q, const char *field, json_val *v, rw_error *err);
rw_status request_wrong(request *q, const char *field, json_val v, const char *expected, rw_error *err);
/* "model": picks it by its name, or by the folder as the server was given it; unknown: RW_DATA, status 404. None,
 * "" or, where no model has that name, "default": the first. */
rw_status request_model(request *q, rw_error *err);
/* true or false; null and absent leave *given false. */
rw_status request_bool(request *q, const char *field, bool *given, bool *value, rw_error *err);

/* The fields, up to NULL, hold nothing (absent, null, false, 0, or empty): those that other servers follow and this
 * one does not, where leaving them aside would change a score. */
rw_status request_without(request *q, const char *const *fields, rw_error *err);

/* One conversation more; they are scored in this order. The slices and lists must stay until the request ends. */
rw_status request_add(request *q, const conversation *c, bool add_bos, rw_error *err);
rw_status request_messages(request *q, json_val list, const char *field, rw_error *err);
/* Messages, of which the last is the answer, and the body's reference. */
rw_status request_conversation(request *q, conversation *c, rw_error *err);
rw_status request_text(request *q, slice text, bool add_bos, rw_error *err);
rw_status request_ids(request *q, json_val list, const char *field, rw_error *err);
/* A string, a list of strings, a list of ids or a list of lists of ids. *many: it was a list of inputs. */
rw_status request_inputs(request *q, json_val v, const char *field, bool add_bos, bool *many, rw_error *err);
/* A user message and the assistant's. */
rw_status request_exchange(request *q, slice prompt, slice response, rw_error *err);

/* Writes the item's score; its sigmoid where the request says so or, where it leaves that open, the server. */
void request_number(json_writer *w, const char *name, const request *q, const serve_item *it);
const char *request_model_name(const request *q);
int64_t request_time(void);                                          /* seconds since 1970 */
void request_id(const request *q, const char *prefix, char out[64]); /* "PREFIX-…", a new one each request */
void request_usage(json_writer *w,
                   const request *q); /* "usage": {prompt_tokens, total_tokens, completion_tokens} */

/* The items' numbers from the highest score down, equal ones in their order; in mem; NULL: no memory. */
size_t *request_ranked(request *q);

/* Sets the HTTP status that goes with the error that read() is about to return (400 unless set). */
rw_status request_refuse(request *q, int status, rw_error *err, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

#endif
