/* rows_map.c - ordered parallel passes: chunks of rows go to the threads, their results to the caller in order.
 *
 * Chunks of a file move on together: while the threads work on some, one of them reads the next and the caller's
 * takes in the results of those before, then both help. Of long rows there are fewer chunks at a time: all together
 * have little more than LARGE_BYTES, or what those of short rows have. A chunk's results live in an arena of its
 * own, which only the thread that works on the chunk touches.
 *
 * Of several files the next one is begun where reading takes longer than a thread's share of the work does (of
 * packed files, or with many threads), where the others are read to their ends, and beside a plain one whose
 * SHA-256 is taken, which is faster for two at once: one thread reads both by turns. The first of them is handed
 * on, as one file alone is; the others' results wait, about WAITING_BYTES a thread at most, with the rows' texts
 * only if sink() gets them.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "format/rows.h"

enum { CHUNK_BYTES = 1 << 19, CHUNK_ROWS = 2048, LARGE_BYTES = 64 << 20, BATCHES = 3, WAITING_BYTES = 128 << 20 };

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
  double seconds; /* of the work */
} chunk;

typedef struct {
  chunk **items;
  size_t n, cap;
} chunk_list;

/* A file that is read. */
typedef struct stream stream;
struct stream {
  const rows_file_job *file;
  rows_in *in;
  chunk_list coming, now, done, spare; /* read; worked on; to be handed on; to be used again */
  size_t waits;                        /* bytes of what is done, of a file that is not the first */
  bool reads, ended;                   /* reads in this step; is read to its end, or as far as it can be */
  bool held;                           /* chunks take the reader's buffers */
  str *texts;                          /* buffers of chunks that wait without their texts */
  size_t n_texts, cap_texts;
  rw_status read;
  rw_error read_err;
  double seconds; /* of reading, in this step */
  stream *also;   /* is read by the same task, in this step; NULL: none */
};

typedef struct {
  stream *of;
  chunk *c; /* NULL: read the next ones */
} map_task;

typedef struct {
  const rows_job *job;
  rw_context *context;
  const rows_file_job *files; /* those that are not open yet */
  size_t n_files;
  stream **streams; /* the first is handed on */
  size_t n_streams, most_streams;
  rows_lane *lanes; /* [threads] */
  size_t n_lanes;
  map_task *tasks;
  size_t n_tasks, cap_tasks;
  bool handed; /* what is done of the first file is handed on */
  rw_status sunk;
  rw_error sink_err;
} mapping;

slice rows_keep(rows_lane *lane, slice bytes) {
  return (slice){arena_strndup(lane->keep, bytes.p, bytes.len), bytes.len};
}

/* ---- chunks ---- */

static void chunk_free(chunk *c) {
  if (!c) return;
  str_free(&c->text);
  arena_free(c->keep);
  mem_free(c->rows);
  mem_free(c);
}

static void chunks_free(chunk_list *l) {
  for (size_t i = 0; i < l->n; i++) chunk_free(l->items[i]);
  mem_free(l->items);
  *l = (chunk_list){0};
}

/* have_spare has made room: all of a file's chunks fit any of its lists. */
static void put_chunk(chunk_list *l, chunk *c) { l->items[l->n++] = c; }

static bool room_for(stream *f, size_t n) {
  chunk_list *l[] = {&f->coming, &f->now, &f->done, &f->spare};
  for (size_t i = 0; i < sizeof l / sizeof *l; i++)
    if (!mem_grow((void **)&l[i]->items, &l[i]->cap, n, sizeof *l[i]->items)) return false;
  return true;
}

/* At least n spare ones. */
static bool have_spare(stream *f, size_t n) {
  if (!room_for(f, f->coming.n + f->now.n + f->done.n + f->spare.n + n)) return false;
  while (f->spare.n < n) {
    chunk *c = mem_zalloc(1, sizeof *c);
    if (!c || !(c->keep = arena_new())) return chunk_free(c), false;
    put_chunk(&f->spare, c);
  }
  return true;
}

static void move_chunks(chunk_list *to, chunk_list *from) {
  for (size_t i = 0; i < from->n; i++) put_chunk(to, from->items[i]);
  from->n = 0;
}

static slice row_text(const chunk *c, size_t i) { return (slice){c->text.p + c->rows[i].at, c->rows[i].len}; }

/* ---- tasks ---- */

static void work_chunk(mapping *m, stream *f, chunk *c, int thread) {
  const rows_job *job = m->job;
  rows_lane lane = m->lanes[thread];
  double began = clock_seconds();
  lane.keep = c->keep;
  for (c->failed = 0; c->failed < c->n; c->failed++) {
    uint64_t line = c->rows[c->failed].line;
    void *result = c->rows[c->failed].result = arena_alloc(c->keep, 1, job->result_size);
    arena_reset(lane.mem);
    c->status = result ? job->work(f->file->ctx, &lane, row_text(c, c->failed), line, result, &c->err)
                       : rw_nomem(&c->err, "rows");
    if (c->status) {
      const char *name = rows_file(f->in, &line);
      rw_prefix(&c->err, c->status, "%s:%llu", name, (unsigned long long)line);
      break;
    }
  }
  c->seconds = clock_seconds() - began;
}

/* Is the chunk full? Where it takes the reader's buffer, it ends before what would leave much of it unread. */
static bool is_full(const stream *f, const chunk *c) {
  size_t bytes = c->text.len, unread = SIZE_MAX;
  if (f->held) rows_held(f->in, &bytes, &unread);
  return bytes >= CHUNK_BYTES || c->n == CHUNK_ROWS || (bytes >= CHUNK_BYTES / 2 && unread < CHUNK_BYTES / 16);
}

static rw_status read_rows(stream *f, chunk *c, rw_error *err) {
  while (!f->ended && !is_full(f, c)) {
    slice row;
    uint64_t line;
    RW_TRY(rows_next(f->in, &row, &line, err));
    f->ended = !row.p;
    if (f->ended || (f->file->wants && !f->file->wants(f->file->ctx, line))) continue;
    if (!mem_grow((void **)&c->rows, &c->cap, c->n + 1, sizeof *c->rows)) return rw_nomem(err, "rows");
    size_t taken, unread;
    c->rows[c->n].at = f->held ? (size_t)(row.p - rows_held(f->in, &taken, &unread)) : c->text.len;
    c->rows[c->n].len = row.len;
    c->rows[c->n++].line = line;
    if (!f->held) str_add(&c->text, row.p, row.len);
    if (c->text.oom) return rw_nomem(err, "rows");
  }
  return RW_OK;
}

static rw_status begin_chunk(stream *f, chunk *c, rw_error *err) {
  c->n = 0;
  c->status = RW_OK;
  if (!c->text.p && f->n_texts > 0) c->text = f->texts[--f->n_texts];
  if (c->text.cap > (size_t)4 * CHUNK_BYTES) str_free(&c->text); /* of a long row */
  str_clear(&c->text);
  arena_reset(c->keep);
  return read_rows(f, c, err);
}

/* As many chunks as the streams may have at a time, together two a thread. Rows before a broken place are still
 * worked on and handed on. */
static size_t chunks_at_once(const mapping *m) {
  size_t n = 2 * m->n_lanes / m->n_streams;
  return n < 2 ? 2 : n;
}

/* What a file reads in a step. */
typedef struct {
  stream *f;
  size_t chunks, bytes; /* that it may still read */
  chunk *c;             /* that it reads now; NULL: none */
} reading;

static reading reading_of(const mapping *m, stream *f) {
  size_t n = chunks_at_once(m), most = 2 * n * CHUNK_BYTES, large = LARGE_BYTES / BATCHES / m->n_streams;
  return (reading){f, n, most > large ? most : large, NULL};
}

static bool read_on(reading *r) {
  stream *f = r->f;
  r->c = NULL;
  if (!f || r->chunks == 0 || r->bytes == 0 || f->ended) return false;
  r->c = f->spare.items[f->spare.n - 1];
  r->chunks--;
  f->read = begin_chunk(f, r->c, &f->read_err);
  f->ended |= f->read != RW_OK;
  return true;
}

static void end_chunk(reading *r) {
  stream *f = r->f;
  if (f->held && !rows_take(f->in, &r->c->text)) {
    r->c->n = 0;
    f->ended = true;
    if (!f->read) f->read = rw_nomem(&f->read_err, "rows");
  }
  if (r->c->n == 0) return;
  f->spare.n--;
  put_chunk(&f->coming, r->c);
  r->bytes -= r->c->text.len < r->bytes ? r->c->text.len : r->bytes;
}

/* Two files are read by turns, so that their sums can be taken together. */
static void read_chunks(const mapping *m, stream *f) {
  reading r[2] = {reading_of(m, f), reading_of(m, f->also)};
  double began = clock_seconds();
  for (;;) {
    bool first = read_on(&r[0]), second = read_on(&r[1]);
    if (!first && !second) break;
    if (first && second) rows_hash_two(f->in, f->also->in);
    if (first) end_chunk(&r[0]);
    if (second) end_chunk(&r[1]);
  }
  f->seconds = clock_seconds() - began;
}

static rw_status drain(const mapping *m, const stream *f, const chunk *c, rw_error *err) {
  for (size_t i = 0; i < c->failed; i++) {
    slice row = {0};
    if (!m->job->results_alone) row = row_text(c, i);
    RW_TRY(m->job->sink(f->file->ctx, row, c->rows[i].line, c->rows[i].result, err));
  }
  if (c->status) *err = c->err;
  return c->status;
}

static void hand_on(mapping *m) {
  const stream *f = m->streams[0];
  m->handed = true;
  for (size_t i = 0; !m->sunk && i < f->done.n; i++) m->sunk = drain(m, f, f->done.items[i], &m->sink_err);
}

/* The caller's thread hands on before its first task: it is always the same that calls sink. */
static void run_task(void *ctx, size_t number, int thread) {
  mapping *m = ctx;
  const map_task *t = &m->tasks[number];
  if (thread == 0 && !m->handed && !m->streams[0]->file->sink_runs_pool) hand_on(m);
  if (t->c)
    work_chunk(m, t->of, t->c, thread);
  else
    read_chunks(m, t->of);
}

/* ---- steps ---- */

/* Packed files are read by different threads: to unpack is more work than to hash. */
static bool is_summed(const stream *f) { return f->held && f->file->hashed && !f->ended && !rows_packed(f->in); }

/* Which files read: by a task each, or two whose sums are taken. */
static rw_status choose_readers(mapping *m, rw_error *err) {
  stream *lone = NULL;
  size_t waits = 0;
  m->n_tasks = 0;
  for (size_t i = 0; i < m->n_streams; i++) waits += m->streams[i]->waits;
  for (size_t i = 0; i < m->n_streams; i++) {
    stream *f = m->streams[i];
    f->seconds = 0;
    f->also = NULL;
    f->reads = !f->ended && (i == 0 || waits < WAITING_BYTES * m->n_lanes);
    if (f->reads && !have_spare(f, chunks_at_once(m))) return rw_nomem(err, "rows");
    bool summed = f->reads && is_summed(f);
    if (summed && lone) {
      lone->also = f;
      f->reads = false;
    }
    if (summed) lone = lone ? NULL : f;
    m->n_tasks += f->now.n + f->reads;
  }
  return RW_OK;
}

/* The tasks of a step: readers first of the shares of the threads behind the caller's. */
static rw_status plan(mapping *m, rw_error *err) {
  RW_TRY(choose_readers(m, err));
  if (!mem_grow((void **)&m->tasks, &m->cap_tasks, m->n_tasks, sizeof *m->tasks)) return rw_nomem(err, "rows");
  if (m->n_tasks) memset(m->tasks, 0, m->n_tasks * sizeof *m->tasks);
  for (size_t i = 0, k = 0; i < m->n_streams; i++) {
    if (!m->streams[i]->reads) continue;
    size_t at = m->n_tasks * (++k % m->n_lanes) / m->n_lanes;
    while (m->tasks[at].of) at = at + 1 < m->n_tasks ? at + 1 : 0;
    m->tasks[at].of = m->streams[i];
  }
  for (size_t i = 0, at = 0; i < m->n_streams; i++)
    for (size_t k = 0; k < m->streams[i]->now.n; k++, at++) {
      while (m->tasks[at].of) at++;
      m->tasks[at] = (map_task){m->streams[i], m->streams[i]->now.items[k]};
    }
  return RW_OK;
}

/* Another chunk of the file gets the buffer. */
static void drop_text(stream *f, chunk *c) {
  if (!c->text.p || !vec_push(f->texts, f->n_texts, f->cap_texts, c->text)) str_free(&c->text);
  c->text = (str){0};
}

/* What is handed on is spare again, what is worked on is done, what was read comes next. Of chunks that have to
 * wait texts that nobody wants go. */
static void move_on(mapping *m) {
  for (size_t i = 0; i < m->n_streams; i++) {
    stream *f = m->streams[i];
    if (i == 0) {
      move_chunks(&f->spare, &f->done);
      while (f->waits > 0 && f->spare.n > 2 * chunks_at_once(m)) chunk_free(f->spare.items[--f->spare.n]);
      f->waits = 0;
    }
    for (size_t k = 0; i > 0 && k < f->now.n; k++) {
      chunk *c = f->now.items[k];
      if (m->job->results_alone) drop_text(f, c);
      f->waits += c->text.cap + arena_bytes(c->keep) + c->cap * sizeof *c->rows;
    }
    move_chunks(&f->done, &f->now);
    move_chunks(&f->now, &f->coming);
  }
}

/* Did the longest reading of the step take longer than all of its work, shared out evenly? */
static bool reading_is_slow(const mapping *m) {
  double all = 0, longest = 0;
  for (size_t i = 0; i < m->n_tasks; i++) {
    const map_task *t = &m->tasks[i];
    double seconds = t->c ? t->c->seconds : t->of->seconds;
    all += seconds;
    if (!t->c && seconds > longest) longest = seconds;
  }
  return longest * (double)m->n_lanes > 1.25 * all;
}

/* Has a file whose sum is taken no other one beside it? */
static bool one_is_lone(const mapping *m) {
  size_t n = 0;
  for (size_t i = 0; i < m->n_streams; i++) n += is_summed(m->streams[i]);
  return n % 2 == 1;
}

static bool all_are_read(const mapping *m) {
  for (size_t i = 0; i < m->n_streams; i++)
    if (!m->streams[i]->ended) return false;
  return true;
}

/* ---- files ---- */

static void stream_close(stream *f) {
  if (!f) return;
  chunk_list *l[] = {&f->coming, &f->now, &f->done, &f->spare};
  for (size_t i = 0; i < sizeof l / sizeof *l; i++) chunks_free(l[i]);
  while (f->n_texts > 0) str_free(&f->texts[--f->n_texts]);
  mem_free(f->texts);
  if (f->file->path) rows_close(f->in);
  mem_free(f);
}

static bool is_regular(const char *path) {
  struct stat st;
  return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* Begins with the next file that has something to read. One that cannot be opened says so in its turn, and a pipe
 * is opened in its turn: whoever writes to it may wait for us to read the one before. */
static rw_status open_next(mapping *m, rw_error *err) {
  bool wanted = false;
  for (; m->n_files > 0 && !wanted; m->files++, m->n_files--) {
    const rows_file_job *file = m->files;
    if (m->n_streams > 0 && !is_regular(file->path)) return RW_OK;
    wanted = true;
    if (file->begin) RW_TRY(file->begin(file->ctx, &wanted, err));
    if (!wanted) continue;
    stream *f = mem_zalloc(1, sizeof *f);
    if (!f) return rw_nomem(err, "rows");
    f->file = file;
    f->in = file->in;
    if (file->path)
      f->read = (file->hashed ? rows_open_hashed : rows_open)(&f->in, file->path, m->context, &f->read_err);
    f->ended = f->read != RW_OK;
    f->held = !f->ended && !file->wants && rows_hold(f->in);
    m->streams[m->n_streams++] = f;
  }
  return RW_OK;
}

/* The first files of which all is handed on are over. */
static rw_status end_files(mapping *m, rw_error *err) {
  while (m->n_streams > 0) {
    stream *f = m->streams[0];
    if (!f->ended || f->coming.n + f->now.n + f->done.n > 0) return RW_OK;
    rw_status s = f->read;
    if (s && err) *err = f->read_err;
    if (!s && f->file->end) s = f->file->end(f->file->ctx, f->in, err);
    stream_close(f);
    m->n_streams--;
    memmove(m->streams, m->streams + 1, m->n_streams * sizeof *m->streams);
    RW_TRY(s);
  }
  return RW_OK;
}

static rw_status step(mapping *m, rw_error *err) {
  RW_TRY(plan(m, err));
  m->handed = false;
  pool_run(m->context->threads, m->n_tasks, run_task, m);
  if (!m->handed) hand_on(m);
  if (m->sunk && err) *err = m->sink_err;
  RW_TRY(m->sunk);
  if (log_interrupted(m->context)) return rw_fail(err, RW_INTERRUPTED, "interrupted");
  bool slow = reading_is_slow(m), ahead = m->n_streams < m->n_lanes;
  move_on(m);
  RW_TRY(end_files(m, err));
  bool next = (ahead && (slow || all_are_read(m))) || (m->n_streams < m->most_streams && one_is_lone(m));
  return m->n_streams == 0 || next ? open_next(m, err) : RW_OK;
}

/* ---- the whole ---- */

static rw_status open_lanes(mapping *m, rw_error *err) {
  const rows_job *job = m->job;
  m->n_lanes = (size_t)pool_threads(m->context->threads);
  m->lanes = mem_zalloc(m->n_lanes, sizeof *m->lanes);
  m->most_streams = m->n_lanes > 2 ? m->n_lanes : 2;
  m->streams = mem_zalloc(m->most_streams, sizeof *m->streams);
  bool ok = m->lanes && m->streams;
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
  for (size_t i = 0; i < m->n_streams; i++) stream_close(m->streams[i]);
  for (size_t i = 0; m->lanes && i < m->n_lanes; i++) {
    if (job->lane_close && m->lanes[i].own) job->lane_close(job->ctx, m->lanes[i].own);
    json_free(m->lanes[i].doc);
    arena_free(m->lanes[i].mem);
    mem_free(m->lanes[i].own);
  }
  mem_free(m->tasks);
  mem_free(m->streams);
  mem_free(m->lanes);
}

rw_status rows_map_files(const rows_file_job *files, size_t n, const rows_job *job, rw_context *context,
                         rw_error *err) {
  mapping m = {.job = job, .context = context, .files = files, .n_files = n};
  rw_status s = open_lanes(&m, err);
  if (!s) s = open_next(&m, err);
  if (!s) s = end_files(&m, err); /* one that could not be opened */
  while (!s && m.n_streams > 0) s = step(&m, err);
  map_close(&m);
  return s;
}

rw_status rows_map(rows_in *in, const rows_job *job, rw_error *err) {
  rows_file_job file = {.in = in, .ctx = job->ctx, .sink_runs_pool = job->sink_runs_pool};
  return rows_map_files(&file, 1, job, rows_context(in), err);
}
