/* meet.c - ranks meet at rank 0 over TCP (see meet.h).
 *
 * A rank connects, trying again until rank 0 listens, says its hello and gets an answer when all are there, or when
 * it is known that they will not be. Rank 0 reads all hellos side by side: a connection that says nothing, or
 * something else, holds up nobody.
 */
#include "base/meet.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define MAGIC "reward meets 1"
enum { SECONDS = 120, STRANGERS = 64, TRY_AGAIN_MS = 100, LEAVES = -1 };

typedef struct {
  char magic[16];
  int32_t rank, size, local;
  char token[128], machine[64];
} hello;
typedef struct {
  char magic[16];
  int32_t code, node_rank, node_size;
  char text[sizeof((rw_error *)0)->text];
} answer;
/* What is said while the run goes on: a status, or LEAVES. */
typedef struct {
  char magic[12];
  int32_t status;
} news;

/* ---- the environment ---- */

static int number(const char *name, int least) {
  const char *text = getenv(name);
  char *end = NULL;
  long v = text ? strtol(text, &end, 10) : -1;
  return text && *text && *end == 0 && v >= least && v < 1 << 20 ? (int)v : -1;
}

int meet_launched(void) {
  int size = number("WORLD_SIZE", 1);
  return size > 1 && getenv("RANK") ? size : 1;
}

static rw_status read_number(int *to, const char *name, int least, rw_error *err) {
  *to = number(name, least);
  return *to >= 0 ? RW_OK
                  : rw_fail(err, RW_USAGE, "%s: expected a number of at least %d, got '%s'", name, least,
                            getenv(name) ? getenv(name) : "");
}

rw_status meet_plan_read(meet_plan *p, rw_error *err) {
  static const char *const tokens[] = {"REWARD_MEET_TOKEN", "TORCHELASTIC_RUN_ID", "SLURM_JOB_ID"};
  bool torch = getenv("RANK") && getenv("WORLD_SIZE");
  const char *agent = getenv("TORCHELASTIC_USE_AGENT_STORE"), *token = "";
  *p = (meet_plan){.seconds = SECONDS, .local = number(torch ? "LOCAL_RANK" : "SLURM_LOCALID", 0)};
  RW_TRY(read_number(&p->rank, torch ? "RANK" : "SLURM_PROCID", 0, err));
  RW_TRY(read_number(&p->size, torch ? "WORLD_SIZE" : "SLURM_STEP_NUM_TASKS", 1, err));
  if (p->rank >= p->size)
    return rw_fail(err, RW_USAGE, "rank %d of %d: expected ranks from 0 to %d", p->rank, p->size, p->size - 1);
  if (getenv("REWARD_MEET_SECONDS")) RW_TRY(read_number(&p->seconds, "REWARD_MEET_SECONDS", 1, err));
  p->host = getenv("MASTER_ADDR");
  if (!p->host || !*p->host) return rw_fail(err, RW_USAGE, "MASTER_ADDR: expected the machine of rank 0");
  int port;
  RW_TRY(read_number(&port, "MASTER_PORT", 1, err));
  if (agent && strcmp(agent, "True") == 0) port++; /* torchrun itself listens at MASTER_PORT then */
  if (port > 65535) return rw_fail(err, RW_USAGE, "MASTER_PORT: expected a port, got %d", port);
  snprintf(p->port, sizeof p->port, "%d", port);
  for (size_t i = 0; i < sizeof tokens / sizeof *tokens && !*token; i++) {
    const char *value = getenv(tokens[i]);
    if (value) token = value;
  }
  if (strlen(token) >= sizeof p->token)
    return rw_fail(err, RW_USAGE, "REWARD_MEET_TOKEN: expected at most %zu bytes", sizeof p->token - 1);
  memcpy(p->token, token, strlen(token) + 1);
  return RW_OK;
}

/* ---- sockets ---- */

static void nap(int ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL); }

static void block(int fd, bool on) {
  int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, on ? flags & ~O_NONBLOCK : flags | O_NONBLOCK);
}

/* A line that is cut is noticed after 25 s. */
static void keep_alive(int fd) {
  int on = 1, idle = 10, between = 5, tries = 3;
  setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof idle);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &between, sizeof between);
  setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &tries, sizeof tries);
}

static int ms_until(double deadline) {
  double ms = 1000 * (deadline - clock_seconds());
  return ms < 0 ? 0 : ms > 1e9 ? 1000000000 : (int)ms + 1;
}

/* All of it before the deadline; 0 when not, errno then says why (0: the other has closed). */
static bool take(int fd, void *p, size_t bytes, double deadline) {
  for (size_t at = 0; at < bytes;) {
    struct pollfd ready = {fd, POLLIN, 0};
    int any = poll(&ready, 1, ms_until(deadline));
    if (any == 0) return errno = ETIMEDOUT, false;
    ssize_t n = recv(fd, (char *)p + at, bytes - at, MSG_DONTWAIT);
    if (n == 0) return errno = 0, false;
    if (n < 0 && errno != EAGAIN && errno != EINTR) return false;
    if (n > 0) at += (size_t)n;
  }
  return true;
}

static bool give(int fd, const void *p, size_t bytes) {
  for (size_t at = 0; at < bytes;) {
    ssize_t n = send(fd, (const char *)p + at, bytes - at, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return false;
    if (n > 0) at += (size_t)n;
  }
  return true;
}

static rw_status find(struct addrinfo **found, const meet_plan *p, rw_error *err) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
  int bad = getaddrinfo(p->host, p->port, &hints, found);
  return bad ? rw_fail(err, RW_USAGE, "MASTER_ADDR %s: %s", p->host, gai_strerror(bad)) : RW_OK;
}

/* ---- rank 0 ---- */

typedef struct {
  int fd;
  size_t got;
  hello h;
} guest; /* one who has not said all yet */

typedef struct {
  const meet_plan *plan;
  int *fd;     /* of those who have come */
  hello *came; /* their words; rank 0's own too */
  int n;       /* how many have come, with rank 0 */
  guest *guests;
  size_t n_guests, most_guests;
} host;

/* Listens where others reach rank 0: on all addresses, unless all ranks are of this machine. */
static rw_status open_door(int *fd, const meet_plan *p, rw_error *err) {
  struct addrinfo *found;
  RW_TRY(find(&found, p, err));
  union {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } at = {.v6 = {0}};
  memcpy(&at, found->ai_addr, found->ai_addrlen < sizeof at ? found->ai_addrlen : sizeof at);
  socklen_t len = found->ai_addrlen;
  freeaddrinfo(found);
  if (at.any.sa_family == AF_INET && at.v4.sin_addr.s_addr != htonl(INADDR_LOOPBACK))
    at.v4.sin_addr.s_addr = htonl(INADDR_ANY);
  if (at.any.sa_family == AF_INET6 && !IN6_IS_ADDR_LOOPBACK(&at.v6.sin6_addr)) at.v6.sin6_addr = in6addr_any;
  int on = 1;
  *fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (*fd < 0 || setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) || bind(*fd, &at.any, len) ||
      listen(*fd, SOMAXCONN))
    return rw_fail(err, RW_IO, "MASTER_PORT: rank 0 cannot listen at port %s: %s; another port helps", p->port,
                   strerror(errno));
  return RW_OK;
}

static void refuse(int fd, const char *text) {
  answer a = {MAGIC, RW_USAGE, 0, 0, ""};
  snprintf(a.text, sizeof a.text, "%s", text);
  give(fd, &a, sizeof a);
  close(fd);
}

/* One who has said its hello. A stranger is sent away; one of this run who knows it otherwise is a failure. */
static rw_status admit(host *h, guest *g, rw_error *err) {
  const meet_plan *p = h->plan;
  hello *x = &g->h;
  x->token[sizeof x->token - 1] = x->machine[sizeof x->machine - 1] = 0;
  if (memcmp(x->magic, MAGIC, sizeof MAGIC) != 0) return close(g->fd), RW_OK;
  if (strcmp(x->token, p->token) != 0) {
    refuse(g->fd, "rank 0 is of another run (REWARD_MEET_TOKEN differs); is its port taken twice?");
    return RW_OK;
  }
  rw_status s = RW_OK;
  if (x->size != p->size)
    s = rw_fail(err, RW_USAGE, "WORLD_SIZE: expected %d as on rank 0, got %d on rank %d (%s)", p->size, x->size,
                x->rank, x->machine);
  else if (x->rank <= 0 || x->rank >= p->size || h->fd[x->rank] >= 0)
    s = rw_fail(err, RW_USAGE, "RANK: expected each of 0 to %d once, got another %d (%s)", p->size - 1, x->rank,
                x->machine);
  if (s) return refuse(g->fd, err ? err->text : ""), s;
  block(g->fd, true);
  h->fd[x->rank] = g->fd;
  h->came[x->rank] = *x;
  h->n++;
  return RW_OK;
}

static void let_in(host *h, int door) {
  int fd = accept4(door, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (fd < 0) return;
  keep_alive(fd);
  if (h->n_guests < h->most_guests)
    h->guests[h->n_guests++] = (guest){.fd = fd};
  else
    close(fd); /* a rank comes again */
}

/* Reads what guest i has said by now. */
static rw_status hear(host *h, size_t i, rw_error *err) {
  guest *g = &h->guests[i], done;
  ssize_t n = recv(g->fd, (char *)&g->h + g->got, sizeof g->h - g->got, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return RW_OK;
  if (n > 0) g->got += (size_t)n;
  if (n > 0 && g->got < sizeof g->h) return RW_OK;
  done = *g;
  *g = h->guests[--h->n_guests];
  if (n <= 0) return close(done.fd), RW_OK;
  return admit(h, &done, err);
}

static rw_status late(const host *h, rw_error *err) {
  int r = 1;
  while (r < h->plan->size - 1 && h->fd[r] >= 0) r++;
  return rw_fail(err, RW_IO, "rank %d of %d has not come within %d s (%d are here); REWARD_MEET_SECONDS gives more",
                 r, h->plan->size, h->plan->seconds, h->n);
}

static rw_status welcome(host *h, int door, double deadline, rw_error *err) {
  struct pollfd *ready = mem_alloc(h->most_guests + 1, sizeof *ready);
  rw_status s = ready ? RW_OK : rw_nomem(err, "ranks");
  while (!s && h->n < h->plan->size) {
    size_t n = h->n_guests;
    ready[0] = (struct pollfd){door, POLLIN, 0};
    for (size_t i = 0; i < n; i++) ready[i + 1] = (struct pollfd){h->guests[i].fd, POLLIN, 0};
    if (poll(ready, (nfds_t)n + 1, ms_until(deadline)) == 0) s = late(h, err);
    for (size_t i = n; !s && i-- > 0;) /* from the end: the last takes the place of one who is done */
      if (ready[i + 1].revents) s = hear(h, i, err);
    if (!s && ready[0].revents) let_in(h, door);
  }
  for (size_t i = 0; i < h->n_guests; i++) close(h->guests[i].fd);
  mem_free(ready);
  return s;
}

/* Who stands beside whom: ranks of one name are of one machine. */
static void seat(const host *h, int r, int *node_rank, int *node_size) {
  *node_rank = *node_size = 0;
  for (int q = 0; q < h->plan->size; q++) {
    if (strcmp(h->came[q].machine, h->came[r].machine) != 0) continue;
    *node_rank += q < r;
    ++*node_size;
  }
  if (h->came[r].local >= 0) *node_rank = h->came[r].local;
}

static rw_status receive_all(meeting *m, const meet_plan *p, const hello *own, rw_error *err) {
  host h = {.plan = p,
            .fd = m->fd,
            .came = mem_zalloc((size_t)p->size, sizeof *h.came),
            .n = 1,
            .most_guests = (size_t)p->size + STRANGERS};
  double deadline = clock_seconds() + p->seconds;
  int door = -1;
  h.guests = mem_alloc(h.most_guests, sizeof *h.guests);
  rw_status s = h.came && h.guests ? open_door(&door, p, err) : rw_nomem(err, "ranks");
  if (!s) {
    h.came[0] = *own;
    s = welcome(&h, door, deadline, err);
  }
  for (int r = p->size - 1; r >= 1; r--) {
    answer a = {MAGIC, (int32_t)s, 0, 0, ""};
    if (m->fd[r] < 0) continue;
    if (s)
      snprintf(a.text, sizeof a.text, "%s", err ? err->text : "");
    else
      seat(&h, r, &a.node_rank, &a.node_size);
    give(m->fd[r], &a, sizeof a); /* one who has gone since is missed by meet_watch */
  }
  if (!s) seat(&h, 0, &m->node_rank, &m->node_size);
  if (door >= 0) close(door);
  mem_free(h.came);
  mem_free(h.guests);
  return s;
}

/* ---- the others ---- */

/* Tries until rank 0 listens. */
static rw_status reach(int *fd, const meet_plan *p, double deadline, rw_error *err) {
  int why = ETIMEDOUT;
  do {
    struct addrinfo *found;
    RW_TRY(find(&found, p, err));
    for (struct addrinfo *a = found; a; a = a->ai_next) {
      *fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
      int bad = *fd < 0 ? errno : 0, len = sizeof bad;
      struct pollfd ready = {*fd, POLLOUT, 0};
      if (!bad && connect(*fd, a->ai_addr, a->ai_addrlen)) bad = errno;
      if (bad == EINPROGRESS && poll(&ready, 1, ms_until(deadline)) > 0)
        getsockopt(*fd, SOL_SOCKET, SO_ERROR, &bad, (socklen_t *)&len);
      if (!bad) return freeaddrinfo(found), block(*fd, true), keep_alive(*fd), RW_OK;
      why = bad == EINPROGRESS ? ETIMEDOUT : bad;
      if (*fd >= 0) close(*fd);
    }
    freeaddrinfo(found);
    nap(TRY_AGAIN_MS);
  } while (clock_seconds() < deadline);
  *fd = -1;
  return rw_fail(err, RW_IO, "rank 0 is not at %s, port %s, within %d s: %s (MASTER_ADDR, MASTER_PORT)", p->host,
                 p->port, p->seconds, strerror(why));
}

static rw_status go_there(meeting *m, const meet_plan *p, const hello *own, rw_error *err) {
  double deadline = clock_seconds() + p->seconds;
  answer a = {.magic = ""};
  RW_TRY(reach(&m->fd[0], p, deadline, err));
  /* rank 0 began to wait no later than this rank could reach it, and tells why it ends */
  bool there = give(m->fd[0], own, sizeof *own) && take(m->fd[0], &a, sizeof a, deadline + p->seconds);
  if (!there || memcmp(a.magic, MAGIC, sizeof MAGIC) != 0)
    return rw_fail(err, RW_IO, "what listens at %s, port %s, is not rank 0 of this run, or has ended%s%s", p->host,
                   p->port, there || errno == 0 ? "" : ": ", there || errno == 0 ? "" : strerror(errno));
  a.text[sizeof a.text - 1] = 0;
  m->node_rank = a.node_rank;
  m->node_size = a.node_size;
  return a.code ? rw_fail(err, (rw_status)a.code, "%s", a.text) : RW_OK;
}

/* ---- together ---- */

static int lines_of(const meeting *m) { return m->rank == 0 ? m->size : 1; }

static void close_all(meeting *m) {
  for (int r = 0; m->fd && r < lines_of(m); r++)
    if (m->fd[r] >= 0) close(m->fd[r]);
  mem_free(m->fd);
  m->fd = NULL;
}

rw_status meet_all(meeting *m, const meet_plan *p, rw_error *err) {
  hello own = {MAGIC, p->rank, p->size, p->local, "", ""};
  *m = (meeting){.rank = p->rank, .size = p->size, .fd = mem_alloc((size_t)p->size, sizeof *m->fd)};
  if (!m->fd) return rw_nomem(err, "ranks");
  for (int r = 0; r < p->size; r++) m->fd[r] = -1;
  memcpy(own.token, p->token, sizeof own.token);
  gethostname(own.machine, sizeof own.machine - 1);
  rw_status s = p->rank == 0 ? receive_all(m, p, &own, err) : go_there(m, p, &own, err);
  if (s) close_all(m);
  return s;
}

static rw_status gone(const meeting *m, int r, rw_error *err) {
  return rw_fail(err, RW_IO, "rank %d of %d is gone", m->rank == 0 ? r : 0, m->size);
}

rw_status meet_tell(meeting *m, void *p, size_t bytes, rw_error *err) {
  for (int r = 1; m->rank == 0 && r < m->size; r++)
    if (!give(m->fd[r], p, bytes)) return gone(m, r, err);
  if (m->rank > 0 && !take(m->fd[0], p, bytes, clock_seconds() + SECONDS)) return gone(m, 0, err);
  return RW_OK;
}

rw_status meet_watch(meeting *m, int *ended, rw_error *err) {
  *ended = -1;
  for (int r = 0; r < lines_of(m); r++) {
    news n;
    if (m->fd[r] < 0) continue;
    ssize_t got = recv(m->fd[r], &n, sizeof n, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got > 0 && (size_t)got < sizeof n) continue; /* the rest is on its way */
    if (got <= 0) return gone(m, r, err);
    recv(m->fd[r], &n, sizeof n, MSG_DONTWAIT);
    if (n.status == LEAVES) {
      close(m->fd[r]);
      m->fd[r] = -1;
    } else {
      *ended = n.status;
      meet_abort(m, n.status); /* rank 0 hands it on */
      return RW_OK;
    }
  }
  return RW_OK;
}

static void say(meeting *m, int status) {
  news n = {"reward news", status};
  for (int r = 0; m->fd && r < lines_of(m); r++)
    if (m->fd[r] >= 0) give(m->fd[r], &n, sizeof n);
}

void meet_abort(meeting *m, int status) { say(m, status); }

void meet_leave(meeting *m) {
  say(m, LEAVES);
  close_all(m);
}
