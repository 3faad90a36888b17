/* frozen.c - the states that enter the first trained layer, kept in a file over epochs and evaluations.
 *
 * What lies below the trained layers never changes, so a group's states there are those of the last time. The file
 * has no name: however the process ends, nothing stays. A file that cannot be written or read any more is given up;
 * the states are computed again, to the same bits.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/sha256.h"
#include "model/model_impl.h"

struct frozen_cache {
  int fd;
  uint64_t bytes, max_bytes, hits;
  rw_context *context;
  bool forward, score; /* passes that use it */
  map *at;             /* a group's ids and positions, and the precision, hashed: offset in the file */
  char *host;
  size_t cap;
  char fault[160]; /* why the file was given up; "": it was not */
};

rw_status model_keep_frozen(model *m, const char *dir, uint64_t max_bytes, bool forward, bool score,
                            rw_error *err) {
  frozen_cache *c = mem_zalloc(1, sizeof *c);
  if (!c) return rw_nomem(err, dir);
  *c = (frozen_cache){
      .context = m->context, .fd = -1, .max_bytes = max_bytes, .forward = forward, .score = score, .at = map_new()};
  m->tr.frozen = c;
  return c->at ? file_nameless(dir, &c->fd, err) : rw_nomem(err, dir);
}

void frozen_free(frozen_cache *c) {
  if (!c) return;
  if (c->fd >= 0) close(c->fd);
  map_free(c->at);
  mem_free(c->host);
  mem_free(c);
}

model_frozen_use model_frozen_used(const model *m) {
  const frozen_cache *c = m->tr.frozen;
  return c ? (model_frozen_use){c->bytes, c->hits, c->fault[0] ? c->fault : NULL} : (model_frozen_use){0, 0, NULL};
}

static void give_up(frozen_cache *c, const char *what) {
  snprintf(c->fault, sizeof c->fault, "their file cannot be %s (%s)", what, strerror(errno));
  log_warn(c->context, "the states below the trained layers are computed again from here on: %s", c->fault);
  close(c->fd);
  c->fd = -1;
}

static bool transfer(frozen_cache *c, bool out, uint64_t at, size_t bytes) {
  for (size_t done = 0; done < bytes;) {
    char *p = c->host + done;
    ssize_t n = out ? pwrite(c->fd, p, bytes - done, (off_t)(at + done))
                    : pread(c->fd, p, bytes - done, (off_t)(at + done));
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO; /* shorter than what was written */
    if (n <= 0) return give_up(c, out ? "written" : "read"), false;
    done += (size_t)n;
  }
  return true;
}

/* Rows [first, first + n) of the batch are a group's: their ids and positions tell its tokens and its branches. */
static void key_of(const model *m, size_t first, size_t n, uint8_t key[SHA256_BYTES]) {
  uint64_t head[2] = {n, m->bf16};
  sha256 s;
  sha256_begin(&s);
  sha256_add(&s, head, sizeof head);
  sha256_add(&s, m->pos + first, n * sizeof *m->pos);
  sha256_add(&s, m->ids + first, n * sizeof *m->ids);
  sha256_end(&s, key);
}

/* x: [the batch's rows, H], of which a group's are contiguous; after the last layer one row a branch is left. */
static bool walk(model *m, const id_group *groups, size_t n, bool share, mat x, bool store) {
  frozen_cache *c = m->tr.frozen;
  bool last = m->tr.freeze == m->w->cfg.layers;
  size_t row = 0, out = 0, h = m->w->cfg.hidden;
  for (size_t g = 0; g < n && c->fd >= 0; g++) {
    size_t rows = model_group_tokens(&groups[g], batch_shares(m, &groups[g], share)),
           kept = last ? groups[g].n : rows, bytes = kept * h * type_size(x.type);
    uint8_t key[SHA256_BYTES];
    key_of(m, row, rows, key);
    int64_t *at = map_get(c->at, (const char *)key, sizeof key);
    if (!at && !store) return false;
    if (!mem_grow((void **)&c->host, &c->cap, bytes, 1)) return false; /* computing needs none */
    if (!store) {
      if (!transfer(c, false, (uint64_t)*at, bytes)) return false;
      m->be->put(m->be, mat_from(x, out, 0).p, c->host, bytes);
    } else if (!at && c->bytes + bytes <= c->max_bytes) {
      m->be->get(m->be, c->host, mat_from(x, out, 0).p, bytes);
      if (!transfer(c, true, c->bytes, bytes) ||
          !map_put(c->at, (const char *)key, sizeof key, (int64_t)c->bytes, NULL))
        return false;
      c->bytes += bytes;
    }
    row += rows;
    out += kept;
  }
  return c->fd >= 0;
}

static bool in_use(const model *m, bool forward) {
  const frozen_cache *c = m->tr.frozen;
  return c && c->fd >= 0 && m->tr.training && m->tr.freeze > 0 && (forward ? c->forward : c->score);
}

bool frozen_fetch(model *m, const id_group *groups, size_t n, bool share, bool forward, mat x) {
  if (!in_use(m, forward) || !walk(m, groups, n, share, x, false)) return false;
  m->tr.frozen->hits += n;
  return true;
}

rw_status frozen_store(model *m, const id_group *groups, size_t n, bool share, bool forward, mat x, rw_error *err) {
  if (!in_use(m, forward)) return RW_OK;
  RW_TRY(m->be->sync(m->be, err)); /* what a fault left is not kept */
  walk(m, groups, n, share, x, true);
  return m->be->sync(m->be, err);
}
