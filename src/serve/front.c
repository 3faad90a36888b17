/* front.c - one listener for all protocols, on libmicrohttpd's threads.
 *
 * A request's life: headers (refused at once where they already say so: path, key, length), body (collected up to
 * max_body), then on the same thread parsed and rendered. With something to score the connection is suspended until
 * the queue's thread has the last result; it is resumed then, and the answer is written on a connection's thread
 * again. A client that goes away meanwhile is met when its answer is sent; nobody waits for it.
 */
#include "serve/front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "serve/client.h"
#include "serve/protocols.h"
#include "serve/routes.h"

enum { FRONT_THREADS = 4, HEADER_BYTES = 64 << 10 };

struct front {
  server *s;
  rw_context *context;
  struct MHD_Daemon *daemon;
  clients *clients;
  int fd;
  char *unix_path; /* to be removed at the end */
  str cert, key;
  FILE *log;
  pthread_mutex_t logging;
  atomic_uint_fast64_t numbers;
  atomic_int working; /* requests that were read whole and are not answered */
};

/* A request and its connection. */
typedef struct {
  request q;
  ticket t;
  front *f;
  struct MHD_Connection *connection;
  client *client;
  double began, read, answered; /* clock_seconds */
  int status;                   /* 0: not known yet */
  double retry;                 /* seconds, of 429 and 503 */
  str out;
  bool too_long, whole, scored, working;
  size_t body_seen;
} exchange;

static void exchange_free(exchange *x) {
  request_free(&x->q);
  str_free(&x->out);
  mem_free(x);
}

/* ---- refusals ---- */

static void refuse(exchange *x, int status, const char *why) {
  char text[sizeof((rw_error *)0)->text];
  snprintf(text, sizeof text, "%s", why);
  field_spell(text, false); /* a client knows fields, not options */
  json_writer w = {.out = &x->out};
  refusal words = x->q.refuse                        ? x->q.refuse
                  : x->q.route && x->q.route->refuse ? x->q.route->refuse
                                                     : refuse_as_openai;
  str_clear(&x->out);
  x->status = words(&w, status, text);
}

static int status_of(const exchange *x, const rw_error *err) {
  if (x->q.refused) return x->q.refused;
  switch (err->code) {
    case RW_DATA:
    case RW_USAGE: return 400;
    case RW_UNSUPPORTED: return 422;
    case RW_NOMEM: return 503;
    default: return 500;
  }
}

static void refuse_error(exchange *x, const rw_error *err) { refuse(x, status_of(x, err), err->text); }

/* ---- the key ---- */

/* In a time that does not tell how much of it is right. */
static bool key_is(const char *given, const char *key) {
  size_t n = strlen(key), m = strlen(given);
  unsigned differ = n != m;
  for (size_t i = 0; i < n; i++) differ |= (unsigned char)(key[i] ^ given[m ? i % m : 0]);
  return differ == 0;
}

static bool allowed(const exchange *x) {
  const char *key = server_options(x->f->s)->api_key;
  if (!key || x->q.route->open) return true;
  const char *header = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Authorization");
  return header && strncmp(header, "Bearer ", 7) == 0 && key_is(header + 7, key);
}

/* ---- scoring ---- */

static void write_answer(exchange *x) {
  request *q = &x->q;
  for (size_t i = 0; !q->route->partial && i < q->n; i++) {
    const serve_item *it = &q->items[i];
    if (!it->error) continue;
    char why[400];
    if (q->n > 1)
      snprintf(why, sizeof why, "item %zu: %s", i, it->error);
    else
      snprintf(why, sizeof why, "%s", it->error);
    if (it->status == 503) x->retry = 1;
    refuse(x, it->status, why);
    return;
  }
  rw_error err;
  if (q->route->answer(q, &x->out, &err))
    refuse_error(x, &err);
  else if (x->out.oom)
    refuse(x, 503, "memory ran out");
  else
    x->status = 200;
}

/* From the queue's thread: the connection's own goes on from here. */
static void on_scored(void *ctx) {
  exchange *x = ctx;
  x->scored = true;
  MHD_resume_connection(x->connection);
}

/* Parses, renders and queues. true: the connection is suspended. */
static bool begin_work(exchange *x) {
  request *q = &x->q;
  rw_error err;
  rw_status s = RW_OK;
  if (q->route->read) {
    q->lines = false;
    const char *type = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Type");
    if (type && strstr(type, "ndjson")) q->lines = true;
    s = request_read(q, &err);
    if (!s) s = hosted_render(q->model, q, server_options(x->f->s), &err);
    if (s) refuse_error(x, &err);
  }
  if (s) return false;
  size_t ready = 0;
  for (size_t i = 0; i < q->n; i++) ready += !q->items[i].error;
  bool whole = q->route->partial || ready == q->n;
  if (ready == 0 || !whole) {
    write_answer(x);
    return false;
  }
  x->t = (ticket){.q = q, .done = on_scored, .ctx = x};
  MHD_suspend_connection(x->connection); /* before anybody can resume it */
  if (queue_add(hosted_queue(q->model), &x->t, &x->retry)) return true;
  refuse(x, 429, "too many tokens wait already; try again later");
  MHD_resume_connection(x->connection);
  return true;
}

/* ---- the log ---- */

static void log_line(exchange *x) {
  front *f = x->f;
  if (!f->log) return;
  struct timespec now;
  struct tm day;
  char at[40];
  clock_gettime(CLOCK_REALTIME, &now);
  gmtime_r(&now.tv_sec, &day);
  strftime(at, sizeof at, "%Y-%m-%dT%H:%M:%S", &day);
  str s = {0};
  json_writer w = {.out = &s};
  jw_object(&w, NULL);
  snprintf(at + strlen(at), sizeof at - strlen(at), ".%03ldZ", now.tv_nsec / 1000000);
  jw_string(&w, "time", at);
  jw_string(&w, "path", x->q.route ? x->q.route->path : "unknown");
  jw_int(&w, "status", x->status);
  jw_uint(&w, "items", x->q.n);
  jw_uint(&w, "tokens", x->q.tokens);
  jw_uint(&w, "bytes", x->body_seen);
  jw_num(&w, "ms", (double)(int64_t)((x->answered - x->began) * 1e5) / 100);
  jw_end(&w);
  str_addc(&s, '\n');
  pthread_mutex_lock(&f->logging);
  if (!s.oom) {
    fwrite(s.p, 1, s.len, f->log);
    fflush(f->log);
  }
  pthread_mutex_unlock(&f->logging);
  str_free(&s);
}

/* ---- libmicrohttpd's calls ---- */

static enum MHD_Result send_answer(exchange *x) {
  struct MHD_Response *r =
      MHD_create_response_from_buffer(x->out.len, x->out.p ? x->out.p : (char *)"", MHD_RESPMEM_MUST_COPY);
  if (!r) return MHD_NO;
  const char *type = x->status == 200 && x->q.route && x->q.route->type ? x->q.route->type : NULL;
  if (!type) type = x->q.lines && x->status == 200 ? "application/x-ndjson" : "application/json";
  MHD_add_response_header(r, "Content-Type", type);
  if (x->status == 200 && x->q.route && x->q.route->headers)
    for (const char *const *h = x->q.route->headers; *h; h += 2) MHD_add_response_header(r, h[0], h[1]);
  char text[32];
  if (x->status == 401) MHD_add_response_header(r, "WWW-Authenticate", "Bearer");
  if (x->status == 429 || x->status == 503) {
    snprintf(text, sizeof text, "%.0f", x->retry > 0 ? x->retry : 1);
    MHD_add_response_header(r, "Retry-After", text);
  }
  if (x->status == 405) MHD_add_response_header(r, "Allow", x->q.route ? x->q.route->method : "POST");
  x->answered = clock_seconds();
  meter_answer(server_meter(x->f->s), x->q.route ? x->q.route->path : "", x->status, x->answered - x->read);
  log_line(x);
  client_takes(x->client, x->out.len);
  enum MHD_Result sent = MHD_queue_response(x->connection, (unsigned)x->status, r);
  MHD_destroy_response(r);
  return sent;
}

/* A body that nobody will read is let come all the same, up to this: an answer before its end would be lost on a
 * client that is still sending, since the connection closes behind it. */
static uint64_t most_dropped(const front *f) { return 2 * (uint64_t)server_options(f->s)->max_body + (1 << 20); }

/* A request that is refused before its body: one that asks whether to send it, or would send too much. */
static bool answered_early(const exchange *x) {
  const char *length = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Content-Length"),
             *expect = MHD_lookup_connection_value(x->connection, MHD_HEADER_KIND, "Expect");
  return x->status && (expect || (length && strtoull(length, NULL, 10) > most_dropped(x->f)));
}

static exchange *exchange_new(front *f, struct MHD_Connection *c, const char *path, const char *method) {
  exchange *x = mem_zalloc(1, sizeof *x);
  if (!x) return NULL;
  const union MHD_ConnectionInfo *from = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
  *x = (exchange){.f = f, .connection = c, .client = from->socket_context, .began = clock_seconds()};
  x->read = x->began;
  request *q = &x->q;
  q->server = f->s;
  q->sigmoid = server_options(f->s)->sigmoid;
  q->number = atomic_fetch_add(&f->numbers, 1) ^ ((uint64_t)server_started(f->s) << 24);
  q->doc = json_new();
  q->mem = arena_new();
  q->model = server_model(f->s, (slice){0});
  if (!q->doc || !q->mem || !q->model) { /* no model: the server has ended */
    exchange_free(x);
    return NULL;
  }
  bool known;
  q->route = routes_find(path, method, &known);
  const serve_options *o = server_options(f->s);
  const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length"),
             *name = MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, "key"),
             *format = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "reward_format");
  if (!format) format = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "reward-format");
  if (name) q->key_arg = arena_strndup(q->mem, name, strlen(name));
  if (format) q->format_header = arena_strndup(q->mem, format, strlen(format));
  if (q->route && q->route->rest) {
    const char *rest = path + strlen(q->route->path);
    q->rest = arena_strndup(q->mem, rest, strlen(rest));
  }
  if (!q->route && known) {
    q->route = routes_find(path, NULL, &known); /* for its words */
    refuse(x, 405, "this path takes another method");
  } else if (!q->route) {
    refuse(x, 404, "no such path; GET / and docs/serving.md name those that there are");
  } else if (!allowed(x)) {
    refuse(x, 401, "expected the server's key as \"Authorization: Bearer KEY\"");
  } else if (length && strtoull(length, NULL, 10) > (uint64_t)o->max_body) {
    refuse(x, 413, "the body is longer than the server takes");
  } else if (server_draining(f->s) && q->route->read) {
    x->retry = 5;
    refuse(x, 503, "the server is ending");
  }
  return x;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
                                  const char *version, const char *data, size_t *n, void **state) {
  front *f = cls;
  exchange *x = *state;
  (void)version;
  if (!x) {
    *state = x = exchange_new(f, c, url, method);
    if (!x) return MHD_NO;
    atomic_fetch_add(&server_meter(f->s)->requests, 1);
    client_reads(x->client);
    return answered_early(x) ? send_answer(x) : MHD_YES;
  }
  if (*n > 0) {
    uint64_t most = (uint64_t)server_options(f->s)->max_body;
    x->body_seen += *n;
    client_sent(x->client, *n);
    x->too_long |= x->body_seen > most;
    if (x->body_seen > most_dropped(f)) return MHD_NO;
    if (!x->too_long && !x->status) str_add(&x->q.body, data, *n);
    *n = 0;
    return MHD_YES;
  }
  if (x->scored) {
    write_answer(x);
    return send_answer(x);
  }
  if (x->status) return send_answer(x);
  /* libmicrohttpd calls again at once, and from then on reads nothing before the answer. Suspended at this call it
   * would read when it is resumed, and take a client that has closed its own side, and listens, as gone. */
  if (!x->whole) return x->whole = true, MHD_YES;
  x->read = clock_seconds();
  client_waits(x->client);
  x->working = true;
  atomic_fetch_add(&f->working, 1);
  if (x->too_long)
    refuse(x, 413, "the body is longer than the server takes");
  else if (x->q.body.oom)
    refuse(x, 503, "memory ran out");
  else if (begin_work(x))
    return MHD_YES;
  return send_answer(x);
}

static void on_end(void *cls, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode code) {
  front *f = cls;
  (void)c;
  (void)code;
  exchange *x = *state;
  if (!x) return;
  if (x->working) atomic_fetch_sub(&f->working, 1);
  client_idle(x->client);
  exchange_free(x);
  *state = NULL;
  atomic_fetch_sub(&server_meter(f->s)->requests, 1);
}

static void on_connection(void *cls, struct MHD_Connection *c, void **state,
                          enum MHD_ConnectionNotificationCode code) {
  front *f = cls;
  bool opened = code == MHD_CONNECTION_NOTIFY_STARTED;
  if (opened)
    *state = client_new(f->clients, MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd);
  else
    client_gone(f->clients, *state);
  atomic_fetch_add(&server_meter(f->s)->connections, opened ? 1 : -1);
}

/* ---- opening ---- */

static rw_status listen_unix(front *f, const char *path, rw_error *err) {
  struct sockaddr_un a = {.sun_family = AF_UNIX};
  if (!*path || strlen(path) >= sizeof a.sun_path)
    return rw_fail(err, RW_USAGE, FIELD(listen) ": unix:%s: expected a path of 1 to %zu bytes", path,
                   sizeof a.sun_path - 1);
  memcpy(a.sun_path, path, strlen(path));
  struct stat st;
  if (lstat(path, &st) == 0) { /* a socket that nobody answers on is left from before */
    int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool dead = S_ISSOCK(st.st_mode) && probe >= 0 && connect(probe, (struct sockaddr *)&a, sizeof a) < 0 &&
                errno == ECONNREFUSED;
    if (probe >= 0) close(probe);
    if (!dead || unlink(path)) return rw_fail(err, RW_IO, FIELD(listen) ": %s is there already", path);
  }
  f->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  mode_t mask = umask(0177); /* this user's alone */
  int bad = f->fd < 0 || bind(f->fd, (struct sockaddr *)&a, sizeof a) || listen(f->fd, SOMAXCONN);
  umask(mask);
  if (bad) return rw_fail(err, RW_IO, FIELD(listen) ": %s: %s", path, strerror(errno));
  f->unix_path = mem_strndup(path, strlen(path));
  return f->unix_path ? RW_OK : rw_nomem(err, path);
}

static rw_status listen_inet(front *f, const char *spec, char **url, rw_error *err) {
  char host[256] = "127.0.0.1", port[16];
  const char *colon = strrchr(spec, ':');
  if (!colon || !colon[1] || strlen(colon + 1) >= sizeof port || (size_t)(colon - spec) >= sizeof host)
    return rw_fail(err, RW_USAGE, FIELD(listen) ": expected ADDR:PORT or unix:PATH, got %s", spec);
  snprintf(port, sizeof port, "%s", colon + 1);
  if (strspn(port, "0123456789") != strlen(port) || atol(port) > UINT16_MAX) /* more would be taken modulo 65536 */
    return rw_fail(err, RW_USAGE, FIELD(listen) ": %s: expected a port of 0 to %d", spec, UINT16_MAX);
  if (colon > spec) snprintf(host, sizeof host, "%.*s", (int)(colon - spec), spec);
  size_t n = strlen(host);
  if (host[0] == '[' && host[n - 1] == ']') {
    memmove(host, host + 1, n - 2);
    host[n - 2] = 0;
  }
  struct addrinfo hints = {.ai_family = AF_UNSPEC,
                           .ai_socktype = SOCK_STREAM,
                           .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                  *found = NULL;
  int bad = getaddrinfo(host, port, &hints, &found);
  if (bad) return rw_fail(err, RW_USAGE, FIELD(listen) ": %s: %s", spec, gai_strerror(bad));
  f->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  int on = 1;
  bad = f->fd < 0 || setsockopt(f->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) ||
        bind(f->fd, found->ai_addr, found->ai_addrlen) || listen(f->fd, SOMAXCONN);
  int why = errno;
  freeaddrinfo(found);
  if (bad) return rw_fail(err, RW_IO, FIELD(listen) ": %s: %s", spec, strerror(why));
  union {
    struct sockaddr a;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
  } at = {.v6 = {0}};
  socklen_t len = sizeof at;
  if (getsockname(f->fd, &at.a, &len)) return rw_fail(err, RW_IO, FIELD(listen) ": %s: %s", spec, strerror(errno));
  unsigned number = ntohs(at.a.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
  const char *scheme = server_options(f->s)->tls_cert ? "https" : "http";
  *url = mem_printf(strchr(host, ':') ? "%s://[%s]:%u" : "%s://%s:%u", scheme, host, number);
  return *url ? RW_OK : rw_nomem(err, spec);
}

static void more_files(int64_t connections) {
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur >= (rlim_t)connections + 256) return;
  r.rlim_cur = (rlim_t)connections + 256 < r.rlim_max ? (rlim_t)connections + 256 : r.rlim_max;
  setrlimit(RLIMIT_NOFILE, &r);
}

static rw_status start(front *f, rw_error *err) {
  const serve_options *o = server_options(f->s);
  struct MHD_OptionItem tls[] = {{MHD_OPTION_HTTPS_MEM_CERT, 0, f->cert.p},
                                 {MHD_OPTION_HTTPS_MEM_KEY, 0, f->key.p},
                                 {MHD_OPTION_END, 0, NULL}};
  unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | (o->tls_cert ? MHD_USE_TLS : 0);
  f->daemon = MHD_start_daemon(
      flags, 0, NULL, NULL, on_request, f, MHD_OPTION_LISTEN_SOCKET, f->fd, MHD_OPTION_THREAD_POOL_SIZE,
      (unsigned)FRONT_THREADS, MHD_OPTION_CONNECTION_LIMIT, (unsigned)o->max_connections,
      MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)CLIENT_IDLE_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
      (size_t)HEADER_BYTES, MHD_OPTION_NOTIFY_COMPLETED, on_end, f, MHD_OPTION_NOTIFY_CONNECTION, on_connection, f,
      MHD_OPTION_ARRAY, o->tls_cert ? tls : tls + 2, MHD_OPTION_END);
  if (f->daemon) return RW_OK;
  return rw_fail(
      err, RW_IO, FIELD(listen) ": %s: the HTTP server does not start%s", o->listen,
      o->tls_cert ? "; are " FIELD(tls_cert) " and " FIELD(tls_key) " a certificate and its key, as PEM?" : "");
}

/* A file is appended to as all that is taken up again is (file_open_append); a terminal or pipe as it is. */
static rw_status open_log(FILE **log, const char *path, rw_error *err) {
  struct stat st;
  int fd = -1;
  bool as_is = strcmp(path, "-") != 0 && stat(path, &st) == 0 && !S_ISREG(st.st_mode);
  if (strcmp(path, "-") == 0) return *log = stderr, RW_OK;
  if (!as_is) RW_TRY(file_open_append(&fd, path, err));
  *log = as_is ? fopen(path, "ae") : fdopen(fd, "a");
  if (*log) return RW_OK;
  rw_status s = rw_fail(err, RW_IO, "%s: cannot open: %s", path, strerror(errno));
  if (fd >= 0) close(fd);
  return s;
}

rw_status front_open(front **out, server *s, rw_context *context, char **url, rw_error *err) {
  front *f = mem_zalloc(1, sizeof *f);
  *url = NULL;
  if (!f) return rw_nomem(err, "the server");
  *f = (front){.s = s, .context = context, .fd = -1};
  pthread_mutex_init(&f->logging, NULL);
  const serve_options *o = server_options(s);
  more_files(o->max_connections);
  rw_status st = RW_OK;
  if (o->tls_cert) st = file_read(o->tls_cert, 1 << 20, &f->cert, err);
  if (!st && o->tls_key) st = file_read(o->tls_key, 1 << 20, &f->key, err);
  if (!st && o->access_log) {
    st = open_log(&f->log, o->access_log, err);
    if (st) rw_prefix(err, st, FIELD(access_log));
  }
  bool local = strncmp(o->listen, "unix:", 5) == 0;
  if (!st) st = local ? listen_unix(f, o->listen + 5, err) : listen_inet(f, o->listen, url, err);
  if (!st) st = clients_open(&f->clients, o->client_timeout, &server_meter(s)->late, err);
  if (!st && local && !(*url = mem_printf("%s", o->listen))) st = rw_nomem(err, o->listen);
  if (!st) st = start(f, err);
  if (st) {
    mem_free(*url);
    *url = NULL;
    front_close(f);
    return st;
  }
  *out = f;
  return RW_OK;
}

void front_quiesce(front *f) {
  int fd = MHD_quiesce_daemon(f->daemon);
  if (fd >= 0) close(fd);
  f->fd = -1;
}

int front_working(const front *f) { return f->working; }
int front_reading(const front *f) { return server_meter(f->s)->requests - f->working; }

void front_close(front *f) {
  if (!f) return;
  if (f->daemon)
    MHD_stop_daemon(f->daemon); /* closes the listening socket, unless quiesced */
  else if (f->fd >= 0)
    close(f->fd);
  clients_close(f->clients);
  if (f->unix_path) unlink(f->unix_path);
  if (f->log && f->log != stderr) fclose(f->log);
  mem_free(f->unix_path);
  str_free(&f->cert);
  str_free(&f->key);
  pthread_mutex_destroy(&f->logging);
  mem_free(f);
}
