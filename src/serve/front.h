/* front.h - connections: HTTP by libmicrohttpd, from the bytes of a request to a request, and back. */
#ifndef SERVE_FRONT_H
#define SERVE_FRONT_H

#include "serve/server.h"

typedef struct front front;
/* Listens and answers from now on; url: where, as the caller can reach it (freed by mem_free). */
rw_status front_open(front **out, server *s, rw_context *context, char **url, rw_error *err);
/* No new connections from here on. */
void front_quiesce(front *f);
/* Requests that were read whole and are not answered; those of which only a part has come. */
int front_working(const front *f);
int front_reading(const front *f);
void front_close(front *f); /* NULL is fine */

#endif
