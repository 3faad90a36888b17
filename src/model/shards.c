/* shards.c - what slices and ranks add to training: the ordered sum of slices' gradients, of which each rank keeps
 * a stretch; the norm over all stretches; the values that each rank has updated, on all of them.
 *
 * A stretch is of the trained values as one vector. It begins where a block of 8-bit states begins, so that these
 * need no other rank. No sum depends on the number of ranks: gradients are added slice by slice, squares by blocks
 * that are the whole vector's.
 */
#include <math.h>

#include "model/model_impl.h"

enum {
  MOST_PIECE = 1 << 20,
  STAGED = 1 << 24
}; /* values: of a piece on its way; of all pieces that a rank awaits */

static comm *ranks_of(const model *m) { return m->context->ranks; }

typedef struct {
  size_t from, n;
} stretch;

static size_t blocks_before(size_t value) { return (value + SQUARES_BLOCK - 1) / SQUARES_BLOCK; }

static stretch stretch_of(const trainer *t, int r) { return (stretch){t->cut[r], t->cut[r + 1] - t->cut[r]}; }

static stretch piece_of(const trainer *t, int r, size_t k) {
  stretch s = stretch_of(t, r);
  size_t at = k * t->piece < s.n ? k * t->piece : s.n;
  return (stretch){s.from + at, s.n - at < t->piece ? s.n - at : t->piece};
}

/* Values whose sums over rounds of slices are kept apart from the gradients of the slice under way. */
static size_t summed(const model *m, size_t slices) {
  const comm *c = ranks_of(m);
  return slices <= (size_t)c->size ? 0 : stretch_of(&m->tr, c->rank).n;
}

static size_t piece_for(const comm *c, size_t values) {
  size_t piece = (size_t)STAGED / (size_t)c->size;
  if (piece > MOST_PIECE) piece = MOST_PIECE;
  if (piece < SQUARES_BLOCK) piece = SQUARES_BLOCK; /* see share_tails */
  return piece < values ? piece : values;
}

/* ---- stretches ---- */

rw_status shards_cut(model *m, rw_error *err) {
  trainer *t = &m->tr;
  const comm *c = ranks_of(m);
  t->cut = mem_zalloc((size_t)c->size + 1, sizeof *t->cut);
  t->parts = mem_alloc(2 * (size_t)c->size, sizeof *t->parts);
  if (!t->cut || !t->parts) return rw_nomem(err, "ranks");
  for (int r = 1; r <= c->size; r++) {
    size_t at = (size_t)((unsigned __int128)t->n_trained * (unsigned)r / (unsigned)c->size), base = 0;
    for (size_t i = t->first; i < m->w->n_tensors && base + m->w->t[i].pub.count <= at; i++)
      base += m->w->t[i].pub.count;
    t->cut[r] = r == c->size ? t->n_trained : at - (at - base) % ADAMW8_BLOCK;
  }
  t->piece = piece_for(c, t->n_trained);
  size_t from = 0;
  for (size_t i = t->first; i < m->w->n_tensors; from += m->w->t[i++].pub.count) {
    model_param *p = &m->w->t[i].pub;
    size_t lo = t->cut[c->rank], hi = t->cut[c->rank + 1];
    lo = lo > from ? lo - from : 0;
    hi = hi > from ? hi - from : 0;
    if (hi > p->count) hi = p->count;
    p->owned = hi > lo ? hi - lo : 0;
    p->first = p->owned ? lo : 0;
  }
  return RW_OK;
}

rw_status shards_room(model *m, size_t slices, rw_error *err) {
  trainer *t = &m->tr;
  backend *be = m->be;
  const comm *c = ranks_of(m);
  size_t sum = c->size == 1 && slices > 1 ? t->n_trained : summed(m, slices), in = (size_t)c->size * t->piece;
  struct {
    float **p;
    size_t n;
    mem_kind kind;
  } blocks[] = {{&t->sum, sum, MEM_DEVICE},
                {&t->in[0], in, MEM_STAGING},
                {&t->in[1], in, MEM_STAGING},
                {&t->staged[0], t->piece, MEM_DEVICE},
                {&t->staged[1], t->piece, MEM_DEVICE},
                {&t->out[0], in, MEM_STAGING},
                {&t->out[1], in, MEM_STAGING}};
  size_t n = c->size == 1 ? 1 : be->traits.maps_host ? 3 : sizeof blocks / sizeof *blocks;
  for (size_t i = 0; i < n; i++) {
    if (blocks[i].n == 0) continue;
    *blocks[i].p = be->alloc(be, blocks[i].kind, blocks[i].n * sizeof(float));
    if (!*blocks[i].p) return rw_nomem(err, "gradients of slices");
  }
  return RW_OK;
}

void shards_free(model *m) {
  trainer *t = &m->tr;
  float **device[] = {&t->sum, &t->staged[0], &t->staged[1]},
        **host[] = {&t->in[0], &t->in[1], &t->out[0], &t->out[1]};
  for (size_t i = 0; i < 3; i++) {
    m->be->release(m->be, MEM_DEVICE, *device[i]);
    *device[i] = NULL;
  }
  for (size_t i = 0; i < 4; i++) {
    m->be->release(m->be, MEM_STAGING, *host[i]);
    *host[i] = NULL;
  }
}

shard_bytes shards_bytes(const model *m, size_t slices, uint64_t trained) {
  const comm *c = ranks_of(m);
  uint64_t n = (uint64_t)c->size, share = (trained + n - 1) / n, piece = piece_for(c, trained),
           staged = 2 * n * piece;
  if (slices == 0) slices = 1;
  shard_bytes b = {.sums = slices > n ? 4 * share : 0, .states = share};
  if (n == 1) return b;
  b.staged = 4 * (m->be->traits.maps_host ? staged : 2 * staged);
  /* a step's exchange: what this rank's slices send to the others, and its updated values */
  uint64_t rounds = (slices + n - 1) / n;
  b.exchanged = 4 * (rounds * (trained - share) + (n - 1) * share);
  return b;
}

/* ---- sums ---- */

static rw_status begin_piece(model *m, int here, size_t k, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  int slot = (int)(k & 1);
  comm_part *out = t->parts, *in = t->parts + c->size;
  size_t n_out = 0, n_in = 0;
  stretch mine = piece_of(t, c->rank, k);
  for (int r = 0; r < c->size; r++) {
    if (r == c->rank) continue;
    stretch theirs = piece_of(t, r, k);
    float *from = t->grads + theirs.from, *to = t->in[slot] + (size_t)r * t->piece;
    if (c->rank < here && theirs.n) {
      if (t->out[slot]) {
        float *room = t->out[slot] + (size_t)r * t->piece;
        m->be->get(m->be, room, from, theirs.n * sizeof *room);
        from = room;
      }
      out[n_out++] = (comm_part){r, from, theirs.n * sizeof *from};
    }
    if (r < here && mine.n) in[n_in++] = (comm_part){r, to, mine.n * sizeof *to};
  }
  return c->begin(c, slot, out, n_out, in, n_in, err);
}

/* Piece k as rank r has it, where operations reach it; `which` of two places. */
static float *seen(model *m, int r, size_t k, size_t n, int which) {
  trainer *t = &m->tr;
  float *host = t->in[k & 1] + (size_t)r * t->piece;
  if (r == ranks_of(m)->rank) return t->grads + piece_of(t, r, k).from;
  if (!t->staged[which]) return host;
  m->be->put(m->be, t->staged[which], host, n * sizeof *host);
  return t->staged[which];
}

/* What the first `here` ranks have of piece k is added in their order, to earlier rounds' sum if there is one. */
static void add_piece(model *m, int here, bool first, bool last, size_t k) {
  trainer *t = &m->tr;
  backend *be = m->be;
  int rank = ranks_of(m)->rank;
  stretch mine = piece_of(t, rank, k);
  float *own = t->grads + mine.from, *sum = t->sum ? t->sum + (mine.from - t->cut[rank]) : NULL;
  if (mine.n == 0) return;
  for (int r = 0; r < here; r++) {
    float *x = seen(m, r, k, mine.n, r > 0);
    if (first && r == 0 && !sum)
      sum = x;
    else if (first && r == 0)
      be->copy(be, mat_f32(sum, mine.n), mat_f32(x, mine.n), 1, mine.n);
    else
      be->add(be, mat_f32(sum, mine.n), mat_f32(x, mine.n), 1, mine.n);
  }
  if (last && sum != own) be->copy(be, mat_f32(own, mine.n), mat_f32(sum, mine.n), 1, mine.n);
}

/* A block of squares that begins in a rank's stretch and ends behind it: the sums of what is left of it come from
 * those that have made them. Only when all sums are made: until then every rank's own gradients are waited for. */
static rw_status share_tails(model *m, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  bool host = m->be->traits.maps_host;
  comm_part *out = t->parts, *in = t->parts + c->size;
  size_t n_out = 0, n_in = 0;
  for (int r = 0; r < c->size; r++) {
    size_t end = blocks_before(t->cut[r + 1]) * SQUARES_BLOCK;
    if (end > t->n_trained) end = t->n_trained;
    for (int q = r + 1; q < c->size && t->cut[r + 1] > t->cut[r] && t->cut[q] < end; q++) {
      size_t to = t->cut[q + 1] < end ? t->cut[q + 1] : end, bytes = (to - t->cut[q]) * sizeof(float);
      float *sums = t->grads + t->cut[q];
      if (c->rank == q) {
        float *from = host ? sums : t->out[0] + (size_t)r * t->piece;
        if (!host) m->be->get(m->be, from, sums, bytes);
        out[n_out++] = (comm_part){r, from, bytes};
      }
      if (c->rank == r) in[n_in++] = (comm_part){q, host ? sums : t->in[0] + (size_t)q * t->piece, bytes};
    }
  }
  RW_TRY(c->begin(c, 0, out, n_out, in, n_in, err));
  RW_TRY(c->end(c, 0, err));
  for (size_t i = 0; !host && i < n_in; i++) m->be->put(m->be, t->grads + t->cut[in[i].peer], in[i].p, in[i].bytes);
  return RW_OK;
}

rw_status model_add_slices(model *m, int here, bool first, bool last, rw_error *err) {
  trainer *t = &m->tr;
  backend *be = m->be;
  comm *c = ranks_of(m);
  size_t n = t->n_trained, pieces = 0;
  mat g = mat_f32(t->grads, n), sum = mat_f32(t->sum, n);
  if (c->size == 1) {
    if (first && !last)
      be->copy(be, sum, g, 1, n);
    else if (!first)
      be->add(be, last ? g : sum, last ? sum : g, 1, n); /* a + b has the bits of b + a */
    return RW_OK;
  }
  RW_TRY(be->sync(be, err));
  for (int r = 0; r < c->size; r++) {
    size_t some = (stretch_of(t, r).n + t->piece - 1) / t->piece;
    if (some > pieces) pieces = some;
  }
  for (size_t k = 0; k <= pieces; k++) { /* one piece is on its way while the one before is added */
    if (k < pieces) RW_TRY(begin_piece(m, here, k, err));
    if (k == 0) continue;
    RW_TRY(c->end(c, (int)((k - 1) & 1), err));
    add_piece(m, here, first, last, k - 1);
  }
  if (last) RW_TRY(share_tails(m, err));
  return be->sync(be, err);
}

rw_status model_grad_norm(model *m, double *norm, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  if (c->size == 1) {
    *norm = sqrt(m->be->sum_squares(m->be, t->grads, t->n_trained, NULL));
    return RW_OK;
  }
  size_t n = blocks_before(t->n_trained), *at = mem_alloc((size_t)c->size + 1, sizeof *at);
  double *squares = mem_zalloc(n, sizeof *squares), sum = 0;
  rw_status s = at && squares ? RW_OK : rw_nomem(err, "the gradient's norm");
  if (!s) {
    for (int r = 0; r <= c->size; r++) at[r] = blocks_before(t->cut[r]) * sizeof *squares;
    size_t from = blocks_before(t->cut[c->rank]) * SQUARES_BLOCK,
           to = blocks_before(t->cut[c->rank + 1]) * SQUARES_BLOCK;
    if (to > t->n_trained) to = t->n_trained;
    if (from < to) m->be->sum_squares(m->be, t->grads + from, to - from, squares + from / SQUARES_BLOCK);
    s = c->gather(c, squares, at, err);
    for (size_t i = 0; i < n; i++) sum += squares[i];
  }
  *norm = sqrt(sum);
  mem_free(at);
  mem_free(squares);
  return s;
}

/* ---- values ---- */

/* Trained values [from, from + n), over the tensors that they are of: to host memory, or from there. */
static void move_values(const model *m, size_t from, size_t n, float *host, bool put) {
  size_t base = 0;
  for (size_t i = m->tr.first; n > 0 && i < m->w->n_tensors; base += m->w->t[i++].pub.count) {
    const model_param *p = &m->w->t[i].pub;
    if (from >= base + p->count) continue;
    size_t at = from - base, some = p->count - at < n ? p->count - at : n;
    if (put)
      m->be->put_master(m->be, p->w, at, host, some);
    else
      m->be->get_master(m->be, host, p->w, at, some);
    host += some;
    from += some;
    n -= some;
  }
}

rw_status model_share_values(model *m, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  rw_status s = RW_OK;
  if (c->size == 1) return RW_OK;
  RW_TRY(m->be->sync(m->be, err));
  if (m->be->traits.maps_host && m->be->traits.trained == T_F32) {
    size_t *at = mem_alloc((size_t)c->size + 1, sizeof *at);
    if (!at) return rw_nomem(err, "ranks");
    for (int r = 0; r <= c->size; r++) at[r] = t->cut[r] * sizeof(float);
    s = c->gather(c, t->values, at, err);
    mem_free(at);
    return s;
  }
  for (int r = 0; r < c->size; r++)
    for (size_t at = t->cut[r], n; !s && at < t->cut[r + 1]; at += n) {
      n = t->cut[r + 1] - at < t->piece ? t->cut[r + 1] - at : t->piece;
      if (r == c->rank) move_values(m, at, n, t->in[0], false);
      s = c->bcast(c, t->in[0], n * sizeof(float), r, err);
      if (r != c->rank) move_values(m, at, n, t->in[0], true);
    }
  return s ? s : m->be->sync(m->be, err);
}
