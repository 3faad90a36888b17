/* http.c - POST requests over libcurl's multi interface.
 *
 * Retried: no connection, a connection lost or too slow, a reply that is cut or no JSON, 408, 425, 429 and 5xx;
 * after waits that double, with jitter, or what Retry-After asks for (429 and 503 then hold back every request).
 * Requests stay with the origin (scheme, host, port) of the URL: a redirect within it is followed, one to another
 * is the run's error, which names it. The key is cut out of every text that a server sends, however JSON may spell
 * it. Limits: a reply of 8 MB, 3 redirects.
 */
#include "eval/http.h"

#include <curl/curl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/rng.h"
#include "format/json.h"

enum { MAX_REPLY = 8 << 20, MAX_REDIRECTS = 3, MAX_IN_A_ROW = 8, CONNECT_SECONDS = 20, POLL_MS = 200 };
static const double LONGEST_BACKOFF = 60, LONGEST_WAIT = 3600;

typedef enum { FREE, WAITING, RUNNING } slot_state;

typedef struct {
  CURL *easy;
  slot_state state;
  size_t id;
  int64_t tries;
  long redirects; /* followed in this try */
  double due;
  str body, reply;
  bool too_long;
  char detail[CURL_ERROR_SIZE];
} slot;

typedef struct {
  const http_options *o;
  const http_job *job;
  http_counts *counts;
  CURLM *multi;
  struct curl_slist *headers;
  slot *slots;
  size_t n, busy;
  bool drained;
  size_t in_a_row;
  double started, next_start, held_until;
  rng jitter;
} runner;

static size_t receive(char *p, size_t size, size_t n, void *ctx) {
  slot *s = ctx;
  if (n > (size_t)MAX_REPLY - s->reply.len) {
    s->too_long = true;
    return 0;
  }
  (void)size; /* always 1 */
  str_add(&s->reply, p, n);
  return s->reply.oom ? 0 : n;
}

static rw_status set_up(runner *r, rw_error *err) {
  const http_options *o = r->o;
  if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0 || !(r->multi = curl_multi_init())) return rw_nomem(err, "HTTP");
  r->headers = curl_slist_append(NULL, "Content-Type: application/json");
  struct curl_slist *plain = r->headers ? curl_slist_append(r->headers, "Expect:") : NULL; /* no 100-continue */
  if (!plain) return rw_nomem(err, "HTTP");
  if (o->key) {
    char *auth = mem_printf("Authorization: Bearer %s", o->key);
    struct curl_slist *more = auth ? curl_slist_append(r->headers, auth) : NULL;
    mem_free(auth);
    if (!more) return rw_nomem(err, "HTTP");
    r->headers = more;
  }
  r->n = (size_t)o->concurrency;
  r->slots = mem_zalloc(r->n, sizeof *r->slots);
  if (!r->slots) return rw_nomem(err, "HTTP");
  for (size_t i = 0; i < r->n; i++) {
    slot *s = &r->slots[i];
    CURL *c = s->easy = curl_easy_init();
    if (!c) return rw_nomem(err, "HTTP");
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, r->headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "reward.c/" REWARD_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, (long)(o->timeout * 1000));
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, receive);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, (void *)s);
    curl_easy_setopt(c, CURLOPT_PRIVATE, (void *)s);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, s->detail);
  }
  return RW_OK;
}

static void tear_down(runner *r) {
  for (size_t i = 0; r->slots && i < r->n; i++) {
    slot *s = &r->slots[i];
    if (s->state == RUNNING) curl_multi_remove_handle(r->multi, s->easy);
    if (s->easy) curl_easy_cleanup(s->easy);
    str_free(&s->body);
    str_free(&s->reply);
  }
  mem_free(r->slots);
  curl_slist_free_all(r->headers);
  if (r->multi) curl_multi_cleanup(r->multi);
}

/* ---- one request's way ---- */

static rw_status start(runner *r, slot *s, double now, rw_error *err) {
  if (s->redirects == 0) curl_easy_setopt(s->easy, CURLOPT_URL, r->o->url);
  str_clear(&s->reply);
  s->too_long = false;
  s->detail[0] = 0;
  curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, s->body.p);
  curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)s->body.len);
  if (curl_multi_add_handle(r->multi, s->easy) != CURLM_OK) return rw_nomem(err, "HTTP");
  s->state = RUNNING;
  r->counts->requests++;
  if (r->o->rate > 0) r->next_start = fmax(r->next_start, now) + 1 / r->o->rate;
  return RW_OK;
}

static rw_status fill_slots(runner *r, double now, double *soonest, rw_error *err) {
  *soonest = now + POLL_MS / 1000.0;
  for (size_t i = 0; i < r->n; i++) {
    slot *s = &r->slots[i];
    if (s->state == FREE && !r->drained) {
      bool more = false;
      str_clear(&s->body);
      RW_TRY(r->job->next(r->job->ctx, &more, &s->id, &s->body, err));
      if (s->body.oom) return rw_nomem(err, "a request");
      r->drained = !more;
      if (!more) continue;
      s->state = WAITING;
      s->due = now;
      s->tries = 0;
      r->busy++;
    }
    if (s->state != WAITING) continue;
    double due = fmax(s->due, fmax(r->held_until, r->next_start));
    if (due <= now)
      RW_TRY(start(r, s, now, err));
    else
      *soonest = fmin(*soonest, due);
  }
  return RW_OK;
}

/* The bytes that spell the key at p, as it is or with JSON's escapes; 0: another text stands there. */
static size_t spelled(const char *p, const char *end, const char *key) {
  const char *at = p;
  for (; *key; key++) {
    char hex[5] = "", *stop;
    if (end - at >= 6 && at[0] == '\\' && at[1] == 'u') memcpy(hex, at + 2, 4);
    if (*hex && strtol(hex, &stop, 16) == *key && stop == hex + 4)
      at += 6;
    else if (end - at >= 2 && at[0] == '\\' && at[1] == *key && strchr("/\\\"", *key))
      at += 2;
    else if (at < end && *at == *key)
      at++;
    else
      return 0;
  }
  return (size_t)(at - p);
}

/* Cuts the key out of what a server sent: no error text, cache or result may hold it. */
static void redact(str *s, const char *key) {
  if (!key || strlen(key) < 4 || !s->p) return;
  const char *end = s->p + s->len;
  for (char *at = s->p; at < end; at++) {
    size_t n = *at == *key || *at == '\\' ? spelled(at, end, key) : 0;
    if (n) memset(at, '*', n), at += n - 1;
  }
}

/* Do two addresses have the same scheme, host and port? */
static bool same_origin(const char *a, const char *b) {
  static const CURLUPart parts[] = {CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT};
  CURLU *u[2] = {curl_url(), curl_url()};
  bool same = u[0] && u[1] && curl_url_set(u[0], CURLUPART_URL, a, 0) == CURLUE_OK &&
              curl_url_set(u[1], CURLUPART_URL, b, 0) == CURLUE_OK;
  for (size_t i = 0; same && i < sizeof parts / sizeof *parts; i++) {
    char *x = NULL, *y = NULL;
    same = curl_url_get(u[0], parts[i], &x, CURLU_DEFAULT_PORT) == CURLUE_OK &&
           curl_url_get(u[1], parts[i], &y, CURLU_DEFAULT_PORT) == CURLUE_OK && strcasecmp(x, y) == 0;
    curl_free(x);
    curl_free(y);
  }
  curl_url_cleanup(u[0]);
  curl_url_cleanup(u[1]);
  return same;
}

/* What the server says of a failure: {"error": {"message"}}, {"error": "…"}, {"message"}, {"detail"}, or its text.
 */
static void server_says(const slot *s, char *out, size_t size) {
  json_doc *d = json_new();
  slice text = {s->reply.p ? s->reply.p : "", s->reply.len};
  rw_error ignored;
  bool known = d && json_parse(d, text.p, text.len, &ignored) == RW_OK; /* then it is UTF-8 */
  if (known) {
    json_val e = json_get(d, 0, "error"), inner = json_get(d, e, "message");
    const json_val places[] = {inner, e, json_get(d, 0, "message"), json_get(d, 0, "detail")};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
      if (json_kind(d, places[i]) == JSON_STRING && places[i] != JSON_NONE) {
        text = json_string(d, places[i]);
        break;
      }
  }
  size_t n = 0;
  for (size_t i = 0; i < text.len && n + 1 < size; i++) {
    unsigned char c = (unsigned char)text.p[i];
    out[n++] = c < 0x20 || c == 0x7f ? ' ' : c < 0x80 || known ? (char)c : '?';
  }
  if (n < text.len) { /* not into the middle of a character */
    while (n > 0 && ((unsigned char)out[n - 1] & 0xC0) == 0x80) n--;
    if (n > 0 && (unsigned char)out[n - 1] >= 0xC0) n--;
  }
  out[n] = 0;
  json_free(d);
}

static bool status_is_passing(long status) {
  return status == 408 || status == 425 || status == 429 || (status >= 500 && status != 501 && status != 505);
}

/* Every request would be answered so. */
static bool status_is_final(long status) {
  return status == 401 || status == 402 || status == 403 || status == 404 || status == 405 || status / 100 == 3;
}

typedef enum { DONE, AGAIN, ELSEWHERE, NEVER, STOP } verdict;

/* A redirect: ELSEWHERE to follow it. */
static verdict judge_redirect(const runner *r, slot *s, long status, const char *to, rw_status *st, rw_error *err) {
  int n = (int)strcspn(to, "?#"); /* what follows may hold a key */
  if (s->redirects >= MAX_REDIRECTS)
    *st = rw_fail(err, RW_IO, "more than %d redirects, the last to %.*s", MAX_REDIRECTS, n, to);
  else if (!same_origin(to, r->o->url))
    *st =
        rw_fail(err, RW_IO,
                "HTTP status %ld: it sends requests on to %.*s, another origin, where nothing was sent; name that "
                "address if it is meant",
                status, n, to);
  if (*st) return STOP;
  curl_easy_setopt(s->easy, CURLOPT_URL, to);
  s->redirects++;
  return ELSEWHERE;
}

/* Looks at a finished transfer. why[]: what went wrong. */
static verdict judge(runner *r, slot *s, CURLcode code, double *wait, char *why, size_t size, rw_status *st,
                     rw_error *err) {
  long status = 0;
  curl_off_t after = 0;
  curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_getinfo(s->easy, CURLINFO_RETRY_AFTER, &after);
  *wait = after > 0 ? fmin((double)after, LONGEST_WAIT) : 0;
  if (s->reply.oom) {
    *st = rw_nomem(err, "a reply");
    return STOP;
  }
  redact(&s->reply, r->o->key);
  if (s->too_long) {
    snprintf(why, size, "the reply is over %d MB", MAX_REPLY >> 20);
    return NEVER;
  }
  if (code != CURLE_OK) {
    const char *what = s->detail[0] ? s->detail : curl_easy_strerror(code);
    snprintf(why, size, "%s", what);
    bool usage =
        code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL || code == CURLE_SSL_CACERT_BADFILE;
    if (usage || code == CURLE_PEER_FAILED_VERIFICATION) {
      *st = rw_fail(err, RW_IO, "%s", why);
      return STOP;
    }
    return AGAIN;
  }
  if (status / 100 == 2) {
    rw_error e = {0};
    *st = r->job->reply(r->job->ctx, s->id, (slice){s->reply.p ? s->reply.p : "", s->reply.len}, &e);
    if (!*st) return DONE;
    snprintf(why, size, "%.400s", e.text);
    if (*st == RW_DATA) {
      *st = RW_OK;
      return AGAIN;
    }
    if (err) *err = e;
    return STOP;
  }
  char *to = NULL;
  if (status / 100 == 3) curl_easy_getinfo(s->easy, CURLINFO_REDIRECT_URL, &to);
  if (to) return judge_redirect(r, s, status, to, st, err);
  char says[160];
  server_says(s, says, sizeof says);
  snprintf(why, size, "HTTP status %ld%s%s", status, says[0] ? ": " : "", says);
  if (status == 429) r->counts->rate_limited++;
  if (*wait > 0 && (status == 429 || status == 503)) r->held_until = fmax(r->held_until, clock_seconds() + *wait);
  if (status_is_final(status)) {
    *st = rw_fail(err, RW_IO, "%s", why);
    return STOP;
  }
  return status_is_passing(status) ? AGAIN : NEVER;
}

static rw_status finish(runner *r, slot *s, CURLcode code, rw_error *err) {
  char why[512] = "";
  double wait = 0;
  rw_status st = RW_OK;
  curl_multi_remove_handle(r->multi, s->easy);
  s->state = WAITING;
  verdict v = judge(r, s, code, &wait, why, sizeof why, &st, err);
  if (v == STOP) return st;
  if (v == ELSEWHERE) return start(r, s, clock_seconds(), err);
  s->redirects = 0;
  if (v == AGAIN && s->tries < r->o->retries) {
    double backoff = fmin(r->o->retry_wait * ldexp(1, (int)fmin((double)s->tries, 30)), LONGEST_BACKOFF);
    s->tries++;
    r->counts->retried++;
    s->due = clock_seconds() + fmax(wait, backoff * (0.5 + 0.5 * rng_uniform(&r->jitter)));
    return RW_OK;
  }
  s->state = FREE;
  r->busy--;
  if (v == DONE) {
    r->in_a_row = 0;
    return RW_OK;
  }
  RW_TRY(r->job->failed(r->job->ctx, s->id, why, err));
  if (++r->in_a_row < MAX_IN_A_ROW) return RW_OK;
  return rw_fail(err, RW_IO, "%d requests in a row failed, the last with: %s", MAX_IN_A_ROW, why);
}

static rw_status turn(runner *r, rw_error *err) {
  double now = clock_seconds(), soonest;
  if (log_interrupted(r->o->context)) return rw_fail(err, RW_INTERRUPTED, "interrupted");
  if (r->o->total_timeout > 0 && now - r->started > r->o->total_timeout)
    return rw_fail(err, RW_IO, "the %g s of " FIELD(total_timeout) " are over", r->o->total_timeout);
  RW_TRY(fill_slots(r, now, &soonest, err));
  int running;
  if (curl_multi_perform(r->multi, &running) != CURLM_OK) return rw_nomem(err, "HTTP");
  int left;
  bool any = false;
  for (CURLMsg *m; (m = curl_multi_info_read(r->multi, &left));) {
    if (m->msg != CURLMSG_DONE) continue;
    slot *s = NULL;
    CURLcode code = m->data.result;
    curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
    RW_TRY(finish(r, s, code, err));
    any = true;
  }
  int ms = (int)ceil((soonest - clock_seconds()) * 1000);
  if (!any && r->busy > 0) curl_multi_poll(r->multi, NULL, 0, ms < 1 ? 1 : ms, NULL);
  return RW_OK;
}

rw_status http_run(const http_options *o, const http_job *job, http_counts *counts, rw_error *err) {
  runner r = {.o = o, .job = job, .counts = counts, .started = clock_seconds(), .jitter = rng_new(o->seed, 0)};
  rw_status st = set_up(&r, err);
  while (!st && (!r.drained || r.busy > 0)) st = turn(&r, err);
  tear_down(&r);
  return st;
}
