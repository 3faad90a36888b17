/* tensorboard.c - TFRecords of Event messages (see tensorboard.h). Little-endian machines only, as the rest. */
#include "train/tensorboard.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <math.h>
#include <string.h>
#include <time.h>

struct tensorboard {
  lines *f;
  char *path;
};

/* ---- framing ---- */

/* CRC-32C (Castagnoli, reflected 0x82f63b78), masked as TensorFlow does: rotated right by 15, plus a constant. */
static uint32_t masked_crc(const void *p, size_t n) {
  const uint8_t *b = p;
  uint32_t c = 0xffffffff;
  for (size_t i = 0; i < n; i++) {
    c ^= b[i];
    for (int k = 0; k < 8; k++) c = (c >> 1) ^ (c & 1 ? 0x82f63b78 : 0);
  }
  c = ~c;
  return ((c >> 15) | (c << 17)) + 0xa282ead8;
}

static rw_status write_record(tensorboard *t, const str *event, rw_error *err) {
  uint64_t len = event->len;
  uint32_t len_crc = masked_crc(&len, sizeof len), crc = masked_crc(event->p, event->len);
  if (event->oom) return rw_nomem(err, t->path);
  str record = {0};
  str_add(&record, (const char *)&len, sizeof len);
  str_add(&record, (const char *)&len_crc, sizeof len_crc);
  str_add(&record, event->p, event->len);
  str_add(&record, (const char *)&crc, sizeof crc);
  rw_status s = record.oom ? rw_nomem(err, t->path) : lines_add(t->f, (slice){record.p, record.len}, err);
  str_free(&record);
  return s;
}

/* ---- messages: a field is its number and wire type, then its value ---- */

enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };
enum { EVENT_WALL_TIME = 1, EVENT_STEP = 2, EVENT_FILE_VERSION = 3, EVENT_SUMMARY = 5, EVENT_SESSION_LOG = 7 };
enum { SUMMARY_VALUE = 1, VALUE_TAG = 1, VALUE_SIMPLE = 2, SESSION_STATUS = 1, SESSION_START = 1 };

static void varint(str *s, uint64_t v) {
  for (; v > 127; v >>= 7) str_addc(s, (char)(v | 128));
  str_addc(s, (char)v);
}
static void key(str *s, int field, int wire) { varint(s, (uint64_t)(field << 3 | wire)); }
static void bytes(str *s, int field, const char *p, size_t n) {
  key(s, field, BYTES);
  varint(s, n);
  str_add(s, p, n);
}

static void event_head(str *s, int64_t step) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  double wall = (double)now.tv_sec + (double)now.tv_nsec / 1e9;
  key(s, EVENT_WALL_TIME, FIXED64);
  str_add(s, (const char *)&wall, sizeof wall);
  key(s, EVENT_STEP, VARINT);
  varint(s, (uint64_t)step);
}

/* Adds one scalar to a summary; what is not finite is left out. */
static void scalar(str *summary, double v, const char *a, const char *b, const char *c) {
  if (!isfinite(v)) return;
  str tag = {0}, value = {0};
  float f = (float)v;
  str_printf(&tag, "%s%s%s", a, b, c);
  bytes(&value, VALUE_TAG, tag.p ? tag.p : "", tag.len);
  key(&value, VALUE_SIMPLE, FIXED32);
  str_add(&value, (const char *)&f, sizeof f);
  bytes(summary, SUMMARY_VALUE, value.p ? value.p : "", value.len);
  summary->oom |= tag.oom | value.oom;
  str_free(&tag);
  str_free(&value);
}

static rw_status write_summary(tensorboard *t, int64_t step, str *summary, rw_error *err) {
  str event = {0};
  event_head(&event, step);
  bytes(&event, EVENT_SUMMARY, summary->p ? summary->p : "", summary->len);
  event.oom |= summary->oom;
  rw_status s = write_record(t, &event, err);
  str_free(&event);
  str_free(summary);
  return s;
}

/* ---- the run ---- */

static rw_status write_start(tensorboard *t, int64_t step, rw_error *err) {
  str version = {0}, start = {0}, log = {0};
  event_head(&version, 0);
  bytes(&version, EVENT_FILE_VERSION, "brain.Event:2", strlen("brain.Event:2"));
  key(&log, SESSION_STATUS, VARINT);
  varint(&log, SESSION_START);
  event_head(&start, step);
  bytes(&start, EVENT_SESSION_LOG, log.p ? log.p : "", log.len);
  rw_status s = write_record(t, &version, err);
  if (!s && step > 0) s = write_record(t, &start, err);
  str_free(&version);
  str_free(&start);
  str_free(&log);
  return s;
}

/* What earlier runs left there; files of others stay. */
static rw_status remove_events(const char *dir, rw_error *err) {
  DIR *d = opendir(dir);
  rw_status s = RW_OK;
  if (!d) return errno == ENOENT ? RW_OK : rw_fail(err, RW_IO, "%s: cannot list: %s", dir, strerror(errno));
  for (struct dirent *e; !s && (e = readdir(d));) {
    if (fnmatch("events.out.tfevents.*.reward", e->d_name, 0) != 0) continue;
    char *path = file_join(dir, e->d_name);
    s = path ? file_remove(path, err) : rw_nomem(err, dir);
    mem_free(path);
  }
  closedir(d);
  return s;
}

rw_status tensorboard_open(tensorboard **out, const char *run_dir, int64_t step, rw_context *context,
                           rw_error *err) {
  *out = NULL;
  char *dir = file_join(run_dir, "tensorboard");
  tensorboard *t = mem_zalloc(1, sizeof *t);
  rw_status s = dir && t ? RW_OK : rw_nomem(err, run_dir);
  if (!s && step == 0) s = remove_events(dir, err);
  if (!s) s = file_mkdirs(dir, err);
  /* names sort by time, then by step */
  if (!s && !(t->path = mem_printf("%s/events.out.tfevents.%010lld.%08lld.reward", dir, (long long)time(NULL),
                                   (long long)step)))
    s = rw_nomem(err, dir);
  if (!s) s = lines_create(&t->f, t->path, context, err);
  if (!s) s = write_start(t, step > 0 ? step + 1 : 0, err);
  mem_free(dir);
  if (!s)
    *out = t;
  else if (t)
    tensorboard_close(t, NULL);
  return s;
}

rw_status tensorboard_close(tensorboard *t, rw_error *err) {
  if (!t) return RW_OK;
  rw_status s = lines_close(t->f, err);
  mem_free(t->path);
  mem_free(t);
  return s;
}

rw_status tensorboard_flush(tensorboard *t, rw_error *err) { return t ? lines_flush(t->f, err) : RW_OK; }

rw_status tensorboard_step(tensorboard *t, const step_metrics *m, const dataset *d, rw_error *err) {
  if (!t) return RW_OK;
  str s = {0};
  scalar(&s, m->loss, "train/", "loss", "");
  if (m->centered) scalar(&s, m->loss_center, "train/", "loss_center", "");
  if (!isnan(m->accuracy)) scalar(&s, m->accuracy, "train/", "accuracy", "");
  if (!isnan(m->margin)) scalar(&s, m->margin, "train/", "margin", "");
  scalar(&s, m->mean_reward, "train/", "mean_reward", "");
  scalar(&s, m->reward_sd, "train/", "reward_sd", "");
  scalar(&s, m->grad_norm, "train/", "grad_norm", "");
  scalar(&s, m->learning_rate, "train/", "learning_rate", "");
  scalar(&s, m->epoch, "train/", "epoch", "");
  scalar(&s, (double)m->num_tokens, "train/", "num_tokens", "");
  scalar(&s, m->tokens_per_s, "train/", "tokens_per_s", "");
  const char *const *names;
  size_t n = dataset_sources(d, &names);
  for (size_t i = 0; i < n; i++) {
    const reward_sums *x = &m->sources[i];
    if (x->rows == 0 || !*names[i]) continue;
    if (x->ordered) scalar(&s, reward_accuracy(x), "sources/", names[i], "/accuracy");
    if (x->ordered) scalar(&s, reward_margin(x), "sources/", names[i], "/margin");
    scalar(&s, reward_mean(x), "sources/", names[i], "/mean_reward");
    scalar(&s, reward_sd(x), "sources/", names[i], "/reward_sd");
  }
  return write_summary(t, m->step, &s, err);
}

rw_status tensorboard_eval(tensorboard *t, int64_t step, const char *spec, const eval_result *r, rw_error *err) {
  if (!t) return RW_OK;
  str s = {0}, at = {0};
  str_printf(&at, "eval/%s/", spec);
  const char *lead = at.p ? at.p : "";
  scalar(&s, r->overall.percent, lead, "overall", "");
  scalar(&s, r->items.percent, lead, "items", "");
  for (size_t i = 0; i < r->n_sections; i++)
    scalar(&s, r->sections[i].percent, lead, "section/", r->sections[i].name);
  for (size_t i = 0; i < r->n_subsets; i++) scalar(&s, r->subsets[i].accuracy, lead, "subset/", r->subsets[i].name);
  s.oom |= at.oom;
  str_free(&at);
  return write_summary(t, step, &s, err);
}
