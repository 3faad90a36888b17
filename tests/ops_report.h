/* ops_report.h - what check-ops prints of a check, and how many failed. */
#ifndef OPS_REPORT_H
#define OPS_REPORT_H

#include <stdbool.h>
#include <stdio.h>

static int failed, passed;

static void report(const char *level, const char *what, double error, double bound) {
  bool ok = error <= bound;
  printf("%s %-9s %-44s error %.2e (bound %.0e)\n", ok ? "ok  " : "FAIL", level, what, error, bound);
  ok ? passed++ : failed++;
}

#endif
