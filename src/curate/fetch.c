/* fetch.c - the second reading: the texts of chosen candidates, in order, without holding more than pairs in the
 * making. */
#include <stdlib.h>
#include <string.h>

#include "curate/run.h"
#include "format/rows.h"

typedef struct {
  uint64_t line;
  uint32_t candidate;
  int side;
} need;

typedef struct {
  curation *r;
  const input *in;
  need *needs; /* by line */
  size_t n;
  struct lane {
    json_doc *doc;
    arena *mem;
  } * lanes;
  slice *half; /* of a pair over two rows: the side that came first; [candidates], owned */
  rw_status (*emit)(void *ctx, size_t i, const pair_text *t, rw_error *err);
  void *ctx;
} fetching;

static int by_line(const void *a, const void *b) {
  const need *x = a, *y = b;
  if (x->line != y->line) return x->line < y->line ? -1 : 1;
  if (x->candidate != y->candidate) return x->candidate < y->candidate ? -1 : 1;
  return x->side - y->side;
}

static size_t first_need(const fetching *f, uint64_t line) {
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

/* The length of what was appended since `at`, into the room that was left for it there. */
static void close_part(str *out, size_t at) {
  uint64_t len = out->len - at - sizeof len;
  if (!out->oom) memcpy(out->p + at, &len, sizeof len);
}

static slice next_part(const char **p) {
  uint64_t len;
  memcpy(&len, *p, sizeof len);
  slice part = {*p + sizeof len, (size_t)len};
  *p += sizeof len + len;
  return part;
}

/* Result: for each need of the line, the messages and, with the rejected ones, the row's own fields; each with its
 * length before it. */
static rw_status work(void *ctx, int thread, slice row, uint64_t line, str *out, rw_error *err) {
  const fetching *f = ctx;
  size_t k = first_need(f, line);
  if (k == f->n || f->needs[k].line != line) return RW_OK;
  struct lane *l = &f->lanes[thread];
  arena_reset(l->mem);
  rw_status s = json_parse(l->doc, row.p, row.len, err);
  for (; !s && k < f->n && f->needs[k].line == line; k++) {
    const candidate *c = &f->r->c[f->needs[k].candidate];
    scan figures = {.chosen = c->chosen, .rejected = c->rejected, .ranking = f->in->form == FORM_RANKING};
    static const uint64_t room = 0;
    size_t at = out->len;
    str_add(out, (const char *)&room, sizeof room);
    s = f->in->src->text(l->doc, l->mem, &figures, f->needs[k].side, out, err);
    close_part(out, at);
    at = out->len;
    str_add(out, (const char *)&room, sizeof room);
    if (!s && f->needs[k].side == 1 && f->in->src->own) s = f->in->src->own(l->doc, l->mem, out, err);
    close_part(out, at);
    if (!s && out->oom) s = rw_nomem(err, "a row");
  }
  return s ? rw_prefix(err, s, "%s:%llu", f->in->path, (unsigned long long)line) : RW_OK;
}

static rw_status sink(void *ctx, slice row, uint64_t line, slice result, rw_error *err) {
  fetching *f = ctx;
  (void)row;
  const char *p = result.p;
  for (size_t k = first_need(f, line); k < f->n && f->needs[k].line == line; k++) {
    slice text = next_part(&p), own = next_part(&p), other;
    size_t i = f->needs[k].candidate;
    if (!f->half[i].p) {
      f->half[i] = (slice){mem_strndup(text.p, text.len), text.len};
      if (!f->half[i].p) return rw_nomem(err, "a pair");
      continue;
    }
    other = f->half[i];
    bool chosen_now = f->needs[k].side == 0; /* of a pair in a row the rejected side comes last, with own fields */
    pair_text t = {chosen_now ? text : other, chosen_now ? other : text, own};
    rw_status s = f->emit(f->ctx, i, &t, err);
    mem_free((char *)f->half[i].p);
    f->half[i] = (slice){0};
    RW_TRY(s);
  }
  return RW_OK;
}

static rw_status fetch_input(fetching *f, size_t index, const uint8_t *want, rw_error *err) {
  f->in = &f->r->inputs[index];
  f->n = 0;
  size_t most = 0, end = index; /* pairs of this file's rows end at later files of the source, too */
  while (end + 1 < f->r->n_inputs && f->r->inputs[end + 1].src == f->in->src) end++;
  end = f->r->inputs[end].first + f->r->inputs[end].n;
  for (size_t i = f->in->first; i < end; i++)
    for (int side = 0; want[i] && side < 2; side++) most += f->r->c[i].row[side].input == index;
  if (most == 0) return RW_OK;
  f->needs = mem_alloc(most, sizeof *f->needs);
  if (!f->needs) return rw_nomem(err, "candidates");
  for (size_t i = f->in->first; i < end; i++)
    for (int side = 0; want[i] && side < 2; side++)
      if (f->r->c[i].row[side].input == index)
        f->needs[f->n++] = (need){f->r->c[i].row[side].line, (uint32_t)i, side};
  qsort(f->needs, f->n, sizeof *f->needs, by_line);
  rows_in *in;
  rows_pass pass = {work, sink, f};
  rw_status s = rows_open(&in, f->in->path, f->r->o->context, err);
  if (!s) {
    s = rows_run(in, &pass, err);
    rows_close(in);
  }
  mem_free(f->needs);
  f->needs = NULL;
  return s;
}

rw_status curation_fetch(curation *r, const uint8_t *want,
                         rw_status (*emit)(void *ctx, size_t i, const pair_text *t, rw_error *err), void *ctx,
                         rw_error *err) {
  int threads = pool_threads(r->o->context->threads);
  fetching f = {.r = r, .emit = emit, .ctx = ctx};
  f.lanes = mem_zalloc((size_t)threads, sizeof *f.lanes);
  f.half = mem_zalloc(r->n, sizeof *f.half);
  bool ok = f.lanes && f.half;
  for (int i = 0; ok && i < threads; i++) ok = (f.lanes[i].doc = json_new()) && (f.lanes[i].mem = arena_new());
  rw_status s = ok ? RW_OK : rw_nomem(err, "candidates");
  for (size_t i = 0; !s && i < r->n_inputs; i++) s = fetch_input(&f, i, want, err);
  for (int i = 0; f.lanes && i < threads; i++) {
    json_free(f.lanes[i].doc);
    arena_free(f.lanes[i].mem);
  }
  for (size_t i = 0; f.half && i < r->n; i++) mem_free((char *)f.half[i].p);
  mem_free(f.lanes);
  mem_free(f.half);
  return s;
}
