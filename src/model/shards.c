/* shards.c - what slices and ranks add to training: the ordered sum of slices' gradients, of which each rank keeps
 * its stretches; the norm over all of them; the values that each rank has updated, on all of them.
 *
 * What is trained is one vector, cut into units: the embedding, each layer, what follows. A rank has a stretch of
 * every unit, which begins where a block of 8-bit states begins, so that these need no other rank. A unit's
 * gradient goes to its owners in pieces, two of them under way, from the last unit to the first, as the backward
 * pass leaves them: it goes on with this between its products. No sum depends on the number of ranks, or on when
 * something arrives: gradients are added slice by slice, squares by blocks that are the whole vector's.
 */
#include <math.h>
#include <string.h>

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

static stretch stretch_of(const trained_unit *u, int r) { return (stretch){u->cut[r], u->cut[r + 1] - u->cut[r]}; }

static stretch piece_of(const trainer *t, const trained_unit *u, int r, size_t k) {
  stretch s = stretch_of(u, r);
  size_t at = k * t->piece < s.n ? k * t->piece : s.n;
  return (stretch){s.from + at, s.n - at < t->piece ? s.n - at : t->piece};
}

/* Pieces of the rank that has most of them. */
static size_t pieces_of(const trainer *t, const trained_unit *u, int ranks) {
  size_t most = 0;
  for (int r = 0; r < ranks; r++)
    if (stretch_of(u, r).n > most) most = stretch_of(u, r).n;
  return (most + t->piece - 1) / t->piece;
}

static size_t piece_for(const comm *c, size_t values) {
  size_t piece = (size_t)STAGED / (size_t)c->size;
  if (piece > MOST_PIECE) piece = MOST_PIECE;
  if (piece < SQUARES_BLOCK) piece = SQUARES_BLOCK; /* see share_block */
  return piece < values ? piece : values;
}

/* The gradient of this rank's stretch of a unit, when all slices are added. */
static float *own_grad(const model *m, const trained_unit *u) {
  return m->tr.grads + (m->tr.apart ? u->own : u->cut[ranks_of(m)->rank]);
}

/* ---- units ---- */

size_t shards_embed(const model *m) {
  return m->tr.n_units > 1 && m->tr.first == (size_t)m->w->embed ? 0 : NO_UNIT;
}
size_t shards_layer(const model *m, size_t l) {
  const trainer *t = &m->tr;
  bool trained = t->n_units > 1 && l >= t->freeze; /* with adapters there is one unit, of what is trained */
  return trained ? l - t->freeze + (t->first == (size_t)m->w->embed) : NO_UNIT;
}
size_t shards_rest(const model *m) { return m->tr.n_units ? m->tr.n_units - 1 : NO_UNIT; }

size_t shards_units(const model *m, size_t first, size_t *begins) {
  const weights *w = m->w;
  size_t n = 0;
  if (first == (size_t)w->embed) begins[n++] = first;
  for (size_t l = 0; l < w->cfg.layers; l++)
    if ((size_t)w->layers[l].first >= first) begins[n++] = (size_t)w->layers[l].first;
  begins[n++] = first > (size_t)w->norm_final ? first : (size_t)w->norm_final;
  begins[n] = w->n_tensors;
  return n;
}

static rw_status cut_unit(model *m, trained_unit *u, rw_error *err) {
  const comm *c = ranks_of(m);
  u->cut = mem_alloc((size_t)c->size + 1, sizeof *u->cut);
  if (!u->cut) return rw_nomem(err, "ranks");
  u->cut[0] = u->from;
  for (int r = 1; r <= c->size; r++) {
    size_t at = u->from + (size_t)((unsigned __int128)u->n * (unsigned)r / (unsigned)c->size), base = u->from;
    for (size_t i = u->first; i < u->end && base + m->w->t[i].pub.count <= at; i++) base += m->w->t[i].pub.count;
    u->cut[r] = r == c->size ? u->from + u->n : at - (at - base) % ADAMW8_BLOCK;
  }
  u->own = m->tr.own;
  m->tr.own += stretch_of(u, c->rank).n;
  return RW_OK;
}

rw_status shards_cut(model *m, rw_error *err) {
  trainer *t = &m->tr;
  const comm *c = ranks_of(m);
  size_t begins[MODEL_MAX_LAYERS + 3], n = shards_units(m, t->first, begins), from = 0;
  t->own = 0;
  if (c->size == 1) {
    for (size_t i = t->first; i < m->w->n_tensors; i++) m->w->t[i].pub.owned = m->w->t[i].pub.count;
    t->own = t->n_trained;
    return RW_OK;
  }
  t->units = mem_zalloc(n, sizeof *t->units);
  t->parts = mem_alloc((n + 2) * (size_t)(c->size + 1), sizeof *t->parts);
  if (!t->units || !t->parts) return rw_nomem(err, "ranks");
  t->piece = piece_for(c, t->n_trained);
  for (; t->n_units < n; t->n_units++) {
    trained_unit *u = &t->units[t->n_units];
    *u = (trained_unit){.from = from, .first = begins[t->n_units], .end = begins[t->n_units + 1]};
    for (size_t i = u->first; i < u->end; i++) u->n += m->w->t[i].pub.count;
    RW_TRY(cut_unit(m, u, err));
    for (size_t i = u->first; i < u->end; from += m->w->t[i++].pub.count) {
      model_param *p = &m->w->t[i].pub;
      size_t lo = u->cut[c->rank], hi = u->cut[c->rank + 1];
      lo = lo > from ? lo - from : 0;
      hi = hi > from ? hi - from : 0;
      if (hi > p->count) hi = p->count;
      p->owned = hi > lo ? hi - lo : 0;
      p->first = p->owned ? lo : 0;
    }
  }
  return RW_OK;
}

rw_status shards_room(model *m, size_t slices, rw_error *err) {
  trainer *t = &m->tr;
  backend *be = m->be;
  const comm *c = ranks_of(m);
  size_t sum = t->apart || slices <= (size_t)c->size ? 0 : t->own, in = (size_t)c->size * t->piece;
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
  shard_bytes b = {
      .values = 4 * trained, .gradients = 4 * trained, .sums = slices > n ? 4 * share : 0, .states = share};
  if (n == 1) return b;
  b.staged = 4 * (m->be->traits.maps_host ? staged : 2 * staged);
  /* a step's exchange: what this rank's slices send to the others, and its updated values */
  uint64_t rounds = (slices + n - 1) / n;
  b.exchanged = 4 * (rounds * (trained - share) + (n - 1) * share);
  return b;
}

/* ---- sums ---- */

static rw_status begin_piece(model *m, const piece_at *at, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  const trained_unit *u = &t->units[at->left - 1];
  int slot = (int)(at->count & 1);
  comm_part *out = t->parts, *in = t->parts + c->size;
  size_t n_out = 0, n_in = 0;
  stretch mine = piece_of(t, u, c->rank, at->piece);
  for (int r = 0; r < c->size; r++) {
    if (r == c->rank) continue;
    stretch theirs = piece_of(t, u, r, at->piece);
    float *from = u->grad + (theirs.from - u->from), *to = t->in[slot] + (size_t)r * t->piece;
    if (c->rank < t->round.here && theirs.n) {
      if (t->out[slot]) {
        float *room = t->out[slot] + (size_t)r * t->piece;
        m->be->get(m->be, room, from, theirs.n * sizeof *room);
        from = room;
      }
      out[n_out++] = (comm_part){r, from, theirs.n * sizeof *from};
      t->sent += theirs.n * sizeof *from;
    }
    if (r < t->round.here && mine.n) in[n_in++] = (comm_part){r, to, mine.n * sizeof *to};
  }
  return c->begin(c, slot, out, n_out, in, n_in, err);
}

/* A piece as rank r has it, where operations reach it; `which` of two places. */
static float *seen(model *m, int r, const piece_at *at, size_t n, int which) {
  trainer *t = &m->tr;
  float *host = t->in[at->count & 1] + (size_t)r * t->piece;
  if (!t->staged[which]) return host;
  m->be->put(m->be, t->staged[which], host, n * sizeof *host);
  return t->staged[which];
}

/* What the first ranks of the round have of a piece is added in their order, to earlier rounds' sum if there is
 * one.
 */
static void add_piece(model *m, const piece_at *at) {
  trainer *t = &m->tr;
  backend *be = m->be;
  int rank = ranks_of(m)->rank;
  const trained_unit *u = &t->units[at->left - 1];
  stretch mine = piece_of(t, u, rank, at->piece);
  size_t within = mine.from - u->cut[rank];
  float *own = own_grad(m, u) + within, *sum = t->apart ? own : t->sum ? t->sum + u->own + within : NULL;
  if (mine.n == 0) return;
  for (int r = 0; r < t->round.here; r++) {
    float *x = r == rank ? u->grad + (mine.from - u->from) : seen(m, r, at, mine.n, r > 0);
    if (t->round.first && r == 0 && !sum)
      sum = x;
    else if (t->round.first && r == 0)
      be->copy(be, mat_f32(sum, mine.n), mat_f32(x, mine.n), 1, mine.n);
    else
      be->add(be, mat_f32(sum, mine.n), mat_f32(x, mine.n), 1, mine.n);
  }
  if (t->round.last && sum != own) be->copy(be, mat_f32(own, mine.n), mat_f32(sum, mine.n), 1, mine.n);
}

static void next_piece(const model *m, piece_at *at) {
  const trainer *t = &m->tr;
  at->count++;
  if (++at->piece < pieces_of(t, &t->units[at->left - 1], ranks_of(m)->size)) return;
  at->piece = 0;
  at->left--;
}

/* Waits until all units from `until` on are added; NO_UNIT: does what can be done now. */
static rw_status go_on(model *m, size_t until, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  for (;;) {
    for (; t->begun.left > t->ready && t->begun.count - t->added.count < 2; next_piece(m, &t->begun))
      RW_TRY(begin_piece(m, &t->begun, err));
    if (t->added.count == t->begun.count) return RW_OK;
    int slot = (int)(t->added.count & 1);
    bool done = until != NO_UNIT && t->added.left > until;
    if (!done) RW_TRY(c->test(c, slot, &done, err));
    if (!done) return RW_OK;
    RW_TRY(c->end(c, slot, err));
    add_piece(m, &t->added);
    next_piece(m, &t->added);
  }
}

void shards_go_on(model *m, size_t until) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  bool there;
  if (t->fault.code || !t->n_units) return;
  t->fault.code = go_on(m, until, &t->fault);
  if (!t->fault.code && t->coming != NO_UNIT) t->fault.code = c->test(c, WEIGHTS_SLOT, &there, &t->fault);
}

void shards_begin(model *m) {
  trainer *t = &m->tr;
  t->begun = t->added = (piece_at){.left = t->n_units};
  t->ready = t->n_units;
}

void model_begin_round(model *m, int here, bool first, bool last) {
  trainer *t = &m->tr;
  t->round.here = here;
  t->round.first = first;
  t->round.last = last;
  t->round.passed = false;
  t->closing = false;
  shards_begin(m);
}

void model_close_slice(model *m) {
  m->tr.closing = m->be->traits.maps_host;
} /* else nothing is there to be sent yet */

void shards_done(model *m, size_t which) {
  trainer *t = &m->tr;
  if (which == NO_UNIT || !(t->apart || t->closing)) return;
  t->ready = which;
  shards_go_on(m, NO_UNIT);
}

rw_status shards_fault(model *m, rw_error *err) {
  if (m->tr.fault.code && err) *err = m->tr.fault;
  return m->tr.fault.code;
}

rw_status shards_end_round(model *m, rw_error *err) {
  trainer *t = &m->tr;
  backend *be = m->be;
  size_t n = t->n_trained;
  mat g = mat_f32(t->grads, n), sum = mat_f32(t->sum, n);
  if (ranks_of(m)->size == 1) {
    if (t->round.first && !t->round.last)
      be->copy(be, sum, g, 1, n);
    else if (!t->round.first)
      be->add(be, t->round.last ? g : sum, t->round.last ? sum : g, 1, n); /* a + b has the bits of b + a */
    return RW_OK;
  }
  rw_error own;
  rw_status before = be->sync(be, &own); /* a rank with a fault takes part all the same: the others wait for it */
  t->ready = 0;
  shards_go_on(m, 0);
  RW_TRY(shards_fault(m, err));
  if (!before) return be->sync(be, err);
  if (err) *err = own;
  return before;
}

/* ---- the norm ---- */

/* Whose value v is, and where that stretch ends. */
static int owner_of(const trainer *t, size_t v, const trained_unit **of, size_t *end) {
  const trained_unit *u = t->units;
  int r = 0;
  while (v >= u->from + u->n) u++;
  while (v >= u->cut[r + 1]) r++;
  *of = u;
  *end = u->cut[r + 1];
  return r;
}

/* A block of squares of several stretches: who has its first value gets the others, and makes its sum. */
static rw_status share_block(model *m, size_t block, double *sum, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  size_t from = block * SQUARES_BLOCK,
         to = from + SQUARES_BLOCK < t->n_trained ? from + SQUARES_BLOCK : t->n_trained, n_out = 0, n_in = 0, end;
  comm_part *out = t->parts, *in = t->parts + t->n_units;
  const trained_unit *u;
  int maker = owner_of(t, from, &u, &end);
  float *host = t->in[0], *away = t->out[0];
  for (size_t v = from; v < to; v = end) {
    int r = owner_of(t, v, &u, &end);
    size_t bytes = ((end < to ? end : to) - v) * sizeof(float);
    if (r != c->rank) {
      if (c->rank == maker) in[n_in++] = (comm_part){r, host + (v - from), bytes};
      continue;
    }
    float *mine = own_grad(m, u) + (v - u->cut[r]), *copy = r == maker ? host + (v - from)
                                                            : away     ? away + (v - from)
                                                                       : NULL;
    if (copy) m->be->get(m->be, copy, mine, bytes);
    if (r != maker) out[n_out++] = (comm_part){maker, copy ? copy : mine, bytes};
  }
  RW_TRY(m->be->sync(m->be, err));
  RW_TRY(c->begin(c, 0, out, n_out, in, n_in, err));
  RW_TRY(c->end(c, 0, err));
  if (c->rank != maker) return RW_OK;
  if (t->staged[0]) m->be->put(m->be, t->staged[0], host, (to - from) * sizeof(float));
  m->be->sum_squares(m->be, t->staged[0] ? t->staged[0] : host, to - from, sum);
  return RW_OK;
}

/* squares[i]: the sum of block i, where this rank makes it. */
static rw_status own_squares(model *m, double *squares, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  size_t shared = NO_UNIT; /* the last block that was */
  for (size_t i = 0; i < t->n_units; i++) {
    const trained_unit *u = &t->units[i];
    stretch s = stretch_of(u, c->rank);
    size_t from = blocks_before(s.from) * SQUARES_BLOCK, to = (s.from + s.n) / SQUARES_BLOCK * SQUARES_BLOCK;
    if (s.n && s.from + s.n == t->n_trained) to = t->n_trained; /* the last block may be short */
    if (from < to)
      m->be->sum_squares(m->be, own_grad(m, u) + (from - s.from), to - from, squares + from / SQUARES_BLOCK);
    for (int r = 0; r < c->size; r++) {
      size_t end = u->cut[r + 1], block = end / SQUARES_BLOCK;
      if (end % SQUARES_BLOCK == 0 || end == t->n_trained || block == shared) continue;
      shared = block;
      RW_TRY(share_block(m, block, squares + block, err));
    }
  }
  return RW_OK;
}

/* All blocks' sums on all ranks. Of numbers from 0 on the largest has the largest bits, and all but a block's maker
 * have 0; the sign of a NaN is no matter. */
static rw_status all_squares(model *m, double *squares, size_t n, rw_error *err) {
  comm *c = ranks_of(m);
  RW_TRY(comm_agree(c, own_squares(m, squares, err), err));
  int64_t *bits = mem_alloc(n, sizeof *bits);
  RW_TRY(comm_agree(c, bits ? RW_OK : rw_nomem(err, "the gradient's norm"), err));
  for (size_t i = 0; bits && i < n; i++) squares[i] = fabs(squares[i]);
  if (bits) memcpy(bits, squares, n * sizeof *bits);
  rw_status s = c->most(c, bits, (int)n, err);
  if (bits) memcpy(squares, bits, n * sizeof *bits);
  mem_free(bits);
  return s;
}

rw_status model_grad_norm(model *m, double *norm, rw_error *err) {
  trainer *t = &m->tr;
  if (ranks_of(m)->size == 1) {
    *norm = sqrt(m->be->sum_squares(m->be, t->grads, t->n_trained, NULL));
    return RW_OK;
  }
  size_t n = blocks_before(t->n_trained);
  double *squares = mem_zalloc(n, sizeof *squares), sum = 0;
  rw_status s = comm_agree(ranks_of(m), squares ? RW_OK : rw_nomem(err, "the gradient's norm"), err);
  if (!s && squares) s = all_squares(m, squares, n, err);
  for (size_t i = 0; !s && squares && i < n; i++) sum += squares[i];
  *norm = sqrt(sum);
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

/* Of a unit on a device whose memory is not the host's, or whose values are not f32. */
static rw_status share_by_pieces(model *m, const trained_unit *u, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  for (int r = 0; r < c->size; r++)
    for (size_t at = u->cut[r], n; at < u->cut[r + 1]; at += n) {
      n = u->cut[r + 1] - at < t->piece ? u->cut[r + 1] - at : t->piece;
      if (r == c->rank) move_values(m, at, n, t->in[0], false);
      RW_TRY(c->bcast(c, t->in[0], n * sizeof(float), r, err));
      if (r != c->rank) move_values(m, at, n, t->in[0], true);
    }
  return RW_OK;
}

rw_status shards_share_values(model *m, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  if (c->size == 1) return RW_OK;
  bool direct = m->be->traits.maps_host && m->be->traits.trained == T_F32;
  size_t *at = mem_alloc((size_t)c->size + 1, sizeof *at);
  RW_TRY(comm_agree(c, at ? m->be->sync(m->be, err) : rw_nomem(err, "ranks"), err));
  rw_status s = RW_OK;
  for (size_t i = 0; !s && i < t->n_units; i++) {
    const trained_unit *u = &t->units[i];
    for (int r = 0; r <= c->size; r++) at[r] = u->cut[r] * sizeof(float);
    s = direct ? c->gather(c, t->values, at, err) : share_by_pieces(m, u, err);
    t->sent += (u->n - stretch_of(u, c->rank).n) * sizeof(float); /* round the ring */
  }
  mem_free(at);
  return s ? s : m->be->sync(m->be, err);
}
