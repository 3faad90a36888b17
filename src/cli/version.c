/* version.c - `reward --version`: what this program is, and what it finds on this machine. */
#include <stdio.h>

#include "cli/cli.h"
#include "commit.h" /* made by the Makefile: REWARD_COMMIT, "" outside of a repository */
#include "compute/backend.h"
#include "format/parquet.h"

#if defined(__clang__)
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

static void print_cpu(void) {
  pool *threads = NULL;
  backend *cpu = NULL;
  rw_error err;
  rw_status s = pool_new(&threads, 1, &err);
  if (!s) s = backend_open(&cpu, "cpu", threads, &err);
  printf("cpu         %s\n", s ? err.text : cpu->traits.name);
  if (!s) cpu->close(cpu);
  pool_free(threads);
}

void cli_print_version(void) {
  rw_error err;
  printf("reward " REWARD_VERSION "\n");
  if (REWARD_COMMIT[0]) printf("commit      " REWARD_COMMIT "\n");
  printf("compiler    " COMPILER "\n");
  print_cpu();
  printf("devices     %s\n", backend_devices());
  if (parquet_check("Parquet", &err))
    printf("parquet     no: %s\n", err.text);
  else
    printf("parquet     yes\n");
}
