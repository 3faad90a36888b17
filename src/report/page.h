/* page.h - what the page's parts share: the growing body and escaping. */
#ifndef REPORT_PAGE_H
#define REPORT_PAGE_H

#include "report/report.h"

struct rep_page {
  str title, about, body;
  bool in_section, in_facts;
};

/* Appends text that came from outside: control characters and invalid UTF-8 become U+FFFD, and for html the five
 * special characters become entities. Returns the columns it takes on a terminal. */
size_t rep_clean(str *out, slice text, bool html);
void rep_escape(str *out, const char *zstr); /* the same for a page; NULL: nothing */

/* Makes the body ready for a block (paragraph, table, figure) and returns it. */
str *rep_block(rep_page *p);

/* Figure frame: title, then the caller's content, then the caption. */
str *rep_figure_open(rep_page *p, const rep_chart *c);
void rep_figure_close(rep_page *p, const rep_chart *c);

enum { REP_COLOURS = 7 };                   /* classes s1..s7 of style.c */
size_t rep_class(int colour, size_t place); /* the class's number; 0: grey */

extern const char rep_style[];

#endif
