/* gathered.c - training where no rank holds the trained weights whole (ZeRO-3): each keeps its stretches of values
 * and gradients, and a unit is gathered when a pass needs it, while the one before it computes.
 *
 * Four places hold what is gathered: the embedding, layers of even and of odd number, what follows the layers. A
 * unit's gradient is computed in a place of its own, but for the embedding's, which stands where its values were.
 *
 * All ranks gather the same units in the same order. So before a pass they meet: of the kinds of pass that they
 * want the largest is run, by those that want another one without computing anything. Ranks with nothing to do
 * attend the passes of the others until nobody wants one. What fails is told afterwards, when all have met.
 */
#include <string.h>

#include "model/model_impl.h"

enum { PLACE_EMBED, PLACE_EVEN, PLACE_ODD, PLACE_REST };

static comm *ranks_of(const model *m) { return m->context->ranks; }

static int place_of(const model *m, size_t u) {
  if (u == shards_rest(m)) return PLACE_REST;
  return u == shards_embed(m) ? PLACE_EMBED : u & 1 ? PLACE_ODD : PLACE_EVEN;
}

/* ---- memory ---- */

typedef struct {
  size_t embed, layer, rest; /* values of the largest */
} widths;

static widths widths_of(const model *m, size_t first) {
  size_t begins[MODEL_MAX_LAYERS + 3], n = shards_units(m, first, begins);
  widths w = {0};
  for (size_t u = 0; u < n; u++) {
    size_t values = 0;
    for (size_t i = begins[u]; i < begins[u + 1]; i++) values += m->w->t[i].pub.count;
    size_t *of = u + 1 == n ? &w.rest : begins[u] == (size_t)m->w->embed ? &w.embed : &w.layer;
    if (values > *of) *of = values;
  }
  return w;
}

static size_t room_for(widths w) { return w.embed + 4 * w.layer + 2 * w.rest; }

rw_status gathered_room(model *m, rw_error *err) {
  trainer *t = &m->tr;
  gathered_forget(m);
  if (!t->apart) return RW_OK;
  widths w = widths_of(m, t->first);
  t->room = m->be->alloc(m->be, MEM_DEVICE, room_for(w) * sizeof(float));
  if (!t->room) return rw_nomem(err, "gathered weights");
  float *layers = t->room + w.embed, *rest = layers + 4 * w.layer;
  for (size_t i = 0; i < t->n_units; i++) {
    trained_unit *u = &t->units[i];
    int place = place_of(m, i);
    size_t odd = place == PLACE_ODD ? w.layer : 0;
    u->value = place == PLACE_EMBED ? t->room : place == PLACE_REST ? rest : layers + odd;
    u->grad = place == PLACE_EMBED ? t->room : place == PLACE_REST ? rest + w.rest : layers + 2 * w.layer + odd;
  }
  return RW_OK;
}

/* Values that a rank sends of n, where each has its stretch and all others take it. */
static uint64_t sent_of(uint64_t n, uint64_t ranks) { return n * (ranks - 1) / ranks; }

shard_bytes gathered_bytes(const model *m, size_t slices, size_t first, uint64_t trained) {
  shard_bytes b = shards_bytes(m, slices, trained);
  uint64_t n = (uint64_t)ranks_of(m)->size, rounds = (slices + n - 1) / n;
  size_t begins[MODEL_MAX_LAYERS + 3], units = shards_units(m, first, begins);
  widths w = widths_of(m, first);
  uint64_t layers = trained - w.embed - w.rest;
  size_t n_layers = units - 1 - (w.embed > 0);
  b.values = b.gradients = 4 * b.states;
  b.gathered = 4 * (uint64_t)room_for(w);
  b.sums = 0;
  /* of a round every unit and every gradient; backwards all layers again but the last two, which are there; of a
   * later round the first two are, and what follows the layers */
  uint64_t held = (n_layers < 2 ? n_layers : 2) * w.layer,
           gathered = rounds * (w.embed + 2 * layers - held) + w.rest - (rounds - 1) * held;
  b.exchanged = 4 * sent_of(gathered + rounds * trained, n);
  return b;
}

void gathered_forget(model *m) {
  for (int i = 0; i < MODEL_PLACES; i++) m->tr.holds[i] = NO_UNIT;
  m->tr.coming = NO_UNIT;
}

void gathered_free(model *m) {
  m->be->release(m->be, MEM_DEVICE, m->tr.room);
  m->tr.room = NULL;
}

/* ---- units ---- */

static rw_status await(model *m, rw_error *err) {
  if (m->tr.coming == NO_UNIT) return RW_OK;
  m->tr.coming = NO_UNIT;
  return ranks_of(m)->end(ranks_of(m), WEIGHTS_SLOT, err);
}

/* Begins to gather unit i in its place. */
static rw_status take(model *m, size_t i, rw_error *err) {
  trainer *t = &m->tr;
  comm *c = ranks_of(m);
  const trained_unit *u = &t->units[i];
  comm_part *out = t->parts, *in = t->parts + c->size;
  size_t n_out = 0, n_in = 0, own = (u->cut[c->rank + 1] - u->cut[c->rank]) * sizeof(float);
  float *mine = (float *)(void *)t->values + u->own;
  RW_TRY(await(m, err));
  for (int r = 0; r < c->size; r++) {
    float *at = u->value + (u->cut[r] - u->from);
    size_t bytes = (u->cut[r + 1] - u->cut[r]) * sizeof(float);
    if (r == c->rank) {
      memcpy(at, mine, bytes);
      continue;
    }
    if (own) out[n_out++] = (comm_part){r, mine, own};
    if (bytes) in[n_in++] = (comm_part){r, at, bytes};
  }
  t->sent += n_out * own;
  t->holds[place_of(m, i)] = t->coming = i;
  return c->begin(c, WEIGHTS_SLOT, out, n_out, in, n_in, err);
}

static bool holds(const model *m, size_t u) { return m->tr.holds[place_of(m, u)] == u; }

static rw_status hold(model *m, size_t u, size_t next, rw_error *err) {
  if (!holds(m, u)) RW_TRY(take(m, u, err));
  if (m->tr.coming == u) RW_TRY(await(m, err));
  return next == NO_UNIT || holds(m, next) ? RW_OK : take(m, next, err);
}

/* Holds unit u from here on, and begins to gather the next one of the pass, forward or backward. */
static void need(model *m, size_t u, bool up) {
  trainer *t = &m->tr;
  size_t next = up ? u + 1 : u - 1;
  if (!t->apart || u == NO_UNIT || t->fault.code) return;
  if (up) t->visited = u + 1;
  if (up ? next == t->n_units : u == 0 || next == shards_embed(m)) next = NO_UNIT;
  t->fault.code = hold(m, u, next, &t->fault);
}

void gathered_need_up(model *m, size_t u) { need(m, u, true); }
void gathered_need_down(model *m, size_t u) { need(m, u, false); }

void gathered_begin_grad(model *m, size_t which) {
  trainer *t = &m->tr;
  if (!t->apart || which == NO_UNIT) return;
  const trained_unit *u = &t->units[which];
  shards_go_on(m, which + 2 < t->n_units ? which + 2 : NO_UNIT); /* what stood there has gone */
  if (which == shards_embed(m)) t->holds[PLACE_EMBED] = NO_UNIT;
  m->be->zero(m->be, u->grad, u->n * sizeof(float));
}

/* ---- passes ---- */

/* What ranks want; a unit is PASS_UNIT and its number. */
enum { PASS_NONE, PASS_FORWARD, PASS_BACKWARD, PASS_UNIT };

static void begin_forward(model *m) {
  m->tr.visited = 0;
  if (m->tr.n_units == 1) gathered_need_up(m, 0); /* adapters are needed from the beginning */
}

static rw_status end_forward(model *m, rw_error *err) {
  while (m->tr.visited < m->tr.n_units && !m->tr.fault.code) gathered_need_up(m, m->tr.visited);
  return shards_fault(m, err);
}

static void begin_backward(model *m) {
  shards_begin(m);
  m->tr.round.passed = true;
}

static rw_status end_backward(model *m, rw_error *err) {
  shards_go_on(m, 0);
  return shards_fault(m, err);
}

/* Another rank's pass. */
static rw_status attend(model *m, int64_t kind, rw_error *err) {
  trainer *t = &m->tr;
  if (kind >= PASS_UNIT) return hold(m, (size_t)(kind - PASS_UNIT), NO_UNIT, err);
  if (kind == PASS_FORWARD) {
    begin_forward(m);
    return end_forward(m, err);
  }
  begin_backward(m);
  for (size_t u = t->n_units; u-- > 0;) {
    if (u != shards_embed(m)) gathered_need_down(m, u);
    gathered_begin_grad(m, u);
    shards_done(m, u);
  }
  return end_backward(m, err);
}

static rw_status meet(model *m, int64_t kind, rw_error *err) {
  comm *c = ranks_of(m);
  for (;;) {
    int64_t largest = kind;
    RW_TRY(c->most(c, &largest, 1, err));
    if (largest == kind) return RW_OK;
    RW_TRY(attend(m, largest, err));
  }
}

rw_status gathered_forward(model *m, rw_error *err) {
  if (!m->tr.apart) return RW_OK;
  RW_TRY(meet(m, PASS_FORWARD, err));
  begin_forward(m);
  return shards_fault(m, err);
}

rw_status gathered_forward_end(model *m, rw_status s, rw_error *err) {
  if (!m->tr.apart) return s;
  rw_error other;
  rw_status end = end_forward(m, &other);
  if (!end || s) return s;
  if (err) *err = other;
  return end;
}

rw_status gathered_backward(model *m, rw_error *err) {
  if (!m->tr.apart) return RW_OK;
  RW_TRY(meet(m, PASS_BACKWARD, err));
  begin_backward(m);
  return RW_OK;
}

rw_status gathered_backward_end(model *m, rw_error *err) { return m->tr.apart ? end_backward(m, err) : RW_OK; }

rw_status model_attend(model *m, rw_error *err) { return m->tr.apart ? meet(m, PASS_NONE, err) : RW_OK; }

rw_status model_agree(model *m, rw_status mine, rw_error *err) {
  rw_error late;
  rw_status end = model_attend(m, mine ? &late : err);
  return comm_agree(ranks_of(m), mine ? mine : end, err);
}

rw_status gathered_hold(model *m, size_t i, rw_error *err) {
  trainer *t = &m->tr;
  size_t u = 0;
  if (!t->apart || i < t->first) return RW_OK;
  while (i >= t->units[u].end) u++;
  if (holds(m, u) && t->coming != u) return RW_OK;
  RW_TRY(meet(m, PASS_UNIT + (int64_t)u, err));
  return hold(m, u, NO_UNIT, err);
}

rw_status model_end_round(model *m, rw_error *err) {
  trainer *t = &m->tr;
  if (!t->apart) return shards_end_round(m, err);
  RW_TRY(model_attend(m, err));
  return t->round.passed ? RW_OK
                         : attend(m, PASS_BACKWARD, err); /* no slice of this round has rows: zeros are added */
}

rw_status model_share_values(model *m, rw_error *err) {
  if (!m->tr.apart) return shards_share_values(m, err);
  gathered_forget(m);
  return m->be->sync(m->be, err);
}
