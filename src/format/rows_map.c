/* rows_map.c - ordered parallel passes: chunks of rows go to the threads, their results to the caller in order.
 *
 * Batches of chunks move on together: while the threads work on one, one of them reads the next and the caller's
 * takes in the results of the one before, then both help. Three batches are all the memory, used again and again;
 * of long rows a batch has fewer: all together have little more than LARGE_BYTES, or what those of short rows have.
 * A chunk's results live in an arena of its own, which only the thread that works on the chunk touches.
 */
#include <string.h>

#include "base/log.h"
#include "format/rows.h"

enum { CHUNK_BYTES = 1 << 19, CHUNK_ROWS = 2048, LARGE_BYTES = 64 << 20, BATCHES = 3 };

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
  chunk *chunks; /* [n_chunks], of which `used` have rows */
  size_t used;
} batch;

typedef struct {
  const rows_job *job;
  rows_in *in;
  rows_lane *lanes; /* [threads] */
  batch batches[BATCHES];
  size_t n_lanes, n_chunks, most; /* most: bytes of a batch, about */
  batch *coming, *now, *done;     /* one is read, one worked on, one handed on */
  size_t read_at;                 /* the task that reads; SIZE_MAX: none */
  bool handed;                    /* `done` is handed on */
  rw_status read, sunk;
  rw_error read_err, sink_err;
} mapping;

slice rows_keep(rows_lane *lane, slice bytes) {
  return (slice){arena_strndup(lane->keep, bytes.p, bytes.len), bytes.len};
}

static slice row_text(const chunk *c, size_t i) { return (slice){c->text.p + c->rows[i].at, c->rows[i].len}; }

static void work_chunk(mapping *m, chunk *c, int thread) {
  const rows_job *job = m->job;
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
  if (c->text.cap > (size_t)4 * CHUNK_BYTES) /* grown by a long row */
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

/* Rows before a broken place are still worked on and handed on. */
static void read_batch(mapping *m, batch *b) {
  size_t bytes = 0;
  for (b->used = 0; b->used < m->n_chunks && bytes < m->most && !m->read; b->used++) {
    chunk *c = &b->chunks[b->used];
    m->read = read_chunk(m->in, c, &m->read_err);
    if (c->n == 0) return;
    bytes += c->text.len;
  }
}

static void hand_on(mapping *m) {
  m->handed = true;
  for (size_t i = 0; !m->sunk && i < m->done->used; i++) m->sunk = drain(m->job, &m->done->chunks[i], &m->sink_err);
}

/* The caller's thread hands on before its first task: it is always the same that calls sink. */
static void task(void *ctx, size_t number, int thread) {
  mapping *m = ctx;
  if (thread == 0 && !m->handed && !m->job->sink_runs_pool) hand_on(m);
  if (number == m->read_at)
    read_batch(m, m->coming);
  else
    work_chunk(m, &m->now->chunks[number - (number > m->read_at)], thread);
}

/* One step of all three batches; *more: something is left to do. */
static void step(mapping *m, pool *threads, bool *more) {
  batch *free = m->done;
  m->done = m->now;
  m->now = m->coming;
  m->coming = free;
  m->coming->used = 0;
  m->handed = false;
  bool ends = m->read || m->now->used == 0;
  size_t tasks = m->now->used + !ends;
  m->read_at = ends ? SIZE_MAX : m->n_lanes > 1 ? tasks / m->n_lanes : 0; /* the second thread's first */
  pool_run(threads, tasks, task, m);
  if (!m->handed) hand_on(m);
  *more = m->now->used > 0;
}

static rw_status map_open(mapping *m, int threads, rw_error *err) {
  const rows_job *job = m->job;
  m->n_lanes = (size_t)threads;
  m->n_chunks = 2 * m->n_lanes;
  m->most =
      2 * m->n_chunks * CHUNK_BYTES > LARGE_BYTES / BATCHES ? 2 * m->n_chunks * CHUNK_BYTES : LARGE_BYTES / BATCHES;
  m->lanes = mem_zalloc(m->n_lanes, sizeof *m->lanes);
  bool ok = m->lanes != NULL;
  for (batch *b = m->batches; ok && b < m->batches + BATCHES; b++) {
    ok = (b->chunks = mem_zalloc(m->n_chunks, sizeof *b->chunks)) != NULL;
    for (size_t i = 0; ok && i < m->n_chunks; i++) ok = (b->chunks[i].keep = arena_new()) != NULL;
  }
  m->coming = &m->batches[0], m->now = &m->batches[1], m->done = &m->batches[2];
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
  for (batch *b = m->batches; b < m->batches + BATCHES; b++) {
    for (size_t i = 0; b->chunks && i < m->n_chunks; i++) {
      str_free(&b->chunks[i].text);
      arena_free(b->chunks[i].keep);
      mem_free(b->chunks[i].rows);
    }
    mem_free(b->chunks);
  }
  mem_free(m->lanes);
}

rw_status rows_map(rows_in *in, const rows_job *job, rw_error *err) {
  pool *threads = rows_context(in)->threads;
  mapping m = {.job = job, .in = in};
  rw_status s = map_open(&m, pool_threads(threads), err);
  if (!s) read_batch(&m, m.coming);
  for (bool more = true; !s && more;) {
    step(&m, threads, &more);
    if ((s = m.sunk) && err) *err = m.sink_err;
    if (!s && log_interrupted(rows_context(in))) s = rw_fail(err, RW_INTERRUPTED, "interrupted");
  }
  if (!s && (s = m.read) && err) *err = m.read_err;
  map_close(&m);
  return s;
}
