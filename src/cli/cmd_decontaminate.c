/* cmd_decontaminate.c - `reward decontaminate`. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "curate/decon_run.h"

typedef struct {
  decon_run_options run;
  option_list train, bench, fields;
  int gist;
  bool force;
} options;

static const option_word presets[] = {{"default", false}, {"gist", true}, {NULL, 0}};

static const option table[] = {
    {"train", .kind = OPTION_LIST, .many = true, .field = offsetof(options, train), .value = "FILE…",
     .help = "training rows"},
    {"bench", .kind = OPTION_LIST, .many = true, .field = offsetof(options, bench), .value = "FILE…",
     .help = "benchmark rows"},
    {"field", .kind = OPTION_LIST, .field = offsetof(options, fields), .value = "[train:|bench:]NAME",
     .help = "the field of the prompt, where it has another name; repeatable"},
    {"ngram", .kind = OPTION_INT, .field = offsetof(options, run.options.ngram), .value = "N",
     .initial = OPTION_INITIAL(DECON_NGRAM), .range = OPTION_BETWEEN(1, 64),
     .help = "consecutive words in common that make a match"},
    {"preset", .kind = OPTION_CHOICE, .field = offsetof(options, gist), .words = presets, .initial = "default",
     .help = "gist: 7 words of two or more characters, short prompts never match"},
    {"out", 'o', .old = "output", .kind = OPTION_TEXT, .field = offsetof(options, run.out), .value = "DIR",
     .help = "where clean.jsonl, removed.jsonl, report.json, report.html go"},
    {"force", .kind = OPTION_FLAG, .field = offsetof(options, force), .help = "write into a folder that has files"},
    {.name = NULL}};

static int run_command(cli *c, void *values) {
  options *given = values;
  decon_run_options o = given->run;
  const option_list train = given->train, bench = given->bench;
  if (train.n == 0 || bench.n == 0 || !o.out) return cli_missing(c, "--train, --bench and -o DIR are needed");
  for (size_t i = 0; i < given->fields.n; i++) {
    const char *name = given->fields.items[i];
    bool of_train = strncmp(name, "train:", 6) == 0, of_bench = strncmp(name, "bench:", 6) == 0;
    if (of_train || of_bench) name += 6;
    if (!of_bench) o.options.train_field = name;
    if (!of_train) o.options.bench_field = name;
  }
  o.options.gist = given->gist;
  if (o.options.gist && !cli_given(c, "ngram")) o.options.ngram = DECON_GIST_NGRAM;
  int status;
  /* with --force, in place of what is there */
  static const char *const written[] = {"clean.jsonl", "removed.jsonl", "report.json", "report.html"};
  for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
    char *path = file_join(o.out, written[i]);
    status = !path ? cli_nomem(c) : cli_check_output(c, path, train.items, train.n);
    if (status < 0) status = cli_check_output(c, path, bench.items, bench.n);
    mem_free(path);
    if (status >= 0) return status;
  }
  o.train = train.items, o.n_train = train.n;
  o.bench = bench.items, o.n_bench = bench.n;
  if (!(o.context = cli_threads(c))) return 1;
  rw_error err;
  decon_counts n;
  out_dir dir;
  rw_status s = file_dir_begin(&dir, o.out, given->force, &err);
  if (!s) s = decon_run(&o, &n, &err);
  file_dir_end(&dir, s == RW_OK);
  if (s) return cli_fail(c, &err);
  printf("training rows       %zu\ncontaminated        %zu\nbenchmark rows      %zu\nbenchmark matched   %zu\n",
         n.train_rows, n.contaminated, n.bench_rows, n.matched);
  return 0;
}

const cli_command cmd_decontaminate = {
    .name = "decontaminate",
    .summary = "separate training rows that a benchmark also has",
    .usage = "decontaminate --train FILE… --bench FILE… -o DIR [options]",
    .about =
        "Finds training rows whose prompts share exact word n-grams with a benchmark's prompts, and\n"
        "separates them. Each user message counts by itself; responses do not count.",
    .examples =
        "  reward decontaminate --train train.jsonl --bench rewardbench.jsonl -o clean\n"
        "  reward decontaminate --train a.jsonl.gz b.jsonl.gz --bench rb.jsonl rb2.jsonl --ngram 13 -o clean\n",
    .parts = {{table}},
    .values = sizeof(options),
    .common = CLI_THREADS | CLI_QUIET | CLI_ROWS,
    .run = run_command};
