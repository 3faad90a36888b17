/* hub.h - names of the Hugging Face hub where a path was expected. */
#ifndef BASE_HUB_H
#define BASE_HUB_H

#include <stddef.h>

enum { HUB_HINT = 400 };
/* Behind a message that says that there is no such path: of one that looks like ORG/NAME, "; if it is … of the
 * hub:" and the command that fetches it, else "". kind: "dataset" or "model". */
const char *hub_hint(const char *path, const char *kind, char out[HUB_HINT]);

#endif
