/* bars.c - horizontal bars, with intervals, and bars divided into shares. Drawn with HTML boxes in percent. */
#include <math.h>
#include <string.h>

#include "report/page.h"

static void bar_class(str *b, const rep_bar *v, size_t series) {
  str_printf(b, "s%zu%s", v->muted ? 0 : rep_class(v->ink.colour, series), v->ink.pale ? " pale" : "");
}

/* values: the first label's bars, whose colours are their series'; NULL: by place. */
static void legend(str *b, const char *const *series, size_t n, const rep_bar *values) {
  const rep_bar plain = {0};
  str_addz(b, "<ul class=\"legend\">");
  for (size_t i = 0; i < n; i++) {
    str_addz(b, "<li class=\"");
    bar_class(b, values ? &values[i] : &plain, i);
    str_addz(b, "\"><i></i>");
    rep_escape(b, series[i]);
    str_addz(b, "</li>");
  }
  str_addz(b, "</ul>\n");
}

/* Long names may break into lines; short ones keep theirs. */
static void row_name(str *b, const char *name, size_t rows) {
  str_printf(b, "<th scope=\"row\" rowspan=\"%zu\"%s>", rows, strlen(name) > 34 ? " class=\"w\"" : "");
  rep_escape(b, name);
  str_addz(b, "</th>");
}

static double inside(double v, double lo, double hi) { return v < lo ? lo : v > hi ? hi : v; }

static void track(str *b, const rep_bar *v, size_t series, double lo, double hi, bool dot) {
  double unit = 100 / (hi - lo), zero = inside(0, lo, hi), end = inside(v->value, lo, hi);
  str_addz(b, "<div class=\"track\">");
  if (isfinite(v->value)) {
    str_addz(b, "<b class=\"");
    bar_class(b, v, series);
    if (dot)
      str_printf(b, " at\" style=\"left:%.2f%%\"></b>", (end - lo) * unit);
    else
      str_printf(b, "\" style=\"left:%.2f%%;width:%.2f%%\"></b>", (fmin(zero, end) - lo) * unit,
                 fabs(end - zero) * unit);
  }
  if (v->lo < v->hi) {
    double from = inside(v->lo, lo, hi), to = inside(v->hi, lo, hi);
    str_printf(b, "<u style=\"left:%.2f%%;width:%.2f%%\"></u>", (from - lo) * unit, (to - from) * unit);
  }
  str_addz(b, "</div>");
}

void rep_bars(rep_page *p, const rep_chart *c, const char *const *labels, size_t n_labels,
              const char *const *series, size_t n_series, const rep_bar *values) {
  if (!p) return;
  double lo = c->y_min, hi = c->y_max;
  if (lo >= hi) {
    lo = hi = 0;
    for (size_t i = 0; i < n_labels * n_series; i++) {
      const double ends[3] = {values[i].value, values[i].lo, values[i].hi};
      for (int k = 0; k < 3; k++)
        if (isfinite(ends[k])) lo = fmin(lo, ends[k]), hi = fmax(hi, ends[k]);
    }
    if (lo == hi) hi = 1;
  }
  str *b = rep_figure_open(p, c);
  if (series && n_series > 1 && n_labels) legend(b, series, n_series, values);
  str_addz(b, "<table class=\"bars\">");
  for (size_t i = 0; i < n_labels; i++) {
    if (n_series > 1 || i == 0) str_addz(b, "<tbody>");
    for (size_t k = 0; k < n_series; k++) {
      const rep_bar *v = &values[i * n_series + k];
      str_addz(b, "\n<tr>");
      if (k == 0) row_name(b, labels[i], n_series);
      str_addz(b, "<td class=\"t\">");
      track(b, v, k, lo, hi, c->dots);
      str_addz(b, "</td><td class=\"n\">");
      rep_num(b, v->value, c->decimals);
      if (v->lo < v->hi) {
        str_addz(b, " <small>");
        rep_num(b, v->lo, c->decimals);
        str_addz(b, "–");
        rep_num(b, v->hi, c->decimals);
        str_addz(b, "</small>");
      }
      str_addz(b, "</td></tr>");
    }
    if (n_series > 1 || i + 1 == n_labels) str_addz(b, "\n</tbody>");
  }
  if (c->dots) {
    str_addz(b, "<tfoot><tr><th></th><td class=\"t ends\"><span>");
    rep_num(b, lo, 0);
    str_addz(b, "</span><span>");
    rep_num(b, hi, 0);
    str_addz(b, "</span></td><td></td></tr></tfoot>");
  }
  str_addz(b, "</table>\n");
  rep_figure_close(p, c);
}

void rep_stacked(rep_page *p, const rep_chart *c, const char *const *labels, size_t n_labels,
                 const char *const *series, size_t n_series, const double *values) {
  if (!p) return;
  str *b = rep_figure_open(p, c);
  legend(b, series, n_series, NULL);
  str_addz(b, "<table class=\"bars whole\"><tbody>");
  for (size_t i = 0; i < n_labels; i++) {
    const double *v = values + i * n_series;
    double sum = 0;
    for (size_t k = 0; k < n_series; k++)
      if (v[k] > 0 && isfinite(v[k])) sum += v[k];
    str_addz(b, "\n<tr>");
    row_name(b, labels[i], 1);
    str_addz(b, "<td class=\"t\"><div class=\"stack\">");
    for (size_t k = 0; k < n_series; k++) {
      if (!(v[k] > 0 && isfinite(v[k]))) continue;
      double share = 100 * v[k] / sum;
      str_printf(b, "<b class=\"s%zu\" style=\"flex:%.3f 1 0\" title=\"", k % REP_COLOURS + 1, share);
      rep_escape(b, series[k]);
      str_addz(b, ": ");
      rep_num(b, v[k], c->decimals);
      str_printf(b, " (%.1f%%)\">", share);
      if (share >= 8) str_printf(b, "%.0f%%", share);
      str_addz(b, "</b>");
    }
    str_addz(b, "</div></td><td class=\"n\">");
    rep_num(b, sum, c->decimals);
    str_addz(b, "</td></tr>");
  }
  str_addz(b, "\n</tbody></table>\n");
  rep_figure_close(p, c);
}
