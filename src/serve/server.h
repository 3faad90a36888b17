/* server.h - what all requests of a server share. Its files, each above those that it uses: meter.c, client.c,
 * queue.c, hosted.c, server.c, request.c, refuse.c, the protocols, routes.c, front.c, serve.c. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "serve/hosted.h"
#include "serve/meter.h"
#include "serve/serve.h"

/* Opens the models; paths: of the routes, for the figures. */
rw_status server_open(server **out, rw_context *context, const serve_options *o, const char *const *paths,
                      size_t n_paths, rw_error *err);
/* Opens all models again and puts them in the place of the old ones, which end what they have begun. */
void server_reload(server *s);
void server_drain(server *s);   /* from here on server_draining is true */
void server_release(server *s); /* lets go of the models: queues end, nobody gets one any more */
void server_close(server *s);   /* NULL is fine */

const serve_options *server_options(const server *s);
hosted *server_model(server *s, slice name);                /* held; p NULL: the first; NULL: no such name */
size_t server_models(server *s, hosted **out, size_t most); /* held, in the order of the command line */
meter *server_meter(server *s);
bool server_draining(const server *s);
double server_started(const server *s); /* seconds since 1970 */

#endif
