/* comm.c - one process, the loading of libreward_mpi.so or libreward_nccl.so where a launcher has started several,
 * and what ranks agree on.
 */
#define _GNU_SOURCE
#include "base/comm.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/meet.h"
#include "base/mem.h"
#include "base/plugin.h"

/* ---- one process ---- */

static rw_status alone_begin(comm *c, int slot, const comm_part *out, size_t n_out, const comm_part *in,
                             size_t n_in, rw_error *err) {
  (void)c, (void)slot, (void)out, (void)in;
  return n_out || n_in ? rw_fail(err, RW_USAGE, "one process has no other ranks") : RW_OK;
}
static rw_status alone_end(comm *c, int slot, rw_error *err) { return (void)c, (void)slot, (void)err, RW_OK; }
static rw_status alone_test(comm *c, int slot, bool *done, rw_error *err) {
  *done = true;
  return alone_end(c, slot, err);
}
static rw_status alone_bcast(comm *c, void *p, size_t bytes, int root, rw_error *err) {
  return (void)c, (void)p, (void)bytes, (void)root, (void)err, RW_OK;
}
static rw_status alone_gather(comm *c, void *all, const size_t *at, rw_error *err) {
  return (void)c, (void)all, (void)at, (void)err, RW_OK;
}
static rw_status alone_most(comm *c, int64_t *v, int n, rw_error *err) {
  return (void)c, (void)v, (void)n, (void)err, RW_OK;
}
static void alone_abort(comm *c, int status) { (void)c, _exit(status); }
static void alone_close(comm *c) { (void)c; }

comm comm_alone(void) {
  return (comm){.size = 1,
                .node_size = 1,
                .gpu = -1,
                .name = "one process",
                .begin = alone_begin,
                .end = alone_end,
                .test = alone_test,
                .bcast = alone_bcast,
                .gather = alone_gather,
                .most = alone_most,
                .abort = alone_abort,
                .close = alone_close};
}

/* ---- several ---- */

/* Who says how many it has started before MPI is there to ask: Open MPI's mpirun, MPICH's and its kin's, a step of
 * Slurm. */
static const char *const sizes[] = {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS"};
#define QUOTE(name)  #name
#define QUOTED(name) QUOTE(name)
enum { SIZES = sizeof sizes / sizeof *sizes };

static int launched(void) {
  const char *said = NULL;
  for (size_t i = 0; i < SIZES && !said; i++) said = getenv(sizes[i]);
  return said ? (int)strtol(said, NULL, 10) : 1;
}

/* Where a rank may run. Ranks of one name are on one machine. */
typedef struct {
  char host[64];
  cpu_set_t cores;
} seat;

/* Parts the cores among the ranks that may run on the same ones. */
static rw_status part_cores(comm *c, rw_error *err) {
  size_t n = (size_t)c->size;
  seat *seats = mem_zalloc(n, sizeof *seats);
  size_t *at = mem_alloc(n + 1, sizeof *at);
  rw_status s = seats && at ? RW_OK : rw_nomem(err, "ranks");
  if (!s) {
    seat *mine = &seats[c->rank];
    for (size_t i = 0; i <= n; i++) at[i] = i * sizeof *seats;
    gethostname(mine->host, sizeof mine->host - 1);
    if (sched_getaffinity(0, sizeof mine->cores, &mine->cores) != 0) CPU_ZERO(&mine->cores);
    s = c->gather(c, seats, at, err);
    int sharing = 0, have = CPU_COUNT(&mine->cores);
    cpu_set_t both, taken;
    CPU_ZERO(&taken);
    for (size_t i = 0; i < n; i++) {
      if (strcmp(seats[i].host, mine->host) != 0) continue;
      CPU_AND(&both, &seats[i].cores, &mine->cores);
      CPU_OR(&taken, &taken, &seats[i].cores);
      sharing += CPU_COUNT(&both) > 0;
    }
    c->cores = sharing > 0 && have >= sharing ? have / sharing : 1;
    c->bound = have == 1 && CPU_COUNT(&taken) < (int)sysconf(_SC_NPROCESSORS_ONLN);
  }
  mem_free(seats);
  mem_free(at);
  return s;
}

/* The one exported function of a plugin. */
static rw_status load(void **function, const char *name, const char *symbol, const char *what, const char *build,
                      int n, rw_error *err) {
  char why[500] = "";
  void *plugin = plugin_open(name, why, sizeof why);
  *function = plugin ? plugin_symbol(plugin, symbol) : NULL;
  if (*function) return RW_OK;
  if (plugin) snprintf(why, sizeof why, "%s is of another version", name);
  return rw_fail(err, RW_UNSUPPORTED,
                 "started as one of %d ranks, but %s cannot be loaded: %s; build it where %s, or start one process",
                 n, what, why, build);
}

static rw_status open_mpi(comm **out, int n, rw_error *err) {
  comm_mpi_opener open;
  RW_TRY(load((void **)&open, COMM_MPI_PLUGIN, QUOTED(COMM_MPI_OPEN), "MPI", "mpicc is (libopenmpi-dev)", n, err));
  return open(out, err);
}

static rw_status open_nccl(comm **out, comm *by, int n, rw_error *err) {
  const char *other = getenv("REWARD_NCCL_LIBRARY"); /* another build of it: the tests' */
  comm_nccl_opener open;
  RW_TRY(load((void **)&open, other && *other ? other : COMM_NCCL_PLUGIN, QUOTED(COMM_NCCL_OPEN), "NCCL",
              "nvcc and nccl.h are (make cuda)", n, err));
  return open(out, by, err);
}

static bool said(const char *name) {
  const char *value = getenv(name);
  return value && *value && strcmp(value, "0") != 0;
}

rw_status comm_open(comm **out, comm *alone, rw_error *err) {
  bool nccl = said("REWARD_NCCL"), tcp = nccl && said("MASTER_ADDR") && !said("OMPI_COMM_WORLD_SIZE");
  int n = tcp && meet_launched() > 1 ? meet_launched() : launched();
  *out = alone;
  if (n <= 1) return RW_OK;
  comm *by = NULL;
  if (!tcp) RW_TRY(open_mpi(&by, n, err));
  if (!nccl) *out = by;
  if (nccl) RW_TRY(open_nccl(out, by, n, err));
  if ((*out)->size != n)
    return rw_fail(
        err, RW_UNSUPPORTED,
        "started as one of %d ranks, but %s knows of %d: expected the launcher of the MPI that " COMM_MPI_PLUGIN
        " was built with",
        n, (*out)->name, (*out)->size);
  for (size_t i = 0; i < SIZES; i++) unsetenv(sizes[i]);
  unsetenv("REWARD_NCCL");
  return part_cores(*out, err);
}

rw_status comm_agree(comm *c, rw_status mine, rw_error *err) {
  struct {
    rw_status code;
    char text[sizeof((rw_error){0}).text];
  } told = {mine, ""};
  c->agreed = false;
  if (c->size == 1) return mine;
  /* the lowest rank has the largest number, and what is more than an interruption one beyond all of those */
  int64_t v = mine == RW_OK ? 0 : c->size - c->rank + (mine == RW_INTERRUPTED ? 0 : c->size);
  RW_TRY(c->most(c, &v, 1, err));
  if (v == 0) return RW_OK;
  int from = (int)(v > c->size ? 2 * (int64_t)c->size - v : c->size - v);
  if (err && from == c->rank) memcpy(told.text, err->text, sizeof told.text);
  RW_TRY(c->bcast(c, &told, sizeof told, from, err));
  c->agreed = true;
  return from > 0 && told.code != RW_INTERRUPTED ? rw_fail(err, told.code, "rank %d: %s", from, told.text)
                                                 : rw_fail(err, told.code, "%s", told.text);
}

rw_status comm_sum(comm *c, uint64_t *v, int n, rw_error *err) {
  if (c->size == 1) return RW_OK;
  size_t count = (size_t)n, ranks = (size_t)c->size;
  uint64_t *all = mem_zalloc(ranks * count, sizeof *all);
  size_t *at = mem_alloc(ranks + 1, sizeof *at);
  rw_status s = all && at ? RW_OK : rw_nomem(err, "ranks");
  for (size_t i = 0; !s && i <= ranks; i++) at[i] = i * count * sizeof *all;
  if (!s) memcpy(all + (size_t)c->rank * count, v, count * sizeof *all);
  if (!s) s = c->gather(c, all, at, err);
  if (!s) memset(v, 0, count * sizeof *v);
  for (size_t i = 0; !s && i < ranks * count; i++) v[i % count] += all[i];
  mem_free(all);
  mem_free(at);
  return s;
}

rw_status comm_same_text(comm *c, const char *text, const char *what, rw_error *err) {
  char first[400] = "";
  if (c->size == 1) return RW_OK;
  snprintf(first, sizeof first, "%s", text);
  RW_TRY(c->bcast(c, first, sizeof first, 0, err));
  rw_status s = strncmp(first, text, sizeof first - 1) == 0
                    ? RW_OK
                    : rw_fail(err, RW_USAGE, "%s: expected %s as on rank 0, got %.400s", what, first, text);
  return comm_agree(c, s, err);
}

rw_status comm_same(comm *c, uint64_t v, const char *what, rw_error *err) {
  int64_t both[2] = {(int64_t)v, (int64_t)~v}; /* the largest, and the complement of the smallest */
  RW_TRY(c->most(c, both, 2, err));
  c->agreed = both[0] != ~both[1];
  return c->agreed ? rw_fail(err, RW_USAGE, "%s: expected the same on all %d ranks", what, c->size) : RW_OK;
}
