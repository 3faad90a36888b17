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

typedef struct {
  const char *out, *title;
} options;

static const option table[] = {{"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, out),
                                .value = "FILE.html", .help = "the page to write; - is stdout"},
                               {"title", .kind = OPTION_TEXT, .field = offsetof(options, title), .value = "TEXT",
                                .initial = "reward.c report", .help = "its title"},
                               {.name = NULL}};

static int run_command(cli *c, void *values) {
  const options *o = values;
  const option_list *things = &c->words;
  if (things->n == 0 || !o->out) return cli_usage(c, "something to report and -o FILE.html are needed");
  int status = cli_check_output(c, o->out, things->items, things->n);
  if (status >= 0) return status;
  rw_error err;
  rep_page *p = rep_page_new(o->title, "Evaluation, training and data on one page, made by `reward report`.");
  size_t unread;
  rw_status s = runs_page(p, things->items, things->n, c->context, &unread, &err);
  if (!s) s = rep_page_write(p, o->out, &err);
  rep_page_free(p);
  if (!s && unread)
    s = rw_fail(&err, RW_DATA, "%zu of %zu could not be read and are not on the page: %s", unread, things->n,
                o->out);
  return s ? cli_fail(c, &err) : 0;
}

const cli_command cmd_report = {.name = "report",
                                .summary = "runs, evaluations and curations on one HTML page",
                                .usage = USAGE,
                                .about = ABOUT,
                                .examples = EXAMPLES,
                                .parts = {{table}},
                                .values = sizeof(options),
                                .max_words = 1000,
                                .common = CLI_QUIET,
                                .run = run_command};
