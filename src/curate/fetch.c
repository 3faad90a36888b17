/* fetch.c - the second reading. A pair in one row is worked on where the row was parsed. Of a pair over two rows
 * the side that comes first waits; when the other has come, the pair joins a chunk that the threads work on
 * together.
 */
#include "curate/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "format/rows.h"

enum { CHUNK = 256 };

/* A row that is needed for a candidate; for both of its sides where these are one row. */
typedef struct {
  uint64_t line;
  uint32_t candidate;
  int side;
} need;

/* What one need of a row has come to: the result of a pair, or one side. */
typedef struct {
  void *result;
  conversation *side;
} part;

typedef struct {
  size_t candidate;
  slice source;
  conversation sides[2];
  void *result;
  rw_status status;
  rw_error err;
} joined;

typedef struct {
  curation *r;
  const pair_job *job;
  const uint8_t *want;
  pair_lane *lanes; /* [threads] */
  size_t n_lanes, opened;
  conversation **half; /* [candidates]: of a pair over two rows the side that came first, each one allocation */
  joined *chunk;       /* [CHUNK] of pairs over two rows */
  conversation *halves[2 * CHUNK]; /* what the chunk uses, for mem_free */
  size_t n_chunk, n_halves;
} fetching;

/* A file, while it is read. */
typedef struct {
  fetching *f;
  const input *in;
  need *needs;  /* by line */
  size_t n, at; /* at: the first that is not read yet */
} fetched_file;

/* ---- copies ---- */

static size_t text_bytes(const conversation *c) {
  size_t n = c->tools.len;
  for (size_t i = 0; i < c->n_messages; i++)
    n += c->messages[i].content.len + c->messages[i].other_role.len + c->messages[i].json.len;
  return n;
}

static slice put_text(char **room, slice text) {
  if (!text.p) return text;
  slice copy = {*room, text.len};
  memcpy(*room, text.p, text.len);
  *room += text.len;
  return copy;
}

/* The messages and then their texts, in `room` of n_messages * sizeof(message) + text_bytes(). */
static void lay_out(conversation *out, const conversation *c, void *room) {
  message *m = room;
  char *text = (char *)(m + c->n_messages);
  *out = (conversation){.messages = m, .n_messages = c->n_messages, .tools = put_text(&text, c->tools)};
  for (size_t i = 0; i < c->n_messages; i++) {
    const message *from = &c->messages[i];
    m[i] = (message){.role = from->role,
                     .content = put_text(&text, from->content),
                     .other_role = put_text(&text, from->other_role),
                     .json = put_text(&text, from->json),
                     .parts = from->parts};
  }
}

static bool copy_side(conversation *out, const conversation *c, arena *mem) {
  void *room = arena_alloc(mem, 1, c->n_messages * sizeof(message) + text_bytes(c));
  if (room) lay_out(out, c, room);
  return room != NULL;
}

static conversation *own_side(const conversation *c) {
  conversation *out = mem_alloc(1, sizeof *out + c->n_messages * sizeof(message) + text_bytes(c));
  if (out) lay_out(out, c, out + 1);
  return out;
}

bool pair_copy(conv_row *out, const conv_row *pair, arena *mem) {
  *out = *pair;
  out->branch = arena_alloc(mem, pair->n_branches, sizeof *out->branch);
  bool ok = out->branch != NULL;
  for (size_t b = 0; ok && b < pair->n_branches; b++) ok = copy_side(&out->branch[b], &pair->branch[b], mem);
  return ok;
}

/* ---- needs ---- */

static int by_line(const void *a, const void *b) {
  const need *x = a, *y = b;
  if (x->line != y->line) return x->line < y->line ? -1 : 1;
  if (x->candidate != y->candidate) return x->candidate < y->candidate ? -1 : 1;
  return x->side - y->side;
}

static size_t first_need(const fetched_file *f, uint64_t line) {
  size_t lo = 0, hi = f->n;
  while (lo < hi) {
    size_t mid = (lo + hi) / 2;
    if (f->needs[mid].line < line)
      lo = mid + 1;
    else
      hi = mid;
  }
  return lo;
}

static bool wants(void *ctx, uint64_t line) {
  fetched_file *f = ctx;
  while (f->at < f->n && f->needs[f->at].line < line) f->at++;
  return f->at < f->n && f->needs[f->at].line == line;
}

static size_t needs_of(const fetched_file *f, size_t first, uint64_t line) {
  size_t n = 0;
  while (first + n < f->n && f->needs[first + n].line == line) n++;
  return n;
}

/* Pairs of this file's rows end at later files of the source, too. */
static rw_status list_needs(void *ctx, bool *any, rw_error *err) {
  fetched_file *f = ctx;
  const curation *r = f->f->r;
  size_t index = (size_t)(f->in - r->inputs), end = index, cap = 0;
  int sides = f->in->src->pairing == PAIR_IN_ROW ? 1 : 2;
  while (end + 1 < r->n_inputs && r->inputs[end + 1].src == f->in->src) end++;
  end = r->inputs[end].first + r->inputs[end].n;
  for (size_t i = f->in->first; i < end; i++)
    for (int side = 0; f->f->want[i] && side < sides; side++) {
      place row = r->c[i].row[side];
      need add = {row.line, (uint32_t)i, side};
      if (row.input == index && !vec_push(f->needs, f->n, cap, add)) return rw_nomem(err, "candidates");
    }
  if (f->n > 0) qsort(f->needs, f->n, sizeof *f->needs, by_line);
  *any = f->n > 0;
  return RW_OK;
}

/* ---- pairs over two rows ---- */

static void work_joined(void *ctx, size_t task, int thread) {
  fetching *f = ctx;
  joined *j = &f->chunk[task];
  pair_lane *lane = &f->lanes[thread];
  conv_row pair = {.kind = ROW_PAIR, .branch = j->sides, .n_branches = 2, .n_chosen = 1, .source = j->source};
  j->result = arena_alloc(lane->keep, 1, f->job->result_size);
  j->status = j->result ? f->job->work(f->job->ctx, lane, j->candidate, &pair, j->result, &j->err)
                        : rw_nomem(&j->err, "candidates");
}

static rw_status finish_chunk(fetching *f, rw_error *err) {
  rw_status s = RW_OK;
  pool_run(f->r->o->context->threads, f->n_chunk, work_joined, f);
  for (size_t i = 0; !s && i < f->n_chunk; i++) {
    if ((s = f->chunk[i].status) && err) *err = f->chunk[i].err;
    if (!s) s = f->job->sink(f->job->ctx, f->chunk[i].candidate, f->chunk[i].result, err);
  }
  for (size_t i = 0; i < f->n_halves; i++) mem_free(f->halves[i]);
  for (size_t i = 0; i < f->n_lanes; i++) arena_reset(f->lanes[i].keep);
  f->n_chunk = f->n_halves = 0;
  return s;
}

static rw_status join(fetching *f, const source *src, const need *at, const conversation *side, rw_error *err) {
  conversation *other = f->half[at->candidate], *now = own_side(side);
  if (!now) return rw_nomem(err, "a pair");
  f->half[at->candidate] = now;
  if (!other) return RW_OK;
  f->half[at->candidate] = NULL;
  joined *j = &f->chunk[f->n_chunk++];
  j->candidate = at->candidate;
  j->source = slice_of(src->name);
  j->sides[at->side] = *now;
  j->sides[1 - at->side] = *other;
  f->halves[f->n_halves++] = now;
  f->halves[f->n_halves++] = other;
  return f->n_chunk == CHUNK ? finish_chunk(f, err) : RW_OK;
}

/* ---- rows ---- */

/* The thread's lane of the job: rows_map opens its lanes in the order of threads. */
static rw_status open_lane(void *ctx, void *own, rw_error *err) {
  fetching *f = ctx;
  (void)err;
  *(pair_lane **)own = &f->lanes[f->opened++];
  return RW_OK;
}

static rw_status work_need(const fetched_file *file, rows_lane *lane, const need *at, part *out, rw_error *err) {
  const fetching *f = file->f;
  const source *src = file->in->src;
  const candidate *c = &f->r->c[at->candidate];
  scan figures = {.chosen = c->chosen, .rejected = c->rejected, .ranking = file->in->form == FORM_RANKING};
  conv_row row = {.source = slice_of(src->name)};
  RW_TRY(src_conv(src, lane->doc, lane->mem, &figures, &row, err));
  if (src->pairing != PAIR_IN_ROW) {
    out->side = arena_alloc(lane->keep, 1, sizeof *out->side);
    return out->side && copy_side(out->side, row.branch, lane->keep) ? RW_OK : rw_nomem(err, "a pair");
  }
  pair_lane job = {lane->keep, (*(pair_lane **)lane->own)->own};
  out->result = arena_alloc(lane->keep, 1, f->job->result_size);
  return out->result ? f->job->work(f->job->ctx, &job, at->candidate, &row, out->result, err)
                     : rw_nomem(err, "a pair");
}

static rw_status work(void *ctx, rows_lane *lane, slice row, uint64_t line, void *result, rw_error *err) {
  const fetched_file *f = ctx;
  part **parts = result;
  size_t first = first_need(f, line), n = needs_of(f, first, line);
  RW_TRY(json_parse(lane->doc, row.p, row.len, err));
  *parts = arena_alloc(lane->keep, n, sizeof **parts);
  if (!*parts) return rw_nomem(err, "a row");
  for (size_t k = 0; k < n; k++) RW_TRY(work_need(f, lane, &f->needs[first + k], &(*parts)[k], err));
  return RW_OK;
}

static rw_status sink(void *ctx, slice row, uint64_t line, void *result, rw_error *err) {
  const fetched_file *file = ctx;
  fetching *f = file->f;
  part *const *parts = result;
  size_t first = first_need(file, line), n = needs_of(file, first, line);
  (void)row;
  for (size_t k = 0; k < n; k++) {
    const need *at = &file->needs[first + k];
    part *p = &(*parts)[k];
    RW_TRY(p->side ? join(f, file->in->src, at, p->side, err)
                   : f->job->sink(f->job->ctx, at->candidate, p->result, err));
  }
  return RW_OK;
}

static rw_status end_file(void *ctx, const rows_in *in, rw_error *err) {
  fetched_file *f = ctx;
  (void)in;
  mem_free(f->needs);
  f->needs = NULL;
  return finish_chunk(f->f, err);
}

static rw_status fetch_files(fetching *f, fetched_file *files, rows_file_job *jobs, rw_error *err) {
  curation *r = f->r;
  rows_job job = {.result_size = sizeof(part *),
                  .lane_size = sizeof(pair_lane *),
                  .lane_open = open_lane,
                  .work = work,
                  .sink = sink,
                  .ctx = f,
                  .results_alone = true};
  for (size_t i = 0; i < r->n_inputs; i++) {
    files[i] = (fetched_file){.f = f, .in = &r->inputs[i]};
    jobs[i] = (rows_file_job){.path = r->inputs[i].path,
                              .sink_runs_pool = r->inputs[i].src->pairing != PAIR_IN_ROW, /* finish_chunk does */
                              .ctx = &files[i],
                              .begin = list_needs,
                              .end = end_file,
                              .wants = wants};
  }
  return rows_map_files(jobs, r->n_inputs, &job, r->o->context, err);
}

/* ---- the whole ---- */

static rw_status open_lanes(fetching *f, rw_error *err) {
  f->n_lanes = (size_t)pool_threads(f->r->o->context->threads);
  f->lanes = mem_zalloc(f->n_lanes, sizeof *f->lanes);
  f->half = mem_zalloc(f->r->n, sizeof *f->half);
  f->chunk = mem_zalloc(CHUNK, sizeof *f->chunk);
  bool ok = f->lanes && f->half && f->chunk;
  for (size_t i = 0; ok && i < f->n_lanes; i++)
    ok = (f->lanes[i].keep = arena_new()) && (f->lanes[i].own = mem_zalloc(1, f->job->lane_size));
  if (!ok) return rw_nomem(err, "candidates");
  for (size_t i = 0; f->job->lane_open && i < f->n_lanes; i++)
    RW_TRY(f->job->lane_open(f->job->ctx, f->lanes[i].own, err));
  return RW_OK;
}

static void close_lanes(fetching *f) {
  for (size_t i = 0; f->lanes && i < f->n_lanes; i++) {
    if (f->job->lane_close && f->lanes[i].own) f->job->lane_close(f->job->ctx, f->lanes[i].own);
    mem_free(f->lanes[i].own);
    arena_free(f->lanes[i].keep);
  }
  for (size_t i = 0; i < f->n_halves; i++) mem_free(f->halves[i]);
  for (size_t i = 0; f->half && i < f->r->n; i++) mem_free(f->half[i]);
  mem_free(f->lanes);
  mem_free(f->half);
  mem_free(f->chunk);
}

rw_status curation_fetch(curation *r, const uint8_t *want, const pair_job *job, rw_error *err) {
  fetching *f = mem_zalloc(1, sizeof *f);
  if (!f) return rw_nomem(err, "candidates");
  f->r = r;
  f->job = job;
  f->want = want;
  fetched_file *files = mem_zalloc(r->n_inputs, sizeof *files);
  rows_file_job *jobs = mem_zalloc(r->n_inputs, sizeof *jobs);
  rw_status s = files && jobs ? open_lanes(f, err) : rw_nomem(err, "candidates");
  if (!s) s = fetch_files(f, files, jobs, err);
  for (size_t i = 0; files && i < r->n_inputs; i++) mem_free(files[i].needs);
  mem_free(files);
  mem_free(jobs);
  close_lanes(f);
  mem_free(f);
  return s;
}
