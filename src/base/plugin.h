/* plugin.h - shared objects that the program opens only when they are needed. */
#ifndef BASE_PLUGIN_H
#define BASE_PLUGIN_H

#include <stdbool.h>
#include <stddef.h>

/* Opens `name`, found beside the program or library that this code is in (also in ../, reward/, ../lib/reward/), or
 * wherever the system looks. NULL: why says what is wrong. Nothing is remembered: opening one that is already open
 * gives the same one. */
void *plugin_open(const char *name, char *why, size_t why_size);
/* Is it beside the program or library? Nothing is opened. */
bool plugin_there(const char *name);
/* NULL: it has no such symbol. */
void *plugin_symbol(void *plugin, const char *symbol);
void plugin_close(void *plugin);

#endif
