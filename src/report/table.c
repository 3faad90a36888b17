/* table.c - a table of text cells, as HTML and as aligned plain text. */
#include <stdarg.h>
#include <string.h>

#include "report/page.h"

/* cells: 0-terminated, one after the other, row by row after the column names. A total row is noted by the index of
 * its first cell. */
struct rep_table {
  size_t n_columns, n_cells;
  bool *number; /* n_columns: aligned right */
  str cells;
  size_t *totals, n_totals, cap_totals;
  bool oom;
};

static void add_cell(rep_table *t, slice text) {
  for (size_t i = 0; i < text.len; i++) str_addc(&t->cells, text.p[i] ? text.p[i] : ' ');
  str_add(&t->cells, "", 1);
  t->n_cells++;
}

rep_table *rep_table_new(const char *const *columns, size_t n) {
  rep_table *t = mem_zalloc(1, sizeof *t);
  if (!t) return NULL;
  t->n_columns = n;
  t->number = mem_zalloc(n, sizeof *t->number);
  if (!t->number) {
    mem_free(t);
    return NULL;
  }
  for (size_t i = 0; i < n; i++) {
    t->number[i] = columns[i][0] == '>';
    add_cell(t, slice_of(columns[i] + t->number[i]));
  }
  return t;
}

void rep_table_free(rep_table *t) {
  if (!t) return;
  mem_free(t->number);
  mem_free(t->totals);
  str_free(&t->cells);
  mem_free(t);
}

void rep_cell_text(rep_table *t, slice text) {
  if (t) add_cell(t, text);
}

void rep_cell(rep_table *t, const char *fmt, ...) {
  if (!t) return;
  str s = {0};
  va_list ap;
  va_start(ap, fmt);
  str_vprintf(&s, fmt, ap);
  va_end(ap);
  if (s.oom) t->oom = true;
  add_cell(t, (slice){s.p, s.len});
  str_free(&s);
}

void rep_cell_num(rep_table *t, double v, int decimals) {
  if (!t) return;
  str s = {0};
  rep_num(&s, v, decimals);
  if (s.oom) t->oom = true;
  add_cell(t, (slice){s.p, s.len});
  str_free(&s);
}

void rep_cell_int(rep_table *t, int64_t v) { rep_cell_num(t, (double)v, 0); }

void rep_total(rep_table *t) {
  if (t && !vec_push(t->totals, t->n_totals, t->cap_totals, t->n_cells)) t->oom = true;
}

static bool is_total(const rep_table *t, size_t cell) {
  for (size_t i = 0; i < t->n_totals; i++)
    if (t->totals[i] == cell) return true;
  return false;
}

static void spaces(str *out, size_t n) {
  while (n--) str_addc(out, ' ');
}

static void rule(str *out, const size_t *width, size_t n) {
  for (size_t j = 0; j < n; j++) {
    for (size_t i = 0; i < width[j]; i++) str_addc(out, '-');
    str_addz(out, j + 1 < n ? "  " : "\n");
  }
}

rw_status rep_table_print(const rep_table *t, str *out, rw_error *err) {
  size_t *width = t ? mem_zalloc(t->n_columns, sizeof *width) : NULL;
  if (!width || t->oom || t->cells.oom) {
    mem_free(width);
    return rw_nomem(err, "table");
  }
  str clean = {0};
  const char *c = t->cells.p;
  for (size_t i = 0; i < t->n_cells; i++, c += strlen(c) + 1) {
    size_t w = rep_clean(&clean, slice_of(c), false);
    if (w > width[i % t->n_columns]) width[i % t->n_columns] = w;
  }
  c = t->cells.p;
  for (size_t i = 0; i < t->n_cells; i++, c += strlen(c) + 1) {
    size_t j = i % t->n_columns;
    if (j == 0 && i > 0 && (i == t->n_columns || is_total(t, i))) rule(out, width, t->n_columns);
    str_clear(&clean);
    size_t pad = width[j] - rep_clean(&clean, slice_of(c), false);
    bool last = j + 1 == t->n_columns || i + 1 == t->n_cells;
    if (t->number[j]) spaces(out, pad);
    str_add(out, clean.p, clean.len);
    if (!t->number[j] && !last) spaces(out, pad);
    str_addz(out, last ? "\n" : "  ");
  }
  bool oom = clean.oom || out->oom;
  str_free(&clean);
  mem_free(width);
  return oom ? rw_nomem(err, "table") : RW_OK;
}

void rep_put_table(rep_page *p, const rep_table *t, const char *caption) {
  if (!p) return;
  str *b = rep_block(p);
  if (!t || t->oom || t->cells.oom) {
    b->oom = true;
    return;
  }
  str_addz(b, "<div class=\"scroll\" tabindex=\"0\"><table class=\"data\">");
  if (caption) {
    str_addz(b, "<caption>");
    rep_escape(b, caption);
    str_addz(b, "</caption>");
  }
  const char *c = t->cells.p;
  for (size_t i = 0; i < t->n_cells; i++, c += strlen(c) + 1) {
    size_t j = i % t->n_columns;
    bool head = i < t->n_columns;
    if (j == 0) str_addz(b, head ? "\n<thead><tr>" : is_total(t, i) ? "\n<tr class=\"sum\">" : "\n<tr>");
    str_printf(b, "<%s%s%s>", head ? "th" : "td", t->number[j] ? " class=\"n\"" : "", head ? " scope=\"col\"" : "");
    rep_escape(b, c);
    str_addz(b, head ? "</th>" : "</td>");
    if (j + 1 == t->n_columns || i + 1 == t->n_cells) str_addz(b, head ? "</tr></thead><tbody>" : "</tr>");
  }
  str_addz(b, "\n</tbody></table></div>\n");
}
