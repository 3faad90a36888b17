/* test_report.c - tables and pages: exact text, escaping, well-formed HTML, bounded curves, memory failures. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "report/report.h"

/* Writes the page and returns its text. */
static str written(rep_page *p) {
  rw_error err = {0};
  char path[64];
  snprintf(path, sizeof path, "/tmp/reward-report-%ld.html", (long)getpid());
  if (rep_page_write(p, path, &err)) fail_msg("%s", err.text);
  str s = {0};
  assert_int_equal(file_read(path, 1 << 28, &s, &err), RW_OK);
  remove(path);
  return s;
}

static size_t count_of(const char *text, const char *what) {
  size_t n = 0;
  for (; (text = strstr(text, what)); text += strlen(what)) n++;
  return n;
}

/* Every element that is opened is closed, in order, and attribute quotes match. */
static void assert_well_formed(const char *html) {
  const char *names[64];
  size_t lens[64], depth = 0;
  const char *style_end = strstr(html, "</style>");
  for (const char *p = strchr(html + 2, '<'); p; p = strchr(p, '<')) {
    if (p < style_end && p > strstr(html, "<style>")) p = style_end;
    bool closing = p[1] == '/';
    const char *name = p + 1 + closing;
    size_t len = strcspn(name, " >/");
    assert_true(len > 0);
    const char *end = name;
    for (bool quoted = false; quoted || *end != '>'; end++) {
      assert_true(*end != 0);
      if (*end == '"') quoted = !quoted;
      if (!quoted) assert_true(*end != '<');
    }
    if (closing) {
      assert_true(depth > 0);
      depth--;
      assert_int_equal(lens[depth], len);
      assert_memory_equal(names[depth], name, len);
    } else if (end[-1] != '/' && strncmp(name, "meta", 4) != 0) {
      assert_true(depth < 64);
      names[depth] = name;
      lens[depth++] = len;
    }
    p = end;
  }
  assert_int_equal(depth, 0);
}

static void test_numbers(void **state) {
  (void)state;
  const struct {
    double v;
    int decimals;
    const char *want;
  } cases[] = {{0, 0, "0"},
               {999, 0, "999"},
               {1000, 0, "1,000"},
               {-1234567.891, 2, "-1,234,567.89"},
               {100000, 1, "100,000.0"},
               {-0.04, 1, "0.0"},
               {-0.05001, 1, "-0.1"},
               {NAN, 1, "-"},
               {INFINITY, 0, "-"},
               {1e15, 0, "1,000,000,000,000,000"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    str s = {0};
    rep_num(&s, cases[i].v, cases[i].decimals);
    assert_string_equal(s.p, cases[i].want);
    str_free(&s);
  }
}

static rep_table *sample_table(void) {
  rep_table *t = rep_table_new((const char *const[]){"Source", ">Pairs", "Note"}, 3);
  rep_cell(t, "%s", "héllo");
  rep_cell_int(t, 12345);
  rep_cell(t, "a");
  rep_cell_text(t, SLICE("日本 <x>\x1b[31m\xff"));
  rep_cell_num(t, 7.25, 2);
  rep_cell(t, " ");
  rep_total(t);
  rep_cell(t, "all");
  rep_cell_int(t, 12352);
  rep_cell(t, "b");
  return t;
}

static void test_plain_table(void **state) {
  (void)state;
  rep_table *t = sample_table();
  str s = {0};
  assert_int_equal(rep_table_print(t, &s, NULL), RW_OK);
  /* wide characters take two columns; the escape and the stray byte became U+FFFD, one column each */
  assert_string_equal(s.p,
                      "Source           Pairs  Note\n"
                      "--------------  ------  ----\n"
                      "héllo           12,345  a\n"
                      "日本 <x>\xEF\xBF\xBD[31m\xEF\xBF\xBD    7.25   \n"
                      "--------------  ------  ----\n"
                      "all             12,352  b\n");
  str_free(&s);
  rep_table_free(t);
}

static rep_page *sample_page(size_t points) {
  double *x = malloc(points * sizeof *x), *y = malloc(points * sizeof *y);
  for (size_t i = 0; i < points; i++) {
    x[i] = (double)i;
    y[i] = i % 7 == 3 ? NAN : sin((double)i) + 1;
  }
  rep_page *p = rep_page_new("A <title> & \"more\"", "it's\x01 about");
  rep_fact(p, "before any section", "%d", 1);
  rep_section(p, "One <i>%s</i>", "&amp;");
  rep_text(p, "text <b>");
  rep_fact(p, "x", "%d", 1);
  rep_fact(p, "y", "%d", 2);
  rep_note(p, "note");
  rep_table *t = sample_table();
  rep_put_table(p, t, "caption <b>");
  rep_table_free(t);
  rep_section(p, "Two");
  rep_series s[2] = {{.name = "raw <s>", .x = x, .y = y, .n = points},
                     {.name = "few", .x = x, .y = y, .n = points < 5 ? points : 5, .lo = y, .hi = y, .mark = x}};
  rep_lines(p, &(rep_chart){.title = "t<", .x_label = "x<", .y_label = "y<", .smooth = 3, .caption = "c<"}, s, 2);
  rep_lines(p, &(rep_chart){.title = "empty"}, NULL, 0);
  rep_sample d[2] = {{"a<", y, points, 0}, {"none", y, 0, 1}};
  rep_histogram(p, &(rep_chart){.title = "h"}, d, 2, 10);
  const char *const labels[2] = {"l<1>", "l2"}, *const series[2] = {"s<1>", "s2"};
  rep_bar b[4] = {{.value = 50, .lo = 40, .hi = 60},
                  {.value = -20, .muted = true},
                  {.value = NAN},
                  {.value = 120, .lo = 100, .hi = 300}};
  rep_bars(p, &(rep_chart){.title = "b", .y_max = 100}, labels, 2, series, 2, b);
  rep_bars(p, &(rep_chart){.title = "b1"}, labels, 2, NULL, 1, b);
  rep_stacked(p, &(rep_chart){.title = "st"}, labels, 2, series, 2, (double[]){1, 3, 0, 0});
  free(x);
  free(y);
  return p;
}

static void test_page(void **state) {
  (void)state;
  rep_page *p = sample_page(100);
  str s = written(p);
  assert_well_formed(s.p);
  assert_int_equal(count_of(s.p, "<script"), 0);
  assert_int_equal(count_of(s.p, "http"), 0);
  assert_int_equal(count_of(s.p, "url("), 0);
  assert_int_equal(count_of(s.p, "nan"), 0);
  assert_int_equal(count_of(s.p, "inf"), 0);
  assert_non_null(strstr(s.p, "<title>A &lt;title&gt; &amp; &quot;more&quot;</title>"));
  assert_non_null(strstr(s.p, "it&#39;s\xEF\xBF\xBD about"));
  assert_non_null(strstr(s.p, "<h2>One &lt;i&gt;&amp;amp;&lt;/i&gt;</h2>"));
  assert_non_null(strstr(s.p, "<td class=\"n\">12,345</td>"));
  assert_non_null(strstr(s.p, "<tr class=\"sum\"><td>all</td>"));
  assert_non_null(strstr(s.p, "flex:25.000 1 0\" title=\"s&lt;1&gt;: 1 (25.0%)\""));
  /* bars are cut at the axis; a negative one starts at zero and the muted one is grey */
  assert_non_null(
      strstr(s.p, "<b class=\"s1\" style=\"left:0.00%;width:50.00%\"></b><u style=\"left:40.00%;width:20.00%\">"));
  assert_non_null(strstr(s.p, "<b class=\"s2\" style=\"left:0.00%;width:100.00%\">"));
  assert_non_null(strstr(s.p, "class=\"s0\""));
  str_free(&s);
  rep_page_free(p);
}

/* The path data of the k-th <path class="KIND …"> in the page. */
static char *path_of(const char *html, const char *kind, size_t k) {
  char open[64];
  snprintf(open, sizeof open, "<path class=\"%s ", kind);
  const char *p = html;
  for (size_t i = 0; i <= k; i++) p = strstr(p + 1, open);
  p = strstr(p, " d=\"") + 4;
  return mem_strndup(p, strcspn(p, "\""));
}

static void test_curve(void **state) {
  (void)state;
  const double x[5] = {0, 1, 2, 3, 4}, y[5] = {0, 4, NAN, 2, 4};
  rep_page *p = rep_page_new("t", NULL);
  rep_series s = {.name = "s", .x = x, .y = y, .n = 5};
  rep_lines(p, &(rep_chart){.title = "plain"}, &s, 1);
  rep_lines(p, &(rep_chart){.title = "smooth", .smooth = 2}, &s, 1);
  str h = written(p);
  char *plain = path_of(h.p, "line", 0), *smooth = path_of(h.p, "line", 1), *raw = path_of(h.p, "raw", 0);
  assert_string_equal(plain, "M0.0 1000.0h0L250.0 0.0M750.0 500.0h0L1000.0 0.0");
  assert_string_equal(raw, plain);
  assert_string_equal(smooth, "M0.0 1000.0h0L250.0 500.0M750.0 500.0h0L1000.0 250.0");
  assert_non_null(strstr(h.p, "last 3<"));
  mem_free(plain);
  mem_free(smooth);
  mem_free(raw);
  str_free(&h);
  rep_page_free(p);
}

/* A last batch of few rows counts as few in the mean, and is no point by itself; colours are those that were asked
 * for. */
static void test_weights_and_bands(void **state) {
  (void)state;
  const double x[4] = {1, 2, 3, 4}, y[4] = {50, 60, 70, 0}, rows[4] = {8, 8, 8, 2}, lo[4] = {40, 50, 60, 0},
               hi[4] = {60, 70, 80, 100}, best = 3;
  rep_page *p = rep_page_new("t", NULL);
  rep_series s = {.name = "s", .x = x, .y = y, .n = 4, .weight = rows, .colour = 3};
  rep_lines(p, &(rep_chart){.title = "mean", .smooth = 2, .percent = true, .y_max = 100}, &s, 1);
  s = (rep_series){.name = "b", .x = x, .y = y, .n = 4, .lo = lo, .hi = hi, .mark = &best, .colour = REP_GREY};
  rep_lines(p, &(rep_chart){.title = "band", .y_max = 100}, &s, 1);
  const rep_bar dots[2] = {{.value = 70, .ink = {.colour = 2}}, {.value = 90, .muted = true}};
  rep_bars(p, &(rep_chart){.title = "dots", .y_min = 60, .y_max = 100, .dots = true}, (const char *[]){"a", "b"}, 2,
           NULL, 1, dots);
  rep_fold(p, "more <");
  rep_fact(p, "f", "1");
  rep_unfold(p);
  str h = written(p);
  assert_well_formed(h.p);
  char *raw = path_of(h.p, "raw", 0), *line = path_of(h.p, "line", 0), *fill = path_of(h.p, "fill", 0),
       *ring = path_of(h.p, "ring", 0);
  assert_string_equal(raw, "M0.0 500.0h0L333.3 400.0L666.7 300.0");
  assert_string_equal(line, "M0.0 500.0h0L333.3 450.0L666.7 350.0L1000.0 440.0"); /* (8*70 + 2*0) / 10 = 56 */
  assert_string_equal(
      fill, "M0.0 400.0h0L333.3 300.0L666.7 200.0L1000.0 0.0L1000.0 1000.0L666.7 400.0L333.3 500.0L0.0 600.0");
  assert_string_equal(ring, "M666.7 300.0h0");
  assert_non_null(strstr(h.p, "last 56.0%"));
  assert_non_null(strstr(h.p, "60%</span>"));
  assert_non_null(strstr(h.p, "class=\"line s3\""));
  assert_non_null(strstr(h.p, "class=\"line s0\""));
  assert_non_null(strstr(h.p, "<b class=\"s2 at\" style=\"left:25.00%\">"));
  assert_non_null(strstr(h.p, "<b class=\"s0 at\" style=\"left:75.00%\">"));
  assert_non_null(strstr(h.p, "<span>60</span><span>100</span>"));
  assert_non_null(strstr(h.p, "<details><summary>more &lt;</summary>"));
  mem_free(raw);
  mem_free(line);
  mem_free(fill);
  mem_free(ring);
  str_free(&h);
  rep_page_free(p);
}

static void test_long_run_is_thinned(void **state) {
  (void)state;
  size_t n = 300000;
  double *x = malloc(n * sizeof *x), *y = malloc(n * sizeof *y);
  for (size_t i = 0; i < n; i++) x[i] = (double)i, y[i] = (double)(i * 7919 % 1000);
  y[123456] = 5000; /* a spike must survive */
  rep_page *p = rep_page_new("t", NULL);
  rep_lines(p, &(rep_chart){.title = "long"}, &(rep_series){.name = "s", .x = x, .y = y, .n = n}, 1);
  str h = written(p);
  assert_true(h.len < 100000);
  assert_non_null(strstr(h.p, "L411.5 0.0L"));
  str_free(&h);
  rep_page_free(p);
  free(x);
  free(y);
}

static void test_histogram(void **state) {
  (void)state;
  /* bins of width 1 over 0..4: shares 50, 0, 25, 25 (the maximum falls into the last); mean 1.625 */
  const double v[5] = {0, 0.5, 2, NAN, 4};
  rep_page *p = rep_page_new("t", NULL);
  rep_histogram(p, &(rep_chart){.title = "h", .decimals = 3}, &(rep_sample){"s", v, 5, 2}, 1, 4);
  str h = written(p);
  char *line = path_of(h.p, "line", 0), *mean = path_of(h.p, "mean", 0);
  assert_string_equal(line, "M0 1000V0.0H250.0V1000.0H500.0V500.0H750.0V500.0H1000.0V1000");
  assert_string_equal(mean, "M406.2 0V1000");
  assert_non_null(strstr(h.p, "n 4, mean 1.625"));
  assert_non_null(strstr(h.p, "\"line s3\"")); /* the colour of place 2 */
  mem_free(line);
  mem_free(mean);
  str_free(&h);
  rep_page_free(p);
}

static void test_out_of_memory(void **state) {
  (void)state;
  rw_error err;
  assert_int_equal(rep_page_write(NULL, "unused", &err), RW_NOMEM);
  bool done = false;
  for (long n = 0; !done; n++) {
    mem_fail_after(n);
    rep_page *p = sample_page(20);
    rw_status s = rep_page_write(p, "/dev/null/none", &err);
    mem_fail_after(-1);
    assert_true(s == RW_NOMEM || s == RW_IO); /* RW_IO: nothing failed before the file */
    done = s == RW_IO;
    rep_page_free(p);
    assert_true(n < 100000);
  }
  rep_table *t = NULL;
  rep_cell(t, "x");
  rep_total(t);
  str out = {0};
  assert_int_equal(rep_table_print(t, &out, &err), RW_NOMEM);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_numbers),
      cmocka_unit_test(test_plain_table),
      cmocka_unit_test(test_page),
      cmocka_unit_test(test_curve),
      cmocka_unit_test(test_histogram),
      cmocka_unit_test(test_weights_and_bands),
      cmocka_unit_test(test_long_run_is_thinned),
      cmocka_unit_test(test_out_of_memory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
