/* server.h - what all requests of a server share. */
#ifndef SERVE_SERVER_H
#define SERVE_SERVER_H

#include "serve/hosted.h"
#include "serve/meter.h"
#include "serve/serve.h"

const serve_options *server_options(const server *s);
hosted *server_model(server *s, slice name);                /* held; p NULL: the first; NULL: no such name */
size_t server_models(server *s, hosted **out, size_t most); /* held, in the order of the command line */
meter *server_meter(server *s);
bool server_draining(const server *s);
double server_started(const server *s); /* seconds since 1970 */
const route *server_route(const char *path, const char *method, bool *path_known);

#endif
