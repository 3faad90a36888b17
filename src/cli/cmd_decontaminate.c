/* cmd_decontaminate.c - `reward decontaminate`. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"
#include "curate/decon_run.h"

int cmd_decontaminate_run(int argc, char **argv) {
  decon_run_options o = {.options = {.ngram = DECON_NGRAM}};
  cli_list train = {0}, bench = {0}, words = {0};
  const char *preset = "default";
  bool force = false;
  const opt table[] = {
      {"train", 0, OPT_LIST, &train, "FILE…", "training rows", true},
      {"bench", 0, OPT_LIST, &bench, "FILE…", "benchmark rows", true},
      {"ngram", 0, OPT_INT, &o.options.ngram, "N", "consecutive words in common that make a match", false},
      {"preset", 0, OPT_STRING, &preset, "default|gist",
       "gist: 7 words of two or more characters, short prompts never match", false},
      {"output", 'o', OPT_STRING, &o.out, "DIR", "where clean.jsonl, removed.jsonl, report.json, report.html go",
       false},
      {"force", 0, OPT_FLAG, &force, NULL, "write into a folder that has files", false},
      {NULL, 0, OPT_FLAG, NULL, NULL, NULL, false}};
  int status = cli_parse(
      argc, argv, table, &words, 0, "decontaminate --train FILE… --bench FILE… -o DIR [options]",
      "Finds training rows whose prompts share exact word n-grams with a benchmark's prompts, and\n"
      "separates them. Each user message counts by itself; responses do not count.",
      "  reward decontaminate --train train.jsonl --bench rewardbench.jsonl -o clean\n"
      "  reward decontaminate --train a.jsonl.gz b.jsonl.gz --bench rb.jsonl rb2.jsonl --ngram 13 -o clean\n");
  if (status >= 0) return status;
  if (train.n == 0 || bench.n == 0 || !o.out) return cli_missing("--train, --bench and -o DIR are needed");
  o.options.gist = strcmp(preset, "gist") == 0;
  if (o.options.gist && !cli_given("ngram")) o.options.ngram = DECON_GIST_NGRAM;
  if (o.options.ngram < 1 || o.options.ngram > 64)
    return cli_usage("--ngram: expected 1 to 64, got %lld", (long long)o.options.ngram);
  /* with --force, in place of what is there */
  static const char *const written[] = {"clean.jsonl", "removed.jsonl", "report.json", "report.html"};
  for (size_t i = 0; i < sizeof written / sizeof *written; i++) {
    char *path = file_join(o.out, written[i]);
    status = !path ? cli_usage("memory ran out") : cli_check_output(path, train.items, train.n);
    if (status < 0) status = cli_check_output(path, bench.items, bench.n);
    mem_free(path);
    if (status >= 0) return status;
  }
  o.train = train.items, o.n_train = train.n;
  o.bench = bench.items, o.n_bench = bench.n;
  if (!(o.context = cli_threads())) return 1;
  rw_error err;
  decon_counts c;
  out_dir dir;
  rw_status s = file_dir_begin(&dir, o.out, force, &err);
  if (!s) s = decon_run(&o, &c, &err);
  file_dir_end(&dir, s == RW_OK);
  if (s) return cli_fail(&err);
  printf("training rows       %zu\ncontaminated        %zu\nbenchmark rows      %zu\nbenchmark matched   %zu\n",
         c.train_rows, c.contaminated, c.bench_rows, c.matched);
  return 0;
}
