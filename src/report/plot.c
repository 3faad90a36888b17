/* plot.c - line charts and histograms.
 *
 * Curves live in an SVG of 1000 x 1000 units stretched over the plot's box; ticks and labels are HTML placed in
 * percent of the box. Points per curve are bounded (4 a unit column), however long the run was.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "report/page.h"

enum { UNITS = 1000 };

typedef struct {
  double lo, hi, step; /* ticks at multiples of step in lo..hi */
} axis;

static void cover(axis *a, double v) {
  if (!isfinite(v)) return;
  if (v < a->lo) a->lo = v;
  if (v > a->hi) a->hi = v;
}

/* Chooses a step of 1, 2 or 5 times a power of ten that gives about `ticks` ticks. widen: ends become ticks. */
static void axis_ready(axis *a, int ticks, bool widen) {
  if (a->lo > a->hi) *a = (axis){0, 1, 0};                       /* no data */
  if (a->hi - a->lo <= 1e-12 * fmax(fabs(a->lo), fabs(a->hi))) { /* one value only */
    double pad = a->lo == 0 ? 0.5 : fabs(a->lo) * 0.1;
    a->lo -= pad, a->hi += pad;
  }
  double raw = (a->hi / ticks) - (a->lo / ticks), ten = pow(10, floor(log10(raw))), m = raw / ten;
  a->step = ten * (m < 1.5 ? 1 : m < 3.5 ? 2 : m < 7.5 ? 5 : 10);
  if (widen) {
    a->lo = floor(a->lo / a->step + 1e-9) * a->step;
    a->hi = ceil(a->hi / a->step - 1e-9) * a->step;
  }
}

static double place(const axis *a, double v) { return (v - a->lo) / (a->hi - a->lo); }

static void tick_label(str *out, const axis *a, double v) {
  double big = fmax(fabs(a->lo), fabs(a->hi));
  if (fabs(v) < a->step * 1e-6) v = 0;
  if (big >= 1e7 || big < 1e-3)
    str_printf(out, "%.3g", v);
  else
    rep_num(out, v, a->step < 1 ? (int)ceil(-log10(a->step) - 1e-9) : 0);
}

/* Opens the plot's box with grid, ticks and an open <svg>; y labels decide the left margin. */
static void plot_open(str *b, const rep_chart *c, const axis *x, const axis *y) {
  str labels = {0}, grid = {0}, one = {0};
  size_t widest = 1;
  for (double k = ceil(y->lo / y->step - 1e-9); k * y->step <= y->hi + y->step * 1e-9; k++) {
    double at = place(y, k * y->step);
    str_clear(&one);
    tick_label(&one, y, k * y->step);
    if (c->percent) str_addc(&one, '%');
    if (one.len > widest) widest = one.len;
    str_printf(&labels, "<span class=\"y\" style=\"bottom:%.2f%%\">%s</span>", at * 100, one.p ? one.p : "");
    str_printf(&grid, "M0 %.1fH%d", (1 - at) * UNITS, UNITS);
  }
  for (double k = ceil(x->lo / x->step - 1e-9); k * x->step <= x->hi + x->step * 1e-9; k++) {
    str_printf(&labels, "<span class=\"x\" style=\"left:%.2f%%\">", place(x, k * x->step) * 100);
    tick_label(&labels, x, k * x->step);
    str_addz(&labels, "</span>");
  }
  if (c->y_label) {
    str_addz(b, "<div class=\"axis\">");
    rep_escape(b, c->y_label);
    str_addz(b, "</div>\n");
  }
  str_printf(b, "<div class=\"plot\" style=\"padding-left:%zu.5ch\"><div class=\"area\">", widest + 1);
  str_add(b, labels.p, labels.len);
  str_printf(b, "\n<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"", UNITS,
             UNITS);
  rep_escape(b, c->title);
  str_printf(b, "\">\n<path class=\"grid\" d=\"%s\"/>\n", grid.p ? grid.p : "");
  if (labels.oom || grid.oom || one.oom) b->oom = true;
  str_free(&labels);
  str_free(&grid);
  str_free(&one);
}

static void plot_close(str *b, const rep_chart *c) {
  str_addz(b, "</svg></div></div>\n");
  if (!c->x_label) return;
  str_addz(b, "<div class=\"x axis\">");
  rep_escape(b, c->x_label);
  str_addz(b, "</div>\n");
}

static void legend_name(str *b, size_t class, const char *name) {
  str_printf(b, "<li class=\"s%zu\"><i></i>", class);
  rep_escape(b, name);
}

static void point(str *b, const axis *x, const axis *y, double px, double py, bool start) {
  str_printf(b, start ? "M%.1f %.1fh0" : "L%.1f %.1f", place(x, px) * UNITS, (1 - place(y, py)) * UNITS);
}

/* The curve as path data. Of each unit column only the first, lowest, highest and last points are kept. */
static void curve(str *b, const axis *x, const axis *y, const double *px, const double *py, size_t n) {
  bool pen = false;
  for (size_t i = 0; i < n;) {
    if (!isfinite(py[i])) {
      pen = false;
      i++;
      continue;
    }
    size_t keep[4] = {i, i, i, i}, end = i; /* first, lowest, highest, last */
    double column = floor(place(x, px[i]) * UNITS);
    for (; end < n && isfinite(py[end]) && floor(place(x, px[end]) * UNITS) == column; end++) {
      if (py[end] < py[keep[1]]) keep[1] = end;
      if (py[end] > py[keep[2]]) keep[2] = end;
      keep[3] = end;
    }
    if (keep[1] > keep[2]) {
      size_t t = keep[1];
      keep[1] = keep[2];
      keep[2] = t;
    }
    for (int k = 0; k < 4; k++)
      if (k == 0 || keep[k] != keep[k - 1]) {
        point(b, x, y, px[keep[k]], py[keep[k]], !pen);
        pen = true;
      }
    i = end;
  }
}

/* out[i]: weighted mean of the finite ones of the last `window` points up to i; gaps stay gaps. */
static void smooth(double *out, const rep_series *s, size_t window) {
  double sum = 0, weight = 0;
  for (size_t i = 0; i < s->n; i++) {
    double w = s->weight ? s->weight[i] : 1;
    if (isfinite(s->y[i])) sum += w * s->y[i], weight += w;
    if (i >= window && isfinite(s->y[i - window])) {
      double old = s->weight ? s->weight[i - window] : 1;
      sum -= old * s->y[i - window], weight -= old;
    }
    out[i] = isfinite(s->y[i]) && weight > 0 ? sum / weight : NAN;
  }
}

/* The points that are ones by themselves: x and y of out [n each] get them; a mean of few rows would be a cliff. */
static size_t whole_points(double *x, double *y, const rep_series *s) {
  double largest = 0;
  size_t n = 0;
  for (size_t i = 0; s->weight && i < s->n; i++) largest = fmax(largest, s->weight[i]);
  for (size_t i = 0; i < s->n; i++) {
    if (s->weight && s->weight[i] < largest / 2) continue;
    x[n] = s->x[i];
    y[n++] = s->y[i];
  }
  return n;
}

static void path_begin(str *b, const char *kind, const rep_series *s, size_t place) {
  bool wrap = s->colour != REP_GREY && (s->colour > 0 ? (size_t)s->colour - 1 : place) >= REP_COLOURS;
  str_printf(b, "<path class=\"%s s%zu%s\" d=\"", kind, rep_class(s->colour, place), wrap ? " wrap" : "");
}

static void dots(str *b, size_t at, const axis *x, const axis *y, const rep_series *s) {
  path_begin(b, "dot", s, at);
  for (size_t i = 0; i < s->n; i++)
    if (isfinite(s->y[i])) point(b, x, y, s->x[i], s->y[i], true);
  str_addz(b, "\"/>\n");
}

static void band(str *b, size_t at, const axis *x, const axis *y, const rep_series *s) {
  path_begin(b, "fill", s, at);
  bool pen = false;
  for (size_t i = 0; i < 2 * s->n; i++) {
    bool back = i >= s->n;
    size_t k = back ? 2 * s->n - 1 - i : i;
    if (!isfinite(s->lo[k]) || !isfinite(s->hi[k])) continue;
    point(b, x, y, s->x[k], back ? s->lo[k] : s->hi[k], !pen);
    pen = true;
  }
  str_addz(b, "\"/>\n");
}

static void mark(str *b, size_t at, const axis *x, const axis *y, const rep_series *s) {
  for (size_t i = 0; i < s->n; i++) {
    if (s->x[i] != *s->mark || !isfinite(s->y[i])) continue;
    path_begin(b, "ring", s, at);
    point(b, x, y, s->x[i], s->y[i], true);
    str_addz(b, "\"/>\n");
    path_begin(b, "hole", s, at);
    point(b, x, y, s->x[i], s->y[i], true);
    str_addz(b, "\"/>\n");
  }
}

/* py[whole]: of the points that are drawn. */
static void cover_series(axis *x, axis *y, const rep_series *s, const double *py, size_t whole) {
  for (size_t k = 0; k < s->n; k++) cover(x, s->x[k]);
  for (size_t k = 0; k < whole; k++) cover(y, py[k]);
  for (size_t k = 0; s->lo && s->hi && k < s->n; k++) cover(y, s->lo[k]), cover(y, s->hi[k]);
}

static void legend_of(str *b, const rep_chart *c, const rep_series *s, size_t place, const double *mean) {
  size_t last = s->n;
  legend_name(b, rep_class(s->colour, place), s->name);
  while (last > 0 && !isfinite(mean[last - 1])) last--;
  if (last) str_printf(b, c->percent ? " <span>last %.1f%%</span>" : " <span>last %.4g</span>", mean[last - 1]);
  str_addz(b, "</li>");
}

void rep_lines(rep_page *p, const rep_chart *c, const rep_series *s, size_t n) {
  if (!p) return;
  axis x = {INFINITY, -INFINITY, 0}, y = x;
  size_t longest = 0;
  for (size_t i = 0; i < n; i++)
    if (s[i].n > longest) longest = s[i].n;
  double *mean = mem_alloc(longest, sizeof *mean), *px = mem_alloc(longest, sizeof *px),
         *py = mem_alloc(longest, sizeof *py);
  bool smoothed = c->smooth > 1, ok = mean && px && py;
  for (size_t i = 0; ok && i < n; i++) cover_series(&x, &y, &s[i], py, whole_points(px, py, &s[i]));
  if (c->y_min < c->y_max) y = (axis){c->y_min, c->y_max, 0};
  axis_ready(&x, 6, false);
  axis_ready(&y, 5, c->y_min >= c->y_max);
  str *b = rep_figure_open(p, c);
  if (!ok) b->oom = true;
  str_addz(b, "<ul class=\"legend\">");
  for (size_t i = 0; ok && i < n; i++) {
    smooth(mean, &s[i], smoothed ? c->smooth : 1);
    legend_of(b, c, &s[i], i, mean);
  }
  str_addz(b, "</ul>\n");
  plot_open(b, c, &x, &y);
  for (size_t i = 0; ok && i < n; i++)
    if (s[i].lo && s[i].hi) band(b, i, &x, &y, &s[i]);
  for (size_t i = 0; ok && smoothed && i < n; i++) {
    path_begin(b, "raw", &s[i], i);
    curve(b, &x, &y, px, py, whole_points(px, py, &s[i]));
    str_addz(b, "\"/>\n");
  }
  for (size_t i = 0; ok && i < n; i++) {
    path_begin(b, "line", &s[i], i);
    if (smoothed) {
      smooth(mean, &s[i], c->smooth);
      curve(b, &x, &y, s[i].x, mean, s[i].n);
    } else {
      curve(b, &x, &y, px, py, whole_points(px, py, &s[i]));
    }
    str_addz(b, "\"/>\n");
    if (s[i].n <= 40 && s[i].colour != REP_GREY && !smoothed) dots(b, i, &x, &y, &s[i]);
    if (s[i].mark) mark(b, i, &x, &y, &s[i]);
  }
  plot_close(b, c);
  rep_figure_close(p, c);
  mem_free(mean);
  mem_free(px);
  mem_free(py);
}

/* One sample's outline as a stepped curve. share[bins]: in percent. */
static void outline(str *b, const char *kind, size_t series, const axis *y, const double *share, int bins) {
  str_printf(b, "<path class=\"%s s%zu\" d=\"M0 %d", kind, series % REP_COLOURS + 1, UNITS);
  for (int k = 0; k < bins; k++)
    str_printf(b, "V%.1fH%.1f", (1 - place(y, share[k])) * UNITS, (double)(k + 1) / bins * UNITS);
  str_printf(b, "V%d\"/>\n", UNITS);
}

void rep_histogram(rep_page *p, const rep_chart *c, const rep_sample *s, size_t n, int bins) {
  if (!p || bins < 1) return;
  axis x = {INFINITY, -INFINITY, 0}, y = {0, 0, 0};
  double *share = mem_zalloc(n * (size_t)bins, sizeof *share), *mean = mem_zalloc(n, sizeof *mean);
  size_t *count = mem_zalloc(n, sizeof *count);
  if (!share || !mean || !count) {
    p->body.oom = true;
    goto done;
  }
  for (size_t i = 0; i < n; i++)
    for (size_t k = 0; k < s[i].n; k++) cover(&x, s[i].v[k]);
  axis_ready(&x, 6, false);
  for (size_t i = 0; i < n; i++) {
    double *of = share + i * (size_t)bins;
    for (size_t k = 0; k < s[i].n; k++) {
      if (!isfinite(s[i].v[k])) continue;
      int bin = (int)(place(&x, s[i].v[k]) * bins);
      of[bin < bins ? bin : bins - 1]++;
      mean[i] += s[i].v[k];
      count[i]++;
    }
    mean[i] /= (double)count[i];
    for (int k = 0; k < bins; k++) {
      if (count[i]) of[k] *= 100.0 / (double)count[i];
      cover(&y, of[k]);
    }
  }
  if (c->y_min < c->y_max) y = (axis){c->y_min, c->y_max, 0};
  axis_ready(&y, 5, true);
  str *b = rep_figure_open(p, c);
  str_addz(b, "<ul class=\"legend\">");
  for (size_t i = 0; i < n; i++) {
    legend_name(b, rep_class(REP_BY_PLACE, s[i].place), s[i].name);
    str_addz(b, " <span>n ");
    rep_num(b, (double)count[i], 0);
    if (count[i]) str_printf(b, ", mean %.*f", c->decimals, mean[i]);
    str_addz(b, "</span></li>");
  }
  str_addz(b, "</ul>\n");
  rep_chart frame = *c;
  if (!frame.y_label) frame.y_label = "share of the sample, %";
  plot_open(b, &frame, &x, &y);
  for (size_t i = 0; i < n; i++) {
    if (!count[i]) continue;
    outline(b, "fill", s[i].place, &y, share + i * (size_t)bins, bins);
    outline(b, "line", s[i].place, &y, share + i * (size_t)bins, bins);
    str_printf(b, "<path class=\"mean s%zu\" d=\"M%.1f 0V%d\"/>\n", s[i].place % REP_COLOURS + 1,
               place(&x, mean[i]) * UNITS, UNITS);
  }
  plot_close(b, &frame);
  rep_figure_close(p, c);
done:
  mem_free(share);
  mem_free(mean);
  mem_free(count);
}
