/* batch.cu - a pass's batch on the device: ids, positions, rows by id, row blocks of pieces, dropout's keys; one
 * upload. */
#include <stdlib.h>
#include <string.h>

#include "compute/cuda/cuda.h"

/* Parts of one buffer that is laid out on the host and copied whole. */
struct layout {
  char *host, *device; /* NULL while sizes are counted */
  size_t used;
};
template <class T>
static T *part(layout *l, size_t n, const T **device) {
  T *p = (T *)(l->host ? l->host + l->used : nullptr);
  if (device) *device = (const T *)(l->device ? l->device + l->used : nullptr);
  l->used += (n * sizeof(T) + 15) & ~(size_t)15;
  return p;
}

static size_t count_blocks(const row_pieces *pieces) {
  size_t n = 0, at = 0;
  for (size_t i = 0; i < pieces->n; at = pieces->end[i++]) n += (pieces->end[i] - at + ROW_BLOCK - 1) / ROW_BLOCK;
  return n;
}

static void lay_rows(layout *l, row_list *r, const row_pieces *pieces, size_t rows, const uint64_t *keys) {
  const row_pieces one = {&rows, rows > 0};
  if (pieces->n == 0) pieces = &one;
  r->rows = rows;
  r->n_pieces = pieces->n;
  r->n_blocks = count_blocks(pieces);
  r->piece_end = part<size_t>(l, pieces->n, nullptr);
  row_block *blocks = part<row_block>(l, r->n_blocks, &r->blocks);
  uint64_t *k = part<uint64_t>(l, keys ? rows : 0, &r->drop_keys);
  if (!keys) r->drop_keys = nullptr;
  if (!l->host) return;
  if (keys) memcpy(k, keys, rows * sizeof *k);
  size_t at = 0;
  for (size_t i = 0; i < pieces->n; i++) {
    r->piece_end[i] = pieces->end[i];
    for (; at < pieces->end[i]; at += blocks[-1].count)
      *blocks++ = {(int32_t)at,
                   pieces->end[i] - at < ROW_BLOCK ? (int32_t)(pieces->end[i] - at) : (int32_t)ROW_BLOCK};
  }
}

struct id_row {
  int32_t id, row;
};
static int by_id(const void *pa, const void *pb) {
  const id_row *a = (const id_row *)pa, *b = (const id_row *)pb;
  if (a->id != b->id) return a->id < b->id ? -1 : 1;
  return a->row < b->row ? -1 : a->row > b->row;
}
static void lay_ids(layout *l, batch *b, const forest *f, id_row *sorted) {
  int32_t *ids = part<int32_t>(l, f->rows, &b->ids), *value = part<int32_t>(l, f->rows, &b->id_value),
          *start = part<int32_t>(l, f->rows + 1, &b->id_start), *rows = part<int32_t>(l, f->rows, &b->id_rows);
  b->n_ids = 0;
  if (!l->host || !f->ids) return;
  memcpy(ids, f->ids, f->rows * sizeof *ids);
  for (size_t i = 0; i < f->rows; i++) sorted[i] = {f->ids[i], (int32_t)i};
  qsort(sorted, f->rows, sizeof *sorted, by_id);
  for (size_t i = 0; i < f->rows; i++) {
    if (i == 0 || sorted[i].id != sorted[i - 1].id) value[b->n_ids] = sorted[i].id, start[b->n_ids++] = (int32_t)i;
    rows[i] = sorted[i].row;
  }
  start[b->n_ids] = (int32_t)f->rows;
}

static void lay_batch(layout *l, batch *b, const batch_layout *from) {
  const forest *f = &from->f;
  b->f = f;
  lay_rows(l, &b->set[ROWS_ALL], &from->pieces, f->rows, from->drop_keys);
  lay_rows(l, &b->set[ROWS_LAST], &from->last_pieces, from->n_last, from->drop_last);
  int32_t *pos = part<int32_t>(l, f->rows, &b->pos), *last = part<int32_t>(l, from->n_last, &b->last);
  if (l->host && f->pos) memcpy(pos, f->pos, f->rows * sizeof *pos);
  for (size_t i = 0; l->host && i < from->n_last; i++) last[i] = (int32_t)from->last[i];
  lay_ids(l, b, f, part<id_row>(l, f->rows, nullptr));
}

static void be_batch_free(backend *be, batch *b) {
  if (!b) return;
  be->release(be, MEM_DEVICE, b->device);
  be->release(be, MEM_DEVICE, b->plan_words);
  attention_plan_free(&b->plan);
  mem_free(b->host);
  mem_free(b);
}

static rw_status be_batch_make(backend *be, batch **io, const batch_layout *from, rw_error *err) {
  cuda_state *s = cuda_of(be);
  batch *b = *io ? *io : (batch *)mem_zalloc(1, sizeof *b);
  if (!b) return rw_nomem(err, "a batch");
  *io = b;
  if (from->f.rows > INT32_MAX) return rw_fail(err, RW_UNSUPPORTED, "a pass of %zu rows", from->f.rows);
  layout l = {};
  lay_batch(&l, b, from);
  if (l.used > b->host_room) {
    mem_free(b->host);
    b->host_room = 0;
    b->host = (char *)mem_alloc(l.used, 1);
    if (!b->host) return rw_nomem(err, "a batch");
    b->host_room = l.used;
  }
  s->op = "batch_make";
  if (l.used && !cuda_room(s, &b->device, &b->device_room, l.used)) return be->sync(be, err);
  l = {b->host, (char *)b->device, 0};
  lay_batch(&l, b, from);
  b->plan_share = 0;
  be->put(be, b->device, b->host, l.used);
  return RW_OK;
}

void cuda_batch_ops(backend *be) {
  be->batch_make = be_batch_make;
  be->batch_free = be_batch_free;
}
