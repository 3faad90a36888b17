/* rows_map.c - ordered parallel passes: chunks of rows go to the threads, their results to the caller in order.
 *
 * Twice as many chunks as threads are read, worked on, then drained, and their memory is used again; of long rows
 * fewer: all chunks together have little more than LARGE_BYTES, or twice what chunks of short rows have. A chunk's
 * results live in an arena of its own, which only the thread that works on the chunk touches.
 */
#include <string.h>

#include "base/log.h"
#include "format/rows.h"

enum { CHUNK_BYTES = 1 << 20, CHUNK_ROWS = 4096, LARGE_BYTES = 64 << 20 };

typedef struct {
  str text;
  struct {
    size_t at, len;
    uint64_t line;
    void *result;
  } * rows;
  size_t n, cap;
  arena *keep;      /* the results and what they point to */
  rw_status status; /* status of row `failed` */
  size_t failed;
  rw_error err;
} chunk;

typedef struct {
  const rows_job *job;
  rows_in *in;
  rows_lane *lanes; /* [threads] */
  chunk *chunks;    /* [n_chunks] */
  size_t n_lanes, n_chunks;
} mapping;

slice rows_keep(rows_lane *lane, slice bytes) {
  return (slice){arena_strndup(lane->keep, bytes.p, bytes.len), bytes.len};
}

static slice row_text(const chunk *c, size_t i) { return (slice){c->text.p + c->rows[i].at, c->rows[i].len}; }

static void work_task(void *ctx, size_t task, int thread) {
  mapping *m = ctx;
  const rows_job *job = m->job;
  chunk *c = &m->chunks[task];
  rows_lane lane = m->lanes[thread];
  lane.keep = c->keep;
  for (c->failed = 0; c->failed < c->n; c->failed++) {
    uint64_t line = c->rows[c->failed].line;
    void *result = c->rows[c->failed].result = arena_alloc(c->keep, 1, job->result_size);
    arena_reset(lane.mem);
    c->status = result ? job->work(job->ctx, &lane, row_text(c, c->failed), line, result, &c->err)
                       : rw_nomem(&c->err, "rows");
    if (c->status) {
      const char *file = rows_file(m->in, &line);
      rw_prefix(&c->err, c->status, "%s:%llu", file, (unsigned long long)line);
      return;
    }
  }
}

static rw_status read_chunk(rows_in *in, chunk *c, rw_error *err) {
  c->n = 0;
  c->status = RW_OK;
  if (c->text.cap > (size_t)4 * CHUNK_BYTES) /* of a long row */
    str_free(&c->text);
  else
    str_clear(&c->text);
  arena_reset(c->keep);
  while (c->text.len < CHUNK_BYTES && c->n < CHUNK_ROWS) {
    slice row;
    uint64_t line;
    RW_TRY(rows_next(in, &row, &line, err));
    if (!row.p) break;
    if (!mem_grow((void **)&c->rows, &c->cap, c->n + 1, sizeof *c->rows)) return rw_nomem(err, "rows");
    c->rows[c->n].at = c->text.len;
    c->rows[c->n].len = row.len;
    c->rows[c->n++].line = line;
    str_add(&c->text, row.p, row.len);
    if (c->text.oom) return rw_nomem(err, "rows");
  }
  return RW_OK;
}

static rw_status drain(const rows_job *job, chunk *c, rw_error *err) {
  for (size_t i = 0; i < c->failed; i++)
    RW_TRY(job->sink(job->ctx, row_text(c, i), c->rows[i].line, c->rows[i].result, err));
  if (c->status && err) *err = c->err;
  return c->status;
}

static rw_status map_open(mapping *m, int threads, rw_error *err) {
  const rows_job *job = m->job;
  m->n_lanes = (size_t)threads;
  m->n_chunks = 2 * m->n_lanes;
  m->lanes = mem_zalloc(m->n_lanes, sizeof *m->lanes);
  m->chunks = mem_zalloc(m->n_chunks, sizeof *m->chunks);
  bool ok = m->lanes && m->chunks;
  for (size_t i = 0; ok && i < m->n_chunks; i++) ok = (m->chunks[i].keep = arena_new()) != NULL;
  for (size_t i = 0; ok && i < m->n_lanes; i++) {
    rows_lane *l = &m->lanes[i];
    *l = (rows_lane){.doc = json_new(), .mem = arena_new(), .own = mem_zalloc(1, job->lane_size)};
    ok = l->doc && l->mem && l->own;
  }
  if (!ok) return rw_nomem(err, "rows");
  for (size_t i = 0; job->lane_open && i < m->n_lanes; i++) RW_TRY(job->lane_open(job->ctx, m->lanes[i].own, err));
  return RW_OK;
}

static void map_close(mapping *m) {
  const rows_job *job = m->job;
  for (size_t i = 0; m->lanes && i < m->n_lanes; i++) {
    if (job->lane_close && m->lanes[i].own) job->lane_close(job->ctx, m->lanes[i].own);
    json_free(m->lanes[i].doc);
    arena_free(m->lanes[i].mem);
    mem_free(m->lanes[i].own);
  }
  for (size_t i = 0; m->chunks && i < m->n_chunks; i++) {
    str_free(&m->chunks[i].text);
    arena_free(m->chunks[i].keep);
    mem_free(m->chunks[i].rows);
  }
  mem_free(m->lanes);
  mem_free(m->chunks);
}

rw_status rows_map(rows_in *in, const rows_job *job, rw_error *err) {
  pool *threads = rows_context(in)->threads;
  mapping m = {.job = job, .in = in};
  rw_status s = map_open(&m, pool_threads(threads), err), read = RW_OK;
  size_t most = 2 * m.n_chunks * CHUNK_BYTES > LARGE_BYTES ? 2 * m.n_chunks * CHUNK_BYTES : LARGE_BYTES;
  for (size_t used = 1; !s && !read && used > 0;) {
    used = 0;
    size_t bytes = 0;
    /* rows before a broken place are still handed on */
    while (used < m.n_chunks && bytes < most && !read) {
      read = read_chunk(in, &m.chunks[used], err);
      if (m.chunks[used].n == 0) break;
      bytes += m.chunks[used].text.len;
      used++;
    }
    rw_error kept = err ? *err : (rw_error){0};
    pool_run(threads, used, work_task, &m);
    for (size_t i = 0; !s && i < used; i++) s = drain(job, &m.chunks[i], err);
    if (!s && read && err) *err = kept;
    if (!s && log_interrupted(rows_context(in))) s = rw_fail(err, RW_INTERRUPTED, "interrupted");
  }
  map_close(&m);
  return s ? s : read;
}
