/* routes.h - which route a request takes. */
#ifndef SERVE_ROUTES_H
#define SERVE_ROUTES_H

#include "serve/request.h"

/* method NULL: any. NULL: none; *path_known: another method has one. */
const route *routes_find(const char *path, const char *method, bool *path_known);
size_t routes_paths(const char **paths, size_t most); /* all routes' paths as they stand; how many there are */

#endif
