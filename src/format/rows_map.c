/* rows_map.c - ordered parallel passes: chunks of rows go to the threads, their results to the caller in order.
 *
 * Chunks of a file move on together: while the threads work on some, one of them reads the next and the caller's
 * takes in the results of those before, then both help. Of long rows there are fewer chunks at a time: all together
 * have little more than LARGE_BYTES, or what those of short rows have. A chunk's results live in an arena of its
 * own, which only the thread that works on the chunk touches.
 *
 * Of several files the next one is begun where reading takes longer than a thread's share of the work does (of
 * packed files, or with many threads), where the others are read to their ends, and beside a plain one whose
 * SHA-256 is taken, which is faster for two at once. The first of them is handed on, as one file alone is; the
 * others' results wait, about WAITING_BYTES a thread at most, with the rows' texts only if sink() gets them.
 */
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/log.h"
#include "format/rows.h"

enum { CHUNK_BYTES = 1 << 18, CHUNK_ROWS = 1024, LARGE_BYTES = 64 << 20, BATCHES = 3, WAITING_BYTES = 128 << 20 };

typedef struct {
  str text;
  size_t taken; /* bytes of text that rows have taken */
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
};

typedef struct {
  enum { READ, SUM, WORK } what; /* read the next chunks; add those of now to their file's sum; work on one */
  stream *of;
  union {
    stream *also; /* SUM: the other file, or NULL */
    chunk *c;     /* WORK */
  };
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

/* Also where rows_next fails, the chunk has the rows before. */
static rw_status read_chunk(stream *f, chunk *c, rw_error *err) {
  size_t unread;
  c->n = 0;
  c->status = RW_OK;
  if (!c->text.p && f->n_texts > 0) c->text = f->texts[--f->n_texts];
  if (c->text.cap > (size_t)4 * CHUNK_BYTES) str_free(&c->text); /* of a long row */
  str_clear(&c->text);
  arena_reset(c->keep);
  rw_status s = read_rows(f, c, err);
  c->taken = c->text.len;
  if (!f->held) return s;
  rows_held(f->in, &c->taken, &unread);
  if (rows_take(f->in, &c->text)) return s;
  c->n = c->taken = 0;
  return s ? s : rw_nomem(err, "rows");
}

/* As many chunks as the streams may have at a time, together four a thread, so that the threads end together. */
static size_t chunks_at_once(const mapping *m) {
  size_t n = 4 * m->n_lanes / m->n_streams;
  return n < 2 ? 2 : n;
}

/* What a file reads in a step. Blank lines that no row follows make a chunk, too: their bytes are of the sum. */
static void read_chunks(const mapping *m, stream *f) {
  size_t n = chunks_at_once(m), most = 2 * n * CHUNK_BYTES, large = LARGE_BYTES / BATCHES / m->n_streams;
  double began = clock_seconds();
  if (most < large) most = large;
  for (size_t i = 0, bytes = 0; i < n && bytes < most && !f->ended; i++) {
    chunk *c = f->spare.items[f->spare.n - 1];
    f->read = read_chunk(f, c, &f->read_err);
    f->ended |= f->read != RW_OK;
    if (c->taken == 0) continue;
    f->spare.n--;
    put_chunk(&f->coming, c);
    bytes += c->text.len;
  }
  f->seconds = clock_seconds() - began;
}

/* What of a file's chunks its sum has not: from `in` of chunk `at` on. */
typedef struct {
  stream *of; /* NULL: nothing */
  size_t at, in;
} unsummed;

static slice next_bytes(const unsummed *u) {
  if (!u->of || u->at == u->of->now.n) return (slice){"", 0};
  const chunk *c = u->of->now.items[u->at];
  return (slice){c->text.p + u->in, c->taken - u->in};
}

static void go_on(unsummed *u, size_t n) {
  u->in += n;
  if (n == 0 || u->in < u->of->now.items[u->at]->taken) return;
  u->at++;
  u->in = 0;
}

/* Two files' bytes together, as far as both go. */
static void add_to_sums(stream *f, stream *also) {
  unsummed a = {f, 0, 0}, b = {also, 0, 0};
  for (;;) {
    slice p = next_bytes(&a), q = next_bytes(&b);
    if (p.len == 0 && q.len == 0) return;
    if (p.len > 0 && q.len > 0) p.len = q.len = p.len < q.len ? p.len : q.len;
    if (p.len > 0 && q.len > 0)
      sha256_add_two(rows_sum(f->in), p.p, p.len, rows_sum(also->in), q.p, q.len);
    else if (p.len > 0)
      sha256_add(rows_sum(f->in), p.p, p.len);
    else
      sha256_add(rows_sum(also->in), q.p, q.len);
    go_on(&a, p.len);
    go_on(&b, q.len);
  }
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

/* On the calling thread: it is always the same that calls sink. */
static void hand_on(void *ctx) {
  mapping *m = ctx;
  const stream *f = m->streams[0];
  for (size_t i = 0; !m->sunk && i < f->done.n; i++) m->sunk = drain(m, f, f->done.items[i], &m->sink_err);
}

static void run_task(void *ctx, size_t number, int thread) {
  mapping *m = ctx;
  const map_task *t = &m->tasks[number];
  switch (t->what) {
    case READ: read_chunks(m, t->of); break;
    case SUM: add_to_sums(t->of, t->also); break;
    case WORK: work_chunk(m, t->of, t->c, thread); break;
  }
}

/* ---- steps ---- */

/* Which files read. */
static rw_status choose_readers(mapping *m, rw_error *err) {
  size_t waits = 0;
  for (size_t i = 0; i < m->n_streams; i++) waits += m->streams[i]->waits;
  for (size_t i = 0; i < m->n_streams; i++) {
    stream *f = m->streams[i];
    f->seconds = 0;
    f->reads = !f->ended && (i == 0 || waits < WAITING_BYTES * m->n_lanes);
    if (f->reads && !have_spare(f, chunks_at_once(m))) return rw_nomem(err, "rows");
  }
  return RW_OK;
}

static bool is_summed(const stream *f) { return f->held && rows_sum(f->in); }

/* The k-th of those that take long: the first of the share of a thread, the caller's last. */
static void put_long(mapping *m, size_t k, map_task t) {
  size_t at = m->n_tasks * ((k + 1) % m->n_lanes) / m->n_lanes;
  while (m->tasks[at].of) at = at + 1 < m->n_tasks ? at + 1 : 0;
  m->tasks[at] = t;
}

static void put_works(mapping *m) {
  for (size_t i = 0, at = 0; i < m->n_streams; i++)
    for (size_t k = 0; k < m->streams[i]->now.n; k++) {
      while (m->tasks[at].of) at++;
      m->tasks[at] = (map_task){WORK, m->streams[i], .c = m->streams[i]->now.items[k]};
    }
}

/* The tasks of a step. */
static rw_status plan(mapping *m, rw_error *err) {
  size_t longs = 0, sums = 0, works = 0;
  stream *lone = NULL;
  RW_TRY(choose_readers(m, err));
  for (size_t i = 0; i < m->n_streams; i++) {
    const stream *f = m->streams[i];
    longs += f->reads;
    sums += f->now.n > 0 && is_summed(f);
    works += f->now.n;
  }
  m->n_tasks = longs + (sums + 1) / 2 + works;
  if (!mem_grow((void **)&m->tasks, &m->cap_tasks, m->n_tasks, sizeof *m->tasks)) return rw_nomem(err, "rows");
  if (m->n_tasks) memset(m->tasks, 0, m->n_tasks * sizeof *m->tasks);
  longs = 0;
  for (size_t i = 0; i < m->n_streams; i++) {
    stream *f = m->streams[i];
    if (f->reads) put_long(m, longs++, (map_task){READ, f, {NULL}});
    if (f->now.n == 0 || !is_summed(f)) continue;
    if (lone) put_long(m, longs++, (map_task){SUM, lone, {f}});
    lone = lone ? NULL : f;
  }
  if (lone) put_long(m, longs, (map_task){SUM, lone, {NULL}});
  put_works(m);
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

/* Did the longest reading of the step take longer than all that was done, shared out evenly? A step without work,
 * as the first is, says nothing. */
static bool reading_is_slow(const mapping *m) {
  double longest = 0, read = 0, worked = 0;
  for (size_t i = 0; i < m->n_tasks; i++) {
    const map_task *t = &m->tasks[i];
    if (t->what == WORK) worked += t->c->seconds;
    if (t->what != READ) continue;
    read += t->of->seconds;
    if (t->of->seconds > longest) longest = t->of->seconds;
  }
  return worked > 0 && longest * (double)m->n_lanes > 1.25 * (read + worked);
}

/* Has a file whose sum is taken no other one beside it? */
static bool one_is_lone(const mapping *m) {
  size_t n = 0;
  for (size_t i = 0; i < m->n_streams; i++) n += is_summed(m->streams[i]) && !m->streams[i]->ended;
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
  bool alone = m->streams[0]->file->sink_runs_pool;
  pool_run_beside(m->context->threads, alone ? NULL : hand_on, m->n_tasks, run_task, m);
  if (alone) hand_on(m);
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
