/* array_scan.h - where the elements of a JSON array end, in bytes that come piece by piece: files that are one
 * array of rows are read by it, row after row. What an element is itself, json.h says later.
 */
#ifndef FORMAT_ARRAY_SCAN_H
#define FORMAT_ARRAY_SCAN_H

#include <stdbool.h>
#include <stddef.h>

/* How far one element was looked at; zeroed before it. */
typedef struct {
  size_t at; /* bytes of it seen; in the end the place of the comma or bracket behind it */
  size_t depth;
  bool string, escaped;
} array_scan;

/* p: the element from its first byte on, as much as there is. true: all of it is there. */
bool array_scan_on(array_scan *s, const char *p, size_t len);

/* Takes line breaks and the indentation behind them out of the element, so that it is one line; returns its length.
 */
size_t array_one_line(char *p, size_t len);

#endif
