/* cmd_report.c - `reward report`: runs, evaluations and data side by side in one self-contained page. */
#include "cli/cli.h"
#include "pages/runs.h"

static const char USAGE[] = "report THING... -o FILE.html";
static const char ABOUT[] =
    "One self-contained page of everything named:\n"
    "  folders of `reward train`           curves, arguments that differ, evaluations on the way\n"
    "  results.json of `reward eval`       sections side by side with intervals, subsets\n"
    "  folders of `reward curate`          composition before and after\n"
    "  folders of `reward decontaminate`   what matched, by source and by benchmark subset\n"
    "What cannot be read is named and left out, and the exit status is 1.";
static const char EXAMPLES[] =
    "  reward report runs/a runs/b -o runs.html\n"
    "  reward report set clean run before.json after.json -o report.html\n";

int cmd_report_run(int argc, char **argv) {
  const char *out = NULL, *title = "reward.c report";
  cli_list things = {0};
  const opt table[] = {{"output", 'o', OPT_STRING, &out, "FILE.html", "the page to write; - is stdout", false},
                       {"title", 0, OPT_STRING, &title, "TEXT", "its title", false},
                       {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status = cli_parse(argc, argv, table, &things, 1000, USAGE, ABOUT, EXAMPLES);
  if (status >= 0) return status;
  if (things.n == 0 || !out) return cli_usage("something to report and -o FILE.html are needed");
  if ((status = cli_check_output(out, things.items, things.n)) >= 0) return status;
  rw_error err;
  rep_page *p = rep_page_new(title, "Evaluation, training and data on one page, made by `reward report`.");
  size_t unread;
  rw_status s = runs_page(p, things.items, things.n, &cli_context, &unread, &err);
  if (!s) s = rep_page_write(p, out, &err);
  rep_page_free(p);
  if (!s && unread)
    s = rw_fail(&err, RW_DATA, "%zu of %zu could not be read and are not on the page: %s", unread, things.n, out);
  return s ? cli_fail(&err) : 0;
}
