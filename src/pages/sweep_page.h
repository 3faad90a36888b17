/* sweep_page.h - a sweep's results as tables, sweep.json and report.html. */
#ifndef PAGES_SWEEP_PAGE_H
#define PAGES_SWEEP_PAGE_H

#include "train/sweep.h"

/* Reads what the runs have left, writes OUT/sweep.json and OUT/report.html, and appends the tables to *text. Runs
 * that have not finished are left out and counted in *missing. */
rw_status sweep_report(const sweep *s, str *text, size_t *missing, rw_error *err);

#endif
