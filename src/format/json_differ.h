/* json_differ.h - the first place in which two JSON values differ, for messages that name it. */
#ifndef FORMAT_JSON_DIFFER_H
#define FORMAT_JSON_DIFFER_H

#include "format/json.h"

typedef struct {
  char where[160];       /* names and places from the outside in: "model config.json", "data 2" */
  char was[80], now[80]; /* what each holds there, cut; of a long digest the beginning; "none" */
} json_difference;

/* *d: of value a of document `was` and b of `now`. The order of members does not matter. True: they differ. */
bool json_differ(json_difference *d, json_doc *was, json_val a, json_doc *now, json_val b);

#endif
