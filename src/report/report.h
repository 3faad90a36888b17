/* report.h - tables and plots: one self-contained HTML page, and the same tables as plain text.
 *
 * The page has its style inline, no scripts and no external reference; it follows the reader's light or dark
 * setting and any width. All text given here is escaped. A NULL table or page (memory ran out) may be passed to
 * every function: nothing happens, and rep_table_print or rep_page_write returns RW_NOMEM.
 */
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/mem.h"
#include "base/status.h"

/* ---- tables: filled cell by cell, row by row ---- */

typedef struct rep_table rep_table;
/* n column names (copied); ">name" is a column of numbers, aligned right. */
rep_table *rep_table_new(const char *const *columns, size_t n);
void rep_table_free(rep_table *t);
void rep_cell(rep_table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rep_cell_text(rep_table *t, slice text);
void rep_cell_num(rep_table *t, double v, int decimals); /* 12,345.6; not finite: "-" */
void rep_cell_int(rep_table *t, int64_t v);              /* 12,345 */
void rep_total(rep_table *t);                            /* the row that follows is a sum or a mean of the others */
/* Appends the table to *out as aligned columns for a terminal. */
rw_status rep_table_print(const rep_table *t, str *out, rw_error *err);
/* v with `decimals` digits and thousands separated by commas; not finite: "-". */
void rep_num(str *out, double v, int decimals);

/* ---- the page ---- */

typedef struct rep_page rep_page;
rep_page *rep_page_new(const char *title, const char *about); /* about: a sentence under the title, or NULL */
void rep_page_free(rep_page *p);
void rep_section(rep_page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rep_text(rep_page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void rep_note(rep_page *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A figure of merit: a name and a large value. Facts that follow one another stand in one row. */
void rep_fact(rep_page *p, const char *name, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void rep_fact_int(rep_page *p, const char *name, int64_t v);
/* caption: NULL for none. */
void rep_put_table(rep_page *p, const rep_table *t, const char *caption);
/* Texts side by side, a part of each highlighted; what is far from it is left out. */
typedef struct {
  const char *name;
  slice text;
  size_t from, len; /* place of the part, in bytes */
} rep_marked;
void rep_texts(rep_page *p, const char *heading, const rep_marked *t, size_t n);
/* Writes the page (atomically; "-" is stdout). The page stays the caller's. */
rw_status rep_page_write(rep_page *p, const char *path, rw_error *err);

/* What follows is folded away under its heading until rep_unfold; facts, tables and figures may be in it. */
void rep_fold(rep_page *p, const char *heading);
void rep_unfold(rep_page *p);

/* ---- plots on the page ---- */

/* Colour k > 0 is the k-th of the page: that of one run in all of its plots. */
enum { REP_BY_PLACE = 0, REP_GREY = -1 };
typedef struct {
  int colour;
  bool pale; /* the same, earlier */
} rep_ink;

typedef struct {
  const char *title;             /* required */
  const char *caption;           /* NULL: none */
  const char *x_label, *y_label; /* NULL: none. The value axis of bars is y. */
  double y_min, y_max;           /* equal: from the data (bars: from 0) */
  int decimals;                  /* decimals of the numbers beside bars, and of a histogram's means */
  size_t smooth; /* rep_lines: above 1, mean of the last `smooth` points, the points themselves pale behind */
  bool percent;  /* rep_lines: the values are percent */
  bool dots;     /* rep_bars: a dot at the value instead of a bar from 0, with the scale's ends below */
} rep_chart;

typedef struct {
  const char *name;
  const double *x, *y; /* n each, x ascending; a y that is not finite is a gap */
  size_t n;
  int colour;
  const double *lo, *hi; /* an interval around each point, drawn as a band; NULL: none */
  const double
      *weight; /* a point's weight in means; one below half of the largest is no point by itself. NULL: equal */
  const double *mark; /* the x of a point to be marked; NULL: none */
} rep_series;
/* Long series are thinned to the lowest and highest point of each pixel column. */
void rep_lines(rep_page *p, const rep_chart *c, const rep_series *s, size_t n);

typedef struct {
  const char *name;
  const double *v; /* values that are not finite are left out */
  size_t n;
  size_t place; /* gives the colour: that of the series at this place in the page's other plots */
} rep_sample;
/* Distributions over `bins` equal bins, each in shares of its own sample; means as dashed lines. */
void rep_histogram(rep_page *p, const rep_chart *c, const rep_sample *s, size_t n, int bins);

typedef struct {
  double value;  /* not finite: absent */
  double lo, hi; /* an interval's ends, drawn when lo < hi */
  bool muted;    /* grey: there to compare with */
  rep_ink ink;   /* else */
} rep_bar;
/* Horizontal bars: labels[n_labels], each with one bar a series; values[n_labels * n_series], a label's bars
 * together. series may be NULL when n_series is 1. */
void rep_bars(rep_page *p, const rep_chart *c, const char *const *labels, size_t n_labels,
              const char *const *series, size_t n_series, const rep_bar *values);
/* The same numbers (>= 0) as one bar a label, divided into the series' shares of the label's sum. */
void rep_stacked(rep_page *p, const rep_chart *c, const char *const *labels, size_t n_labels,
                 const char *const *series, size_t n_series, const double *values);

#endif
