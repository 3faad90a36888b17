/* write.c - the rows of a set, those of its write stages, and removed.jsonl: in one reading of the sources, and
 * under their names when all of them are whole. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "curate/hashes.h"
#include "curate/outputs.h"
#include "curate/publish.h"
#include "curate/row.h"
#include "format/rows.h"

enum { SHARD_BYTES = 500000000 }; /* bytes of rows as JSON, about what the hub's own tools choose */

typedef struct {
  rows_out *rows;
  const char *name; /* in the output folder */
  sha256 sum;
  bool summed;
} output;

typedef struct {
  curation *r;
  output set, removed;
  output stage[MAX_STAGES]; /* of stages with a file */
} writing;

static rw_status write_row(void *ctx, size_t i, slice row, rw_error *err) {
  writing *w = ctx;
  for (size_t k = 0; k < w->r->recipe.n; k++) {
    if (!(w->r->c[i].written >> k & 1)) continue;
    w->r->stage_bytes[k] += row.len;
    RW_TRY(rows_write(w->stage[k].rows, row.p, row.len, err));
  }
  if (w->r->c[i].reason) return RW_OK;
  w->r->row_bytes += row.len;
  return rows_write(w->set.rows, row.p, row.len, err);
}

/* What was removed, by input and row. */
typedef struct {
  place row;
  const candidate *c; /* NULL: a loose row */
  const char *reason, *detail;
} removal;
static int by_row(const void *a, const void *b) {
  const removal *x = a, *y = b;
  return curation_order(x->row, y->row);
}

/* An id has nothing to escape. */
static void put_id(const curation *r, const candidate *c, place row, json_writer *w, const char *name) {
  str *out = jw_value(w, name);
  str_addc(out, '"');
  if (c)
    curation_id(r, c, out);
  else
    curation_row_id(r, row, out);
  str_addc(out, '"');
}

static void put_removal(const curation *r, const removal *x, json_writer *w) {
  const candidate *c = x->c;
  jw_object(w, NULL);
  put_id(r, c, x->row, w, "id");
  jw_string(w, "source", r->inputs[x->row.input].src->name);
  jw_string(w, "stage", c ? c->by->kind->name : "source");
  jw_string(w, "reason", x->reason);
  if (x->detail) jw_string(w, "detail", x->detail);
  if (c && c->twin) put_id(r, &r->c[c->twin - 1], x->row, w, "kept");
  if (c && c->twin && c->jaccard > 0) str_printf(jw_value(w, "jaccard"), "%.6g", c->jaccard);
  if (c && c->matches) jw_raw(w, "contamination", slice_of(c->matches));
  jw_end(w);
}

static rw_status write_removed(curation *r, rows_out *out, rw_error *err) {
  removal *list = mem_alloc(r->n + r->n_loose, sizeof *list);
  size_t n = 0;
  if (!list) return rw_nomem(err, "removed rows");
  for (size_t i = 0; i < r->n; i++) {
    const candidate *c = &r->c[i];
    if (c->reason) list[n++] = (removal){curation_later(c), c, c->reason, NULL};
  }
  for (size_t i = 0; i < r->n_loose; i++)
    list[n++] = (removal){r->loose[i].row, NULL, r->loose[i].reason, r->loose[i].detail};
  qsort(list, n, sizeof *list, by_row);
  str s = {0};
  rw_status st = RW_OK;
  for (size_t i = 0; !st && i < n; i++) {
    json_writer w = {.out = &s};
    str_clear(&s);
    put_removal(r, &list[i], &w);
    st = s.oom ? rw_nomem(err, "removed rows") : rows_write(out, s.p, s.len, err);
  }
  str_free(&s);
  mem_free(list);
  return st;
}

static rw_status open_file(const curation *r, output *o, const char *name, rw_error *err) {
  char *path = file_join(r->o->out, name);
  rw_status s = path ? rows_create(&o->rows, path, err) : rw_nomem(err, r->o->out);
  o->name = name;
  o->summed = !s && rows_sum_written(o->rows, &o->sum);
  mem_free(path);
  return s;
}

/* What a killed run has left in data/ goes. */
static rw_status open_shards(curation *r, output *o, const char *data, rw_error *err) {
  RW_TRY(file_out_dir(data, true, err));
  char *stem = file_join(data, "train");
  rw_status s = stem ? rows_create_shards(&o->rows, stem, SHARD_BYTES, &r->shards, err) : rw_nomem(err, data);
  mem_free(stem);
  return s;
}

static rw_status open_all(writing *w, const char *data, rw_error *err) {
  curation *r = w->r;
  RW_TRY(r->o->parquet ? open_shards(r, &w->set, data, err) : open_file(r, &w->set, "train.jsonl", err));
  RW_TRY(open_file(r, &w->removed, "removed.jsonl", err));
  for (const stage *g = r->recipe.stages; g < r->recipe.stages + r->recipe.n; g++)
    if (curation_writes(r, g)) RW_TRY(open_file(r, &w->stage[g->index], stage_file(g), err));
  return RW_OK;
}

static rw_status commit(curation *r, output *o, rw_error *err) {
  rows_out *rows = o->rows;
  o->rows = NULL;
  if (rows) RW_TRY(rows_commit(rows, err));
  return o->summed ? hashes_wrote(r, o->name, &o->sum, err) : RW_OK;
}

static rw_status write_all(writing *w, const char *data, rw_error *err) {
  curation *r = w->r;
  uint8_t *want = mem_alloc(r->n, 1);
  if (!want) return rw_nomem(err, "candidates");
  for (size_t i = 0; i < r->n; i++) want[i] = r->c[i].reason == NULL || r->c[i].written;
  rw_status s = open_all(w, data, err);
  if (!s) s = curation_fetch_rows(r, want, write_row, w, err);
  if (!s) s = write_removed(r, w->removed.rows, err);
  mem_free(want);
  return s;
}

rw_status curation_write(curation *r, rw_error *err) {
  char *data = file_join(r->o->out, "data");
  writing w = {.r = r};
  rw_status s = data ? write_all(&w, data, err) : rw_nomem(err, r->o->out);
  if (!s) s = commit(r, &w.removed, err);
  for (size_t k = 0; !s && k < r->recipe.n; k++) s = commit(r, &w.stage[k], err);
  if (!s) s = commit(r, &w.set, err);
  if (!s) s = curation_remove_earlier(r, err);
  if (!s && !r->o->parquet) rmdir(data); /* it stays when something else is in there */
  rows_abort(w.removed.rows);
  rows_abort(w.set.rows);
  for (size_t k = 0; k < r->recipe.n; k++) rows_abort(w.stage[k].rows);
  if (s && r->o->parquet && data) rmdir(data); /* when nothing is in there */
  mem_free(data);
  return s;
}
