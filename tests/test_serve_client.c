/* Who is late and who is not: clients of a socket pair, a second at most. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "serve/client.h"

enum { LATE_WITHIN = 60, LOOKED_AT = 15 }; /* tenths of a second; the watch looks each second */

typedef struct {
  clients *all;
  client *c;
  atomic_uint_fast64_t ended;
  int ours, theirs;
} pair;

static void nap(void) { nanosleep(&(struct timespec){0, 100000000}, NULL); }

static void begin(pair *p) {
  rw_error err;
  int fd[2];
  *p = (pair){0};
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
  p->ours = fd[0];
  p->theirs = fd[1];
  assert_int_equal(clients_open(&p->all, 0.3, &p->ended, &err), RW_OK);
  p->c = client_new(p->all, p->ours);
}

/* Ends the pair after the watch has found the client late, or had the time to. */
static void end(pair *p, bool late) {
  for (int i = 0; i < (late ? LATE_WITHIN : LOOKED_AT) && p->ended == 0; i++) nap();
  assert_int_equal(p->ended, late);
  client_gone(p->all, p->c);
  clients_close(p->all);
  close(p->ours);
  close(p->theirs);
}

static void test_body(void **state) {
  (void)state;
  pair p;
  begin(&p);
  client_reads(p.c);
  client_sent(p.c, 10);
  end(&p, true);
  begin(&p); /* 1 MiB has a minute */
  client_reads(p.c);
  client_sent(p.c, 1 << 20);
  end(&p, false);
  begin(&p); /* what has come is not read */
  client_reads(p.c);
  assert_int_equal(write(p.theirs, "{", 1), 1);
  end(&p, false);
}

static void test_answer(void **state) {
  (void)state;
  char some[4096] = {0};
  pair p;
  begin(&p);
  client_takes(p.c, 10);
  while (write(p.ours, some, sizeof some) > 0) continue;
  end(&p, true);
  begin(&p); /* nothing is on its way yet */
  client_takes(p.c, 10);
  end(&p, false);
}

/* Each of many requests is met by the watch when a part of it has come, over TCP. */
static void test_requests(void **state) {
  (void)state;
  char byte = 0;
  pair p;
  begin(&p);
  client_gone(p.all, p.c);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof at;
  int door = socket(AF_INET, SOCK_STREAM, 0), theirs = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(bind(door, (struct sockaddr *)&at, len) | listen(door, 1), 0);
  assert_int_equal(getsockname(door, (struct sockaddr *)&at, &len), 0);
  assert_int_equal(connect(theirs, (struct sockaddr *)&at, len), 0);
  int ours = accept(door, NULL, NULL);
  p.c = client_new(p.all, ours);
  for (int i = 0; i < 40; i++) {
    if (i % 4 == 0) client_idle(p.c); /* the one before has ended */
    assert_int_equal(write(theirs, "x", 1) + read(ours, &byte, 1), 2);
    nap();
  }
  assert_int_equal(p.ended, 0);
  end(&p, true); /* the last one's headers do not end */
  close(door);
  close(theirs);
  close(ours);
}

static void test_turns(void **state) {
  (void)state;
  pair p;
  begin(&p); /* idle, as nothing has come */
  end(&p, false);
  begin(&p); /* the server's turn */
  client_reads(p.c);
  client_waits(p.c);
  end(&p, false);
  begin(&p); /* the request ended in time */
  client_reads(p.c);
  client_idle(p.c);
  end(&p, false);
  client_idle(NULL); /* one that is not watched */
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_body), cmocka_unit_test(test_answer),
                                     cmocka_unit_test(test_requests), cmocka_unit_test(test_turns)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
