/* client.c - the watch over connections. */
#include "serve/client.h"

#include <linux/sockios.h>
#include <linux/tcp.h> /* the C library's tcp_info is older and counts no bytes */
#include <netinet/in.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"

typedef enum { CLIENT_IDLE, CLIENT_READS, CLIENT_WAITS, CLIENT_TAKES } client_state;

struct client {
  client *prev, *next;
  int fd;
  bool ended; /* the watch's own, as are `begun` and `before` */
  /* The watch reads these while the connection's thread sets them: the state last, so that no state is seen with an
   * older time. */
  _Atomic double since;
  atomic_uint_fast64_t bytes; /* idle: that the connection had received before; else of the body or answer */
  atomic_int state;
  double begun;    /* since when an idle connection has sent a part of a request; 0: it has not */
  uint64_t before; /* bytes received before that request: those that come later belong to another */
};

struct clients {
  double seconds;
  atomic_uint_fast64_t *ended;
  pthread_mutex_t lock; /* guards the list, and each fd in it from being closed */
  pthread_cond_t wake;
  pthread_t watch;
  bool closing;
  client *first;
};

/* Bytes that a TCP connection has received; of others 0. */
static uint64_t received(int fd) {
  struct tcp_info info = {0};
  socklen_t n = sizeof info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n) ? 0 : info.tcpi_bytes_received;
}

static bool idle_late(client *c, double waited, double now, double seconds) {
  uint64_t before = c->bytes;
  bool begun = received(c->fd) != before;
  if (!begun || c->begun == 0 || before != c->before) c->begun = begun ? now : 0;
  c->before = before;
  return (begun && now - c->begun > seconds) || waited > CLIENT_IDLE_SECONDS + seconds;
}

/* Whether the server itself holds the connection up: bytes came that it has not read, or it has none on their way.
 */
static bool ours(const client *c, bool takes) {
  int n = 0;
  if (ioctl(c->fd, takes ? SIOCOUTQ : FIONREAD, &n)) return false;
  return takes ? n == 0 : n > 0;
}

static bool late(client *c, double now, double seconds) {
  int state = c->state;
  double waited = now - c->since;
  bool is = state == CLIENT_IDLE ? idle_late(c, waited, now, seconds)
                                 : state != CLIENT_WAITS && waited > seconds + (double)c->bytes / CLIENT_RATE;
  return is && !ours(c, state == CLIENT_TAKES);
}

static void *watch(void *ctx) {
  clients *all = ctx;
  pthread_mutex_lock(&all->lock);
  while (!all->closing) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    at.tv_sec++;
    pthread_cond_timedwait(&all->wake, &all->lock, &at);
    double now = clock_seconds();
    for (client *c = all->first; c; c = c->next)
      if (!c->ended && late(c, now, all->seconds)) {
        c->ended = true;
        shutdown(c->fd, SHUT_RDWR); /* its thread meets the end and closes it */
        atomic_fetch_add(all->ended, 1);
      }
  }
  pthread_mutex_unlock(&all->lock);
  return NULL;
}

rw_status clients_open(clients **out, double seconds, atomic_uint_fast64_t *ended, rw_error *err) {
  clients *all = mem_zalloc(1, sizeof *all);
  if (!all) return rw_nomem(err, "the connections");
  all->seconds = seconds;
  all->ended = ended;
  pthread_mutex_init(&all->lock, NULL);
  pthread_cond_init(&all->wake, NULL);
  if (seconds > 0 && pthread_create(&all->watch, NULL, watch, all)) {
    mem_free(all);
    return rw_nomem(err, "the connections' thread");
  }
  *out = all;
  return RW_OK;
}

void clients_close(clients *all) {
  if (!all) return;
  pthread_mutex_lock(&all->lock);
  all->closing = true;
  pthread_cond_signal(&all->wake);
  pthread_mutex_unlock(&all->lock);
  if (all->seconds > 0) pthread_join(all->watch, NULL);
  pthread_mutex_destroy(&all->lock);
  pthread_cond_destroy(&all->wake);
  mem_free(all);
}

client *client_new(clients *all, int fd) {
  client *c = mem_zalloc(1, sizeof *c);
  if (!c) return NULL;
  c->fd = fd;
  c->since = clock_seconds();
  pthread_mutex_lock(&all->lock);
  c->next = all->first;
  if (c->next) c->next->prev = c;
  all->first = c;
  pthread_mutex_unlock(&all->lock);
  return c;
}

void client_gone(clients *all, client *c) {
  if (!c) return;
  pthread_mutex_lock(&all->lock);
  if (c->next) c->next->prev = c->prev;
  *(c->prev ? &c->prev->next : &all->first) = c->next;
  pthread_mutex_unlock(&all->lock);
  mem_free(c);
}

static void set_state(client *c, client_state state, uint64_t bytes) {
  if (!c) return;
  c->since = clock_seconds();
  c->bytes = bytes;
  c->state = (int)state;
}

void client_idle(client *c) {
  if (c) set_state(c, CLIENT_IDLE, received(c->fd));
}

void client_reads(client *c) { set_state(c, CLIENT_READS, 0); }
void client_waits(client *c) { set_state(c, CLIENT_WAITS, 0); }
void client_takes(client *c, size_t n_bytes) { set_state(c, CLIENT_TAKES, n_bytes); }

void client_sent(client *c, size_t n) {
  if (c) c->bytes += n;
}
