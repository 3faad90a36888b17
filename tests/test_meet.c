/* test_meet.c - ranks that meet over TCP: four processes of this machine, and what keeps them from meeting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/meet.h"

enum { N = 4, MAX = 8 };

/* What one process reports: of its meeting, or its failure. */
typedef struct {
  rw_status status;
  int node_rank, node_size, ended;
  char told[8];
  rw_error err;
} report;
typedef void (*play)(meeting *m, report *r);

/* A port that was free a moment ago; with `keep`, a socket that listens there. */
static int free_port(int *keep) {
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t len = sizeof a;
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
  if (keep) assert_int_equal(listen(fd, 8), 0);
  assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
  if (keep)
    *keep = fd;
  else
    close(fd);
  return ntohs(a.sin_port);
}

static meet_plan plan(int rank, int size, int port) {
  meet_plan p = {.rank = rank, .size = size, .local = -1, .host = "127.0.0.1", .token = "t", .seconds = 20};
  snprintf(p.port, sizeof p.port, "%d", port);
  return p;
}

/* Process `waits` begins when process `opens` has met the others or failed; -1: none. */
static struct { int opens, waits, pipe[2]; } gate = {-1, -1, {-1, -1}};

/* Each plan in a process of its own, `then` once they have met. */
static void run(const meet_plan *plans, int n, play then, report *out) {
  int pipes[MAX][2];
  pid_t pids[MAX];
  fflush(NULL);
  for (int i = 0; i < n; i++) {
    assert_int_equal(pipe(pipes[i]), 0);
    pids[i] = fork();
    if (pids[i] != 0) continue;
    report r = {.ended = -1};
    meeting m;
    char open = 'x';
    if (i == gate.waits && read(gate.pipe[0], &open, 1) != 1) _exit(1);
    r.status = meet_all(&m, &plans[i], &r.err);
    if (i == gate.opens && write(gate.pipe[1], &open, 1) != 1) _exit(1);
    r.node_rank = m.node_rank;
    r.node_size = m.node_size;
    if (!r.status) {
      if (m.rank == 0) snprintf(r.told, sizeof r.told, "hello");
      r.status = meet_tell(&m, r.told, sizeof r.told, &r.err);
      if (then) then(&m, &r);
      meet_leave(&m);
    }
    _exit(write(pipes[i][1], &r, sizeof r) == sizeof r ? 0 : 1);
  }
  for (int i = 0; i < n; i++) {
    close(pipes[i][1]);
    memset(&out[i], 0, sizeof out[i]);
    out[i].status = -1; /* unless it has something to report */
    if (read(pipes[i][0], &out[i], sizeof out[i]) < 0) out[i].status = -1;
    close(pipes[i][0]);
    waitpid(pids[i], NULL, 0);
  }
}

static void all_say(const report *r, int n, rw_status status, const char *text) {
  for (int i = 0; i < n; i++) {
    if (!strstr(r[i].err.text, text)) fail_msg("rank %d: expected '%s' in '%s'", i, text, r[i].err.text);
    assert_int_equal(r[i].status, status);
  }
}

static void four(void **s) {
  (void)s;
  report r[N];
  meet_plan p[N];
  int port = free_port(NULL);
  for (int i = 0; i < N; i++) p[i] = plan(N - 1 - i, N, port); /* rank 0 last: the others wait for it */
  run(p, N, NULL, r);
  for (int i = 0; i < N; i++) {
    assert_int_equal(r[i].status, RW_OK);
    assert_string_equal(r[i].told, "hello");
    assert_int_equal(r[i].node_rank, N - 1 - i);
    assert_int_equal(r[i].node_size, N);
  }
  for (int i = 0; i < N; i++) p[i].local = p[i].rank ^ 1; /* the launcher's numbers are taken as they are */
  run(p, N, NULL, r);
  for (int i = 0; i < N; i++) assert_int_equal(r[i].node_rank, p[i].rank ^ 1);
}

/* Connections that say nothing, or something else, or another run's token hold nobody up. */
static void strangers(void **s) {
  (void)s;
  report r[N + 2];
  meet_plan p[N + 2];
  int port = free_port(NULL);
  for (int i = 0; i < N; i++) p[i] = plan(i, N, port);
  p[N] = plan(2, N, port);
  snprintf(p[N].token, sizeof p[N].token, "other");
  pid_t noise = fork();
  if (noise == 0) {
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}, .sin_port = htons((uint16_t)port)};
    char junk[1000] = "GET / HTTP/1.1\r\n\r\n";
    for (int i = 0; i < 20;) {
      int fd = socket(AF_INET, SOCK_STREAM, 0);
      if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) {
        i++; /* and left open */
        if (i % 2) send(fd, junk, sizeof junk, MSG_NOSIGNAL);
      } else {
        close(fd);
      }
      usleep(2000);
    }
    pause();
  }
  /* the rank with another token comes first, while rank 2 of this run is still to come */
  meet_plan late = p[2];
  p[2] = p[N];
  p[N] = late;
  assert_int_equal(pipe(gate.pipe), 0);
  gate.opens = 2;
  gate.waits = N;
  run(p, N + 1, NULL, r);
  gate.opens = gate.waits = -1;
  close(gate.pipe[0]);
  close(gate.pipe[1]);
  kill(noise, SIGKILL);
  waitpid(noise, NULL, 0);
  for (int i = 0; i <= N; i++)
    if (i != 2) assert_int_equal(r[i].status, RW_OK);
  all_say(&r[2], 1, RW_USAGE, "rank 0 is of another run");
}

static void disagree(void **s) {
  (void)s;
  report r[N];
  meet_plan p[N];
  int port = free_port(NULL);
  for (int i = 0; i < N; i++) p[i] = plan(i, i == 2 ? 3 : N, port);
  run(p, N, NULL, r);
  all_say(r, 1, RW_USAGE, "WORLD_SIZE: expected 4 as on rank 0, got 3 on rank 2 (");
  all_say(&r[2], 1, RW_USAGE, "WORLD_SIZE: expected 4");
  for (int i = 0; i < N; i++) p[i] = plan(i == 3 ? 1 : i, N, port);
  run(p, N, NULL, r);
  all_say(r, 1, RW_USAGE, "RANK: expected each of 0 to 3 once, got another 1 (");
}

static void missing(void **s) {
  (void)s;
  report r[N];
  meet_plan p[N];
  int port = free_port(NULL);
  for (int i = 0; i < N; i++) {
    p[i] = plan(i, N, port);
    p[i].seconds = 2;
  }
  double began = clock_seconds();
  run(p, N - 1, NULL, r); /* rank 3 never comes: all are told the same */
  all_say(r, N - 1, RW_IO, "rank 3 of 4 has not come within 2 s (3 are here)");
  run(&p[1], 2, NULL, r); /* rank 0 never does */
  all_say(r, 2, RW_IO, "rank 0 is not at 127.0.0.1, port ");
  all_say(r, 2, RW_IO, "within 2 s: Connection refused");
  assert_true(clock_seconds() - began < 60);
}

static void taken(void **s) {
  (void)s;
  report r[2];
  int other, port = free_port(&other);
  meet_plan p[2] = {plan(0, 2, port), plan(1, 2, port)};
  p[1].seconds = 1;
  run(p, 2, NULL, r);
  all_say(r, 1, RW_IO, "MASTER_PORT: rank 0 cannot listen at port ");
  all_say(r, 1, RW_IO, "Address already in use");
  all_say(&r[1], 1, RW_IO, "is not rank 0 of this run"); /* what listens there says nothing */
  close(other);
  meet_plan nowhere = plan(1, 2, port);
  nowhere.host = "no.such.host.invalid";
  run(&nowhere, 1, NULL, r);
  all_say(r, 1, RW_USAGE, "MASTER_ADDR no.such.host.invalid: ");
}

/* ---- the end of one ---- */

static void watch(meeting *m, report *r) {
  double began = clock_seconds();
  while (!r->status && r->ended < 0 && clock_seconds() - began < 20) {
    r->status = meet_watch(m, &r->ended, &r->err);
    usleep(1000);
  }
}
static void one_ends(meeting *m, report *r) {
  if (m->rank == 2) {
    meet_abort(m, 7);
    r->ended = 7;
  } else {
    watch(m, r);
  }
}
static void one_dies(meeting *m, report *r) {
  if (m->rank == 2) kill(getpid(), SIGKILL);
  watch(m, r);
  if (m->rank == 0) meet_abort(m, 1);
}
static void one_leaves(meeting *m, report *r) {
  if (m->rank == 2) return;
  usleep(200000);
  r->status = meet_watch(m, &r->ended, &r->err);
}

static void ends(void **s) {
  (void)s;
  report r[N];
  meet_plan p[N];
  int port = free_port(NULL);
  for (int i = 0; i < N; i++) p[i] = plan(i, N, port);
  run(p, N, one_ends, r); /* a status, to all */
  for (int i = 0; i < N; i++) assert_int_equal(r[i].ended, 7);
  run(p, N, one_dies, r); /* rank 0 misses it; its word ends the others */
  all_say(r, 1, RW_IO, "rank 2 of 4 is gone");
  assert_int_equal(r[1].ended, 1);
  assert_int_equal(r[3].ended, 1);
  run(p, N, one_leaves, r); /* one who has taken leave is not missed */
  for (int i = 0; i < N; i++) assert_int_equal(r[i].status, RW_OK), assert_int_equal(r[i].ended, -1);
}

/* ---- the environment ---- */

static void environment(const char *const *set) {
  static const char *const names[] = {"RANK",
                                      "WORLD_SIZE",
                                      "LOCAL_RANK",
                                      "MASTER_ADDR",
                                      "MASTER_PORT",
                                      "SLURM_PROCID",
                                      "SLURM_STEP_NUM_TASKS",
                                      "SLURM_LOCALID",
                                      "SLURM_JOB_ID",
                                      "TORCHELASTIC_RUN_ID",
                                      "TORCHELASTIC_USE_AGENT_STORE",
                                      "REWARD_MEET_TOKEN",
                                      "REWARD_MEET_SECONDS"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
  for (; set[0]; set += 2) setenv(set[0], set[1], 1);
}
#define ENVIRONMENT(...) environment((const char *const[]){__VA_ARGS__, NULL})
#define PLACE            "MASTER_ADDR", "node1", "MASTER_PORT", "29500"

static void told(void **s) {
  (void)s;
  meet_plan p;
  rw_error err;
  ENVIRONMENT("RANK", "3", "WORLD_SIZE", "8", "LOCAL_RANK", "1", "TORCHELASTIC_RUN_ID", "none", PLACE);
  assert_int_equal(meet_launched(), 8);
  assert_int_equal(meet_plan_read(&p, &err), RW_OK);
  assert_int_equal(p.rank, 3);
  assert_int_equal(p.size, 8);
  assert_int_equal(p.local, 1);
  assert_string_equal(p.host, "node1");
  assert_string_equal(p.port, "29500");
  assert_string_equal(p.token, "none");
  setenv("TORCHELASTIC_USE_AGENT_STORE", "True", 1); /* torchrun's own port is taken */
  setenv("REWARD_MEET_TOKEN", "mine", 1);
  assert_int_equal(meet_plan_read(&p, &err), RW_OK);
  assert_string_equal(p.port, "29501");
  assert_string_equal(p.token, "mine");
  ENVIRONMENT("SLURM_PROCID", "5", "SLURM_STEP_NUM_TASKS", "6", "SLURM_LOCALID", "2", "SLURM_JOB_ID", "77", PLACE);
  assert_int_equal(meet_launched(), 1); /* Slurm's ranks are MPI's unless NCCL is asked for */
  assert_int_equal(meet_plan_read(&p, &err), RW_OK);
  assert_int_equal(p.rank * 100 + p.size * 10 + p.local, 562);
  assert_string_equal(p.token, "77");

  ENVIRONMENT("RANK", "8", "WORLD_SIZE", "8", PLACE);
  assert_int_equal(meet_plan_read(&p, &err), RW_USAGE);
  assert_string_equal(err.text, "rank 8 of 8: expected ranks from 0 to 7");
  ENVIRONMENT("RANK", "x", "WORLD_SIZE", "8", PLACE);
  assert_int_equal(meet_plan_read(&p, &err), RW_USAGE);
  assert_string_equal(err.text, "RANK: expected a number of at least 0, got 'x'");
  ENVIRONMENT("RANK", "0", "WORLD_SIZE", "8", "MASTER_PORT", "1");
  assert_int_equal(meet_plan_read(&p, &err), RW_USAGE);
  assert_string_equal(err.text, "MASTER_ADDR: expected the machine of rank 0");
  ENVIRONMENT("RANK", "0", "WORLD_SIZE", "8", "MASTER_ADDR", "a", "MASTER_PORT", "65536");
  assert_int_equal(meet_plan_read(&p, &err), RW_USAGE);
  assert_string_equal(err.text, "MASTER_PORT: expected a port, got 65536");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(four),  cmocka_unit_test(strangers), cmocka_unit_test(disagree), cmocka_unit_test(missing),
      cmocka_unit_test(taken), cmocka_unit_test(ends),      cmocka_unit_test(told),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
