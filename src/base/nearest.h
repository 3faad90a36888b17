/* nearest.h - the known name that a misspelled one was meant to be: "did you mean …?". */
#ifndef BASE_NEAREST_H
#define BASE_NEAREST_H

#include <stddef.h>

typedef struct {
  const char *written; /* n bytes of it */
  size_t n;
  size_t best;
  const char *name; /* the nearest that was considered; NULL: none is near */
} nearest;
#define NEAREST(written, n) \
  { written, n, NEAREST_FAR, NULL }
enum { NEAREST_FAR = 100 };
void nearest_consider(nearest *w, const char *known);

#endif
